//! Floor 2: performs I/O for one worker.
//!
//! A [`Driver`] is told what to do by calls and tells what happened by [`Completion`]s, which the
//! worker takes out one by one with [`Driver::next`] and never meets inside a call. It knows
//! sockets and buffers, not clients or exchanges: an [`Owner`] is a number it hands back.
//!
//! The order of calls for one socket:
//! 1. it begins as [`Completion::Accepted`] (then [`Driver::own`]), by [`Driver::connect`] or by
//!    [`Driver::attach`];
//! 2. [`Driver::arm`] asks for one [`Completion::Readable`], upon which [`Driver::receive`] puts
//!    what is there into a chain: so a buffer is lent when data is there, not before (law 2);
//! 3. [`Driver::send`] gives bytes away, at once or later ([`Completion::Sent`]);
//! 4. [`Driver::close`] ends it, and [`Completion::Closed`] is the last word about it. Until
//!    then its record must stay; after it, no completion names it again (law 9).
#![deny(unsafe_code)]

mod address;
mod completion;
mod disk;
pub mod epoll;
mod listener;
mod sockets;
pub mod uring;

pub use address::{Address, AddressError};
pub use completion::{
    AcceptFault, Completion, ConnectFault, Owner, Peeked, PeerFault, Received, Sent, Socket,
    SpoolDone, SpoolRead, Then, Ticket,
};
pub use disk::{Desk, Disk, SpoolError, SpoolFile, put_behind};
pub use listener::{BindError, BindOptions, Listener, bind};
pub use sockets::{Detached, SocketConfig, SocketDriver, Waker};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use pool::{Chain, Cursor, Fill, Pool, Promise};
use spool::Piece;

/// Ends another worker's wait in [`Driver::poll`]; may be called from any thread.
pub trait Wake: Send + Sync {
    /// Makes that worker's driver complete a [`Completion::Woken`] soon; several calls may
    /// make one completion.
    fn wake(&self);
}

/// What a worker needs from the network.
///
/// Calls that take the pool move bytes between it and a socket; none of them blocks.
pub trait Driver {
    /// A connection on its way from one worker to another.
    type Detached: Send;

    /// The moment the last [`poll`](Self::poll) returned, on the clock all workers share.
    fn now(&self) -> Instant;

    /// The calendar time at the last [`poll`](Self::poll), for `Date` fields and logs.
    fn wall(&self) -> SystemTime;

    /// How others wake this worker.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Begins to accept on a listener, or goes on after [`pause`](Self::pause).
    fn listen(&mut self, listener: ListenerId);

    /// Accepts at most so many clients more, over all listeners, until told anew.
    fn accept_at_most(&mut self, clients: u32);

    /// Stops accepting; clients wait in the listener's backlog.
    fn pause(&mut self, listener: ListenerId);

    /// Stops accepting for good. Connections the kernel already holds in the backlog are
    /// accepted first (as far as `accept` completes them before this call).
    fn stop_listening(&mut self, listener: ListenerId);

    /// Opens a connection to `server`. [`Completion::Connected`] or
    /// [`Completion::ConnectFailed`] follows; after the latter the socket still has to be closed.
    ///
    /// # Errors
    /// When the attempt fails at once; then there is no socket.
    fn connect(&mut self, server: ServerId, owner: Owner) -> Result<Socket, ConnectFault>;

    /// The name of a server stands for these addresses from now on: they take turns for new
    /// connections; those beyond `base::limits::ADDRESSES_MAX` are left out.
    fn set_addresses(&mut self, server: ServerId, addresses: &[SocketAddr]);

    /// Whether a connection leads to an address that `server` still has. It asks the kernel: meant
    /// for the moment after [`set_addresses`](Self::set_addresses).
    fn is_listed(&mut self, socket: Socket, server: ServerId) -> bool;

    /// Names the owner of an accepted socket; completions carry it from now on.
    fn own(&mut self, socket: Socket, owner: Owner);

    /// Takes a connection out of this worker, for another one to [`attach`](Self::attach). No
    /// completion follows; nothing may be armed or unsent.
    fn detach(&mut self, socket: Socket) -> Option<Self::Detached>;

    /// Takes over a connection another worker gave away.
    ///
    /// # Errors
    /// When the kernel refuses to watch it or the table is full; the connection is closed.
    fn attach(&mut self, detached: Self::Detached, owner: Owner) -> Result<Socket, ConnectFault>;

    /// Asks for one [`Completion::Readable`] as soon as data, the end or a failure can be
    /// received. Costs nothing while nothing arrives: this is what a parked client is. Of a client
    /// that has just come it may be a guess: then the receive finds nothing.
    fn arm(&mut self, socket: Socket);

    /// Takes [`arm`](Self::arm) and [`await_end`](Self::await_end) back. A completion already
    /// queued may still come.
    fn disarm(&mut self, socket: Socket);

