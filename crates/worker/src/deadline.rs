//! Deadlines: every class has one length, so each is a queue and expiry is O(1).

use std::time::Duration;

use base::fifo::{Fifo, Linked, Links};
use base::time::{Instant, Tick};

/// A record's place in one class of deadlines. 12 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    pub(crate) links: Links,
    due: Tick,
}

/// "In no class."
const NO_CLASS: u8 = u8::MAX;

/// Which class a record waits in: a byte of its own, so that it fits a record's last gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassMark(u8);

impl ClassMark {
    pub(crate) const NONE: Self = Self(NO_CLASS);

    /// Whether it is that class.
    pub(crate) fn is(self, class: usize) -> bool {
        usize::from(self.0) == class
    }
}

impl Timer {
    /// How long it is until the deadline, if there is one.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(self.due.left(now.tick())))
    }
}

/// A table whose records have a timer.
pub(crate) trait Timed: Linked {
    fn timer(&mut self, index: u32) -> &mut Timer;
    fn mark(&mut self, index: u32) -> &mut ClassMark;
}

struct Class {
    fifo: Fifo,
    millis: u32,
    /// Not later than the first deadline: kept without touching the first record.
    soonest: Tick,
}

/// The deadlines of one table, in `N` classes.
pub(crate) struct Deadlines<const N: usize> {
    classes: [Class; N],
}

impl<const N: usize> Deadlines<N> {
    /// Classes of these lengths.
    pub(crate) fn new(lengths: [Duration; N]) -> Self {
        let classes = lengths.map(|length| Class {
            fifo: Fifo::new(),
            millis: millis(length),
            soonest: Tick(0),
        });
        Self { classes }
    }

    /// The length of a class.
    pub(crate) fn length(&self, class: usize) -> Duration {
        Duration::from_millis(u64::from(self.classes[class].millis))
    }

    /// Sets the record's deadline a class length from now, whatever it was before.
    pub(crate) fn arm(&mut self, store: &mut impl Timed, index: u32, class: usize, now: Tick) {
        self.disarm(store, index);
        let entry = &mut self.classes[class];
        let due = now.after(entry.millis);
        store.timer(index).due = due;
        *store.mark(index) = ClassMark(u8::try_from(class).unwrap_or(NO_CLASS));
        if entry.fifo.is_empty() {
            entry.soonest = due;
        }
        entry.fifo.push_back(store, index);
    }

    /// Takes the record's deadline away, if it has one.
    pub(crate) fn disarm(&mut self, store: &mut impl Timed, index: u32) {
        let mark = std::mem::replace(store.mark(index), ClassMark::NONE);
        if let Some(class) = self.classes.get_mut(usize::from(mark.0)) {
            class.fifo.remove(store, index);
        }
    }

    /// A record whose deadline has come, and its class; its deadline is taken away.
    pub(crate) fn expired(&mut self, store: &mut impl Timed, now: Tick) -> Option<(usize, u32)> {
        for (number, class) in self.classes.iter_mut().enumerate() {
            let Some(front) = class.fifo.front() else { continue };
            if !class.soonest.is_due(now) {
                continue;
            }
            class.soonest = store.timer(front).due;
            if class.soonest.is_due(now) {
                class.fifo.remove(store, front);
                *store.mark(front) = ClassMark::NONE;
                if let Some(next) = class.fifo.front() {
                    class.soonest = store.timer(next).due;
                }
                return Some((number, front));
            }
        }
        None
    }

