//! The workers of one process over a world: what the binary's crew is, in memory.

use std::sync::Arc;
use std::time::Duration;

use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use bus::{GroupConfig, Policy, ServerConfig, Shared};
use driver::{Driver, Socket, Wake};
use exchange::{Asks, ErrorPages, Passing};
use pool::PoolConfig;
use proxies::security::{AccessList, Limits, Verdict as Judgement};
use worker::coverage::Coverage;
use worker::{
    AccessReader, AuthorizerPlan, Balancers, Carried, Inquiries, Letter, Life, ListenerPlan,
    Office, Plan, Screening, ServerTls, TlsPlan, Worker, WorkerCounters, access_ring,
};

use super::client::BALANCER;
use super::desk::Looks;
use super::door::{self, Denied};
use super::duties::Before;
use super::front;
use super::keys::{self, Keys};
use super::setting::{Serves, Setting};
use super::stage::{Verdict, wrong};
use crate::memory::{Detached, MemoryDriver};
use crate::world::World;

/// Bytes of the note of one request's head.
const LINE: u32 = 256;

/// The workers.
pub(super) struct House {
    /// Those that are not over.
    workers: Vec<Option<Worker<MemoryDriver>>>,
    pub(super) counters: Vec<Arc<WorkerCounters>>,
    pub(super) shared: Arc<Shared>,
    pub(super) spool: Option<Arc<spool::Shared>>,
    /// What addresses have.
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) logs: Vec<AccessReader>,
    /// What met what in the workers that are over.
    met: Coverage,
    /// What goes round between workers and those who decide who is let in.
    pub(super) inquiries: Option<Arc<Inquiries>>,
    /// There is TLS.
    secured: bool,
    /// A worker's drain took so long that the rest was cut off.
    pub(super) cut_off: bool,
    /// Closed with the process.
    office: Option<Arc<Office<Carried<Detached>>>>,
}

