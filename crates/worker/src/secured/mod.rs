//! The driver as the worker sees it: connections that are secured (TLS) look like all others.
//!
//! Plain connections go through at the cost of one look. A secured one has a [`Slot`] beside the
//! driver's record. What it has sent stays with the kernel until a record is whole: it is looked at
//! ([`Driver::peek`]), decrypted in scratch and put into the chain of whoever asked, so that neither
//! a handshake nor half a record holds a buffer. What is sent is gathered in scratch, encrypted there
//! and given to the socket at once; only what that does not take is kept, in buffers that were
//! counted before.
//!
//! - `slot`: what is known of a secured connection; - `handshake`: until it is open;
//! - `receive`, `send`: bytes of an open one; - `part`: a record that is not whole yet; - `parts`: what is
//!   kept of handshake messages that are not; - `places`: what may be decrypted ahead of its buffers.

mod audit;
mod handshake;
mod part;
mod parts;
mod places;
mod receive;
mod send;
mod slot;

pub use parts::handshake_bytes;
pub use places::ahead_places;
pub(crate) use receive::Idle;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use base::id::{ListenerId, ServerId};
use base::limits::{TLS_BATCH, TLS_FLIGHT_MAX, TLS_SEND};
use base::time::Instant;
use driver::{
    Completion, ConnectFault, Driver, Owner, Peeked, PeerFault, Received, Sent, Socket, SpoolRead,
    Ticket,
};
use exchange::TlsFacts;
use pool::{Audit, Chain, Cursor, Flaw, Pool, Promise};
use spool::Piece;
use tls::{Acceptor, Agreed, Connector, Failure};

use crate::counters::WorkerCounters;
use crate::plan::ServerTls;
use parts::Parts;
use places::Places;
use slot::{Awaits, Party, Place, Slot, Stage};

/// The bit of a driver's owner that marks a secured connection; the rest is its place.
const SECURED: u32 = 1 << 30;

/// What happened, as the worker is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// What a driver tells.
    Driver(Completion),
    /// A client's handshake is over: it may ask.
    Secured(Owner),
    /// A client's handshake failed, and it was told so: it is to be closed without losing that.
    Refused(Owner, Failure),
    /// Something that concerns nobody else.
    Handled,
}

/// A connection on its way from one worker to another, with its session if it has one.
#[derive(Debug)]
pub struct Carried<T> {
    connection: T,
    slot: Option<Box<Slot>>,
}

/// What TLS takes of every worker, whatever comes: scratch.
pub const SCRATCH_BYTES: usize = TLS_BATCH + TLS_SEND + TLS_FLIGHT_MAX;

/// Memory that is used within one call.
struct Scratch {
    /// What was peeked.
    incoming: Box<[u8]>,
    /// What is to be encrypted.
    plain: Box<[u8]>,
    /// What was.
    outgoing: Box<[u8]>,
}

/// What makes sessions.
pub(crate) struct Makers {
    /// By listener: those of its clients.
    pub(crate) acceptors: Vec<Option<Acceptor>>,
    /// By server: those with it; none of those beyond is secured.
    pub(crate) servers: Vec<Option<ServerTls>>,
}

/// A driver, and the sessions of its secured connections.
pub(crate) struct Secured<D: Driver> {
    driver: D,
    makers: Makers,
    /// By the driver's place of the socket; empty if nothing is ever secured.
    slots: Vec<Option<Box<Slot>>>,
    /// Places with plaintext that is to be told of without the driver's help.
    ready: VecDeque<u32>,
    /// Those of connections whose plaintext waits for buffers.
    places: Places,
    parts: Parts,
    scratch: Scratch,
    counters: Arc<WorkerCounters>,
}

