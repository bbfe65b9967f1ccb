//! First-in first-out queues threaded through the records of a table.
//!
//! The links live in the records themselves, so a queue of a million entries costs its head and
//! its tail, and an entry leaves from the middle in constant time.

/// "No record": the end of a list.
const NONE: u32 = u32::MAX;

/// The two links a record carries for one queue. 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    /// Links of a record that stands in no queue.
    pub const fn new() -> Self {
        Self { prev: NONE, next: NONE }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// A table whose records carry [`Links`].
pub trait Linked {
    /// The links of record `index`, which must exist.
    fn links(&mut self, index: u32) -> &mut Links;
}

/// A queue of record numbers, oldest first.
///
/// The queue does not know whether a record stands in it: the owner's state says so, and must
/// never [`push_back`](Fifo::push_back) twice or [`remove`](Fifo::remove) what is not queued.
#[derive(Debug)]
pub struct Fifo {
    head: u32,
    tail: u32,
    len: u32,
}

impl Fifo {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }

    /// How many records wait.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The oldest record.
    pub const fn front(&self) -> Option<u32> {
        if self.head == NONE { None } else { Some(self.head) }
    }

    /// The youngest record.
    pub const fn back(&self) -> Option<u32> {
        if self.tail == NONE { None } else { Some(self.tail) }
    }

    /// Adds record `index` at the end.
    pub fn push_back(&mut self, store: &mut impl Linked, index: u32) {
        debug_assert_ne!(index, NONE, "the end of a list is no record");
        *store.links(index) = Links { prev: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = index,
            tail => store.links(tail).next = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// Adds record `index` before all others.
    pub fn push_front(&mut self, store: &mut impl Linked, index: u32) {
        debug_assert_ne!(index, NONE, "the end of a list is no record");
        *store.links(index) = Links { prev: NONE, next: self.head };
        match self.head {
            NONE => self.tail = index,
            head => store.links(head).prev = index,
        }
        self.head = index;
        self.len += 1;
    }

    /// Takes record `index` out, wherever it stands.
    pub fn remove(&mut self, store: &mut impl Linked, index: u32) {
        debug_assert!(self.len > 0, "removal from an empty queue");
        let Links { prev, next } = core::mem::take(store.links(index));
        match prev {
            NONE => {
                debug_assert_eq!(self.head, index, "the record stands in another queue");
                self.head = next;
            }
            prev => store.links(prev).next = next,
        }
        match next {
            NONE => {
                debug_assert_eq!(self.tail, index, "the record stands in another queue");
                self.tail = prev;
            }
            next => store.links(next).prev = prev,
        }
        self.len -= 1;
    }

    /// Takes the oldest record out.
    pub fn pop_front(&mut self, store: &mut impl Linked) -> Option<u32> {
        let front = self.front()?;
        self.remove(store, front);
        Some(front)
    }

    /// The record behind `index`, younger by one.
    pub fn after(&self, store: &mut impl Linked, index: u32) -> Option<u32> {
        match store.links(index).next {
            NONE => None,
            next => Some(next),
        }
    }
}

impl Default for Fifo {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    impl Linked for Vec<Links> {
        fn links(&mut self, index: u32) -> &mut Links {
            &mut self[index as usize]
        }
    }

    #[test]
    fn behaves_like_a_queue_with_removal_from_the_middle() {
        let mut store = vec![Links::new(); 16];
        let mut fifo = Fifo::new();
        let mut model: VecDeque<u32> = VecDeque::new();
        let mut seed = 1u32;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (seed >> 16) % 16;
            if let Some(at) = model.iter().position(|&m| m == index) {
                model.remove(at);
                fifo.remove(&mut store, index);
            } else if seed & 0x100 == 0 && !model.is_empty() {
                assert_eq!(fifo.pop_front(&mut store), model.pop_front());
            } else if seed & 0x200 == 0 {
                model.push_front(index);
                fifo.push_front(&mut store, index);
            } else {
                model.push_back(index);
                fifo.push_back(&mut store, index);
            }
            assert_eq!(fifo.front(), model.front().copied());
            assert_eq!(fifo.len() as usize, model.len());
        }
        let mut walked = Vec::new();
        let mut at = fifo.front();
        while let Some(index) = at {
            walked.push(index);
            at = fifo.after(&mut store, index);
        }
        assert_eq!(walked, Vec::from(model));
    }
}
