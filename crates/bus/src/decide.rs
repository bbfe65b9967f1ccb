//! The choice: which request goes where, which connections are opened, moved or closed.

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::time::Instant;
use core::time::Duration;

use crate::bus::Bus;
use crate::connection::{Connection, State};

/// How much longer another worker's request must have waited for this one to step back: less
/// would only move connections to and fro.
const MARGIN: Duration = Duration::from_millis(1);

/// How long a free permit is left to another worker that waits longer, in case it cannot use it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

/// Something for the worker to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Give the request this connection, with a promised output buffer.
    Lease {
        /// The request.
        exchange: ExchangeId,
        /// The connection.
        connection: ConnectionId,
        /// No request was sent on it before.
        fresh: bool,
        /// How long the request stood in the ready queue.
        waited: Duration,
    },
    /// Open a connection.
    Open {
        /// Its number from now on.
        connection: ConnectionId,
        /// The server.
        server: ServerId,
    },
    /// Close a connection, and report when it is [`Bus::closed`].
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Take an idle connection out, ask [`Bus::hand_over`] for its papers and send both.
    HandOver {
        /// Which.
        connection: ConnectionId,
        /// To whom.
        to: WorkerId,
    },
    /// Tell another worker to look again ([`Bus::nudged`]).
    Nudge {
        /// Whom.
        to: WorkerId,
    },
    /// No server of the group can be reached: answer the request with 502.
    Fail {
        /// The request, which has left the queue.
        exchange: ExchangeId,
    },
}

/// What can be done for a request now.
enum Choice {
    /// It goes on this idle connection.
    Idle(ConnectionId),
    /// A connection to this server is opened.
    Open(ServerId),
    /// This used connection makes room for the fresh one that is needed.
    MakeRoom(ConnectionId),
    /// Nothing.
    Wait,
}

impl Bus {
    /// The next thing to do; asked until there is nothing more. `may_lease` tells whether an
    /// output buffer could be promised now: without one nothing is leased or opened (law 5).
    pub fn decide(&mut self, now: Instant, may_lease: bool) -> Option<Decision> {
        if let Some(decision) = self.outbox.pop_front() {
            return Some(decision);
        }
        for index in 0..self.groups.len() {
            let group = GroupId(u32::try_from(index).unwrap_or(u32::MAX));
            let decision = self
                .fail_next(group)
                .or_else(|| self.serve(group, now, may_lease))
                .or_else(|| self.outbox.pop_front());
            if decision.is_some() {
                return decision;
            }
        }
        None
    }

    /// Those who waited for an attempt that failed, with no other server to try.
    fn fail_next(&mut self, group: GroupId) -> Option<Decision> {
        let before = self.groups[group.index()].failed_before?;
        let front = self.groups[group.index()].queue.front();
        let waited = front.filter(|&exchange| {
            self.waiters.get(exchange).is_some_and(|waiter| waiter.since <= before)
        });
        let Some(exchange) = waited else {
            self.groups[group.index()].failed_before = None;
            return None;
        };
        self.unqueue(group, exchange);
        Some(Decision::Fail { exchange })
    }

    /// Serves a group's oldest request, or gives away what nobody here needs.
    fn serve(&mut self, group: GroupId, now: Instant, may_lease: bool) -> Option<Decision> {
        let Some(exchange) = self.groups[group.index()].queue.front() else {
            self.shared.publish(group, self.worker, None);
            self.groups[group.index()].yields_since = None;
            return self.spare(group);
        };
        let waiter = *self.waiters.get(exchange)?;
        self.shared.publish(group, self.worker, Some(waiter.since));
        if !may_lease {
            return None;
        }
        let longer = self
            .shared
            .oldest_elsewhere(group, self.worker)
            .filter(|&(_, since)| waiter.since.since(since) > MARGIN);
        match self.choose(group, waiter.fresh, now) {
            Choice::Idle(connection) => {
                let server = self.connections[connection.0].server();
                match longer {
                    Some((to, _)) if !self.shared.has_permit(server) && !waiter.fresh => {
                        Some(self.let_go(connection, to))
                    }
                    _ => Some(self.lease(group, exchange, connection, now)),
                }
            }
            Choice::Open(_) if self.leaves_it_to(group, longer, now) => None,
            Choice::Open(server) => self.open(server, now),
            Choice::MakeRoom(connection) => {
                self.leave_idle(connection);
                self.set_state(connection, State::Closing);
                Some(Decision::Close { connection })
            }
            Choice::Wait => {
                self.ask_others(group, exchange);
                None
            }
        }
    }

    /// The server with the least under way for which something can be done; equals take turns.
    fn choose(&mut self, group: GroupId, fresh: bool, now: Instant) -> Choice {
        let entry = &self.groups[group.index()];
        let connecting: u32 =
            entry.servers.iter().map(|id| self.servers[id.index()].connecting).sum();
        let may_open = connecting < entry.queue.len();
        let count = entry.servers.len();
        let mut best: Option<(u32, Choice)> = None;
        for step in 0..count {
            let id = entry.servers[(entry.turn + step) % count];
            let choice = self.choice_at(id, fresh, may_open, now);
            let load = self.shared.load(id);
            let better = best.as_ref().is_none_or(|&(least, _)| load < least);
            if better && !matches!(choice, Choice::Wait) {
                best = Some((load, choice));
            }
        }
        best.map_or(Choice::Wait, |(_, choice)| choice)
    }

