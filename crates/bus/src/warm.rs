//! Warm connections: opened at start and held open, so that no request waits for one.
//!
//! Each worker opens its share of a server's warm connections, and only while fewer than that are
//! open in the whole process: where they have moved to another worker, they are not opened twice.
//! They are ordinary connections otherwise: they serve requests, move, and count as leases.

use base::id::{GroupId, ServerId};
use base::limits::WARM_PAUSE;
use base::time::Instant;

use crate::bus::Bus;
use crate::decide::Decision;

impl Bus {
    /// This worker's share of the warm connections to each server of a group.
    fn warm_share(&self, group: GroupId) -> u32 {
        let warm = self.groups[group.index()].policy.warm;
        let workers = u32::try_from(self.shared.workers()).unwrap_or(u32::MAX).max(1);
        warm / workers + u32::from(self.worker.0 < warm % workers)
    }

    /// Whether a connection that nobody waits for is kept.
    pub(crate) fn is_kept_warm(&self, group: GroupId, id: ServerId) -> bool {
        let warm = self.groups[group.index()].policy.warm;
        let server = &self.servers[id.index()];
        warm > 0 && (self.shared.taken(id) <= warm || server.open <= self.warm_share(group))
    }

    /// Opens a connection that is to be held open, if one is missing here.
    pub(crate) fn warm_up(&mut self, group: GroupId, now: Instant) -> Option<Decision> {
        if self.groups[group.index()].policy.warm == 0 {
            return None;
        }
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            let server = &self.servers[id.index()];
            let may = server.may_connect(now) && server.warmth.may_try(now);
            if self.lacks_warmth(group, id)
                && may
                && let Some(decision) = self.connect(group, id, now)
            {
                return Some(decision);
            }
        }
        None
    }

    fn lacks_warmth(&self, group: GroupId, id: ServerId) -> bool {
        let warm = self.groups[group.index()].policy.warm;
        self.servers[id.index()].open < self.warm_share(group) && self.shared.taken(id) < warm
    }

    /// A connection that no request has met ended: the next one is opened after a pause, so that
    /// a server that wants none is not asked all the time.
    pub(crate) fn went_cold(&mut self, id: ServerId, now: Instant) {
        let group = self.shared.group_of(id);
        let policy = &self.groups[group.index()].policy.health;
        self.servers[id.index()].warmth.had_no_room(policy, now, now);
    }

    /// When warm connections are looked at again.
    pub(crate) fn warms_at(&self, group: GroupId, now: Instant) -> impl Iterator<Item = Instant> {
        let entry = &self.groups[group.index()];
        let share = self.warm_share(group);
        entry.servers.iter().filter_map(move |&id| {
            let server = &self.servers[id.index()];
            // Who holds more than its share gives it up when others hold theirs.
            let looks = server.open < share || (share < server.open && server.unused > 0);
            if entry.policy.warm == 0 || !looks {
                return None;
            }
            let pauses = [server.health.until(), server.warmth.until()].into_iter().flatten();
            Some(pauses.filter(|&end| end > now).max().unwrap_or(now + WARM_PAUSE))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Failure;
    use crate::group::GroupConfig;
    use crate::policy::Policy;
    use crate::testing::{at, carry, crew, group, with_policy};
    use base::id::{ConnectionId, ExchangeId, WorkerId};
    use base::limits::SET_ASIDE;
    use core::time::Duration;
    use std::vec::Vec;

    fn warm(warm: u32) -> Policy {
        Policy { warm, ..Policy::default() }
    }

    /// Opens all that is to be opened.
    fn opened(bus: &mut Bus, now: Instant) -> Vec<ConnectionId> {
        let open = |decision| match decision {
            Decision::Open { connection, .. } => connection,
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = bus.all(now).into_iter().map(open).collect();
        for &connection in &all {
            bus.connected(connection, now);
        }
        all
    }

    #[test]
    fn they_are_opened_at_start_and_kept_though_nobody_waits() {
        let mut bus = with_policy(&[4, 2], warm(2));
        let all = opened(&mut bus, at(0));
        let mut servers: Vec<_> = all.iter().map(|&id| bus.server_number(id)).collect();
        servers.sort_unstable();
        assert_eq!(servers, [0, 0, 1, 1]);
        assert_eq!((bus.all(at(1)), bus.wake_at(at(1))), (Vec::new(), None));
        // A request is served without waiting, and the connection stays.
        bus.wants(0, at(2));
        let Decision::Lease { connection, fresh: true, .. } = bus.one(at(2)) else {
            panic!("it waits")
        };
        bus.release(connection, true, at(3));
        assert_eq!(bus.all(at(3)), []);
    }

    #[test]
    fn one_more_than_are_warm_is_closed_when_nobody_needs_it() {
        let mut bus = with_policy(&[4], warm(1));
        let first = opened(&mut bus, at(0))[0];
        bus.wants(0, at(1));
        assert_eq!(bus.leases_to(0, at(1)), first);
        bus.wants(1, at(1));
        let late = bus.opens(at(1));
        bus.release(first, true, at(2));
        bus.leases_to(1, at(2));
        bus.connected(late, at(3));
        assert_eq!(bus.one(at(3)), Decision::Close { connection: late });
    }

    #[test]
    fn workers_share_and_do_not_open_what_moved_twice() {
        let config = GroupConfig { policy: warm(3), ..group(0, &[3]) };
        let [mut one, mut two] = crew(&[config]);
        assert_eq!((opened(&mut one, at(0)).len(), opened(&mut two, at(0)).len()), (2, 1));
        // The second one's is busy and it wants another: it gets the first one's.
        two.wants(0, at(1));
        two.all(at(1));
        two.wants(1, at(1));
        two.all(at(1));
        let Decision::HandOver { connection, .. } = one.one(at(1)) else { panic!("it keeps all") };
        carry(&mut one, connection, &mut two, at(1));
        assert!(matches!(two.one(at(1)), Decision::Lease { .. }));
        assert_eq!(one.all(at(10)), [], "three are open");
        assert_eq!(one.wake_at(at(10)), Some(at(10) + WARM_PAUSE), "it looks again");
        assert_eq!(one.worker, WorkerId(0));
    }

    #[test]
    fn none_is_missing_where_others_hold_as_many_as_are_to_be_warm() {
        let [mut one, mut two] = crew(&[GroupConfig { policy: warm(2), ..group(0, &[4]) }]);
        let [first, _] = [0, 1].map(|exchange| two.is_served(exchange, at(0)));
        assert_eq!(one.all(at(1)), []);
        two.release(first, false, at(2));
        two.all(at(2));
        two.closed(first);
        assert_eq!(opened(&mut one, at(2)).len(), 1);
    }

    #[test]
    fn whoever_lacks_some_looks_again_after_a_pause_too() {
        let [mut one, mut two] = crew(&[GroupConfig { policy: warm(1), ..group(0, &[4]) }]);
        let busy = one.opens(at(0));
        one.connect_failed(busy, Failure::Busy, at(0));
        one.closed(busy);
        two.is_served(0, at(1));
        let end = one.wake_at(at(1)).unwrap();
        assert_eq!(one.all(end), [], "the other one has it");
        assert_eq!(one.wake_at(end), Some(end + WARM_PAUSE));
    }

    #[test]
    fn one_that_came_too_late_is_kept_while_there_are_not_too_many_in_all() {
        let config = GroupConfig { policy: warm(3), ..group(0, &[3]) };
        let [mut one, mut two] = crew(&[config]);
        let (_, of_two) = (opened(&mut one, at(0)), opened(&mut two, at(0)));
        two.wants(0, at(1));
        assert_eq!(two.leases_to(0, at(1)), of_two[0]);
        two.wants(1, at(1));
        two.all(at(1));
        let Decision::HandOver { connection, .. } = one.one(at(1)) else { panic!("it keeps all") };
        two.withdraw(ExchangeId(1));
        carry(&mut one, connection, &mut two, at(2));
        assert_eq!(two.all(at(2)), [], "three is what there may be");
        let again = at(2) + WARM_PAUSE;
        assert_eq!(two.wake_at(at(2)), Some(again), "it has more than its share");
        two.wants(2, at(3));
        two.leases_to(2, at(3));
        assert_eq!(two.wake_at(at(3)), None, "but none that nobody needs");
    }

    #[test]
    fn one_that_a_client_keeps_for_long_is_replaced() {
        let mut config = GroupConfig { policy: warm(1), ..group(0, &[2]) };
        config.servers[0].pinned = 1;
        let [mut bus] = crew(&[config]);
        let first = opened(&mut bus, at(0))[0];
        bus.wants(0, at(1));
        assert_eq!(bus.leases_to(0, at(1)), first);
        assert_eq!(bus.all(at(1)), [], "it is the warm one still");
        bus.pin(first).unwrap();
        assert_eq!(opened(&mut bus, at(2)).len(), 1);
        // Its end leaves the new one alone.
        assert!(!bus.unpin(first, false));
        bus.closed(first);
        assert_eq!(bus.all(at(3)), []);
    }

    #[test]
    fn a_server_that_ends_them_is_not_asked_all_the_time() {
        let mut bus = with_policy(&[2], warm(1));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let connection = opened(&mut bus, now)[0];
            bus.lost(connection, now);
            assert_eq!(bus.one(now), Decision::Close { connection });
            bus.closed(connection);
            assert_eq!(bus.all(now), []);
            let next = bus.wake_at(now).unwrap();
            pauses.push(next.since(now));
            now = next;
        }
        assert!(pauses.is_sorted() && pauses[9] == Duration::from_secs(1), "{pauses:?}");
        // One that served a request begins anew.
        let connection = opened(&mut bus, now)[0];
        bus.wants(0, now);
        bus.leases_to(0, now);
        bus.answered(connection);
        bus.release(connection, false, now);
        bus.all(now);
        bus.closed(connection);
        opened(&mut bus, now);
    }

    #[test]
    fn a_server_that_refuses_is_tried_again_after_its_pauses() {
        let mut bus = with_policy(&[2], warm(2));
        for decision in bus.all(at(0)) {
            let Decision::Open { connection, .. } = decision else { panic!("{decision:?}") };
            bus.connect_failed(connection, Failure::Refused, at(0));
            bus.closed(connection);
        }
        assert_eq!(bus.wake_at(at(0)), Some(at(0) + SET_ASIDE));
        assert_eq!(bus.all(at(1)), []);
        let probe = bus.opens(at(0) + SET_ASIDE);
        bus.connected(probe, at(51));
        assert_eq!(opened(&mut bus, at(51)).len(), 1, "and the second one");
    }
}
