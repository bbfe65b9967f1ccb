//! A look at the clock while runs are played: one that never ends is told, too.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long a run may take: thousands of times as long as one takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// What one thread plays.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seed: AtomicU64,
    /// When it began, in milliseconds of the search, and one more; 0 between two runs.
    since: AtomicU64,
}

impl Watch {
    /// A run begins.
    pub(crate) fn begins(&self, seed: u64, elapsed: Duration) {
        self.seed.store(seed, Relaxed);
        self.since.store(millis(elapsed) + 1, Relaxed);
    }

    /// It is over.
    pub(crate) fn ends(&self) {
        self.since.store(0, Relaxed);
    }

    /// The seed that is played for too long, if one is.
    pub(crate) fn hangs(&self, elapsed: Duration) -> Option<u64> {
        let since = self.since.load(Relaxed).checked_sub(1)?;
        let hangs = millis(elapsed).saturating_sub(since) > millis(PATIENCE);
        hangs.then(|| self.seed.load(Relaxed))
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_known() {
        let (watch, second) = (Watch::default(), Duration::from_secs(1));
        assert_eq!(watch.hangs(2 * PATIENCE), None, "nothing is played");
        watch.begins(7, second);
        assert_eq!(watch.hangs(second + PATIENCE), None);
        assert_eq!(watch.hangs(2 * second + PATIENCE), Some(7));
        watch.ends();
        assert_eq!(watch.hangs(2 * PATIENCE), None);
    }
}
