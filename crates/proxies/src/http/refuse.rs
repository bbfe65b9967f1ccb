//! Answers of our own: short, plain, and final where the framing is in doubt.

use exchange::{Exchange, Refusal, Room, Then};
use pool::{Chain, Rank};
use wire::http1::{Fault, RefusalText, Writer, write_refusal};

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

/// See [`exchange::Proxy::refuse`]. The lease, if there is one, must have ended before.
pub(super) fn refuse(
    exchange: &mut Exchange,
    refusal: Refusal,
    fault: Option<Fault>,
    room: &mut Room<'_>,
) -> bool {
    debug_assert!(exchange.lease().is_none(), "the worker ends the lease first");
    let keep = refusal.keeps_framing() && exchange.facts.persistent && !room.draining;
    let mut writer = Writer::new(&mut room.scratch.written);
    let text = RefusalText {
        status: refusal.status(),
        detail: fault.map_or(refusal.detail(), Fault::reason),
        retry_after: refusal.retry_after(),
        connection: connection_field(keep, exchange.facts.old_version),
        date: room.date,
        to_head_request: exchange.facts.head_only,
    };
    let written = write_refusal(&mut writer, &text).is_ok();
    let length = writer.len();
    exchange.give_up(room.pool);
    let mut output = Chain::new();
    let text = &room.scratch.written[..length];
    if !written || room.pool.append(&mut output, text, Rank::Send).is_err() {
        return false;
    }
    exchange.facts.status = refusal.status();
    exchange.then = match (keep, refusal.keeps_framing()) {
        (true, _) => Then::Park,
        (false, true) => Then::Close,
        (false, false) => Then::Linger,
    };
    let ended = exchange.answers_itself(output, room.pool);
    debug_assert!(ended.is_none());
    true
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