impl<D: Driver> Secured<D> {
    /// `driver`, of which at most `sockets` are secured, beside a pool of so many buffers of so many bytes.
    pub(crate) fn new(
        driver: D,
        makers: Makers,
        sockets: u32,
        [buffers, buffer_bytes]: [u32; 2],
        counters: Arc<WorkerCounters>,
    ) -> Self {
        let any = makers.acceptors.iter().any(Option::is_some)
            || makers.servers.iter().any(Option::is_some);
        let asks = makers.acceptors.iter().flatten().any(Acceptor::asks)
            || makers.servers.iter().flatten().any(|server| server.connector.signs());
        let handshakes = handshake_bytes(asks, buffers, buffer_bytes);
        let places = ahead_places(buffers, buffer_bytes);
        let memory = |bytes| vec![0; if any { bytes } else { 0 }].into_boxed_slice();
        let sockets = if any { sockets as usize } else { 0 };
        Self {
            driver,
            makers,
            slots: (0..sockets).map(|_| None).collect(),
            ready: VecDeque::with_capacity(sockets),
            places: Places::new(if any { places } else { 0 }, sockets, Arc::clone(&counters)),
            parts: Parts::new(handshakes, Arc::clone(&counters)),
            scratch: Scratch {
                incoming: memory(TLS_BATCH),
                plain: memory(TLS_SEND),
                outgoing: memory(TLS_FLIGHT_MAX),
            },
            counters,
        }
    }

    /// Sessions of this listener's clients are made by another acceptor from now on.
    pub(crate) fn set_acceptor(&mut self, listener: ListenerId, acceptor: Acceptor) {
        if let Some(own) = self.makers.acceptors.get_mut(listener.index())
            && own.is_some()
        {
            *own = Some(acceptor);
        }
    }

    /// Sessions with this server are made by another connector from now on.
    pub(crate) fn set_connector(&mut self, server: ServerId, connector: Connector) {
        if let Some(Some(own)) = self.makers.servers.get_mut(server.index()) {
            own.connector = connector;
        }
    }

    /// What a client of that listener sends from now on is TLS, if that is spoken there.
    pub(crate) fn secure(&mut self, socket: Socket, listener: ListenerId, owner: Owner) {
        if self.secures(listener) {
            self.insert(Slot::new(socket, Party::Client(listener)));
            self.own(socket, owner);
        }
    }

    /// Whether the clients of a listener are secured.
    pub(crate) fn secures(&self, listener: ListenerId) -> bool {
        self.makers.acceptors.get(listener.index()).is_some_and(Option::is_some)
    }

