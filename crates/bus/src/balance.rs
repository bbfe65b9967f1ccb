//! Which server serves a request: with the least under way for its weight, or in turn.
//!
//! Turns are those of nginx's smooth weighted round robin: at each lease every server that could
//! have had it is credited with its weight, and the one that got it pays the sum of all. So a
//! server of weight 3 beside two of weight 1 is chosen as in A B A C A, never A A A B C. Where the
//! load decides, turns decide among equals.

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId};
use base::time::Instant;
use core::cmp::Ordering;

use crate::bus::Bus;
use crate::connection::Server;
use crate::others::PATIENCE;
use crate::policy::Balance;

/// Which connections serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// One opened for it.
    Fresh,
    /// Any.
    Any,
}

/// What can be done for a request now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// It goes on this idle connection.
    Idle(ConnectionId),
    /// A connection to this server is opened.
    Open(ServerId),
    /// This used connection makes room for the fresh one that is needed.
    MakeRoom(ConnectionId),
    /// Nothing.
    Wait,
}

/// How good a server is for the next request; the least is the best.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    class: Class,
    /// What is under way there.
    load: u32,
    weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The usual.
    Regular,
    /// Only while all regular ones are down.
    Backup,
    /// It failed, or broke off this very request: only if there is no other.
    Failed,
}

impl Rank {
    fn compare(&self, other: &Self) -> Ordering {
        let ours = u64::from(self.load) * u64::from(other.weight);
        let theirs = u64::from(other.load) * u64::from(self.weight);
        self.class.cmp(&other.class).then(ours.cmp(&theirs))
    }
}

/// What a group's requests can count on already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prospects {
    /// Requests that wait.
    waiting: u32,
    /// Those of them that need a connection opened for them.
    fresh: u32,
    /// Connections that were begun a moment ago and will be open soon.
    coming: u32,
    closing: u32,
    now: Instant,
}

impl Prospects {
    /// Whether connections to this server that are being opened will be open soon: a probe of one
    /// that failed promises nothing, nor does one that takes long.
    fn counts_on(&self, server: &Server) -> bool {
        !server.health.is_on_probation() && self.now < server.opened + PATIENCE
    }

    /// Connections coming up as far as one more to this server is concerned.
    fn coming_beside(&self, server: &Server) -> u32 {
        let own = if self.counts_on(server) { 0 } else { server.connecting };
        self.coming + own
    }

    /// Whether as many are coming as requests wait.
    pub(crate) const fn are_enough(&self) -> bool {
        self.coming >= self.waiting
    }

    /// Whether requests are left for whom one more connection to this server would be opened.
    pub(crate) fn lack(&self, server: &Server) -> bool {
        self.coming_beside(server) < self.waiting && server.may_connect(self.now)
    }
}

impl Bus {
    /// What the requests of a group can count on.
    pub(crate) fn prospects(&self, group: GroupId, now: Instant) -> Prospects {
        let entry = &self.groups[group.index()];
        let (waiting, fresh) = (entry.queue.len(), entry.queue.fresh());
        let mut prospects = Prospects { waiting, fresh, coming: 0, closing: 0, now };
        let [only] = entry.servers[..] else {
            for id in &entry.servers {
                let server = &self.servers[id.index()];
                let coming = if prospects.counts_on(server) { server.connecting } else { 0 };
                prospects.coming += coming;
                prospects.closing += server.closing;
            }
            return prospects;
        };
        let server = &self.servers[only.index()];
        prospects.closing = server.closing;
        prospects.coming = if prospects.counts_on(server) { server.connecting } else { 0 };
        prospects
    }

    /// Whether this server may serve requests: a backup only while all others are down.
    pub(crate) fn serves(&self, group: GroupId, id: ServerId) -> bool {
        !self.servers[id.index()].backup || self.backups_serve(group)
    }

    /// Whether the group's backups serve, as all workers see it.
    fn backups_serve(&self, group: GroupId) -> bool {
        let entry = &self.groups[group.index()];
        let regular = |id: &&ServerId| !self.servers[id.index()].backup;
        entry.has_backups && entry.servers.iter().filter(regular).all(|&id| self.shared.is_down(id))
    }

