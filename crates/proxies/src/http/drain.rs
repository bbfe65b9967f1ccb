//! The response's body, from behind its head to its last byte, as the client is to get it.

use exchange::{Exchange, Responded, ResponseBody, Room, Scratch, State};
use pool::{Chain, Pool, Rank};
use wire::http1::{
    CHUNK_HEAD_MAX, ChunkReader, Fault, Full, TRAILER_MAX, Writer, last_chunk, write_chunk_head,
    write_trailers,
};

use super::body::decode;

/// What the client gets between the canonical head and the `behind` bytes of the body that came
/// with it: where we cut the body into chunks ourselves, the head of the first.
pub(super) fn begin_body(
    writer: &mut Writer<'_>,
    reader: &ResponseBody,
    behind: u32,
) -> Result<(), Full> {
    match reader {
        ResponseBody::Recoded { .. } if behind > 0 => {
            write_chunk_head(writer, true, u64::from(behind))
        }
        _ => Ok(()),
    }
}

/// `behind` bytes of the body stand behind the head in the output.
pub(super) fn body_begins(exchange: &mut Exchange, behind: u32, room: &mut Room<'_>) -> Responded {
    match &exchange.state {
        // Their chunk was begun with the head.
        State::Draining { reader: ResponseBody::Recoded { .. }, .. } => Responded::Incomplete,
        _ => body_grew(exchange, behind, room),
    }
}

/// `fresh` more bytes of the body stand at the end of the chain they are received into.
pub(super) fn body_grew(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
    let State::Draining { lease, output, reader } = &mut exchange.state else {
        return Responded::Incomplete;
    };
    let excess = match reader {
        ResponseBody::UntilClose => return Responded::Incomplete,
        ResponseBody::Recoded { staged, begun } => {
            put_chunk(output, staged, begun, room);
            return Responded::Incomplete;
        }
        ResponseBody::RecodedEnd { .. } => return put_last_chunk(exchange, room),
        ResponseBody::Length(left) => {
            let taken = u64::from(fresh).min(*left);
            *left -= taken;
            if *left > 0 {
                return Responded::Incomplete;
            }
            fresh - u32::try_from(taken).unwrap_or(fresh)
        }
        ResponseBody::Chunked(chunks) => match decode(output, chunks, fresh, room.pool) {
            Err(fault) => return Responded::Broken(fault),
            Ok(None) => {
                // What was only framing leaves a buffer with no byte: it goes back (law 2).
                let unread = output.len();
                if unread == 0 {
                    lease.consume(output, 0, room.pool);
                }
                return Responded::Incomplete;
            }
            Ok(Some(excess)) => excess,
        },
    };
    if excess > 0 {
        // Bytes behind a response answer nothing: that connection is not used again.
        let whole = output.len() - excess;
        room.pool.truncate(output, whole);
    }
    if let ResponseBody::Chunked(chunks) = reader {
        exchange.facts.response_trailer_bytes = sift_trailers(output, chunks, room);
    }
    Responded::Whole { reusable: lease.reusable && excess == 0 }
}

/// The server ended its direction within the body.
pub(super) fn body_ended(exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
    let State::Draining { reader, .. } = &mut exchange.state else {
        return Responded::Broken(Fault::BodyNotWhole);
    };
    match reader {
        ResponseBody::UntilClose => Responded::Whole { reusable: false },
        ResponseBody::Recoded { staged, begun } => {
            debug_assert!(staged.is_empty(), "it is part of the output after each receive");
            *reader = ResponseBody::RecodedEnd { begun: *begun };
            put_last_chunk(exchange, room)
        }
        ResponseBody::RecodedEnd { .. } => put_last_chunk(exchange, room),
        ResponseBody::Length(_) | ResponseBody::Chunked(_) => {
            Responded::Broken(Fault::BodyNotWhole)
        }
    }
}

/// Makes what was received a chunk of the output. Never short: a small one is copied into the
/// room of the output's last buffer, so that a server that drips cannot fill the pool with
/// buffers that hold little; else its head goes into the gap in front of it.
fn put_chunk(output: &mut Chain, staged: &mut Chain, begun: &mut bool, room: &mut Room<'_>) {
    let length = staged.len();
    if length == 0 {
        return room.pool.clear(staged);
    }
    let mut space = [0; CHUNK_HEAD_MAX as usize];
    let mut writer = Writer::new(&mut space);
    let written = write_chunk_head(&mut writer, !*begun, u64::from(length));
    debug_assert!(written.is_ok(), "the space is as large as a chunk's head may be");
    *begun = true;
    let head = writer.written();
    let (pool, scratch) = (&mut *room.pool, &mut *room.scratch);
    let put = copy_chunk(output, staged, head, pool, scratch)
        || pool.prepend(staged, head, Rank::Send).is_ok();
    debug_assert!(put, "what is staged has a gap in front");
    pool.join(output, staged.take());
}

/// Copies a chunk behind the output, if it fits there, and empties `staged`.
fn copy_chunk(
    output: &mut Chain,
    staged: &mut Chain,
    head: &[u8],
    pool: &mut Pool,
    scratch: &mut Scratch,
) -> bool {
    let length = staged.len() as usize;
    let Some(data) = scratch.joined.get_mut(..length) else { return false };
    if head.len() + length > pool.room(output) {
        return false;
    }
    pool.copy_out(staged, data);
    let copied =
        pool.append(output, head, Rank::Send).and_then(|()| pool.append(output, data, Rank::Send));
    debug_assert!(copied.is_ok(), "no buffer is lent for it");
    pool.clear(staged);
    true
}

/// Ends a body that we cut into chunks ourselves.
fn put_last_chunk(exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
    let State::Draining { lease, output, reader: ResponseBody::RecodedEnd { begun } } =
        &mut exchange.state
    else {
        return Responded::Incomplete;
    };
    let end = last_chunk(!*begun);
    if room.pool.room(output) < end.len()
        && let Some(promise) = lease.promise.take()
    {
        room.pool.extend_promised(output, promise, 0);
    }
    if room.pool.append(output, end, room.rank).is_err() {
        return Responded::Starved;
    }
    Responded::Whole { reusable: false }
}

/// The body has ended: takes out of its trailer section what may not be passed on, or all of it
/// where the client gets no chunks. Returns how many bytes that were.
///
/// No byte of the section was delivered yet, and what is left of it never needs more buffers
/// than it had.
fn sift_trailers(output: &mut Chain, chunks: &ChunkReader, room: &mut Room<'_>) -> u32 {
    let held = chunks.trailer_held();
    if held == 0 {
        return chunks.trailer_bytes();
    }
    let before = output.len() - held;
    let section = room.pool.cursor_at(output, before);
    let joined = room.scratch.joined.get_mut(..held as usize).unwrap_or_default();
    room.pool.copy_from(&section, joined);
    let mut writer = Writer::new(&mut room.scratch.written);
    let sifted = write_trailers(&mut writer, joined);
    debug_assert!(sifted.is_ok(), "the scratch space holds any trailer section");
    if sifted == Ok(0) {
        return 0;
    }
    let ended = writer.push(b"\r\n");
    debug_assert!(ended.is_ok());
    let length = writer.len();
    room.pool.truncate(output, before);
    let appended = room.pool.append(output, &room.scratch.written[..length], Rank::Send);
    debug_assert!(appended.is_ok(), "the section's own buffers were just given back");
    sifted.unwrap_or(held)
}

const _: () = assert!(TRAILER_MAX + 2 < base::limits::MAX_HEAD_LIMIT, "the scratch space holds it");
