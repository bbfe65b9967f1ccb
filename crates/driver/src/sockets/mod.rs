//! What the drivers on the kernel's sockets share: everything but how the kernel tells.
//!
//! - `table`: the sockets, 16 bytes each, and what is known of them;
//! - `watcher`: how the kernel tells, by epoll or `io_uring`;
//! - `mark`: what the kernel reports of a connection, and what that means for it;
//! - `notes`: what happened, before it is told;
//! - `newcomers`: clients that are not watched yet;
//! - `accept`, `connect`, `transfer`: the calls on sockets;
//! - `room`: how much the kernel holds of what is looked at and left;
//! - `clock`: the time, read once a poll;
//! - `wake`: other threads' way in.

mod accept;
mod clock;
pub(crate) mod connect;
mod mark;
mod newcomers;
mod notes;
mod preface;
mod room;
mod table;
mod transfer;
mod wake;
mod watcher;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::id::{ListenerId, ServerId};
use base::limits::LISTENERS_MAX;
use base::time::Instant;
use pool::{Chain, Cursor, Fill, Pool, Promise};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};
use spool::Piece;

use crate::{
    Address, Completion, ConnectFault, Desk, Driver, Listener, Owner, Peeked, PeerFault, Received,
    Sent, Socket, SpoolRead, Then, Ticket, Wake,
};
use accept::{Arrivals, Door};
use clock::Clock;
pub(crate) use connect::Server;
use newcomers::Newcomers;
use notes::{Note, Notes};

pub(crate) use table::{Entry, Flags, SOCKETS_MAX, Table};
#[cfg(all(test, loom))]
pub(crate) use wake::Call;
pub use wake::Waker;
pub(crate) use watcher::{Told, Watcher};

/// What a driver is built from.
#[derive(Debug)]
pub struct SocketConfig {
    /// Most sockets, clients and upstream connections together, at one time.
    pub sockets: u32,
    /// The listeners, named by their place ([`ListenerId`]); at most
    /// `base::limits::LISTENERS_MAX`. None is open before [`Driver::listen`].
    pub listeners: Vec<Listener>,
    /// The servers, named by their place ([`ServerId`]): each with its address, or those behind
    /// its name.
    pub servers: Vec<Vec<Address>>,
    /// Where the clock begins; the same for all workers of the process.
    pub epoch: std::time::Instant,
    /// How others wake this worker.
    pub waker: Arc<Waker>,
}

/// A [`Driver`] over the kernel's sockets: bytes move by direct calls that never block, and `W`
/// tells when.
pub struct SocketDriver<W> {
    // Dropped first: it takes back from the kernel what names the sockets.
    pub(crate) watcher: W,
    pub(crate) table: Table,
    notes: Notes,
    newcomers: Newcomers,
    doors: Vec<Door>,
    /// Clients that may still be accepted.
    room: u32,
    servers: Vec<Server>,
    waker: Arc<Waker>,
    discarded: Box<[u8]>,
    /// The way to the spool's disk, if there is a spool.
    desk: Option<Desk>,
    /// The last thing told was of the disk.
    told_of_disk: bool,
    pub(crate) clock: Clock,
}

