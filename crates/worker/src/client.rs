//! Clients: one small record each, and nothing else for one that is parked (law 1).

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use base::fifo::{Linked, Links};
use base::id::{ClientId, ExchangeId, ListenerId, TunnelId};
use base::slab::{HasLinks, Slab};
use base::time::Instant;
use driver::{Owner, Socket};
use exchange::Exchange;

use crate::deadline::{ClassMark, Deadlines, Timed, Timer};
use crate::limit::Counted;
use crate::plan::Timeouts;

/// One accepted connection from outside.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: Socket,
    timer: Timer,
    pub(crate) state: ClientState,
    /// Unspecified for a client on a Unix socket; of IPv4 as IPv6 has it.
    peer: Ipv6Addr,
    /// As the PROXY header says; 0 without one.
    port: u16,
    listener: u8,
    class: ClassMark,
}

// With the driver's 16 bytes a parked client costs 64 bytes.
const _: () = assert!(size_of::<Option<Client>>() <= 48);
const _: () = assert!(base::limits::LISTENERS_MAX <= u8::MAX as u32);

/// What a client awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// The header that says whose connection it is. It owns nothing else.
    ProxyHeader,
    /// Its next request. It owns nothing else.
    Parked,
    /// What its exchange awaits.
    Active(ExchangeId),
    /// What either end of its tunnel sends.
    Tunnel(TunnelId),
    /// The end of what it still sends, so that our answer is not destroyed by a reset.
    Lingering {
        /// Bytes discarded so far.
        discarded: u32,
    },
    /// The driver's last word about its socket.
    Closing,
}

impl Client {
    pub(crate) fn new(socket: Socket, listener: ListenerId, peer: IpAddr) -> Self {
        Self {
            socket,
            timer: Timer::default(),
            state: ClientState::Parked,
            peer: mapped(peer),
            port: 0,
            listener: u8::try_from(listener.0).unwrap_or(u8::MAX),
            class: ClassMark::NONE,
        }
    }

    pub(crate) fn listener(&self) -> ListenerId {
        ListenerId(u32::from(self.listener))
    }

    /// The address, if it came over IP.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        let peer = IpAddr::V6(self.peer).to_canonical();
        (!self.peer.is_unspecified()).then_some(peer)
    }

    /// The same with the port that its PROXY header named; 0 without one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.peer().map(|peer| SocketAddr::new(peer, self.port))
    }

    /// Its PROXY header names this address.
    pub(crate) fn comes_from(&mut self, address: SocketAddr) {
        (self.peer, self.port) = (mapped(address.ip()), address.port());
    }

    /// How long it still has, if it waits in that class of deadlines.
    pub(crate) fn left(&self, patience: Patience, now: Instant) -> Option<Duration> {
        self.class.is(patience as usize).then(|| self.timer.left(now))
    }

    /// Whether a deadline is set for it.
    pub(crate) fn has_deadline(&self) -> bool {
        self.class != ClassMark::NONE
    }

    pub(crate) const fn exchange(&self) -> Option<ExchangeId> {
        match self.state {
            ClientState::Active(exchange) => Some(exchange),
            _ => None,
        }
    }

    pub(crate) const fn tunnel(&self) -> Option<TunnelId> {
        match self.state {
            ClientState::Tunnel(tunnel) => Some(tunnel),
            _ => None,
        }
    }
}

/// An address as IPv6 has it; both unspecified ones as one.
const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) if four.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

impl HasLinks for Client {
    fn links_mut(&mut self) -> &mut Links {
        &mut self.timer.links
    }
}

/// The table of clients.
pub(crate) struct Clients {
    pub(crate) table: Slab<Client>,
    pub(crate) deadlines: Deadlines<{ Patience::COUNT }>,
    pub(crate) counted: Counted,
}

impl Clients {
    /// Whom a request is from: whom a trusted proxy names, else its client. `None` on a Unix socket.
    pub(crate) fn whom(&self, exchange: &Exchange) -> Option<IpAddr> {
        exchange.facts.client.or_else(|| self.get(exchange.client)?.peer())
    }
}

/// A worker that fails takes its clients with it.
impl Drop for Clients {
    fn drop(&mut self) {
        for (_, client) in self.table.iter() {
            self.counted.leave(client);
        }
    }
}

/// The classes of deadlines on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Patience {
    Idle,
    /// Idle, and without a word so far.
    New,
    /// Until its TLS handshake is over.
    Handshake,
    Head,
    /// For the verdict on whether it may.
    Verdict,
    Body,
    /// In the ready queue, or waiting for a first buffer.
    Queue,
    Write,
    Linger,
    /// During an event stream, by a client that holds a buffer.
    Stream,
}

