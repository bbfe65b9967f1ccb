//! The driver that a worker gets.
//!
//! What it allocates itself is not counted as the worker's: see `allocation_counter::opt_out`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use allocation_counter::opt_out;
use base::id::{ListenerId, ServerId};
use base::time::Instant;
use driver::{
    Completion, ConnectFault, Driver, Owner, Peeked, PeerFault, Received, Sent, Socket, SpoolRead,
    Then, Ticket, Wake, put_behind,
};
use pool::{Chain, Cursor, Fill, FillError, Pool, Promise};
use spool::Piece;

use crate::net::{Counts, Net, Pipe, Place};
use crate::sockets::{Door, Note, Station};
use crate::weather::Weather;
use crate::world::{BEGINNING, Shared};

/// Where every client comes from, beside its address, and where it came in.
const CLIENT_PORT: u16 = 40_000;
const OWN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 80);

/// Bytes discarded by one call.
const DISCARD_BYTES: usize = 16 << 10;

/// A [`Driver`] over a [`crate::World`]. It never blocks and never moves the clock.
#[derive(Debug)]
pub struct MemoryDriver {
    net: Shared,
    worker: usize,
}

/// A connection on its way between two drivers of one world. Dropping it closes it.
#[derive(Debug)]
pub struct Detached {
    connection: usize,
    token: Arc<()>,
}

impl MemoryDriver {
    pub(crate) const fn new(net: Shared, worker: usize) -> Self {
        Self { net, worker }
    }

    /// Does something with this driver's own state.
    fn station<T>(&mut self, act: impl FnOnce(&mut Station) -> T) -> T {
        self.net(|net, worker| act(&mut net.stations[worker]))
    }

    /// Does something in the network. It is the world's own, and may allocate.
    fn net<T>(&mut self, act: impl FnOnce(&mut Net, usize) -> T) -> T {
        let mut done = None;
        opt_out(|| done = Some(act(&mut self.net.borrow_mut(), self.worker)));
        let Some(done) = done else { unreachable!("what is called is done") };
        done
    }

    /// Whether a send waits for room.
    fn is_waiting(&mut self, socket: Socket) -> bool {
        self.station(|station| station.get(socket).is_some_and(|(entry, _)| entry.waiting))
    }

    /// Sends slices, cut or whole, unless no room is known.
    fn offer(&mut self, socket: Socket, slices: &[&[u8]], cut: bool) -> Sent {
        self.net(|net, worker| net.offer(worker, socket, slices, cut))
    }
}

/// A driver closes what it has when it is dropped.
impl Drop for MemoryDriver {
    fn drop(&mut self) {
        // A panicking test may hold the network; nobody needs an orderly end then.
        if let Ok(mut net) = self.net.try_borrow_mut() {
            net.end_station(self.worker);
        }
    }
}

/// Moves bytes out of a pipe; the number moved.
fn pour(pipe: &mut Pipe, spaces: &mut [&mut [u8]], limit: usize) -> usize {
    let mut poured = 0;
    for space in spaces {
        let count = space.len().min(pipe.bytes.len()).min(limit - poured);
        let (first, second) = pipe.bytes.as_slices();
        let split = count.min(first.len());
        space[..split].copy_from_slice(&first[..split]);
        space[split..count].copy_from_slice(&second[..count - split]);
        pipe.bytes.drain(..count);
        pipe.took(count);
        poured += count;
    }
    poured
}

impl Driver for MemoryDriver {
    type Detached = Detached;

    fn now(&self) -> Instant {
        self.net.borrow().stations[self.worker].now
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGINNING + self.now().since(Instant::default())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.net.borrow().stations[self.worker].waker.clone()
    }

    fn listen(&mut self, listener: ListenerId) {
        self.station(|station| {
            if let Some(door) = station.doors.get_mut(listener.index())
                && *door == Door::Paused
            {
                *door = Door::Open;
            }
        });
    }

    fn accept_at_most(&mut self, clients: u32) {
        self.station(|station| station.room = clients);
    }

    fn pause(&mut self, listener: ListenerId) {
        self.station(|station| {
            if let Some(door) = station.doors.get_mut(listener.index())
                && *door == Door::Open
            {
                *door = Door::Paused;
            }
        });
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        self.net(|net, worker| {
            net.accept(worker, listener, u32::MAX);
            net.stations[worker].doors[listener.index()] = Door::Stopped;
            if !net.is_listening(listener) {
                net.refuse_waiting(listener);
            }
        });
    }

    fn connect(&mut self, server: ServerId, owner: Owner) -> Result<Socket, ConnectFault> {
        self.net(|net, worker| net.connect(worker, server, owner))
    }

    fn set_addresses(&mut self, server: ServerId, addresses: &[SocketAddr]) {
        self.station(|station| station.addresses.insert(server, addresses.to_vec()));
    }

