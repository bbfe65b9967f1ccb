//! Workers that admit and lose clients as they come: while places are free nobody sleeps who
//! could fill them, and never are there more than the bound and one batch of each other worker.

use std::sync::Arc;

use base::id::WorkerId;
use base::sync::ArrayQueue;
use base::sync::explore::Explore;
use base::sync::thread::{self, Thread};
use driver::Wake;

use crate::office::{Letter, Office};

/// Wakes a thread that parks.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

/// Places.
const MAX: u32 = 2;

struct Worker {
    office: Arc<Office<()>>,
    me: WorkerId,
    here: u32,
    full: bool,
    /// A mistake: it does not look again after it said that it waits.
    careless: bool,
}

impl Worker {
    fn resume(&mut self) {
        if self.full && self.office.crowd.places() > 0 {
            self.full = false;
            self.office.crowd.set_waiting(self.me, false);
        }
    }

    fn pause(&mut self) {
        if self.full || self.office.crowd.places() > 0 {
            return;
        }
        self.full = true;
        self.office.crowd.set_waiting(self.me, true);
        for other in self.office.crowd.accepting(self.me) {
            let _ = self.office.post(other, Letter::Places);
        }
        if !self.careless {
            self.resume();
        }
    }

    fn leave(&mut self) {
        self.here -= 1;
        self.office.crowd.set(self.me, self.here);
        self.resume();
        for other in self.office.crowd.waiting(self.me) {
            let _ = self.office.post(other, Letter::Places);
        }
    }

    /// Until nobody comes any more. Each has a backlog of its own, which nobody else empties.
    fn run(&mut self, mut coming: u32, workers: u32) {
        loop {
            while self.office.collect(self.me).is_some() {}
            self.resume();
            self.pause();
            if !self.full && coming > 0 {
                coming -= 1;
                self.here += 1;
                self.office.crowd.set(self.me, self.here);
                let all = MAX + workers - 1;
                assert!(self.here <= all, "{} of {MAX} are here", self.here);
            } else if self.here > 0 {
                self.leave();
            } else if coming == 0 {
                return;
            } else {
                thread::park();
            }
        }
    }
}

fn crowd(workers: u32, clients: u32, careless: bool) {
    // Threads are known before the office, as wakers are before the workers; each is handed it.
    let threads: Vec<_> = (0..workers)
        .map(|me| {
            let hands: Arc<ArrayQueue<Arc<Office<()>>>> = Arc::new(ArrayQueue::new(1));
            let theirs = Arc::clone(&hands);
            let thread = thread::spawn(move || {
                let office = loop {
                    match theirs.pop() {
                        Some(office) => break office,
                        None => thread::park(),
                    }
                };
                let me = WorkerId(me);
                Worker { office, me, here: 0, full: false, careless }.run(clients, workers);
            });
            (thread, hands)
        })
        .collect();
    let wakers = threads.iter().map(|(thread, _)| {
        let waker: Arc<dyn Wake> = Arc::new(Unpark(thread.thread().clone()));
        waker
    });
    let office = Office::new(wakers.collect(), 4, MAX, 0);
    for (thread, hands) in &threads {
        assert!(hands.push(Arc::clone(&office)).is_ok());
        thread.thread().unpark();
    }
    for (thread, _) in threads {
        thread.join().unwrap();
    }
    assert_eq!(office.crowd.places(), MAX);
}

#[test]
fn nobody_sleeps_while_a_place_is_free() {
    for workers in [2, 3, 4] {
        Explore { runs: 1000 }.run(move || crowd(workers, 4, false));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_does_not_look_again_sleeps_for_ever() {
    // The first that sleeps ends it: after some 10,000 orders, as a rule.
    Explore { runs: 500_000 }.run(|| crowd(3, 2, true));
}
