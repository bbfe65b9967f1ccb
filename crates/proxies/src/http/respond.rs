//! From the response's first byte to its last, rewritten for the client (law 4).

use core::mem;

use exchange::{Exchange, Responded, ResponseBody, Room, State, Then};
use wire::http1::{
    ChunkReader, ConnectionField, Delivery, Fault, HeadScanner, Keep, ResponseFraming, Sent,
    Writer, parse_response, write_response,
};

use super::body::decode;
use super::head::{find_end, raw_head, replace_head};
use super::limits;

/// See [`exchange::Proxy::respond`].
pub(super) fn respond(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
    match &exchange.state {
        State::Leased { .. } | State::Pending { .. } => head_grew(exchange, room),
        State::Draining { .. } => body_grew(exchange, fresh, room),
        _ => {
            debug_assert!(false, "no response is awaited");
            Responded::Incomplete
        }
    }
}

/// See [`exchange::Proxy::respond_end`].
pub(super) fn respond_end(exchange: &mut Exchange, _room: &mut Room<'_>) -> Responded {
    match &exchange.state {
        State::Draining { reader: ResponseBody::UntilClose, .. } => {
            Responded::Whole { reusable: false }
        }
        State::Draining { .. } => Responded::Broken(Fault::BodyNotWhole),
        _ => Responded::Broken(Fault::HeadNotWhole),
    }
}

/// Looks for the head's end in what came; interim responses are passed over.
fn head_grew(exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
    loop {
        let (State::Leased { reply, .. } | State::Pending { reply, .. }) = &mut exchange.state
        else {
            return Responded::Incomplete;
        };
        if reply.end.is_none() {
            match find_end(&reply.input, &mut reply.scanner, room.pool) {
                Err(fault) => return Responded::Broken(fault),
                Ok(end) => reply.end = end,
            }
        }
        // Interim heads count, so that no server can hold a lease with nothing else for ever.
        if reply.interim.saturating_add(reply.scanner.scanned()) > room.rules.max_head {
            return Responded::Broken(Fault::HeadTooLarge);
        }
        let Some(end) = reply.end else {
            return Responded::Incomplete;
        };
        match head_is_there(exchange, end, room) {
            Head::Interim => {}
            Head::Final { behind } => return body_grew(exchange, behind, room),
            Head::Starved => return Responded::Starved,
            Head::Broken(fault) => return Responded::Broken(fault),
        }
    }
}

/// What a complete head turned out to be.
enum Head {
    /// A 1xx: dropped, another head follows (RFC 9110 §15.2).
    Interim,
    /// The response's own; so many bytes of its body stand behind it already.
    Final { behind: u32 },
    /// A buffer is needed for the canonical head.
    Starved,
    /// Not what a server may send here.
    Broken(Fault),
}

/// Parses the head and, unless it is an interim one, replaces it by the canonical one.
fn head_is_there(exchange: &mut Exchange, end: u32, room: &mut Room<'_>) -> Head {
    let request_taken = matches!(exchange.state, State::Pending { .. });
    let (State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. }) =
        &mut exchange.state
    else {
        return Head::Starved;
    };
    let facts = exchange.facts;
    let parsed = raw_head(&reply.input, end, room.pool, &mut room.scratch.joined)
        .and_then(|raw| parse_response(raw, facts.head_only, &limits(room.rules.max_target)));
    let head = match parsed {
        Ok(head) => head,
        Err(fault) => return Head::Broken(fault),
    };
    if head.status == 101 {
        // Upgrade is never passed on, so nothing can have been switched (RFC 9110 §15.2.2).
        return Head::Broken(Fault::UnaskedSwitch);
    }
    if head.status < 200 {
        lease.consume(&mut reply.input, end, room.pool);
        reply.interim = reply.interim.saturating_add(end);
        reply.scanner = HeadScanner::response();
        reply.end = None;
        return Head::Interim;
    }
    let body = Body::of(head.framing, facts.old_version);
    let keep = facts.persistent && !room.draining && !body.ends_with_connection;
    let mut writer = Writer::new(&mut room.scratch.written);
    let delivery = Delivery {
        date: room.date,
        connection: connection_field(keep, facts.old_version),
        body: body.sent,
    };
    if write_response(&mut writer, &head, &delivery).is_err() {
        return Head::Broken(Fault::HeadTooLarge);
    }
    let canonical = writer.len();
    let status = head.status;
    let reusable = head.persistent && request_taken;
    let canonical = &room.scratch.written[..canonical];
    if !replace_head(&mut reply.input, end, canonical, room.rank, room.pool) {
        return Head::Starved;
    }
    lease.reusable = reusable;
    exchange.facts.status = status;
    if !keep {
        exchange.then = Then::Close;
    }
    let output = mem::take(&mut reply.input);
    let behind = output.len() - u32::try_from(canonical.len()).unwrap_or(0);
    exchange.response_begins(output, body.reader, room.pool);
    Head::Final { behind }
}

/// How a response's body is read from the server and written to the client.
struct Body {
    reader: ResponseBody,
    sent: Sent,
    ends_with_connection: bool,
}

impl Body {
    fn of(framing: ResponseFraming, to_old_version: bool) -> Self {
        let (reader, sent, ends_with_connection) = match framing {
            ResponseFraming::None => (ResponseBody::Length(0), Sent::AsIs, false),
            ResponseFraming::Length(length) => (ResponseBody::Length(length), Sent::AsIs, false),
            ResponseFraming::Chunked if to_old_version => {
                let chunks = ChunkReader::new(Keep::Data);
                (ResponseBody::Chunked(chunks), Sent::UntilClose, true)
            }
            ResponseFraming::Chunked => {
                let chunks = ChunkReader::new(Keep::Framed);
                (ResponseBody::Chunked(chunks), Sent::Chunked, false)
            }
            ResponseFraming::UntilClose => (ResponseBody::UntilClose, Sent::UntilClose, true),
        };
        Self { reader, sent, ends_with_connection }
    }
}

pub(super) const fn connection_field(keep: bool, old_version: bool) -> ConnectionField {
    match (keep, old_version) {
        (false, _) => ConnectionField::Close,
        (true, true) => ConnectionField::KeepAlive,
        (true, false) => ConnectionField::None,
    }
}

/// `fresh` more bytes of the body stand at the chain's end.
fn body_grew(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
    let State::Draining { lease, output, reader } = &mut exchange.state else {
        return Responded::Incomplete;
    };
    let excess = match reader {
        ResponseBody::UntilClose => return Responded::Incomplete,
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
            Ok(None) => return Responded::Incomplete,
            Ok(Some(excess)) => excess,
        },
    };
    if excess > 0 {
        // Bytes behind a response answer nothing: that connection is not used again.
        let whole = output.len() - excess;
        room.pool.truncate(output, whole);
    }
    Responded::Whole { reusable: lease.reusable && excess == 0 }
}