impl Patience {
    pub(crate) const ALL: [Self; 10] = [
        Self::Idle,
        Self::New,
        Self::Handshake,
        Self::Head,
        Self::Verdict,
        Self::Body,
        Self::Queue,
        Self::Write,
        Self::Linger,
        Self::Stream,
    ];
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// For how long.
    const fn length(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Idle | Self::New | Self::Stream => timeouts.idle,
            Self::Handshake => timeouts.handshake,
            Self::Head => timeouts.head,
            Self::Verdict => timeouts.authorize,
            Self::Body => timeouts.body_progress,
            Self::Queue => timeouts.queue,
            Self::Write => timeouts.write_progress,
            Self::Linger => base::limits::LINGER,
        }
    }
}

struct Table<'t>(&'t mut Slab<Client>);

impl Linked for Table<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index].timer.links
    }
}

impl Timed for Table<'_> {
    fn timer(&mut self, index: u32) -> &mut Timer {
        &mut self.0[index].timer
    }

    fn mark(&mut self, index: u32) -> &mut ClassMark {
        &mut self.0[index].class
    }
}

impl Clients {
    pub(crate) fn new(capacity: u32, timeouts: &Timeouts, counted: Counted) -> Self {
        let lengths = Patience::ALL.map(|patience| patience.length(timeouts));
        Self { table: Slab::new(capacity), deadlines: Deadlines::new(lengths), counted }
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.table.get(id.0)
    }

    pub(crate) fn set_state(&mut self, id: ClientId, state: ClientState) {
        if let Some(client) = self.table.get_mut(id.0) {
            client.state = state;
        }
    }

    pub(crate) fn arm(&mut self, id: ClientId, patience: Patience, now: Instant) {
        self.deadlines.arm(&mut Table(&mut self.table), id.0, patience as usize, now.tick());
    }

    /// Whether its deadline is of that class.
    pub(crate) fn waits(&self, id: ClientId, patience: Patience) -> bool {
        self.get(id).is_some_and(|client| client.class.is(patience as usize))
    }

    /// Whether it has not said a word so far.
    pub(crate) fn is_new(&self, id: ClientId) -> bool {
        self.waits(id, Patience::New)
    }

    /// Whether it has as long as whoever asks for nothing.
    pub(crate) fn is_idle(&self, id: ClientId) -> bool {
        self.waits(id, Patience::Idle) || self.waits(id, Patience::New)
    }

    pub(crate) fn disarm(&mut self, id: ClientId) {
        self.deadlines.disarm(&mut Table(&mut self.table), id.0);
    }

    pub(crate) fn expired(&mut self, now: Instant) -> Option<(Patience, ClientId)> {
        let (class, index) = self.deadlines.expired(&mut Table(&mut self.table), now.tick())?;
        Some((Patience::ALL[class], ClientId(index)))
    }

    /// The client armed longest ago in a class.
    pub(crate) fn first(&self, patience: Patience) -> Option<ClientId> {
        self.deadlines.first(patience as usize).map(ClientId)
    }

    /// The one armed next after it.
    pub(crate) fn after(&mut self, patience: Patience, id: ClientId) -> Option<ClientId> {
        let next = self.deadlines.after(patience as usize, &mut Table(&mut self.table), id.0);
        next.map(ClientId)
    }

    /// How many milliseconds ago it was armed.
    pub(crate) fn armed_for(&mut self, patience: Patience, id: ClientId, now: Instant) -> u32 {
        let class = patience as usize;
        self.deadlines.armed_for(class, &mut Table(&mut self.table), id.0, now.tick())
    }

    /// Shortens how long parked clients are kept: so long at most, whatever `timeouts` says.
    pub(crate) fn shorten_idle(&mut self, most: Duration, timeouts: &Timeouts) {
        for patience in [Patience::Idle, Patience::New, Patience::Handshake] {
            let length = most.min(patience.length(timeouts));
            self.deadlines.set_length(patience as usize, &mut Table(&mut self.table), length);
        }
    }
}

/// Whom a completion concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Client(ClientId),
    Upstream(base::id::ConnectionId),
    /// Nobody any more: a client turned away at once.
    Nobody,
}

/// The bit of an owner that marks an upstream connection.
const UPSTREAM: u32 = 1 << 31;
const NOBODY: u32 = u32::MAX;

impl Party {
    pub(crate) const fn owner(self) -> Owner {
        match self {
            Self::Client(id) => Owner(id.0),
            Self::Upstream(id) => Owner(id.0 | UPSTREAM),
            Self::Nobody => Owner(NOBODY),
        }
    }

    pub(crate) const fn of(owner: Owner) -> Self {
        match owner.0 {
            NOBODY => Self::Nobody,
            index if index & UPSTREAM != 0 => {
                Self::Upstream(base::id::ConnectionId(index & !UPSTREAM))
            }
            index => Self::Client(ClientId(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::id::ConnectionId;

    #[test]
    fn every_deadline_stands_at_its_own_place() {
        for (index, patience) in Patience::ALL.into_iter().enumerate() {
            assert_eq!(patience as usize, index, "{patience:?}");
        }
    }

    #[test]
    fn owners_name_their_party() {
        for party in [Party::Client(ClientId(7)), Party::Upstream(ConnectionId(7)), Party::Nobody] {
            assert_eq!(Party::of(party.owner()), party);
        }
    }
}
