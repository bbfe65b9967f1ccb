//! Whole lives of real buses, each on a thread of its own: requests arrive, connections are
//! opened, leased, handed over and closed, letters are late. A worker that has nothing to do
//! sleeps until a letter comes or its bus wants to be asked again; if none would ever come,
//! everybody sleeps, which is a failure. Time stands still while anybody works.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use base::id::{ServerId, WorkerId};
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use base::sync::explore::Explore;
use base::sync::{ArrayQueue, thread};
use base::time::Instant;

use crate::bus::Bus;
use crate::decide::Decision;
use crate::group::GroupConfig;
use crate::shared::Shared;
use crate::testing::{Duties, Letter, group};

/// Requests that each worker has served before it is content, and how many it has at a time.
const SERVED: u32 = 4;
const AT_ONCE: u32 = 2;
const BEGIN: u64 = 1_000_000;

/// What the threads share beside the bus.
struct World {
    mailboxes: Vec<ArrayQueue<Letter>>,
    /// Rings for each worker that it has not heard.
    rings: Vec<AtomicU32>,
    clock: AtomicU64,
    /// Workers awake, and rings that nobody heard.
    busy: AtomicU32,
    /// For what each waits.
    wakes: Vec<AtomicU64>,
    content: AtomicU32,
    /// Connections that are open.
    open: AtomicU32,
    bound: u32,
    /// A mistake: nudges are not delivered.
    silent: bool,
}

impl World {
    fn post(&self, to: WorkerId, letter: Letter) {
        if self.silent && matches!(letter, Letter::Nudge(_)) {
            return;
        }
        assert!(self.mailboxes[to.index()].push(letter).is_ok(), "there is room");
        self.ring(to);
    }

    fn now(&self) -> Instant {
        Instant(self.clock.load(SeqCst))
    }

    /// When all sleep and no ring is unheard, it is the moment for which the first of them waits.
    fn let_time_pass(&self) {
        let now = self.clock.load(SeqCst);
        if self.busy.load(SeqCst) > 0 {
            return;
        }
        let first = self.wakes.iter().map(|wake| wake.load(SeqCst)).min().unwrap();
        assert!(first < u64::MAX, "everybody waits for ever");
        // Nothing happens before the clock goes on, so that only one moves it.
        let _ = self.clock.compare_exchange(now, first.max(now), SeqCst, SeqCst);
    }

    fn ring(&self, to: WorkerId) {
        self.busy.fetch_add(1, SeqCst);
        self.rings[to.index()].fetch_add(1, SeqCst);
    }
}

struct Worker {
    bus: Bus,
    me: WorkerId,
    world: Arc<World>,
}

impl Worker {
    fn run(&mut self, persistent: bool) {
        let workers = u32::try_from(self.world.mailboxes.len()).unwrap();
        let mut duties = Duties::begin(&mut self.bus, AT_ONCE, SERVED, self.world.now());
        loop {
            let now = self.world.now();
            while let Some(decision) = self.bus.decide(now, true) {
                self.obey(&mut duties, decision);
            }
            if self.finish_what_is_under_way(&mut duties, persistent) {
                self.read();
            } else if self.world.content.load(SeqCst) == workers {
                self.world.wakes[self.me.index()].store(u64::MAX, SeqCst);
                self.world.busy.fetch_sub(1, SeqCst);
                return;
            } else {
                self.sleep(now);
            }
        }
    }

    fn obey(&mut self, duties: &mut Duties, decision: Decision) {
        let Self { bus, world, .. } = self;
        if matches!(decision, Decision::Open { .. }) {
            let others = world.open.fetch_add(1, SeqCst);
            assert!(others < world.bound, "more connections than the bound");
        }
        duties.obey(bus, decision, |to, letter| world.post(to, letter));
    }

    /// Connects, leases and closings take one round. False if there were none.
    fn finish_what_is_under_way(&mut self, duties: &mut Duties, persistent: bool) -> bool {
        let closing = core::mem::take(&mut duties.closing);
        let mut any = !closing.is_empty();
        for connection in closing {
            self.world.open.fetch_sub(1, SeqCst);
            self.bus.closed(connection);
        }
        let was_content = duties.is_content();
        any |= duties.finish(&mut self.bus, self.world.now(), || persistent);
        if duties.is_content() && !was_content {
            self.world.content.fetch_add(1, SeqCst);
            for other in 0..u32::try_from(self.world.mailboxes.len()).unwrap() {
                self.world.ring(WorkerId(other));
            }
        }
        any
    }

    fn read(&mut self) {
        while let Some(letter) = self.world.mailboxes[self.me.index()].pop() {
            letter.reach(&mut self.bus, self.world.now());
        }
    }

    /// Until a letter comes or its bus wants to be asked again.
    fn sleep(&mut self, now: Instant) {
        let world = Arc::clone(&self.world);
        let wake = self.bus.wake_at(now).map_or(u64::MAX, |wake| wake.0);
        world.wakes[self.me.index()].store(wake, SeqCst);
        world.busy.fetch_sub(1, SeqCst);
        while world.rings[self.me.index()].load(SeqCst) == 0 && world.now().0 < wake {
            world.let_time_pass();
            thread::yield_now();
        }
        world.busy.fetch_add(1, SeqCst);
        let heard = world.rings[self.me.index()].swap(0, SeqCst);
        world.busy.fetch_sub(heard, SeqCst);
        self.read();
    }
}

fn crew(workers: u32, connections: &'static [u32], persistent: bool, silent: bool) {
    let configs = [GroupConfig { persistent, ..group(0, connections) }];
    let shared = Shared::new(workers, &configs);
    let world = Arc::new(World {
        mailboxes: (0..workers).map(|_| ArrayQueue::new(64)).collect(),
        rings: (0..workers).map(|_| AtomicU32::new(0)).collect(),
        clock: AtomicU64::new(BEGIN),
        busy: AtomicU32::new(workers),
        wakes: (0..workers).map(|_| AtomicU64::new(u64::MAX)).collect(),
        content: AtomicU32::new(0),
        open: AtomicU32::new(0),
        bound: connections.iter().sum(),
        silent,
    });
    let threads: Vec<_> = (0..workers)
        .map(|me| {
            let (shared, world) = (Arc::clone(&shared), Arc::clone(&world));
            let configs = configs.clone();
            thread::spawn(move || {
                let me = WorkerId(me);
                let mut bus = Bus::new(shared, me, &configs, AT_ONCE);
                bus.look_again = Duration::MAX;
                Worker { bus, me, world }.run(persistent);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(world.now(), Instant(BEGIN), "somebody was told too late");
    // The letters that nobody read hold permits.
    drop(world);
    for server in 0..u32::try_from(connections.len()).unwrap() {
        assert_eq!(shared.taken(ServerId(server)), 0);
    }
}

#[test]
fn no_wake_up_is_lost() {
    Explore { runs: 100 }.run(|| crew(2, &[1], true, false));
    Explore { runs: 100 }.run(|| crew(3, &[2], true, false));
    Explore { runs: 100 }.run(|| crew(3, &[1, 1], true, false));
    Explore { runs: 100 }.run(|| crew(4, &[1], true, false));
}

#[test]
fn no_permit_is_lost() {
    Explore { runs: 100 }.run(|| crew(2, &[1], false, false));
    Explore { runs: 100 }.run(|| crew(4, &[2], false, false));
}

#[test]
#[should_panic(expected = "everybody waits for ever")]
fn without_nudges_everybody_waits_for_ever() {
    Explore { runs: 1000 }.run(|| crew(2, &[1], true, true));
}
