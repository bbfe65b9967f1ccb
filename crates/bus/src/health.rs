//! Servers that failed are left alone for a while, longer each time, then probed.

use base::limits::SET_ASIDE;
use base::time::Instant;
use core::time::Duration;

/// First pause after the machine itself lacked something or a backlog was full; doubles up to
/// the longest set-aside.
const BREATHER: Duration = Duration::from_millis(10);

/// One worker's opinion of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: u32,
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

    /// Whether its next connection is a probe: one at a time.
    pub(crate) const fn is_on_probation(&self) -> bool {
        self.failures > 0
    }

    /// When the pause ends or ended.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.pause.map(|pause| pause.until)
    }

    /// An attempt that began at `since` was refused or not answered.
    pub(crate) fn failed(&mut self, since: Instant, now: Instant) {
        self.leave_alone(SET_ASIDE[0], true, since, now);
    }

    /// At an attempt that began at `since` its backlog was full, or this machine lacked
    /// something.
    pub(crate) fn had_no_room(&mut self, since: Instant, now: Instant) {
        self.leave_alone(BREATHER, false, since, now);
    }

    /// A fresh connection ended without a word.
    pub(crate) fn broke(&mut self, now: Instant) {
        if self.may_try(now) {
            self.failed(now, now);
        }
    }

    /// An attempt that began before the pause tells nothing that the pause does not say: many
    /// that fail together are one failure.
    fn leave_alone(&mut self, first: Duration, failed: bool, since: Instant, now: Instant) {
        if let Some(pause) = &mut self.pause
            && self.failures > 0
            && since <= pause.began
        {
            pause.failed |= failed;
            return;
        }
        let length = first.saturating_mul(1 << self.failures.min(16)).min(SET_ASIDE[1]);
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(Pause { began: now, until: now + length, failed });
    }

    /// It took a connection or answered.
    pub(crate) fn succeeded(&mut self) {
        if self.is_on_probation() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut health = Health::default();
        let mut now = Instant(5);
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            assert!(health.may_try(now));
            health.failed(now, now);
            assert!(health.is_set_aside(now) && health.is_on_probation());
            let until = health.until().unwrap();
            let length = until.since(now);
            assert!(length >= last && length <= SET_ASIDE[1]);
            last = length;
            now = until;
        }
        assert_eq!(last, SET_ASIDE[1]);
        health.succeeded();
        assert!(health.may_try(now) && !health.is_on_probation());
        health.had_no_room(now, now);
        assert!(!health.may_try(now) && !health.is_set_aside(now));
    }

    #[test]
    fn attempts_that_fail_together_are_one_failure() {
        let mut health = Health::default();
        let began = Instant(1_000);
        for failure in 0..64u64 {
            health.failed(began, Instant(2_000 + failure));
        }
        assert_eq!(health.until(), Some(Instant(2_000) + SET_ASIDE[0]));
        // The probe counts.
        let probe = Instant(2_000) + SET_ASIDE[0];
        health.failed(probe, probe);
        assert_eq!(health.until(), Some(probe + 2 * SET_ASIDE[0]));
        // An old one that says so at last does not lengthen the pause.
        health.had_no_room(began, probe);
        assert!(health.is_set_aside(probe));
        assert_eq!(health.until(), Some(probe + 2 * SET_ASIDE[0]));
    }

    #[test]
    fn a_shortage_becomes_a_failure_when_a_refusal_arrives_with_it() {
        let mut health = Health::default();
        health.had_no_room(Instant(1), Instant(2));
        health.failed(Instant(1), Instant(3));
        assert!(health.is_set_aside(Instant(4)));
    }
}
