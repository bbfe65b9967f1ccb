//! From what is asked for to what can be done: everything is checked before anything is opened.

use base::id::GroupId;
use base::limits;
use bus::Policy;
use pool::{Pool, PoolConfig, Rank};
use worker::AtLimit;

use super::complaint::{Complaints, Given, Tongue, Word};
use super::draft::{Draft, GroupDraft, ListenDraft, ServerDraft};
use super::names::{self, Found};
use super::{Group, Listen, Server, Settings, Spool, addresses, servers};
use crate::authorize::AuthorizeSettings;
use crate::certificates::UpstreamTls;
use crate::cli::Io;
use crate::descriptors::{self, Holders};
use crate::identity::{Identity, Unknown};
use crate::log::LogSettings;
use crate::quantity::{Count, Size, counted};

/// Smallest `max_head`: a request line and a few fields.
const MAX_HEAD_LEAST: u32 = 256;

/// What the machine grants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// The limit of open files.
    pub(crate) descriptors: u64,
    /// Processor cores.
    pub(crate) cores: u32,
}

/// Checks a draft. There are settings unless something in it cannot be done; warnings there may
/// be in any case.
pub(crate) fn check(draft: &Draft, machine: Machine) -> (Option<Settings>, Complaints) {
    let mut desk = Desk { draft, tongue: draft.tongue, complaints: Complaints::default() };
    let settings = desk.settings(machine);
    let settings = settings.filter(|_| !desk.complaints.has_errors());
    (settings, desk.complaints)
}

/// A draft under examination.
pub(super) struct Desk<'d> {
    pub(super) draft: &'d Draft,
    pub(super) tongue: Tongue,
    pub(super) complaints: Complaints,
}

/// What the pools come to.
struct Pools {
    each: PoolConfig,
    /// Bytes of one pool that requests may take.
    lendable: u64,
}

