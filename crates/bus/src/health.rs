//! Servers that failed are left alone for a while, longer each time, then probed.

use base::limits::SET_ASIDE;
use base::time::Instant;
use core::time::Duration;

use crate::policy::HealthPolicy;

/// First pause after the machine itself lacked something or a backlog was full; doubles up to
/// the longest set-aside.
const BREATHER: Duration = Duration::from_millis(10);

/// One worker's opinion of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row that have not led to a pause.
    strikes: u32,
    /// When the last of them was.
    struck: Instant,
    /// Pauses in a row.
    pauses: u32,
    pause: Option<Pause>,
}

/// For how long a server is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    began: Instant,
    until: Instant,
    /// Because it failed, not because there was no room.
    failed: bool,
}

impl Health {
    /// Whether a connection may be tried now.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.pause.is_none_or(|pause| now >= pause.until)
    }

    /// Whether it is left alone because it failed.
    pub(crate) fn is_set_aside(&self, now: Instant) -> bool {
        self.pause.is_some_and(|pause| pause.failed && now < pause.until)
    }

    /// Whether it failed and has not proved well since.
    pub(crate) fn is_down(&self) -> bool {
        self.pause.is_some_and(|pause| pause.failed)
    }

    /// Whether its next connection is a probe: one at a time.
    pub(crate) const fn is_on_probation(&self) -> bool {
        self.pauses > 0
    }

    /// When the pause ends or ended.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.pause.map(|pause| pause.until)
    }

    /// The pause ends at `moment` at the latest.
    pub(crate) fn end_by(&mut self, moment: Instant) {
        if let Some(pause) = &mut self.pause {
            pause.until = pause.until.min(moment);
        }
    }

    /// An attempt that began at `since` was refused or not answered. With several `addresses`
    /// behind one name, each of them may fail as often as one alone may.
    pub(crate) fn failed(
        &mut self,
        policy: &HealthPolicy,
        addresses: u32,
        since: Instant,
        now: Instant,
    ) {
        if self.pauses == 0 && now.since(self.struck) > policy.fail_timeout {
            self.strikes = 0;
        }
        self.strikes = self.strikes.saturating_add(1);
        self.struck = now;
        // On probation one failure is enough.
        if self.pauses > 0 || self.strikes >= policy.max_fails.saturating_mul(addresses.max(1)) {
            self.leave_alone([SET_ASIDE, policy.fail_timeout], true, since, now);
        }
    }

    /// At an attempt that began at `since` its backlog was full, or this machine lacked
    /// something.
    pub(crate) fn had_no_room(&mut self, policy: &HealthPolicy, since: Instant, now: Instant) {
        self.leave_alone([BREATHER, policy.fail_timeout], false, since, now);
    }

    /// A fresh connection ended without a word.
    pub(crate) fn broke(&mut self, policy: &HealthPolicy, now: Instant) {
        if self.may_try(now) {
            self.failed(policy, 1, now, now);
        }
    }

    /// An attempt that began before the pause tells nothing that the pause does not say: many
    /// that fail together are one failure.
    fn leave_alone(
        &mut self,
        [first, most]: [Duration; 2],
        failed: bool,
        since: Instant,
        now: Instant,
    ) {
        if let Some(pause) = &mut self.pause
            && self.pauses > 0
            && since <= pause.began
        {
            pause.failed |= failed;
            return;
        }
        let length = first.saturating_mul(1 << self.pauses.min(16)).min(most);
        self.pauses = self.pauses.saturating_add(1);
        self.strikes = 0;
        self.pause = Some(Pause { began: now, until: now + length, failed });
    }

    /// It took a connection or answered.
    pub(crate) fn succeeded(&mut self) {
        if self.pauses > 0 || self.strikes > 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HealthPolicy =
        HealthPolicy { max_fails: 1, fail_timeout: Duration::from_secs(1), grace: Duration::ZERO };

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut health = Health::default();
        let mut now = Instant(5);
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            assert!(health.may_try(now));
            health.failed(&POLICY, 1, now, now);
            assert!(health.is_set_aside(now) && health.is_on_probation());
            let until = health.until().unwrap();
            let length = until.since(now);
            assert!(length >= last && length <= POLICY.fail_timeout);
            last = length;
            now = until;
        }
        assert_eq!(last, POLICY.fail_timeout);
        assert!(health.is_down(), "until it has proved well");
        health.succeeded();
        assert!(health.may_try(now) && !health.is_on_probation() && !health.is_down());
        health.had_no_room(&POLICY, now, now);
        assert!(!health.may_try(now) && !health.is_set_aside(now));
    }

    #[test]
    fn attempts_that_fail_together_are_one_failure() {
        let mut health = Health::default();
        let began = Instant(1_000);
        for failure in 0..64u64 {
            health.failed(&POLICY, 1, began, Instant(2_000 + failure));
        }
        assert_eq!(health.until(), Some(Instant(2_000) + SET_ASIDE));
        assert!(health.is_down());
        // The probe counts.
        let probe = Instant(2_000) + SET_ASIDE;
        health.failed(&POLICY, 1, probe, probe);
        assert_eq!(health.until(), Some(probe + 2 * SET_ASIDE));
        // An old one that says so at last does not lengthen the pause.
        health.had_no_room(&POLICY, began, probe);
        assert!(health.is_set_aside(probe));
        assert_eq!(health.until(), Some(probe + 2 * SET_ASIDE));
    }

    #[test]
    fn a_shortage_becomes_a_failure_when_a_refusal_arrives_with_it() {
        let mut health = Health::default();
        health.had_no_room(&POLICY, Instant(1), Instant(2));
        health.failed(&POLICY, 1, Instant(1), Instant(3));
        assert!(health.is_set_aside(Instant(4)));
    }

    #[test]
    fn so_many_failures_in_a_row_each_soon_after_the_other() {
        let policy = HealthPolicy { max_fails: 3, ..POLICY };
        let mut health = Health::default();
        let at = |millis: u64| Instant(0) + Duration::from_millis(millis);
        let fails = |health: &mut Health, millis| {
            health.failed(&policy, 1, at(millis), at(millis));
            health.is_set_aside(at(millis))
        };
        assert!(!fails(&mut health, 10) && !fails(&mut health, 20));
        health.succeeded();
        assert!(!fails(&mut health, 30) && !fails(&mut health, 40));
        assert!(!fails(&mut health, 1_041), "the others are long ago");
        assert!(!fails(&mut health, 1_050) && fails(&mut health, 1_060));
        // The probe fails: once is enough now.
        assert!(fails(&mut health, 1_060 + 50));
        let mut health = Health::default();
        assert!(!fails(&mut health, 10) && !fails(&mut health, 1_010));
        assert!(fails(&mut health, 2_010), "just within the time");
    }

    #[test]
    fn each_address_of_a_name_may_fail() {
        let mut health = Health::default();
        health.failed(&POLICY, 2, Instant(5), Instant(5));
        assert!(health.may_try(Instant(5)));
        health.failed(&POLICY, 2, Instant(6), Instant(6));
        assert!(health.is_down());
    }
}
