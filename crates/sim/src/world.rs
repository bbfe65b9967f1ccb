//! The network and the clock, as the test holds them.

#[expect(clippy::disallowed_types, reason = "a test's world, shared by its one thread")]
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use driver::{AcceptFault, Socket};

use crate::disk::{Disk, DiskMode};
use crate::memory::MemoryDriver;
use crate::net::{Backlog, Net, Server, ServerMode};
use crate::peer::Peer;
use crate::segments::Segments;
use crate::sockets::{Door, Station};
use crate::weather::Weather;

/// The network, held by the world, its drivers and its peers.
#[expect(clippy::disallowed_types, reason = "a test's world, shared by its one thread")]
pub(crate) type Shared = Rc<RefCell<Net>>;

/// The calendar time at which every world begins, since the Unix epoch: 1 November 2026,
/// 0:00 UTC, a Sunday.
pub const BEGINNING: Duration = Duration::from_hours(20_758 * 24);

/// How a world is made.
#[derive(Clone, Copy, Debug)]
pub struct WorldConfig {
    /// Listening addresses.
    pub listeners: u32,
    /// Servers, all accepting at first.
    pub servers: u32,
    /// Bytes that each direction of a connection holds.
    pub pipe_bytes: usize,
    /// How bytes are cut on their way.
    pub segments: Segments,
}

impl Default for WorldConfig {
    /// One listener, one server, 64 KiB in each direction, nothing cut.
    fn default() -> Self {
        Self { listeners: 1, servers: 1, pipe_bytes: 64 << 10, segments: Segments::Whole }
    }
}

/// A network in memory and its clock. Clones are the same world.
#[derive(Clone, Debug)]
pub struct World(Shared);

impl World {
    /// An empty world at the beginning of its time.
    #[expect(clippy::disallowed_types, reason = "a test's world, shared by its one thread")]
    pub fn new(config: WorldConfig) -> Self {
        let WorldConfig { listeners, servers, pipe_bytes, segments } = config;
        Self(Rc::new(RefCell::new(Net {
            now: Instant::default(),
            connections: Vec::new(),
            backlogs: (0..listeners).map(|_| Backlog::default()).collect(),
            servers: (0..servers).map(|_| Server::default()).collect(),
            stations: Vec::new(),
            segments,
            pipe_bytes,
            transit: Vec::new(),
            disk: Disk::default(),
            weather: None,
            stirred: Vec::new(),
            moved: 0,
            stale_sends: 0,
            traced: false,
        })))
    }

    /// A driver for one more worker, with room for `sockets` sockets.
    pub fn driver(&self, sockets: u32) -> MemoryDriver {
        let mut net = self.0.borrow_mut();
        let station = Station::new(sockets, net.backlogs.len(), net.now);
        net.stations.push(station);
        MemoryDriver::new(self.0.clone(), net.stations.len() - 1)
    }

    /// A new client from 192.0.2.1, in the listener's backlog until a driver that listens polls.
    /// When all drivers have stopped listening for good it is reset.
    pub fn connect(&self, listener: ListenerId) -> Peer {
        self.connect_from(listener, Ipv4Addr::new(192, 0, 2, 1).into())
    }

    /// The same from another address.
    pub fn connect_from(&self, listener: ListenerId, from: IpAddr) -> Peer {
        let mut net = self.0.borrow_mut();
        let id = net.open(from);
        if net.is_listening(listener) {
            net.backlogs[listener.index()].waiting.push_back(id);
        } else {
            net.driver_refuse(id);
        }
        Peer::new(self.0.clone(), id)
    }

    /// The server's end of the oldest connection to `server` that was not taken yet.
    pub fn accept(&self, server: ServerId) -> Option<Peer> {
        let id = self.0.borrow_mut().servers[server.index()].waiting.pop_front()?;
        Some(Peer::new(self.0.clone(), id))
    }

    /// What `server` does with connections from now on.
    pub fn set_server(&self, server: ServerId, mode: ServerMode) {
        self.0.borrow_mut().servers[server.index()].mode = mode;
    }

    /// Connections to `server` that no worker has closed, those nobody accepted included.
    pub fn connections_to(&self, server: ServerId) -> u32 {
        self.0.borrow().servers[server.index()].open
    }

    /// The most connections `server` ever had at one time.
    pub fn most_connections_to(&self, server: ServerId) -> u32 {
        self.0.borrow().servers[server.index()].most_open
    }

    /// Lets the next accepting from `listener` fail.
    pub fn fail_accept(&self, listener: ListenerId, fault: AcceptFault) {
        self.0.borrow_mut().backlogs[listener.index()].fault = Some(fault);
    }

    /// How many errands of one worker the spool's disk has at one time: as many as a real one, unless
    /// told.
    pub fn set_disk_room(&self, errands: usize) {
        self.0.borrow_mut().disk.set_room(errands);
    }

    /// Whether the end of this socket's peer would be told.
    pub fn awaits_end(&self, worker: usize, socket: Socket) -> bool {
        self.0.borrow_mut().stations[worker].awaits_end(socket)
    }

    /// Errands of a worker that are not done, or whose bytes were not taken.
    pub fn disk_errands(&self, worker: usize) -> usize {
        self.0.borrow().disk.out(worker)
    }

