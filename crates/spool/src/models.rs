//! Extents claimed and given back by several workers, in every order. loom: claiming takes few
//! steps, and the counts are relaxed, so the orders of memory matter.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::limits::SPOOL_EXTENT;
use base::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use base::sync::explore::Explore;
use base::sync::{ArrayQueue, thread};

use crate::shared::{Full, Limits, Shared};

const EXTENT: u64 = SPOOL_EXTENT as u64;

fn shared(size: u64, per_address: u64) -> Arc<Shared> {
    let limits = Limits {
        size: size * EXTENT,
        per_exchange: size * EXTENT,
        per_address: per_address * EXTENT,
    };
    Shared::new(limits, 7)
}

/// Everything can be claimed again, each extent once, and not one more.
fn is_whole(shared: &Shared) {
    assert_eq!(shared.held(), 0, "all that was held went back");
    let place = shared.place(None);
    let mut all: Vec<u32> = (0..shared.size()).map(|_| shared.claim(place).unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..shared.size()).collect::<Vec<_>>(), "each extent once");
    assert!(shared.claim(place).is_err());
}

/// Two workers claim from a spool of two extents, of which one was used before; both give back
/// what they got, and one claims once more.
#[test]
fn an_extent_has_one_owner() {
    Explore { preemptions: Some(1) }.run(|| {
        let shared = shared(2, 2);
        let place = shared.place(None);
        let used = shared.claim(place).unwrap();
        shared.give_back(used, place);
        let owned = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let work = {
            let shared = Arc::clone(&shared);
            move |times| {
                for _ in 0..times {
                    let Ok(extent) = shared.claim(place) else { continue };
                    let owners = owned[extent as usize].fetch_add(1, SeqCst);
                    assert_eq!(owners, 0, "two own one extent");
                    assert!(shared.held() <= shared.size());
                    owned[extent as usize].fetch_sub(1, SeqCst);
                    shared.give_back(extent, place);
                }
            }
        };
        let theirs = work.clone();
        let other = thread::spawn(move || theirs(1));
        work(2);
        other.join().unwrap();
        is_whole(&shared);
    });
}

/// Workers that claim for one address.
fn of_one_address(claim: impl Fn(&Shared, &AtomicU32) -> bool + Clone + Send + Sync + 'static) {
    Explore { preemptions: Some(3) }.run(move || {
        let shared = shared(4, 1);
        let (beside, held) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let work = {
            let (shared, claim) = (Arc::clone(&shared), claim.clone());
            move || {
                if claim(&shared, &beside) {
                    let others = held.fetch_add(1, SeqCst);
                    assert_eq!(others, 0, "an address has more than its bound");
                }
            }
        };
        let other = thread::spawn(work.clone());
        work();
        other.join().unwrap();
    });
}

#[test]
fn an_address_never_has_more_than_its_bound() {
    of_one_address(|shared, _| match shared.claim(shared.place(None)) {
        Ok(_) => true,
        Err(full) => {
            assert_eq!(full, Full::Address);
            false
        }
    });
}

#[test]
#[should_panic(expected = "more than its bound")]
fn looking_first_and_counting_then_would_give_it_more() {
    of_one_address(|_, count| {
        let before = count.load(Relaxed);
        if before < 1 {
            count.store(before + 1, Relaxed);
        }
        before < 1
    });
}

/// A fresh extent, taken by looking and then writing.
#[test]
#[should_panic(expected = "two own one extent")]
fn a_fresh_extent_taken_in_two_steps_would_have_two_owners() {
    Explore::default().run(|| {
        let fresh = Arc::new(AtomicU32::new(0));
        let take = move || {
            let extent = fresh.load(SeqCst);
            fresh.store(extent + 1, SeqCst);
            extent
        };
        let other = thread::spawn(take.clone());
        let mine = take();
        assert_ne!(mine, other.join().unwrap(), "two own one extent");
    });
}

/// What the disk is told of one extent comes in the order of its owners, which is why an extent
/// may be given back while the disk still works on it.
fn errands(given_first: bool) {
    Explore { preemptions: Some(3) }.run(move || {
        let shared = shared(1, 1);
        let place = shared.place(None);
        let disk = Arc::new(ArrayQueue::new(4));
        let extent = shared.claim(place).unwrap();
        let (theirs, their_disk) = (Arc::clone(&shared), Arc::clone(&disk));
        let first = thread::spawn(move || {
            if given_first {
                assert!(their_disk.push("first").is_ok());
                theirs.give_back(extent, place);
            } else {
                theirs.give_back(extent, place);
                assert!(their_disk.push("first").is_ok());
            }
        });
        let second = shared.claim(place).is_ok();
        if second {
            assert!(disk.push("second").is_ok());
        }
        first.join().unwrap();
        let all: Vec<_> = core::iter::from_fn(|| disk.pop()).collect();
        let right: &[_] = if second { &["first", "second"] } else { &["first"] };
        assert_eq!(all, right, "the disk hears of a later owner first");
    });
}

#[test]
fn the_disk_hears_of_an_extents_owners_in_turn() {
    errands(true);
}

#[test]
#[should_panic(expected = "a later owner first")]
fn an_extent_given_back_before_its_errand_would_be_overwritten() {
    errands(false);
}
