//! The bounded queue of `crossbeam-queue`, step by step, on the tool's atomics: the same places
//! and stamps, the same orders of memory.
#![expect(clippy::disallowed_types, reason = "a cell that is checked: its lock is always free")]

use alloc::boxed::Box;
use core::fmt;
use std::sync::Mutex;

use super::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use super::thread::yield_now;

/// Many push, many pop, nobody waits.
pub struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: Box<[Slot<T>]>,
    lap: usize,
}

struct Slot<T> {
    stamp: AtomicUsize,
    /// Whoever moved head or tail past it has it alone until the stamp says so: this lock is
    /// never waited for.
    value: Mutex<Option<T>>,
}

impl<T> Slot<T> {
    #[expect(clippy::expect_used, reason = "a model fails by panicking")]
    fn change(&self, to: Option<T>) -> Option<T> {
        let mut value = self.value.try_lock().expect("two threads have one slot");
        core::mem::replace(&mut *value, to)
    }
}

impl<T> ArrayQueue<T> {
    /// Room for `capacity`.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0);
        let slots = (0..capacity)
            .map(|index| Slot { stamp: AtomicUsize::new(index), value: Mutex::new(None) });
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            slots: slots.collect(),
            lap: (capacity + 1).next_power_of_two(),
        }
    }

    fn slot(&self, place: usize) -> &Slot<T> {
        &self.slots[place & (self.lap - 1)]
    }

    fn behind(&self, place: usize) -> usize {
        if (place & (self.lap - 1)) + 1 < self.slots.len() {
            place + 1
        } else {
            (place & !(self.lap - 1)).wrapping_add(self.lap)
        }
    }

    /// Puts one at the end.
    ///
    /// # Errors
    /// Gives it back when there is no room.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Relaxed);
        loop {
            let slot = self.slot(tail);
            let stamp = slot.stamp.load(Acquire);
            if stamp == tail {
                match self.tail.compare_exchange(tail, self.behind(tail), SeqCst, Relaxed) {
                    Ok(_) => {
                        slot.change(Some(value));
                        slot.stamp.store(tail + 1, Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
                continue;
            }
            if stamp.wrapping_add(self.lap) == tail + 1 {
                fence(SeqCst);
                if self.head.load(Relaxed).wrapping_add(self.lap) == tail {
                    return Err(value);
                }
            }
            yield_now();
            tail = self.tail.load(Relaxed);
        }
    }

    /// Takes the first one.
    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Relaxed);
        loop {
            let slot = self.slot(head);
            let stamp = slot.stamp.load(Acquire);
            if stamp == head + 1 {
                match self.head.compare_exchange(head, self.behind(head), SeqCst, Relaxed) {
                    Ok(_) => {
                        let value = slot.change(None);
                        slot.stamp.store(head.wrapping_add(self.lap), Release);
                        return value;
                    }
                    Err(now) => head = now,
                }
                continue;
            }
            if stamp == head {
                fence(SeqCst);
                if self.tail.load(Relaxed) == head {
                    return None;
                }
            }
            yield_now();
            head = self.head.load(Relaxed);
        }
    }

    /// How many there is room for.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        let (head, tail) = (self.head.load(SeqCst), self.tail.load(SeqCst));
        let number = |place: usize| place / self.lap * self.slots.len() + place % self.lap;
        number(tail) - number(head)
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.head.load(SeqCst) == self.tail.load(SeqCst)
    }
}

impl<T> fmt::Debug for ArrayQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArrayQueue")
    }
}
