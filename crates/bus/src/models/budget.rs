//! The retry budget holds however many workers ask at once.

use alloc::sync::Arc;

use base::limits::{RETRY_FLOOR, RETRY_WINDOW_SECONDS};
use base::sync::atomic::{AtomicU64, Ordering::SeqCst};
use base::sync::explore::Explore;
use base::sync::thread;
use base::time::Instant;

use crate::budget::{Window, withdraw};
use crate::policy::RetryPolicy;

const POLICY: RetryPolicy = RetryPolicy { attempts: 3, budget: 20 };
const NOW: Instant = Instant(5_000_000_000);
/// What quiet groups may retry.
const FLOOR: u32 = RETRY_FLOOR * RETRY_WINDOW_SECONDS;

/// Two workers ask for the last retry there is.
fn last_one(ask: impl Fn(&Window) -> bool + Copy + Send + Sync + 'static) {
    Explore { preemptions: Some(3) }.run(move || {
        let retries = Arc::new(Window::default());
        // The owner's way of counting: nobody else is there yet.
        (1..FLOOR).for_each(|_| retries.count_own(NOW));
        let theirs = Arc::clone(&retries);
        let other = thread::spawn(move || ask(&theirs));
        let both = ask(&retries) && other.join().unwrap();
        assert!(!both, "one retry was granted twice");
    });
}

#[test]
fn the_last_retry_is_granted_once() {
    last_one(|retries| withdraw(POLICY, core::iter::empty(), retries, NOW));
}

#[test]
#[should_panic(expected = "granted twice")]
fn counting_after_looking_would_grant_it_twice() {
    last_one(|retries| {
        let left = retries.sum(5) < u64::from(FLOOR);
        if left {
            retries.count(5);
        }
        left
    });
}

/// A second whose slot is another's by now: what is taken back there is not missing here.
#[test]
fn a_second_that_ends_takes_nothing_from_the_next() {
    Explore { preemptions: Some(3) }.run(|| {
        let retries = Arc::new(Window::default());
        retries.count(5);
        let theirs = Arc::clone(&retries);
        let next = 5 + u64::from(RETRY_WINDOW_SECONDS);
        let other = thread::spawn(move || theirs.count(next));
        retries.take_back(5);
        other.join().unwrap();
        assert_eq!(retries.sum(next), 1);
    });
}

#[test]
#[should_panic(expected = "a count went astray")]
fn two_who_count_as_owners_lose() {
    Explore::default().run(|| {
        let word = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&word);
        let other = thread::spawn(move || theirs.store(theirs.load(SeqCst) + 1, SeqCst));
        word.store(word.load(SeqCst) + 1, SeqCst);
        other.join().unwrap();
        assert_eq!(word.load(SeqCst), 2, "a count went astray");
    });
}
