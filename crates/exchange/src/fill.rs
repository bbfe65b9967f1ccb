//! How much a receive may take: what is known to come, so that nothing behind it is received, and
//! little while that is not known.

use base::limits::{HEADROOM, RECEIVE_BUFFERS};
use pool::{Chain, Fill, Pool, Rank};
use wire::http1::CHUNK_HEAD_MAX;

use crate::state::{Exchange, RequestBody, ResponseBody, State};

/// Fresh buffers for `bytes` more, behind the room that the last one has: as many as one receive
/// fills at most.
pub fn fresh_for(pool: &Pool, chain: &Chain, bytes: u64) -> u16 {
    let behind_room = bytes.saturating_sub(pool.room(chain) as u64);
    let buffers = behind_room.div_ceil(u64::from(pool.buffer_bytes()));
    u16::try_from(buffers).unwrap_or(u16::MAX).min(RECEIVE_BUFFERS)
}

impl Exchange {
    /// What a receive from the client may take: what the request still needs if that is known;
    /// else one buffer at a time while the head arrives.
    pub fn request_fill(&self, pool: &Pool) -> Fill {
        let (chain, wanted) = match &self.state {
            State::Arriving { input, .. } => (Some(input), 1),
            State::Collecting { body, reader: RequestBody::Length(left), .. } => {
                (Some(body), fresh_for(pool, body, *left))
            }
            State::Collecting { body, .. } => (Some(body), RECEIVE_BUFFERS),
            _ => (None, 0),
        };
        // While the last buffer has room, a slow client needs no other.
        let fresh = match chain {
            Some(chain) if pool.room(chain) > 0 => 0,
            _ => wanted.max(1),
        };
        let begins = matches!(&self.state, State::Arriving { input, .. } if input.is_empty());
        Fill {
            fresh,
            rank: if begins { Rank::NewClient } else { Rank::Client },
            headroom: if begins { HEADROOM } else { 0 },
        }
    }

    /// What a receive from the server may take: little while the head is awaited, then what is
    /// known to come.
    pub fn response_fill(&self, pool: &Pool) -> Fill {
        let (fresh, headroom) = match &self.state {
            State::Draining { reader: ResponseBody::Length(left), output, .. } => {
                (fresh_for(pool, output, *left), 0)
            }
            // The head of a chunk is put before what is received; before other bodies, nothing.
            State::Draining { reader: ResponseBody::Recoded { .. }, .. } => {
                (RECEIVE_BUFFERS, CHUNK_HEAD_MAX)
            }
            State::Draining { .. } => (RECEIVE_BUFFERS, 0),
            _ => (2, HEADROOM),
        };
        Fill { fresh: fresh.max(1), rank: Rank::Upstream, headroom }
    }
}
