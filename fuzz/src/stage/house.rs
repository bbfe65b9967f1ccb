//! One worker in a world of its own, and what must be left of it: nothing.

use std::sync::Arc;
use std::time::Duration;

use base::counter::Counter;
use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use bus::{GroupConfig, Policy, ServerConfig, Shared};
use driver::Driver;
use exchange::ErrorPages;
use pool::PoolConfig;
use sim::{Detached, MemoryDriver, Segments, World, WorldConfig};
use worker::{
    AtLimit, Carried, Letter, Life, ListenerPlan, Office, Plan, Screening, ServerTls, Timeouts,
    TlsPlan, Worker, WorkerCounters,
};

use super::channel::{HOST, Keys, keys};

/// In what a run differs from another one.
#[expect(clippy::struct_excessive_bools, reason = "each is a circumstance of its own")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) buffers: u32,
    pub(super) connections: u32,
    /// Whether requests are shown as they arrive.
    pub(super) stream: bool,
    pub(super) persistent: bool,
    pub(super) request_ids: bool,
    pub(super) spool: bool,
    pub(super) bounded: bool,
    /// Whether clients speak TLS, and the server does.
    secured: [bool; 2],
    pub(super) world: WorldConfig,
    /// What chooses among what others do.
    pub(super) choice: u8,
}

impl Circumstances {
    /// As the first bytes of an input say; the others.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[buffers, flags, segments, choice], rest) = bytes.split_first_chunk()?;
        let world = WorldConfig {
            pipe_bytes: if flags & 1 == 0 { 64 << 10 } else { 600 },
            segments: match segments {
                0 => Segments::Whole,
                most @ 1..4 => Segments::Most(most.into()),
                most @ 4..128 => Segments::Most(usize::from(most) * 8),
                most => Segments::Random { seed: choice.into(), most: usize::from(most) * 4 },
            },
            ..WorldConfig::default()
        };
        let circumstances = Self {
            buffers: 8 + u32::from(buffers % 56),
            connections: 1 + u32::from(buffers / 64),
            stream: flags & 2 == 2,
            persistent: flags & 4 == 0,
            request_ids: flags & 8 == 8,
            spool: flags & 16 == 16,
            bounded: flags & 32 == 32,
            secured: [flags & 64 == 64, flags & 128 == 128],
            world,
            choice,
        };
        Some((circumstances, rest))
    }

    /// What sessions with clients are made from, if there are any.
    pub(super) fn clients(&self) -> Option<&'static Keys> {
        self.secured[0].then(|| keys(self.choice & 4 == 0))
    }

    /// The same of those with the server.
    pub(super) fn servers(&self) -> Option<&'static Keys> {
        self.secured[1].then(|| keys(self.choice & 8 == 0))
    }

    /// Whether who ends a direction over TLS says so.
    pub(super) const fn is_polite(&self) -> bool {
        self.choice & 2 == 0
    }
}

/// The worker and its world.
pub(super) struct House {
    pub(super) world: World,
    worker: Worker<MemoryDriver>,
    counters: Arc<WorkerCounters>,
    spool: Option<Arc<spool::Shared>>,
    office: Arc<Office<Carried<Detached>>>,
    over: bool,
}

/// Turns in which everybody must have come to rest.
const TURNS: u32 = 20_000;

impl House {
    pub(super) fn new(circumstances: &Circumstances) -> Self {
        let world = World::new(circumstances.world);
        let server =
            ServerConfig { pinned: 2, ..ServerConfig::new(ServerId(0), circumstances.connections) };
        let groups = vec![GroupConfig {
            name: "app".into(),
            servers: vec![server],
            queue_length: 8,
            persistent: circumstances.persistent,
            policy: Policy::default(),
        }];
        let limits =
            spool::Limits { size: 512 << 10, per_exchange: 256 << 10, per_address: 512 << 10 };
        let spool = circumstances.spool.then(|| spool::Shared::new(limits, 1));
        let plan = plan(circumstances, &groups, spool.clone());
        let driver = world.driver(plan.sockets());
        let office = Office::new(vec![driver.waker()], 16, plan.max_clients, 2);
        let shared = Shared::new(1, &groups);
        let counters = Arc::new(WorkerCounters::default());
        let worker = Worker::new(plan, driver, shared, Arc::clone(&office), Arc::clone(&counters));
        let worker = worker.unwrap_or_else(|error| panic!("no worker: {error:?}"));
        let mut house = Self { world, worker, counters, spool, office, over: false };
        house.settle();
        house
    }

