//! What is asked for, checked: the one form that the command line and the file both lead to.
//!
//! `draft` is what was written, `check` and `addresses` refuse what cannot work before anything
//! is opened, `complaint` says what and where.

mod addresses;
mod check;
mod complaint;
mod draft;
mod names;
mod servers;
mod spool;

use std::sync::Arc;
use std::time::Duration;

use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use bus::{GroupConfig, Policy, ServerConfig};
use control::{FileSet, Name, ResolverConfig};
use driver::Address;
use exchange::{ErrorPages, Passing, Trusts};
use pool::PoolConfig;
use proxies::security::LimitRules;
use wire::proxy_protocol::Version;
use worker::{AtLimit, LeastRate, ListenerPlan, Plan, Screening, ServerTls, Timeouts, TlsPlan};

use crate::acme::AcmeSettings;
use crate::authorize::AuthorizeSettings;
use crate::certificates::{ListenTls, UpstreamTls};
use crate::cli::{Io, ProxyArgs};
use crate::descriptors::Holders;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::lists::Screened;
use crate::log::{self, LogSettings};

pub(crate) use check::{Machine, check};
pub(crate) use complaint::{Complaint, Complaints, Given, Severity, Tongue, Word};
pub(crate) use draft::{
    CLIENTS_MOST, CONNECTIONS_MOST, Draft, GroupDraft, ListenDraft, LogDraft, PINNED_MOST,
    QUEUE_MOST, ServerDraft,
};
pub(crate) use spool::{Spool, SpoolDraft, without};

/// Everything the master needs to start: every value given, and every value possible.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listeners: Vec<Listen>,
    pub(crate) groups: Vec<Group>,
    pub(crate) max_clients: u32,
    pub(crate) workers: u32,
    /// How they drive sockets.
    pub(crate) io: Io,
    /// The pool of each worker.
    pub(crate) pool: PoolConfig,
    pub(crate) exchange_memory: u32,
    /// Where exchanges go that outgrow it, if anywhere.
    pub(crate) spool: Option<Spool>,
    pub(crate) timeouts: Timeouts,
    pub(crate) at_limit: AtLimit,
    pub(crate) reclaim_parked: bool,
    pub(crate) reuse_port: bool,
    pub(crate) admin: Option<Address>,
    /// Who is asked for names.
    pub(crate) resolver: ResolverConfig,
    /// Whom to become once everything is bound.
    pub(crate) identity: Option<Identity>,
    pub(crate) log: LogSettings,
    /// What one address may have.
    pub(crate) limits: Option<LimitRules>,
    /// How fast a request must arrive at least.
    pub(crate) least_rate: Option<LeastRate>,
    /// Whom to ask for certificates, if some are wanted.
    pub(crate) acme: Option<AcmeSettings>,
    /// The limit of open files these settings were checked against.
    pub(crate) descriptors: u64,
}

/// A listener.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) address: Address,
    /// The servers behind it.
    pub(crate) group: GroupId,
    pub(crate) max_head: u32,
    pub(crate) max_target: u32,
    pub(crate) max_body: u64,
    pub(crate) request_ids: bool,
    pub(crate) error_pages: ErrorPages,
    /// Whether servers are shown a request as it arrives.
    pub(crate) stream: bool,
    /// Whether client and server may switch protocols.
    pub(crate) upgrade: bool,
    /// How connections are passed through, if they are.
    pub(crate) passing: Option<Passing>,
    /// Who may connect.
    pub(crate) screened: Screened,
    /// What is asked of requests before they are served, if anything.
    pub(crate) authorize: Option<AuthorizeSettings>,
    /// How its clients' connections are secured, if they are.
    pub(crate) tls: Option<ListenTls>,
}

impl Listen {
    /// What makes its clients' sessions at start, if they speak TLS.
    pub(crate) fn acceptor(&self) -> Option<tls::Acceptor> {
        self.tls.as_ref().map(|tls| tls.acceptor.clone())
    }
}