impl House {
    pub(super) fn new(setting: &Setting, world: &World, tls: &Keys) -> Self {
        let groups = groups(setting);
        let spool = setting.spool.map(|limits| spool::Shared::new(limits, 1));
        let limits = setting.door.limits.map(|rules| Arc::new(Limits::new(rules, 1)));
        let plan = |worker| plan(setting, worker, &groups, spool.as_ref(), limits.as_ref(), tls);
        let drivers: Vec<MemoryDriver> =
            (0..setting.workers).map(|worker| world.driver(plan(worker).sockets())).collect();
        let wakers: Vec<_> = drivers.iter().map(Driver::waker).collect();
        let inquiries = inquiries(setting, &wakers);
        let office = Office::new(wakers, setting.mailbox, setting.max_clients, setting.pinned_free);
        let shared = Shared::new(setting.workers, &groups);
        let counters: Vec<Arc<WorkerCounters>> = drivers.iter().map(|_| Arc::default()).collect();
        let mut logs = Vec::new();
        let workers = (0..).zip(drivers).zip(&counters).map(|((worker, driver), counters)| {
            let waker = driver.waker();
            let (shared, office) = (Arc::clone(&shared), Arc::clone(&office));
            let plan = Plan { inquiries: inquiries.clone(), ..plan(worker) };
            let mut worker = Worker::new(plan, driver, shared, office, Arc::clone(counters))
                .expect("a small pool can be had");
            if let Some(bytes) = setting.access {
                let (writer, reader) = access_ring(bytes, waker);
                worker.log_access(writer, LINE);
                logs.push(reader);
            }
            Some(worker)
        });
        let workers = workers.collect();
        let met = Coverage::default();
        let secured = setting.door.secured.iter().flatten().any(|&it| it);
        Self {
            workers,
            counters,
            shared,
            spool,
            limits,
            logs,
            met,
            inquiries,
            secured,
            cut_off: false,
            office: Some(office),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// One turn of a worker. Nothing it does may allocate, but for the end of its life; one that is
    /// over is dropped, as its thread ends.
    pub(super) fn turn(&mut self, number: usize, world: &World) -> Verdict {
        let Some(worker) = &mut self.workers[number] else { return Ok(()) };
        let before = Before::of(&self.counters[number]);
        let drains = worker.drains_until();
        let mut life = Life::Over;
        let info = allocation_counter::measure(|| life = worker.turn());
        if life == Life::Over {
            self.met.add(worker.coverage());
            self.cut_off |= drains.is_some_and(|until| world.now() >= until);
            self.workers[number] = None;
            before.settled(number, &self.counters[number])?;
        } else {
            // There its next turn would wait.
            world.set_deadline(number, worker.wakes_at());
        }
        // A session of TLS takes memory of its own when it begins.
        if info.count_total > 0 && life == Life::Serving && !self.secured {
            let text = format!("worker {number} allocated {} bytes in a turn", info.bytes_total);
            return wrong("memory", text);
        }
        Ok(())
    }

    /// What one worker holds and waits for, walked through; nothing if it is over.
    pub(super) fn audit(&self, number: usize) -> Verdict<Vec<bus::Held>> {
        let Some(worker) = &self.workers[number] else { return Ok(Vec::new()) };
        worker.audit().or_else(|text| wrong("audit", format!("worker {number}: {text}")))
    }

    /// The sockets of a worker's clients whose event streams run.
    pub(super) fn stream_clients(&self, number: usize) -> impl Iterator<Item = Socket> {
        self.workers[number].iter().flat_map(Worker::stream_clients)
    }

    /// Tunnels that hold a buffer.
    pub(super) fn tunnels_holding(&self) -> u64 {
        self.workers.iter().flatten().map(|it| it.tunnels_holding() as u64).sum()
    }

    /// Leased connections on which nothing moves though something is under way: before the disk has
    /// read what is to be written, or a buffer is there for what came, or what is encrypted found room.
    pub(super) fn leases_that_wait(&self) -> u64 {
        let waits = |it: &Worker<_>| {
            it.requests_read_back() + it.responses_wait_for_buffers() + it.leases_within_tls()
        };
        self.workers.iter().flatten().map(|it| waits(it) as u64).sum()
    }

    /// Whether somebody waits for a buffer.
    pub(super) fn waits_for_buffers(&self) -> bool {
        self.workers.iter().flatten().any(Worker::waits_for_buffers)
    }

    /// A client of a worker that holds a buffer and does not move while others wait for one.
    pub(super) fn holds_in_vain(&self, number: usize) -> Option<(u32, Duration)> {
        self.workers[number].as_ref().and_then(Worker::holds_in_vain)
    }

    /// Whether somebody stands in line for what is free.
    pub(super) fn waits_in_vain(&self, number: usize) -> bool {
        self.workers[number].as_ref().is_some_and(Worker::waits_in_vain)
    }

    /// Exchanges of a worker that wait until the disk has done an errand.
    pub(super) fn waits_for_disk(&self, number: usize) -> usize {
        self.workers[number].as_ref().map_or(0, Worker::waits_for_disk)
    }

    /// What clients, exchanges and connections of all workers met.
    pub(super) fn what_met(&self) -> Coverage {
        let mut all = self.met.clone();
        self.workers.iter().flatten().for_each(|worker| all.add(worker.coverage()));
        all
    }

    /// Connections that count for some address.
    pub(super) fn addresses_have(&self) -> u32 {
        self.limits.as_ref().map_or(0, |limits| limits.connections())
    }

    /// Tells a worker; false if its mailbox is full.
    pub(super) fn order(&self, worker: u32, letter: Letter<Carried<Detached>>) -> bool {
        let Some(office) = &self.office else { return true };
        office.post(WorkerId(worker), letter).is_ok()
    }

    pub(super) fn is_over(&self) -> bool {
        self.workers.iter().all(Option::is_none)
    }

    pub(super) fn has_ended(&self, worker: usize) -> bool {
        self.workers[worker].is_none()
    }

    /// The process ends: what was on its way between workers goes, too.
    pub(super) fn close(&mut self) {
        self.office = None;
    }

    /// A figure of all workers together.
    pub(super) fn sum(&self, figure: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| figure(counters)).sum()
    }
}

fn groups(setting: &Setting) -> Vec<GroupConfig> {
    let mut servers = setting.servers().zip(0..).map(|((_, server), id)| ServerConfig {
        id: ServerId(id),
        connections: server.connections,
        pinned: server.pinned,
        weight: server.weight,
        backup: server.backup,
        addresses: 1,
    });
    let groups = setting.groups.iter().zip(&setting.serves).map(|(group, serves)| GroupConfig {
        name: "app".into(),
        servers: servers.by_ref().take(group.len()).collect(),
        queue_length: setting.queue_length,
        persistent: setting.persistent,
        policy: match serves {
            Serves::Passes { .. } => Policy { passes: true, warm: 0, ..setting.policy },
            _ => setting.policy,
        },
    });
    groups.collect()
}

fn inquiries(setting: &Setting, wakers: &[Arc<dyn Wake>]) -> Option<Arc<Inquiries>> {
    let gate = &setting.gate;
    let plan = |asks: &Option<Asks>| AuthorizerPlan {
        asks: asks.unwrap_or(Asks::Nobody),
        questions: gate.places,
        remembers: !gate.good_for.is_zero(),
    };
    let plans: Vec<_> = gate.asks.iter().map(plan).collect();
    let new = || Inquiries::new(&plans, wakers.to_vec(), Arc::new(Looks), [3, 4]);
    setting.gate.is_there().then(new)
}

/// The balancer's word is required.
fn balancers() -> Balancers {
    let entries = [(BALANCER.into(), Judgement::Allow)];
    Balancers { addresses: AccessList::new(&entries, Judgement::Deny), unix: false, required: true }
}

fn plan(
    setting: &Setting,
    worker: u32,
    groups: &[GroupConfig],
    spool: Option<&Arc<spool::Shared>>,
    limits: Option<&Arc<Limits>>,
    tls: &Keys,
) -> Plan {
    let listener = |(id, (&stream, &serves)): (u32, (&bool, &Serves))| ListenerPlan {
        id: ListenerId(id),
        group: GroupId(id),
        default_host: "front".into(),
        max_head: setting.max_head,
        max_target: setting.max_head / 2,
        max_body: setting.max_body,
        request_ids: setting.request_ids,
        error_pages: ErrorPages::default(),
        stream,
        upgrade: serves == Serves::Upgrades,
        passing: match serves {
            Serves::Passes { first_byte } => Some(Passing { first_byte, names: None }),
            _ => None,
        },
        screening: Screening {
            list: setting.door.lists.then(|| Arc::new(door::list(Denied::default()))),
            balancers: setting.balanced.then(|| Arc::new(balancers())),
            trusted: setting.trusts.then(front::trusted),
        },
        tls: TlsPlan {
            acceptor: setting.door.secured[id as usize][0].then(|| tls.callers.acceptor(false)),
            own_fields: setting.own_fields().into(),
            subject_field: setting.papers.own_field().map(Into::into),
        },
        authorization: setting.gate.of(id as usize).map(Arc::new),
    };
    Plan {
        worker: WorkerId(worker),
        seed: u64::from(worker),
        pool: PoolConfig {
            buffer_bytes: setting.buffer_bytes,
            ..PoolConfig::new(setting.buffers, 0)
        },
        max_clients: setting.max_clients,
        exchange_memory: setting.exchange_memory,
        spool: spool.cloned(),
        listeners: (0..).zip(setting.stream.iter().zip(&setting.serves)).map(listener).collect(),
        groups: groups.to_vec(),
        introduces: setting.door.introduces.clone(),
        secured_servers: setting
            .servers()
            .map(|(group, _)| {
                let name = keys::NAME.into();
                let server = || ServerTls { connector: tls.connector.clone(), name };
                setting.door.secured[group][1].then(server)
            })
            .collect(),
        bans: setting.door.lists.then(|| Arc::new(door::list(Denied::default()))),
        limits: limits.cloned(),
        least_rate: setting.door.least_rate,
        timeouts: setting.timeouts,
        at_limit: setting.at_limit,
        reclaim_parked: setting.reclaim_parked,
        inquiries: None,
        challenges: None,
    }
}
