//! What is asked for, before it is checked: the command line and the file both lead here.

use std::path::Path;

use base::id::GroupId;
use base::limits;
use bus::{Balance, HealthPolicy, RetryPolicy};
use control::ResolverConfig;
use driver::Address;
use exchange::{ErrorPages, Passing};
use proxies::security::LimitRules;
use wire::proxy_protocol::Version;
use worker::{AtLimit, LeastRate, Timeouts};

use super::SpoolDraft;
use super::complaint::{Given, Tongue};
use crate::acme::AcmeSettings;
use crate::authorize::AuthorizeSettings;
use crate::certificates::{ListenTls, UpstreamTls};
use crate::cli::{Io, ProxyArgs, Timeout, When};
use crate::lists::Screened;
use crate::log::{Destination, Format};
use crate::resolve::Target;

/// The name of the group of servers that the command line makes.
pub(crate) const GROUP: &str = "upstream";

/// Most connections to one server.
pub(crate) const CONNECTIONS_MOST: u32 = 65_536;
/// Most pinned connections to one server.
pub(crate) const PINNED_MOST: u32 = 1_048_576;
/// Most clients.
pub(crate) const CLIENTS_MOST: u32 = 16_777_216;
/// Longest ready queue.
pub(crate) const QUEUE_MOST: u32 = 16_777_216;

/// Everything that can be asked for; what was not given has its default.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) tongue: Tongue,
    pub(crate) listeners: Vec<ListenDraft>,
    pub(crate) groups: Vec<GroupDraft>,
    pub(crate) memory: Option<Given<u64>>,
    pub(crate) buffer: Option<Given<u64>>,
    pub(crate) workers: Option<Given<u32>>,
    pub(crate) max_clients: Option<Given<u32>>,
    pub(crate) exchange_memory: Option<Given<u64>>,
    pub(crate) spool: SpoolDraft,
    pub(crate) timeouts: Timeouts,
    pub(crate) io: Option<Given<Io>>,
    pub(crate) reuse_port: bool,
    pub(crate) reclaim_parked: bool,
    pub(crate) admin: Option<Given<Address>>,
    /// Who is asked for names.
    pub(crate) resolver: ResolverConfig,
    pub(crate) user: Option<Given<String>>,
    pub(crate) group: Option<Given<String>>,
    pub(crate) log: LogDraft,
    /// What one address may have.
    pub(crate) limits: Option<LimitRules>,
    /// How fast a request must arrive at least.
    pub(crate) least_rate: Option<LeastRate>,
    /// Whom to ask for certificates, if some are wanted: read already.
    pub(crate) acme: Option<AcmeSettings>,
}

/// The logs as they are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogDraft {
    pub(crate) access: Option<Given<Destination>>,
    pub(crate) events: Option<Given<Destination>>,
    pub(crate) format: Option<Given<Format>>,
    pub(crate) buffer: Option<Given<u64>>,
    pub(crate) line: Option<Given<u64>>,
}

/// A listener as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ListenDraft {
    pub(crate) address: Given<Address>,
    /// The place of its servers in [`Draft::groups`].
    pub(crate) group: GroupId,
    pub(crate) max_head: Option<Given<u64>>,
    pub(crate) max_target: Option<Given<u64>>,
    pub(crate) max_body: Option<Given<u64>>,
    pub(crate) at_limit: Option<Given<AtLimit>>,
    pub(crate) request_ids: bool,
    /// Read already.
    pub(crate) error_pages: ErrorPages,
    /// Whether servers are shown a request as it arrives.
    pub(crate) stream: bool,
    /// Whether client and server may switch protocols.
    pub(crate) upgrade: bool,
    /// How connections are passed through, if they are.
    pub(crate) passing: Option<Passing>,
    /// How its clients' connections are secured, if they are: read already.
    pub(crate) tls: Option<ListenTls>,
    /// Groups that names lead to, beside `group`.
    pub(crate) others: Vec<GroupId>,
    /// Who may connect, read already.
    pub(crate) screened: Screened,
    /// What is asked of requests before they are served, read already.
    pub(crate) authorize: Option<AuthorizeSettings>,
}

impl ListenDraft {
    /// Whether its clients may come to this group.
    pub(crate) fn leads_to(&self, group: GroupId) -> bool {
        self.group == group || self.others.contains(&group)
    }
}

/// A group of servers as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct GroupDraft {
    pub(crate) name: Given<String>,
    pub(crate) servers: Vec<ServerDraft>,
    /// Most leases to each server.
    pub(crate) connections: Option<Given<u32>>,
    /// Most pinned connections to each server.
    pub(crate) pinned: Option<Given<u32>>,
    /// Most waiting requests, over all workers.
    pub(crate) queue: Option<Given<u32>>,
    /// Whether a connection serves one request after another.
    pub(crate) persistent: Option<Given<bool>>,
    pub(crate) balance: Balance,
    pub(crate) health: HealthPolicy,
    pub(crate) retries: RetryPolicy,
    /// Connections to each server that are held open, over all workers.
    pub(crate) warm: Option<Given<u32>>,
    /// How servers are told whose connection it is, if they are.
    pub(crate) introduces: Option<Given<Version>>,
    /// How connections to the servers are secured, if they are.
    pub(crate) tls: Option<UpstreamTls>,
}

