//! One warning when `connections` is what holds the clients up (DESIGN.md §5).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::figures::{Figures, Panel, Spread};
use crate::log;
use crate::quantity::Length;

/// How often the figures are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// Fewest leases within an interval that say something.
const LEASES_LEAST: u64 = 50;

/// Watches how long exchanges wait for a lease.
pub(crate) struct Advisor {
    panel: Arc<Panel>,
    seen: Option<Seen>,
    /// When it looks again; never, once the warning was given.
    next: Option<Instant>,
}

/// What was counted when it was looked at last.
struct Seen {
    queue: Spread,
    upstream: Spread,
}

impl From<Figures> for Seen {
    fn from(figures: Figures) -> Self {
        Self { queue: figures.queue_seconds, upstream: figures.upstream_seconds }
    }
}

impl Advisor {
    /// Looks from now on.
    pub(crate) fn new(panel: Arc<Panel>) -> Self {
        Self { panel, seen: None, next: Some(Instant::now() + INTERVAL) }
    }

    /// When to [`look`](Self::look) next.
    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks at the figures and gives the warning, once, if it is due.
    pub(crate) fn look(&mut self) {
        let now = Seen::from(self.panel.read());
        let warning = self.seen.as_ref().and_then(|seen| judge(seen, &now));
        self.next = warning.is_none().then(|| Instant::now() + INTERVAL);
        self.seen = Some(now);
        if let Some(warning) = warning {
            log::note(warning);
        }
    }
}

/// The warning, if exchanges lately waited longer for a lease than the server took to answer.
fn judge(earlier: &Seen, now: &Seen) -> Option<String> {
    let queue = now.queue.since(&earlier.queue);
    let upstream = now.upstream.since(&earlier.upstream);
    let (waited, answered) = (queue.mean()?, upstream.mean()?);
    if upstream.count() < LEASES_LEAST || waited <= answered {
        return None;
    }
    Some(format!(
        "warning: requests wait {} for a connection to the server, which then answers in {}: if \
         the server can work on more at a time, raise `connections`",
        Length(waited),
        Length(answered)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::counter::Histogram;

    /// What stands after so many leases that waited and were answered so long.
    fn seen(leases: u64, waited: u64, answered: u64) -> Seen {
        let (queue, upstream) = (Histogram::default(), Histogram::default());
        for _ in 0..leases {
            queue.observe(Duration::from_millis(waited));
            upstream.observe(Duration::from_millis(answered));
        }
        Seen { queue: Spread::default().and(&queue), upstream: Spread::default().and(&upstream) }
    }

    #[test]
    fn long_queues_before_a_quick_server_name_the_key_to_raise() {
        let start = seen(0, 0, 0);
        let warning = judge(&start, &seen(100, 30, 10)).unwrap();
        assert!(warning.contains("`connections`") && warning.contains("30ms"), "{warning}");
        assert_eq!(judge(&start, &seen(100, 10, 30)), None);
        assert_eq!(judge(&start, &seen(10, 30, 10)), None, "too few to say anything");
        assert_eq!(judge(&start, &start), None);
        assert_eq!(judge(&seen(100, 30, 10), &seen(120, 30, 10)), None, "only what is new counts");
    }
}