/// A group of servers.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) servers: Vec<Server>,
    /// Most pinned connections to each server.
    pub(crate) pinned: u32,
    /// Most waiting requests, over all workers.
    pub(crate) queue: u32,
    pub(crate) persistent: bool,
    /// How servers are told whose connection it is, if they are.
    pub(crate) introduces: Option<Version>,
    pub(crate) policy: Policy,
    /// How connections to the servers are secured, if they are.
    pub(crate) tls: Option<UpstreamTls>,
}

/// A server of a group.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// How connections to it are secured, if they are.
    pub(crate) tls: Option<ServerTls>,
    /// As metrics and messages call it: its address or its name.
    pub(crate) label: Arc<str>,
    /// Its address, or those its name stood for at start.
    pub(crate) addresses: Vec<Address>,
    /// Its name, and when it is to be looked up again.
    pub(crate) name: Option<(Name, Duration)>,
    /// Most leases to it.
    pub(crate) connections: u32,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
}

impl Settings {
    /// The files that are taken up anew when they change.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileSet> {
        let listeners = self.listeners.iter().flat_map(|it| {
            let source = it.authorize.as_ref().and_then(|it| it.source.as_ref());
            let source = source.and_then(|it| Some(it.file()?.1));
            let tls = it.tls.as_ref().map(|tls| &tls.marks);
            [tls, source, it.screened.files.as_ref()].into_iter().flatten()
        });
        let groups = self.groups.iter().filter_map(|it| Some(&it.tls.as_ref()?.marks));
        listeners.chain(groups)
    }

    /// Checks what the command line asks for. `descriptors` is the limit of open files, `cores`
    /// the number of workers unless given.
    ///
    /// # Errors
    /// [`Failure::Usage`], naming the flag, its value and the remedy.
    pub(crate) fn check(args: &ProxyArgs, descriptors: u64, cores: u32) -> Result<Self, Failure> {
        let (settings, complaints) = check(&Draft::from(args), Machine { descriptors, cores });
        let mut errors = Vec::new();
        for complaint in complaints.sorted() {
            match complaint.severity {
                Severity::Error => errors.push(complaint.text),
                Severity::Warning => log::note(format_args!("warning: {}", complaint.text)),
            }
        }
        settings.ok_or_else(|| Failure::Usage(errors.join("\n  ")))
    }

    /// What `worker` is built from.
    pub(crate) fn plan(&self, worker: WorkerId) -> Plan {
        let subjects =
            self.listeners.iter().filter_map(|listen| listen.tls.as_ref()?.subject.as_deref());
        let found = self.listeners.iter().filter_map(|listen| listen.authorize.as_ref());
        let found = found.flat_map(|it| it.own_fields.iter().map(String::as_str));
        let own_fields: Arc<str> = subjects.chain(found).collect::<Vec<_>>().join(",").into();
        Plan {
            worker,
            // Whoever starts a worker gives each start one of its own.
            seed: 0,
            pool: self.pool,
            max_clients: self.max_clients,
            exchange_memory: self.exchange_memory,
            spool: None,
            listeners: (0u32..)
                .zip(&self.listeners)
                .map(|(id, listen)| listener(ListenerId(id), listen, &own_fields))
                .collect(),
            groups: self.group_configs(worker),
            introduces: self.groups.iter().map(|group| group.introduces).collect(),
            secured_servers: self.secured_servers(),
            bans: None,
            limits: None,
            least_rate: self.least_rate,
            timeouts: self.timeouts,
            at_limit: self.at_limit,
            reclaim_parked: self.reclaim_parked,
            inquiries: None,
            challenges: None,
        }
    }

    /// The groups as `worker` sees them; servers are numbered over all groups.
    fn group_configs(&self, worker: WorkerId) -> Vec<GroupConfig> {
        let mut ids = (0u32..).map(ServerId);
        let mut config = |group: &Group| GroupConfig {
            name: (&*group.name).into(),
            servers: group
                .servers
                .iter()
                .zip(ids.by_ref())
                .map(|(server, id)| ServerConfig { pinned: group.pinned, ..config_of(server, id) })
                .collect(),
            queue_length: share(group.queue, self.workers, worker).max(1),
            persistent: group.persistent,
            policy: group.policy,
        };
        self.groups.iter().map(&mut config).collect()
    }

    fn secured_servers(&self) -> Vec<Option<ServerTls>> {
        self.servers().map(|(_, server)| server.tls.clone()).collect()
    }

    /// Every server with its group, in the order of [`ServerId`].
    pub(crate) fn servers(&self) -> impl Iterator<Item = (&Group, &Server)> {
        self.groups.iter().flat_map(|group| group.servers.iter().map(move |it| (group, it)))
    }

    /// Who needs descriptors besides the clients.
    pub(crate) fn holders(&self) -> Holders {
        let asked = self.listeners.iter().filter_map(|listen| listen.authorize.as_ref());
        Holders {
            upstream: self.connections(),
            listeners: self.listeners.len() as u64,
            workers: u64::from(self.workers),
            refusals: Holders::refusals(self.at_limit),
            authorizers: asked.map(AuthorizeSettings::connections).sum(),
        }
    }

    /// Most connections to all servers together.
    pub(crate) fn connections(&self) -> u64 {
        self.servers().map(|(_, server)| u64::from(server.connections)).sum()
    }

    /// Pinned connections for which there are descriptors beside all the clients; each beyond takes
    /// the place of one.
    pub(crate) fn pinned_free(&self) -> u32 {
        let taken = self.holders().sum() + u64::from(self.max_clients);
        u32::try_from(self.descriptors.saturating_sub(taken)).unwrap_or(u32::MAX)
    }

    /// Most pinned connections to all servers together.
    pub(crate) fn pinned(&self) -> u64 {
        self.servers().map(|(group, _)| u64::from(group.pinned)).sum()
    }

    /// Bytes of all pools together.
    pub(crate) fn pool_bytes(&self) -> u64 {
        u64::from(self.workers) * u64::from(self.pool.buffers) * u64::from(self.pool.buffer_bytes)
    }
}