/// A server as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ServerDraft {
    pub(crate) at: Given<Target>,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
    /// Most leases to it, if not those of its group.
    pub(crate) connections: Option<Given<u32>>,
}

impl ServerDraft {
    /// A server like any other.
    pub(crate) const fn plain(at: Given<Target>) -> Self {
        Self { at, weight: 1, backup: false, connections: None }
    }
}

impl GroupDraft {
    /// Most leases to one of its servers.
    pub(crate) fn connections_of(&self, server: &ServerDraft) -> u32 {
        let given = server.connections.as_ref().or(self.connections.as_ref());
        given.map_or(limits::CONNECTIONS, |given| given.value)
    }

    /// Most connections to all servers together.
    pub(crate) fn most_connections(&self) -> u64 {
        self.servers.iter().map(|server| u64::from(self.connections_of(server))).sum()
    }
}

impl Draft {
    /// A draft of which nothing is asked yet.
    pub(crate) fn empty(tongue: Tongue) -> Self {
        Self {
            tongue,
            listeners: Vec::new(),
            groups: Vec::new(),
            memory: None,
            buffer: None,
            workers: None,
            max_clients: None,
            exchange_memory: None,
            spool: SpoolDraft::default(),
            timeouts: Timeouts::default(),
            io: None,
            reuse_port: false,
            reclaim_parked: false,
            admin: None,
            resolver: ResolverConfig::default(),
            user: None,
            group: None,
            log: LogDraft::default(),
            limits: None,
            least_rate: None,
            acme: None,
        }
    }
}

impl From<&ProxyArgs> for Draft {
    fn from(args: &ProxyArgs) -> Self {
        let listener = |address: &Address| ListenDraft {
            address: Given::by_flag(address.clone()),
            group: GroupId(0),
            max_head: args.max_head.map(Given::by_flag),
            max_target: args.max_target.map(Given::by_flag),
            max_body: args.max_body.map(Given::by_flag),
            at_limit: Some(Given::by_flag(args.at_limit.into())),
            request_ids: args.request_ids,
            error_pages: ErrorPages::default(),
            stream: args.request == When::Stream,
            upgrade: true,
            passing: args.pass.then(Passing::default),
            tls: None,
            others: Vec::new(),
            screened: Screened::default(),
            authorize: None,
        };
        let group = GroupDraft {
            name: Given::by_flag(GROUP.to_owned()),
            servers: args
                .upstream
                .iter()
                .cloned()
                .map(Given::by_flag)
                .map(ServerDraft::plain)
                .collect(),
            connections: Some(Given::by_flag(args.connections)),
            pinned: Some(Given::by_flag(args.pinned)),
            queue: Some(Given::by_flag(args.queue)),
            persistent: args.not_persistent.then(|| Given::by_flag(false)),
            balance: Balance::default(),
            health: HealthPolicy::default(),
            retries: RetryPolicy::default(),
            warm: None,
            introduces: None,
            tls: None,
        };
        Self {
            listeners: args.listen.iter().map(listener).collect(),
            groups: vec![group],
            memory: args.memory.map(Given::by_flag),
            buffer: args.buffer.map(Given::by_flag),
            workers: args.workers.map(Given::by_flag),
            max_clients: args.max_clients.map(Given::by_flag),
            exchange_memory: args.exchange_memory.map(Given::by_flag),
            spool: spool(args),
            timeouts: timeouts(args),
            io: Some(Given::by_flag(args.io)),
            reuse_port: args.reuse_port,
            reclaim_parked: args.reclaim_parked,
            admin: args.admin.clone().map(Given::by_flag),
            user: args.user.clone().map(Given::by_flag),
            group: args.group.clone().map(Given::by_flag),
            log: LogDraft {
                access: args.access_log.clone().map(Given::by_flag),
                format: Some(Given::by_flag(args.log_format)),
                ..LogDraft::default()
            },
            ..Self::empty(Tongue::Flags)
        }
    }
}

fn spool(args: &ProxyArgs) -> SpoolDraft {
    let off = args.spool.as_deref() == Some(Path::new("off"));
    SpoolDraft {
        off,
        dir: args.spool.clone().filter(|_| !off).map(Given::by_flag),
        size: args.spool_size.map(Given::by_flag),
        per_exchange: args.spool_per_exchange.map(Given::by_flag),
        per_address: args.spool_per_address.map(Given::by_flag),
    }
}

fn timeouts(args: &ProxyArgs) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (name, length) in &args.timeout {
        *name.of(&mut timeouts) = *length;
    }
    timeouts
}

impl Timeout {
    /// The deadline of that name.
    pub(crate) const fn of(self, timeouts: &mut Timeouts) -> &mut std::time::Duration {
        match self {
            Self::Handshake => &mut timeouts.handshake,
            Self::Head => &mut timeouts.head,
            Self::Authorize => &mut timeouts.authorize,
            Self::BodyProgress => &mut timeouts.body_progress,
            Self::Idle => &mut timeouts.idle,
            Self::FirstByte => &mut timeouts.first_byte,
            Self::WriteProgress => &mut timeouts.write_progress,
            Self::Connect => &mut timeouts.connect,
            Self::Response => &mut timeouts.response,
            Self::Queue => &mut timeouts.queue,
            Self::Tunnel => &mut timeouts.tunnel,
            Self::HalfClosed => &mut timeouts.half_closed,
            Self::Drain => &mut timeouts.drain,
        }
    }
}
