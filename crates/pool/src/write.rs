//! Writing into chains: extending them, receiving into them, appending and prepending.

use crate::chain::{Chain, Mark};
use crate::grant::{Promise, Rank};
use crate::pool::{Pool, Short};
use crate::region::Spaces;
use crate::register::BufferId;
use base::limits::RECEIVE_BUFFERS;
use core::fmt;

/// How one receive may grow a chain.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Fresh buffers to offer behind the room of the tail; at most
    /// `base::limits::RECEIVE_BUFFERS`, fewer when the pool is short.
    pub fresh: u16,
    /// What they would unblock.
    pub rank: Rank,
    /// Gap to leave at the start of a chain that holds no buffer yet, so that something can be
    /// put in front; less than a buffer.
    pub headroom: u16,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillError<E> {
    /// The tail has no room and the pool granted no fresh buffer: the receive was not tried.
    NoBuffer,
    /// What the receive itself said.
    Receive(E),
}

impl<E: fmt::Display> fmt::Display for FillError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBuffer => Short.fmt(f),
            Self::Receive(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for FillError<E> {}

impl Pool {
    /// Links one empty buffer at the tail, to be written from `headroom` (less than a buffer)
    /// on. `false`, and nothing changes, when the pool does not grant it.
    #[must_use = "the pool may refuse"]
    pub fn extend(&mut self, chain: &mut Chain, rank: Rank, headroom: u16) -> bool {
        let granted = self.grants(1, rank);
        if granted {
            let at = self.gap(headroom);
            self.link_tail(chain, at);
        }
        granted
    }

    /// Links the promised buffer at the tail, to be written from `headroom` on.
    pub fn extend_promised(&mut self, chain: &mut Chain, promise: Promise, headroom: u16) {
        self.stock.settle(promise);
        let at = self.gap(headroom);
        self.link_tail(chain, at);
    }

    /// Free bytes behind what was written to the tail buffer.
    #[inline]
    pub fn room(&self, chain: &Chain) -> usize {
        chain.tail.map_or(0, |tail| self.room_of(tail))
    }

    /// The room of the tail buffer, for writing in place; [`commit`](Self::commit) says how much
    /// was written.
    pub fn space(&mut self, chain: &mut Chain) -> &mut [u8] {
        let Some(tail) = chain.tail else {
            return &mut [];
        };
        let written = usize::from(self.registers[tail].written);
        &mut self.region.bytes_mut(tail)[written..]
    }

    /// Counts the first `n` bytes of [`space`](Self::space) as written. Panics when the room is
    /// smaller.
    pub fn commit(&mut self, chain: &mut Chain, n: usize) {
        assert!(n <= self.room(chain), "more written than there was room for");
        if let Some(tail) = chain.tail {
            self.registers[tail].written += low(n);
            chain.len += u32::from(low(n));
        }
    }

    /// Receives once: `receive` gets the room of the tail buffer and behind it fresh buffers,
    /// and says how many bytes it wrote, from the first slice on.
    ///
    /// The first fresh buffer is the promised one, if a promise is given; what remains unused
    /// goes back at once, the promised buffer as the promise again.
    ///
    /// # Errors
    /// [`FillError::NoBuffer`] when there is nothing to receive into, or what `receive` said. The
    /// chain is then as it was.
    pub fn fill<E>(
        &mut self,
        chain: &mut Chain,
        plan: Fill,
        promise: &mut Option<Promise>,
        receive: impl FnOnce(&mut [&mut [u8]]) -> Result<usize, E>,
    ) -> Result<usize, FillError<E>> {
        let end = self.mark(chain);
        let room = self.room(chain);
        let spent = self.link_fresh(chain, plan, promise);
        let mut spaces = self.spaces(chain, end);
        if spaces.is_empty() {
            return Err(FillError::NoBuffer);
        }
        let offered: usize = spaces.iter().map(|space| space.len()).sum();
        let received = receive(&mut spaces);
        drop(spaces);
        let n = *received.as_ref().unwrap_or(&0);
        assert!(n <= offered, "more received than there was room for");
        self.settle_fill(chain, end, n);
        if spent && n <= room {
            *promise = Some(self.stock.promise());
        }
        received.map_err(FillError::Receive)
    }

    /// Links what `plan` asks for and the pool grants; whether the promise was spent on it.
    fn link_fresh(&mut self, chain: &mut Chain, plan: Fill, promise: &mut Option<Promise>) -> bool {
        let mut fresh = plan.fresh.min(RECEIVE_BUFFERS);
        let mut at = if chain.is_empty() { self.gap(plan.headroom) } else { 0 };
        let promised = if fresh > 0 { promise.take() } else { None };
        let spent = promised.is_some();
        if let Some(promise) = promised {
            self.extend_promised(chain, promise, core::mem::take(&mut at));
            fresh -= 1;
        }
        while fresh > 0 && self.grants(1, plan.rank) {
            self.link_tail(chain, core::mem::take(&mut at));
            fresh -= 1;
        }
        spent
    }

    /// The room behind `end`, buffer by buffer.
    fn spaces(&mut self, chain: &Chain, end: Mark) -> Spaces<'_> {
        let Self { region, registers, .. } = self;
        let size = region.buffer_bytes() as usize;
        let buffers = core::iter::successors(end.buffer.or(chain.head), |&id| registers[id].next());
        region.spaces(buffers.map(|id| (id, usize::from(registers[id].written)..size)))
    }

    /// Counts `n` bytes behind `end` as written and gives back the buffers they did not reach.
    fn settle_fill(&mut self, chain: &mut Chain, end: Mark, n: usize) {
        let mut left = n;
        let mut last = end.buffer;
        let mut next = end.buffer.or(chain.head);
        while let Some(id) = next
            && left > 0
        {
            let take = left.min(self.room_of(id));
            self.registers[id].written += low(take);
            chain.len += u32::from(low(take));
            left -= take;
            last = Some(id);
            next = self.registers[id].next();
        }
        self.release_behind(chain, last);
    }

    /// Appends `bytes`, linking what buffers that takes: all of them or none.
    ///
    /// # Errors
    /// [`Short`] when the pool does not grant [`buffers_to_append`](Self::buffers_to_append).
    pub fn append(&mut self, chain: &mut Chain, bytes: &[u8], rank: Rank) -> Result<(), Short> {
        if !self.grants(self.buffers_to_append(chain, bytes.len()), rank) {
            return Err(Short);
        }
        let mut rest = bytes;
        loop {
            let space = self.space(chain);
            let n = rest.len().min(space.len());
            let (now, later) = rest.split_at(n);
            space[..n].copy_from_slice(now);
            self.commit(chain, n);
            if later.is_empty() {
                return Ok(());
            }
            rest = later;
            self.link_tail(chain, 0);
        }
    }

    /// Fresh buffers that appending `n` bytes takes.
    #[inline]
    pub fn buffers_to_append(&self, chain: &Chain, n: usize) -> u32 {
        self.buffers_for(n.saturating_sub(self.room(chain)))
    }

    /// Puts `bytes` before the unread ones: into the gap in front of them as far as it reaches,
    /// the rest into fresh buffers linked in front. These are filled to their end, so that
    /// more can be put before. All or nothing.
    ///
    /// # Errors
    /// [`Short`] when the pool does not grant [`buffers_to_prepend`](Self::buffers_to_prepend).
    pub fn prepend(&mut self, chain: &mut Chain, bytes: &[u8], rank: Rank) -> Result<(), Short> {
        if !self.grants(self.buffers_to_prepend(chain, bytes.len()), rank) {
            return Err(Short);
        }
        let mut rest = bytes;
        loop {
            rest = self.put_before(chain, rest);
            if rest.is_empty() {
                return Ok(());
            }
            self.link_head(chain);
        }
    }

    /// Fresh buffers that prepending `n` bytes takes.
    #[inline]
    pub fn buffers_to_prepend(&self, chain: &Chain, n: usize) -> u32 {
        let gap = chain.head.map_or(0, |head| usize::from(self.registers[head].read));
        self.buffers_for(n.saturating_sub(gap))
    }

    /// Writes the end of `bytes` into the gap of the head buffer; returns what did not fit.
    fn put_before<'b>(&mut self, chain: &mut Chain, bytes: &'b [u8]) -> &'b [u8] {
        let Some(head) = chain.head else { return bytes };
        let register = &mut self.registers[head];
        let gap = usize::from(register.read);
        let n = bytes.len().min(gap);
        let (rest, now) = bytes.split_at(bytes.len() - n);
        register.read -= low(n);
        chain.len += u32::from(low(n));
        self.region.bytes_mut(head)[gap - n..gap].copy_from_slice(now);
        rest
    }

    /// Lends one buffer that was granted, and links it in front, to be filled from its end.
    fn link_head(&mut self, chain: &mut Chain) {
        let end = low(self.buffer_bytes() as usize);
        let id = self.stock.lend(&mut self.registers, end);
        self.registers[id].set_next(chain.head);
        chain.head = Some(id);
        if chain.tail.is_none() {
            chain.tail = Some(id);
        }
        chain.buffers += 1;
    }

    /// Free bytes behind what was written to this buffer.
    #[inline]
    pub(crate) fn room_of(&self, id: BufferId) -> usize {
        self.buffer_bytes() as usize - usize::from(self.registers[id].written)
    }

    /// A headroom that leaves room for at least one byte.
    fn gap(&self, headroom: u16) -> u16 {
        debug_assert!(u32::from(headroom) < self.buffer_bytes(), "headroom of a whole buffer");
        headroom.min(low(self.buffer_bytes() as usize - 1))
    }

    /// Whole buffers that hold `n` bytes; `u32::MAX` for more than any pool has.
    #[inline]
    fn buffers_for(&self, n: usize) -> u32 {
        let shift = self.buffer_bytes().trailing_zeros();
        let mask = self.buffer_bytes() as usize - 1;
        u32::try_from((n >> shift) + usize::from(n & mask > 0)).unwrap_or(u32::MAX)
    }
}

