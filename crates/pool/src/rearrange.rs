//! Moving buffers between chains by their links: joining, splitting, cutting off.

use crate::chain::Chain;
use crate::grant::Rank;
use crate::pool::{Pool, Short};
use crate::register::BufferId;
use crate::write::low;

/// Where a number of unread bytes ends inside a chain.
struct Boundary {
    /// The buffer that holds the last of them.
    buffer: BufferId,
    /// Where it ends there.
    offset: u16,
    /// Buffers up to and including this one.
    buffers: u32,
}

impl Pool {
    /// Links `back` behind `front`. No byte moves; the room of `front`'s tail is given up.
    pub fn join(&mut self, front: &mut Chain, mut back: Chain) {
        let back = &mut back;
        match front.tail {
            Some(tail) => self.registers[tail].set_next(back.head),
            None => front.head = back.head,
        }
        front.tail = back.tail.or(front.tail);
        front.len += back.len;
        front.buffers += back.buffers;
        // Its buffers are the front's now.
        (back.head, back.tail) = (None, None);
    }

    /// Parts the chain: the unread bytes from `at` on leave into a chain of their own.
    ///
    /// Whole buffers move by link. Where the cut is inside a buffer, what is behind it there is
    /// copied into a fresh one. Takes time with every buffer before the cut. Panics when there
    /// are fewer than `at` unread bytes.
    ///
    /// # Errors
    /// [`Short`] when the pool does not grant that one buffer.
    pub fn split(&mut self, chain: &mut Chain, at: u32, rank: Rank) -> Result<Chain, Short> {
        assert!(at <= chain.len, "a cut beyond the end");
        if at == 0 {
            return Ok(chain.take());
        }
        if at == chain.len {
            return Ok(Chain::new());
        }
        let Some(cut) = self.boundary(chain, at) else {
            return Ok(Chain::new());
        };
        let inside = cut.offset < self.registers[cut.buffer].written;
        if !self.grants(u32::from(inside), rank) {
            return Err(Short);
        }
        let mut back = Chain {
            head: self.registers[cut.buffer].next(),
            tail: chain.tail,
            len: chain.len - at,
            buffers: chain.buffers - cut.buffers,
        };
        if back.head.is_none() {
            back.tail = None;
        }
        self.registers[cut.buffer].set_next(None);
        chain.tail = Some(cut.buffer);
        chain.len = at;
        chain.buffers = cut.buffers;
        if inside {
            self.move_behind_cut(&cut, &mut back);
        }
        Ok(back)
    }

    /// Moves what the boundary buffer holds behind the cut to a fresh head of `back`.
    fn move_behind_cut(&mut self, cut: &Boundary, back: &mut Chain) {
        let register = &mut self.registers[cut.buffer];
        let moved = usize::from(cut.offset)..usize::from(register.written);
        register.written = cut.offset;
        let fresh = self.stock.lend(&mut self.registers, 0);
        self.registers[fresh].written = low(moved.len());
        self.registers[fresh].set_next(back.head);
        self.region.copy(cut.buffer, moved, fresh, 0);
        back.head = Some(fresh);
        back.tail = back.tail.or(back.head);
        back.buffers += 1;
    }

    /// Drops the unread bytes from `at` on and the buffers behind them; nothing when there are
    /// not so many. Takes time with every buffer.
    pub fn truncate(&mut self, chain: &mut Chain, at: u32) {
        if at >= chain.len {
            return;
        }
        let Some(cut) = self.boundary(chain, at).filter(|_| at > 0) else {
            return self.clear(chain);
        };
        self.registers[cut.buffer].written = cut.offset;
        chain.len = at;
        self.release_behind(chain, Some(cut.buffer));
    }

    /// Where the first `at` unread bytes end, if the chain has so many.
    fn boundary(&self, chain: &Chain, at: u32) -> Option<Boundary> {
        let mut left = at;
        let mut buffer = chain.head?;
        let mut buffers = 1;
        loop {
            let register = self.registers[buffer];
            let unread = register.unread();
            if left <= unread {
                let offset = register.read + low(left as usize);
                return Some(Boundary { buffer, offset, buffers });
            }
            left -= unread;
            buffer = register.next()?;
            buffers += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{bytes, check, contents, pool};

    #[test]
    fn joining_moves_links_only() {
        let mut pool = pool(8);
        let data = bytes(1000);
        let [mut front, mut back] = [Chain::new(), Chain::new()];
        pool.append(&mut front, &data[..100], Rank::Send).unwrap();
        pool.append(&mut back, &data[50..], Rank::Send).unwrap();
        pool.consume(&mut back, 50);
        pool.join(&mut front, back);
        assert_eq!(contents(&pool, &front), data);
        assert_eq!((front.buffers(), pool.used()), (3, 3));
        pool.join(&mut front, Chain::new());
        let mut empty = Chain::new();
        pool.join(&mut empty, front);
        assert_eq!(contents(&pool, &empty), data);
        pool.append(&mut empty, b"tail", Rank::Send).unwrap();
        assert_eq!(empty.len(), 1004);
        pool.release(empty);
        pool.assert_whole();
    }

    #[test]
    fn splitting_anywhere_parts_the_bytes() {
        let data = bytes(1400);
        for at in [0, 1, 502, 503, 1013, 1014, 1015, 1389, 1390] {
            let mut pool = pool(8);
            let mut front = Chain::new();
            pool.append(&mut front, &data, Rank::Send).unwrap();
            pool.consume(&mut front, 10);
            let mut back = pool.split(&mut front, at, Rank::Send).unwrap();
            assert_eq!(contents(&pool, &front), data[10..10 + at as usize]);
            assert_eq!(contents(&pool, &back), data[10 + at as usize..]);
            let copied = ![0, 502, 1014, 1390].contains(&at);
            assert_eq!(pool.used(), 3 + u32::from(copied), "cut at {at}");
            pool.append(&mut front, b"f", Rank::Send).unwrap();
            pool.append(&mut back, b"b", Rank::Send).unwrap();
            check(&pool, [&front, &back]);
            pool.release(front);
            pool.release(back);
            pool.assert_whole();
        }
    }

    #[test]
    fn a_split_without_a_buffer_changes_nothing() {
        let mut pool = pool(4);
        let data = bytes(2048);
        let mut chain = Chain::new();
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        assert!(matches!(pool.split(&mut chain, 700, Rank::Send), Err(Short)));
        assert_eq!(contents(&pool, &chain), data);
        let back = pool.split(&mut chain, 1024, Rank::NewClient).unwrap();
        assert_eq!((chain.buffers(), back.buffers()), (2, 2), "by link alone");
        pool.release(back);
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn truncating_gives_back_what_is_behind() {
        let mut pool = pool(8);
        let data = bytes(1400);
        let mut chain = Chain::new();
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        for (at, buffers) in [(1400, 3), (1025, 3), (1024, 2), (600, 2), (512, 1), (1, 1), (0, 0)] {
            pool.truncate(&mut chain, at);
            assert_eq!(contents(&pool, &chain), data[..at as usize]);
            assert_eq!((chain.buffers(), pool.used()), (buffers, buffers));
        }
        pool.assert_whole();
    }
}
