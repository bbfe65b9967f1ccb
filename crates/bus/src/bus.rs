//! One worker's view of the servers: what is reported to it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::slab::Slab;
use base::time::Instant;
use core::time::Duration;

use crate::connection::{Connection, Server, State};
use crate::decide::Decision;
use crate::group::{Group, GroupConfig};
use crate::others::{LOOK_AGAIN, group_id};
use crate::queue::{Place, Waiters};
use crate::shared::Shared;

/// Groups, connections and the ready queue of one worker.
#[derive(Debug)]
pub struct Bus {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) groups: Vec<Group>,
    pub(crate) waiters: Waiters,
    pub(crate) connections: Slab<Connection>,
    /// How many of them count as pinned, and most that may.
    pub(crate) pinned: u32,
    pub(crate) pinned_capacity: u32,
    /// Indexed by server.
    pub(crate) servers: Vec<Server>,
    /// Connections the worker must close, and workers it must wake.
    pub(crate) outbox: VecDeque<Decision>,
    /// The group that is asked first what is to be done: they take turns.
    pub(crate) first: usize,
    /// How often it looks at everything anew while it waits.
    pub(crate) look_again: Duration,
}

/// The ready queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses, or cannot be reached.
    Refused,
    /// The server's backlog is full for the moment.
    Busy,
    /// This machine lacks descriptors, ports or memory.
    Exhausted,
    /// Nobody answered in time.
    TimedOut,
}

impl Bus {
    /// A bus for one worker, of whose exchanges at most `exchanges` wait. What an earlier
    /// worker of that number published is forgotten, and the others are told to look at what it
    /// left.
    pub fn new(
        shared: Arc<Shared>,
        worker: WorkerId,
        groups: &[GroupConfig],
        exchanges: u32,
    ) -> Self {
        shared.forget(worker);
        let configs = groups.iter().flat_map(|group| &group.servers);
        let leases: u32 = configs.clone().map(|server| server.connections).sum();
        // Who pins a connection is an exchange.
        let pinned = configs.clone().fold(0u32, |sum, server| sum.saturating_add(server.pinned));
        let pinned_capacity = pinned.min(exchanges);
        let servers = configs.map(Server::new);
        let workers = shared.workers();
        let mut bus = Self {
            servers: servers.collect(),
            groups: groups.iter().map(|group| Group::new(group, worker, workers)).collect(),
            waiters: Waiters::new(exchanges),
            connections: Slab::new(leases + pinned_capacity),
            pinned: 0,
            pinned_capacity,
            outbox: VecDeque::with_capacity(leases as usize + workers * groups.len()),
            first: 0,
            look_again: LOOK_AGAIN,
            shared,
            worker,
        };
        bus.greet();
        bus
    }

    /// Most connections this worker can have: all that are allowed to all servers, but no more
    /// pinned ones than it has exchanges.
    pub fn capacity(&self) -> u32 {
        self.connections.capacity()
    }