impl Desk<'_> {
    fn settings(&mut self, machine: Machine) -> Option<Settings> {
        let draft = self.draft;
        let io = self.io();
        let found = names::look_up(draft, &mut self.complaints);
        addresses::check(draft, &found, &mut self.complaints);
        servers::check(draft, &mut self.complaints);
        let cores = machine.cores.clamp(1, limits::WORKERS_MAX);
        let workers = draft.workers.as_ref().map_or(cores, |given| given.value).max(1);
        let at_limit = self.at_limit();
        let identity = self.identity();
        let log = self.log();
        let holders = self.holders(workers, at_limit);
        let max_clients = self.max_clients(machine.descriptors, holders);
        let pools = self.pools(workers)?;
        let exchange_memory = self.exchange_memory(&pools)?;
        let listeners: Vec<Listen> =
            draft.listeners.iter().filter_map(|it| self.listener(it, exchange_memory)).collect();
        self.leases(&pools, workers);
        self.passed();
        self.introductions();
        let spool = self.spool();
        self.bodies(exchange_memory, spool.as_ref());
        Some(Settings {
            listeners,
            groups: (0u32..)
                .map(GroupId)
                .zip(draft.groups.iter().zip(found))
                .map(|(id, (it, found))| group(it, found, is_passed(draft, id)))
                .collect(),
            max_clients: max_clients?,
            workers,
            io,
            pool: pools.each,
            exchange_memory,
            spool,
            timeouts: draft.timeouts,
            at_limit,
            reclaim_parked: draft.reclaim_parked,
            reuse_port: draft.reuse_port,
            admin: draft.admin.as_ref().map(|given| given.value.clone()),
            resolver: draft.resolver.clone(),
            identity,
            log,
            limits: draft.limits,
            least_rate: draft.least_rate,
            acme: draft.acme.clone(),
            descriptors: machine.descriptors,
        })
    }

    /// Complains of a value that was given, in words that name it.
    pub(super) fn refuse<T>(
        &mut self,
        word: Word,
        shown: impl std::fmt::Display,
        given: Option<&Given<T>>,
        remedy: impl std::fmt::Display,
    ) {
        let span = given.and_then(|given| given.span.clone());
        self.complaints.error(span, format_args!("{}: {remedy}", self.tongue.set(word, shown)));
    }

    /// How sockets are driven: by epoll, unless `io_uring` is asked for and can be had.
    fn io(&mut self) -> Io {
        let Some(given) = self.draft.io.as_ref().filter(|given| given.value == Io::Uring) else {
            return Io::Epoll;
        };
        if let Err(refusal) = driver::uring::probe() {
            let epoll = self.tongue.set(Word::IO, self.tongue.quoted("epoll"));
            let shown = self.tongue.quoted("uring");
            self.refuse(Word::IO, shown, Some(given), format_args!("{refusal} ({epoll})"));
        }
        Io::Uring
    }

    /// What a client meets when all places are taken: one answer for the whole process.
    fn at_limit(&mut self) -> AtLimit {
        let mut given = self.draft.listeners.iter().map(|listener| {
            let at_limit = listener.at_limit.as_ref();
            let value = at_limit.map_or(AtLimit::Pause, |given| given.value);
            let span = at_limit.and_then(|given| given.span.clone());
            (value, span.or(listener.address.span.clone()))
        });
        let Some((first, _)) = given.next() else { return AtLimit::Pause };
        if let Some((_, span)) = given.find(|(value, _)| *value != first) {
            let name = self.tongue.name(Word::AT_LIMIT);
            self.complaints.error(
                span,
                format_args!(
                    "{name} differs from that of the listeners before: max_clients counts the \
                     clients of all listeners, and this version has one answer for all of them; \
                     give each [[listen]] the same {name}"
                ),
            );
        }
        first
    }

    fn identity(&mut self) -> Option<Identity> {
        let group = self.draft.group.as_ref();
        let Some(user) = &self.draft.user else {
            if let Some(group) = group {
                let shown = self.tongue.quoted(&group.value);
                self.refuse(Word::GROUP, shown, Some(group), "goes with a user: give both");
            }
            return None;
        };
        let found = Identity::find(&user.value, group.map(|group| group.value.as_str()));
        let (word, given, remedy) = match found {
            Ok(identity) => return Some(identity),
            Err(Unknown::User(remedy)) => (Word::USER, user, remedy),
            Err(Unknown::Group(remedy)) => (Word::GROUP, group.unwrap_or(user), remedy),
        };
        self.refuse(word, self.tongue.quoted(&given.value), Some(given), remedy);
        None
    }

    /// The logs. What keeps a file from being opened is found here as far as it can be seen, so
    /// that it is told with its place.
    fn log(&mut self) -> LogSettings {
        let asked = &self.draft.log;
        let otherwise = LogSettings::unasked(self.tongue);
        for (word, given) in [(Word::ACCESS_LOG, &asked.access), (Word::EVENTS, &asked.events)] {
            if let Some(given) = given
                && let Some(remedy) = given.value.fault()
            {
                self.refuse(word, self.tongue.quoted(&given.value), Some(given), remedy);
            }
        }
        let mut size = |word, given: &Option<Given<u64>>, range| {
            given.as_ref().and_then(|given| self.within(word, given, range, ""))
        };
        let buffer = size(Word::LOG_BUFFER, &asked.buffer, limits::LOG_BUFFER_RANGE);
        let line = size(Word::LOG_LINE, &asked.line, limits::LOG_LINE_RANGE);
        LogSettings {
            access: asked.access.as_ref().map(|given| given.value.clone()),
            events: asked.events.as_ref().map_or(otherwise.events, |given| given.value.clone()),
            format: asked.format.as_ref().map_or(otherwise.format, |given| given.value),
            buffer: buffer.unwrap_or(otherwise.buffer),
            line: line.unwrap_or(otherwise.line),
            tongue: self.tongue,
        }
    }

    fn holders(&self, workers: u32, at_limit: AtLimit) -> Holders {
        let asked = self.draft.listeners.iter().filter_map(|listen| listen.authorize.as_ref());
        Holders {
            upstream: self.draft.groups.iter().map(GroupDraft::most_connections).sum(),
            listeners: self.draft.listeners.len() as u64,
            workers: u64::from(workers),
            refusals: Holders::refusals(at_limit),
            authorizers: asked.map(AuthorizeSettings::connections).sum(),
        }
    }

    fn max_clients(&mut self, limit: u64, holders: Holders) -> Option<u32> {
        let asked = self.draft.max_clients.as_ref();
        match descriptors::max_clients(asked.map(|given| given.value), limit, holders) {
            Ok(clients) => Some(clients),
            Err(remedy) => {
                let shown = asked.map_or("(not given)".to_owned(), |asked| asked.value.to_string());
                self.refuse(Word::MAX_CLIENTS, shown, asked, remedy);
                None
            }
        }
    }

    /// Each worker's pool, and how much of it requests may take (law 5).
    fn pools(&mut self, workers: u32) -> Option<Pools> {
        let buffer_bytes = self.buffer_bytes()?;
        let asked = self.draft.memory.as_ref();
        let memory = asked.map_or(limits::MEMORY, |given| given.value);
        let least = u64::from(workers) * u64::from(limits::POOL_BUFFERS_MIN * buffer_bytes);
        if memory < least {
            let enough = self.tongue.quoted(format_args!("{}KiB", least.div_ceil(1024)));
            let remedy = format!(
                "{} at least {} buffers of {} each, so that an exchange with a lease can always \
                 finish: give {}, or fewer {}",
                counted_needs(workers),
                limits::POOL_BUFFERS_MIN,
                Size(u64::from(buffer_bytes)),
                self.tongue.set(Word::MEMORY, enough),
                self.tongue.name(Word::WORKERS),
            );
            self.refuse(Word::MEMORY, Size(memory), asked, remedy);
            return None;
        }
        let buffers = memory / u64::from(workers) / u64::from(buffer_bytes);
        let buffers = u32::try_from(buffers).unwrap_or(u32::MAX);
        let each = PoolConfig { buffers, buffer_bytes, waiters: 1 };
        match Pool::new(each) {
            Ok(trial) => {
                let lendable = trial.grantable(Rank::Client);
                let lendable = lendable.saturating_sub(limits::BESIDE_ONE_EXCHANGE);
                Some(Pools { each, lendable: u64::from(lendable) * u64::from(buffer_bytes) })
            }
            Err(error) => {
                let more = self.tongue.name(Word::WORKERS);
                let remedy = format!("{error}; give less, or more {more}");
                self.refuse(Word::MEMORY, Size(memory), asked, remedy);
                None
            }
        }
    }

    fn buffer_bytes(&mut self) -> Option<u32> {
        let [least, most] = limits::BUFFER_BYTES_RANGE;
        let Some(asked) = &self.draft.buffer else { return Some(limits::BUFFER_BYTES) };
        let fits = |bytes: &u32| bytes.is_power_of_two() && (least..=most).contains(bytes);
        let bytes = u32::try_from(asked.value).ok().filter(fits);
        if bytes.is_none() {
            let remedy = format!("give a power of two from {least} to {most} bytes");
            self.refuse(Word::BUFFER, asked.value, Some(asked), remedy);
        }
        bytes
    }

    /// What one exchange may keep: as asked, but never more than a pool can lend to requests, so
    /// that a body that could never fit is answered 413 at once.
    fn exchange_memory(&mut self, pools: &Pools) -> Option<u32> {
        let given = self.draft.exchange_memory.as_ref();
        let asked = given.map_or(u64::from(limits::EXCHANGE_MEMORY), |given| given.value);
        let least = MAX_HEAD_LEAST + limits::HEAD_GROWTH;
        if asked < u64::from(least) {
            let remedy = format!("a request must fit: give at least {least} bytes");
            self.refuse(Word::EXCHANGE_MEMORY, asked, given, remedy);
            return None;
        }
        if let Some(given) = given.filter(|_| asked > pools.lendable) {
            let text = format!(
                "{}: the pool of one worker lends at most {} to requests, and that is what one \
                 exchange may keep; give more {} or less {}",
                self.tongue.set(Word::EXCHANGE_MEMORY, Size(asked)),
                Size(pools.lendable),
                self.tongue.name(Word::MEMORY),
                self.tongue.name(Word::EXCHANGE_MEMORY),
            );
            self.complaints.warning(given.span.clone(), text);
        }
        Some(u32::try_from(asked.min(pools.lendable)).unwrap_or(u32::MAX))
    }

    fn listener(&mut self, listener: &ListenDraft, exchange_memory: u32) -> Option<Listen> {
        let max_head = self.max_head(listener, exchange_memory)?;
        Some(Listen {
            address: listener.address.value.clone(),
            group: listener.group,
            max_head,
            max_target: self.max_target(listener, max_head)?,
            max_body: listener.max_body.as_ref().map_or(limits::MAX_BODY, |given| given.value),
            request_ids: listener.request_ids,
            error_pages: listener.error_pages.clone(),
            stream: listener.stream,
            upgrade: listener.upgrade,
            passing: listener.passing.clone(),
            screened: listener.screened.clone(),
            authorize: listener.authorize.clone(),
            tls: listener.tls.clone(),
        })
    }

    /// A request that is collected must fit into memory or the spool. Who writes the default down
    /// asks for nothing by it.
    fn bodies(&mut self, exchange_memory: u32, spool: Option<&Spool>) {
        let spooled = spool.map_or(0, |spool| spool.limits.longest_body());
        let most = spooled.max(u64::from(exchange_memory));
        for listener in self.draft.listeners.iter().filter(|listener| !listener.stream) {
            let beyond =
                |given: &&Given<u64>| given.value > most && given.value != limits::MAX_BODY;
            let Some(given) = listener.max_body.as_ref().filter(beyond) else { continue };
            let text = format!(
                "{}: memory and spool hold at most {} of one request, and longer ones are answered \
                 413: raise {}, or have requests streamed",
                self.tongue.set(Word::MAX_BODY, Size(given.value)),
                Size(most),
                self.tongue.name(if spool.is_some() {
                    Word::SPOOL_PER_EXCHANGE
                } else {
                    Word::EXCHANGE_MEMORY
                }),
            );
            self.complaints.warning(given.span.clone(), text);
        }
    }

    fn max_head(&mut self, listener: &ListenDraft, exchange_memory: u32) -> Option<u32> {
        let most = limits::MAX_HEAD_LIMIT.min(exchange_memory.saturating_sub(limits::HEAD_GROWTH));
        let Some(asked) = &listener.max_head else { return Some(limits::MAX_HEAD.min(most)) };
        let otherwise = if most < limits::MAX_HEAD_LIMIT {
            let (memory, share) = (Word::MEMORY, Word::EXCHANGE_MEMORY);
            format!(", or raise {} or {}", self.tongue.name(memory), self.tongue.name(share))
        } else {
            String::new()
        };
        self.within(Word::MAX_HEAD, asked, [MAX_HEAD_LEAST, most], &otherwise)
    }

    fn max_target(&mut self, listener: &ListenDraft, max_head: u32) -> Option<u32> {
        let most = max_head.saturating_sub(1);
        let Some(asked) = &listener.max_target else { return Some(limits::MAX_TARGET.min(most)) };
        let otherwise = format!(", or raise {}", self.tongue.name(Word::MAX_HEAD));
        self.within(Word::MAX_TARGET, asked, [1, most], &otherwise)
    }

    fn within(
        &mut self,
        word: Word,
        asked: &Given<u64>,
        [least, most]: [u32; 2],
        otherwise: &str,
    ) -> Option<u32> {
        let fits = |bytes: &u32| (least..=most).contains(bytes);
        let bytes = u32::try_from(asked.value).ok().filter(fits);
        if bytes.is_none() {
            let remedy = format!("give {least} to {most} bytes{otherwise}");
            self.refuse(word, asked.value, Some(asked), remedy);
        }
        bytes
    }

    /// Connections that are passed through are no use to anybody else, nor before their client is
    /// there.
    fn passed(&mut self) {
        for (id, group) in (0u32..).map(GroupId).zip(&self.draft.groups) {
            if !is_passed(self.draft, id) {
                self.no_http2(group);
                continue;
            }
            let mut leading = self.draft.listeners.iter().filter(|it| it.leads_to(id));
            if let Some(http) = leading.find(|listener| listener.passing.is_none()) {
                let text = format!(
                    "HTTP is spoken here with the servers of \"{}\", and another [[listen]] passes \
                     connections through to them: give each an [[upstream]] of its own",
                    group.name.value
                );
                self.complaints.error(http.address.span.clone(), text);
            }
            if let Some(warm) = group.warm.as_ref().filter(|given| given.value > 0) {
                let text = "`warm`: a connection that is passed through is opened when its client \
                            is there: leave it out";
                self.complaints.error(warm.span.clone(), text);
            }
            if let Some(persistent) = &group.persistent {
                let text = "`persistent`: a connection that is passed through is one client's and \
                            ends with it: leave it out";
                self.complaints.error(persistent.span.clone(), text);
            }
        }
    }

    /// A server that is offered it may choose it, and would be spoken to in another version.
    fn no_http2(&mut self, group: &GroupDraft) {
        let Some(tls) = &group.tls else { return };
        if tls.files.config.alpn.iter().any(|name| matches!(&name[..], b"h2" | b"h3")) {
            let text = format!(
                "`alpn`: HTTP/1.1 is spoken with the servers of \"{}\" in this version, which is \
                 \"http/1.1\": leave the others out",
                group.name.value
            );
            self.complaints.error(group.name.span.clone(), text);
        }
    }

    /// A PROXY header names the client of a whole connection.
    fn introductions(&mut self) {
        for (id, group) in (0u32..).map(GroupId).zip(&self.draft.groups) {
            let Some(given) = group.introduces.as_ref().filter(|_| !is_passed(self.draft, id))
            else {
                continue;
            };
            if group.persistent.as_ref().is_none_or(|given| given.value) {
                let text = "`proxy_protocol` names one client for a whole connection, and a \
                            persistent one carries the requests of many: write persistent = false, \
                            or leave it out: X-Forwarded-For names the client of each request";
                self.complaints.error(given.span.clone(), text);
            }
        }
    }

    /// A lease needs a buffer for its request and one promised for its response.
    fn leases(&mut self, pools: &Pools, workers: u32) {
        let draft = self.draft;
        let most = u64::from(pools.each.buffers / 2);
        let asked: u64 = draft.groups.iter().map(GroupDraft::most_connections).sum();
        if asked <= most * u64::from(workers) {
            return;
        }
        let mut given = draft.groups.iter().filter_map(|group| group.connections.as_ref());
        let span = given.find_map(|given| given.span.clone());
        let text = format!(
            "{} to all servers together, but each takes two buffers at least, and the pool of one \
             worker has {}: raise {} or lower {}",
            counted(asked, "connection"),
            Count(u64::from(pools.each.buffers)),
            self.tongue.name(Word::MEMORY),
            self.tongue.name(Word::CONNECTIONS),
        );
        self.complaints.warning(span, text);
    }
}

