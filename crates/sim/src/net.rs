//! Connections, listeners and servers, as the network between peers and drivers sees them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;

use base::id::ServerId;
use base::time::Instant;
use driver::{AcceptFault, ConnectFault, PeerFault};

use crate::segments::Segments;
use crate::sockets::Station;
use crate::weather::Weather;

/// What a server does with new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerMode {
    /// Takes them; [`crate::World::accept`] gives them to the test.
    #[default]
    Accepts,
    /// Never answers.
    Hangs,
    /// Fails them after the call, as TCP does.
    Fails(ConnectFault),
    /// Fails them within the call, as a Unix socket does.
    FailsAtOnce(ConnectFault),
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    /// Bytes it holds before the reader reads.
    pub(crate) capacity: usize,
    /// The writer writes no more.
    pub(crate) ended: bool,
    /// Bytes that were taken and count as held still: those before others of the same piece.
    held: usize,
    /// How it counts them.
    pub(crate) counts: Counts,
}

/// How a pipe counts what was taken of a piece of which more is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counts {
    /// As gone.
    #[default]
    Rest,
    /// As held, as a kernel does.
    Pieces,
    /// As held, but there is room for all the same ([`driver::Driver::make_room`]).
    Roomy,
}

/// Bytes of the longest piece: what one packet of loopback holds.
const PIECE: usize = 64 << 10;

impl Pipe {
    const fn new(capacity: usize) -> Self {
        let bytes = VecDeque::new();
        Self { bytes, capacity, ended: false, held: 0, counts: Counts::Rest }
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        let held = if self.counts == Counts::Pieces { self.held } else { 0 };
        self.capacity.saturating_sub(self.bytes.len() + held)
    }

    /// The first `count` bytes were taken out: they were of one piece with those behind them.
    pub(crate) fn took(&mut self, count: usize) {
        self.held = if self.bytes.is_empty() { 0 } else { (self.held + count) % PIECE };
    }
}

/// Where the driver's end of a connection is.
#[derive(Debug)]
pub(crate) enum Place {
    /// Not accepted yet.
    Backlog,
    /// In a driver's table.
    Socket { worker: usize, index: u32 },
    /// Between two drivers; closed when nobody holds the token any more.
    Transit(Weak<()>),
    /// Closed.
    Gone,
}

/// How far the opening of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Open,
    Hanging,
    Failed(ConnectFault),
}

/// A connection between a peer played by the test and a driver.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) opening: Opening,
    pub(crate) to_driver: Pipe,
    pub(crate) to_peer: Pipe,
    pub(crate) place: Place,
    /// The server that took it; `None` if it comes from a client, or if none did.
    server: Option<ServerId>,
    /// The server that is to take it.
    wanted: Option<ServerId>,
    /// At which of its addresses, where they were told.
    pub(crate) address: Option<SocketAddr>,
    /// The client's address.
    pub(crate) from: IpAddr,
    /// The peer has closed: what is sent to it is lost and resets the connection.
    peer_gone: bool,
    /// It broke, as the driver's end finds.
    pub(crate) driver_fault: Option<PeerFault>,
    /// It was reset, as the peer finds.
    pub(crate) peer_reset: bool,
    /// Who plays the peer, where that is told of what happens.
    pub(crate) player: Option<u32>,
    /// That was told, and not yet heard.
    stirred: bool,
    /// The peer has more to write than there was room for.
    pub(crate) awaits_room: bool,
    /// When it was begun, and when a driver accepted it.
    pub(crate) began: Instant,
    pub(crate) accepted: Option<Instant>,
    /// Bytes of the peer's that drivers ever took.
    pub(crate) taken: usize,
    /// Its peer is about to end it while nothing is under way on it.
    pub(crate) retired: bool,
}

/// A listening address.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) waiting: VecDeque<usize>,
    /// What the next accepting will lack.
    pub(crate) fault: Option<AcceptFault>,
}

/// A server as the test set it up.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) mode: ServerMode,
    pub(crate) waiting: VecDeque<usize>,
    /// Connections that it ever took.
    pub(crate) opened: u64,
    /// Connections that are open now, from the driver's side.
    pub(crate) open: u32,
    /// Most that ever were.
    pub(crate) most_open: u32,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) connections: Vec<Connection>,
    pub(crate) backlogs: Vec<Backlog>,
    pub(crate) servers: Vec<Server>,
    pub(crate) stations: Vec<Station>,
    pub(crate) segments: Segments,
    pub(crate) pipe_bytes: usize,
    /// Connections on their way between drivers.
    pub(crate) transit: Vec<usize>,
    /// The spool's disk.
    pub(crate) disk: crate::disk::Disk,
    /// What happens by chance; nothing without.
    pub(crate) weather: Option<Weather>,
    /// Connections at which something happened that their players have not heard.
    pub(crate) stirred: Vec<usize>,
    /// How often bytes moved, or connections came and went.
    pub(crate) moved: u64,
    /// How often something was sent to a peer that had ended an idle connection, as its driver knew.
    pub(crate) stale_sends: u64,
    /// Whether what drivers do and tell is written down as it happens.
    pub(crate) traced: bool,
}