    /// Whether a client's handshake is not over.
    pub(crate) fn is_shaking(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| slot.is_client() && slot.stage == Stage::Handshake)
    }

    /// How a connection is secured, if it is.
    pub(crate) fn tls_facts(&self, socket: Socket) -> Option<TlsFacts<'_>> {
        self.slot(socket).map(Slot::facts)
    }

    /// What was agreed on with a peer, if it speaks TLS.
    pub(crate) fn agreed(&self, socket: Socket) -> Option<Agreed> {
        self.slot(socket)?.session.as_deref()?.agreed()
    }

    #[inline]
    fn slot(&self, socket: Socket) -> Option<&Slot> {
        let slot = self.slots.get(socket.index as usize)?.as_deref()?;
        (slot.socket == socket).then_some(slot)
    }

    #[inline]
    fn is_plain(&self, socket: Socket) -> bool {
        self.slot(socket).is_none()
    }

    fn insert(&mut self, slot: Slot) {
        let socket = slot.socket;
        if let Some(place) = self.slots.get_mut(socket.index as usize) {
            debug_assert!(place.is_none(), "the place was given up");
            if let Some(session) = slot.session.as_deref() {
                self.parts.add(session);
            }
            *place = Some(Box::new(slot));
            self.counters.tls_sessions.increment();
        }
    }

    /// Takes the slot out, and gives back what it holds.
    fn remove(&mut self, socket: Socket, pool: &mut Pool) -> Option<Box<Slot>> {
        if self.is_plain(socket) {
            return None;
        }
        self.leave_line(socket);
        let mut slot = self.slots.get_mut(socket.index as usize)?.take()?;
        slot.unsent.clear(pool);
        self.forget_ahead(&mut slot);
        if let Some(session) = slot.session.as_deref() {
            self.parts.remove(session);
        }
        self.counters.tls_sessions.sub(1);
        Some(slot)
    }

    fn forget_ahead(&mut self, slot: &mut Slot) {
        if slot.ahead.take().is_some() {
            self.places.give_back(slot.side());
        }
    }

    /// It waits for no place any more. Whether it did.
    fn leave_line(&mut self, socket: Socket) -> bool {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return false };
        let place = core::mem::replace(&mut slot.place, Place::NotAwaited);
        if place == Place::InLine {
            self.places.leave(slot.side(), socket.index);
        }
        place != Place::NotAwaited
    }

    /// Whether there is something to tell of that the driver does not know.
    pub(crate) fn has_news(&self) -> bool {
        !self.ready.is_empty() || self.places.is_due()
    }

    /// Gives back every buffer: the worker ends.
    pub(crate) fn give_up(&mut self, pool: &mut Pool) {
        for slot in self.slots.iter_mut().flatten() {
            slot.unsent.clear(pool);
        }
    }

    /// Whether something of a connection is kept in buffers.
    pub(crate) fn holds_buffers(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| !slot.unsent.chain().is_empty())
    }

    /// Whether some of what the worker was not yet told of is encrypted, and perhaps on its way.
    pub(crate) fn has_encrypted(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| slot.bytes_awaited() > 0)
    }

    /// Whether its records wait until less is ahead of its buffers.
    pub(crate) fn awaits_place(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| slot.place != Place::NotAwaited)
    }

    /// Whether something is encrypted and not sent, or decrypted and not asked for.
    pub(crate) fn has_under_way(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| !slot.unsent.is_empty() || slot.ahead.is_some())
    }

    /// Shows every chain that is held here.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) -> Result<(), Flaw> {
        self.slots.iter().flatten().try_for_each(|slot| audit.chain(slot.unsent.chain()))
    }

    /// The next thing that happened.
    pub(crate) fn next(&mut self, pool: &mut Pool) -> Option<Event> {
        while let Some(index) = self.ready.pop_front() {
            let slot = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut);
            if let Some(slot) = slot.filter(|slot| slot.told_ready) {
                slot.told_ready = false;
                let owner = slot.owner;
                self.driver.disarm(slot.socket);
                return Some(Event::Driver(Completion::Readable { owner }));
            }
        }
        if let Some(index) = self.places.call()
            && let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut)
        {
            slot.place = Place::NotAwaited;
            return Some(Event::Driver(Completion::Readable { owner: slot.owner }));
        }
        let completion = self.driver.next()?;
        Some(self.translate(completion, pool))
    }

    /// What a completion of the driver comes to.
    fn translate(&mut self, completion: Completion, pool: &mut Pool) -> Event {
        match completion {
            Completion::Readable { owner } => match place_of(owner) {
                Some(index) => self.readable(index),
                None => Event::Driver(completion),
            },
            Completion::Sent { owner, .. } => match place_of(owner) {
                Some(index) => self.has_room(index, pool),
                None => Event::Driver(completion),
            },
            Completion::Failed { owner, fault } => {
                let Some(owner) = self.owner_at(owner) else { return Event::Handled };
                Event::Driver(Completion::Failed { owner, fault })
            }
            Completion::Ended { owner } => {
                let Some(owner) = self.owner_at(owner) else { return Event::Handled };
                Event::Driver(Completion::Ended { owner })
            }
            Completion::Connected { owner } => match place_of(owner) {
                Some(index) => self.greet(index),
                None => Event::Driver(completion),
            },
            Completion::ConnectFailed { owner, fault } => {
                let Some(owner) = self.owner_at(owner) else { return Event::Handled };
                Event::Driver(Completion::ConnectFailed { owner, fault })
            }
            _ => Event::Driver(completion),
        }
    }

    /// The worker's name of an owner.
    fn owner_at(&self, owner: Owner) -> Option<Owner> {
        match place_of(owner) {
            None => Some(owner),
            Some(index) => self.slots.get(index as usize)?.as_deref().map(|slot| slot.owner),
        }
    }

    /// A handshake did not come to its end, or an open session broke a rule.
    fn fail(&mut self, index: u32, failure: Failure) {
        let slot = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut);
        let Some(slot) = slot else { return };
        slot.failure = Some(failure);
        let failures = match slot.party {
            Party::Client(_) => &self.counters.tls_failures,
            Party::Server(_) => &self.counters.tls_server_failures,
        };
        failures[failure as usize].increment();
    }

    // Calls of a driver.

    pub(crate) fn own(&mut self, socket: Socket, owner: Owner) {
        match slot_of(&mut self.slots, socket) {
            Some(slot) => {
                slot.owner = owner;
                self.driver.own(socket, Owner(SECURED | socket.index));
            }
            None => self.driver.own(socket, owner),
        }
    }

    pub(crate) fn arm(&mut self, socket: Socket) {
        if let Some(slot) = slot_of(&mut self.slots, socket)
            && slot.has_something()
            && !slot.told_ready
        {
            slot.told_ready = true;
            self.ready.push_back(socket.index);
        }
        // Who stands in line is told when its turn has come, and of nothing before.
        match slot_of(&mut self.slots, socket) {
            Some(slot) if slot.place == Place::Wanted => {
                slot.place = Place::InLine;
                self.places.stand(slot.side(), socket.index);
            }
            Some(slot) if slot.place == Place::InLine => {}
            _ => self.driver.arm(socket),
        }
    }

    pub(crate) fn disarm(&mut self, socket: Socket) {
        let waited = self.leave_line(socket);
        if let Some(slot) = slot_of(&mut self.slots, socket) {
            slot.told_ready = false;
            slot.place = if waited { Place::Wanted } else { Place::NotAwaited };
        }
        self.driver.disarm(socket);
    }

    pub(crate) fn is_quiet(&mut self, socket: Socket) -> bool {
        self.idle(socket) == Idle::Silent
    }

    /// Whether nothing has come but the beginning of a record at most: a goodbye, perhaps.
    pub(crate) fn is_quiet_so_far(&mut self, socket: Socket) -> bool {
        self.idle(socket) != Idle::Over
    }

    /// What came of a peer from which nothing is awaited.
    fn idle(&mut self, socket: Socket) -> Idle {
        let slot = self.slot(socket);
        if slot.is_some_and(|slot| slot.ahead.is_some() || slot.has_ended()) {
            return Idle::Over;
        }
        let talks = slot.is_some_and(|slot| !slot.is_client() && slot.stage == Stage::Open);
        let half = slot.is_some_and(|slot| slot.part.is_there());
        match self.driver.is_quiet(socket) {
            true if half => Idle::Part,
            true => Idle::Silent,
            false if talks => self.absorb(socket),
            false => Idle::Over,
        }
    }

    /// Whether a peer has said anything to shake hands with.
    pub(crate) fn has_spoken(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| slot.session.is_some())
    }

    /// Why a session is over, if it failed.
    pub(crate) fn failure(&self, socket: Socket) -> Option<Failure> {
        self.slot(socket)?.failure
    }

    /// Whether a peer failed while data was exchanged, and was told so.
    pub(crate) fn has_told_alert(&self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(|slot| slot.told_alert)
    }

    pub(crate) fn has_unread(&mut self, socket: Socket) -> bool {
        self.slot(socket).is_some_and(Slot::has_something) || self.driver.has_unread(socket)
    }

    /// What still comes is discarded: for that nobody waits for a place.
    pub(crate) fn wants_no_place(&mut self, socket: Socket) {
        self.leave_line(socket);
    }

    /// Whoever ends our direction waits for no more room. The peer may go on, and waits for a place as it
    /// did (half of a tunnel).
    pub(crate) fn shutdown(&mut self, socket: Socket) {
        if let Some(slot) = slot_of(&mut self.slots, socket) {
            slot.awaits = Awaits::Nothing;
        }
        if !self.is_plain(socket) && !self.say_goodbye(socket) {
            // Behind what is still to be sent.
            return;
        }
        self.driver.shutdown(socket);
    }

    pub(crate) fn close(&mut self, socket: Socket, pool: &mut Pool) {
        if !self.is_plain(socket) {
            self.say_goodbye(socket);
        }
        self.leave(socket, pool);
        self.driver.close(socket);
    }

    pub(crate) fn reset(&mut self, socket: Socket, pool: &mut Pool) {
        self.leave(socket, pool);
        self.driver.reset(socket);
    }

    /// The driver's last word about it concerns the worker alone.
    fn leave(&mut self, socket: Socket, pool: &mut Pool) {
        if let Some(slot) = self.remove(socket, pool) {
            self.driver.own(socket, slot.owner);
        }
    }

    pub(crate) fn detach(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
    ) -> Option<Carried<D::Detached>> {
        // What a handshake still has to say goes along.
        let unsent = slot_of(&mut self.slots, socket).map(|slot| slot.unsent.take(pool));
        let mut slot = self.remove(socket, pool);
        if let Some((slot, unsent)) = slot.as_mut().zip(unsent) {
            slot.unsent.keep_aside(&unsent);
        }
        let connection = self.driver.detach(socket)?;
        Some(Carried { connection, slot })
    }

    pub(crate) fn attach(
        &mut self,
        carried: Carried<D::Detached>,
        owner: Owner,
    ) -> Result<Socket, ConnectFault> {
        let Carried { connection, slot } = carried;
        let socket = self.driver.attach(connection, owner)?;
        if let Some(slot) = slot {
            self.insert(Slot { socket, ..*slot });
            self.own(socket, owner);
            self.send_aside(socket);
        }
        Ok(socket)
    }

    /// What is aside goes on its way, and is told of when there is room. A transport that broke is
    /// told of anyway.
    fn send_aside(&mut self, socket: Socket) {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return };
        while !slot.unsent.is_empty()
            && let Sent::Now(n) = self.driver.send_bytes(socket, slot.unsent.aside(), false)
        {
            slot.unsent.sent_aside(n as usize);
        }
    }

    /// What is sent of a handshake or an alert: what the transport does not take is kept.
    fn send_now(&mut self, socket: Socket, written: usize) -> Result<(), PeerFault> {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return Ok(()) };
        let bytes = &self.scratch.outgoing[..written];
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = if slot.unsent.is_empty() {
            self.driver.send_bytes(socket, bytes, false)
        } else {
            Sent::Later
        };
        match sent {
            Sent::Now(n) if n as usize == written => Ok(()),
            Sent::Now(n) => {
                slot.unsent.keep_aside(&bytes[n as usize..]);
                // The driver tells when there is room.
                match self.driver.send_bytes(socket, slot.unsent.aside(), false) {
                    Sent::Now(n) => slot.unsent.sent_aside(n as usize),
                    Sent::Later => {}
                    Sent::Failed(fault) => return Err(fault),
                }
                Ok(())
            }
            Sent::Later => {
                slot.unsent.keep_aside(bytes);
                Ok(())
            }
            Sent::Failed(fault) => Err(fault),
        }
    }
}

