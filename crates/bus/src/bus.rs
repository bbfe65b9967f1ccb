//! One worker's view of the servers: what is reported to it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::slab::Slab;
use base::time::Instant;

use crate::connection::{Connection, State};
use crate::decide::Decision;
use crate::group::{Group, GroupConfig};
use crate::health::Health;
use crate::queue::Waiters;
use crate::shared::Shared;

/// Groups, connections and the ready queue of one worker.
#[derive(Debug)]
pub struct Bus {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) groups: Vec<Group>,
    pub(crate) waiters: Waiters,
    pub(crate) connections: Slab<Connection>,
    /// Indexed by [`ServerId`].
    pub(crate) servers: Vec<Server>,
    /// Connections the worker must close, and workers it must wake.
    pub(crate) outbox: VecDeque<Decision>,
}

/// One worker's state of a server.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Idle connections; the one used last is used next, so that the others can be closed by
    /// a server that wants fewer.
    pub(crate) idle: Vec<ConnectionId>,
    pub(crate) connecting: u32,
    pub(crate) health: Health,
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
    /// worker of that number published is forgotten.
    pub fn new(
        shared: Arc<Shared>,
        worker: WorkerId,
        groups: &[GroupConfig],
        exchanges: u32,
    ) -> Self {
        shared.forget(worker);
        let configs = groups.iter().flat_map(|group| &group.servers);
        let capacity: u32 = configs.clone().map(|server| server.connections).sum();
        let servers = configs.map(|server| Server {
            idle: Vec::with_capacity(server.connections as usize),
            ..Server::default()
        });
        Self {
            servers: servers.collect(),
            groups: groups.iter().map(Group::new).collect(),
            waiters: Waiters::new(exchanges),
            connections: Slab::new(capacity),
            outbox: VecDeque::with_capacity(2 * capacity as usize + groups.len()),
            shared,
            worker,
        }
    }

    /// Most connections this worker can have: all that are allowed to all servers.
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
            queue.push_first(&mut self.waiters, exchange, (group, now, true));
        } else if queue.is_full() {
            self.shared.group_share(group, self.worker).refused.increment();
            return Err(QueueFull);
        } else {
            queue.push_back(&mut self.waiters, exchange, (group, now));
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
        self.groups[group.index()].queue.remove(&mut self.waiters, exchange);
        self.count_queued(group);
    }

    fn count_queued(&self, group: GroupId) {
        let queued = self.groups[group.index()].queue.len();
        self.shared.group_share(group, self.worker).queued.set(u64::from(queued));
    }

    /// A connection is open: it may be leased.
    pub fn connected(&mut self, id: ConnectionId, _now: Instant) {
        let Some(server) = self.leave_connecting(id) else { return };
        self.servers[server.index()].health.succeeded();
        self.shared.share(server, self.worker).connects.increment();
        self.become_idle(id);
    }

    /// A connection could not be opened. The worker closes what there is of it, then calls
    /// [`closed`](Self::closed).
    pub fn connect_failed(&mut self, id: ConnectionId, failure: Failure, now: Instant) {
        let Some(State::Connecting(since)) = self.state(id) else { return };
        let Some(server) = self.leave_connecting(id) else { return };
        self.set_state(id, State::Closing);
        self.shared.share(server, self.worker).failures.increment();
        let health = &mut self.servers[server.index()].health;
        match failure {
            Failure::Busy | Failure::Exhausted => health.had_no_room(now),
            Failure::Refused | Failure::TimedOut => {
                health.failed(now);
                self.fail_those_who_wait(self.shared.group_of(server), since, now);
            }
        }
    }

    /// When no server of the group is left to try, those who waited when the attempt began are
    /// told so; who comes later waits for the next probe.
    fn fail_those_who_wait(&mut self, group: GroupId, since: Instant, now: Instant) {
        let entry = &mut self.groups[group.index()];
        let servers = &self.servers;
        if entry.servers.iter().all(|id| servers[id.index()].health.is_set_aside(now)) {
            entry.failed_before = entry.failed_before.max(Some(since));
        }
    }

    /// A response began: the server is well.
    pub fn answered(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id.0) {
            self.servers[connection.server().index()].health.succeeded();
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
            self.servers[server.index()].health.failed(now);
        }
    }

    /// The lease ends. A connection that is not reusable is to be closed.
    pub fn release(&mut self, id: ConnectionId, reusable: bool, _now: Instant) {
        let Some(State::Leased) = self.state(id) else { return };
        let server = self.connections[id.0].server();
        self.shared.share(server, self.worker).leased.sub(1);
        let group = self.shared.group_of(server);
        if reusable && self.groups[group.index()].persistent {
            self.become_idle(id);
        } else {
            self.must_close(id);
        }
    }

    /// An idle connection ended, or said something unasked: it is to be closed.
    pub fn lost(&mut self, id: ConnectionId) {
        match self.state(id) {
            Some(State::Idle) => {
                self.leave_idle(id);
                self.must_close(id);
            }
            Some(State::Leaving) => self.must_close(id),
            _ => {}
        }
    }

    /// The connection just leased to `exchange` had ended before a byte was written: the
    /// exchange waits again, where it was, and the connection is to be closed.
    pub fn stale(&mut self, id: ConnectionId, exchange: ExchangeId) {
        if let Some(State::Leased) = self.state(id) {
            let server = self.connections[id.0].server();
            self.shared.share(server, self.worker).leased.sub(1);
            self.must_close(id);
        }
        if let Some(last) = self.waiters.last(exchange) {
            let waiting = (last.group, last.since, last.fresh);
            let queue = &mut self.groups[last.group.index()].queue;
            queue.push_first(&mut self.waiters, exchange, waiting);
            self.count_queued(last.group);
        }
    }

    /// The connection is really closed: its permit goes back, and whoever waits longest in
    /// another worker is told.
    pub fn closed(&mut self, id: ConnectionId) {
        match self.state(id) {
            Some(State::Idle) => self.leave_idle(id),
            Some(State::Connecting(_)) => {
                self.leave_connecting(id);
            }
            Some(State::Leased) => {
                let server = self.connections[id.0].server();
                self.shared.share(server, self.worker).leased.sub(1);
            }
            _ => {}
        }
        self.outbox.retain(|decision| *decision != Decision::Close { connection: id });
        let Some(connection) = self.connections.remove(id.0) else { return };
        let group = self.shared.group_of(connection.server());
        drop(connection);
        if let Some((worker, _)) = self.shared.oldest_elsewhere(group, self.worker) {
            self.nudge(worker);
        }
    }

    /// Another worker says that something may have changed; the next
    /// [`decide`](Self::decide) looks at everything anew.
    pub fn nudged(&mut self) {
        for group in &mut self.groups {
            group.asked_for = None;
        }
    }

    /// When to decide again even if nothing happens: a set-aside ends, or a permit was left to
    /// another worker for long enough.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.groups.iter().filter(|group| group.queue.len() > 0);
        waiting
            .flat_map(|group| {
                let set_aside =
                    group.servers.iter().filter_map(|id| self.servers[id.index()].health.until());
                let yields = group.yields_since.map(|since| since + crate::decide::PATIENCE);
                set_aside.chain(yields)
            })
            .filter(|&moment| moment > now)
            .min()
    }

    pub(crate) fn state(&self, id: ConnectionId) -> Option<State> {
        self.connections.get(id.0).map(|connection| connection.state)
    }

    pub(crate) fn set_state(&mut self, id: ConnectionId, state: State) {
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.state = state;
        }
    }

    pub(crate) fn must_close(&mut self, id: ConnectionId) {
        self.set_state(id, State::Closing);
        self.outbox.push_back(Decision::Close { connection: id });
    }

    pub(crate) fn nudge(&mut self, to: WorkerId) {
        let nudge = Decision::Nudge { to };
        if !self.outbox.contains(&nudge) {
            self.outbox.push_back(nudge);
        }
    }

    pub(crate) fn become_idle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        connection.state = State::Idle;
        let server = connection.server();
        let idle = &mut self.servers[server.index()].idle;
        idle.push(id);
        self.shared.idle_changed(server, self.worker, idle.len());
    }

    pub(crate) fn leave_idle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id.0) else { return };
        let server = connection.server();
        let idle = &mut self.servers[server.index()].idle;
        if let Some(place) = idle.iter().rposition(|&other| other == id) {
            idle.remove(place);
        }
        self.shared.idle_changed(server, self.worker, idle.len());
    }

    fn leave_connecting(&mut self, id: ConnectionId) -> Option<ServerId> {
        let connection = self.connections.get(id.0)?;
        if !matches!(connection.state, State::Connecting(_)) {
            return None;
        }
        let server = connection.server();
        let entry = &mut self.servers[server.index()];
        entry.connecting -= 1;
        let share = self.shared.share(server, self.worker);
        share.connecting.set(u64::from(entry.connecting));
        Some(server)
    }
}
