//! Who wants publishes, then looks; who frees changes the count, then looks: one of them sees
//! the other.

use alloc::sync::Arc;

use base::id::{GroupId, ServerId, WorkerId};
use base::sync::atomic::{
    AtomicU64,
    Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use base::sync::explore::Explore;
use base::sync::thread;
use base::time::Instant;

use crate::shared::{Shared, Want};
use crate::testing::group;

const SERVER: ServerId = ServerId(0);
const GROUP: GroupId = GroupId(0);
const ONE: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);

const fn want(since: u64, stuck: bool) -> Want {
    Want { since: Instant(since), stuck }
}

/// Runs what two workers do at the same time; one of them must have seen the other.
fn meet(one: impl FnOnce() -> bool, other: impl FnOnce() -> bool + Send + 'static) {
    let other = thread::spawn(other);
    let one = one();
    let other = other.join().unwrap();
    assert!(one || other, "each missed the other");
}

#[test]
fn a_permit_that_goes_back_meets_who_wants_one() {
    Explore::default().run(|| {
        let shared = Shared::new(2, &[group(0, &[1])]);
        let last = shared.permit(SERVER);
        let theirs = Arc::clone(&shared);
        let wants = || {
            shared.publish(GROUP, ONE, Some(want(1, false)));
            shared.permit(SERVER).is_some()
        };
        meet(wants, move || {
            drop(last);
            theirs.wants(GROUP, OTHER).next().is_some()
        });
    });
}

#[test]
fn a_connection_that_idles_meets_who_wants_one() {
    Explore::default().run(|| {
        let shared = Shared::new(2, &[group(0, &[1])]);
        let theirs = Arc::clone(&shared);
        let wants = || {
            shared.publish(GROUP, ONE, Some(want(1, true)));
            shared.idle_elsewhere(SERVER, ONE) == Some(OTHER)
        };
        meet(wants, move || {
            theirs.idle_changed(SERVER, OTHER, 1);
            theirs.wants(GROUP, OTHER).next().is_some()
        });
    });
}

/// Who takes the last permit looks for idle connections kept for others; who keeps one, because
/// others can still open one, looks for permits after it told that it idles.
#[test]
fn the_last_permit_meets_the_connection_that_was_kept() {
    Explore::default().run(|| {
        let shared = Shared::new(2, &[group(0, &[1])]);
        let theirs = Arc::clone(&shared);
        let mut permit = None;
        let takes = || {
            permit = shared.permit(SERVER);
            shared.idle_elsewhere(SERVER, ONE).is_some()
        };
        meet(takes, move || {
            theirs.idle_changed(SERVER, OTHER, 1);
            // It gives its own away when there is none left to open.
            !theirs.has_permit(SERVER)
        });
    });
}

/// The scheme itself, with an order of steps and of memory.
fn scheme(store: Ordering, load: Ordering, publishes_first: bool) {
    Explore::default().run(move || {
        let wanted = Arc::new(AtomicU64::new(0));
        let free = Arc::new(AtomicU64::new(0));
        let (their_wanted, their_free) = (Arc::clone(&wanted), Arc::clone(&free));
        let wants = || {
            if publishes_first {
                wanted.store(1, store);
                free.load(load) == 1
            } else {
                let found = free.load(load) == 1;
                wanted.store(1, store);
                found
            }
        };
        meet(wants, move || {
            their_free.store(1, store);
            their_wanted.load(load) == 1
        });
    });
}

#[test]
fn publishing_first_is_right() {
    scheme(SeqCst, SeqCst, true);
}

#[test]
#[should_panic(expected = "each missed the other")]
fn looking_first_is_wrong() {
    scheme(SeqCst, SeqCst, false);
}

#[test]
#[should_panic(expected = "each missed the other")]
fn releasing_and_acquiring_is_not_enough() {
    scheme(Release, Acquire, true);
}

/// Reads a want while its worker changes it, as one word or as two.
fn read_while_written(one_word: bool) {
    Explore::default().run(move || {
        let shared = Shared::new(2, &[group(0, &[1])]);
        let parts = Arc::new([AtomicU64::new(1), AtomicU64::new(0)]);
        shared.publish(GROUP, ONE, Some(want(1, false)));
        let (theirs, their_parts) = (Arc::clone(&shared), Arc::clone(&parts));
        let writer = thread::spawn(move || {
            theirs.publish(GROUP, ONE, Some(want(2, true)));
            their_parts[0].store(2, Relaxed);
            their_parts[1].store(1, Relaxed);
        });
        let seen = if one_word {
            shared.wants(GROUP, OTHER).next().map(|(_, want)| want)
        } else {
            Some(want(parts[0].load(Relaxed), parts[1].load(Relaxed) == 1))
        };
        let whole = [want(1, false), want(2, true)];
        assert!(seen.is_some_and(|seen| whole.contains(&seen)), "half of each: {seen:?}");
        writer.join().unwrap();
    });
}

#[test]
fn a_want_is_never_half_read() {
    read_while_written(true);
}

#[test]
#[should_panic(expected = "half of each")]
fn in_two_words_it_would_be() {
    read_while_written(false);
}

/// One worker finds a server down and tells another, which finds it well: that stands.
fn judge(told: Ordering, heard: Ordering) {
    Explore::default().run(move || {
        let shared = Shared::new(2, &[group(0, &[1])]);
        let letter = Arc::new(AtomicU64::new(0));
        let (theirs, their_letter) = (Arc::clone(&shared), Arc::clone(&letter));
        let first = thread::spawn(move || {
            theirs.set_down(SERVER, true);
            their_letter.store(1, told);
        });
        let later = letter.load(heard) == 1;
        if later {
            shared.set_down(SERVER, false);
        }
        first.join().unwrap();
        assert_eq!(shared.is_down(SERVER), !later, "the last word does not stand");
    });
}

#[test]
fn the_last_word_about_a_server_stands() {
    judge(Release, Acquire);
    judge(AcqRel, AcqRel);
}