/// A connection on its way from one worker to another, whatever drives them. Dropping it closes
/// it.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl<W: Watcher> SocketDriver<W> {
    /// Bytes of memory that one socket takes in the table.
    pub const SOCKET_BYTES: usize = size_of::<Entry>();
    /// Bytes of memory set aside for what may happen to one socket at one time.
    pub const EVENT_BYTES: usize =
        notes::SOCKET_BYTES + if W::WATCHING_IS_A_CALL { Newcomers::SOCKET_BYTES } else { 0 };

    /// A driver without sockets to which `watcher` tells.
    pub(crate) fn with(watcher: W, config: SocketConfig) -> Result<Self, Errno> {
        let SocketConfig { sockets, listeners, servers, epoch, waker } = config;
        if listeners.len() > LISTENERS_MAX as usize || sockets > SOCKETS_MAX {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            watcher,
            table: Table::new(sockets),
            notes: Notes::new(sockets, listeners.len()),
            newcomers: Newcomers::new(if W::WATCHING_IS_A_CALL { sockets } else { 0 }),
            doors: listeners.into_iter().map(Door::new).collect(),
            room: u32::MAX,
            servers: servers
                .iter()
                .map(|addresses| Server::new(addresses))
                .collect::<Result<_, _>>()?,
            waker,
            discarded: vec![0; transfer::DISCARD_BYTES].into_boxed_slice(),
            desk: None,
            told_of_disk: false,
            clock: Clock::new(epoch),
        })
    }

    /// The same driver with a spool.
    #[must_use]
    pub fn with_spool(self, desk: Option<Desk>) -> Self {
        Self { desk, ..self }
    }

    /// What a note comes to now.
    fn tell(&mut self, note: Note) -> Option<Completion> {
        match note {
            Note::Woken => Some(Completion::Woken),
            Note::AcceptFailed { listener, fault } => {
                Some(Completion::AcceptFailed { listener, fault })
            }
            Note::Accepted { index, listener, peer } => {
                self.open_place(index)?;
                Some(Completion::Accepted { listener, socket: self.table.name(index), peer })
            }
            Note::Connected { index } => {
                let owner = Owner(self.open_place(index)?.owner);
                Some(Completion::Connected { owner })
            }
            Note::ConnectFailed { index, fault } => {
                let owner = Owner(self.open_place(index)?.owner);
                Some(Completion::ConnectFailed { owner, fault })
            }
            Note::Readable { index } => self.open_place(index).and_then(tell_readable),
            Note::Ended { index } => self.open_place(index).and_then(tell_ended),
            Note::Writable { index } => self.open_place(index).and_then(tell_writable),
            Note::Failed { index } => self.open_place(index).and_then(tell_failed),
            Note::Closed { index } => {
                let owner = Owner(self.table.place(index)?.owner);
                self.table.free(index);
                Some(Completion::Closed { owner })
            }
            Note::Left { index } => {
                self.table.free(index);
                None
            }
        }
    }

    /// The socket in place `index`, unless it has been closed or given away.
    fn open_place(&mut self, index: u32) -> Option<&mut Entry> {
        self.table.place(index).filter(|entry| entry.descriptor().is_some())
    }
}

/// Told while the owner still waits and nobody has received meanwhile.
fn tell_readable(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_READABLE);
    if !entry.flags.all(Flags::ARMED.and(Flags::READABLE)) {
        return None;
    }
    entry.flags.clear(Flags::ARMED);
    Some(Completion::Readable { owner: Owner(entry.owner) })
}

fn tell_ended(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_ENDED);
    if !entry.flags.all(Flags::AWAITS_END.and(Flags::ENDED)) {
        return None;
    }
    entry.flags.clear(Flags::AWAITS_END);
    Some(Completion::Ended { owner: Owner(entry.owner) })
}

fn tell_writable(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_WRITABLE);
    if !entry.flags.all(Flags::WAITING.and(Flags::WRITABLE)) {
        return None;
    }
    entry.flags.clear(Flags::WAITING);
    Some(Completion::Sent { owner: Owner(entry.owner), bytes: 0 })
}

/// Told once. An owner who waits to receive learns it there, behind the bytes that came before:
/// a server that answers early and closes resets the connection behind its answer.
fn tell_failed(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_FAILED);
    let fault = entry.fault()?;
    if entry.flags.any(Flags::REPORTED.and(Flags::ARMED)) || !entry.flags.any(Flags::OWNED) {
        return None;
    }
    entry.flags.set(Flags::REPORTED);
    Some(Completion::Failed { owner: Owner(entry.owner), fault })
}

impl<W: Watcher> SocketDriver<W> {
    /// Whether a `Readable` of a new client may be a guess.
    #[cfg(test)]
    pub(crate) const GUESSES: bool = W::WATCHING_IS_A_CALL;

    /// Puts a connection under watch.
    fn watch(
        &mut self,
        descriptor: OwnedFd,
        owner: Owner,
        flags: Flags,
    ) -> Result<Socket, ConnectFault> {
        let flags = flags.and(Flags::OWNED);
        let inserted = self.table.insert(descriptor, owner.0, flags);
        let socket = inserted.map_err(|_| ConnectFault::Exhausted)?;
        let watched = self.table.get(socket).map(|entry| self.watcher.add(socket, entry));
        if watched == Some(Ok(())) {
            return Ok(socket);
        }
        drop(self.table.take(socket));
        self.table.free(socket.index);
        Err(ConnectFault::Exhausted)
    }