impl Net {
    /// A new connection; its name is its place in `connections`, never used again.
    pub(crate) fn open(&mut self, from: IpAddr) -> usize {
        self.moved += 1;
        self.connections.push(Connection {
            opening: Opening::Open,
            to_driver: Pipe::new(self.pipe_bytes),
            to_peer: Pipe::new(self.pipe_bytes),
            place: Place::Backlog,
            server: None,
            wanted: None,
            address: None,
            from,
            peer_gone: false,
            driver_fault: None,
            peer_reset: false,
            player: None,
            stirred: false,
            awaits_room: false,
            began: self.now,
            accepted: None,
            taken: 0,
            retired: false,
        });
        self.connections.len() - 1
    }

    /// Tells the driver that holds connection `id` to look at it when it polls.
    pub(crate) fn touch(&mut self, id: usize) {
        if let Place::Socket { worker, .. } = self.connections[id].place {
            self.stations[worker].touched.push(id);
        }
    }

    /// Tells the connection's player that something happened.
    pub(crate) fn stir(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        if connection.player.is_some() && !connection.stirred {
            connection.stirred = true;
            self.stirred.push(id);
        }
    }

    /// The player of the connection that was stirred first, once.
    pub(crate) fn heard(&mut self, id: usize) -> Option<u32> {
        let connection = &mut self.connections[id];
        connection.stirred = false;
        connection.player
    }

    /// The driver took bytes that the peer wrote.
    pub(crate) fn made_room(&mut self, id: usize, taken: usize) {
        self.connections[id].taken += taken;
        if std::mem::take(&mut self.connections[id].awaits_room) {
            self.stir(id);
        }
    }

