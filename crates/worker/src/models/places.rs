//! A place of `max_clients` that becomes free meets whoever waits for one. The steps are those
//! of `admit.rs`: who found no place says so, then looks again; who frees one counts, then looks.

use std::sync::Arc;

use base::id::WorkerId;
use base::sync::atomic::{
    AtomicU32,
    Ordering::{self, Acquire, Release, SeqCst},
};
use base::sync::explore::Explore;
use base::sync::thread;

use crate::crowd::Crowd;

/// Whether it goes on accepting.
fn waits(crowd: &Crowd, worker: WorkerId) -> bool {
    if crowd.places() > 0 {
        return false;
    }
    crowd.set_waiting(worker, true);
    let full = crowd.places() == 0;
    if !full {
        crowd.set_waiting(worker, false);
    }
    full
}

/// Workers that wait, and one that loses its only client: they go on, or are told.
fn meet(waiting: u32) {
    let bound = if waiting == 1 { None } else { Some(2) };
    Explore { preemptions: bound }.run(move || {
        let crowd = Arc::new(Crowd::new(1 + waiting as usize, 1, 0));
        crowd.set(WorkerId(0), 1);
        let others: Vec<_> = (1..=waiting)
            .map(|worker| {
                let crowd = Arc::clone(&crowd);
                thread::spawn(move || waits(&crowd, WorkerId(worker)))
            })
            .collect();
        crowd.set(WorkerId(0), 0);
        let told: Vec<WorkerId> = crowd.waiting(WorkerId(0)).collect();
        for (worker, other) in (1..).zip(others) {
            let sleeps = other.join().unwrap();
            assert!(!sleeps || told.contains(&WorkerId(worker)), "a place is free, and one sleeps");
        }
    });
}

#[test]
fn a_place_that_becomes_free_meets_who_waits() {
    meet(1);
}

#[test]
fn a_place_that_becomes_free_meets_all_who_wait() {
    meet(2);
}

/// A pinned connection that ends makes room as a client does.
#[test]
fn a_pinned_connection_that_ends_meets_who_waits() {
    Explore::default().run(|| {
        let crowd = Arc::new(Crowd::new(2, 1, 0));
        crowd.set_pinned(WorkerId(0), 1);
        let theirs = Arc::clone(&crowd);
        let other = thread::spawn(move || waits(&theirs, WorkerId(1)));
        crowd.set_pinned(WorkerId(0), 0);
        let told = crowd.waiting(WorkerId(0)).next().is_some();
        assert!(!other.join().unwrap() || told, "a place is free, and one sleeps");
    });
}

/// The scheme with another order of steps or of memory.
fn scheme(store: Ordering, load: Ordering, says_first: bool) {
    Explore::default().run(move || {
        let (waits, here) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(1)));
        let (their_waits, their_here) = (Arc::clone(&waits), Arc::clone(&here));
        let other = thread::spawn(move || {
            if says_first {
                their_waits.store(1, store);
                their_here.load(load) == 1
            } else {
                let full = their_here.load(load) == 1;
                their_waits.store(1, store);
                full
            }
        });
        here.store(0, store);
        let told = waits.load(load) == 1;
        assert!(!other.join().unwrap() || told, "a place is free, and one sleeps");
    });
}

#[test]
fn saying_first_is_right() {
    scheme(SeqCst, SeqCst, true);
}

#[test]
#[should_panic(expected = "and one sleeps")]
fn looking_first_is_wrong() {
    scheme(SeqCst, SeqCst, false);
}

#[test]
#[should_panic(expected = "and one sleeps")]
fn releasing_and_acquiring_is_not_enough() {
    scheme(Release, Acquire, true);
}
