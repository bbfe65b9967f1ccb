//! What a worker's driver shares with others, in every order of their threads: the call that
//! wakes it, and the disk. loom: the calls rest on orders of memory, the disk on a thread that
//! parks.

use std::sync::Arc;

use base::limits::SPOOL_EXTENT;
use base::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Relaxed, SeqCst},
};
use base::sync::explore::Explore;
use base::sync::{ArrayQueue, thread};
use spool::Piece;

use super::thread::{Errand, Inbox};
use super::{Desk, Disk, SpoolFile};
use crate::sockets::{Call, Waker};
use crate::{Completion, SpoolDone, Ticket};

/// Two threads leave a letter and call; a third hears and reads. `answers_first`: it answers the
/// call before it reads, not after.
fn call(answers_first: bool) {
    Explore { preemptions: Some(2) }.run(move || {
        let call = Arc::new(Call::default());
        let rung = Arc::new(AtomicU32::new(0));
        let letters = Arc::new(ArrayQueue::new(2));
        let senders = [1, 2].map(|letter| {
            let (call, rung) = (Arc::clone(&call), Arc::clone(&rung));
            let letters = Arc::clone(&letters);
            thread::spawn(move || {
                assert!(letters.push(letter).is_ok());
                if call.make() {
                    rung.fetch_add(1, AcqRel);
                }
            })
        });
        let mut read = 0;
        let mut hear = || {
            if rung.swap(0, AcqRel) == 0 {
                return false;
            }
            if answers_first {
                call.answer();
            }
            read += core::iter::from_fn(|| letters.pop()).sum::<u32>();
            if !answers_first {
                call.answer();
            }
            true
        };
        hear();
        for sender in senders {
            sender.join().unwrap();
        }
        while hear() {}
        assert_eq!(read, 3, "a letter lies there, and nobody is called");
    });
}

#[test]
fn no_call_is_lost() {
    call(true);
}

#[test]
#[should_panic(expected = "nobody is called")]
fn answering_after_reading_would_lose_one() {
    call(false);
}

/// What is written without an order before a call is seen by who answers it.
fn seen_behind_a_call(make: impl Fn(&Call, &AtomicU32) -> bool + Copy + Send + Sync + 'static) {
    Explore::default().run(move || {
        let call = Arc::new(Call::default());
        let (beside, rung) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let weak = Arc::new(AtomicU32::new(0));
        let (theirs, their_beside) = (Arc::clone(&call), Arc::clone(&beside));
        let (their_rung, their_weak) = (Arc::clone(&rung), Arc::clone(&weak));
        let sender = thread::spawn(move || {
            their_beside.store(1, Relaxed);
            if make(&theirs, &their_weak) {
                // As the kernel does it: of what it orders nothing is said here.
                their_rung.store(1, Relaxed);
            }
        });
        if rung.load(Relaxed) == 1 {
            call.answer();
            weak.swap(0, Relaxed);
            assert_eq!(beside.load(Relaxed), 1, "woken, and blind");
        }
        sender.join().unwrap();
    });
}

#[test]
fn who_answers_sees_what_was_done_before_the_call() {
    seen_behind_a_call(|call, _| call.make());
}

#[test]
#[should_panic(expected = "woken, and blind")]
fn a_relaxed_call_would_leave_it_blind() {
    seen_behind_a_call(|_, call| call.swap(1, Relaxed) == 0);
}

/// A file of two extents, opened once: what is told of it does not depend on the order.
fn file() -> SpoolFile {
    let dir = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    SpoolFile::create(&dir, 2 * u64::from(SPOOL_EXTENT)).unwrap()
}

/// Reads a piece through a desk, from its errand to its completion.
fn read(desk: &mut Desk, owner: u32) {
    let ticket = Ticket { owner, generation: 1 };
    assert!(desk.read(Piece { at: 0, len: 8 }, ticket));
    let done = loop {
        match desk.next() {
            Some(done) => break done,
            None => thread::yield_now(),
        }
    };
    let Completion::Spooled { ticket: of, done: SpoolDone::Read(read) } = done else {
        panic!("{done:?}")
    };
    assert_eq!(of, ticket);
    desk.forget(read);
}

/// A worker has a piece read and goes, and the disk with it: its thread does what it was asked,
/// and ends. One that slept for ever would be a deadlock.
#[test]
fn the_disk_does_what_waits_and_ends() {
    Explore { preemptions: Some(1) }.run(|| {
        let disk = Disk::start(file(), 1).unwrap();
        let mut desk = Desk::new(&disk, Arc::new(Waker::new().unwrap()));
        read(&mut desk, 1);
        drop(disk);
    });
}

#[test]
fn the_disk_ends_though_an_errand_waits() {
    Explore { preemptions: Some(2) }.run(|| {
        let disk = Disk::start(file(), 1).unwrap();
        let mut desk = Desk::new(&disk, Arc::new(Waker::new().unwrap()));
        assert!(desk.read(Piece { at: 0, len: 8 }, Ticket { owner: 1, generation: 1 }));
        drop(disk);
    });
}

/// The thread's loop with its end told after it is woken.
#[test]
#[should_panic(expected = "deadlock")]
fn an_end_that_is_told_after_the_waking_would_be_missed() {
    Explore::default().run(|| {
        let (ends, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (their_ends, their_done) = (Arc::clone(&ends), Arc::clone(&done));
        let disk = thread::spawn(move || {
            loop {
                their_done.fetch_add(1, SeqCst);
                if their_ends.load(SeqCst) == 1 {
                    return;
                }
                thread::park();
            }
        });
        disk.thread().unpark();
        ends.store(1, SeqCst);
        disk.join().unwrap();
    });
}

/// A desk that goes before its errand is done leaves nothing behind that keeps its inbox.
#[test]
fn an_inbox_goes_with_its_last_errand() {
    Explore { preemptions: Some(2) }.run(|| {
        let waker = Arc::new(Waker::new().unwrap());
        let inbox = Arc::new(Inbox { done: ArrayQueue::new(2), waker: Arc::clone(&waker) });
        let piece = Piece { at: 0, len: 0 };
        let errand = Errand {
            write: true,
            piece,
            ticket: Ticket { owner: 1, generation: 1 },
            place: 0,
            memory: Box::default(),
            inbox: Some(Arc::clone(&inbox)),
            failed: false,
        };
        let disk = thread::spawn(move || {
            let mut errand = errand;
            let inbox = errand.inbox.take().unwrap();
            assert!(inbox.done.push(errand).is_ok());
        });
        let _ = inbox.done.pop();
        drop(inbox);
        disk.join().unwrap();
        assert_eq!(Arc::strong_count(&waker), 1, "the inbox is gone");
    });
}
