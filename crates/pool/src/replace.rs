//! Putting other bytes in the place of the first ones: a canonical head for a received one.

use crate::chain::Chain;
use crate::pool::Pool;
use crate::write::low;

impl Pool {
    /// Puts `bytes` in the place of the first `n` unread bytes, if they fit into the space those
    /// leave in the buffer where the rest begins; buffers before that one go back. No other
    /// byte moves and no buffer is lent. Panics when there are fewer than `n` unread bytes.
    ///
    /// `false`, and nothing changes, when they do not fit.
    #[must_use = "they may not fit"]
    pub fn replace_front(&mut self, chain: &mut Chain, n: u32, bytes: &[u8]) -> bool {
        assert!(n <= chain.len, "more replaced than there is");
        let Some((buffers, at)) = self.place_of(chain, n) else {
            return false;
        };
        if bytes.len() > at {
            return false;
        }
        for _ in 0..buffers {
            self.release_front(chain);
        }
        let Some(head) = chain.head else { return false };
        let from = at - bytes.len();
        self.region.bytes_mut(head)[from..at].copy_from_slice(bytes);
        self.registers[head].read = low(from);
        chain.len = chain.len - n + u32::try_from(bytes.len()).unwrap_or(0);
        true
    }

    /// Where unread byte `n` stands, or would stand at the chain's end: how many buffers come
    /// before its buffer, and its offset there.
    fn place_of(&self, chain: &Chain, n: u32) -> Option<(u32, usize)> {
        let mut left = n;
        let mut id = chain.head?;
        let mut before = 0;
        loop {
            let register = self.registers[id];
            match register.next() {
                Some(next) if left >= register.unread() => {
                    left -= register.unread();
                    id = next;
                    before += 1;
                }
                _ => return Some((before, usize::from(register.read) + left as usize)),
            }
        }
    }

    /// Gives the first buffer back, its unread bytes with it; the caller counts them off.
    fn release_front(&mut self, chain: &mut Chain) {
        let Some(head) = chain.head else { return };
        chain.head = self.registers[head].next();
        if chain.head.is_none() {
            chain.tail = None;
        }
        self.stock.take_back(&mut self.registers, head);
        chain.buffers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Rank;
    use crate::model::{bytes, contents, pool};

    #[test]
    fn a_longer_head_grows_into_the_gap_before_the_body() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Client, 100));
        pool.append(&mut chain, b"head|body", Rank::Client).unwrap();
        assert!(pool.replace_front(&mut chain, 5, b"longer head|"));
        assert_eq!(contents(&pool, &chain), b"longer head|body");
        assert_eq!((chain.len(), chain.buffers()), (16, 1));
        let long = bytes(200);
        assert!(!pool.replace_front(&mut chain, 12, &long));
        assert_eq!(contents(&pool, &chain), b"longer head|body");
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn the_whole_chain_can_be_replaced() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        let data = bytes(512 + 300);
        pool.append(&mut chain, &data, Rank::Client).unwrap();
        assert!(pool.replace_front(&mut chain, 812, &data[..300]));
        assert_eq!(contents(&pool, &chain), &data[..300]);
        assert_eq!((chain.buffers(), pool.used()), (1, 1), "the first buffer went back");
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn a_head_that_ends_with_its_buffer_is_replaced_before_the_next_one() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        let data = bytes(512 + 300);
        pool.append(&mut chain, &data, Rank::Client).unwrap();
        assert!(!pool.replace_front(&mut chain, 512, b"x"), "no gap before the second buffer");
        assert!(pool.replace_front(&mut chain, 512, b""));
        assert_eq!(contents(&pool, &chain), &data[512..]);
        pool.release(chain);
        pool.assert_whole();
    }
}