    /// A complete request joins the end of its group's ready queue. `again`: it met a
    /// connection that was closed while idle; it goes before the others, outside the bound, and
    /// only on a connection opened for it.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn enqueue(
        &mut self,
        group: GroupId,
        exchange: ExchangeId,
        now: Instant,
        again: bool,
    ) -> Result<(), QueueFull> {
        let queue = &mut self.groups[group.index()].queue;
        if again {
            queue.push(&mut self.waiters, exchange, (group, now, Place::Again));
        } else if queue.is_full() {
            self.shared.group_share(group, self.worker).refused.increment();
            return Err(QueueFull);
        } else {
            queue.push(&mut self.waiters, exchange, (group, now, Place::Rest));
            self.shared.group_share(group, self.worker).recent.count_own(now);
        }
        self.count_queued(group);
        Ok(())
    }

    /// A request leaves the queue unserved.
    pub fn withdraw(&mut self, exchange: ExchangeId) {
        if let Some(waiter) = self.waiters.get(exchange) {
            let group = waiter.group;
            self.unqueue(group, exchange);
        }
    }

    pub(crate) fn unqueue(&mut self, group: GroupId, exchange: ExchangeId) {
        let entry = &mut self.groups[group.index()];
        entry.queue.remove(&mut self.waiters, exchange);
        entry.asked = false;
        self.count_queued(group);
    }

    fn count_queued(&self, group: GroupId) {
        let queued = self.groups[group.index()].queue.len();
        self.shared.group_share(group, self.worker).queued.set(u64::from(queued));
    }

    /// A connection is open: it may be leased.
    pub fn connected(&mut self, id: ConnectionId, _now: Instant) {
        let Some(State::Connecting(_)) = self.state(id) else { return };
        let server = self.connections[id.0].server();
        self.server_succeeded(server);
        self.shared.share(server, self.worker).connects.increment();
        self.change(id, State::Idle);
    }

    /// A connection could not be opened. The worker closes what there is of it, then calls
    /// [`closed`](Self::closed).
    pub fn connect_failed(&mut self, id: ConnectionId, failure: Failure, now: Instant) {
        let Some(State::Connecting(since)) = self.state(id) else { return };
        let server = self.connections[id.0].server();
        self.change(id, State::Closing);
        self.shared.share(server, self.worker).failures.increment();
        match failure {
            Failure::Busy | Failure::Exhausted => {
                let group = self.shared.group_of(server);
                let policy = self.groups[group.index()].policy.health;
                self.servers[server.index()].health.had_no_room(&policy, since, now);
            }
            Failure::Refused | Failure::TimedOut => self.server_failed(server, since, now),
        }
    }

    /// A response began: the server is well.
    pub fn answered(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id.0) {
            let server = connection.server();
            self.servers[server.index()].warmth.succeeded();
            self.server_succeeded(server);
        }
    }

    /// A fresh connection ended without a word. Where others can serve, the server is left alone
    /// for a while.
    pub fn broke(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(id.0) else { return };
        let server = connection.server();
        self.shared.share(server, self.worker).failures.increment();
        let group = self.shared.group_of(server);
        if self.groups[group.index()].servers.len() > 1 {
            let policy = self.groups[group.index()].policy.health;
            self.servers[server.index()].health.broke(&policy, now);
            self.tell_failure(server);
        }
    }

    /// Whether a request that was sent again so often may have to go again if its connection is
    /// closed under it: its attempts are not spent, and after a fresh connection another server
    /// is there to go to.
    pub fn may_need_again(&self, group: GroupId, fresh: bool, retries: u32) -> bool {
        let entry = &self.groups[group.index()];
        retries + 1 < entry.policy.retries.attempts && (!fresh || entry.servers.len() > 1)
    }

    /// Takes one retry out of the group's budget; false if it is spent.
    pub fn grant_retry(&self, group: GroupId, now: Instant) -> bool {
        let granted = self.shared.withdraw(group, self.groups[group.index()].policy.retries, now);
        let share = self.shared.group_share(group, self.worker);
        let counter = if granted { &share.retries } else { &share.retries_refused };
        counter.increment();
        granted
    }

    /// A request that waits goes to this server only if there is no other: it has just failed it.
    pub fn avoid(&mut self, exchange: ExchangeId, server: ServerId) {
        self.waiters.avoid(exchange, server);
    }

    /// The name of a server stands for other addresses now, so many.
    pub fn readdressed(&mut self, server: ServerId, count: usize) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.addresses = u32::try_from(count).unwrap_or(u32::MAX).max(1);
            server.readdressed = true;
        }
    }

    /// Whether a server's addresses ever changed.
    pub fn is_readdressed(&self, server: ServerId) -> bool {
        self.servers.get(server.index()).is_some_and(|server| server.readdressed)
    }

    /// An idle connection is to be closed: it leads nowhere that is wanted.
    pub fn retire(&mut self, id: ConnectionId) {
        if let Some(State::Idle) = self.state(id) {
            self.must_close(id);
        }
    }

    /// The lease ends. A connection that is not reusable is to be closed.
    pub fn release(&mut self, id: ConnectionId, reusable: bool, _now: Instant) {
        let Some(State::Leased) = self.state(id) else { return };
        let group = self.shared.group_of(self.connections[id.0].server());
        if reusable && self.groups[group.index()].persistent {
            self.change(id, State::Idle);
        } else {
            self.must_close(id);
        }
    }

    /// An idle connection ended, or said something unasked: it is to be closed.
    pub fn lost(&mut self, id: ConnectionId, now: Instant) {
        if let Some(State::Idle | State::Leaving) = self.state(id) {
            let connection = &self.connections[id.0];
            if !connection.used {
                self.went_cold(connection.server(), now);
            }
            self.must_close(id);
        }
    }

    /// The connection just leased to `exchange` had ended before a byte was written: the
    /// exchange waits again, where it was, and the connection is to be closed.
    pub fn stale(&mut self, id: ConnectionId, exchange: ExchangeId) {
        if let Some(State::Leased) = self.state(id) {
            self.must_close(id);
        }
        if let Some((group, since, place)) = self.waiters.last(exchange) {
            let queue = &mut self.groups[group.index()].queue;
            queue.push(&mut self.waiters, exchange, (group, since, place));
            self.count_queued(group);
        }
    }

    /// The connection is really closed: its permit goes back. If it is not used here, whoever
    /// waits longest in another worker is told.
    pub fn closed(&mut self, id: ConnectionId) {
        self.count_out(id);
        self.outbox.retain(|decision| *decision != Decision::Close { connection: id });
        let Some(connection) = self.connections.remove(id.0) else { return };
        let group = self.shared.group_of(connection.server());
        self.pinned -= u32::from(connection.permit.is_pinned());
        drop::<Connection>(connection);
        self.groups[group.index()].freed_here();
    }

    /// Another worker says that something of a group may have changed; the next
    /// [`decide`](Self::decide) looks at it anew. What is no news of a group must not be taken for
    /// some: it is passed on there, and may come back through another group without end.
    pub fn nudged(&mut self, group: GroupId) {
        self.groups[group.index()].told();
    }

    /// A letter was lost: something of any group may have changed.
    pub fn missed(&mut self) {
        for group in &mut self.groups {
            group.told();
        }
    }

    /// The group of a server.
    pub fn group_of(&self, server: ServerId) -> GroupId {
        self.shared.group_of(server)
    }

    /// When to decide again even if nothing happens: a set-aside ends, or another worker was
    /// waited for long enough.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if !self.outbox.is_empty() {
            return Some(now);
        }
        let set_asides = self
            .groups
            .iter()
            .filter(|group| !group.queue.is_empty())
            .flat_map(|group| &group.servers)
            .filter_map(|id| self.servers[id.index()].health.until());
        let groups = || (0..self.groups.len()).map(group_id);
        let others = self.groups.iter().flat_map(|group| self.waits_for_others(group));
        let given_up = groups().flat_map(|group| self.gives_up_at(group));
        let warm = groups().flat_map(|group| self.warms_at(group, now));
        let moments = set_asides.chain(others).chain(given_up).chain(warm);
        moments.filter(|&moment| moment > now).min()
    }

    pub(crate) fn nudge(&mut self, group: GroupId, to: WorkerId) {
        let nudge = Decision::Nudge { to, group };
        if !self.outbox.contains(&nudge) {
            self.outbox.push_back(nudge);
        }
    }
}