    /// Asks for one [`Completion::Ended`] as soon as the peer has ended its direction, whatever
    /// bytes stand before that end unreceived: of them nothing is told, so that they cost nothing.
    /// [`arm`](Self::arm) takes it back.
    fn await_end(&mut self, socket: Socket);

    /// Whether nothing (data, end, failure) is known to have arrived: the test of an idle
    /// connection before it is used again.
    fn is_quiet(&mut self, socket: Socket) -> bool;

    /// Whether something is known to have arrived that was not received. Unlike
    /// [`is_quiet`](Self::is_quiet) it never asks the kernel: enough for a peer that has promised
    /// to send nothing more.
    fn has_unread(&mut self, socket: Socket) -> bool;

    /// Receives what is there behind the chain's last byte, as `fill` allows; the first fresh
    /// buffer is the promised one, if there is a promise.
    fn receive(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        chain: &mut Chain,
        fill: Fill,
        promise: &mut Option<Promise>,
    ) -> Received;

    /// Copies what has arrived into `space` and leaves it where it is: so a header that stands before
    /// everything else, TLS included, is read without a buffer, and not a byte behind it. What the
    /// transport is made of beneath TLS, if there is any. [`arm`](Self::arm) tells when more came.
    fn peek(&mut self, socket: Socket, space: &mut [u8]) -> Peeked;

    /// Takes the first bytes of what [`peek`](Self::peek) showed, and forgets them. With `settled` the
    /// rest, if there is any, is worth no [`Completion::Readable`] before more arrives.
    fn skip(&mut self, socket: Socket, bytes: usize, settled: bool);

    /// What [`peek`](Self::peek) showed stays with the transport until more came: sees to it that more can
    /// come, however much the transport counts of what was taken. To be called behind
    /// [`skip`](Self::skip), as often as one likes. A transport that counts what is there alone has room.
    fn make_room(&mut self, socket: Socket) {
        let _ = socket;
    }

    /// Receives and forgets what is there: the discarding of a lingering close.
    fn discard(&mut self, socket: Socket) -> Received;

    /// Sends from `unsent` on; does not move the cursor. `more` says that further bytes follow
    /// at once (`MSG_MORE`). One send of a socket is under way at a time.
    fn send(&mut self, socket: Socket, pool: &Pool, unsent: &Cursor, more: bool) -> Sent;

    /// Sends bytes that are in no chain; otherwise as [`send`](Self::send).
    fn send_bytes(&mut self, socket: Socket, bytes: &[u8], more: bool) -> Sent;

    /// Sends a short fixed text as far as the transport takes it at once: refusals of clients
    /// for whom there is no buffer, `100 Continue`. Returns how many bytes were taken; behind a part
    /// nothing else may be sent.
    fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> u32;

    /// Sends a header that stands before everything else, TLS included, on a connection that was just
    /// opened. `more` says that further bytes follow at once. False if the transport did not take it
    /// whole; then nothing else may be sent.
    fn introduce(&mut self, socket: Socket, header: &[u8], more: bool) -> bool;

    /// The addresses of both ends of a TCP connection, the peer's first. It asks the kernel.
    fn ends(&mut self, socket: Socket) -> Option<[SocketAddr; 2]>;

    /// Has a copy of the first `piece.len` bytes from `from` on written to the spool;
    /// [`Completion::Spooled`] follows. Errands are done in the order they are given, those of
    /// other workers of the process among them. Returns false, and does nothing, when the disk
    /// has as many errands of this worker as it may have, or there is no spool.
    fn spool_write(&mut self, pool: &Pool, from: &Cursor, piece: Piece, ticket: Ticket) -> bool;

    /// Has a piece read from the spool; otherwise as [`spool_write`](Self::spool_write).
    fn spool_read(&mut self, piece: Piece, ticket: Ticket) -> bool;

    /// Puts what was read behind the chain's last byte, as far as buffers are granted (the first
    /// one is the promised one, if there is a promise), and forgets the rest. Returns how many
    /// bytes that were.
    fn spool_take(
        &mut self,
        read: SpoolRead,
        pool: &mut Pool,
        chain: &mut Chain,
        promise: &mut Option<Promise>,
    ) -> u32;

    /// Forgets what was read.
    fn spool_drop(&mut self, read: SpoolRead);

    /// Ends our direction; the peer's bytes may still come.
    fn shutdown(&mut self, socket: Socket);

    /// Closes. [`Completion::Closed`] follows when nothing refers to the socket any more; an
    /// accepted socket that never had an owner goes without a word.
    fn close(&mut self, socket: Socket);

    /// Closes so that a TCP peer meets a reset, not an orderly end: what it has is not all. A Unix
    /// socket knows no such end and is just closed. Otherwise as [`close`](Self::close).
    fn reset(&mut self, socket: Socket);

    /// The next thing that happened.
    fn next(&mut self) -> Option<Completion>;

    /// Waits until something happens or `until` has come (for ever without it; not at all if
    /// it has passed or completions are queued), and queues what happened.
    fn poll(&mut self, until: Option<Instant>);
}