    fn is_listed(&mut self, socket: Socket, server: ServerId) -> bool {
        self.net(|net, worker| {
            let station = &mut net.stations[worker];
            let Some((_, id)) = station.get(socket) else { return false };
            let address = net.connections[id].address;
            let own = station.addresses.get(&server);
            own.is_none_or(|own| address.is_some_and(|address| own.contains(&address)))
        })
    }

    fn own(&mut self, socket: Socket, owner: Owner) {
        self.station(|station| {
            if let Some((entry, _)) = station.get(socket) {
                entry.owner = Some(owner);
                station.note_state(socket.index);
            }
        });
    }

    fn detach(&mut self, socket: Socket) -> Option<Detached> {
        self.net(|net, worker| {
            let station = &mut net.stations[worker];
            let (connection, _) = station.take(socket)?;
            station.notes.push_back(Note::Left { index: socket.index });
            let token = Arc::new(());
            net.connections[connection].place = Place::Transit(Arc::downgrade(&token));
            net.transit.push(connection);
            Some(Detached { connection, token })
        })
    }

    fn attach(&mut self, detached: Detached, owner: Owner) -> Result<Socket, ConnectFault> {
        let Detached { connection, token } = detached;
        let placed = self.net(|net, worker| {
            if net.weather.as_mut().is_some_and(Weather::refuses_to_watch) {
                net.driver_close(connection);
                return Err(ConnectFault::Exhausted);
            }
            net.place(connection, worker, owner)
        });
        // From here on the table holds the connection, or it is closed.
        drop(token);
        placed
    }

    fn arm(&mut self, socket: Socket) {
        self.station(|station| {
            if let Some((entry, _)) = station.get(socket) {
                entry.armed = true;
                entry.awaits_end = false;
                station.note_state(socket.index);
            }
        });
    }

    fn disarm(&mut self, socket: Socket) {
        self.station(|station| {
            if let Some((entry, _)) = station.get(socket) {
                entry.armed = false;
                entry.awaits_end = false;
                station.note_state(socket.index);
            }
        });
    }

    fn await_end(&mut self, socket: Socket) {
        self.station(|station| {
            if let Some((entry, _)) = station.get(socket) {
                entry.awaits_end = true;
                station.note_state(socket.index);
            }
        });
    }

    fn is_quiet(&mut self, socket: Socket) -> bool {
        self.station(|station| {
            station.get(socket).is_some_and(|(entry, _)| !entry.readable && entry.fault.is_none())
        })
    }

    fn has_unread(&mut self, socket: Socket) -> bool {
        !self.is_quiet(socket)
    }

    fn receive(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        chain: &mut Chain,
        fill: Fill,
        promise: &mut Option<Promise>,
    ) -> Received {
        let mut net = self.net.borrow_mut();
        let net = &mut *net;
        let Some((entry, id)) = net.stations[self.worker].get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        if !entry.readable {
            return Received::Nothing;
        }
        let limit = net.segments.next_limit();
        let pipe = &mut net.connections[id].to_driver;
        // What the pool does is the worker's, and counted.
        let filled =
            pool.fill(chain, fill, promise, |spaces| Ok::<_, PeerFault>(pour(pipe, spaces, limit)));
        match filled {
            Ok(received) => {
                let mut found = Received::Nothing;
                opt_out(|| found = net.settle_receive(self.worker, socket, received));
                found
            }
            Err(FillError::NoBuffer) => Received::NoBuffer,
            Err(FillError::Receive(fault)) => Received::Failed(fault),
        }
    }

    fn peek(&mut self, socket: Socket, space: &mut [u8]) -> Peeked {
        self.net(|net, worker| {
            let Some((entry, id)) = net.stations[worker].get(socket) else {
                return Peeked::nothing(Then::Failed(PeerFault::Reset));
            };
            let pipe = &net.connections[id].to_driver;
            let count = if entry.readable { pipe.bytes.len().min(space.len()) } else { 0 };
            for (place, byte) in space.iter_mut().zip(pipe.bytes.iter().take(count)) {
                *place = *byte;
            }
            let then = match entry.fault {
                Some(fault) => Then::Failed(fault),
                None if entry.readable && pipe.ended => Then::Ended,
                None => Then::More,
            };
            // What came before a connection broke comes first.
            let broken = count == 0 && entry.fault.is_some();
            entry.reported |= broken;
            entry.readable &= broken;
            Peeked { count, then }
        })
    }

    fn skip(&mut self, socket: Socket, bytes: usize, settled: bool) {
        self.net(|net, worker| {
            let Some((entry, id)) = net.stations[worker].get(socket) else { return };
            let connection = &mut net.connections[id];
            connection.to_driver.bytes.drain(..bytes);
            connection.to_driver.took(bytes);
            entry.readable = !settled || connection.to_driver.ended || entry.fault.is_some();
            if bytes > 0 {
                net.moved += 1;
                net.made_room(id, bytes);
            }
        });
    }

