//! The same on real threads: what one worker changes another reads at any moment.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use core::time::Duration;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use base::id::{ServerId, WorkerId};
use base::time::Instant;

use super::{Dice, MICRO};
use crate::bus::Bus;
use crate::group::GroupConfig;
use crate::shared::Shared;
use crate::testing::{APP, Duties, Letter, group};

/// Requests that each worker has served before it is content, and how many it has at a time.
const SERVED: u32 = 3_000;
const AT_ONCE: u32 = 3;

struct Worker {
    bus: Bus,
    number: u32,
    letters: Receiver<Letter>,
    others: Vec<Sender<Letter>>,
    content: Arc<AtomicU32>,
    dice: Dice,
    clock: std::time::Instant,
}

impl Worker {
    fn new(
        shared: &Arc<Shared>,
        number: u32,
        configs: &[GroupConfig],
        (letters, others): (Receiver<Letter>, Vec<Sender<Letter>>),
        content: &Arc<AtomicU32>,
        clock: std::time::Instant,
    ) -> Self {
        let mut bus = Bus::new(Arc::clone(shared), WorkerId(number), configs, AT_ONCE);
        bus.look_again = Duration::MAX;
        Self {
            bus,
            number,
            letters,
            others,
            content: Arc::clone(content),
            dice: Dice::new(u64::from(number)),
            clock,
        }
    }

    fn now(&self) -> Instant {
        Instant(0) + self.clock.elapsed()
    }

    fn run(&mut self) {
        let workers = u32::try_from(self.others.len()).unwrap();
        let now = self.now();
        let mut duties = Duties::begin(&mut self.bus, AT_ONCE, SERVED, now);
        loop {
            let now = self.now();
            while let Some(decision) = self.bus.decide(now, true) {
                duties.obey(&mut self.bus, decision, |to, letter| {
                    let _ = self.others[to.index()].send(letter);
                });
            }
            if self.finish_what_is_under_way(&mut duties) {
                self.read();
                continue;
            }
            if self.content.load(SeqCst) == workers {
                return;
            }
            self.sleep(now);
        }
    }

    /// Connects, leases and closings take one round. False if there were none.
    fn finish_what_is_under_way(&mut self, duties: &mut Duties) -> bool {
        let was_content = duties.is_content();
        let now = self.now();
        let any = duties.finish(&mut self.bus, now, || self.dice.percent(90));
        if duties.is_content() && !was_content {
            self.content.fetch_add(1, SeqCst);
            for other in &self.others {
                let _ = other.send(Letter::Nudge(APP));
            }
        }
        any
    }

    fn read(&mut self) {
        while let Ok(letter) = self.letters.try_recv() {
            let now = self.now();
            letter.reach(&mut self.bus, now);
        }
    }

    /// Until a letter comes or its bus wants to be asked again.
    fn sleep(&mut self, now: Instant) {
        let wake = self.bus.wake_at(now).filter(|wake| wake.0 < u64::MAX);
        let length = wake.map_or(Duration::from_secs(10), |wake| wake.since(now));
        match self.letters.recv_timeout(length + Duration::from_nanos(MICRO)) {
            Ok(letter) => {
                let now = self.now();
                letter.reach(&mut self.bus, now);
            }
            Err(_) => assert!(wake.is_some(), "worker {} waits for ever", self.number),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "real threads live in real time")]
fn crew(workers: u32, connections: &[u32], persistent: bool) {
    let configs = [GroupConfig { persistent, ..group(0, connections) }];
    let shared = Shared::new(workers, &configs);
    let content = Arc::new(AtomicU32::new(0));
    let clock = std::time::Instant::now();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
    thread::scope(|scope| {
        for (number, letters) in (0..).zip(receivers) {
            let (shared, content, configs) = (&shared, &content, &configs);
            let others = senders.clone();
            scope.spawn(move || {
                Worker::new(shared, number, configs, (letters, others), content, clock).run();
            });
        }
    });
    // The letters that nobody read hold permits.
    drop(senders);
    for server in 0..u32::try_from(connections.len()).unwrap() {
        assert_eq!(shared.taken(ServerId(server)), 0);
    }
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    for persistent in [true, false] {
        crew(4, &[1], persistent);
        crew(4, &[2], persistent);
        crew(3, &[1, 1], persistent);
        crew(2, &[1], persistent);
    }
}
