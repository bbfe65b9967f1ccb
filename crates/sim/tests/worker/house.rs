//! A house in a small world: real workers over memory, and a test that plays everybody else.

use std::sync::Arc;
use std::time::Duration;

use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use bus::{GroupConfig, Policy, ServerConfig, Shared};
use driver::{Driver, Wake};
use exchange::{Asks, Authorization, ErrorPages, Passing};
use pool::PoolConfig;
use proxies::security::Limits;
use sim::{MemoryDriver, Peer, World, WorldConfig};
use wire::proxy_protocol::Version;
use worker::{
    AccessReader, AccessRecord, AtLimit, AuthorizerPlan, CloseReason, Inquiries, LeastRate, Letter,
    Life, ListenerPlan, Office, Plan, Screening, Timeouts, Worker, WorkerCounters, access_ring,
};

/// Bytes of the note of one request's head.
pub(crate) const LINE: u32 = 256;

/// What differs from test to test.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) world: WorldConfig,
    pub(crate) workers: u32,
    pub(crate) buffers: u32,
    pub(crate) max_clients: u32,
    pub(crate) connections: u32,
    pub(crate) pinned: u32,
    /// Pinned connections that take no client's place.
    pub(crate) pinned_free: u32,
    pub(crate) stream: bool,
    pub(crate) queue_length: u32,
    pub(crate) exchange_memory: u32,
    pub(crate) spool: Option<spool::Limits>,
    pub(crate) max_body: u64,
    pub(crate) persistent: bool,
    pub(crate) at_limit: AtLimit,
    pub(crate) reclaim_parked: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) request_ids: bool,
    pub(crate) error_pages: ErrorPages,
    /// Bytes of each worker's ring for the access log; none without.
    pub(crate) access: Option<usize>,
    pub(crate) policy: Policy,
    pub(crate) passing: Option<Passing>,
    pub(crate) screening: Screening,
    pub(crate) introduces: Option<Version>,
    pub(crate) tls: worker::TlsPlan,
    pub(crate) secured_servers: Vec<Option<worker::ServerTls>>,
    pub(crate) limits: Option<Arc<Limits>>,
    pub(crate) least_rate: Option<LeastRate>,
    pub(crate) authorization: Option<Arc<Authorization>>,
    /// Questions that may be under way at one time.
    pub(crate) questions: u32,
}

/// The test looks by itself.
struct Unheard;

impl Wake for Unheard {
    fn wake(&self) {}
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            world: WorldConfig::default(),
            workers: 1,
            buffers: 64,
            max_clients: 64,
            connections: 2,
            pinned: 16,
            pinned_free: 16,
            stream: false,
            tls: worker::TlsPlan::default(),
            secured_servers: Vec::new(),
            queue_length: 64,
            exchange_memory: 64 << 10,
            spool: None,
            max_body: 1 << 20,
            persistent: true,
            at_limit: AtLimit::Pause,
            reclaim_parked: false,
            timeouts: Timeouts::default(),
            request_ids: false,
            error_pages: ErrorPages::default(),
            access: None,
            policy: Policy::default(),
            passing: None,
            screening: Screening::default(),
            introduces: None,
            limits: None,
            least_rate: None,
            authorization: None,
            questions: 8,
        }
    }
}

/// Workers in a world.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) workers: Vec<Worker<MemoryDriver>>,
    pub(crate) counters: Vec<Arc<WorkerCounters>>,
    pub(crate) spool: Option<Arc<spool::Shared>>,
    /// What the workers write for the access log.
    pub(crate) logs: Vec<AccessReader>,
    /// Where the test finds what it is to decide.
    pub(crate) inquiries: Option<Arc<Inquiries>>,
    pub(crate) office: Arc<Office<worker::Carried<sim::Detached>>>,
    over: Vec<bool>,
}