    /// Puts a client under watch that is not yet. What it has sent meanwhile is told at once.
    fn watch_newcomer(&mut self, socket: Socket) {
        let Some(entry) = self.table.get(socket) else { return };
        if !entry.flags.any(Flags::UNWATCHED) {
            return;
        }
        entry.flags.clear(Flags::UNWATCHED);
        if self.watcher.add(socket, entry).is_err() {
            // The kernel has no memory to watch it with.
            entry.break_with(PeerFault::Lost);
            entry.flags.set(Flags::WRITABLE);
            self.notes.readable(socket.index, entry);
            self.notes.writable(socket.index, entry);
            self.notes.failed(socket.index, entry);
        }
    }

    /// Has room told of that a send did not find.
    fn await_room(&mut self, socket: Socket, sent: Sent) {
        if sent != Sent::Later {
            return;
        }
        let Some(entry) = self.table.get(socket) else { return };
        self.notes.writable(socket.index, entry);
        if !entry.flags.any(Flags::WRITABLE) {
            self.watcher.want_room(socket.index, entry);
            self.watch_newcomer(socket);
        }
    }

    /// The place is given back when nothing refers to it any more.
    fn leave(&mut self, index: u32) {
        if let Some(entry) = self.table.place(index) {
            entry.flags.set(Flags::LEAVING);
            self.notes.left(index, entry);
        }
    }

    /// Accepts from the listeners whose bit is set.
    fn accept(&mut self, mut calling: u64) {
        while calling != 0 {
            let index = calling.trailing_zeros();
            calling &= calling - 1;
            if let Some(door) = self.doors.get_mut(index as usize) {
                let arrivals = Arrivals {
                    table: &mut self.table,
                    notes: &mut self.notes,
                    newcomers: &mut self.newcomers,
                    now: self.clock.now(),
                };
                door.turn(ListenerId(index), &mut self.watcher, arrivals, &mut self.room);
            }
        }
    }
}