fn listener(id: ListenerId, listen: &Listen, own_fields: &Arc<str>) -> ListenerPlan {
    let default_host = match &listen.address {
        Address::Ip(ip) => ip.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let own_fields = match &*listen.screened.removed {
        "" => Arc::clone(own_fields),
        removed if own_fields.is_empty() => removed.into(),
        removed => format!("{own_fields},{removed}").into(),
    };
    let trusted = listen.screened.trusted.clone();
    ListenerPlan {
        id,
        group: listen.group,
        default_host: default_host.into(),
        max_head: listen.max_head,
        max_target: listen.max_target,
        max_body: listen.max_body,
        request_ids: listen.request_ids,
        error_pages: listen.error_pages.clone(),
        stream: listen.stream,
        upgrade: listen.upgrade,
        passing: listen.passing.clone(),
        authorization: listen.authorize.as_ref().map(|it| it.plan(id.0)),
        screening: Screening {
            list: listen.screened.list.clone(),
            balancers: listen.screened.balancers.clone(),
            trusted: trusted.map(|it| it as Arc<dyn Trusts>),
        },
        tls: TlsPlan {
            acceptor: listen.acceptor(),
            own_fields,
            subject_field: listen.tls.as_ref().and_then(|it| it.subject.as_deref()).map(Box::from),
        },
    }
}

/// A server as the bus sees it.
fn config_of(server: &Server, id: ServerId) -> ServerConfig {
    ServerConfig {
        weight: server.weight,
        backup: server.backup,
        addresses: u32::try_from(server.addresses.len()).unwrap_or(u32::MAX),
        ..ServerConfig::new(id, server.connections)
    }
}

/// A worker's part of `all`: equal ones, the remainder to the first workers.
fn share(all: u32, workers: u32, worker: WorkerId) -> u32 {
    all / workers + u32::from(worker.0 < all % workers)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use base::limits;
    use clap::Parser;

    /// The settings of a command line behind `proxy`, with 20,000 descriptors and two cores.
    pub(crate) fn settings(flags: &str) -> Result<Settings, Failure> {
        let line = format!("anteroom proxy {flags}");
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Proxy(args) => Settings::check(&args, 20_000, 2),
            other => panic!("{other:?}"),
        }
    }

    const BASE: &str = "--listen 127.0.0.1:0 --upstream 127.0.0.1:9000";

    fn refused(flags: &str) -> String {
        match settings(&format!("{BASE} {flags}")) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{flags}: {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = settings(BASE).unwrap();
        assert_eq!(settings.pool_bytes(), 64 << 20);
        assert_eq!((settings.pool.buffers, settings.pool.buffer_bytes), (16_384, 2048));
        assert_eq!(
            (settings.exchange_memory, settings.listeners[0].max_head),
            (256 << 10, 32 << 10)
        );
        assert_eq!(
            (settings.listeners[0].max_target, settings.listeners[0].max_body),
            (8 << 10, 1 << 30)
        );
        assert_eq!((settings.workers, settings.connections()), (2, 8));
        assert_eq!(settings.timeouts, Timeouts::default());
        assert!(settings.groups[0].persistent && settings.admin.is_none());
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        let settings = settings(&format!("{BASE} --workers 4 --max-clients 10 --queue 3")).unwrap();
        let plans: Vec<Plan> = (0..4).map(|id| settings.plan(WorkerId(id))).collect();
        assert_eq!(plans.iter().map(|plan| plan.max_clients).collect::<Vec<_>>(), [10; 4]);
        assert_eq!(plans[3].groups[0].queue_length, 1);
        assert_eq!(plans[1].listeners[0].default_host.as_ref(), "127.0.0.1:0");
    }

    /// However many may be pinned, the limit of open files holds: they take places of clients.
    #[test]
    fn pinned_connections_get_the_descriptors_that_are_left() {
        let unasked = settings(BASE).unwrap();
        assert_eq!((unasked.pinned(), unasked.pinned_free()), (10_000, 0));
        let asked = settings(&format!("{BASE} --max-clients 18000 --pinned 100000")).unwrap();
        let others = asked.holders().sum();
        assert_eq!(u64::from(asked.pinned_free()), 20_000 - 18_000 - others);
        assert_eq!(asked.plan(WorkerId(0)).pinned(), asked.plan(WorkerId(0)).client_records());
    }

    #[test]
    fn a_small_pool_lowers_what_one_exchange_may_keep() {
        let settings = settings(&format!("{BASE} --memory 32KiB --workers 1")).unwrap();
        assert_eq!(settings.pool.buffers, 16);
        assert!(settings.exchange_memory < 32 << 10, "{settings:?}");
        let listener = &settings.listeners[0];
        assert!(listener.max_head + limits::HEAD_GROWTH <= settings.exchange_memory);
        assert!(listener.max_target < listener.max_head);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        for (flags, named, remedy) in [
            ("--memory 16KiB --workers 2", "--memory 16 KiB", "--memory 32KiB"),
            ("--memory 9GiB --workers 2", "--memory 9 GiB", "more --workers"),
            ("--buffer 3000", "--buffer 3000", "power of two"),
            ("--buffer 64KiB", "--buffer 65536", "512 to 32768"),
            ("--exchange-memory 1KiB", "--exchange-memory 1024", "at least 1280"),
            ("--max-head 65537", "--max-head 65537", "256 to 65536"),
            ("--max-head 32KiB --exchange-memory 8KiB", "--max-head 32768", "--exchange-memory"),
            ("--max-target 32KiB", "--max-target 32768", "--max-head"),
            ("--max-clients 20000", "--max-clients 20000", "ulimit -n"),
            ("--upstream 127.0.0.1:9000", "--upstream 127.0.0.1:9000", "once"),
            ("--upstream 127.0.0.1:0", "--upstream 127.0.0.1:0", "port"),
            ("--listen 127.0.0.1:9000", "--upstream 127.0.0.1:9000", "itself"),
        ] {
            let text = refused(flags);
            assert!(text.contains(named) && text.contains(remedy), "{flags}: {text}");
        }
        let many = "--listen 127.0.0.1:0 ".repeat(64);
        assert!(refused(&many).contains("64 are the most"));
    }

    #[test]
    fn deadlines_are_set_by_name() {
        let flags = format!("{BASE} --timeout head=300ms --timeout drain=2s --timeout head=400ms");
        let timeouts = settings(&flags).unwrap().timeouts;
        let expected = Timeouts {
            head: Duration::from_millis(400),
            drain: Duration::from_secs(2),
            ..Timeouts::default()
        };
        assert_eq!(timeouts, expected);
    }
}
