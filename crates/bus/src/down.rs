//! When no server of a group can be reached: requests wait for one to come back, for a while.
//!
//! A server that is restarted is gone for a moment. So when the last server of a group fails, its
//! requests wait and go on probing; only when nobody has come back after the grace are they told
//! 502, and from then on at once, until a probe succeeds. Whoever was there when a probe began has
//! its outcome to wait for, however long the grace: somebody has to.

use base::id::{ExchangeId, GroupId, ServerId};
use base::time::Instant;

use crate::bus::Bus;
use crate::decide::Decision;

/// How many probes of each server a grace has at least, unless one of them takes long.
const PROBES: u32 = 10;

impl Bus {
    /// A server refused or did not answer. If it was the last one, the group's grace begins: its
    /// last probe comes when the grace ends.
    pub(crate) fn server_failed(&mut self, id: ServerId, since: Instant, now: Instant) {
        let group = self.shared.group_of(id);
        let policy = self.groups[group.index()].policy.health;
        let server = &mut self.servers[id.index()];
        server.health.failed(&policy, server.addresses, since, now);
        self.tell_failure(id);
        let entry = &mut self.groups[group.index()];
        if !entry.servers.iter().all(|id| self.servers[id.index()].health.is_down()) {
            return;
        }
        let began = if entry.proved.is_none_or(|proved| since > proved) { since } else { now };
        let down = *entry.down_since.get_or_insert(began);
        let grace_ends = down + policy.grace;
        if now < grace_ends {
            // Whoever comes back is found soon, and once more when it is time to give up.
            let next = grace_ends.min(now + policy.grace / PROBES);
            for id in &entry.servers {
                self.servers[id.index()].health.end_by(next);
            }
        }
    }

    /// A server took a connection or answered.
    pub(crate) fn server_succeeded(&mut self, id: ServerId) {
        self.servers[id.index()].health.succeeded();
        self.shared.set_down(id, false);
        let group = self.shared.group_of(id);
        let entry = &mut self.groups[group.index()];
        (entry.down_since, entry.proved) = (None, Some(entry.opened));
    }

    /// Tells the others that a server is down, if this worker has just learned that. A failure that
    /// does not set it aside yet is no news, least of all that it is well.
    pub(crate) fn tell_failure(&self, id: ServerId) {
        if self.servers[id.index()].health.is_down() {
            self.shared.set_down(id, true);
        }
    }