    /// The best server for which something can be done. A connection that is just being opened to
    /// the best one is waited for: otherwise it would find nobody, be closed, and that server
    /// would never get its share.
    pub(crate) fn choose(
        &mut self,
        group: GroupId,
        exchange: ExchangeId,
        need: Need,
        now: Instant,
    ) -> Choice {
        let prospects = self.prospects(group, now);
        if let [only] = self.groups[group.index()].servers[..] {
            return self.choice_at(only, need, &prospects);
        }
        let backups = self.backups_serve(group);
        let avoid = self.waiters.get(exchange).and_then(|waiter| waiter.avoid);
        let mut best: Option<Rank> = None;
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            let is_in_question = backups || !self.servers[id.index()].backup;
            let rank = is_in_question.then(|| self.rank(group, id, need, &prospects)).flatten();
            let rank = rank.map(|rank| rank.avoided(avoid == Some(id)));
            self.servers[id.index()].rank = rank;
            if let Some(rank) = rank
                && best.is_none_or(|best| rank.compare(&best).is_lt())
            {
                best = Some(rank);
            }
        }
        let Some(best) = best else { return Choice::Wait };
        match self.whose_turn(group, &best, &prospects) {
            Some(id) => self.choice_at(id, need, &prospects),
            None => Choice::Wait,
        }
    }

    /// How good a server is, if anything can be done or waited for there.
    fn rank(
        &self,
        group: GroupId,
        id: ServerId,
        need: Need,
        prospects: &Prospects,
    ) -> Option<Rank> {
        let server = &self.servers[id.index()];
        let waited_for =
            prospects.are_enough() && server.connecting > 0 && prospects.counts_on(server);
        if matches!(self.choice_at(id, need, prospects), Choice::Wait) && !waited_for {
            return None;
        }
        let class = match () {
            () if server.health.is_set_aside(prospects.now) => Class::Failed,
            () if server.backup => Class::Backup,
            () => Class::Regular,
        };
        let load = match self.groups[group.index()].policy.balance {
            Balance::RoundRobin => 0,
            Balance::LeastLeased => {
                let passes = self.groups[group.index()].policy.passes;
                let pinned = if passes { self.shared.pinned(id) } else { 0 };
                (self.shared.load(id) + pinned).saturating_sub(u32::from(waited_for))
            }
        };
        Some(Rank { class, load, weight: server.weight })
    }

    /// Among the equally good the one with the most credit. Only those of its class keep their
    /// rank, for [`took_turn`](Self::took_turn).
    fn whose_turn(
        &mut self,
        group: GroupId,
        best: &Rank,
        prospects: &Prospects,
    ) -> Option<ServerId> {
        let entry = &self.groups[group.index()];
        let (mut sum, mut connecting) = (0, 0);
        for id in &entry.servers {
            let server = &mut self.servers[id.index()];
            server.rank = server.rank.filter(|rank| rank.class == best.class);
            if server.rank.is_some() {
                sum += i64::from(server.weight);
                connecting += i64::from(server.connecting);
            }
        }
        // Connections that are being opened for some, but not for all who wait, are counted as
        // leased already: the next one is opened elsewhere.
        let ahead = entry.policy.balance == Balance::RoundRobin && !prospects.are_enough();
        let credit = |server: &Server| {
            let weight = i64::from(server.weight);
            let leased = i64::from(server.connecting);
            server.credit + weight + if ahead { weight * connecting - sum * leased } else { 0 }
        };
        let count = entry.servers.len();
        let mut chosen: Option<(i64, ServerId)> = None;
        for step in 0..count {
            let id = entry.servers[(entry.first_turn + step) % count];
            let server = &self.servers[id.index()];
            let equal = server.rank.is_some_and(|rank| rank.compare(best).is_eq());
            if equal && chosen.is_none_or(|(most, _)| credit(server) > most) {
                chosen = Some((credit(server), id));
            }
        }
        chosen.map(|(_, id)| id)
    }

    /// The server of the last choice got the request.
    pub(crate) fn took_turn(&mut self, group: GroupId, chosen: ServerId) {
        if self.servers[chosen.index()].rank.is_none() {
            return;
        }
        let mut sum = 0;
        for id in &self.groups[group.index()].servers {
            let server = &mut self.servers[id.index()];
            if server.rank.take().is_some() {
                server.credit += i64::from(server.weight);
                sum += i64::from(server.weight);
            }
        }
        let chosen = &mut self.servers[chosen.index()];
        chosen.credit -= sum;
        // Where the load decides, the slow ones are not owed what they could not do.
        for id in &self.groups[group.index()].servers {
            let server = &mut self.servers[id.index()];
            server.credit = server.credit.clamp(-sum, sum);
        }
    }

    /// What one server has to offer.
    fn choice_at(&self, id: ServerId, need: Need, prospects: &Prospects) -> Choice {
        let server = &self.servers[id.index()];
        let idle = match need {
            Need::Any => server.idle.last(),
            Need::Fresh if server.unused == 0 => None,
            Need::Fresh => server.idle.iter().rev().find(|id| !self.connections[id.0].used),
        };
        if let Some(&connection) = idle {
            return Choice::Idle(connection);
        }
        if !prospects.lack(server) {
            return Choice::Wait;
        }
        if self.shared.has_permit(id) {
            return Choice::Open(id);
        }
        let coming = prospects.coming_beside(server) + prospects.closing;
        match server.idle.first() {
            Some(&connection) if coming < prospects.fresh => Choice::MakeRoom(connection),
            _ => Choice::Wait,
        }
    }
}

