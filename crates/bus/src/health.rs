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
    /// Left alone until then.
    until: Option<Instant>,
    /// It is left alone because it failed, not because there was no room.
    failed: bool,
}

impl Health {
    /// Whether a connection may be tried now.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// Whether it is left alone because it failed.
    pub(crate) fn is_set_aside(&self, now: Instant) -> bool {
        self.failed && !self.may_try(now)
    }

    /// Whether its next connection is a probe: one at a time.
    pub(crate) const fn is_on_probation(&self) -> bool {
        self.failures > 0
    }

    pub(crate) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// It refused, did not answer, or left a fresh connection without a word.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.pause(now, SET_ASIDE[0]);
        self.failed = true;
    }

    /// Its backlog was full, or this machine lacked something.
    pub(crate) fn had_no_room(&mut self, now: Instant) {
        self.pause(now, BREATHER);
        self.failed = false;
    }

    fn pause(&mut self, now: Instant, first: Duration) {
        let length = first.saturating_mul(1 << self.failures.min(16)).min(SET_ASIDE[1]);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + length);
    }

    /// It took a connection or answered.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut health = Health::default();
        let mut now = Instant(0);
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            assert!(health.may_try(now));
            health.failed(now);
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
        health.had_no_room(now);
        assert!(!health.may_try(now) && !health.is_set_aside(now));
    }
}
