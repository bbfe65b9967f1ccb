//! What a worker is built from: every size and time-out, decided before it starts.

use std::sync::Arc;
use std::time::Duration;

use base::id::{ExchangeId, GroupId, ListenerId, WorkerId};
use base::limits;
use base::slab::Slab;
use exchange::{Authorization, Challenges, ErrorPages, Exchange, Passing, Tunnel};
use pool::PoolConfig;
use proxies::security::{AccessList, Limits};
use wire::proxy_protocol::Version;

use crate::authorize::{Gate, Inquiries};
use crate::client::Client;
use crate::limit::LeastRate;
use crate::screen::Screening;
use crate::upstream::Upstream;

/// Everything one worker is told at its start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which worker this is.
    pub worker: WorkerId,
    /// What tells its random choices from those of other workers and other starts.
    pub seed: u64,
    /// Its pool.
    pub pool: PoolConfig,
    /// Most clients of the whole process; each worker has records for all of them, as the kernel
    /// may give them all to one.
    pub max_clients: u32,
    /// Bytes one exchange may keep in the pool (`exchange_memory`).
    pub exchange_memory: u32,
    /// Where exchanges go that outgrow it, if anywhere; the process's.
    pub spool: Option<Arc<spool::Shared>>,
    /// The listeners, indexed by [`ListenerId`]; every worker serves all of them.
    pub listeners: Vec<ListenerPlan>,
    /// The groups of upstream servers, indexed by [`GroupId`].
    pub groups: Vec<bus::GroupConfig>,
    /// In which version of the PROXY protocol each group of servers is told whose connection it is,
    /// if it is; groups beyond the end are not.
    pub introduces: Vec<Option<Version>>,
    /// How connections to servers are secured, indexed by server; none of those beyond is.
    pub secured_servers: Vec<Option<ServerTls>>,
    /// Who may not come to any listener.
    pub bans: Option<Arc<AccessList>>,
    /// What one address may have, if that is bounded; the process's.
    pub limits: Option<Arc<Limits>>,
    /// How fast a request must arrive at least.
    pub least_rate: Option<LeastRate>,
    /// The deadlines.
    pub timeouts: Timeouts,
    /// What a client meets when `max_clients` are there.
    pub at_limit: AtLimit,
    /// Whether the client parked longest is closed to let a new one in.
    pub reclaim_parked: bool,
    /// Where questions go that others decide, if any are put; the process's.
    pub inquiries: Option<Arc<Inquiries>>,
    /// What certificate authorities are answered at the start, if one is expected.
    pub challenges: Option<Arc<Challenges>>,
}

/// Bytes of one record of each of a worker's tables, for the memory budget.
#[derive(Clone, Copy, Debug)]
pub struct RecordBytes {
    /// A client, parked or not (law 1), without the driver's part.
    pub client: usize,
    /// An exchange.
    pub exchange: usize,
    /// An upstream connection, without the bus's and the driver's parts.
    pub upstream: usize,
    /// What a tunnel has beside its client and its upstream connection.
    pub tunnel: usize,
    /// A place for the verdict on an exchange.
    pub verdict: usize,
}

impl RecordBytes {
    /// As they are in this build.
    pub const BUILT: Self = Self {
        client: Slab::<Client>::record_bytes(),
        // The last is the queue of pipelined requests.
        exchange: Slab::<Exchange>::record_bytes() + size_of::<ExchangeId>(),
        upstream: size_of::<Option<Upstream>>(),
        tunnel: Slab::<Tunnel>::record_bytes(),
        verdict: Gate::PLACE_BYTES,
    };
}