    /// A moment not later than the first deadline of all; waking then and finding nothing
    /// due is possible and harmless.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let tick = now.tick();
        let waiting = self.classes.iter().filter(|class| !class.fifo.is_empty());
        let left = waiting.map(|class| class.soonest.left(tick)).min()?;
        Some(now + Duration::from_millis(u64::from(left)))
    }

    /// The records of a class, the one armed longest ago first.
    pub(crate) fn first(&self, class: usize) -> Option<u32> {
        self.classes[class].fifo.front()
    }

    /// The record armed next after `index` in its class.
    pub(crate) fn after(&self, class: usize, store: &mut impl Timed, index: u32) -> Option<u32> {
        self.classes[class].fifo.after(store, index)
    }

    /// How many milliseconds ago the record was armed in `class`.
    pub(crate) fn armed_for(
        &self,
        class: usize,
        store: &mut impl Timed,
        index: u32,
        now: Tick,
    ) -> u32 {
        let class = &self.classes[class];
        class.millis.saturating_sub(store.timer(index).due.left(now))
    }

    /// Changes the length of a class, for those that wait in it too.
    pub(crate) fn set_length(&mut self, class: usize, store: &mut impl Timed, length: Duration) {
        let entry = &mut self.classes[class];
        let (old, new) = (entry.millis, millis(length));
        entry.millis = new;
        let mut at = entry.fifo.front();
        while let Some(index) = at {
            let timer = store.timer(index);
            timer.due = Tick(timer.due.0.wrapping_sub(old).wrapping_add(new));
            at = entry.fifo.after(store, index);
        }
        if let Some(front) = entry.fifo.front() {
            entry.soonest = store.timer(front).due;
        }
    }
}

fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Store(Vec<(Timer, ClassMark)>);

    impl Linked for Store {
        fn links(&mut self, index: u32) -> &mut Links {
            &mut self.0[index as usize].0.links
        }
    }

    impl Timed for Store {
        fn timer(&mut self, index: u32) -> &mut Timer {
            &mut self.0[index as usize].0
        }
        fn mark(&mut self, index: u32) -> &mut ClassMark {
            &mut self.0[index as usize].1
        }
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn expire_in_order_of_their_deadlines_and_only_once() {
        let mut store = Store(vec![(Timer::default(), ClassMark::NONE); 4]);
        let lengths = [Duration::from_millis(100), Duration::from_millis(10)];
        let mut deadlines = Deadlines::new(lengths);
        deadlines.arm(&mut store, 0, 0, at(0).tick());
        deadlines.arm(&mut store, 1, 0, at(5).tick());
        deadlines.arm(&mut store, 2, 1, at(6).tick());
        assert_eq!(deadlines.next(at(6)), Some(at(16)));
        assert_eq!(deadlines.expired(&mut store, at(15).tick()), None);
        assert_eq!(deadlines.expired(&mut store, at(16).tick()), Some((1, 2)));
        assert_eq!(deadlines.expired(&mut store, at(16).tick()), None);
        // Progress moves a record behind the others of its class.
        deadlines.arm(&mut store, 0, 0, at(50).tick());
        assert_eq!(deadlines.expired(&mut store, at(104).tick()), None);
        assert_eq!(deadlines.armed_for(0, &mut store, 1, at(104).tick()), 99);
        assert_eq!(deadlines.expired(&mut store, at(105).tick()), Some((0, 1)));
        assert_eq!(deadlines.next(at(105)), Some(at(150)));
        deadlines.disarm(&mut store, 0);
        deadlines.disarm(&mut store, 0);
        assert_eq!(deadlines.next(at(105)), None);
    }

    #[test]
    fn a_class_can_become_shorter_for_those_who_wait() {
        let mut store = Store(vec![(Timer::default(), ClassMark::NONE); 2]);
        let mut deadlines = Deadlines::new([Duration::from_hours(1)]);
        deadlines.arm(&mut store, 0, 0, at(0).tick());
        deadlines.arm(&mut store, 1, 0, at(900).tick());
        deadlines.set_length(0, &mut store, Duration::from_secs(1));
        assert_eq!(deadlines.expired(&mut store, at(1_000).tick()), Some((0, 0)));
        assert_eq!(deadlines.expired(&mut store, at(1_000).tick()), None);
        assert_eq!(deadlines.next(at(1_000)), Some(at(1_900)));
    }
}