/// The slot of a secured connection; none of any other.
fn slot_of(slots: &mut [Option<Box<Slot>>], socket: Socket) -> Option<&mut Slot> {
    let slot = slots.get_mut(socket.index as usize)?.as_deref_mut()?;
    (slot.socket == socket).then_some(slot)
}

/// The place that an owner of the driver names, if it is that of a secured connection.
const fn place_of(owner: Owner) -> Option<u32> {
    // Nobody and upstream connections have the highest bit, too.
    if owner.0 != u32::MAX && owner.0 & SECURED != 0 { Some(owner.0 & !SECURED) } else { None }
}

/// What has nothing to do with TLS.
impl<D: Driver> Secured<D> {
    pub(crate) fn now(&self) -> Instant {
        self.driver.now()
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.driver.wall()
    }

    pub(crate) fn listen(&mut self, listener: ListenerId) {
        self.driver.listen(listener);
    }

    pub(crate) fn accept_at_most(&mut self, clients: u32) {
        self.driver.accept_at_most(clients);
    }

    pub(crate) fn pause(&mut self, listener: ListenerId) {
        self.driver.pause(listener);
    }

    pub(crate) fn stop_listening(&mut self, listener: ListenerId) {
        self.driver.stop_listening(listener);
    }

    pub(crate) fn connect(
        &mut self,
        server: ServerId,
        owner: Owner,
    ) -> Result<Socket, ConnectFault> {
        let socket = self.driver.connect(server, owner)?;
        if self.makers.servers.get(server.index()).is_some_and(Option::is_some) {
            self.insert(Slot::new(socket, Party::Server(server)));
            self.own(socket, owner);
        }
        Ok(socket)
    }

