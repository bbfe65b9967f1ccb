//! Rewriting bytes in place just after they were received: chunk decoding.

use crate::chain::{Chain, Mark};
use crate::pool::Pool;
use crate::register::BufferId;
use crate::write::low;

impl Pool {
    /// The end of the chain, to rewrite from what is received next.
    #[inline]
    pub fn mark(&self, chain: &Chain) -> Mark {
        let offset = chain.tail.map_or(0, |tail| self.registers[tail].written);
        Mark { buffer: chain.tail, offset }
    }

    /// Rewrites the last `n` unread bytes as [`rewrite_from`](Self::rewrite_from) does. O(1) to
    /// find them when they lie in the tail buffer, else it takes time with every buffer before.
    ///
    /// Panics when there are fewer than `n`.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn rewrite_tail<E>(
        &mut self,
        chain: &mut Chain,
        n: u32,
        f: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        assert!(n <= chain.len, "more rewritten than there is");
        let Some(mark) = self.mark_before(chain, n) else {
            return Ok(());
        };
        self.rewrite_from(chain, mark, f)
    }

    /// Rewrites the bytes written since `mark`, buffer by buffer: `f` says how many it keeps, at
    /// the front of its slice.
    ///
    /// Buffers whose bytes fit behind those of the one before go back, so that two rewritten
    /// neighbours always fill more than one buffer and small chunks cannot blow a body up; the tail keeps its room, even when nothing remains. The buffer of the mark must
    /// still be in the chain.
    ///
    /// # Errors
    /// The first error of `f`: its slice and those behind it then count as they were.
    pub fn rewrite_from<E>(
        &mut self,
        chain: &mut Chain,
        mark: Mark,
        mut f: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let Some(first) = mark.buffer.or(chain.head) else {
            return Ok(());
        };
        debug_assert!(self.registers[first].is_allocated(), "the mark's buffer is gone");
        let from = mark.offset.max(self.registers[first].read);
        self.rewrite_buffer(chain, first, from, &mut f)?;
        let mut kept = first;
        while let Some(id) = self.registers[kept].next() {
            let from = self.registers[id].read;
            self.rewrite_buffer(chain, id, from, &mut f)?;
            if !self.merge_next(chain, kept) {
                kept = id;
            }
        }
        Ok(())
    }

    /// Lets `f` rewrite what buffer `id` holds from `from` on.
    fn rewrite_buffer<E>(
        &mut self,
        chain: &mut Chain,
        id: BufferId,
        from: u16,
        f: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let register = &mut self.registers[id];
        let bytes =
            &mut self.region.bytes_mut(id)[usize::from(from)..usize::from(register.written)];
        if bytes.is_empty() {
            return Ok(());
        }
        let kept = f(bytes)?;
        assert!(kept <= bytes.len(), "more kept than there was");
        chain.len -= u32::from(low(bytes.len() - kept));
        register.written = from + low(kept);
        if register.unread() == 0 && chain.head != Some(id) {
            // Only the head's gap is of use, for prepending.
            (register.read, register.written) = (0, 0);
        }
        Ok(())
    }

    /// Moves the bytes of the buffer behind `id` to its end and gives that buffer back, if they
    /// fit; whether they did.
    fn merge_next(&mut self, chain: &mut Chain, id: BufferId) -> bool {
        let Some(next) = self.registers[id].next() else {
            return false;
        };
        let (register, behind) = (self.registers[id], self.registers[next]);
        if behind.unread() as usize > self.room_of(id) {
            return false;
        }
        let bytes = usize::from(behind.read)..usize::from(behind.written);
        self.region.copy(next, bytes, id, usize::from(register.written));
        self.registers[id].written += behind.written - behind.read;
        self.registers[id].set_next(behind.next());
        if chain.tail == Some(next) {
            chain.tail = Some(id);
        }
        self.stock.take_back(&mut self.registers, next);
        chain.buffers -= 1;
        true
    }

    /// The mark before the last `n` unread bytes.
    fn mark_before(&self, chain: &Chain, n: u32) -> Option<Mark> {
        let tail = self.registers[chain.tail?];
        if n <= tail.unread() {
            return Some(Mark { buffer: chain.tail, offset: tail.written - low(n as usize) });
        }
        let mut skip = chain.len - n;
        let mut id = chain.head?;
        loop {
            let register = self.registers[id];
            if skip < register.unread() {
                let offset = register.read + low(skip as usize);
                return Some(Mark { buffer: Some(id), offset });
            }
            skip -= register.unread();
            id = register.next()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Rank;
    use crate::model::{bytes, check, contents, pool};
    use core::convert::Infallible;
    use std::vec::Vec;

    /// Keeps the bytes `keep` likes, as a decoder would.
    fn retain(keep: impl Fn(u8) -> bool) -> impl FnMut(&mut [u8]) -> Result<usize, Infallible> {
        move |bytes| {
            let mut kept = 0;
            for at in 0..bytes.len() {
                if keep(bytes[at]) {
                    bytes[kept] = bytes[at];
                    kept += 1;
                }
            }
            Ok(kept)
        }
    }

    #[test]
    fn the_last_bytes_are_rewritten_and_the_first_are_not() {
        for n in [0, 1, 100, 476, 477, 900, 1499, 1500] {
            let mut pool = pool(8);
            let mut chain = Chain::new();
            let data = bytes(1500);
            pool.append(&mut chain, &data, Rank::Send).unwrap();
            pool.rewrite_tail(&mut chain, n, retain(|byte| byte % 3 != 0)).unwrap();
            let (front, back) = data.split_at(1500 - n as usize);
            let kept = back.iter().copied().filter(|byte| byte % 3 != 0);
            let expected: Vec<u8> = front.iter().copied().chain(kept).collect();
            assert_eq!(contents(&pool, &chain), expected);
            check(&pool, [&chain]);
            pool.append(&mut chain, b"more", Rank::Send).unwrap();
            assert_eq!(chain.len() as usize, expected.len() + 4);
            pool.release(chain);
            pool.assert_whole();
        }
    }

    #[test]
    fn what_shrinks_moves_together() {
        let mut pool = pool(16);
        let mut chain = Chain::new();
        let data: Vec<u8> = (0..4096).map(|at| u8::from(at % 6 == 0)).collect();
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        pool.rewrite_tail(&mut chain, 4096, retain(|byte| byte == 1)).unwrap();
        assert_eq!(contents(&pool, &chain), [1; 683]);
        assert_eq!((chain.buffers(), pool.used()), (2, 2));
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn the_tail_keeps_its_room_when_nothing_remains() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 200));
        pool.append(&mut chain, &bytes(1000), Rank::Send).unwrap();
        pool.rewrite_tail(&mut chain, 1000, |_| Ok::<_, Infallible>(0)).unwrap();
        assert_eq!((chain.len(), chain.buffers(), pool.room(&chain)), (0, 1, 312));
        pool.prepend(&mut chain, &[1; 200], Rank::Send).unwrap();
        assert_eq!(chain.buffers(), 1, "the headroom is still there");
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn an_emptied_buffer_inside_offers_all_its_room() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        pool.append(&mut chain, &[1; 500], Rank::Send).unwrap();
        assert!(pool.extend(&mut chain, Rank::Send, 200));
        let mark = pool.mark(&chain);
        pool.append(&mut chain, &[2; 312 + 512], Rank::Send).unwrap();
        let keep_full = |bytes: &mut [u8]| Ok::<_, Infallible>(bytes.len() / 512 * 512);
        pool.rewrite_from(&mut chain, mark, keep_full).unwrap();
        assert_eq!(contents(&pool, &chain), [&[1; 500][..], &[2; 512]].concat());
        assert_eq!(chain.buffers(), 2, "nothing is left empty inside the chain");
        check(&pool, [&chain]);
        pool.release(chain);
    }

    #[test]
    fn bytes_after_a_mark_are_found_at_once() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        let mark = pool.mark(&chain);
        pool.append(&mut chain, &[1; 600], Rank::Send).unwrap();
        pool.rewrite_from(&mut chain, mark, |bytes| Ok::<_, Infallible>(bytes.len() / 2)).unwrap();
        assert_eq!(contents(&pool, &chain), [1; 300]);
        let mark = pool.mark(&chain);
        pool.append(&mut chain, &[2; 900], Rank::Send).unwrap();
        let mut sizes = Vec::new();
        let record = |bytes: &mut [u8]| {
            sizes.push(bytes.len());
            if sizes.len() == 3 { Err("bad chunk") } else { Ok(bytes.len() - 1) }
        };
        assert_eq!(pool.rewrite_from(&mut chain, mark, record), Err("bad chunk"));
        assert_eq!(sizes, [212, 512, 176]);
        assert_eq!(chain.len(), 300 + 211 + 511 + 176, "the failed slice stays");
        check(&pool, [&chain]);
        pool.release(chain);
        pool.assert_whole();
    }
}