    /// Writes down what happened, if that is wanted.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.traced {
            println!("{} {}", clock(self.now), text());
        }
    }

    /// Closes connections that were detached and dropped.
    pub(crate) fn reap(&mut self) {
        let transit = std::mem::take(&mut self.transit);
        for id in transit {
            match &self.connections[id].place {
                Place::Transit(token) if token.strong_count() == 0 => self.driver_close(id),
                Place::Transit(_) => self.transit.push(id),
                _ => {}
            }
        }
    }

    // What the peer does.

    /// Writes as much as fits. What is written to a closed socket resets the connection.
    pub(crate) fn peer_write(&mut self, id: usize, bytes: &[u8]) -> usize {
        self.reap();
        let connection = &mut self.connections[id];
        if connection.peer_reset || connection.driver_fault.is_some() || connection.to_driver.ended
        {
            return 0;
        }
        if matches!(connection.place, Place::Gone) {
            connection.reset_peer();
            return bytes.len();
        }
        let written = bytes.len().min(connection.to_driver.room());
        connection.to_driver.bytes.extend(&bytes[..written]);
        connection.awaits_room = written < bytes.len();
        self.touch(id);
        written
    }

    /// Reads at most `most` bytes.
    pub(crate) fn peer_read(&mut self, id: usize, most: usize) -> Vec<u8> {
        self.reap();
        let bytes = &mut self.connections[id].to_peer.bytes;
        let read: Vec<u8> = bytes.drain(..most.min(bytes.len())).collect();
        if !read.is_empty() {
            self.touch(id);
        }
        read
    }

    /// Reads at most `most` bytes behind those in `space`; how many.
    pub(crate) fn peer_read_into(&mut self, id: usize, most: usize, space: &mut Vec<u8>) -> usize {
        self.reap();
        let bytes = &mut self.connections[id].to_peer.bytes;
        let count = most.min(bytes.len());
        let (first, second) = bytes.as_slices();
        let split = count.min(first.len());
        space.extend_from_slice(&first[..split]);
        space.extend_from_slice(&second[..count - split]);
        bytes.drain(..count);
        if count > 0 {
            self.touch(id);
        }
        count
    }

    /// Ends the peer's direction.
    pub(crate) fn peer_end(&mut self, id: usize) {
        self.connections[id].to_driver.ended = true;
        self.touch(id);
    }

    /// Breaks the connection from the peer's side.
    pub(crate) fn peer_break(&mut self, id: usize, fault: PeerFault) {
        let connection = &mut self.connections[id];
        connection.driver_fault.get_or_insert(fault);
        connection.peer_gone = true;
        connection.to_peer.bytes.clear();
        self.touch(id);
    }

    /// Closes the peer's end: over unread bytes that is a reset.
    pub(crate) fn peer_close(&mut self, id: usize) {
        if !self.connections[id].to_peer.bytes.is_empty() {
            return self.peer_break(id, PeerFault::Reset);
        }
        self.connections[id].peer_gone = true;
        self.peer_end(id);
    }

    // What the driver does.

    /// Connects to a server that takes connections, or hangs, or fails later.
    pub(crate) fn driver_connect(
        &mut self,
        server: ServerId,
        from: IpAddr,
    ) -> Result<usize, ConnectFault> {
        let mode = self.servers.get(server.index()).map(|server| server.mode);
        let opening = match mode.ok_or(ConnectFault::Refused)? {
            ServerMode::Accepts => Opening::Open,
            ServerMode::Hangs => Opening::Hanging,
            ServerMode::Fails(fault) => Opening::Failed(fault),
            ServerMode::FailsAtOnce(fault) => return Err(fault),
        };
        let id = self.open(from);
        self.connections[id].wanted = Some(server);
        self.connections[id].opening = opening;
        if opening == Opening::Open {
            self.open_late(id);
        }
        Ok(id)
    }

    /// The server takes a connection that was begun, if it is still wanted.
    pub(crate) fn open_late(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        connection.opening = Opening::Open;
        if let Some(server) = connection.wanted
            && !matches!(connection.place, Place::Gone)
        {
            connection.server = Some(server);
            let server = &mut self.servers[server.index()];
            server.waiting.push_back(id);
            server.open += 1;
            server.opened += 1;
            server.most_open = server.most_open.max(server.open);
        }
    }

    /// Closes the driver's end: over unread bytes that is a reset.
    pub(crate) fn driver_close(&mut self, id: usize) {
        self.moved += 1;
        let connection = &mut self.connections[id];
        connection.place = Place::Gone;
        if connection.to_driver.bytes.is_empty() {
            connection.to_peer.ended = true;
        } else {
            connection.reset_peer();
        }
        connection.to_driver.bytes = VecDeque::new();
        if let Some(server) = connection.server {
            self.servers[server.index()].open -= 1;
        }
        self.stir(id);
    }

    /// Refuses a client that no driver has accepted.
    pub(crate) fn driver_refuse(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        connection.place = Place::Gone;
        connection.reset_peer();
        self.stir(id);
    }

    /// Takes bytes towards the peer, as far as there is room and `limit` allows.
    pub(crate) fn driver_send<'a>(
        &mut self,
        id: usize,
        slices: impl Iterator<Item = &'a [u8]>,
        limit: usize,
    ) -> Result<usize, PeerFault> {
        let connection = &mut self.connections[id];
        if let Some(fault) = connection.driver_fault {
            return Err(fault);
        }
        if connection.to_peer.ended {
            return Err(PeerFault::Reset);
        }
        let mut left = limit.min(connection.to_peer.room());
        let most = left;
        for slice in slices {
            let taken = &slice[..left.min(slice.len())];
            connection.to_peer.bytes.extend(taken);
            left -= taken.len();
        }
        if connection.peer_gone {
            connection.to_peer.bytes.clear();
            connection.driver_fault = Some(PeerFault::Reset);
        }
        self.touch(id);
        if most > left {
            self.moved += 1;
            self.stir(id);
        }
        Ok(most - left)
    }
}

/// The time as a trace shows it: seconds and microseconds.
pub(crate) fn clock(now: Instant) -> String {
    format!("{:>5}.{:06}", now.0 / 1_000_000_000, now.0 / 1000 % 1_000_000)
}

impl Connection {
    /// The reset reaches the peer before the bytes that it has not read.
    pub(crate) fn reset_peer(&mut self) {
        self.peer_reset = true;
        self.to_peer.bytes = VecDeque::new();
    }

    /// Whether a receive would find data, the end or a failure.
    pub(crate) fn is_readable(&self) -> bool {
        !self.to_driver.bytes.is_empty() || self.to_driver.ended || self.driver_fault.is_some()
    }

    /// Whether a send would find room or a failure.
    pub(crate) fn is_writable(&self) -> bool {
        self.to_peer.room() > 0 || self.driver_fault.is_some()
    }
}