    fn make_room(&mut self, socket: Socket) {
        self.net(|net, worker| {
            let Some((_, id)) = net.stations[worker].get(socket) else { return };
            let counts = &mut net.connections[id].to_driver.counts;
            if *counts == Counts::Pieces {
                *counts = Counts::Roomy;
                net.made_room(id, 0);
            }
        });
    }

    fn discard(&mut self, socket: Socket) -> Received {
        self.net(|net, worker| {
            let Some((entry, id)) = net.stations[worker].get(socket) else {
                return Received::Failed(PeerFault::Reset);
            };
            if !entry.readable {
                return Received::Nothing;
            }
            let pipe = &mut net.connections[id].to_driver;
            let count = pipe.bytes.len().min(DISCARD_BYTES).min(net.segments.next_limit());
            pipe.bytes.drain(..count);
            pipe.took(count);
            net.settle_receive(worker, socket, count)
        })
    }

    fn send(&mut self, socket: Socket, pool: &Pool, unsent: &Cursor, _more: bool) -> Sent {
        self.offer(socket, &pool.view(unsent), true)
    }

    fn send_bytes(&mut self, socket: Socket, bytes: &[u8], _more: bool) -> Sent {
        self.offer(socket, &[bytes], true)
    }

    fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> u32 {
        let waited = self.is_waiting(socket);
        let sent = self.offer(socket, &[text], false);
        self.station(|station| {
            if let Some((entry, _)) = station.get(socket) {
                // Nobody is told when there is room for a text.
                entry.waiting = waited;
            }
        });
        if let Sent::Now(bytes) = sent { bytes } else { 0 }
    }

    fn introduce(&mut self, socket: Socket, header: &[u8], _more: bool) -> bool {
        let whole = u32::try_from(header.len()).unwrap_or(u32::MAX);
        self.offer(socket, &[header], false) == Sent::Now(whole)
    }

    fn ends(&mut self, socket: Socket) -> Option<[SocketAddr; 2]> {
        self.net(|net, worker| {
            let (_, id) = net.stations[worker].get(socket)?;
            let from = net.connections[id].from;
            let peer = SocketAddr::new(from, CLIENT_PORT);
            (!from.is_unspecified()).then_some([peer, OWN_ADDRESS])
        })
    }

    fn spool_write(&mut self, pool: &Pool, from: &Cursor, piece: Piece, ticket: Ticket) -> bool {
        self.net(|net, worker| {
            let mut bytes = vec![0; piece.len as usize];
            assert_eq!(pool.copy_from(from, &mut bytes), bytes.len(), "as long as its bytes");
            net.disk.accept(worker, piece, ticket, Some(bytes), net.now)
        })
    }

    fn spool_read(&mut self, piece: Piece, ticket: Ticket) -> bool {
        self.net(|net, worker| net.disk.accept(worker, piece, ticket, None, net.now))
    }

    fn spool_take(
        &mut self,
        read: SpoolRead,
        pool: &mut Pool,
        chain: &mut Chain,
        promise: &mut Option<Promise>,
    ) -> u32 {
        let bytes = self.net(|net, worker| net.disk.take(worker, read));
        put_behind(&bytes, pool, chain, promise)
    }

    fn spool_drop(&mut self, read: SpoolRead) {
        self.net(|net, worker| net.disk.take(worker, read));
    }

    fn shutdown(&mut self, socket: Socket) {
        self.net(|net, worker| {
            if let Some((_, id)) = net.stations[worker].get(socket) {
                net.connections[id].to_peer.ended = true;
                net.stir(id);
            }
        });
    }

    fn close(&mut self, socket: Socket) {
        self.net(|net, worker| net.close(worker, socket));
    }

    fn reset(&mut self, socket: Socket) {
        self.net(|net, worker| {
            if let Some((_, id)) = net.stations[worker].get(socket) {
                net.connections[id].reset_peer();
            }
            net.close(worker, socket);
        });
    }

    fn next(&mut self) -> Option<Completion> {
        self.net(|net, worker| {
            // Arrivals are told at once: they were let in for the places that were free.
            let arrives = net.stations[worker].has_arrivals();
            if !arrives && net.weather.as_mut().is_some_and(Weather::holds_back) {
                return None;
            }
            let completion = net.stations[worker].next()?;
            net.note(|| format!("worker {worker}: {completion:?}"));
            Some(completion)
        })
    }

    fn poll(&mut self, until: Option<Instant>) {
        self.net(|net, worker| net.poll(worker, until));
    }
}
