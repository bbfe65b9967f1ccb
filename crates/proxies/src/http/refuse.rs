//! Answers of our own: short, plain, and final where the framing is in doubt.

use core::mem;

use exchange::{Collected, Exchange, Refusal, Room, State, Then};
use pool::{Chain, Pool, Rank};
use wire::http1::{Fault, Full, Page, RefusalText, Writer, write_empty, write_refusal};

use super::admission::challenge;
use super::note::note_line;
use super::respond::connection_field;

/// What a client is told for whom there is no record or no buffer. A 5xx needs no `Date`
/// (RFC 9110 §6.6.1).
pub(super) const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 51\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    503 Service Unavailable: too many clients are here\n";

/// See [`exchange::Proxy::refuse`]. The lease, if there is one, must have ended before; what is to be
/// delivered then are interim responses.
pub(super) fn refuse(
    exchange: &mut Exchange,
    refusal: Refusal,
    fault: Option<Fault>,
    room: &mut Room<'_>,
) -> bool {
    debug_assert!(exchange.lease().is_none(), "the worker ends the lease first");
    if let Some(note) = &mut room.note {
        note_line(exchange, room.pool, note);
    }
    let arrives = match exchange.state {
        State::Authorizing { bodiless, .. } => !bodiless || !cut_rest(exchange, room.pool),
        State::Arriving { .. } | State::Collecting { .. } => true,
        _ => false,
    };
    let read = refusal.keeps_framing() && !arrives && exchange.upload.is_none();
    let keep = read && keeps(exchange, room);
    let to_head_request = is_head(exchange, room.pool);
    let mut output = match &mut exchange.state {
        State::Delivering { output } => mem::take(output),
        _ => Chain::new(),
    };
    exchange.give_up(room.pool);
    let request_id = exchange.request_id;
    let mut space = [0; CHALLENGE_MAX];
    let mut text = RefusalText {
        fields: challenge(refusal, room.rules, room.admission, &mut space),
        status: refusal.status(),
        detail: fault.map_or(refusal.detail(), Fault::reason),
        retry_after: refusal.retry_after(),
        connection: connection_field(keep, exchange.facts.old_version),
        date: room.date,
        to_head_request,
        request_id: request_id.get(),
        page: room.rules.error_pages.get(refusal.status()),
    };
    let mut written = write_behind(&mut output, room, |writer| write_refusal(writer, &text));
    if written.is_none() && text.page.take().is_some() {
        // The pool is too short for the operator's page; two lines of ours may still fit.
        written = write_behind(&mut output, room, |writer| write_refusal(writer, &text));
    }
    if written.is_none() {
        if !output.is_empty() {
            exchange.state = State::Delivering { output };
        }
        return false;
    }
    let then = match (keep, read) {
        (true, _) => Then::Park,
        (false, true) => Then::Close,
        (false, false) => Then::Linger,
    };
    deliver(exchange, refusal.status(), then, output, room);
    true
}

/// Room for a field line that says what is asked for: a realm has at most a quarter of it.
const CHALLENGE_MAX: usize = 1024;

/// A request that is not let in is whole with its head: what stands behind it is another's. False if
/// there was no buffer to part them with.
fn cut_rest(exchange: &mut Exchange, pool: &mut Pool) -> bool {
    let State::Authorizing { input, end, .. } = &mut exchange.state else { return false };
    if input.len() > *end {
        let Ok(rest) = pool.split(input, *end, Rank::Send) else { return false };
        pool.join(&mut exchange.rest, rest);
    }
    true
}

/// Whether HEAD is what is refused, be the head malformed or not all there (RFC 9110 §9.3.2).
fn is_head(exchange: &Exchange, pool: &Pool) -> bool {
    let State::Arriving { input, scanner, .. } = &exchange.state else {
        return exchange.facts.head_only;
    };
    let line = pool.peek(input).flatten().skip(scanner.skipped() as usize);
    line.take(HEAD.len()).eq(HEAD)
}

/// How a request line begins that asks for a head alone.
const HEAD: &[u8] = b"HEAD ";

/// Answers OPTIONS as its final recipient (RFC 9110 §7.6.2), once it is complete: 200, and
/// nothing to say of what we are.
pub(super) fn answer_options(exchange: &mut Exchange, room: &mut Room<'_>) -> Collected {
    let keep = keeps(exchange, room);
    exchange.give_up(room.pool);
    let connection = connection_field(keep, exchange.facts.old_version);
    let (date, request_id) = (room.date, exchange.request_id);
    let output =
        write_output(room, |writer| write_empty(writer, date, connection, request_id.get()));
    let Some(output) = output else {
        return Collected::Refused(Refusal::Crowded, None);
    };
    let then = if keep { Then::Park } else { Then::Close };
    deliver(exchange, 200, then, output, room);
    Collected::Answered
}

/// Answers a certificate authority (RFC 8555 §8.3).
pub(super) fn answer_challenge(
    exchange: &mut Exchange,
    place: u16,
    room: &mut Room<'_>,
) -> Collected {
    let keep = keeps(exchange, room);
    exchange.give_up(room.pool);
    let rules = room.rules;
    let body = rules.challenges.as_ref().and_then(|challenges| challenges.answer(place));
    let text = RefusalText {
        fields: b"",
        status: 200,
        detail: "",
        retry_after: None,
        connection: connection_field(keep, exchange.facts.old_version),
        date: room.date,
        to_head_request: exchange.facts.head_only,
        request_id: exchange.request_id.get(),
        page: body.map(|body| Page { content_type: "application/octet-stream", body }),
    };
    let output = write_output(room, |writer| write_refusal(writer, &text));
    let Some(output) = output else {
        return Collected::Refused(Refusal::Crowded, None);
    };
    let then = if keep { Then::Park } else { Then::Close };
    deliver(exchange, 200, then, output, room);
    Collected::Answered
}

/// Whether the client's connection may be kept.
const fn keeps(exchange: &Exchange, room: &Room<'_>) -> bool {
    exchange.facts.persistent && !room.draining
}

/// What `write` writes, as a chain; `None` when the buffers for it were not to be had.
fn write_output(
    room: &mut Room<'_>,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Option<Chain> {
    let mut output = Chain::new();
    write_behind(&mut output, room, write).map(|()| output)
}

/// Puts what `write` writes behind a chain; `None`, and nothing of it, when the buffers for it were
/// not to be had.
fn write_behind(
    output: &mut Chain,
    room: &mut Room<'_>,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Option<()> {
    let mut writer = Writer::new(&mut room.scratch.written);
    write(&mut writer).ok()?;
    let length = writer.len();
    let written = &room.scratch.written[..length];
    room.pool.append(output, written, Rank::Send).ok()
}

fn deliver(exchange: &mut Exchange, status: u16, then: Then, output: Chain, room: &mut Room<'_>) {
    exchange.facts.status = status;
    exchange.then = then;
    let ended = exchange.answers_itself(output, room.pool);
    debug_assert!(ended.is_none());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_text_tells_its_own_length() {
        let text = core::str::from_utf8(CROWDED).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&std::format!("Content-Length: {}\r\n", body.len())));
    }
}