/// `1 worker needs`, `3 workers need`.
fn counted_needs(workers: u32) -> String {
    let verb = if workers == 1 { "needs" } else { "need" };
    format!("{} {verb}", counted(u64::from(workers), "worker"))
}

/// Whether connections are passed through to this group.
fn is_passed(draft: &Draft, group: GroupId) -> bool {
    let mut listeners = draft.listeners.iter().filter(|listener| listener.passing.is_some());
    listeners.any(|listener| listener.leads_to(group))
}

fn group(draft: &GroupDraft, found: Vec<Found>, passed: bool) -> Group {
    let tls = draft.tls.clone();
    let tls = if passed { tls.map(UpstreamTls::passed) } else { tls };
    let server = |(server, found): (&ServerDraft, Found)| Server {
        tls: tls.as_ref().map(|tls| tls.of(&server.at.value)),
        label: server.at.value.to_string().into(),
        addresses: found.addresses,
        name: found.name,
        connections: draft.connections_of(server),
        weight: server.weight,
        backup: server.backup,
    };
    Group {
        name: draft.name.value.as_str().into(),
        servers: draft.servers.iter().zip(found).map(server).collect(),
        pinned: draft.pinned.as_ref().map_or(limits::PINNED, |given| given.value),
        queue: draft.queue.as_ref().map_or(limits::QUEUE_LENGTH, |given| given.value),
        // Each of those is one client's.
        persistent: !passed && draft.persistent.as_ref().is_none_or(|given| given.value),
        introduces: draft.introduces.as_ref().map(|given| given.value),
        tls: tls.clone(),
        policy: Policy {
            balance: draft.balance,
            health: draft.health,
            retries: draft.retries,
            warm: draft.warm.as_ref().map_or(0, |given| given.value),
            passes: passed,
        },
    }
}
