//! Counters between the worker that writes them and the master that reads, and the queue that
//! everything else rests on. loom: there are few steps, and the orders of memory matter.

use alloc::sync::Arc;

use crate::counter::Counter;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::explore::Explore;
use crate::sync::{ArrayQueue, thread};

#[test]
fn a_counter_that_grows_is_never_read_smaller() {
    Explore::default().run(|| {
        let counter = Arc::new(Counter::new());
        let owner = Arc::clone(&counter);
        let owner = thread::spawn(move || {
            owner.add(2);
            owner.increment();
        });
        let (first, second) = (counter.get(), counter.get());
        assert!(first <= second && [0, 2, 3].contains(&second), "{first}, then {second}");
        owner.join().unwrap();
        assert_eq!(counter.get(), 3);
    });
}

/// The law that makes plain loads and stores enough, and that the model sees it broken.
#[test]
#[should_panic(expected = "one was lost")]
fn a_counter_with_two_owners_loses() {
    Explore::default().run(|| {
        let counter = Arc::new(Counter::new());
        let other = Arc::clone(&counter);
        let other = thread::spawn(move || other.increment());
        counter.increment();
        other.join().unwrap();
        assert_eq!(counter.get(), 2, "one was lost");
    });
}

/// Two push, one takes; beside what they push lies something that is written before.
fn pass(written_before: bool) {
    Explore { preemptions: Some(2) }.run(move || {
        let queue = Arc::new(ArrayQueue::new(2));
        let beside = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let senders = [0, 1].map(|number: usize| {
            let (queue, beside) = (Arc::clone(&queue), Arc::clone(&beside));
            thread::spawn(move || {
                if written_before {
                    beside[number].store(1, Relaxed);
                }
                assert!(queue.push(number).is_ok(), "there is room for both");
                if !written_before {
                    beside[number].store(1, Relaxed);
                }
            })
        });
        let take = || {
            let number = queue.pop()?;
            assert_eq!(beside[number].load(Relaxed), 1, "not what was written before");
            Some(number)
        };
        let early = take();
        for sender in senders {
            sender.join().unwrap();
        }
        let mut all: alloc::vec::Vec<usize> =
            early.into_iter().chain(core::iter::from_fn(take)).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
    });
}

#[test]
fn what_is_pushed_comes_out_once_with_what_was_written_before() {
    pass(true);
}

#[test]
#[should_panic(expected = "not what was written before")]
fn what_is_written_after_a_push_may_be_missed() {
    pass(false);
}
