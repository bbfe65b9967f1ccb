//! Shared chains: immutable, counted, read by many through cursors of their own.

use crate::chain::{Chain, Cursor};
use crate::leak;
use crate::pool::Pool;
use crate::register::BufferId;

/// One share of an immutable chain. The buffers go back with the last.
///
/// It must be given up with [`Pool::release_shared`]; a debug build panics where it is dropped.
#[must_use = "its share must be given up"]
#[derive(Debug)]
pub struct Shared {
    head: Option<BufferId>,
    /// Where the head buffer's bytes begin: its register counts the sharers there.
    offset: u16,
    len: u32,
    buffers: u32,
}

impl Shared {
    /// Bytes to read.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is nothing to read.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Buffers held, by all sharers together.
    pub const fn buffers(&self) -> u32 {
        self.buffers
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        leak::check(self.head.is_none(), "a share");
    }
}

impl Pool {
    /// Makes the unread bytes immutable and readable by many; this is the first share. A chain
    /// without unread bytes gives its buffers back.
    pub fn share(&mut self, mut chain: Chain) -> Shared {
        // Gives back empty buffers at the head.
        self.consume(&mut chain, 0);
        let Cursor { buffer: head, offset, left: len } = self.cursor(&chain);
        let buffers = chain.buffers;
        if let Some(head) = head {
            self.registers[head].share();
        }
        // The share holds the buffers now.
        (chain.head, chain.tail) = (None, None);
        Shared { head, offset, len, buffers }
    }

    /// One share more; `None` when there are 65,535 already.
    pub fn reshare(&mut self, shared: &Shared) -> Option<Shared> {
        if let Some(head) = shared.head {
            let register = &mut self.registers[head];
            debug_assert!(register.is_shared(), "a share of another pool");
            register.read = register.read.checked_add(1)?;
        }
        let Shared { head, offset, len, buffers } = *shared;
        Some(Shared { head, offset, len, buffers })
    }

    /// How many shares there are.
    pub fn sharers(&self, shared: &Shared) -> u16 {
        shared.head.map_or(1, |head| self.registers[head].read)
    }

    /// A cursor before the first byte; good while any share is held.
    pub fn cursor_of(&self, shared: &Shared) -> Cursor {
        Cursor { buffer: shared.head, offset: shared.offset, left: shared.len }
    }

    /// Gives up one share, and with the last one all buffers.
    pub fn release_shared(&mut self, mut shared: Shared) {
        let Some(head) = shared.head.take() else {
            return;
        };
        let register = &mut self.registers[head];
        debug_assert!(register.is_shared(), "a share of another pool");
        register.read -= 1;
        if register.read > 0 {
            return;
        }
        let count = self.stock.take_back_linked(&mut self.registers, head);
        debug_assert_eq!(count, shared.buffers, "a shared chain was changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Rank;
    use crate::model::{bytes, pool};

    #[test]
    fn the_buffers_go_back_with_the_last_share() {
        let mut pool = pool(8);
        let data = bytes(1200);
        let mut chain = Chain::new();
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        pool.consume(&mut chain, 500);
        let first = pool.share(chain);
        assert_eq!((first.len(), first.buffers(), first.is_empty()), (700, 3, false));
        let second = pool.reshare(&first).unwrap();
        let mut cursor = pool.cursor_of(&second);
        pool.advance(&mut cursor, 100);
        assert_eq!(pool.sharers(&first), 2);
        pool.release_shared(first);
        assert_eq!((pool.used(), pool.sharers(&second)), (3, 1));
        assert_eq!(pool.view(&cursor).concat(), data[600..]);
        assert_eq!(pool.view(&pool.cursor_of(&second)).concat(), data[500..]);
        pool.release_shared(second);
        pool.assert_whole();
    }

    #[test]
    fn shares_are_bounded() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        pool.append(&mut chain, b"popular", Rank::Send).unwrap();
        let first = pool.share(chain);
        let others: std::vec::Vec<_> = (1..u16::MAX).map_while(|_| pool.reshare(&first)).collect();
        assert_eq!(others.len(), 65_534);
        assert!(pool.reshare(&first).is_none());
        for share in others {
            pool.release_shared(share);
        }
        assert_eq!(pool.used(), 1);
        pool.release_shared(first);
        pool.assert_whole();
    }

    #[test]
    fn nothing_can_be_shared_too() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 0));
        let shared = pool.share(chain);
        assert!(shared.is_empty());
        pool.assert_whole();
        let again = pool.reshare(&shared).unwrap();
        assert!(pool.view(&pool.cursor_of(&again)).is_empty());
        pool.release_shared(shared);
        pool.release_shared(again);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "a share was dropped")]
    fn a_share_dropped_is_found() {
        let mut pool = pool(4);
        let mut chain = Chain::new();
        pool.append(&mut chain, b"ab", Rank::Send).unwrap();
        drop(pool.share(chain));
    }
}
