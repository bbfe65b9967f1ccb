//! The response's head, rewritten for the client, and what comes before it (law 4).

use core::mem;

use exchange::{Exchange, Responded, ResponseBody, Room, State, Then};
use pool::Chain;
use wire::http1::{
    ChunkReader, ConnectionField, Delivery, Fault, FieldSpace, HeadScanner, Keep, ResponseFraming,
    ResponseHead, Sent, Writer, parse_response, write_response,
};

use super::drain::{begin_body, body_begins, body_ended, body_grew};
use super::head::{find_end, raw_head, replace_head, take_head};
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
pub(super) fn respond_end(exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
    match &exchange.state {
        State::Draining { .. } => body_ended(exchange, room),
        _ => Responded::Broken(Fault::HeadNotWhole),
    }
}

/// Looks for the head's end in what came; interim responses are passed on before it.
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
            Head::Final { behind } => return body_begins(exchange, behind, room),
            Head::Switched => return Responded::Switched,
            Head::Starved => return Responded::Starved,
            Head::Broken(fault) => return Responded::Broken(fault),
        }
    }
}

/// What a complete head turned out to be.
enum Head {
    /// A 1xx: another head follows (RFC 9110 §15.2).
    Interim,
    /// The response's own; so many bytes of its body stand behind it already.
    Final { behind: u32 },
    /// A 101 to what was asked for: what stands behind it is of another protocol.
    Switched,
    /// A buffer is needed for the canonical head.
    Starved,
    /// Not what a server may send here.
    Broken(Fault),
}

/// Parses the head and writes it in canonical form.
fn head_is_there(exchange: &mut Exchange, end: u32, room: &mut Room<'_>) -> Head {
    let (State::Leased { reply, .. } | State::Pending { reply, .. }) = &exchange.state else {
        return Head::Starved;
    };
    let (facts, request_id) = (exchange.facts, exchange.request_id);
    let behind = reply.input.len() - end;
    let mut space = FieldSpace::new();
    let limits = limits(room.rules.max_target);
    let parsed = raw_head(&reply.input, end, room.pool, &mut room.scratch.joined)
        .and_then(|raw| parse_response(raw, facts.head_only, &limits, &mut space));
    let head = match parsed {
        Ok(head) => head,
        Err(fault) => return Head::Broken(fault),
    };
    let mut writer = Writer::new(&mut room.scratch.written);
    if head.status == 101 {
        let agreed = facts.upgrade.filter(|asked| head.switches_to(asked));
        let Some(protocol) = agreed else { return Head::Broken(Fault::UnaskedSwitch) };
        let upgrade = Some(protocol.name());
        let delivery = Delivery { request_id: request_id.get(), upgrade, ..interim(room.date) };
        if write_response(&mut writer, &head, &delivery).is_err() {
            return Head::Broken(Fault::HeadTooLarge);
        }
        let canonical = writer.len();
        return switch_is_there(exchange, end, canonical, room);
    }
    if head.is_interim() {
        // The request has come whole, so that nobody waits for 100 any more: whoever expected
        // it has it from us. HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
        let passed = head.status != 100 && !facts.old_version;
        if passed && write_response(&mut writer, &head, &interim(room.date)).is_err() {
            return Head::Broken(Fault::HeadTooLarge);
        }
        let canonical = writer.len();
        return interim_is_there(exchange, end, canonical, room);
    }
    let body = Body::of(&head, facts.old_version);
    // Of an upload that goes on, the rest is not read: the connection ends with the response.
    let uploads = exchange.upload.is_some();
    let keep = facts.persistent && !room.draining && !body.ends_with_connection && !uploads;
    let delivery = Delivery {
        date: room.date,
        connection: connection_field(keep, facts.old_version),
        body: body.sent,
        trailers: body.trailers,
        request_id: request_id.get(),
        upgrade: None,
    };
    let written = write_response(&mut writer, &head, &delivery)
        .and_then(|()| begin_body(&mut writer, &body.reader, behind));
    if written.is_err() {
        return Head::Broken(Fault::HeadTooLarge);
    }
    let found = Final {
        event_stream: head.is_event_stream(),
        ends_with_connection: body.ends_with_connection,
        canonical: writer.len(),
        status: head.status,
        persistent: head.persistent,
        keep,
        reader: body.reader,
    };
    final_is_there(exchange, end, found, room)
}

/// Interim responses are passed on with nothing added but a date (RFC 9110 §6.6.1, §15.2).
const fn interim(date: &[u8]) -> Delivery<'_> {
    Delivery {
        date,
        connection: ConnectionField::None,
        body: Sent::AsIs,
        trailers: false,
        request_id: None,
        upgrade: None,
    }
}