    /// Another worker reached a server that failed here: it is well.
    pub(crate) fn learn_from_others(&mut self, group: GroupId) {
        if !self.groups[group.index()].has_others() {
            return;
        }
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            if self.servers[id.index()].health.is_down() && !self.shared.is_down(id) {
                self.server_succeeded(id);
            }
        }
    }

    /// A request of a group of which no server can be reached for longer than the grace: the oldest,
    /// or if that awaits a probe the youngest, which came later.
    pub(crate) fn unreachable(&mut self, group: GroupId, now: Instant) -> Option<Decision> {
        let entry = &self.groups[group.index()];
        let down = entry.down_since?;
        if now < down + entry.policy.health.grace {
            return None;
        }
        let ends = [entry.queue.oldest(&self.waiters), entry.queue.youngest(&self.waiters)];
        let hopeless = |since| entry.servers.iter().all(|&id| self.is_hopeless(id, since, now));
        let (exchange, _): (ExchangeId, _) =
            ends.into_iter().flatten().find(|&(_, since)| hopeless(since))?;
        self.unqueue(group, exchange);
        Some(Decision::Fail { exchange })
    }

    /// Whether a request that has waited since then has nothing to expect of a server now: it is set
    /// aside, or does not answer a probe that began before.
    fn is_hopeless(&self, id: ServerId, since: Instant, now: Instant) -> bool {
        let server = &self.servers[id.index()];
        let grace = self.groups[self.shared.group_of(id).index()].policy.health.grace;
        let silent = now >= server.opened + grace && since > server.opened;
        server.health.is_set_aside(now) || (server.connecting > 0 && silent)
    }

    /// When requests of a group are given up, if nothing happens before.
    pub(crate) fn gives_up_at(&self, group: GroupId) -> impl Iterator<Item = Instant> {
        let entry = &self.groups[group.index()];
        let grace = entry.policy.health.grace;
        let down = entry.down_since.filter(|_| !entry.queue.is_empty());
        let servers = entry.servers.iter().map(|id| &self.servers[id.index()]);
        let probes = servers.filter(|server| server.connecting > 0);
        let probes = probes.map(move |server| server.opened + grace);
        let probes = probes.filter(move |_| down.is_some());
        down.map(|down| down + grace).into_iter().chain(probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Failure;
    use crate::group::GroupConfig;
    use crate::policy::{HealthPolicy, Policy};
    use crate::testing::{at, crew, group, lone, with_policy};
    use base::limits::{SET_ASIDE, UNREACHABLE_GRACE};
    use core::time::Duration;
    use std::vec;
    use std::vec::Vec;

    fn fail(exchange: u32) -> Decision {
        Decision::Fail { exchange: ExchangeId(exchange) }
    }

    /// Lets every probe be refused until nothing happens before `end`; what was decided beside.
    fn probe_until(bus: &mut Bus, mut now: Instant, end: Instant) -> (Vec<Decision>, u32) {
        let (mut others, mut probes) = (Vec::new(), 0);
        loop {
            let decisions = bus.all(now);
            let quiet = decisions.is_empty();
            for decision in decisions {
                if let Decision::Open { connection, .. } = decision {
                    probes += 1;
                    bus.connect_failed(connection, Failure::Refused, now);
                    bus.closed(connection);
                } else {
                    others.push(decision);
                }
            }
            match bus.wake_at(now) {
                _ if !quiet => {}
                Some(next) if next <= end => now = next,
                _ => return (others, probes),
            }
        }
    }

    #[test]
    fn a_group_that_went_down_is_probed_for_the_grace_and_then_given_up() {
        let mut bus = lone(&[1]);
        let grace = at(10) + UNREACHABLE_GRACE;
        bus.wants(0, at(10));
        bus.is_refused(at(10));
        bus.wants(1, at(20));
        let (said, probes) = probe_until(&mut bus, at(20), grace - Duration::from_millis(1));
        assert_eq!((said, probes), (vec![], 10), "after 50 ms, then every 100 ms");
        assert_eq!(bus.wake_at(grace - Duration::from_millis(1)), Some(grace));
        let (said, probes) = probe_until(&mut bus, grace, grace);
        assert_eq!((said, probes), (vec![fail(0), fail(1)], 1), "a last probe when it ends");
        // From now on at once, but for the one that is due as a probe.
        bus.wants(2, grace + Duration::from_millis(1));
        assert_eq!(bus.all(grace + Duration::from_millis(1)), vec![fail(2)]);
        let later = grace + Duration::from_mins(1);
        bus.wants(3, later);
        let probe = bus.opens(later);
        bus.wants(4, later);
        assert_eq!(bus.all(later), []);
        bus.connected(probe, later);
        assert_eq!(bus.leases_to(3, later), probe);
    }

    #[test]
    fn a_server_that_comes_back_within_the_grace_fails_nobody() {
        let mut bus = lone(&[2]);
        bus.wants(0, at(0));
        bus.wants(1, at(0));
        for decision in bus.all(at(0)) {
            let Decision::Open { connection, .. } = decision else { panic!("{decision:?}") };
            bus.connect_failed(connection, Failure::Refused, at(0));
            bus.closed(connection);
        }
        let back = at(0) + UNREACHABLE_GRACE - Duration::from_millis(1);
        let (said, _) = probe_until(&mut bus, at(1), back);
        assert_eq!(said, []);
        let probe = bus.opens(at(0) + UNREACHABLE_GRACE);
        let now = at(0) + UNREACHABLE_GRACE;
        bus.connected(probe, now);
        let lease = bus.all(now);
        assert!(matches!(lease[0], Decision::Lease { exchange: ExchangeId(0), .. }), "{lease:?}");
        assert!(matches!(lease[1], Decision::Open { .. }), "and one for the other: {lease:?}");
    }

    /// Seed 40005391 of the judge: a failure that did not yet set the server aside was told as if it
    /// were well, so that whoever had set it aside tried again, at once and for ever.
    #[test]
    fn a_first_failure_does_not_tell_others_that_a_server_is_well() {
        let health = HealthPolicy { max_fails: 2, ..HealthPolicy::default() };
        let [mut one, mut other] = crew(&[GroupConfig {
            policy: Policy { health, ..Policy::default() },
            ..group(0, &[4])
        }]);
        one.wants(0, at(0));
        one.is_refused(at(0));
        one.is_refused(at(0));
        assert_eq!(one.all(at(0)), [], "it is set aside");
        other.wants(0, at(1));
        other.is_refused(at(1));
        assert!(other.shared.is_down(ServerId(0)));
        assert_eq!(one.all(at(1)), [], "it still is");
    }

    /// Until then whoever asked first after a long pause was told 502 of a server that was well,
    /// because its own probe took longer than the grace.
    #[test]
    fn whoever_begins_a_probe_waits_for_it_though_the_grace_is_shorter() {
        for grace in [Duration::ZERO, Duration::from_millis(100)] {
            let health = HealthPolicy { grace, ..HealthPolicy::default() };
            let mut bus = with_policy(&[2], Policy { health, ..Policy::default() });
            bus.wants(0, at(0));
            bus.is_refused(at(0));
            let (said, _) = probe_until(&mut bus, at(0), at(0) + grace);
            assert_eq!(said, vec![fail(0)]);
            let later = at(60_000);
            bus.wants(1, later);
            let probe = bus.opens(later);
            assert_eq!(bus.all(later + grace), []);
            // The others cannot all wait for that.
            let end = later + grace + Duration::from_millis(1);
            bus.wants(2, end);
            bus.wants(3, end);
            assert_eq!(bus.all(end + grace), vec![fail(3), fail(2)], "it is known to be down");
            bus.connected(probe, at(61_000));
            bus.leases_to(1, at(61_000));
        }
    }

    #[test]
    fn a_probe_that_hangs_keeps_nobody_else_longer_than_the_grace() {
        let mut bus = lone(&[1]);
        bus.wants(0, at(0));
        let hanging = bus.opens(at(0));
        bus.connect_failed(hanging, Failure::TimedOut, at(5_000));
        bus.closed(hanging);
        assert_eq!(bus.all(at(5_000)), vec![fail(0)], "it waited longer than the grace");
        let probe = at(5_000) + SET_ASIDE;
        bus.wants(1, probe);
        let hanging = bus.opens(probe);
        let young = probe + crate::others::PATIENCE;
        bus.wants(2, young);
        assert_eq!(bus.all(young), []);
        assert_eq!(bus.wake_at(young), Some(probe + UNREACHABLE_GRACE));
        assert_eq!(bus.all(probe + UNREACHABLE_GRACE), vec![fail(2)]);
        bus.wants(3, probe + UNREACHABLE_GRACE);
        assert_eq!(bus.all(probe + UNREACHABLE_GRACE), vec![fail(3)], "known to be down");
        bus.connect_failed(hanging, Failure::TimedOut, probe + Duration::from_secs(5));
        assert_eq!(bus.all(probe + Duration::from_secs(5)), vec![fail(1)], "its own deadline");
    }

    #[test]
    fn nobody_fails_while_another_server_is_left_to_try() {
        let health = HealthPolicy { grace: Duration::ZERO, ..HealthPolicy::default() };
        let mut bus = with_policy(&[1, 1], Policy { health, ..Policy::default() });
        bus.wants(0, at(0));
        bus.is_refused(at(0));
        bus.is_refused(at(1));
        assert_eq!(bus.all(at(1)), vec![fail(0)]);
    }

    #[test]
    fn a_server_that_another_worker_reached_is_left_alone_no_longer() {
        let [mut bus, mut other] = crew(&[group(0, &[4])]);
        bus.wants(0, at(0));
        bus.is_refused(at(0));
        assert_eq!(bus.all(at(1)), []);
        other.is_served(0, at(1));
        bus.opens(at(1));
    }

    #[test]
    fn whoever_can_only_wait_for_the_grace_looks_when_it_ends() {
        let mut bus = lone(&[1, 1]);
        let [first, second] = [0, 1].map(|exchange| {
            let now = at(5 * u64::from(exchange));
            bus.wants(exchange, now);
            bus.opens(now)
        });
        bus.connect_failed(first, Failure::Refused, at(6));
        bus.connect_failed(second, Failure::Refused, at(7));
        // No pause is under way any more, but neither is really closed.
        assert_eq!(bus.all(at(200)), []);
        let end = at(5) + UNREACHABLE_GRACE;
        assert_eq!(bus.wake_at(at(200)), Some(end));
    }

    /// What began before a connection was last taken tells nothing of when the server went away.
    #[test]
    fn the_grace_begins_with_the_first_attempt_after_the_last_success() {
        let down_since = |bus: &Bus| bus.groups[0].down_since;
        let mut bus = lone(&[2]);
        bus.wants(0, at(0));
        bus.wants(1, at(0));
        let [Decision::Open { connection: one, .. }, Decision::Open { connection: two, .. }] =
            bus.all(at(0))[..]
        else {
            panic!("it opens two")
        };
        bus.connected(one, at(1));
        bus.leases_to(0, at(1));
        bus.connect_failed(two, Failure::TimedOut, at(900));
        bus.closed(two);
        assert_eq!(down_since(&bus), Some(at(900)));
        bus.answered(one);
        assert_eq!(down_since(&bus), None);
        let late = bus.opens(at(2_000));
        bus.connect_failed(late, Failure::TimedOut, at(2_500));
        bus.closed(late);
        assert_eq!(down_since(&bus), Some(at(2_000)));
    }

    #[test]
    fn who_may_still_try_a_server_that_was_down_is_not_told_that_it_is() {
        let [mut bus, mut other] = crew(&[group(0, &[1])]);
        bus.wants(0, at(0));
        bus.is_refused(at(0));
        let (said, _) = probe_until(&mut bus, at(0), at(0) + UNREACHABLE_GRACE);
        assert_eq!(said, vec![fail(0)]);
        // Its only connection is being opened elsewhere: there is none to try it with.
        let later = at(60_000);
        other.wants(0, later);
        other.opens(later);
        bus.wants(1, later);
        assert_eq!(bus.all(later), []);
        assert!(bus.is_queued(ExchangeId(1)));
    }

    #[test]
    fn no_connection_is_awaited_for_long_where_another_server_may_answer() {
        let mut bus = lone(&[2, 2]);
        bus.wants(0, at(0));
        let hanging = bus.opens(at(0));
        assert_eq!(bus.all(at(1)), []);
        let later = bus.wake_at(at(1)).unwrap();
        assert!(later <= at(20), "{later:?}");
        let other = bus.opens(later);
        assert_ne!(bus.server_number(hanging), bus.server_number(other));
        bus.connected(other, later);
        bus.leases_to(0, later);
    }
}
