//! Reading chains: in place, by copy, by cursor, and consuming what was read.

use crate::chain::{Chain, Cursor};
use crate::grant::Promise;
use crate::pool::Pool;
use crate::region::Region;
use crate::register::{BufferId, Registers};
use crate::write::low;
use arrayvec::ArrayVec;

/// Most slices one [`Pool::view`] gives.
pub const MAX_SLICES: usize = 64;

/// The bytes from a cursor on, buffer by buffer; none of the slices is empty.
#[derive(Clone)]
pub struct Slices<'a> {
    region: &'a Region,
    registers: &'a Registers,
    at: Cursor,
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while self.at.left > 0 {
            let id = self.at.buffer?;
            let slice = piece(self.region, self.registers, id, self.at);
            step_over(self.registers, id, &mut self.at, slice.len());
            if !slice.is_empty() {
                return Some(slice);
            }
        }
        None
    }
}

impl core::fmt::Debug for Slices<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slices").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Pool {
    /// The unread bytes, buffer by buffer.
    #[inline]
    pub fn peek(&self, chain: &Chain) -> Slices<'_> {
        self.slices(&self.cursor(chain))
    }

    /// The first unread bytes that lie together: none only when the chain has none.
    #[inline]
    pub fn first(&self, chain: &Chain) -> &[u8] {
        self.peek(chain).next().unwrap_or_default()
    }

    /// Copies the first unread bytes, as many as there are and `out` takes; how many.
    pub fn copy_out(&self, chain: &Chain, out: &mut [u8]) -> usize {
        self.copy_from(&self.cursor(chain), out)
    }

    /// Copies the bytes from a cursor on, as many as there are and `out` takes; how many.
    pub fn copy_from(&self, cursor: &Cursor, out: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices(cursor) {
            let rest = &mut out[done..];
            let n = rest.len().min(slice.len());
            rest[..n].copy_from_slice(&slice[..n]);
            done += n;
            if done == out.len() {
                break;
            }
        }
        done
    }

    /// Counts the first `n` unread bytes as read. Buffers that are empty then go back at once,
    /// from the head on: a chain without unread bytes holds no buffer afterwards.
    ///
    /// Panics when there are fewer than `n`.
    #[inline]
    pub fn consume(&mut self, chain: &mut Chain, n: u32) {
        assert!(n <= chain.len, "more consumed than there is");
        chain.len -= n;
        let mut left = n;
        while let Some(head) = chain.head {
            let register = &mut self.registers[head];
            let unread = register.unread();
            if left < unread {
                register.read += low(left as usize);
                return;
            }
            left -= unread;
            self.release_head(chain);
        }
    }

    /// Consumes `n` bytes; when that leaves the chain without a buffer, the last one becomes a
    /// promise, which nobody else can come before.
    pub fn consume_to_promise(&mut self, chain: &mut Chain, n: u32) -> Option<Promise> {
        let held = !chain.is_empty();
        self.consume(chain, n);
        (held && chain.is_empty()).then(|| self.stock.promise())
    }

    /// A cursor before the first unread byte.
    #[inline]
    pub fn cursor(&self, chain: &Chain) -> Cursor {
        let offset = chain.head.map_or(0, |head| self.registers[head].read);
        Cursor { buffer: chain.head, offset, left: chain.len }
    }

    /// A cursor behind the first `at` unread bytes; takes time with every buffer it passes.
    pub fn cursor_at(&self, chain: &Chain, at: u32) -> Cursor {
        let mut cursor = self.cursor(chain);
        self.advance(&mut cursor, at);
        cursor
    }

    /// The bytes from a cursor on, buffer by buffer.
    #[inline]
    pub fn slices(&self, cursor: &Cursor) -> Slices<'_> {
        Slices { region: &self.region, registers: &self.registers, at: *cursor }
    }

    /// The first [`MAX_SLICES`] slices from a cursor on, for a vectored send.
    pub fn view(&self, cursor: &Cursor) -> ArrayVec<&[u8], MAX_SLICES> {
        self.slices(cursor).take(MAX_SLICES).collect()
    }

    /// Moves a cursor over `n` bytes. Panics when fewer are left.
    pub fn advance(&self, cursor: &mut Cursor, n: u32) {
        assert!(n <= cursor.left, "a cursor beyond its end");
        let end = cursor.left - n;
        while cursor.left > end
            && let Some(id) = cursor.buffer
        {
            let here = piece(&self.region, &self.registers, id, *cursor).len();
            let n = here.min((cursor.left - end) as usize);
            if n < here {
                cursor.offset += low(n);
                cursor.left = end;
            } else {
                step_over(&self.registers, id, cursor, n);
            }
        }
        debug_assert_eq!(cursor.left, end, "the chain ends before its cursor");
    }
}

