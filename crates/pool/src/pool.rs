//! The pool itself: the region, its registers, the stock and the queues joined; grants, waiting
//! and figures.

use crate::chain::Chain;
use crate::grant::{Promise, Rank, Stock};
use crate::region::Region;
use crate::register::{BufferId, Registers};
use crate::wait::Waiting;
use base::limits::{BUFFER_BYTES, BUFFER_BYTES_RANGE, POOL_BUFFERS_MAX};
use base::time::Instant;
use core::fmt;
use rustix::io::Errno;

/// How large a pool is, for ever.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Buffers, at least 1.
    pub buffers: u32,
    /// Bytes of one buffer: a power of two within `base::limits::BUFFER_BYTES_RANGE`.
    pub buffer_bytes: u32,
    /// One more than the highest token that will ever wait.
    pub waiters: u32,
}

impl PoolConfig {
    /// `buffers` buffers of the default size, and tokens below `waiters`.
    pub const fn new(buffers: u32, waiters: u32) -> Self {
        Self { buffers, buffer_bytes: BUFFER_BYTES, waiters }
    }
}

/// Why there is no such pool: the configuration's fault, or the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The size of a buffer is no power of two or out of its range.
    BufferBytes(u32),
    /// No buffers, or more than 4 GiB of them in one pool: the lengths of chains are 32 bits.
    Buffers(u32),
    /// The kernel refused to map the memory.
    Map(Errno),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = BUFFER_BYTES_RANGE;
        match self {
            Self::BufferBytes(bytes) => {
                write!(f, "a buffer of {bytes} bytes: must be a power of two, {least} to {most}")
            }
            Self::Buffers(0) => write!(f, "a pool without buffers"),
            Self::Buffers(count) => write!(f, "{count} buffers: one pool holds less than 4 GiB"),
            Self::Map(errno) => write!(f, "cannot map the pool: {errno}"),
        }
    }
}

impl core::error::Error for PoolError {}

/// The pool could not grant what was asked for, and nothing was changed: wait, or do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer pool is short")
    }
}

impl core::error::Error for Short {}

/// All buffers of one worker. See the [crate] for the whole.
pub struct Pool {
    pub(crate) region: Region,
    pub(crate) registers: Registers,
    pub(crate) stock: Stock,
    waiting: Waiting,
    /// Grants until one is refused without need.
    #[cfg(test)]
    pub(crate) refuse_in: core::cell::Cell<Option<u32>>,
}