impl Rank {
    const fn avoided(mut self, avoided: bool) -> Self {
        if avoided {
            self.class = Class::Failed;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Failure;
    use crate::decide::Decision;
    use crate::group::{GroupConfig, ServerConfig};
    use crate::policy::Policy;
    use crate::testing::{APP, at, crew, group};
    use std::vec::Vec;

    const TURNS: Policy = Policy { balance: Balance::RoundRobin, ..DEFAULT };
    const DEFAULT: Policy = Policy {
        balance: Balance::LeastLeased,
        health: crate::policy::HealthPolicy {
            max_fails: 1,
            fail_timeout: core::time::Duration::from_secs(1),
            grace: core::time::Duration::from_secs(1),
        },
        retries: crate::policy::RetryPolicy { attempts: 3, budget: 20 },
        warm: 0,
        passes: false,
    };

    /// One worker before servers of these weights, with four connections each; a weight of 0
    /// makes a backup.
    fn before(policy: Policy, weights: &[u32]) -> Bus {
        let server = |(id, &weight): (u32, &u32)| ServerConfig {
            weight: weight.max(1),
            backup: weight == 0,
            ..ServerConfig::new(ServerId(id), 4)
        };
        let servers = (0..).zip(weights).map(server).collect();
        let [bus] = crew(&[GroupConfig { servers, policy, ..group(0, &[]) }]);
        bus
    }

    /// The servers of so many requests, one after another.
    fn sequence(bus: &mut Bus, requests: u32, now: Instant) -> Vec<u32> {
        let mut servers = Vec::new();
        for _ in 0..requests {
            bus.wants(60, now);
            let connection = match bus.one(now) {
                Decision::Open { connection, .. } => {
                    bus.connected(connection, now);
                    bus.leases_to(60, now)
                }
                Decision::Lease { connection, .. } => connection,
                other => panic!("{other:?}"),
            };
            servers.push(bus.server_number(connection));
            bus.release(connection, true, now);
            assert_eq!(bus.all(now), [], "and no connection is opened in vain");
        }
        servers
    }

    #[test]
    fn turns_are_exact_and_smoothly_interleaved() {
        for policy in [TURNS, DEFAULT] {
            let mut bus = before(policy, &[1, 1, 1]);
            assert_eq!(sequence(&mut bus, 7, at(0)), [0, 1, 2, 0, 1, 2, 0]);
            let mut bus = before(policy, &[5, 1, 1]);
            let round = [0, 0, 1, 0, 2, 0, 0];
            assert_eq!(sequence(&mut bus, 14, at(0)), [round, round].concat());
        }
    }

    #[test]
    fn many_at_once_are_spread_by_weight() {
        let mut bus = before(TURNS, &[3, 1]);
        for exchange in 0..4 {
            bus.wants(exchange, at(0));
        }
        let mut count = [0, 0];
        for decision in bus.all(at(0)) {
            let Decision::Open { server, .. } = decision else { panic!("{decision:?}") };
            count[server.index()] += 1;
        }
        assert_eq!(count, [3, 1]);
    }

    #[test]
    fn the_least_under_way_is_relative_to_the_weight() {
        let mut bus = before(DEFAULT, &[3, 1]);
        let mut count = [0, 0];
        for exchange in 0..4 {
            let connection = bus.is_served(exchange, at(0));
            count[bus.server_number(connection) as usize] += 1;
        }
        assert_eq!(count, [3, 1]);
    }

    #[test]
    fn whose_turn_it_is_does_not_matter_while_it_is_busy() {
        let mut bus = before(TURNS, &[1, 1]);
        let held: Vec<_> = (0..8).map(|exchange| bus.is_served(exchange, at(0))).collect();
        // All connections of one server are busy; one of the other is free, again and again.
        let free = *held.iter().find(|&&id| bus.server_number(id) == 0).unwrap();
        for exchange in 10..20 {
            bus.release(free, true, at(1));
            bus.wants(exchange, at(1));
            assert_eq!(bus.leases_to(exchange, at(1)), free);
        }
    }

    #[test]
    fn a_backup_serves_while_all_others_are_down_and_gives_back() {
        let mut bus = before(TURNS, &[1, 1, 0]);
        assert_eq!(sequence(&mut bus, 4, at(0)), [0, 1, 0, 1]);
        // Both end their connections and refuse new ones.
        let idle: Vec<_> = bus.connections.iter().map(|(id, _)| ConnectionId(id)).collect();
        for connection in idle {
            bus.lost(connection, at(1));
        }
        bus.all(at(1)).into_iter().for_each(|closing| match closing {
            Decision::Close { connection } => bus.closed(connection),
            other => panic!("{other:?}"),
        });
        bus.wants(0, at(2));
        bus.is_refused(at(2));
        assert!(!bus.backups_serve(APP), "the other one is left");
        bus.is_refused(at(3));
        assert_eq!(sequence_of_waiting(&mut bus, at(3)), 2);
        assert_eq!(sequence(&mut bus, 3, at(4)), [2, 2, 2]);
        // Probes and the request need not wait for each other.
        let later = at(3) + base::limits::SET_ASIDE;
        bus.wants(1, later);
        let mut probed = Vec::new();
        for decision in bus.all(later) {
            match decision {
                Decision::Open { connection, server } => probed.push((server.0, connection)),
                Decision::Lease { connection, .. } => {
                    assert_eq!(bus.server_number(connection), 2);
                    bus.release(connection, true, later);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((probed[0].0, probed[1].0), (0, 1));
        for (_, connection) in probed {
            bus.connected(connection, later);
        }
        for decision in bus.all(later) {
            let Decision::Close { connection } = decision else { panic!("{decision:?}") };
            bus.closed(connection);
        }
        let servers = sequence(&mut bus, 6, at(100));
        assert_eq!(servers.iter().filter(|&&server| server == 1).count(), 3, "{servers:?}");
        assert!(!servers.contains(&2), "{servers:?}");
    }

    fn sequence_of_waiting(bus: &mut Bus, now: Instant) -> u32 {
        let connection = bus.opens(now);
        bus.connected(connection, now);
        let Decision::Lease { connection, .. } = bus.one(now) else { panic!("no lease") };
        bus.release(connection, true, now);
        bus.server_number(connection)
    }

    #[test]
    fn who_was_failed_by_a_server_goes_to_another_even_if_it_is_busier() {
        let mut bus = before(DEFAULT, &[1, 1]);
        let one = bus.is_served(0, at(0));
        let failing = bus.server_of(one).unwrap();
        let others: Vec<_> = (1..4).map(|exchange| bus.is_served(exchange, at(0))).collect();
        let busier = others.iter().filter(|&&id| bus.server_of(id) != Some(failing)).count();
        assert_eq!(busier, 2);
        bus.release(one, false, at(1));
        bus.all(at(1));
        bus.closed(one);
        bus.enqueue(APP, ExchangeId(0), at(1), true).unwrap();
        bus.avoid(ExchangeId(0), failing);
        let connection = bus.opens(at(1));
        assert_ne!(bus.server_of(connection), Some(failing));
        bus.connect_failed(connection, Failure::Refused, at(2));
        bus.closed(connection);
        let connection = bus.opens(at(2));
        assert_eq!(bus.server_of(connection), Some(failing), "there is no other");
    }

    #[test]
    fn a_better_server_is_waited_for_only_if_a_connection_to_it_is_being_opened() {
        // The second one, of much weight, has the least to do, and is full.
        let policy = Policy { balance: Balance::LeastLeased, ..DEFAULT };
        let mut config = GroupConfig { policy, ..group(0, &[4, 1]) };
        config.servers[1].weight = 10;
        let [mut bus] = crew(&[config]);
        let [heavy, first, second] = [0, 1, 2].map(|exchange| bus.is_served(exchange, at(0)));
        let servers = [heavy, first, second].map(|id| bus.server_number(id));
        assert_eq!(servers, [1, 0, 0]);
        bus.wants(3, at(1));
        let coming = bus.opens(at(1));
        assert_eq!(bus.server_number(coming), 0);
        bus.release(second, true, at(2));
        assert_eq!(bus.leases_to(3, at(2)), second);
    }

    #[test]
    fn one_connection_of_all_servers_makes_room_for_one_that_goes_again() {
        let mut bus = before(DEFAULT, &[1, 1]);
        let all: Vec<_> = (0..8).map(|exchange| bus.is_served(exchange, at(0))).collect();
        for &connection in &all {
            bus.release(connection, true, at(1));
        }
        bus.enqueue(APP, ExchangeId(9), at(2), true).unwrap();
        let Decision::Close { connection } = bus.one(at(2)) else { panic!("no room is made") };
        assert_eq!(bus.all(at(2)), [], "the others stay");
        bus.closed(connection);
        let fresh = bus.opens(at(3));
        bus.connected(fresh, at(3));
        assert_eq!(bus.leases_to(9, at(3)), fresh);
    }

    #[test]
    fn weights_compare_exactly() {
        let rank = |load, weight| Rank { class: Class::Regular, load, weight };
        assert!(rank(2, 3).compare(&rank(1, 1)).is_lt());
        assert!(rank(3, 3).compare(&rank(1, 1)).is_eq());
        assert!(rank(u32::MAX, 1000).compare(&rank(u32::MAX, 999)).is_lt());
        let backup = Rank { class: Class::Backup, ..rank(0, 1000) };
        assert!(rank(u32::MAX, 1).compare(&backup).is_lt());
    }
}