/// What buffer `id`, where the cursor stands, holds for it.
#[inline]
fn piece<'a>(region: &'a Region, registers: &Registers, id: BufferId, at: Cursor) -> &'a [u8] {
    let register = registers[id];
    debug_assert!(register.is_allocated(), "a cursor into a buffer given back");
    let end = usize::from(register.written).min(usize::from(at.offset) + at.left as usize);
    region.bytes(id).get(usize::from(at.offset)..end).unwrap_or_default()
}

/// Moves the cursor past the `n` bytes that were all buffer `id` held for it.
#[inline]
fn step_over(registers: &Registers, id: BufferId, at: &mut Cursor, n: usize) {
    at.left -= u32::from(low(n));
    at.buffer = registers[id].next();
    at.offset = at.buffer.map_or(0, |next| registers[next].read);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Rank;
    use crate::model::{bytes, contents, pool};

    #[test]
    fn buffers_go_back_as_they_empty() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        let data = bytes(1300);
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        assert_eq!(
            pool.peek(&chain).map(<[u8]>::len).collect::<std::vec::Vec<_>>(),
            [512, 512, 276]
        );
        pool.consume(&mut chain, 511);
        assert_eq!((pool.first(&chain), pool.used()), (&data[511..512], 3));
        pool.consume(&mut chain, 1);
        assert_eq!((pool.first(&chain), pool.used()), (&data[512..1024], 2));
        assert_eq!(pool.consume_to_promise(&mut chain, 700).map(|p| pool.forgive(p)), None);
        let mut out = [0; 100];
        assert_eq!((pool.copy_out(&chain, &mut out), &out[..88]), (88, &data[1212..]));
        assert_eq!((pool.copy_out(&chain, &mut out[..9]), &out[..9]), (9, &data[1212..1221]));
        let promise = pool.consume_to_promise(&mut chain, 88).unwrap();
        assert_eq!((pool.used(), pool.promised(), chain.is_empty()), (0, 1, true));
        assert!(pool.first(&chain).is_empty());
        pool.forgive(promise);
        assert!(pool.consume_to_promise(&mut chain, 0).is_none());
        pool.assert_whole();
    }

    #[test]
    fn consuming_gives_back_empty_buffers_too() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        assert!(pool.extend(&mut chain, Rank::Send, 0) && pool.extend(&mut chain, Rank::Send, 0));
        pool.append(&mut chain, b"abc", Rank::Send).unwrap();
        assert!(pool.extend(&mut chain, Rank::Send, 0));
        assert_eq!((pool.first(&chain), chain.buffers()), (&b"abc"[..], 3));
        pool.consume(&mut chain, 1);
        assert_eq!(chain.buffers(), 2);
        pool.consume(&mut chain, 2);
        assert!(chain.is_empty());
        pool.assert_whole();
    }

    #[test]
    fn a_cursor_reads_without_releasing() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        let data = bytes(1500);
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        pool.consume(&mut chain, 10);
        let data = &data[10..];
        let mut cursor = pool.cursor(&chain);
        let start = cursor;
        for step in [0, 1, 501, 500, 300, 188] {
            let at = data.len() - cursor.left() as usize;
            assert_eq!(pool.view(&cursor).concat(), data[at..]);
            assert_eq!(pool.cursor_at(&chain, low(at).into()), cursor);
            pool.advance(&mut cursor, step);
        }
        assert_eq!(cursor.left(), 0);
        assert!(pool.view(&cursor).is_empty());
        assert_eq!(pool.view(&start).concat(), data);
        assert_eq!(contents(&pool, &chain), data);
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    fn a_cursor_ends_where_the_chain_ended() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        pool.append(&mut chain, b"before", Rank::Send).unwrap();
        let cursor = pool.cursor(&chain);
        pool.append(&mut chain, &bytes(1000), Rank::Send).unwrap();
        assert_eq!(pool.view(&cursor).concat(), b"before");
        pool.release(chain);
    }

    #[test]
    fn the_last_bytes_can_be_left_out() {
        let mut pool = pool(8);
        let mut chain = Chain::new();
        let data = bytes(1500);
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        for last in [0, 1, 476, 477, 1499, 1500, 1501] {
            let cursor = pool.cursor(&chain).before_last(last);
            assert_eq!(
                pool.view(&cursor).concat(),
                data[..1500_usize.saturating_sub(last as usize)]
            );
        }
        pool.release(chain);
    }

    #[test]
    fn a_view_is_bounded_and_can_be_continued() {
        let mut pool = pool(80);
        let mut chain = Chain::new();
        let data = bytes(70 * 512);
        pool.append(&mut chain, &data, Rank::Send).unwrap();
        let mut cursor = pool.cursor(&chain);
        assert_eq!(pool.view(&cursor).len(), MAX_SLICES);
        pool.advance(&mut cursor, 64 * 512);
        assert_eq!(pool.view(&cursor).concat(), data[64 * 512..]);
        pool.release(chain);
        pool.assert_whole();
    }

    #[test]
    #[should_panic(expected = "more consumed")]
    fn more_than_there_is_cannot_be_consumed() {
        pool(4).consume(&mut Chain::new(), 1);
    }
}
