//! What heads of requests and responses have in common: finding their end, joining, replacing.

use pool::{Chain, Pool, Rank};
use wire::http1::{Fault, HeadScanner};

/// Scans what was not scanned yet; the head's length, skipped empty lines included, once its
/// end is there.
pub(super) fn find_end(
    input: &Chain,
    scanner: &mut HeadScanner,
    pool: &Pool,
) -> Result<Option<u32>, Fault> {
    let mut scanned = scanner.scanned() as usize;
    for slice in pool.peek(input) {
        let Some(unscanned) = slice.get(scanned..) else {
            scanned -= slice.len();
            continue;
        };
        scanned = 0;
        if scanner.scan(unscanned)?.is_some() {
            return Ok(Some(scanner.scanned()));
        }
    }
    Ok(None)
}

/// The head as one slice: where it lies, or joined in the scratch space if it is split.
pub(super) fn raw_head<'h>(
    input: &Chain,
    end: u32,
    pool: &'h Pool,
    joined: &'h mut [u8],
) -> Result<&'h [u8], Fault> {
    let end = end as usize;
    if let Some(whole) = pool.first(input).get(..end) {
        return Ok(whole);
    }
    let space = joined.get_mut(..end).ok_or(Fault::HeadTooLarge)?;
    pool.copy_out(input, space);
    Ok(space)
}

/// Puts the canonical head in the place of the first `end` bytes: into their own space if it
/// fits there, else into the buffers they leave, and only what that lacks into others. False,
/// and nothing changed, if those were not to be had.
pub(super) fn replace_head(
    input: &mut Chain,
    end: u32,
    canonical: &[u8],
    rank: Rank,
    pool: &mut Pool,
) -> bool {
    if pool.replace_front(input, end, canonical) {
        return true;
    }
    if input.len() == end {
        // Nothing to stand before: so the tail keeps its room.
        let head = take_head(input, end, canonical, rank, pool);
        return head.map(|head| *input = head).is_some();
    }
    let left = Left::by(input, end, pool);
    let lacking = canonical.len().saturating_sub(left.bytes);
    if !left.suffices(lacking, rank, pool) {
        return false;
    }
    pool.consume(input, end);
    let written = pool.prepend(input, canonical, Rank::Send);
    debug_assert!(written.is_ok(), "the head's own buffers were just given back");
    written.is_ok()
}

/// Takes the first `end` bytes away and gives the canonical head as a chain of its own, in the
/// buffers they leave, and only what that lacks in others. `None`, and nothing changed, if those
/// were not to be had.
pub(super) fn take_head(
    input: &mut Chain,
    end: u32,
    canonical: &[u8],
    rank: Rank,
    pool: &mut Pool,
) -> Option<Chain> {
    if !Left::by(input, end, pool).suffices(canonical.len(), rank, pool) {
        return None;
    }
    pool.consume(input, end);
    let mut head = Chain::new();
    let written = pool.append(&mut head, canonical, Rank::Send);
    debug_assert!(written.is_ok(), "the head's own buffers were just given back");
    written.ok().map(|()| head)
}

/// What a received head leaves when it is taken away.
///
/// A canonical head is longer by less than 1 KiB, so that a few buffers beyond these always do.
/// Were it written beside the received one, a long head on a short pool would wait for more
/// than a waiter is ever granted.
struct Left {
    /// Buffers that it fills alone.
    buffers: u32,
    /// Its bytes in the buffer where the rest begins.
    bytes: usize,
}

impl Left {
    fn by(input: &Chain, end: u32, pool: &Pool) -> Self {
        let mut left = Self { buffers: 0, bytes: end as usize };
        for slice in pool.peek(input) {
            if left.bytes < slice.len() {
                break;
            }
            left.bytes -= slice.len();
            left.buffers += 1;
        }
        left
    }

    /// Whether these buffers and what the pool grants to `rank` hold `length` bytes. Nobody can
    /// come in between: they are lent again at the rank of sending, for which nobody waits.
    fn suffices(&self, length: usize, rank: Rank, pool: &Pool) -> bool {
        let others = pool.buffers_to_append(&Chain::new(), length).saturating_sub(self.buffers);
        (others == 0 || others <= pool.grantable(rank)) && pool.waiting(Rank::Send) == 0
    }
}
