//! What is to be done: which request is served, which connections are opened, moved or closed.

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::time::Instant;
use core::time::Duration;

use crate::balance::{Choice, Need};
use crate::bus::Bus;
use crate::connection::{Connection, State};
use crate::others::{Yield, group_id};

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
        /// What for.
        group: GroupId,
    },
    /// No server of the group can be reached: answer the request with 502.
    Fail {
        /// The request, which has left the queue.
        exchange: ExchangeId,
    },
}

impl Bus {
    /// The next thing to do; asked until there is nothing more. `may_lease` tells whether an
    /// output buffer could be promised now: without one nothing is leased or opened (law 5).
    pub fn decide(&mut self, now: Instant, may_lease: bool) -> Option<Decision> {
        let count = self.groups.len();
        for step in 0..count {
            if let Some(decision) = self.outbox.pop_front() {
                return Some(decision);
            }
            let group = group_id((self.first + step) % count);
            self.learn_from_others(group);
            let decision = self.serve(group, now, may_lease);
            let decision = decision.or_else(|| self.unreachable(group, now));
            if decision.is_some() {
                return decision;
            }
            self.pass_on(group, now);
        }
        self.outbox.pop_front()
    }

    /// Serves a group's oldest request, or gives away what nobody here needs.
    fn serve(&mut self, group: GroupId, now: Instant, may_lease: bool) -> Option<Decision> {
        self.publish(group, now, may_lease);
        if self.groups[group.index()].queue.is_empty() {
            self.groups[group.index()].yielding = Yield::No;
            let decision = self.give(group, now).or_else(|| self.close_unused(group));
            return decision.or_else(|| self.warm_up(group, now));
        }
        if !may_lease {
            return self.give(group, now);
        }
        let decision = self.serve_fresh(group, now).or_else(|| self.serve_any(group, now));
        if decision.is_some() {
            return decision;
        }
        self.forget_yielding_in_vain(group);
        self.ask_others(group, now);
        self.give(group, now)
    }

    /// Serves the first that needs a connection opened for it.
    fn serve_fresh(&mut self, group: GroupId, now: Instant) -> Option<Decision> {
        let exchange = self.groups[group.index()].queue.first_fresh()?;
        match self.choose(group, exchange, Need::Fresh, now) {
            Choice::Idle(connection) => Some(self.lease(group, exchange, connection, now)),
            Choice::Open(server) => self.open(group, server, now),
            Choice::MakeRoom(connection) => {
                self.change(connection, State::Closing);
                Some(Decision::Close { connection })
            }
            Choice::Wait => None,
        }
    }

