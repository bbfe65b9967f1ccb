//! What the worker keeps of each upstream connection; policy about them is the bus's.

use std::time::Duration;

use base::fifo::{Linked, Links};
use base::id::{ConnectionId, ExchangeId, TunnelId};
use base::time::Instant;
use driver::Socket;

use crate::deadline::{ClassMark, Deadlines, Timed, Timer};
use crate::plan::Timeouts;

/// One upstream connection.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) socket: Socket,
    /// Who uses it: holds the lease, or keeps it pinned.
    pub(crate) user: Option<User>,
    /// A send is under way.
    pub(crate) sending: bool,
    /// Receiving stopped because the client is too far behind.
    pub(crate) stalled: bool,
    /// Its address is not its server's any more: it is closed when its lease ends.
    pub(crate) outdated: bool,
    /// Its end, once it has begun.
    pub(crate) ending: Ending,
    timer: Timer,
    class: ClassMark,
}

impl Upstream {
    /// The exchange that holds the lease.
    pub(crate) const fn exchange(&self) -> Option<ExchangeId> {
        match self.user {
            Some(User::Exchange(exchange)) => Some(exchange),
            _ => None,
        }
    }
}

/// Who uses an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// One request and its response.
    Exchange(ExchangeId),
    /// What an exchange became.
    Tunnel(TunnelId),
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is in use or idle.
    No,
    /// The server has a part of a request and gets no more of it: a reset tells so, where an
    /// orderly end may pass for the request's own.
    CutOff,
    /// Its last response is read. When it is closed, the server's own end is awaited first, so
    /// that the server never sees one connection more than it is allowed (law 6).
    Parting,
    /// We ended our direction and await the server's end.
    Parted,
    /// Only [`driver::Completion::Closed`] is awaited.
    Closing,
}

impl Ending {
    /// Whether nothing more is asked of the connection.
    pub(crate) const fn has_begun(self) -> bool {
        matches!(self, Self::Parted | Self::Closing)
    }
}

/// The classes of deadlines on the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Progress {
    Connect,
    FirstByte,
    Response,
    /// The next event of a pinned connection.
    Event,
    /// Anything from either end of a tunnel.
    Tunnel,
    /// Anything from the end of a tunnel that has not ended, where the other has.
    HalfClosed,
    /// Until the server ends a connection that is not used any more.
    Parting,
}

impl Progress {
    pub(crate) const ALL: [Self; 7] = [
        Self::Connect,
        Self::FirstByte,
        Self::Response,
        Self::Event,
        Self::Tunnel,
        Self::HalfClosed,
        Self::Parting,
    ];
    pub(crate) const COUNT: usize = Self::ALL.len();
}

/// All upstream connections of the worker, numbered by the bus.
pub(crate) struct Upstreams {
    table: Table,
    deadlines: Deadlines<{ Progress::COUNT }>,
}

struct Table(Vec<Option<Upstream>>);

impl Table {
    fn record(&mut self, index: u32) -> &mut Upstream {
        let record = self.0.get_mut(index as usize).and_then(Option::as_mut);
        record.expect("a deadline outlives its connection")
    }
}

impl Linked for Table {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.record(index).timer.links
    }
}

impl Timed for Table {
    fn timer(&mut self, index: u32) -> &mut Timer {
        &mut self.record(index).timer
    }

    fn mark(&mut self, index: u32) -> &mut ClassMark {
        &mut self.record(index).class
    }
}

impl Upstream {
    /// Whether a deadline is set for it.
    pub(crate) fn has_deadline(&self) -> bool {
        self.class != ClassMark::NONE
    }
}

impl Upstreams {
    pub(crate) fn new(capacity: u32, timeouts: &Timeouts) -> Self {
        let lengths: [Duration; Progress::COUNT] = Progress::ALL.map(|progress| match progress {
            Progress::Connect => timeouts.connect,
            Progress::FirstByte => timeouts.first_byte,
            Progress::Response => timeouts.response,
            Progress::Event => timeouts.idle,
            Progress::Tunnel => timeouts.tunnel,
            Progress::HalfClosed => timeouts.half_closed.min(timeouts.tunnel),
            Progress::Parting => base::limits::PARTING,
        });
        // Touched only as far as there ever were connections: pinned ones may be many.
        let table = Table(Vec::with_capacity(capacity as usize));
        Self { table, deadlines: Deadlines::new(lengths) }
    }

    pub(crate) fn insert(&mut self, id: ConnectionId, socket: Socket) {
        let table = &mut self.table.0;
        debug_assert!(id.index() < table.capacity(), "the bus numbers them within its table");
        if table.len() <= id.index() {
            table.resize_with(id.index() + 1, || None);
        }
        let place = &mut table[id.index()];
        debug_assert!(place.is_none(), "a number is given again only after Closed");
        *place = Some(Upstream {
            socket,
            user: None,
            sending: false,
            stalled: false,
            outdated: false,
            ending: Ending::No,
            timer: Timer::default(),
            class: ClassMark::NONE,
        });
    }

    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Upstream> {
        self.table.0.get_mut(id.index())?.as_mut()
    }

    /// All of them, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Upstream)> {
        let numbered = (0..).map(ConnectionId).zip(&self.table.0);
        numbered.filter_map(|(id, place)| Some((id, place.as_ref()?)))
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Upstream> {
        if self.get(id).is_some() {
            self.disarm(id);
        }
        self.table.0.get_mut(id.index())?.take()
    }

    pub(crate) fn arm(&mut self, id: ConnectionId, progress: Progress, now: Instant) {
        self.deadlines.arm(&mut self.table, id.0, progress as usize, now.tick());
    }

    /// Arms it unless something is awaited of it already.
    pub(crate) fn arm_anew(&mut self, id: ConnectionId, progress: Progress, now: Instant) {
        if self.get(id).is_some_and(|upstream| upstream.class == ClassMark::NONE) {
            self.arm(id, progress, now);
        }
    }

    pub(crate) fn disarm(&mut self, id: ConnectionId) {
        self.deadlines.disarm(&mut self.table, id.0);
    }

    /// Changes the length of a class, for those that wait in it too.
    pub(crate) fn set_length(&mut self, progress: Progress, length: Duration) {
        self.deadlines.set_length(progress as usize, &mut self.table, length);
    }

    pub(crate) fn expired(&mut self, now: Instant) -> Option<(Progress, ConnectionId)> {
        let (class, index) = self.deadlines.expired(&mut self.table, now.tick())?;
        Some((Progress::ALL[class], ConnectionId(index)))
    }

    /// The connection armed longest ago in a class.
    pub(crate) fn first(&self, progress: Progress) -> Option<ConnectionId> {
        self.deadlines.first(progress as usize).map(ConnectionId)
    }

    /// The one armed next after it.
    pub(crate) fn after(&mut self, progress: Progress, id: ConnectionId) -> Option<ConnectionId> {
        self.deadlines.after(progress as usize, &mut self.table, id.0).map(ConnectionId)
    }

    /// How many milliseconds ago it was armed.
    pub(crate) fn armed_for(&mut self, progress: Progress, id: ConnectionId, now: Instant) -> u32 {
        self.deadlines.armed_for(progress as usize, &mut self.table, id.0, now.tick())
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.deadlines.next(now)
    }
}