impl Pool {
    /// Maps and reserves everything the pool will ever use; touches none of it.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let PoolConfig { buffers, buffer_bytes, waiters } = config;
        let [least, most] = BUFFER_BYTES_RANGE;
        if !buffer_bytes.is_power_of_two() || !(least..=most).contains(&buffer_bytes) {
            return Err(PoolError::BufferBytes(buffer_bytes));
        }
        let fits = buffers <= POOL_BUFFERS_MAX && buffers.checked_mul(buffer_bytes).is_some();
        if buffers == 0 || !fits {
            return Err(PoolError::Buffers(buffers));
        }
        Ok(Self {
            region: Region::map(buffers, buffer_bytes).map_err(PoolError::Map)?,
            registers: Registers::with_capacity(buffers),
            stock: Stock::new(buffers),
            waiting: Waiting::new(waiters),
            #[cfg(test)]
            refuse_in: core::cell::Cell::new(None),
        })
    }

    // Grants.

    /// How many buffers a request of this rank would be granted now.
    ///
    /// None while others wait at this rank or a more urgent one: they come first, through
    /// [`next_granted`](Self::next_granted).
    #[inline]
    pub fn grantable(&self, rank: Rank) -> u32 {
        if self.waiting.is_ahead_of(rank) { 0 } else { self.stock.grantable(rank) }
    }

    /// How many buffers are free beyond what is kept back for more urgent ranks, whoever waits.
    #[inline]
    pub fn spare(&self, rank: Rank) -> u32 {
        self.stock.grantable(rank)
    }

    /// Sets one buffer aside for whoever holds the promise.
    pub fn promise(&mut self, rank: Rank) -> Option<Promise> {
        self.grants(1, rank).then(|| self.stock.promise())
    }

    /// Takes a promise back unused.
    pub fn forgive(&mut self, promise: Promise) {
        self.stock.settle(promise);
    }

    /// Turns a chain without unread bytes back into the promise of one buffer; the rest of its
    /// buffers is released, and nobody else comes in between.
    ///
    /// `None`, and nothing changes, when the chain holds no buffer or still has unread bytes.
    pub fn take_back_promise(&mut self, chain: &mut Chain) -> Option<Promise> {
        if chain.len > 0 || chain.is_empty() {
            return None;
        }
        self.clear(chain);
        Some(self.stock.promise())
    }

    /// Gives back all buffers of the chain.
    pub fn release(&mut self, mut chain: Chain) {
        self.clear(&mut chain);
    }

    /// Gives back all buffers of the chain and leaves it empty.
    pub fn clear(&mut self, chain: &mut Chain) {
        self.release_behind(chain, None);
        chain.len = 0;
    }

    /// Whether a request for `count` buffers is granted.
    #[inline]
    pub(crate) fn grants(&self, count: u32, rank: Rank) -> bool {
        count == 0 || (count <= self.grantable(rank) && !self.refuses())
    }

    /// Whether a test wants this grant refused.
    #[cfg(test)]
    fn refuses(&self) -> bool {
        let left = self.refuse_in.get();
        self.refuse_in.set(left.and_then(|left| left.checked_sub(1)));
        left == Some(0)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "nothing is refused without need outside tests")]
    const fn refuses(&self) -> bool {
        false
    }

    /// Lends one buffer that was granted, and links it at the tail.
    #[inline]
    pub(crate) fn link_tail(&mut self, chain: &mut Chain, at: u16) -> BufferId {
        let id = self.stock.lend(&mut self.registers, at);
        match chain.tail {
            Some(tail) => self.registers[tail].set_next(Some(id)),
            None => chain.head = Some(id),
        }
        chain.tail = Some(id);
        chain.buffers += 1;
        id
    }

    /// Unlinks the head buffer and takes it back; its bytes are the caller's to count off.
    #[inline]
    pub(crate) fn release_head(&mut self, chain: &mut Chain) {
        let Some(id) = chain.head else { return };
        let next = self.registers[id].next();
        self.stock.take_back(&mut self.registers, id);
        chain.head = next;
        if next.is_none() {
            chain.tail = None;
        }
        chain.buffers -= 1;
    }

    /// Takes back every buffer behind `last`, or all when there is none. They hold no bytes, or
    /// bytes the caller counts off.
    pub(crate) fn release_behind(&mut self, chain: &mut Chain, last: Option<BufferId>) {
        if chain.tail == last {
            return;
        }
        let behind = match last {
            Some(id) => {
                let next = self.registers[id].next();
                self.registers[id].set_next(None);
                next
            }
            None => chain.head.take(),
        };
        chain.tail = last;
        if let Some(first) = behind {
            chain.buffers -= self.stock.take_back_linked(&mut self.registers, first);
        }
        debug_assert!(!chain.is_empty() || chain.buffers == 0, "the links end too early");
    }

    // Waiting.

    /// Queues `token` for one buffer. A token that already waits at this rank keeps its place; at
    /// another rank it moves to that queue's end.
    ///
    /// Panics when the token is not below [`PoolConfig::waiters`].
    pub fn wait(&mut self, token: u32, rank: Rank, now: Instant) {
        self.waiting.enter(token, rank, now);
    }

    /// Queues `token` before all others of its rank: for who should be finished before others are
    /// begun. It gives up the place that it has. Otherwise as [`wait`](Self::wait).
    pub fn wait_first(&mut self, token: u32, rank: Rank, now: Instant) {
        self.waiting.enter_first(token, rank, now);
    }

    /// Takes `token` out of its queue, if it waits.
    pub fn leave(&mut self, token: u32) {
        self.waiting.leave(token);
    }

    /// Whether `token` waits.
    pub fn is_waiting(&self, token: u32) -> bool {
        self.waiting.rank_of(token).is_some()
    }

    /// Who would be granted a buffer next, without granting it.
    pub fn next_in_line(&self) -> Option<(u32, Rank)> {
        self.waiting.front().filter(|&(_, rank)| self.stock.grantable(rank) > 0)
    }

    /// The next waiter that can be served, and its buffer's promise: the most urgent rank first,
    /// within it the one that came first.
    pub fn next_granted(&mut self) -> Option<(u32, Promise)> {
        let (token, rank) = self.waiting.front()?;
        // Less urgent ranks have larger reserves: where the first is refused, all are.
        if self.stock.grantable(rank) == 0 || self.refuses() {
            return None;
        }
        self.waiting.leave(token);
        Some((token, self.stock.promise()))
    }

    /// Since when the oldest waiter has waited.
    pub fn oldest_wait(&self) -> Option<Instant> {
        self.waiting.oldest()
    }

    /// How many wait at `rank`.
    pub const fn waiting(&self, rank: Rank) -> u32 {
        self.waiting.len(rank)
    }

    // Figures.

    /// All buffers.
    pub const fn size(&self) -> u32 {
        self.stock.size()
    }

    /// Buffers nobody holds, promised ones among them.
    pub const fn free(&self) -> u32 {
        self.stock.free()
    }

    /// Buffers held in chains.
    pub const fn used(&self) -> u32 {
        self.stock.used()
    }

    /// Free buffers set aside by promises.
    pub const fn promised(&self) -> u32 {
        self.stock.promised()
    }

    /// Bytes of one buffer.
    pub const fn buffer_bytes(&self) -> u32 {
        self.region.buffer_bytes()
    }

    /// The fewest buffers that were ever free.
    pub const fn low_water(&self) -> u32 {
        self.stock.low_water()
    }

    /// Waits begun at `rank` since the start.
    pub const fn waits_total(&self, rank: Rank) -> u64 {
        self.waiting.total(rank)
    }

    /// Panics unless the pool is at rest: every buffer free, nothing promised, nobody waiting.
    pub fn assert_whole(&self) {
        assert_eq!(self.used(), 0, "buffers were not given back");
        assert_eq!(self.promised(), 0, "promises were not settled");
        for rank in Rank::ALL {
            assert_eq!(self.waiting(rank), 0, "someone still waits at {rank:?}");
        }
        let mut returned = 0;
        for id in self.stock.returned(&self.registers) {
            assert!(!self.registers[id].is_allocated(), "an allocated buffer is free");
            returned += 1;
            assert!(returned <= self.registers.len(), "the free list is a circle");
        }
        assert_eq!(returned, self.registers.len(), "buffers fell out of the free list");
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size())
            .field("used", &self.used())
            .field("promised", &self.promised())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(buffers: u32) -> Pool {
        Pool::new(PoolConfig { buffers, buffer_bytes: 512, waiters: 8 }).unwrap()
    }

    #[test]
    fn impossible_pools_are_refused_with_a_reason() {
        let refused = |buffers, buffer_bytes| {
            Pool::new(PoolConfig { buffers, buffer_bytes, waiters: 0 }).unwrap_err()
        };
        assert_eq!(refused(8, 1000), PoolError::BufferBytes(1000));
        assert_eq!(refused(8, 256), PoolError::BufferBytes(256));
        assert_eq!(refused(8, 65_536), PoolError::BufferBytes(65_536));
        assert_eq!(refused(0, 2048), PoolError::Buffers(0));
        assert_eq!(refused(1 << 21, 2048), PoolError::Buffers(1 << 21));
    }

    #[test]
    fn a_new_pool_is_whole_and_can_move_to_its_thread() {
        fn is_send<T: Send>(_: &T) {}
        let pool = Pool::new(PoolConfig::new(32_768, 18_000)).unwrap();
        is_send(&pool);
        pool.assert_whole();
        assert_eq!((pool.size(), pool.free(), pool.buffer_bytes()), (32_768, 32_768, 2048));
    }

    #[test]
    fn the_last_share_is_kept_for_what_frees_others() {
        let mut pool = pool(8);
        let mut held = std::vec::Vec::new();
        for (rank, granted) in
            [(Rank::NewClient, 4), (Rank::Client, 2), (Rank::Upstream, 2), (Rank::Send, 0)]
        {
            assert_eq!(pool.grantable(rank), granted);
            for _ in 0..granted {
                held.extend(pool.promise(rank));
            }
            assert!(pool.promise(rank).is_none());
        }
        assert_eq!((held.len(), pool.promised(), pool.free()), (8, 8, 8));
        for promise in held {
            pool.forgive(promise);
        }
        pool.assert_whole();
    }

    #[test]
    fn nobody_overtakes_those_who_wait() {
        let mut pool = pool(4);
        let mut held: std::vec::Vec<_> = (0..4).map_while(|_| pool.promise(Rank::Send)).collect();
        pool.wait(5, Rank::Upstream, Instant(1));
        pool.wait(2, Rank::Upstream, Instant(2));
        pool.wait(1, Rank::Client, Instant(0));
        assert!(pool.next_granted().is_none());
        assert_eq!(pool.oldest_wait(), Some(Instant(0)));
        pool.forgive(held.pop().unwrap());
        assert!(pool.promise(Rank::Upstream).is_none(), "two came first");
        let (token, promise) = pool.next_granted().unwrap();
        assert_eq!(token, 5);
        assert!(!pool.is_waiting(5) && pool.is_waiting(2));
        pool.forgive(promise);
        held.push(pool.promise(Rank::Send).unwrap());
        pool.leave(2);
        pool.forgive(held.pop().unwrap());
        assert!(pool.next_granted().is_none(), "the last buffer is none for a client");
        pool.forgive(held.pop().unwrap());
        let (token, promise) = pool.next_granted().unwrap();
        assert_eq!(token, 1);
        pool.forgive(promise);
        assert_eq!(pool.waits_total(Rank::Upstream), 2);
        held.drain(..).for_each(|promise| pool.forgive(promise));
        pool.assert_whole();
    }

    #[test]
    fn whoever_is_to_be_finished_is_next_in_line() {
        let mut pool = pool(8);
        let mut held: std::vec::Vec<_> = (0..8).map_while(|_| pool.promise(Rank::Send)).collect();
        pool.wait(1, Rank::Client, Instant(1));
        pool.wait_first(2, Rank::Client, Instant(2));
        assert_eq!(pool.next_in_line(), None, "nothing is free");
        for spare in [0, 0, 1, 2] {
            pool.forgive(held.pop().unwrap());
            assert_eq!((pool.spare(Rank::Client), pool.grantable(Rank::Client)), (spare, 0));
        }
        assert_eq!(pool.next_in_line(), Some((2, Rank::Client)));
        assert!(pool.is_waiting(2), "it was only looked at");
        pool.leave(2);
        assert_eq!(pool.next_in_line(), Some((1, Rank::Client)));
        pool.leave(1);
        held.drain(..).for_each(|promise| pool.forgive(promise));
        pool.assert_whole();
    }

    #[test]
    fn the_fewest_buffers_that_were_free_are_remembered() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 0) && pool.extend(&mut chain, Rank::Send, 0));
        assert_eq!(pool.low_water(), 6);
        pool.release(chain);
        assert_eq!((pool.low_water(), pool.free()), (6, 8));
    }

    #[test]
    fn an_emptied_chain_becomes_a_promise_again() {
        let mut pool = pool(4);
        let promise = pool.promise(Rank::Upstream).unwrap();
        let mut chain = Chain::new();
        pool.extend_promised(&mut chain, promise, 16);
        assert!(pool.extend(&mut chain, Rank::Send, 0));
        pool.wait(0, Rank::Send, Instant(0));
        let promise = pool.take_back_promise(&mut chain).unwrap();
        assert!(chain.is_empty());
        assert_eq!((pool.used(), pool.promised()), (0, 1));
        assert!(pool.take_back_promise(&mut chain).is_none());
        pool.extend_promised(&mut chain, promise, 0);
        let (_, other) = pool.next_granted().unwrap();
        pool.forgive(other);
        pool.append(&mut chain, b"x", Rank::Send).unwrap();
        assert!(pool.take_back_promise(&mut chain).is_none(), "a byte is unread");
        pool.release(chain);
        pool.assert_whole();
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "a chain was dropped")]
    fn a_chain_dropped_is_found() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 0));
        drop(chain);
    }

    #[test]
    #[should_panic(expected = "buffers were not given back")]
    fn a_pool_with_a_buffer_out_is_not_whole() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 0));
        pool.assert_whole();
    }
}