    /// Serves the first that goes on any connection, unless another worker's waits longer.
    fn serve_any(&mut self, group: GroupId, now: Instant) -> Option<Decision> {
        let exchange = self.groups[group.index()].queue.first()?;
        match self.choose(group, exchange, Need::Any, now) {
            Choice::Idle(connection) => {
                let server = self.connections[connection.0].server();
                let since = self.waiters.get(exchange)?.since;
                match self.owed(group, server, Some(since), now) {
                    Some(owed) => Some(self.let_go(group, connection, owed, now)),
                    None => Some(self.lease(group, exchange, connection, now)),
                }
            }
            Choice::Open(server) => self.open(group, server, now),
            Choice::MakeRoom(_) | Choice::Wait => None,
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
        self.change(id, State::Leased);
        let fresh = !core::mem::replace(&mut self.connections[id.0].used, true);
        self.took_turn(group, self.connections[id.0].server());
        self.first = (group.index() + 1) % self.groups.len();
        Decision::Lease { exchange, connection: id, fresh, waited: now.since(since) }
    }

    /// Opens a connection, unless the permit is left to others.
    fn open(&mut self, group: GroupId, id: ServerId, now: Instant) -> Option<Decision> {
        let (_, since) = self.groups[group.index()].queue.oldest(&self.waiters)?;
        if self.leaves_it_to_others(group, since, now) {
            return None;
        }
        let decision = self.connect(group, id, now);
        if decision.is_some() {
            self.groups[group.index()].yielding = Yield::No;
        }
        decision
    }

    /// Opens a connection, if one more is allowed.
    pub(crate) fn connect(
        &mut self,
        group: GroupId,
        id: ServerId,
        now: Instant,
    ) -> Option<Decision> {
        let permit = self.shared.permit(id)?;
        let connection = Connection { permit, state: State::Connecting(now), used: false };
        let Ok(index) = self.connections.insert(connection) else {
            debug_assert!(false, "fewer records than permits");
            return None;
        };
        self.count_in(ConnectionId(index));
        self.servers[id.index()].opened = now;
        self.groups[group.index()].opened = now;
        self.took_permit(group, id);
        Some(Decision::Open { connection: ConnectionId(index), server: id })
    }

    /// Nobody here waits: a connection that was opened for nobody any more is closed, the one
    /// that has stood longest first. Some servers would wait for its request and serve nobody
    /// else.
    fn close_unused(&mut self, group: GroupId) -> Option<Decision> {
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            let server = &self.servers[id.index()];
            if server.unused == 0 || self.is_kept_warm(group, id) {
                continue;
            }
            let unused = server.idle.iter().find(|id| !self.connections[id.0].used);
            if let Some(&connection) = unused {
                self.change(connection, State::Closing);
                return Some(Decision::Close { connection });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Failure;
    use crate::others::PATIENCE;
    use crate::testing::{APP, at, crew, group, lone};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn no_more_connections_are_opened_than_requests_wait() {
        let mut bus = lone(&[3]);
        bus.wants(0, at(0));
        let first = bus.opens(at(0));
        bus.wants(1, at(0));
        bus.wants(2, at(0));
        bus.wants(3, at(0));
        assert_eq!(bus.all(at(0)).len(), 2, "the bound is three");
        bus.connected(first, at(1));
        bus.leases_to(0, at(1));
    }

    #[test]
    fn what_is_free_first_serves_the_oldest() {
        let mut bus = lone(&[2]);
        let used = bus.is_served(0, at(0));
        bus.wants(1, at(1));
        bus.wants(2, at(1));
        let fresh = bus.opens(at(1));
        bus.release(used, true, at(2));
        assert_eq!(bus.leases_to(1, at(2)), used);
        bus.connected(fresh, at(3));
        assert_eq!(bus.leases_to(2, at(3)), fresh);
    }

    #[test]
    fn a_connection_that_nobody_waits_for_any_more_is_closed_unused() {
        let mut bus = lone(&[2]);
        let used = bus.is_served(0, at(0));
        bus.wants(1, at(1));
        let late = bus.opens(at(1));
        bus.release(used, true, at(2));
        bus.leases_to(1, at(2));
        bus.connected(late, at(3));
        assert_eq!(bus.one(at(3)), Decision::Close { connection: late });
        bus.closed(late);
        bus.release(used, true, at(4));
        assert_eq!(bus.all(at(4)), [], "the used one stays");
        assert_eq!(bus.shared.taken(ServerId(0)), 1);
    }

    #[test]
    fn the_connection_used_last_is_used_next() {
        let mut bus = lone(&[3]);
        let all: Vec<_> = (0..3).map(|exchange| bus.is_served(exchange, at(0))).collect();
        for &connection in [&all[1], &all[2], &all[0]] {
            bus.release(connection, true, at(1));
        }
        bus.wants(3, at(2));
        assert_eq!(bus.leases_to(3, at(2)), all[0]);
    }

    #[test]
    fn without_a_buffer_nothing_is_leased_or_opened() {
        let mut bus = lone(&[2]);
        let idle = bus.has_idle(at(0));
        bus.wants(0, at(1));
        bus.wants(1, at(1));
        assert_eq!(bus.decide(at(1), false), None);
        assert_eq!(bus.all(at(1)).len(), 2, "one on the idle one, one opened");
        assert_eq!(bus.state(idle), Some(State::Leased));
    }

    #[test]
    fn who_goes_again_goes_first_and_on_a_connection_opened_for_it() {
        let mut bus = lone(&[2]);
        let idle = bus.has_idle(at(0));
        bus.wants(0, at(1));
        bus.enqueue(APP, ExchangeId(1), at(2), true).unwrap();
        // The used one serves the other meanwhile.
        let decisions = bus.all(at(2));
        let Decision::Open { connection: fresh, .. } = decisions[0] else { panic!("no room") };
        assert!(matches!(decisions[1], Decision::Lease { exchange: ExchangeId(0), .. }));
        bus.wants(2, at(3));
        bus.connected(fresh, at(3));
        let lease = Decision::Lease {
            exchange: ExchangeId(1),
            connection: fresh,
            fresh: true,
            waited: Duration::from_millis(1),
        };
        assert_eq!(bus.one(at(3)), lease);
        bus.release(idle, true, at(4));
        bus.leases_to(2, at(4));
    }

    #[test]
    fn as_many_idle_connections_make_room_as_go_again() {
        for again in 1..=2 {
            let mut bus = lone(&[3]);
            let all: Vec<_> = (0..3).map(|exchange| bus.is_served(exchange, at(0))).collect();
            for &connection in &all {
                bus.release(connection, true, at(1));
            }
            for exchange in 0..again {
                bus.enqueue(APP, ExchangeId(exchange), at(2), true).unwrap();
            }
            let told = bus.all(at(2));
            let made: Vec<_> = all.into_iter().take(again as usize).collect();
            let close = |&connection: &ConnectionId| Decision::Close { connection };
            let expected: Vec<_> = made.iter().map(close).collect();
            assert_eq!(told, expected, "the others stay");
            for (exchange, connection) in (0..again).zip(made) {
                bus.closed(connection);
                let fresh = bus.opens(at(3));
                bus.connected(fresh, at(3));
                assert_eq!(bus.leases_to(exchange, at(3)), fresh);
            }
        }
    }

    #[test]
    fn the_server_with_the_least_under_way_is_chosen_and_equals_take_turns() {
        let mut bus = lone(&[4, 4, 4]);
        let mut count = [0; 3];
        for exchange in 0..9 {
            let connection = bus.is_served(exchange, at(0));
            count[bus.connections[connection.0].server().index()] += 1;
        }
        assert_eq!(count, [3, 3, 3]);
        // With all idle, they take turns.
        let all: Vec<_> = bus.connections.iter().map(|(id, _)| ConnectionId(id)).collect();
        for connection in all {
            bus.release(connection, true, at(1));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            bus.wants(20, at(2));
            let connection = bus.leases_to(20, at(2));
            seen.push(bus.connections[connection.0].server().0);
            bus.release(connection, true, at(2));
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn equals_share_even_a_quiet_time_and_no_connection_is_opened_in_vain() {
        // One after another: each server in turn, and each connection that is opened is used.
        let mut bus = lone(&[4, 4]);
        bus.has_idle(at(0));
        let second = bus.is_served(0, at(1));
        bus.release(second, true, at(1));
        assert_eq!(bus.all(at(1)), []);
        let mut served = [0, 0];
        for exchange in 1..9 {
            bus.wants(exchange, at(1));
            let connection = bus.leases_to(exchange, at(1));
            served[bus.connections[connection.0].server().index()] += 1;
            bus.release(connection, true, at(1));
            assert_eq!(bus.all(at(1)), []);
        }
        assert_eq!(served, [4, 4]);
        assert_eq!(bus.connections.len(), 2);
    }

    #[test]
    fn a_connection_being_opened_to_the_better_server_is_waited_for_a_while() {
        let mut bus = lone(&[4, 4]);
        let all: Vec<_> = (0..3).map(|exchange| bus.is_served(exchange, at(0))).collect();
        let server = |bus: &Bus, id: ConnectionId| bus.connections[id.0].server();
        let of = |place: usize| server(&bus, all[place]);
        // Two at one server, one at the other; it goes, and one of the two is idle.
        let alone = (0..3).find(|&one| (0..3).all(|two| one == two || of(one) != of(two)));
        let alone = all[alone.unwrap()];
        let better = server(&bus, alone);
        let idle = *all.iter().find(|&&other| other != alone).unwrap();
        bus.release(alone, false, at(1));
        bus.closed(alone);
        bus.release(idle, true, at(1));
        bus.all(at(1));
        bus.wants(3, at(1));
        let coming = bus.opens(at(1));
        assert_eq!(server(&bus, coming), better);
        let end = at(1) + PATIENCE;
        assert_eq!(bus.wake_at(at(1)), Some(end));
        assert_eq!(bus.leases_to(3, end), idle);
    }

    #[test]
    fn a_server_that_failed_is_used_only_if_there_is_no_other() {
        let mut bus = lone(&[3, 3]);
        let (one, two) = (bus.is_served(0, at(0)), bus.is_served(1, at(0)));
        bus.wants(2, at(0));
        let refused = bus.opens(at(0));
        let failing = bus.connections[refused.0].server();
        bus.connect_failed(refused, Failure::Refused, at(1));
        bus.closed(refused);
        let at_other = bus.opens(at(1));
        assert_ne!(bus.connections[at_other.0].server(), failing);
        bus.connected(at_other, at(1));
        bus.leases_to(2, at(1));
        // The failing one has less under way, and a connection that is idle.
        let idle = if bus.connections[one.0].server() == failing { one } else { two };
        bus.release(idle, true, at(2));
        bus.wants(3, at(2));
        let connection = bus.opens(at(2));
        assert_ne!(bus.connections[connection.0].server(), failing);
        bus.connected(connection, at(2));
        bus.leases_to(3, at(2));
        bus.wants(4, at(3));
        assert_eq!(bus.leases_to(4, at(3)), idle);
    }

    #[test]
    fn no_permit_at_one_server_is_no_reason_to_wait() {
        let mut bus = lone(&[1, 3]);
        let servers: Vec<_> = (0..4)
            .map(|exchange| {
                let connection = bus.is_served(exchange, at(0));
                bus.connections[connection.0].server().0
            })
            .collect();
        assert_eq!(servers.iter().filter(|&&server| server == 1).count(), 3);
        bus.wants(4, at(1));
        assert_eq!(bus.all(at(1)), []);
    }

    #[test]
    fn groups_take_turns_when_buffers_are_short() {
        let configs = vec![group(0, &[8]), group(1, &[8])];
        let [mut bus] = crew(&configs);
        for exchange in 0..4 {
            bus.enqueue(GroupId(0), ExchangeId(exchange), at(0), false).unwrap();
            bus.enqueue(GroupId(1), ExchangeId(exchange + 4), at(0), false).unwrap();
        }
        for decision in bus.all(at(0)) {
            let Decision::Open { connection, .. } = decision else { panic!("{decision:?}") };
            bus.connected(connection, at(1));
        }
        let mut groups = Vec::new();
        for _ in 0..8 {
            // A buffer for one only.
            let Some(Decision::Lease { exchange, .. }) = bus.decide(at(1), true) else {
                panic!("nobody is served")
            };
            assert_eq!(bus.decide(at(1), false), None);
            groups.push(exchange.0 / 4);
        }
        assert_eq!(groups, [0, 1, 0, 1, 0, 1, 0, 1]);
    }
}
