//! Who may have a buffer: ranks, the shares kept back for the urgent ones, promises, the free
//! list.

use crate::leak;
use crate::register::{BufferId, Register, Registers};
use core::mem::ManuallyDrop;

/// What a buffer would unblock, most urgent first (law 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Sending: every byte sent frees memory.
    Send,
    /// Receiving a response: it frees a lease.
    Upstream,
    /// Receiving the rest of a request.
    Client,
    /// The first byte of a request.
    NewClient,
}

impl Rank {
    /// All ranks, most urgent first.
    pub const ALL: [Self; 4] = [Self::Send, Self::Upstream, Self::Client, Self::NewClient];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// One buffer promised, not yet named: whoever holds it cannot be refused.
///
/// It must be spent or given back with [`Pool::forgive`](crate::Pool::forgive); a debug build
/// panics where it is dropped.
#[must_use = "the promised buffer is kept back from everyone else"]
#[derive(Debug)]
pub struct Promise(());

impl Promise {
    /// Ends the promise without a complaint: the stock has counted it off.
    fn settle(self) {
        let _settled = ManuallyDrop::new(self);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        leak::check(false, "a promise");
    }
}

/// The buffers nobody holds, and how many of them are spoken for.
pub(crate) struct Stock {
    size: u32,
    used: u32,
    promised: u32,
    /// Least free buffers ever.
    low_water: u32,
    /// Buffers that must remain after a grant, by rank.
    reserves: [u32; 4],
    /// The free buffer given back last; the others are linked behind it. Last in, first out, so
    /// that pages stay few and warm.
    top: Option<BufferId>,
}

impl Stock {
    /// `size` buffers, all free.
    pub(crate) fn new(size: u32) -> Self {
        let reserves = reserves(size);
        Self { size, used: 0, promised: 0, low_water: size, reserves, top: None }
    }

    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    pub(crate) const fn promised(&self) -> u32 {
        self.promised
    }

    pub(crate) const fn low_water(&self) -> u32 {
        self.low_water
    }

    pub(crate) const fn free(&self) -> u32 {
        self.size - self.used
    }

    /// How many buffers `rank` may have before it meets its reserve.
    #[inline]
    pub(crate) fn grantable(&self, rank: Rank) -> u32 {
        (self.free() - self.promised).saturating_sub(self.reserves[rank.index()])
    }

    /// Sets one free buffer aside; the caller has made sure that there is one.
    #[inline]
    pub(crate) fn promise(&mut self) -> Promise {
        assert!(self.promised < self.free(), "more promised than there is");
        self.promised += 1;
        Promise(())
    }

    /// Ends a promise: its buffer is free for anyone, first of all for what the caller does next.
    #[inline]
    pub(crate) fn settle(&mut self, promise: Promise) {
        promise.settle();
        self.promised -= 1;
    }

    /// Lends a free buffer, to be written from `at` on; the caller has made sure that there is
    /// one that is not promised.
    #[inline]
    pub(crate) fn lend(&mut self, registers: &mut Registers, at: u16) -> BufferId {
        assert!(self.used + self.promised < self.size, "lent more than there is");
        self.used += 1;
        self.low_water = self.low_water.min(self.free());
        let Some(id) = self.top else {
            return registers.push(Register::lent(at));
        };
        debug_assert!(!registers[id].is_allocated(), "lent twice");
        self.top = registers[id].next();
        registers[id] = Register::lent(at);
        id
    }

    /// Takes a buffer back.
    #[inline]
    pub(crate) fn take_back(&mut self, registers: &mut Registers, id: BufferId) {
        debug_assert!(registers[id].is_allocated(), "given back twice");
        registers[id] = Register::free(self.top);
        self.top = Some(id);
        self.used -= 1;
    }

    /// Takes back `first` and all buffers linked behind it; how many. They are lent again in the
    /// order of their links, so that buffers offered and not used return to where they were and
    /// never-touched ones do not cover the warm.
    pub(crate) fn take_back_linked(&mut self, registers: &mut Registers, first: BufferId) -> u32 {
        let below = self.top.replace(first);
        let mut count = 0;
        let mut next = Some(first);
        while let Some(id) = next {
            debug_assert!(registers[id].is_allocated(), "given back twice");
            next = registers[id].next();
            registers[id] = Register::free(next.or(below));
            count += 1;
        }
        self.used -= count;
        count
    }

    /// The free buffers that were lent before, next to be lent first.
    pub(crate) fn returned(&self, registers: &Registers) -> impl Iterator<Item = BufferId> {
        core::iter::successors(self.top, |&id| registers[id].next())
    }
}

/// The shares kept back: what frees others may take the last buffer, a client leaves a sixteenth
/// and a new client an eighth of the pool. Of a tiny pool they leave a quarter and a half, so
/// that a new client can still come in.
fn reserves(size: u32) -> [u32; 4] {
    let client = (size / 16).max(2).min(size / 4);
    let new_client = (size / 8).max(4).min(size / 2);
    [0, 0, client, new_client]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_grow_with_the_pool_and_never_take_all_of_it() {
        assert_eq!(reserves(32_768), [0, 0, 2048, 4096]);
        assert_eq!(reserves(64), [0, 0, 4, 8]);
        assert_eq!(reserves(16), [0, 0, 2, 4]);
        assert_eq!(reserves(8), [0, 0, 2, 4]);
        assert_eq!(reserves(4), [0, 0, 1, 2]);
        assert_eq!(reserves(1), [0, 0, 0, 0]);
        for size in 1..300 {
            let [_, _, client, new_client] = reserves(size);
            assert!(client <= new_client && new_client < size);
        }
    }

    #[test]
    fn the_buffer_given_back_last_is_lent_first() {
        let mut registers = Registers::with_capacity(3);
        let mut stock = Stock::new(3);
        let first = stock.lend(&mut registers, 0);
        let second = stock.lend(&mut registers, 0);
        assert_eq!((first.index(), second.index()), (0, 1));
        stock.take_back(&mut registers, second);
        stock.take_back(&mut registers, first);
        assert_eq!(stock.lend(&mut registers, 9), first);
        assert_eq!(registers[first].written, 9);
        assert_eq!(stock.lend(&mut registers, 0), second);
        assert_eq!(registers.len(), 2, "the third buffer was never touched");
        assert_eq!((stock.free(), stock.low_water()), (1, 1));
    }

    #[test]
    #[should_panic(expected = "lent more than there is")]
    fn a_promised_buffer_is_not_lent() {
        let mut registers = Registers::with_capacity(1);
        let mut stock = Stock::new(1);
        let promise = stock.promise();
        assert_eq!(stock.grantable(Rank::Send), 0);
        stock.lend(&mut registers, 0);
        stock.settle(promise);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "a promise was dropped")]
    fn a_promise_dropped_is_found() {
        drop(Stock::new(1).promise());
    }
}
