//! The loop: take completions, dispatch each, then do what the round made possible.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use base::id::{ExchangeId, ListenerId};
use base::limits;
use base::slab::Slab;
use base::time::Instant;
use bus::Bus;
use driver::{Completion, Driver};
use exchange::{Exchange, RequestIds, Rules, Scratch, Tunnel};
use pool::{Pool, PoolConfig, PoolError};
use proxies::Chosen;

use crate::account::Ledger;
use crate::authorize::Gate;
use crate::client::{Clients, Party};
use crate::counters::WorkerCounters;
use crate::coverage::Coverage;
use crate::date::DateCache;
use crate::limit::Counted;
use crate::office::Office;
use crate::orders::Life;
use crate::plan::Plan;
use crate::secured::{Carried, Event, Makers, Secured};
use crate::spool::Spool;
use crate::upstream::Upstreams;

/// One worker: a driver, a pool, its clients, its exchanges, its share of the bus.
pub struct Worker<D: Driver> {
    pub(crate) driver: Secured<D>,
    pub(crate) pool: Pool,
    pub(crate) spool: Option<Spool>,
    pub(crate) clients: Clients,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) tunnels: Slab<Tunnel>,
    /// Buffers that all tunnels hold together.
    pub(crate) tunnelled: u32,
    pub(crate) upstreams: Upstreams,
    // Dropped after the driver: a permit goes back when its connection is really closed.
    pub(crate) bus: Bus,
    pub(crate) proxy: Chosen,
    pub(crate) rules: Vec<Rules>,
    pub(crate) scratch: Scratch,
    pub(crate) request_ids: RequestIds,
    pub(crate) date: DateCache,
    pub(crate) ledger: Ledger,
    pub(crate) gate: Gate,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) office: Arc<Office<Carried<D::Detached>>>,
    pub(crate) plan: Plan,
    pub(crate) life: Life,
    /// Pipelined requests whose turn has come: begun in the next round, so that a client with
    /// thousands of them neither deepens a call nor takes more than its turn.
    pub(crate) pipelined: VecDeque<ExchangeId>,
    /// The request that gets buffers before other requests while they are short: so requests
    /// become complete one after another, instead of all holding a part.
    pub(crate) favoured: Option<(ExchangeId, Instant)>,
    /// When a short pool and stalled leases are looked at next.
    pub(crate) relieve_at: Instant,
    pub(crate) stalls_at: Instant,
    /// What one response may keep in the pool, bytes: all leases together half of it.
    pub(crate) response_memory: u32,
    /// Exchanges with a pinned connection.
    pub(crate) streams: u32,
    /// Accepting is paused because `max_clients` are here.
    pub(crate) full: bool,
    /// When accepting is tried again after the system ran out of something.
    pub(crate) accept_again: Option<Instant>,
    /// Empty, unless what meets what is counted.
    pub(crate) coverage: Coverage,
    pub(crate) now: Instant,
}