/// One listening address as the data path sees it.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Its number.
    pub id: ListenerId,
    /// The servers behind it; where names decide, those that are asked otherwise.
    pub group: GroupId,
    /// What is asked of those who come.
    pub screening: Screening,
    /// How connections are passed through, if they are; HTTP is spoken otherwise.
    pub passing: Option<Passing>,
    /// The host an HTTP/1.0 request without `Host` is for (RFC 9112 §3.3).
    pub default_host: Box<str>,
    /// Longest request head, bytes.
    pub max_head: u32,
    /// Longest request target, bytes.
    pub max_target: u32,
    /// Largest request body, bytes.
    pub max_body: u64,
    /// Whether each request has an ID.
    pub request_ids: bool,
    /// Whether a client and its server may switch protocols (RFC 9110 §7.8).
    pub upgrade: bool,
    /// The bodies of our refusals.
    pub error_pages: ErrorPages,
    /// Whether servers are shown a request's body as it arrives (`request = "stream"`).
    pub stream: bool,
    /// How its clients' connections are secured.
    pub tls: TlsPlan,
    /// What is asked of requests before they are served, if anything.
    pub authorization: Option<Arc<Authorization>>,
}

/// How a listener's connections are secured; by default, not at all.
#[derive(Clone, Debug, Default)]
pub struct TlsPlan {
    /// What makes the sessions of its clients, if they speak TLS.
    pub acceptor: Option<tls::Acceptor>,
    /// Fields that only we may write, for whichever listener, with commas between them: what
    /// clients send of them is removed.
    pub own_fields: Arc<str>,
    /// One of them: servers are told in it whom a client's certificate names.
    pub subject_field: Option<Box<str>>,
}

/// How connections to a server are secured.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// What makes their sessions.
    pub connector: tls::Connector,
    /// Whom the server must be: a DNS name or an IP address.
    pub name: Arc<str>,
}

/// What a client meets when `max_clients` are there (`at_limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// It waits in the listener's backlog until somebody leaves.
    Pause,
    /// It is told 503 and closed.
    Answer,
}

/// The deadlines of DESIGN.md §5, each for one kind of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's first byte to its head's last.
    pub head: Duration,
    /// From a head to the verdict on whether its client may.
    pub authorize: Duration,
    /// Between two receipts of a request's body.
    pub body_progress: Duration,
    /// From a client's coming to the end of its TLS handshake.
    pub handshake: Duration,
    /// How long a client may stay parked.
    pub idle: Duration,
    /// From a request's last byte written to the server to the response's first byte.
    pub first_byte: Duration,
    /// Between two acceptances of response bytes by the client.
    pub write_progress: Duration,
    /// For opening a connection to a server.
    pub connect: Duration,
    /// Between two receipts of a response from the server, and two acceptances of request
    /// bytes by it.
    pub response: Duration,
    /// In the ready queue.
    pub queue: Duration,
    /// How long both ends of a tunnel may be silent.
    pub tunnel: Duration,
    /// The same where one end has ended; not longer.
    pub half_closed: Duration,
    /// For a drain in all.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            handshake: seconds(10),
            head: seconds(30),
            authorize: seconds(10),
            body_progress: seconds(30),
            idle: Duration::from_hours(1),
            first_byte: seconds(60),
            write_progress: seconds(60),
            connect: seconds(5),
            response: seconds(60),
            queue: seconds(30),
            tunnel: Duration::from_hours(1),
            half_closed: seconds(60),
            drain: seconds(30),
        }
    }
}

impl Plan {
    /// Records for clients: those who may come, those who are refused at the limit, and those
    /// whose closing lingers.
    pub const fn client_records(&self) -> u32 {
        self.max_clients + limits::REFUSAL_RECORDS + limits::LINGERING_MAX
    }

    /// Sockets the driver must hold: clients, refused ones, upstream connections of the worker
    /// and those on their way from others, pinned ones.
    pub fn sockets(&self) -> u32 {
        let servers = || self.groups.iter().flat_map(|group| &group.servers);
        let upstream: u32 = servers().map(|server| server.connections).sum();
        self.client_records() + 2 * upstream + self.pinned()
    }

    /// Most pinned connections of the worker: all that are allowed, but one a client.
    pub fn pinned(&self) -> u32 {
        let servers = self.groups.iter().flat_map(|group| &group.servers);
        let all = servers.fold(0u32, |sum, server| sum.saturating_add(server.pinned));
        all.min(self.client_records())
    }
}