    pub(crate) fn set_addresses(&mut self, server: ServerId, addresses: &[SocketAddr]) {
        self.driver.set_addresses(server, addresses);
    }

    pub(crate) fn is_listed(&mut self, socket: Socket, server: ServerId) -> bool {
        self.driver.is_listed(socket, server)
    }

    pub(crate) fn await_end(&mut self, socket: Socket) {
        self.driver.await_end(socket);
    }

    pub(crate) fn peek(&mut self, socket: Socket, space: &mut [u8]) -> Peeked {
        debug_assert!(self.is_plain(socket), "what is beneath TLS is read before it begins");
        self.driver.peek(socket, space)
    }

    pub(crate) fn skip(&mut self, socket: Socket, bytes: usize) {
        self.driver.skip(socket, bytes, false);
    }

    pub(crate) fn introduce(&mut self, socket: Socket, header: &[u8], more: bool) -> bool {
        // It would have to stand before TLS: the settings do not let both be asked for.
        self.is_plain(socket) && self.driver.introduce(socket, header, more)
    }

    pub(crate) fn ends(&mut self, socket: Socket) -> Option<[SocketAddr; 2]> {
        self.driver.ends(socket)
    }

    pub(crate) fn discard(&mut self, socket: Socket) -> Received {
        self.leave_line(socket);
        if let Some(slot) = slot_of(&mut self.slots, socket) {
            // Whoever discards waits for the transport's own end.
            slot.end_told |= slot.has_ended();
            if slot.ahead.take().is_some() {
                self.places.give_back(slot.side());
            }
        }
        self.driver.discard(socket)
    }

    pub(crate) fn spool_write(
        &mut self,
        pool: &Pool,
        from: &Cursor,
        piece: Piece,
        ticket: Ticket,
    ) -> bool {
        self.driver.spool_write(pool, from, piece, ticket)
    }

    pub(crate) fn spool_read(&mut self, piece: Piece, ticket: Ticket) -> bool {
        self.driver.spool_read(piece, ticket)
    }

    pub(crate) fn spool_take(
        &mut self,
        read: SpoolRead,
        pool: &mut Pool,
        chain: &mut Chain,
        promise: &mut Option<Promise>,
    ) -> u32 {
        self.driver.spool_take(read, pool, chain, promise)
    }

    pub(crate) fn spool_drop(&mut self, read: SpoolRead) {
        self.driver.spool_drop(read);
    }

    pub(crate) fn poll(&mut self, until: Option<Instant>) {
        let until = if self.has_news() { Some(self.driver.now()) } else { until };
        self.driver.poll(until);
    }
}
