//! The retry budget: of the requests of the last seconds, a share may go again.
//!
//! When every connection breaks, retries would double the load on a server that is already
//! failing. So the retries of all workers within a window may be a share of the requests in it,
//! plus a few a second, so that quiet groups may retry at all.

use base::sync::atomic::{AtomicU64, Ordering::SeqCst};

use base::limits::{RETRY_FLOOR, RETRY_WINDOW_SECONDS};
use base::time::Instant;

use crate::policy::RetryPolicy;

const SLOTS: usize = RETRY_WINDOW_SECONDS as usize;

/// Counts of the last seconds, each second in a slot of its own: its number in the upper half,
/// the count in the lower.
#[derive(Debug, Default)]
pub(crate) struct Window([AtomicU64; SLOTS]);

impl Window {
    /// One more now, counted by whoever alone writes this window.
    pub(crate) fn count_own(&self, now: Instant) {
        let second = second(now);
        let slot = self.slot(second);
        slot.store(one_more(slot.load(SeqCst), second), SeqCst);
    }

    /// One more now; others may count at the same time.
    pub(crate) fn count(&self, second: u64) {
        let more = |word| Some(one_more(word, second));
        // It never refuses.
        let _ = self.slot(second).fetch_update(SeqCst, SeqCst, more);
    }

    /// Takes back what was counted in that second, unless its slot is another's by now.
    pub(crate) fn take_back(&self, second: u64) {
        let less = |word: u64| (word >> 32 == second && word & COUNT > 0).then_some(word - 1);
        let _ = self.slot(second).fetch_update(SeqCst, SeqCst, less);
    }

    /// All counts of the window that ends now.
    pub(crate) fn sum(&self, second: u64) -> u64 {
        let young = |word: &u64| second.saturating_sub(word >> 32) < SLOTS as u64;
        self.0.iter().map(|slot| slot.load(SeqCst)).filter(young).map(|word| word & COUNT).sum()
    }

    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.0[usize::try_from(second).unwrap_or(0) % SLOTS]
    }
}

const COUNT: u64 = u32::MAX as u64;

fn one_more(word: u64, second: u64) -> u64 {
    if word >> 32 == second && word & COUNT < COUNT { word + 1 } else { second << 32 | 1 }
}

fn second(now: Instant) -> u64 {
    (now.0 / 1_000_000_000) & COUNT
}

/// Takes one retry out of the budget, if there is one left. `requests` are the workers' counts,
/// `retries` that of all of them. However many workers ask at once, the bound holds.
pub(crate) fn withdraw<'w>(
    policy: RetryPolicy,
    requests: impl Iterator<Item = &'w Window>,
    retries: &Window,
    now: Instant,
) -> bool {
    let second = second(now);
    let requests: u64 = requests.map(|window| window.sum(second)).sum();
    let share = requests.saturating_mul(u64::from(policy.budget)) / 100;
    let most = share + u64::from(RETRY_FLOOR * RETRY_WINDOW_SECONDS);
    retries.count(second);
    let granted = retries.sum(second) <= most;
    if !granted {
        retries.take_back(second);
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    const POLICY: RetryPolicy = RetryPolicy { attempts: 3, budget: 20 };
    const FLOOR: u64 = (RETRY_FLOOR * RETRY_WINDOW_SECONDS) as u64;

    fn at(seconds: u64) -> Instant {
        Instant(0) + Duration::from_secs(seconds)
    }

    fn granted(requests: &[Window], retries: &Window, now: Instant) -> u64 {
        (0..10_000).take_while(|_| withdraw(POLICY, requests.iter(), retries, now)).count() as u64
    }

    #[test]
    fn a_share_of_the_recent_requests_of_all_workers_and_a_few_more() {
        let requests = [Window::default(), Window::default()];
        let retries = Window::default();
        for number in 0..500 {
            requests[number % 2].count_own(at(3));
        }
        assert_eq!(granted(&requests, &retries, at(4)), 100 + FLOOR);
        assert_eq!(granted(&requests, &retries, at(5)), 0);
        // What happened before the window counts no more.
        let later = at(4 + u64::from(RETRY_WINDOW_SECONDS));
        assert_eq!(granted(&requests, &retries, later), FLOOR);
    }

    #[test]
    fn a_slot_serves_another_second_when_its_own_is_over() {
        let window = Window::default();
        let window_length = u64::from(RETRY_WINDOW_SECONDS);
        for round in 0..5 {
            for _ in 0..=round {
                window.count_own(at(2 + round * window_length));
            }
            assert_eq!(window.sum(second(at(2 + round * window_length))), round + 1);
        }
    }

    #[test]
    fn a_second_counts_until_the_window_is_over() {
        let window = Window::default();
        window.count_own(at(3));
        let end = 3 + u64::from(RETRY_WINDOW_SECONDS);
        assert_eq!((window.sum(3), window.sum(end - 1), window.sum(end)), (1, 1, 0));
    }

    #[test]
    fn nothing_is_taken_back_that_was_not_counted() {
        let window = Window::default();
        window.count(15);
        // Its slot, but not its second.
        window.take_back(5);
        assert_eq!(window.sum(15), 1);
        // Whoever counted an earlier second late has emptied it meanwhile.
        window.take_back(15);
        window.take_back(15);
        assert_eq!(window.sum(15), 0);
    }

    #[test]
    fn a_count_that_is_full_does_not_run_into_its_second() {
        assert_eq!(one_more(7 << 32 | COUNT, 7) >> 32, 7);
    }

    #[test]
    fn no_more_are_granted_than_the_budget_has_whatever_the_threads_do() {
        let requests = [Window::default()];
        let retries = Window::default();
        (0..1000).for_each(|_| requests[0].count_own(at(1)));
        let all: u64 = thread::scope(|scope| {
            let ask = || {
                let asks = (0..500).filter(|_| withdraw(POLICY, requests.iter(), &retries, at(1)));
                asks.count() as u64
            };
            let threads = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(all <= 200 + FLOOR, "{all}");
        assert!(all > 150 + FLOOR, "{all}");
    }
}
