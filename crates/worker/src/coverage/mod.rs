//! What met what: each event that reached an exchange, a client or an upstream connection, and the
//! state it found there.
//!
//! [`cell`] says which meetings cannot happen, and why. With debug assertions every meeting is
//! checked against it; with the feature `coverage` meetings are counted too, so that the simulator
//! can tell which never happened. Without both nothing of this is compiled.

mod table;

use base::id::{ClientId, ConnectionId, ExchangeId};
use driver::{Completion, Driver, Owner, SpoolDone, Ticket};
use exchange::{Exchange, Mishap, Phase};

use crate::client::{ClientState, Party};
use crate::turn::Worker;
use crate::upstream::{Ending, User};

pub use crate::client::Patience;
pub use crate::upstream::Progress;
pub use table::{Cell, cell};

/// In what state an event found whom it concerned: an exchange, or a client or an upstream
/// connection without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A client whose PROXY header is awaited.
    ProxyHeader,
    /// A client whose TLS handshake is not over.
    Shaking,
    /// A client without an exchange.
    Parked,
    /// An exchange.
    Exchange(Phase),
    /// A client that is told its answer's end, and whose bytes are discarded.
    Lingering,
    /// A client of which the driver's last word is awaited.
    Closing,
    /// An exchange that is over, or never was.
    Gone,
    /// An upstream connection that is being opened.
    Connecting,
    /// An upstream connection that is open and not leased.
    Idle,
    /// An upstream connection that is not needed any more, and about to be closed or to move.
    Spent,
    /// An upstream connection whose server's end is awaited.
    Parting,
    /// An upstream connection of which the driver's last word is awaited.
    Leaving,
}

impl State {
    /// Every state: clients, exchanges in the order of their life, upstream connections.
    pub const ALL: [Self; 20] = [
        Self::ProxyHeader,
        Self::Shaking,
        Self::Parked,
        Self::Exchange(Phase::Arriving),
        Self::Exchange(Phase::Authorizing),
        Self::Exchange(Phase::Collecting),
        Self::Exchange(Phase::Ready),
        Self::Exchange(Phase::Leased),
        Self::Exchange(Phase::Pending),
        Self::Exchange(Phase::Draining),
        Self::Exchange(Phase::Delivering),
        Self::Exchange(Phase::Tunnel),
        Self::Lingering,
        Self::Closing,
        Self::Gone,
        Self::Connecting,
        Self::Idle,
        Self::Spent,
        Self::Parting,
        Self::Leaving,
    ];

    /// A short name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProxyHeader => "header",
            Self::Shaking => "shaking",
            Self::Parked => "parked",
            Self::Exchange(phase) => phase.label(),
            Self::Lingering => "lingering",
            Self::Closing => "closing",
            Self::Gone => "gone",
            Self::Connecting => "connecting",
            Self::Idle => "idle",
            Self::Spent => "spent",
            Self::Parting => "parting",
            Self::Leaving => "leaving",
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|&other| other == self).unwrap_or_default()
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Event {
    ClientReadable,
    ClientEnded,
    ClientSent,
    ClientFailed,
    ClientClosed,
    /// A deadline of the client's side ran out.
    Late(Patience),
    /// Its TLS handshake came to its end, or failed.
    Secured,
    Unsecured,
    /// Its address may not be here.
    Dismissed,
    /// Its address may not be here any more.
    Expelled,
    Drain,
    Stop,
    ServerConnected,
    ServerConnectFailed,
    ServerReadable,
    ServerSent,
    ServerFailed,
    ServerClosed,
    /// A deadline of the server's side ran out.
    ServerLate(Progress),
    HandedOver,
    PipelinedTurn,
    BufferGranted,
    /// It is known whether the client may.
    VerdictCame,
    LeaseGranted,
    /// The connection that was leased had ended.
    LeaseStale,
    /// The ready queue was full.
    LeaseRefused,
    DiskWrote,
    DiskRead,
    DiskFailed,
    Mishap(Mishap),
}

const EVENTS: usize = 43 + Mishap::ALL.len();