    /// Lets the worker do all there is to do now; then its tables must agree and its laws hold.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS {
            self.over = self.over || self.worker.turn() == Life::Over;
            if self.over {
                return;
            }
            if self.world.is_still() {
                let audit = self.worker.audit();
                assert!(audit.is_ok(), "{audit:?}");
                return;
            }
        }
        panic!("the worker never comes to rest");
    }

    /// Moves time to the next deadline within `left`, or by all of it; what is left then.
    pub(super) fn step(&mut self, left: Duration) -> Duration {
        self.settle();
        let now = self.world.now();
        let length = match self.world.next_deadline() {
            Some(moment) if !self.over => {
                moment.since(now).max(Duration::from_micros(100)).min(left)
            }
            _ => left,
        };
        self.world.advance(length);
        self.settle();
        left.saturating_sub(length)
    }

    /// Whether anybody ever waited for a buffer.
    pub(super) fn was_short(&self) -> bool {
        self.counters.buffer_waits.iter().any(|waits| waits.get() > 0)
    }

    /// Everybody has left: the worker drains, and nothing is left.
    pub(super) fn close(mut self) {
        // Over TLS an idle connection is closed a turn after its server left, and no drain waits for that.
        self.settle();
        assert!(self.office.post(WorkerId(0), Letter::Drain).is_ok());
        let mut left = Duration::from_mins(5);
        while !self.over && left > Duration::ZERO {
            left = self.step(left);
        }
        assert!(self.over, "a drain never ends");
        let counters = &self.counters;
        assert_eq!(counters.buffers_used.get(), 0, "buffers are lent");
        assert_eq!(counters.buffers_promised.get(), 0, "buffers are promised");
        assert_eq!(counters.clients_active.get(), 0, "clients are active");
        assert_eq!(counters.clients.get(), 0, "clients are here");
        let exchanges: u64 = counters.exchanges.iter().map(Counter::get).sum();
        assert_eq!(exchanges, 0, "exchanges are counted");
        assert_eq!(self.spool.as_ref().map_or(0, |spool| spool.held()), 0, "extents are held");
        assert_eq!(self.world.connections_to(ServerId(0)), 0, "connections are open");
    }
}

fn plan(
    circumstances: &Circumstances,
    groups: &[GroupConfig],
    spool: Option<Arc<spool::Shared>>,
) -> Plan {
    let bounded = circumstances.bounded;
    Plan {
        worker: WorkerId(0),
        seed: 0,
        pool: PoolConfig { buffers: circumstances.buffers, buffer_bytes: 512, waiters: 0 },
        max_clients: 8,
        exchange_memory: if circumstances.spool { 2048 } else { 64 << 10 },
        spool,
        listeners: vec![ListenerPlan {
            id: ListenerId(0),
            group: GroupId(0),
            passing: None,
            screening: Screening::default(),
            default_host: "front".into(),
            max_head: if bounded { 400 } else { 1500 },
            max_target: if bounded { 60 } else { 1 << 10 },
            max_body: if bounded { 300 } else { 1 << 20 },
            request_ids: circumstances.request_ids,
            upgrade: false,
            error_pages: ErrorPages::default(),
            stream: circumstances.stream,
            authorization: None,
            tls: TlsPlan {
                acceptor: circumstances.clients().map(|keys| keys.acceptor.clone()),
                ..TlsPlan::default()
            },
        }],
        groups: groups.to_vec(),
        introduces: Vec::new(),
        secured_servers: vec![
            circumstances
                .servers()
                .map(|keys| ServerTls { connector: keys.connector.clone(), name: HOST.into() }),
        ],
        bans: None,
        limits: None,
        least_rate: None,
        timeouts: Timeouts::default(),
        at_limit: AtLimit::Pause,
        reclaim_parked: circumstances.choice & 1 == 1,
        inquiries: None,
        challenges: None,
    }
}