    /// How the spool's disk behaves from now on.
    pub fn set_disk(&self, mode: DiskMode) {
        self.0.borrow_mut().disk.set(mode);
    }

    /// How bytes are cut from now on.
    pub fn set_segments(&self, segments: Segments) {
        self.0.borrow_mut().segments = segments;
    }

    /// What happens by chance from now on.
    pub fn set_weather(&self, weather: Option<Weather>) {
        self.0.borrow_mut().weather = weather;
    }

    /// What drivers are told and tell is written to standard output from now on.
    pub fn trace(&self) {
        self.0.borrow_mut().traced = true;
    }

    /// Writes a line into the trace, if there is one.
    pub fn note(&self, text: impl FnOnce() -> String) {
        self.0.borrow().note(text);
    }

    /// Whether there is a trace.
    pub fn is_traced(&self) -> bool {
        self.0.borrow().traced
    }

    /// Calls `each` with the player of every connection at which something happened since the last
    /// call: bytes or an end came, or there is room again.
    pub fn stirred(&self, mut each: impl FnMut(u32)) {
        let mut net = self.0.borrow_mut();
        net.reap();
        while let Some(id) = net.stirred.pop() {
            if let Some(player) = net.heard(id) {
                each(player);
            }
        }
    }

    /// Whether a worker's driver would return from its poll now: something happened, or the moment
    /// it waits for has come.
    pub fn is_due(&self, worker: usize) -> bool {
        let mut net = self.0.borrow_mut();
        net.reap();
        let station = &net.stations[worker];
        let arrivals = || {
            let mut doors = station.doors.iter().zip(&net.backlogs);
            doors.any(|(door, backlog)| *door == Door::Open && !backlog.waiting.is_empty())
        };
        station.is_busy()
            || station.until.is_some_and(|until| until <= net.now)
            || (station.room > 0 && arrivals())
    }

    /// The disk does what is due, whoever waits for it.
    pub fn do_errands(&self) {
        self.0.borrow_mut().do_errands();
    }

    /// A worker would wait until then, if nothing happened: its last poll was told an earlier state.
    pub fn set_deadline(&self, worker: usize, until: Option<Instant>) {
        self.0.borrow_mut().stations[worker].until = until;
    }

    /// The moment for which a worker's driver waits.
    pub fn deadline_of(&self, worker: usize) -> Option<Instant> {
        self.0.borrow().stations[worker].until
    }

    /// When the disk has done its next errand.
    pub fn disk_due(&self) -> Option<Instant> {
        self.0.borrow().disk.next_due()
    }

    /// How often bytes moved, or connections came and went: whether anything happens at all.
    pub fn moved(&self) -> u64 {
        self.0.borrow().moved
    }

    /// How often a driver's owner sent something to a peer that had ended an idle connection, though
    /// the driver had told so, or would have if asked.
    pub fn stale_sends(&self) -> u64 {
        self.0.borrow().stale_sends
    }

    /// A connection whose peer waits for room while its worker waits for more: neither will ever come.
    pub(crate) fn stuck(&self) -> Option<usize> {
        let net = self.0.borrow();
        let awake = net.stations.iter().filter(|station| !station.is_busy());
        awake.flat_map(Station::listening).find(|&id| {
            let connection = &net.connections[id];
            connection.awaits_room && connection.to_driver.room() == 0
        })
    }

    /// Connections to `server` that nobody has accepted yet.
    pub fn unaccepted(&self, server: ServerId) -> usize {
        self.0.borrow().servers[server.index()].waiting.len()
    }

    /// Connects that hang are taken by their servers now.
    pub fn end_hanging(&self) {
        self.0.borrow_mut().end_hanging();
    }

    /// Moves the clock. Drivers see it when they poll.
    pub fn advance(&self, length: Duration) {
        let mut net = self.0.borrow_mut();
        net.now = net.now + length;
    }

    /// Moves the clock to the earliest moment for which a driver waits, if that lies ahead.
    /// Returns whether it did.
    pub fn advance_to_deadline(&self) -> bool {
        let Some(deadline) = self.next_deadline() else { return false };
        let mut net = self.0.borrow_mut();
        let ahead = deadline > net.now;
        net.now = net.now.max(deadline);
        ahead
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// The earliest moment for which a driver waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        let net = self.0.borrow();
        net.stations.iter().filter_map(|station| station.until).chain(net.disk.next_due()).min()
    }

    /// Whether no driver has anything to do before time moves or a peer acts.
    pub fn is_still(&self) -> bool {
        let mut net = self.0.borrow_mut();
        net.reap();
        let net = &*net;
        net.disk.next_due().is_none_or(|due| due > net.now)
            && !net.stations.iter().any(|station| {
                station.is_busy()
                    || station
                        .doors
                        .iter()
                        .zip(&net.backlogs)
                        .any(|(door, backlog)| *door == Door::Open && !backlog.waiting.is_empty())
            })
    }

    /// Sockets that are open in all drivers together, those closed whose last completion was
    /// not taken out included: 0 after an orderly end.
    pub fn open_sockets(&self) -> u32 {
        self.0.borrow().stations.iter().map(Station::used).sum()
    }
}
