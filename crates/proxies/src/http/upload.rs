//! Requests that the server is shown as they arrive (`request = "stream"`): a body with a length
//! keeps it, one in chunks goes on in chunks, in canonical form and without trailers.

use core::mem;

use exchange::{Collected, Exchange, Facts, Refusal, RequestBody, Room, State};
use wire::http1::{ChunkReader, Keep, RequestFraming};

use super::body::decode;
use super::collect::refused;
use super::head::replace_head;

/// Whether a request is shown before its body is whole; of the body, `behind` bytes are here.
pub(super) fn is_streamed(
    framing: RequestFraming,
    facts: &Facts,
    behind: u32,
    room: &Room<'_>,
) -> bool {
    let goes_on = match framing {
        RequestFraming::None => false,
        // Of a record of TLS more may come at once than a request may keep.
        RequestFraming::Length(length) => {
            length > u64::from(behind) || length > room.rules.max_body
        }
        RequestFraming::Chunked => true,
    };
    goes_on && room.rules.stream.is_some() && !facts.final_recipient
}

/// Whether a body is larger than may be streamed.
fn is_too_large(length: u64, room: &Room<'_>) -> bool {
    room.rules.stream.is_some_and(|most| length > most)
}

/// The head's end is in the chain and its canonical form, `canonical` bytes of it, in the scratch
/// space: the request is ready for the server.
pub(super) fn begin(
    exchange: &mut Exchange,
    (end, canonical): (u32, usize),
    framing: RequestFraming,
    room: &mut Room<'_>,
) -> Collected {
    let reader = match framing {
        RequestFraming::None => RequestBody::Length(0),
        RequestFraming::Length(length) => RequestBody::Length(length),
        RequestFraming::Chunked => RequestBody::Chunked(ChunkReader::new(Keep::Chunks)),
    };
    if let RequestBody::Length(length) = reader
        && is_too_large(length, room)
    {
        return Collected::Refused(Refusal::BodyTooLarge, None);
    }
    let State::Arriving { input, .. } = &mut exchange.state else {
        return Collected::Incomplete { advise: false };
    };
    let behind = input.len() - end;
    if !replace_head(input, end, &room.scratch.written[..canonical], room.rank, room.pool) {
        return Collected::Starved;
    }
    let request = mem::take(input);
    exchange.upload_begins(request, reader);
    match body_grew(exchange, behind, room) {
        Collected::Incomplete { .. } => Collected::Complete,
        other => other,
    }
}

/// `fresh` more bytes of the body stand at the request's end.
pub(super) fn body_grew(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
    let Some((request, upload)) = exchange.upload_chain() else {
        debug_assert!(false, "nothing is streamed");
        return Collected::Incomplete { advise: false };
    };
    upload.expects &= fresh == 0;
    let excess = match &mut upload.reader {
        RequestBody::Length(left) => {
            let taken = u64::from(fresh).min(*left);
            *left -= taken;
            if *left > 0 {
                return Collected::Incomplete { advise: false };
            }
            fresh - u32::try_from(taken).unwrap_or(fresh)
        }
        RequestBody::Chunked(chunks) => {
            let done = match decode(request, chunks, fresh, room.pool) {
                Ok(done) => done,
                Err(fault) => return refused(fault),
            };
            let announced = chunks.data_len().saturating_add(chunks.remaining_in_chunk());
            if is_too_large(announced, room) {
                return Collected::Refused(Refusal::BodyTooLarge, None);
            }
            let Some(excess) = done else {
                return Collected::Incomplete { advise: false };
            };
            exchange.facts.trailer_bytes = chunks.trailer_bytes();
            excess
        }
        RequestBody::Ended { excess, .. } => *excess,
    };
    keep_excess(exchange, excess, room);
    exchange.upload_ends(room.pool);
    Collected::Complete
}

/// Moves what stands behind the body into `rest`. If there is no buffer to part them with, it is
/// dropped, and the client, whose connection ends with the response, may send it again. What belongs
/// to another protocol cannot be sent again: then none is switched to.
fn keep_excess(exchange: &mut Exchange, excess: u32, room: &mut Room<'_>) {
    let (State::Ready { request } | State::Leased { request, .. }) = &mut exchange.state else {
        return;
    };
    if excess == 0 {
        return;
    }
    let pool = &mut *room.pool;
    let at = request.len() - excess;
    if let Ok(behind) = pool.split(request, at, room.rank) {
        pool.join(&mut exchange.rest, behind);
    } else {
        pool.truncate(request, at);
        (exchange.facts.persistent, exchange.facts.upgrade) = (false, None);
    }
}