/// What this worker published is true no more, even if it ends in a panic. Its permits go back
/// with its connections; its successor tells those who wait.
impl Drop for Bus {
    fn drop(&mut self) {
        self.shared.forget(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::GroupConfig;
    use crate::policy::{Policy, RetryPolicy};
    use crate::testing::{APP, at, crew, group, lone, with_policy};
    use base::id::ServerId;
    use base::limits::{FAIL_TIMEOUT, RETRY_FLOOR, RETRY_WINDOW_SECONDS};

    fn close(connection: ConnectionId) -> Decision {
        Decision::Close { connection }
    }

    #[test]
    fn the_queue_is_bounded_but_not_for_those_who_go_again() {
        let mut bus = lone(&[1]);
        for exchange in 0..4 {
            bus.wants(exchange, at(1));
        }
        assert_eq!(bus.enqueue(APP, ExchangeId(4), at(1), false), Err(QueueFull));
        assert_eq!(bus.enqueue(APP, ExchangeId(5), at(1), true), Ok(()));
        let share = bus.shared.group_share(APP, WorkerId(0));
        assert_eq!((share.queued.get(), share.refused.get()), (5, 1));
    }

    #[test]
    fn first_come_first_served() {
        let mut bus = lone(&[1]);
        let connection = bus.is_served(9, at(0));
        for exchange in [3, 1, 2] {
            bus.wants(exchange, at(1));
        }
        for exchange in [3, 1, 2] {
            bus.release(connection, true, at(2));
            assert_eq!(bus.leases_to(exchange, at(2)), connection);
        }
        let share = bus.shared.share(ServerId(0), WorkerId(0));
        assert_eq!((share.leased.get(), share.connects.get(), share.idle()), (1, 1, 0));
    }

    #[test]
    fn who_withdraws_is_not_served_wherever_it_stood() {
        for leaver in 0..4 {
            let mut bus = lone(&[1]);
            let connection = bus.is_served(9, at(0));
            for exchange in 0..4 {
                bus.wants(exchange, at(1));
            }
            bus.withdraw(ExchangeId(leaver));
            bus.withdraw(ExchangeId(leaver));
            bus.withdraw(ExchangeId(33));
            for exchange in (0..4).filter(|&exchange| exchange != leaver) {
                bus.release(connection, true, at(2));
                bus.leases_to(exchange, at(2));
            }
            assert_eq!(bus.shared.group_share(APP, WorkerId(0)).queued.get(), 0);
        }
    }

    #[test]
    fn a_stale_connection_is_closed_and_its_request_is_the_next_one() {
        let mut bus = lone(&[2]);
        let (first, second) = (bus.is_served(0, at(0)), bus.is_served(1, at(0)));
        bus.wants(2, at(1));
        bus.wants(3, at(1));
        bus.release(first, true, at(2));
        let connection = bus.leases_to(2, at(2));
        bus.stale(connection, ExchangeId(2));
        assert_eq!(bus.one(at(3)), close(first));
        bus.release(second, true, at(4));
        let waited = Duration::from_millis(3);
        let lease =
            Decision::Lease { exchange: ExchangeId(2), connection: second, fresh: false, waited };
        assert_eq!(bus.one(at(4)), lease);
        assert_eq!(bus.shared.share(ServerId(0), WorkerId(0)).leased.get(), 1);
    }

    #[test]
    fn connections_that_are_not_kept_are_closed_after_each_response() {
        let mut bus = {
            let config = GroupConfig { persistent: false, ..group(0, &[1]) };
            let [bus] = crew(&[config]);
            bus
        };
        let connection = bus.is_served(0, at(0));
        bus.wants(1, at(0));
        bus.release(connection, true, at(1));
        assert_eq!(bus.one(at(1)), close(connection));
        assert_eq!(bus.shared.taken(ServerId(0)), 1, "it is not really closed yet");
        bus.closed(connection);
        assert_eq!(bus.shared.taken(ServerId(0)), 0);
        let connection = bus.opens(at(2));
        bus.connected(connection, at(2));
        bus.leases_to(1, at(2));
    }

    #[test]
    fn what_this_machine_lacks_is_nobodys_failure() {
        for failure in [Failure::Busy, Failure::Exhausted] {
            let mut bus = lone(&[1]);
            bus.wants(0, at(0));
            let mut now = at(0);
            for _ in 0..10 {
                let connection = bus.opens(now);
                bus.connect_failed(connection, failure, now);
                bus.closed(connection);
                assert_eq!(bus.all(now), []);
                let next = bus.wake_at(now).unwrap();
                assert!(next >= now + Duration::from_millis(10) && next <= now + FAIL_TIMEOUT);
                now = next;
            }
            let connection = bus.opens(now);
            bus.connected(connection, now);
            bus.leases_to(0, now);
        }
    }

    #[test]
    fn a_server_that_breaks_fresh_connections_is_left_alone_where_others_serve() {
        let mut bus = lone(&[2, 2]);
        let first = bus.is_served(0, at(0));
        let broken = bus.connections[first.0].server();
        bus.broke(first, at(1));
        bus.release(first, false, at(1));
        assert_eq!(bus.one(at(1)), close(first));
        bus.closed(first);
        for exchange in 1..3 {
            let connection = bus.is_served(exchange, at(2));
            assert_ne!(bus.connections[connection.0].server(), broken);
        }
        // The only server is not left alone: there is nobody else.
        let mut bus = lone(&[1]);
        let first = bus.is_served(0, at(0));
        bus.broke(first, at(1));
        bus.release(first, false, at(1));
        bus.closed(first);
        bus.is_served(1, at(1));
    }

    /// One worker whose requests are sent at most so often, before so many servers.
    fn retrying(attempts: u32, servers: &[u32]) -> Bus {
        let retries = RetryPolicy { attempts, ..RetryPolicy::default() };
        with_policy(servers, Policy { retries, ..Policy::default() })
    }

    #[test]
    fn a_request_may_need_its_next_attempt_while_one_is_left_and_somewhere_to_go() {
        let bus = retrying(3, &[1, 1]);
        let may = |bus: &Bus, fresh| [0, 1, 2, 3].map(|sent| bus.may_need_again(APP, fresh, sent));
        assert_eq!(may(&bus, false), [true, true, false, false]);
        assert_eq!(may(&bus, true), [true, true, false, false]);
        // Whom the only server leaves on a fresh connection, another one does not serve either.
        let bus = retrying(3, &[1]);
        assert_eq!(may(&bus, false), [true, true, false, false]);
        assert_eq!(may(&bus, true), [false; 4]);
        assert_eq!(may(&retrying(1, &[1, 1]), false), [false; 4]);
    }

    #[test]
    fn retries_are_granted_from_the_budget_of_the_group_and_counted() {
        let bus = retrying(3, &[1]);
        let floor = RETRY_FLOOR * RETRY_WINDOW_SECONDS;
        let granted = (0..floor + 3).filter(|_| bus.grant_retry(APP, at(0))).count();
        assert_eq!(granted, floor as usize);
        let share = bus.shared.group_share(APP, WorkerId(0));
        assert_eq!((share.retries.get(), share.retries_refused.get()), (u64::from(floor), 3));
    }

    #[test]
    fn every_address_behind_a_new_name_may_fail_once() {
        let server = ServerId(0);
        let mut bus = lone(&[1]);
        assert!(!bus.is_readdressed(server) && !bus.is_readdressed(ServerId(1)));
        bus.readdressed(server, 2);
        assert!(bus.is_readdressed(server));
        bus.wants(0, at(0));
        bus.is_refused(at(0));
        bus.is_refused(at(1));
        assert_eq!(bus.all(at(1)), [], "both did");
        // None at all counts as one.
        let mut bus = lone(&[1]);
        bus.readdressed(server, 0);
        bus.wants(0, at(0));
        bus.is_refused(at(0));
        assert_eq!(bus.all(at(0)), []);
    }

    #[test]
    fn only_an_idle_connection_is_retired() {
        let mut bus = lone(&[2]);
        let idle = bus.has_idle(at(0));
        bus.wants(0, at(1));
        bus.leases_to(0, at(1));
        bus.retire(idle);
        assert_eq!(bus.all(at(1)), [], "it is leased");
        bus.release(idle, true, at(2));
        bus.retire(idle);
        assert_eq!(bus.one(at(2)), close(idle));
    }

    #[test]
    fn a_lost_connection_is_closed_once_whatever_it_did() {
        let mut bus = lone(&[3]);
        let connection = bus.has_idle(at(0));
        bus.lost(connection, at(1));
        bus.lost(connection, at(1));
        assert_eq!(bus.one(at(1)), close(connection));
        bus.closed(connection);
        bus.closed(connection);
        let leased = bus.is_served(0, at(2));
        bus.lost(leased, at(2));
        assert_eq!(bus.all(at(2)), [], "a lease ends by release");
        // Closed by the driver in whatever state: the figures agree.
        bus.wants(1, at(3));
        let connecting = bus.opens(at(3));
        bus.closed(connecting);
        bus.withdraw(ExchangeId(1));
        bus.closed(leased);
        let share = bus.shared.share(ServerId(0), WorkerId(0));
        assert_eq!((share.idle(), share.connecting.get(), share.leased.get()), (0, 0, 0));
        assert_eq!(bus.shared.taken(ServerId(0)), 0);
        assert_eq!(bus.all(at(4)), []);
    }

    #[test]
    fn a_worker_that_dies_leaves_nothing_behind_and_its_successor_tells_those_who_wait() {
        let configs = [group(0, &[1])];
        let [mut dying, mut waiting] = crew(&configs);
        dying.is_served(0, at(0));
        waiting.wants(0, at(1));
        assert_eq!(waiting.all(at(1)), []);
        dying.wants(1, at(0));
        assert_eq!(dying.all(at(1)), []);
        let shared = Arc::clone(&dying.shared);
        drop(dying);
        assert_eq!(shared.taken(ServerId(0)), 0);
        assert_eq!(shared.share(ServerId(0), WorkerId(0)).leased.get(), 0);
        assert!(shared.wants(APP, WorkerId(1)).next().is_none());
        let mut successor = Bus::new(Arc::clone(&shared), WorkerId(0), &configs, 64);
        assert_eq!(successor.wake_at(at(2)), Some(at(2)));
        assert_eq!(successor.one(at(2)), Decision::Nudge { to: WorkerId(1), group: APP });
        assert_eq!(successor.wake_at(at(2)), None);
    }
}