/// Why a worker could not start.
#[derive(Debug)]
pub enum StartError {
    /// Its pool could not be made.
    Pool(PoolError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl<D: Driver> Worker<D> {
    /// Sets everything aside that the worker will ever need, and begins to listen.
    ///
    /// # Errors
    /// When the pool can't be had.
    pub fn new(
        plan: Plan,
        driver: D,
        shared: Arc<bus::Shared>,
        office: Arc<Office<Carried<D::Detached>>>,
        counters: Arc<WorkerCounters>,
    ) -> Result<Self, StartError> {
        let records = plan.client_records();
        // Tunnels wait for buffers beside exchanges; as many as may be pinned.
        let tunnels = plan.pinned();
        let pool = PoolConfig { waiters: records + tunnels, ..plan.pool };
        let pool = Pool::new(pool).map_err(StartError::Pool)?;
        let bus = Bus::new(shared, plan.worker, &plan.groups, records);
        let spool = plan.spool.clone().map(|shared| Spool::new(shared, records));
        let spooled = spool.as_ref().map_or(0, Spool::longest_body);
        // What went to the spool in part is there whole before the server meets it.
        let most = spooled.max(u64::from(plan.exchange_memory));
        let rules = plan.listeners.iter().map(|listener| Rules {
            max_head: listener.max_head,
            max_target: listener.max_target,
            max_body: listener.max_body.min(most),
            stream: listener.stream.then_some(listener.max_body),
            default_host: listener.default_host.clone(),
            upstream_persistent: plan.groups[listener.group.index()].persistent,
            request_ids: listener.request_ids,
            upgrade: listener.upgrade,
            passing: listener.passing.clone(),
            own_fields: Arc::clone(&listener.tls.own_fields),
            subject_field: listener.tls.subject_field.clone(),
            trusted: listener.screening.trusted.clone(),
            error_pages: listener.error_pages.clone(),
            authorization: listener.authorization.clone(),
            challenges: plan.challenges.clone(),
        });
        counters.buffers.set(u64::from(pool.size()));
        counters.buffers_free_min.set(u64::from(pool.size()));
        let acceptors = plan.listeners.iter().map(|it| it.tls.acceptor.clone()).collect();
        let makers = Makers { acceptors, servers: plan.secured_servers.clone() };
        let beside = [pool.size(), pool.buffer_bytes()];
        let driver = Secured::new(driver, makers, plan.sockets(), beside, Arc::clone(&counters));
        let now = driver.now();
        let mut worker = Self {
            clients: Clients::new(records, &plan.timeouts, Counted::new(&plan)),
            exchanges: Slab::new(records),
            tunnels: Slab::new(tunnels),
            tunnelled: 0,
            upstreams: Upstreams::new(bus.capacity(), &plan.timeouts),
            rules: rules.collect(),
            scratch: Scratch::new(),
            request_ids: RequestIds::new(plan.seed),
            ledger: Ledger::none(),
            gate: Gate::new(plan.inquiries.clone(), records, plan.seed),
            date: DateCache::new(),
            life: Life::Serving,
            full: false,
            streams: 0,
            pipelined: VecDeque::with_capacity(records as usize),
            favoured: None,
            relieve_at: now,
            stalls_at: now,
            response_memory: response_memory(&plan, &pool),
            accept_again: None,
            coverage: Coverage::new(),
            proxy: Chosen::default(),
            driver,
            pool,
            spool,
            bus,
            counters,
            office,
            plan,
            now,
        };
        worker.office.crowd.set(worker.plan.worker, 0);
        worker.office.crowd.set_pinned(worker.plan.worker, 0);
        worker.office.crowd.set_waiting(worker.plan.worker, false);
        worker.listen_everywhere();
        Ok(worker)
    }

    /// Serves until it is drained or told to stop.
    pub fn run(&mut self) {
        while self.turn() != Life::Over {}
    }

    /// Waits for something to happen, once, and deals with it.
    pub fn turn(&mut self) -> Life {
        let until = self.wakes_at();
        self.driver.poll(until);
        self.now = self.driver.now();
        self.date.refresh(self.driver.wall());
        for _ in 0..limits::TURNS_PER_POLL {
            if !self.serve_completions() {
                break;
            }
            self.end_round();
        }
        self.serve_deadlines();
        self.free_stalled_leases();
        self.end_round();
        self.publish();
        self.life
    }

    /// The moment at which the next turn must come even if nothing happens; its driver is told how
    /// many clients may come until then. A simulator, whose driver cannot wait, asks for it after
    /// each turn.
    pub fn wakes_at(&mut self) -> Option<Instant> {
        self.mind_the_limit();
        self.driver.accept_at_most(self.places());
        self.next_moment()
    }

    /// Dispatches what is queued now; what that queues is the next round's. False when there
    /// was nothing.
    fn serve_completions(&mut self) -> bool {
        let mut any = self.serve_pipelined();
        for _ in 0..limits::EVENT_BATCH {
            // What came behind the order to stop is nobody's business any more.
            if self.life == Life::Over {
                break;
            }
            let Some(event) = self.driver.next(&mut self.pool) else { break };
            match event {
                Event::Driver(completion) => self.dispatch(completion),
                Event::Secured(owner) => self.secured(owner),
                Event::Refused(owner, failure) => self.refused_by_tls(owner, failure),
                Event::Handled => {}
            }
            any = true;
        }
        any
    }

    /// The meeting path: who is concerned, and which file tells what follows.
    fn dispatch(&mut self, completion: Completion) {
        self.witness_completion(completion);
        match completion {
            Completion::Accepted { listener, socket, peer } => self.admit(listener, socket, peer),
            Completion::AcceptFailed { fault, .. } => self.accept_failed(fault),
            Completion::Readable { owner } => match Party::of(owner) {
                Party::Client(id) => self.client_readable(id),
                Party::Upstream(id) => self.upstream_readable(id),
                Party::Nobody => {}
            },
            Completion::Ended { owner } => {
                if let Party::Client(id) = Party::of(owner) {
                    self.client_ended(id);
                }
            }
            Completion::Sent { owner, bytes } => match Party::of(owner) {
                Party::Client(id) => self.client_took(id, bytes),
                Party::Upstream(id) => self.upstream_took(id, bytes),
                Party::Nobody => {}
            },
            Completion::Connected { owner } => {
                if let Party::Upstream(id) = Party::of(owner) {
                    self.upstream_connected(id);
                }
            }
            Completion::ConnectFailed { owner, fault } => {
                if let Party::Upstream(id) = Party::of(owner) {
                    self.connect_failed(id, fault);
                }
            }
            Completion::Failed { owner, .. } => match Party::of(owner) {
                Party::Client(id) => self.client_broke(id),
                Party::Upstream(id) => self.upstream_failed(id),
                Party::Nobody => {}
            },
            Completion::Closed { owner } => match Party::of(owner) {
                Party::Client(id) => self.client_closed(id),
                Party::Upstream(id) => self.upstream_closed(id),
                Party::Nobody => {}
            },
            Completion::Spooled { ticket, done } => self.disk_did(ticket, done),
            Completion::Woken => self.read_letters(),
        }
    }

    /// What a round made possible, in the order of law 5: buffers for what frees others,
    /// leases, buffers for the rest.
    fn end_round(&mut self) {
        self.grant_buffers();
        self.serve_bus();
        self.relieve_pressure();
    }

    fn serve_deadlines(&mut self) {
        while let Some((patience, id)) = self.clients.expired(self.now) {
            self.witness_client(patience, id);
            self.client_late(id, patience);
        }
        while let Some((progress, id)) = self.upstreams.expired(self.now) {
            self.witness_upstream(progress, id);
            self.upstream_late(id, progress);
        }
        if self.accept_again.is_some_and(|moment| self.now >= moment) {
            self.accept_again = None;
            if !self.full && self.life == Life::Serving {
                self.listen_everywhere();
            }
        }
        self.end_drain_in_time();
    }

    /// The first moment at which something must be done even if nothing happens.
    fn next_moment(&self) -> Option<Instant> {
        if !self.pipelined.is_empty() || self.driver.has_news() {
            return Some(self.now);
        }
        let patience = self.pool.oldest_wait().map(|since| since + limits::BUFFER_PATIENCE);
        [
            self.clients.deadlines.next(self.now),
            self.upstreams.next_deadline(self.now),
            self.bus.wake_at(self.now),
            // Who waits longer looks again every so often, not all the time.
            patience.map(|moment| moment.max(self.now + limits::PRESSURE_PAUSE)),
            self.accept_again,
            self.drain_ends(),
            self.stalled_leases_end(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn listen_everywhere(&mut self) {
        for listener in 0..self.plan.listeners.len() {
            self.driver.listen(ListenerId(u32::try_from(listener).unwrap_or(u32::MAX)));
        }
    }

    /// Writes the figures that are states, not events.
    fn publish(&self) {
        let counters = &self.counters;
        counters.buffers_used.set(u64::from(self.pool.used()));
        counters.buffers_promised.set(u64::from(self.pool.promised()));
        counters.buffers_free_min.set(u64::from(self.pool.low_water()));
        for rank in pool::Rank::ALL {
            counters.buffer_waits[rank as usize].set(self.pool.waits_total(rank));
        }
    }
}

/// `exchange_memory`, or less where that would let clients who take nothing hold the whole pool
/// through the leases they hold.
fn response_memory(plan: &Plan, pool: &Pool) -> u32 {
    let servers = plan.groups.iter().flat_map(|group| &group.servers);
    let leases: u32 = servers.map(|server| server.connections).sum();
    let share = pool.size() / 2 / leases.max(1);
    plan.exchange_memory.min(share.max(2).saturating_mul(pool.buffer_bytes()))
}