/// Puts the canonical head of a 101 in the place of the one that came. A server that switches
/// before it has the whole request reads the rest of that in the other protocol: so it has broken
/// this one (RFC 9110 §7.8).
fn switch_is_there(
    exchange: &mut Exchange,
    end: u32,
    canonical: usize,
    room: &mut Room<'_>,
) -> Head {
    let State::Pending { reply, .. } = &mut exchange.state else {
        return Head::Broken(Fault::UnaskedSwitch);
    };
    let canonical = &room.scratch.written[..canonical];
    if !replace_head(&mut reply.input, end, canonical, room.rank, room.pool) {
        return Head::Starved;
    }
    exchange.facts.status = 101;
    Head::Switched
}

/// Takes an interim head out of what came; `canonical` bytes in the scratch space are to be
/// passed on instead.
fn interim_is_there(
    exchange: &mut Exchange,
    end: u32,
    canonical: usize,
    room: &mut Room<'_>,
) -> Head {
    let (State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. }) =
        &mut exchange.state
    else {
        return Head::Starved;
    };
    let canonical = &room.scratch.written[..canonical];
    let taken = match canonical {
        [] => None,
        _ => take_head(&mut reply.input, end, canonical, room.rank, room.pool),
    };
    match taken {
        Some(head) => room.pool.join(&mut reply.early, head),
        // An interim response is a hint: when the pool is short it is left out, because the
        // buffer promised with the lease must be enough for the response itself (law 5).
        None => lease.consume(&mut reply.input, end, room.pool),
    }
    reply.interim = reply.interim.saturating_add(end);
    reply.scanner = HeadScanner::response();
    reply.end = None;
    Head::Interim
}

/// What a final head turned out to say.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
struct Final {
    event_stream: bool,
    /// Only the end of the client's connection tells its end.
    ends_with_connection: bool,
    /// Length of the canonical head in the scratch space.
    canonical: usize,
    status: u16,
    /// The server keeps its connection.
    persistent: bool,
    /// The client's is kept.
    keep: bool,
    reader: ResponseBody,
}

/// Puts the canonical head in the place of the final one, and goes on with the body.
fn final_is_there(exchange: &mut Exchange, end: u32, found: Final, room: &mut Room<'_>) -> Head {
    let request_taken = matches!(exchange.state, State::Pending { .. });
    let (State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. }) =
        &mut exchange.state
    else {
        return Head::Starved;
    };
    let behind = reply.input.len() - end;
    let canonical = &room.scratch.written[..found.canonical];
    if !replace_head(&mut reply.input, end, canonical, room.rank, room.pool) {
        return Head::Starved;
    }
    lease.reusable = found.persistent && request_taken;
    exchange.facts.status = found.status;
    exchange.facts.event_stream = found.event_stream;
    exchange.facts.ends_with_connection = found.ends_with_connection;
    if !found.keep {
        exchange.then = if exchange.upload.is_some() { Then::Linger } else { Then::Close };
    }
    let output = mem::take(&mut reply.input);
    let reader = match found.reader {
        // Its first chunk was begun with the head.
        ResponseBody::Recoded { staged, .. } => ResponseBody::Recoded { staged, begun: behind > 0 },
        other => other,
    };
    exchange.response_begins(output, reader, room.pool);
    Head::Final { behind }
}

/// How a response's body is read from the server and written to the client.
struct Body {
    reader: ResponseBody,
    sent: Sent,
    ends_with_connection: bool,
    /// Whether the server's trailers are passed on.
    trailers: bool,
}

impl Body {
    fn of(head: &ResponseHead<'_>, to_old_version: bool) -> Self {
        let mut trailers = false;
        let (reader, sent, ends_with_connection) = match head.framing {
            ResponseFraming::None => (ResponseBody::Length(0), Sent::AsIs, false),
            ResponseFraming::Length(length) => (ResponseBody::Length(length), Sent::AsIs, false),
            ResponseFraming::Chunked if to_old_version => {
                let chunks = ChunkReader::new(Keep::Data);
                (ResponseBody::Chunked(chunks), Sent::UntilClose, true)
            }
            ResponseFraming::Chunked => {
                // Which of them `Connection` names would have to be kept for so long.
                trailers = !head.nominates_trailers();
                let chunks = ChunkReader::new(if trailers { Keep::Framed } else { Keep::Chunks });
                (ResponseBody::Chunked(chunks), Sent::Chunked, false)
            }
            ResponseFraming::UntilClose if to_old_version => {
                (ResponseBody::UntilClose, Sent::UntilClose, true)
            }
            ResponseFraming::UntilClose => {
                let reader = ResponseBody::Recoded { staged: Chain::new(), begun: false };
                (reader, Sent::Chunked, false)
            }
        };
        Self { reader, sent, ends_with_connection, trailers }
    }
}

pub(super) const fn connection_field(keep: bool, old_version: bool) -> ConnectionField {
    match (keep, old_version) {
        (false, _) => ConnectionField::Close,
        (true, true) => ConnectionField::KeepAlive,
        (true, false) => ConnectionField::None,
    }
}