impl House {
    pub(crate) fn new(setting: &Setting) -> Self {
        let world = World::new(setting.world);
        let groups = vec![GroupConfig {
            name: "app".into(),
            servers: (0..setting.world.servers)
                .map(|id| ServerConfig {
                    pinned: setting.pinned,
                    ..ServerConfig::new(ServerId(id), setting.connections)
                })
                .collect(),
            queue_length: setting.queue_length,
            persistent: setting.persistent,
            policy: Policy { passes: setting.passing.is_some(), ..setting.policy },
        }];
        let spool = setting.spool.map(|limits| spool::Shared::new(limits, 1));
        let plan = |worker, inquiries: Option<&Arc<Inquiries>>| Plan {
            worker: WorkerId(worker),
            seed: u64::from(worker),
            pool: PoolConfig::new(setting.buffers, 0),
            max_clients: setting.max_clients,
            exchange_memory: setting.exchange_memory,
            spool: spool.clone(),
            listeners: (0..setting.world.listeners)
                .map(|id| ListenerPlan {
                    id: ListenerId(id),
                    group: GroupId(0),
                    default_host: "front".into(),
                    max_head: 8 << 10,
                    max_target: 1 << 10,
                    max_body: setting.max_body,
                    request_ids: setting.request_ids,
                    error_pages: setting.error_pages.clone(),
                    stream: setting.stream,
                    upgrade: true,
                    passing: setting.passing.clone(),
                    screening: setting.screening.clone(),
                    tls: setting.tls.clone(),
                    authorization: setting.authorization.clone(),
                })
                .collect(),
            groups: groups.clone(),
            introduces: vec![setting.introduces],
            secured_servers: setting.secured_servers.clone(),
            bans: None,
            limits: setting.limits.clone(),
            least_rate: setting.least_rate,
            timeouts: setting.timeouts,
            at_limit: setting.at_limit,
            reclaim_parked: setting.reclaim_parked,
            inquiries: inquiries.cloned(),
            challenges: None,
        };
        let drivers: Vec<MemoryDriver> =
            (0..setting.workers).map(|worker| world.driver(plan(worker, None).sockets())).collect();
        let wakers: Vec<_> = drivers.iter().map(Driver::waker).collect();
        let inquiries = setting.authorization.is_some().then(|| {
            let asks = setting.authorization.as_ref().map_or(Asks::Nobody, |it| it.asks);
            let plan = AuthorizerPlan { asks, questions: setting.questions, remembers: true };
            Inquiries::new(&[plan], wakers.clone(), Arc::new(Unheard), [1, 2])
        });
        let office = Office::new(wakers, 64, setting.max_clients, setting.pinned_free);
        let shared = Shared::new(setting.workers, &groups);
        let counters: Vec<_> =
            drivers.iter().map(|_| Arc::new(WorkerCounters::default())).collect();
        let mut logs = Vec::new();
        let workers: Vec<_> = (0u32..)
            .zip(drivers)
            .zip(&counters)
            .map(|((worker, driver), counters)| {
                let (shared, office) = (Arc::clone(&shared), Arc::clone(&office));
                let waker = driver.waker();
                let mut worker = Worker::new(
                    plan(worker, inquiries.as_ref()),
                    driver,
                    shared,
                    office,
                    Arc::clone(counters),
                )
                .expect("a small pool can be had");
                if let Some(bytes) = setting.access {
                    let (writer, reader) = access_ring(bytes, waker);
                    worker.log_access(writer, LINE);
                    logs.push(reader);
                }
                worker
            })
            .collect();
        let over = vec![false; workers.len()];
        let mut house = Self { world, workers, counters, spool, logs, inquiries, office, over };
        house.settle();
        house
    }

    /// Lets the workers do all there is to do now.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            for (worker, over) in self.workers.iter_mut().zip(&mut self.over) {
                *over = *over || worker.turn() == Life::Over;
            }
            if self.world.is_still() || self.is_over() {
                return;
            }
        }
        panic!("the workers never come to rest");
    }

    /// Moves time, in steps, so that every deadline is met on its way.
    pub(crate) fn pass(&mut self, length: Duration) {
        let end = self.world.now() + length;
        loop {
            self.settle();
            match self.world.next_deadline() {
                Some(moment) if moment <= end && !self.is_over() => {
                    let now = self.world.now();
                    self.world.advance(moment.since(now).max(Duration::from_micros(100)));
                }
                _ => break,
            }
        }
        let now = self.world.now();
        self.world.advance(end.since(now));
        self.settle();
    }

    pub(crate) fn client(&mut self) -> Peer {
        let client = self.world.connect(ListenerId(0));
        self.settle();
        client
    }

    /// A client that this worker accepts.
    pub(crate) fn client_of(&mut self, worker: usize) -> Peer {
        let client = self.world.connect(ListenerId(0));
        self.workers[worker].turn();
        self.settle();
        client
    }

    /// A client that comes from this address.
    pub(crate) fn client_from(&mut self, address: &str) -> Peer {
        let address = address.parse().expect("an address");
        let client = self.world.connect_from(ListenerId(0), address);
        self.settle();
        client
    }

    /// What the client gets for what it sends.
    pub(crate) fn exchange(&mut self, client: &Peer, request: &str) {
        client.write_all(request.as_bytes());
        self.settle();
    }

    /// The server's end of the next new connection.
    pub(crate) fn server(&mut self) -> Peer {
        self.settle();
        self.world.accept(ServerId(0)).expect("a connection to the server")
    }

    pub(crate) fn order(&mut self, letter: impl Fn() -> Letter<worker::Carried<sim::Detached>>) {
        for worker in 0..self.office.workers() {
            assert!(self.office.post(WorkerId(worker), letter()).is_ok());
        }
        self.settle();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.iter().all(|&over| over)
    }

    pub(crate) fn sum(&self, figure: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| figure(counters)).sum()
    }

    /// Clients that were closed for this reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.sum(|counters| counters.clients_closed[reason as usize].get())
    }

    /// What was written for the access log since the last call.
    pub(crate) fn log<T>(&mut self, mut of: impl FnMut(&AccessRecord<'_>) -> T) -> Vec<T> {
        let mut lines = Vec::new();
        for log in &mut self.logs {
            log.drain(|record| {
                lines.push(of(record));
                true
            });
        }
        lines
    }

    /// At rest: every buffer is free, nobody is active.
    pub(crate) fn assert_quiet(&mut self) {
        self.settle();
        assert_eq!(self.sum(|c| c.buffers_used.get()), 0, "buffers are lent");
        assert_eq!(self.sum(|c| c.buffers_promised.get()), 0, "buffers are promised");
        assert_eq!(self.sum(|c| c.clients_active.get()), 0, "clients are active");
        let exchanges = self.sum(|c| c.exchanges.iter().map(base::counter::Counter::get).sum());
        assert_eq!(exchanges, 0, "exchanges are counted");
        assert_eq!(self.spool.as_ref().map_or(0, |spool| spool.held()), 0, "extents are held");
    }
}

pub(crate) fn text(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.read()).into_owned()
}

/// The status line's code, or what came instead.
pub(crate) fn status(text: &str) -> u16 {
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status line: {text:?}"))
}

pub(crate) const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