impl<W: Watcher> Driver for SocketDriver<W> {
    type Detached = Detached;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn listen(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            door.open(listener, &mut self.watcher, &mut self.notes);
        }
    }

    fn accept_at_most(&mut self, clients: u32) {
        self.room = clients;
    }

    fn pause(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            door.close(listener, &mut self.watcher);
        }
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            let arrivals = Arrivals {
                table: &mut self.table,
                notes: &mut self.notes,
                newcomers: &mut self.newcomers,
                now: self.clock.now(),
            };
            door.close_for_good(listener, &mut self.watcher, arrivals);
        }
    }

    fn connect(&mut self, server: ServerId, owner: Owner) -> Result<Socket, ConnectFault> {
        if self.table.is_full() {
            return Err(ConnectFault::Exhausted);
        }
        let server = self.servers.get_mut(server.index()).ok_or(ConnectFault::Refused)?;
        let begun = connect::begin(server)?;
        let flags = if begun.open { Flags::NONE } else { Flags::CONNECTING };
        let socket = self.watch(begun.descriptor, owner, flags.and(Flags::WRITABLE))?;
        if begun.open {
            self.notes.push(Note::Connected { index: socket.index });
        }
        Ok(socket)
    }

    fn set_addresses(&mut self, server: ServerId, addresses: &[SocketAddr]) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.set(addresses);
        }
    }

    fn is_listed(&mut self, socket: Socket, server: ServerId) -> bool {
        let descriptor = self.table.get(socket).and_then(|entry| entry.descriptor());
        let server = self.servers.get(server.index());
        descriptor.zip(server).is_some_and(|(descriptor, server)| server.lists(descriptor))
    }

    fn own(&mut self, socket: Socket, owner: Owner) {
        if let Some(entry) = self.table.get(socket) {
            entry.owner = owner.0;
            entry.flags.set(Flags::OWNED);
            self.notes.failed(socket.index, entry);
        }
    }

    fn detach(&mut self, socket: Socket) -> Option<Detached> {
        let descriptor = self.table.take(socket)?;
        let entry = self.table.place(socket.index)?;
        entry.flags.clear(Flags::OWNED);
        let removed = self.watcher.remove(socket.index, entry, &descriptor);
        self.leave(socket.index);
        removed.is_ok().then_some(Detached(descriptor))
    }

    fn attach(&mut self, detached: Detached, owner: Owner) -> Result<Socket, ConnectFault> {
        self.watch(detached.0, owner, Flags::WRITABLE)
    }

    fn arm(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            entry.flags.clear(Flags::AWAITS_END);
            entry.flags.set(Flags::ARMED);
            self.notes.readable(socket.index, entry);
            if !entry.flags.any(Flags::READABLE) {
                self.watch_newcomer(socket);
            }
        }
    }

    fn disarm(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            entry.flags.clear(Flags::ARMED.and(Flags::AWAITS_END));
            self.notes.failed(socket.index, entry);
        }
    }

    fn await_end(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            entry.flags.set(Flags::AWAITS_END);
            self.notes.ended(socket.index, entry);
            self.watch_newcomer(socket);
        }
    }

    fn is_quiet(&mut self, socket: Socket) -> bool {
        let behind = self.watcher.is_behind();
        let Some(entry) = self.table.get(socket) else {
            return false;
        };
        if entry.flags.any(Flags::READABLE.and(Flags::ENDED).and(Flags::BROKEN)) {
            return false;
        }
        if entry.flags.any(Flags::SEEN) && !behind && !entry.flags.any(Flags::UNWATCHED) {
            return true;
        }
        // From here on the kernel tells what it does not answer now.
        entry.flags.set(Flags::SEEN);
        let quiet = entry.descriptor().is_some_and(transfer::peek_is_quiet);
        if !quiet {
            // Whoever looks what it is finds it.
            entry.flags.set(Flags::READABLE);
        }
        quiet
    }

    fn has_unread(&mut self, socket: Socket) -> bool {
        let unread = Flags::READABLE.and(Flags::ENDED).and(Flags::BROKEN);
        self.table.get(socket).is_some_and(|entry| entry.flags.any(unread))
    }

    fn receive(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        chain: &mut Chain,
        fill: Fill,
        promise: &mut Option<Promise>,
    ) -> Received {
        let Some(entry) = self.table.get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        let tried = entry.flags.any(Flags::UNWATCHED) && !entry.flags.any(Flags::SEEN);
        let place = (socket.index, &mut *entry);
        let received = transfer::receive(place, &mut self.notes, pool, chain, (fill, promise));
        if !tried {
            return received;
        }
        // A buffer is waited for when data is there: not upon a guess (law 2).
        let silent = received == Received::NoBuffer
            && entry.descriptor().is_some_and(transfer::peek_is_quiet);
        let received = if silent { Received::Nothing } else { received };
        if received != Received::NoBuffer {
            entry.flags.set(Flags::SEEN);
            self.newcomers.learn(received != Received::Nothing);
        }
        if silent {
            entry.flags.clear(Flags::READABLE);
        }
        received
    }

    fn peek(&mut self, socket: Socket, space: &mut [u8]) -> Peeked {
        let Some(entry) = self.table.get(socket) else {
            return Peeked::nothing(Then::Failed(PeerFault::Reset));
        };
        let tried = entry.flags.any(Flags::UNWATCHED) && !entry.flags.any(Flags::SEEN);
        let peeked = preface::peek(entry, space);
        if tried {
            entry.flags.set(Flags::SEEN);
            self.newcomers.learn(peeked != Peeked::nothing(Then::More));
        }
        peeked
    }

    fn skip(&mut self, socket: Socket, bytes: usize, settled: bool) {
        if let Some(entry) = self.table.get(socket) {
            preface::skip(entry, bytes, &mut self.discarded);
            if settled && !entry.flags.any(Flags::ENDED.and(Flags::BROKEN)) {
                entry.flags.clear(Flags::READABLE);
            }
        }
    }

    fn make_room(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            room::make(entry);
        }
    }

    fn discard(&mut self, socket: Socket) -> Received {
        let Some(entry) = self.table.get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        transfer::discard((socket.index, entry), &mut self.notes, &mut self.discarded)
    }

    fn send(&mut self, socket: Socket, pool: &Pool, unsent: &Cursor, more: bool) -> Sent {
        let Some(entry) = self.table.get(socket) else {
            return Sent::Failed(PeerFault::Reset);
        };
        let sent = transfer::send(entry, pool, unsent, more);
        self.await_room(socket, sent);
        sent
    }

    fn send_bytes(&mut self, socket: Socket, bytes: &[u8], more: bool) -> Sent {
        let Some(entry) = self.table.get(socket) else {
            return Sent::Failed(PeerFault::Reset);
        };
        let sent = transfer::send_slices(entry, &[bytes], more);
        self.await_room(socket, sent);
        sent
    }

    fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> u32 {
        self.table.get(socket).map_or(0, |entry| transfer::send_text(entry, text))
    }

    fn introduce(&mut self, socket: Socket, header: &[u8], more: bool) -> bool {
        self.table.get(socket).is_some_and(|entry| preface::introduce(entry, header, more))
    }

    fn ends(&mut self, socket: Socket) -> Option<[SocketAddr; 2]> {
        self.table.get(socket).and_then(|entry| entry.descriptor()).and_then(preface::ends)
    }

    fn spool_write(&mut self, pool: &Pool, from: &Cursor, piece: Piece, ticket: Ticket) -> bool {
        self.desk.as_mut().is_some_and(|desk| desk.write(pool, from, piece, ticket))
    }

    fn spool_read(&mut self, piece: Piece, ticket: Ticket) -> bool {
        self.desk.as_mut().is_some_and(|desk| desk.read(piece, ticket))
    }

    fn spool_take(
        &mut self,
        read: SpoolRead,
        pool: &mut Pool,
        chain: &mut Chain,
        promise: &mut Option<Promise>,
    ) -> u32 {
        self.desk.as_mut().map_or(0, |desk| desk.take(read, pool, chain, promise))
    }

    fn spool_drop(&mut self, read: SpoolRead) {
        if let Some(desk) = &mut self.desk {
            desk.forget(read);
        }
    }

    fn shutdown(&mut self, socket: Socket) {
        if let Some(descriptor) = self.table.get(socket).and_then(|entry| entry.descriptor()) {
            // It fails only when the connection is broken already, which is told elsewhere.
            let _ = shutdown(descriptor, Shutdown::Write);
        }
    }

    fn close(&mut self, socket: Socket) {
        let Some(descriptor) = self.table.take(socket) else {
            return;
        };
        if let Some(entry) = self.table.place(socket.index) {
            self.watcher.close(socket.index, entry, descriptor);
        }
        self.leave(socket.index);
    }

    fn reset(&mut self, socket: Socket) {
        if let Some(descriptor) = self.table.get(socket).and_then(|entry| entry.descriptor()) {
            // Where it cannot be set, the connection is closed all the same.
            let _ = sockopt::set_socket_linger(descriptor, Some(Duration::ZERO));
        }
        self.close(socket);
    }

    fn next(&mut self) -> Option<Completion> {
        // Sockets and disk take turns: neither keeps the other waiting.
        if !self.told_of_disk || self.notes.is_empty() {
            let done = self.desk.as_mut().and_then(Desk::next);
            self.told_of_disk = done.is_some();
            if done.is_some() {
                return done;
            }
        }
        self.told_of_disk = false;
        loop {
            let note = self.notes.pop()?;
            if let Some(completion) = self.tell(note) {
                return Some(completion);
            }
        }
    }

    fn poll(&mut self, until: Option<Instant>) {
        while let Some(socket) = self.newcomers.overdue(&mut self.table, self.clock.now()) {
            self.watch_newcomer(socket);
        }
        let due = self.newcomers.next(&mut self.table);
        let until = until.into_iter().chain(due).min();
        let spooled = self.desk.as_ref().is_some_and(Desk::has_next);
        let timeout = if self.notes.is_empty() && !spooled {
            self.clock.wait_for(until)
        } else {
            Some(Timespec::default())
        };
        let mut told = Told {
            table: &mut self.table,
            notes: &mut self.notes,
            servers: &self.servers,
            calling: 0,
            woken: false,
        };
        self.watcher.wait(timeout, &mut told);
        let Told { calling, woken, .. } = told;
        self.clock.read();
        if woken {
            self.waker.woken();
            self.notes.woken();
        }
        // Who is here came before who is new.
        self.accept(calling);
    }
}