/// A count of bytes within one buffer, which is at most 32 KiB.
#[expect(clippy::cast_possible_truncation, reason = "at most BUFFER_BYTES_RANGE[1]")]
#[inline]
pub(crate) const fn low(n: usize) -> u16 {
    debug_assert!(n <= base::limits::BUFFER_BYTES_RANGE[1] as usize);
    n as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{bytes, contents, pool};
    use std::vec::Vec;

    const PLAN: Fill = Fill { fresh: 3, rank: Rank::Upstream, headroom: 100 };

    fn write_all(source: &[u8]) -> impl FnOnce(&mut [&mut [u8]]) -> Result<usize, &'static str> {
        move |spaces| {
            let mut rest = source;
            for space in spaces {
                let n = rest.len().min(space.len());
                space[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
            }
            Ok(source.len() - rest.len())
        }
    }

    #[test]
    fn a_receive_keeps_the_buffers_it_reached() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        let data = bytes(412 + 512);
        assert_eq!(pool.fill(&mut chain, PLAN, &mut None, write_all(&data)), Ok(924));
        assert_eq!((chain.len(), chain.buffers(), pool.used()), (924, 2, 2));
        assert_eq!(pool.room(&chain), 0);
        let sizes = |spaces: &mut [&mut [u8]]| -> Result<usize, Vec<usize>> {
            Err(spaces.iter().map(|space| space.len()).collect())
        };
        let offered = pool.fill(&mut chain, PLAN, &mut None, sizes);
        assert_eq!(offered, Err(FillError::Receive(std::vec![512; 3])), "headroom only at first");
        assert_eq!((chain.buffers(), pool.used()), (2, 2), "unused ones go back");
        pool.append(&mut chain, &[7; 12], Rank::Upstream).unwrap();
        let offered = pool.fill(&mut chain, Fill { fresh: 1, ..PLAN }, &mut None, sizes);
        assert_eq!(offered, Err(FillError::Receive(std::vec![500, 512])));
        assert_eq!(pool.fill(&mut chain, PLAN, &mut None, write_all(&data[..500])), Ok(500));
        assert_eq!(contents(&pool, &chain), [&data[..], &[7; 12], &data[..500]].concat());
        assert_eq!(chain.buffers(), 3);
        assert_eq!(pool.fill(&mut chain, PLAN, &mut None, write_all(b"")), Ok(0));
        assert_eq!(chain.buffers(), 3);
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn one_receive_reaches_the_tail_and_as_many_fresh_buffers_as_it_may() {
        let mut pool = pool(64);
        let mut chain = Chain::new();
        pool.append(&mut chain, b"ab", Rank::Send).unwrap();
        let count = |spaces: &mut [&mut [u8]]| Err::<usize, usize>(spaces.len());
        let plan = Fill { fresh: u16::MAX, ..PLAN };
        let offered = pool.fill(&mut chain, plan, &mut None, count);
        assert_eq!(offered, Err(FillError::Receive(usize::from(RECEIVE_BUFFERS) + 1)));
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn a_promise_is_spent_first_and_restored_when_unused() {
        let mut pool = pool(2);
        let mut promise = pool.promise(Rank::Upstream);
        let mut other = pool.promise(Rank::Upstream);
        let mut chain = Chain::new();
        let failed = pool.fill(&mut chain, PLAN, &mut promise, |_| Err("reset"));
        assert_eq!(failed, Err(FillError::Receive("reset")));
        assert!(promise.is_some() && chain.is_empty());
        assert_eq!(
            pool.fill(&mut chain, PLAN, &mut None, |_| Err("not tried")),
            Err(FillError::NoBuffer)
        );
        assert_eq!(pool.fill(&mut chain, PLAN, &mut promise, write_all(b"ab")), Ok(2));
        assert!(promise.is_none());
        assert_eq!((pool.used(), pool.promised()), (1, 1));
        assert_eq!(pool.fill(&mut chain, PLAN, &mut other, write_all(b"c")), Ok(1));
        assert!(other.is_some(), "the room of the tail was enough");
        assert_eq!(pool.fill(&mut chain, PLAN, &mut other, write_all(&[b'd'; 410])), Ok(410));
        assert!(other.is_none(), "the receive reached the second buffer");
        assert_eq!((chain.buffers(), pool.free(), pool.promised()), (2, 0, 0));
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn receives_stay_on_the_buffers_touched_before() {
        let mut pool = pool(64);
        let mut touched = [false; 64];
        for turn in 0..100 {
            let [mut first, mut second] = [Chain::new(), Chain::new()];
            for chain in [&mut first, &mut second] {
                let plan = Fill { fresh: 1 + turn % 20, ..PLAN };
                pool.fill(chain, plan, &mut None, write_all(b"x")).unwrap();
                touched[chain.tail().unwrap().index() as usize] = true;
            }
            pool.release(first);
            pool.release(second);
        }
        assert_eq!(touched.iter().filter(|&&touched| touched).count(), 2);
    }

    #[test]
    fn appending_is_all_or_nothing() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        let data = bytes(2048);
        pool.append(&mut chain, &data[..1000], Rank::Send).unwrap();
        assert_eq!(pool.buffers_to_append(&chain, 1024 + 24), 2);
        assert_eq!(pool.buffers_to_append(&chain, 1024 + 25), 3);
        assert_eq!(pool.append(&mut chain, &data[1000..], Rank::Client), Err(Short));
        assert_eq!(contents(&pool, &chain), data[..1000]);
        pool.append(&mut chain, &data[1000..], Rank::Send).unwrap();
        assert_eq!(contents(&pool, &chain), data);
        assert_eq!(pool.append(&mut chain, b"x", Rank::Send), Err(Short));
        pool.append(&mut chain, b"", Rank::Send).unwrap();
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn prepending_uses_the_gap_and_then_buffers_from_their_end() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        let data = bytes(900);
        assert!(pool.extend(&mut chain, Rank::Send, 100));
        pool.append(&mut chain, &data[800..], Rank::Send).unwrap();
        pool.prepend(&mut chain, &data[740..800], Rank::Send).unwrap();
        assert_eq!(chain.buffers(), 1);
        assert_eq!(pool.buffers_to_prepend(&chain, 40), 0);
        assert_eq!(pool.buffers_to_prepend(&chain, 41), 1);
        pool.prepend(&mut chain, &data[600..740], Rank::Send).unwrap();
        assert_eq!(chain.buffers(), 2);
        assert_eq!(pool.buffers_to_prepend(&chain, 412), 0, "more fits before");
        pool.prepend(&mut chain, &data[..600], Rank::Send).unwrap();
        assert_eq!(chain.buffers(), 3);
        assert_eq!(contents(&pool, &chain), data);
        assert_eq!(pool.prepend(&mut chain, &data, Rank::Send), Err(Short));
        assert_eq!(contents(&pool, &chain), data);
        pool.release(chain);
        let mut chain = Chain::new();
        pool.prepend(&mut chain, b"first", Rank::Send).unwrap();
        pool.append(&mut chain, b"last", Rank::Send).unwrap();
        assert_eq!(contents(&pool, &chain), b"firstlast");
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    #[should_panic(expected = "more received")]
    fn a_receive_cannot_claim_more_than_it_was_offered() {
        let mut chain = Chain::new();
        let _ = pool(4).fill(&mut chain, PLAN, &mut None, |_| Ok::<_, ()>(usize::MAX));
    }
}
