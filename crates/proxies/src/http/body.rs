//! Chunked bodies in chains (RFC 9112 §7.1).

use pool::{Chain, Pool};
use wire::http1::{ChunkReader, Fault};

/// Takes chunk framing out of the last `fresh` bytes of a chain, in place, as `chunks` is told
/// to. Bytes behind the body stay at the chain's end; their number is returned once the body
/// has ended.
pub(super) fn decode(
    chain: &mut Chain,
    chunks: &mut ChunkReader,
    fresh: u32,
    pool: &mut Pool,
) -> Result<Option<u32>, Fault> {
    let mut excess: Option<usize> = None;
    pool.rewrite_tail(chain, fresh, |bytes| {
        if let Some(excess) = &mut excess {
            *excess += bytes.len();
            return Ok(bytes.len());
        }
        let advance = chunks.advance(bytes)?;
        if !advance.done {
            return Ok(advance.kept);
        }
        let behind = bytes.len() - advance.consumed;
        bytes.copy_within(advance.consumed.., advance.kept);
        excess = Some(behind);
        Ok(advance.kept + behind)
    })?;
    Ok(excess.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)))
}
