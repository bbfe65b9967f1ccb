//! What heads of requests and responses have in common: finding their end, joining, replacing.

use core::mem;

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
/// fits there, else into buffers of its own. False, and nothing changed, if none was to be had.
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
    let mut head = Chain::new();
    if pool.append(&mut head, canonical, rank).is_err() {
        return false;
    }
    pool.consume(input, end);
    let body = mem::take(input);
    pool.join(&mut head, body);
    *input = head;
    true
}