    /// What one server has to offer.
    fn choice_at(&self, id: ServerId, fresh: bool, may_open: bool, now: Instant) -> Choice {
        let server = &self.servers[id.index()];
        let fits = |&&id: &&ConnectionId| !fresh || !self.connections[id.0].used;
        if let Some(&connection) = server.idle.iter().rev().find(fits) {
            return Choice::Idle(connection);
        }
        let probing = server.health.is_on_probation() && server.connecting > 0;
        if !may_open || !server.health.may_try(now) || probing {
            return Choice::Wait;
        }
        if self.shared.has_permit(id) {
            return Choice::Open(id);
        }
        match server.idle.first() {
            Some(&connection) => Choice::MakeRoom(connection),
            None => Choice::Wait,
        }
    }

    fn lease(
        &mut self,
        group: GroupId,
        exchange: ExchangeId,
        id: ConnectionId,
        now: Instant,
    ) -> Decision {
        let since = self.waiters.get(exchange).map_or(now, |waiter| waiter.since);
        self.unqueue(group, exchange);
        self.leave_idle(id);
        let connection = &mut self.connections[id.0];
        connection.state = State::Leased;
        let fresh = !core::mem::replace(&mut connection.used, true);
        let server = connection.server();
        self.shared.share(server, self.worker).leased.increment();
        self.next_turn(group);
        Decision::Lease { exchange, connection: id, fresh, waited: now.since(since) }
    }

    /// Equals take turns: the next choice begins one further on.
    fn next_turn(&mut self, group: GroupId) {
        let entry = &mut self.groups[group.index()];
        entry.turn = (entry.turn + 1) % entry.servers.len().max(1);
        entry.asked_for = None;
        entry.yields_since = None;
    }

    fn open(&mut self, id: ServerId, now: Instant) -> Option<Decision> {
        let permit = self.shared.permit(id)?;
        let connection = Connection { permit, state: State::Connecting(now), used: false };
        let Ok(index) = self.connections.insert(connection) else {
            debug_assert!(false, "fewer records than permits");
            return None;
        };
        let server = &mut self.servers[id.index()];
        server.connecting += 1;
        self.shared.share(id, self.worker).connecting.set(u64::from(server.connecting));
        let group = self.shared.group_of(id);
        self.groups[group.index()].yields_since = None;
        Some(Decision::Open { connection: ConnectionId(index), server: id })
    }

    /// Whether a free permit is left to a worker that waits longer. It is told; if it does not
    /// take it in a while, we do.
    fn leaves_it_to(
        &mut self,
        group: GroupId,
        longer: Option<(WorkerId, Instant)>,
        now: Instant,
    ) -> bool {
        let entry = &mut self.groups[group.index()];
        let Some((worker, _)) = longer else {
            entry.yields_since = None;
            return false;
        };
        // With permits enough for both there is nothing to leave.
        let scarce =
            entry.servers.iter().all(|&id| self.shared.taken(id) + 1 >= self.shared.bound(id));
        let entry = &mut self.groups[group.index()];
        if !scarce {
            return false;
        }
        match entry.yields_since {
            None => {
                entry.yields_since = Some(now);
                self.nudge(worker);
                true
            }
            Some(since) => now.since(since) < PATIENCE,
        }
    }

    /// Asks workers with idle connections for one, once for each request at the front.
    fn ask_others(&mut self, group: GroupId, exchange: ExchangeId) {
        let entry = &mut self.groups[group.index()];
        if entry.asked_for == Some(exchange) {
            return;
        }
        entry.asked_for = Some(exchange);
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            if let Some(worker) = self.shared.idle_elsewhere(id, self.worker) {
                self.nudge(worker);
            }
        }
    }

    /// Nobody here waits: an idle connection goes to a worker that can't open one of its own;
    /// one that was opened for nobody any more is closed.
    fn spare(&mut self, group: GroupId) -> Option<Decision> {
        let waits = self.shared.oldest_elsewhere(group, self.worker);
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            let server = &self.servers[id.index()];
            let Some(&connection) = server.idle.last() else { continue };
            if let Some((to, _)) = waits
                && !self.shared.has_permit(id)
            {
                return Some(self.let_go(connection, to));
            }
            let unused = server.idle.iter().find(|id| !self.connections[id.0].used);
            if let Some(&connection) = unused {
                self.leave_idle(connection);
                self.set_state(connection, State::Closing);
                return Some(Decision::Close { connection });
            }
        }
        None
    }

    fn let_go(&mut self, connection: ConnectionId, to: WorkerId) -> Decision {
        self.leave_idle(connection);
        self.set_state(connection, State::Leaving);
        Decision::HandOver { connection, to }
    }
}
