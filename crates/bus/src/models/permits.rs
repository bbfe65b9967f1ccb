//! Never more connections than the bound, leased or pinned, whoever takes and gives back when.

use alloc::sync::Arc;

use base::id::ServerId;
use base::sync::atomic::{AtomicU32, Ordering::SeqCst};
use base::sync::explore::Explore;
use base::sync::thread;

use crate::group::GroupConfig;
use crate::shared::{Permit, Shared};
use crate::testing::group;

const SERVER: ServerId = ServerId(0);

fn shared(connections: u32, pinned: u32) -> Arc<Shared> {
    let mut config = group(0, &[connections]);
    config.servers[0].pinned = pinned;
    Shared::new(2, &[GroupConfig { ..config }])
}

/// Threads that each open a connection if they may, and close it. `open` counts those that are.
fn take_and_give_back<P: 'static>(
    threads: usize,
    bound: u32,
    take: impl Fn() -> Option<P> + Clone + Send + 'static,
) {
    let open = Arc::new(AtomicU32::new(0));
    let once = move || {
        if let Some(permit) = take() {
            let others = open.fetch_add(1, SeqCst);
            assert!(others < bound, "more connections than the bound");
            open.fetch_sub(1, SeqCst);
            drop(permit);
        }
    };
    let rest: alloc::vec::Vec<_> = (1..threads).map(|_| thread::spawn(once.clone())).collect();
    once();
    for thread in rest {
        thread.join().unwrap();
    }
}

#[test]
fn permits_never_exceed_the_bound() {
    for bound in [1, 2] {
        Explore { preemptions: Some(2) }.run(move || {
            let shared = shared(bound, 0);
            let theirs = Arc::clone(&shared);
            take_and_give_back(3, bound, move || theirs.permit(SERVER));
            assert_eq!(shared.taken(SERVER), 0, "every permit went back");
        });
    }
}

#[test]
fn pinned_permits_have_a_bound_of_their_own() {
    Explore { preemptions: Some(2) }.run(|| {
        let shared = shared(1, 1);
        let theirs = Arc::clone(&shared);
        // As a worker pins: the permit of the lease goes back when there is one for the pinned.
        take_and_give_back(3, 1, move || {
            let lease: Permit = theirs.permit(SERVER)?;
            let pinned = theirs.pinned_permit(SERVER)?;
            drop(lease);
            Some(pinned)
        });
        assert_eq!((shared.taken(SERVER), shared.pinned(SERVER)), (0, 0));
    });
}

#[test]
#[should_panic(expected = "more connections than the bound")]
fn looking_first_and_taking_then_would_exceed_it() {
    Explore::default().run(|| {
        let taken = Arc::new(AtomicU32::new(0));
        take_and_give_back(2, 1, move || {
            let before = taken.load(SeqCst);
            (before < 1).then(|| taken.store(before + 1, SeqCst))
        });
    });
}

/// A permit that is given back before its connection is closed, as a careless `drop` would.
#[test]
#[should_panic(expected = "more connections than the bound")]
fn a_permit_that_goes_back_early_would_exceed_it() {
    Explore::default().run(|| {
        let shared = shared(1, 0);
        take_and_give_back(2, 1, move || shared.permit(SERVER).map(drop));
    });
}