impl Event {
    /// Every event.
    pub const ALL: [Self; EVENTS] = {
        let mut all = [Self::Drain; EVENTS];
        let told = [
            Self::ClientReadable,
            Self::ClientEnded,
            Self::ClientSent,
            Self::ClientFailed,
            Self::ClientClosed,
            Self::Late(Patience::Idle),
            Self::Late(Patience::New),
            Self::Late(Patience::Handshake),
            Self::Late(Patience::Head),
            Self::Late(Patience::Verdict),
            Self::Late(Patience::Body),
            Self::Late(Patience::Queue),
            Self::Late(Patience::Write),
            Self::Late(Patience::Linger),
            Self::Late(Patience::Stream),
            Self::Secured,
            Self::Unsecured,
            Self::Dismissed,
            Self::Expelled,
            Self::Drain,
            Self::Stop,
            Self::ServerConnected,
            Self::ServerConnectFailed,
            Self::ServerReadable,
            Self::ServerSent,
            Self::ServerFailed,
            Self::ServerClosed,
            Self::ServerLate(Progress::Connect),
            Self::ServerLate(Progress::FirstByte),
            Self::ServerLate(Progress::Response),
            Self::ServerLate(Progress::Event),
            Self::ServerLate(Progress::Tunnel),
            Self::ServerLate(Progress::HalfClosed),
            Self::ServerLate(Progress::Parting),
            Self::HandedOver,
            Self::PipelinedTurn,
            Self::BufferGranted,
            Self::VerdictCame,
            Self::LeaseGranted,
            Self::LeaseStale,
            Self::LeaseRefused,
            Self::DiskWrote,
            Self::DiskRead,
            Self::DiskFailed,
        ];
        let mut at = 0;
        while at < EVENTS {
            all[at] =
                if at < told.len() { told[at] } else { Self::Mishap(Mishap::ALL[at - told.len()]) };
            at += 1;
        }
        all
    };

    /// Whether it concerns a client, with or without an exchange.
    pub const fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::ClientReadable
                | Self::ClientEnded
                | Self::ClientSent
                | Self::ClientFailed
                | Self::ClientClosed
                | Self::Late(_)
                | Self::Secured
                | Self::Unsecured
                | Self::Dismissed
                | Self::Expelled
                | Self::Drain
                | Self::Stop
        )
    }

    /// Whether it concerns a connection to a server, leased or not.
    pub const fn is_of_server(self) -> bool {
        matches!(
            self,
            Self::ServerConnected
                | Self::ServerConnectFailed
                | Self::ServerReadable
                | Self::ServerSent
                | Self::ServerFailed
                | Self::ServerClosed
                | Self::ServerLate(_)
                | Self::HandedOver
        )
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|&other| other == self).unwrap_or_default()
    }

    /// What it is called in the table that is printed.
    pub fn label(self) -> String {
        match self {
            Self::Late(class) => format!("late: {class:?}"),
            Self::ServerLate(class) => format!("server late: {class:?}"),
            Self::Mishap(mishap) => format!("mishap: {mishap:?}"),
            event => format!("{event:?}"),
        }
    }
}

impl Event {
    /// Whom a completion concerns, and what it is to a client and to a connection to a server.
    fn of(completion: Completion) -> Option<(Owner, Option<Self>, Option<Self>)> {
        use Completion as C;
        Some(match completion {
            C::Readable { owner } => {
                (owner, Some(Self::ClientReadable), Some(Self::ServerReadable))
            }
            C::Ended { owner } => (owner, Some(Self::ClientEnded), None),
            C::Sent { owner, .. } => (owner, Some(Self::ClientSent), Some(Self::ServerSent)),
            C::Connected { owner } => (owner, None, Some(Self::ServerConnected)),
            C::ConnectFailed { owner, .. } => (owner, None, Some(Self::ServerConnectFailed)),
            C::Failed { owner, .. } => (owner, Some(Self::ClientFailed), Some(Self::ServerFailed)),
            C::Closed { owner } => (owner, Some(Self::ClientClosed), Some(Self::ServerClosed)),
            C::Accepted { .. } | C::AcceptFailed { .. } | C::Spooled { .. } | C::Woken => {
                return None;
            }
        })
    }
}

impl From<Patience> for Event {
    fn from(patience: Patience) -> Self {
        Self::Late(patience)
    }
}

impl From<Progress> for Event {
    fn from(progress: Progress) -> Self {
        Self::ServerLate(progress)
    }
}

/// How often each event met each state.
#[derive(Clone, Debug)]
pub struct Coverage {
    #[cfg(feature = "coverage")]
    counts: Box<[[u64; State::ALL.len()]; EVENTS]>,
}

impl Coverage {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "coverage")]
            counts: Box::new([[0; State::ALL.len()]; EVENTS]),
        }
    }

    #[cfg_attr(
        not(feature = "coverage"),
        expect(clippy::unused_self, reason = "nothing is counted then")
    )]
    fn meets(&mut self, event: Event, state: State) {
        if let Cell::Never(reason) = cell(event, state) {
            panic!("{event:?} meets {state:?}, though {reason}");
        }
        #[cfg(feature = "coverage")]
        {
            self.counts[event.index()][state.index()] += 1;
        }
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self::new()
    }
}

impl Coverage {
    /// Whether this build counts.
    pub const COUNTS: bool = cfg!(feature = "coverage");

    /// How often they met.
    #[cfg(feature = "coverage")]
    pub fn count(&self, event: Event, state: State) -> u64 {
        self.counts[event.index()][state.index()]
    }

    /// How often they met, if anybody counted.
    #[cfg(not(feature = "coverage"))]
    pub const fn count(&self, _: Event, _: State) -> u64 {
        0
    }

    /// Adds what another worker met.
    #[cfg(feature = "coverage")]
    pub fn add(&mut self, other: &Self) {
        for (sums, counts) in self.counts.iter_mut().zip(other.counts.iter()) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }

    /// Adds what another worker met, if anybody counted.
    #[cfg(not(feature = "coverage"))]
    pub const fn add(&mut self, _: &Self) {}
}

/// Whether anybody looks at what meets what.
const LOOKS: bool = cfg!(any(debug_assertions, feature = "coverage"));

impl<D: Driver> Worker<D> {
    /// What this worker's clients, exchanges and connections met.
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn state_of_exchange(&self, id: ExchangeId) -> State {
        let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
        phase.map_or(State::Gone, State::Exchange)
    }

    fn state_of_client(&self, id: ClientId) -> State {
        let Some(client) = self.clients.get(id) else { return State::Gone };
        match client.state {
            ClientState::ProxyHeader => State::ProxyHeader,
            ClientState::Parked if self.driver.is_shaking(client.socket) => State::Shaking,
            ClientState::Parked => State::Parked,
            ClientState::Active(exchange) => self.state_of_exchange(exchange),
            ClientState::Tunnel(_) => State::Exchange(Phase::Tunnel),
            ClientState::Lingering { .. } => State::Lingering,
            ClientState::Closing => State::Closing,
        }
    }

    fn state_of_upstream(&mut self, id: ConnectionId) -> State {
        let Some(upstream) = self.upstreams.get(id) else { return State::Gone };
        match (upstream.ending, upstream.user) {
            (Ending::Closing, _) => State::Leaving,
            (Ending::Parted, _) => State::Parting,
            (_, Some(User::Exchange(exchange))) => self.state_of_exchange(exchange),
            (_, Some(User::Tunnel(_))) => State::Exchange(Phase::Tunnel),
            (_, None) if self.bus.is_connecting(id) => State::Connecting,
            // One that is to be passed through is not listened to before it has its client.
            (_, None) if self.bus.is_spent(id) || self.bus.passes(id) => State::Spent,
            (_, None) => State::Idle,
        }
    }

    /// A completion is about to be dispatched.
    #[inline]
    pub(crate) fn witness_completion(&mut self, completion: Completion) {
        if !LOOKS {
            return;
        }
        if let Completion::Spooled { ticket, done } = completion {
            return self.witness_disk(ticket, done);
        }
        let Some((owner, of_client, of_server)) = Event::of(completion) else { return };
        match (Party::of(owner), of_client, of_server) {
            (Party::Client(id), Some(event), _) => self.witness_client(event, id),
            (Party::Upstream(id), _, Some(event)) => self.witness_upstream(event, id),
            _ => {}
        }
    }

    fn witness_disk(&mut self, ticket: Ticket, done: SpoolDone) {
        let event = match done {
            SpoolDone::Written => Event::DiskWrote,
            SpoolDone::Read(_) => Event::DiskRead,
            SpoolDone::Failed => Event::DiskFailed,
        };
        let id = ExchangeId(ticket.owner);
        let spooled = self.exchanges.get(id.0).and_then(|it| it.spooled.as_ref());
        let concerns = spooled.is_some_and(|it| it.generation == ticket.generation);
        let state = if concerns { self.state_of_exchange(id) } else { State::Gone };
        self.coverage.meets(event, state);
    }

    /// An event concerns an exchange.
    #[inline]
    pub(crate) fn witness(&mut self, event: Event, id: ExchangeId) {
        if LOOKS {
            self.coverage.meets(event, self.state_of_exchange(id));
        }
    }

    /// An event concerns a tunnel.
    #[inline]
    pub(crate) fn witness_tunnel(&mut self, event: Event) {
        if LOOKS {
            self.coverage.meets(event, State::Exchange(Phase::Tunnel));
        }
    }

    /// A pipelined request's turn has come; `here`: it is still there, as far as can be told.
    #[inline]
    pub(crate) fn witness_turn(&mut self, id: ExchangeId, here: bool) {
        if LOOKS {
            let state = if here { self.state_of_exchange(id) } else { State::Gone };
            self.coverage.meets(Event::PipelinedTurn, state);
        }
    }

    /// An event concerns a client.
    #[inline]
    pub(crate) fn witness_client(&mut self, event: impl Into<Event>, id: ClientId) {
        if LOOKS {
            self.coverage.meets(event.into(), self.state_of_client(id));
        }
    }

    /// An event concerns an upstream connection.
    #[inline]
    pub(crate) fn witness_upstream(&mut self, event: impl Into<Event>, id: ConnectionId) {
        if LOOKS {
            let state = self.state_of_upstream(id);
            self.coverage.meets(event.into(), state);
        }
    }

    /// An order concerns every client.
    pub(crate) fn witness_everywhere(&mut self, event: Event) {
        if LOOKS {
            for index in 0..self.clients.table.capacity() {
                if self.clients.get(ClientId(index)).is_some() {
                    self.witness_client(event, ClientId(index));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_and_state_is_listed_once() {
        for (place, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event.index(), place, "{event:?}");
        }
        for (place, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state.index(), place, "{state:?}");
        }
    }
}
