//! A real session with a client: whatever that sends, in whatever pieces it comes, and whoever
//! changes it on its way.

use base::limits::{TLS_PARTS_SHORT, TLS_RECORD_MAX};
use tls::{Failure, Record, next_record};

use super::again;
use super::behind;
use super::end::{Pair, pair};
use super::way::{Way, meet};
use crate::cuts::{Dice, ways};

/// How many bytes of a stream are looked at one by one.
const LOOKED_AT: usize = 64;
/// Set in the first byte, where it is about what comes behind the handshake.
const BEHIND: u8 = 64;
/// The same, where a client comes again.
const AGAIN: u8 = 128;
/// The alert for what is no record (RFC 8446 §6.2).
const DECODE_ERROR: u8 = 50;

/// The first byte says what the others are: what a client sends, a message that is to be long, what a
/// client says that is really there, and what becomes of it on its way, what a peer says behind its
/// handshake, or who comes again. The second one says of which kind the session is.
pub fn check(bytes: &[u8]) {
    let Some((&[mode, kind], bytes)) = bytes.split_first_chunk() else { return };
    if mode & BEHIND == BEHIND {
        return behind::check(mode, kind, bytes);
    }
    if mode & AGAIN == AGAIN {
        return again::check(mode, kind, bytes);
    }
    let pair = pair(kind);
    match mode % 4 {
        0 | 1 => {
            next(bytes);
            sent(pair, bytes);
        }
        2 => long(pair, bytes),
        _ => real(pair, mode, bytes),
    }
}

/// A record is known by its own bytes, and where it ends by its first five.
fn next(bytes: &[u8]) {
    let whole = next_record(bytes);
    let is_none = |from: &[u8]| match *from {
        [kind, ..] if !(20..=23).contains(&kind) => true,
        [_, major, ..] if major != 3 => true,
        [_, _, _, high, low, ..] => usize::from(high) * 256 + usize::from(low) > (18 << 10),
        _ => false,
    };
    for end in (0..=bytes.len()).take(LOOKED_AT).chain([bytes.len()]) {
        let seen = &bytes[..end];
        match next_record(seen) {
            Record::Part => assert!(!is_none(seen)),
            Record::Bad => assert!(is_none(seen) && whole == Record::Bad),
            Record::Whole(length) => {
                assert!(length <= end && !is_none(seen) && whole == Record::Whole(length));
                assert_eq!(length, 5 + usize::from(seen[3]) * 256 + usize::from(seen[4]));
            }
        }
    }
}

/// What is left of a session.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    over: Option<Failure>,
    alert: Option<u8>,
    closed: bool,
    handshaking: bool,
    waiting: Vec<u8>,
}

/// Bytes that nobody knows: what becomes of the session does not depend on their pieces, nor on how
/// many records it is shown at one time.
fn sent(pair: &Pair, bytes: &[u8]) {
    let whole = outcome(pair, &[bytes], false);
    assert_eq!(outcome(pair, &[bytes], true), whole, "records together");
    for pieces in &ways(bytes)[1..] {
        assert_eq!(outcome(pair, pieces, false), whole, "the cuts decide");
    }
    assert!(whole.handshaking, "nobody shook hands");
}

fn outcome(pair: &Pair, pieces: &[&[u8]], together: bool) -> Outcome {
    let mut end = pair.server();
    for piece in pieces {
        end.receive(piece, together);
    }
    assert!(end.heard.is_empty(), "something is heard before any key is known");
    let (alert, handshaking) = (end.alert(), end.session.is_handshaking());
    if end.over.is_some() {
        // Of what is no record from the start, everybody is told the same.
        let first = next_record(&pieces.concat());
        assert!(first != Record::Bad || alert == Some(DECODE_ERROR), "{alert:?}");
        end.waiting.clear();
    } else if end.closed {
        end.waiting.clear();
    }
    Outcome { over: end.over, alert, closed: end.closed, handshaking, waiting: end.waiting }
}

/// A message of any length, in records of any length: no more is kept of it than may be, what is
/// small enough is never too large, and what can never be whole is refused.
fn long(pair: &Pair, bytes: &[u8]) {
    let Some((&[message, high, low, size], body)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let declared = u32::from(high) << 8 | u32::from(low);
    let filling = body.iter().chain([&0]).copied().cycle().take(length);
    let [_, head @ ..] = declared.to_be_bytes();
    let whole: Vec<u8> = [message].into_iter().chain(head).chain(filling).collect();
    let stream = recorded(&whole, 1 + usize::from(size) * 67);
    let mut end = pair.server();
    for piece in &ways(&stream)[2] {
        end.receive(piece, false);
    }
    assert!(end.over.is_some() || !end.said.is_empty(), "it is whole, and nothing becomes of it");
    if stream.len() <= TLS_PARTS_SHORT {
        assert_ne!(end.over, Some(Failure::TooLarge), "{} bytes", stream.len());
    }
    if !pair.asks() && length > TLS_PARTS_SHORT + TLS_RECORD_MAX {
        assert_eq!(end.over, Some(Failure::TooLarge), "{length} bytes");
    }
}

/// A handshake's bytes in records of so many bytes.
fn recorded(bytes: &[u8], most: usize) -> Vec<u8> {
    let most = most.min(TLS_RECORD_MAX - 5 - 2048);
    let record = |part: &[u8]| {
        let [high, low] = u16::try_from(part.len()).unwrap_or(0).to_be_bytes();
        [&[22, 3, 3, high, low], part].concat()
    };
    bytes.chunks(most).flat_map(record).collect()
}

/// Two real ends. What is heard is what was said, from its beginning; all of it, unless somebody did
/// something to it, and then never to its end.
fn real(pair: &Pair, mode: u8, bytes: &[u8]) {
    let Some((head, text)) = bytes.split_first_chunk() else { return };
    let mut way = Way::new(*head);
    meet(pair, &mut way, text, &mut Dice::of(bytes), mode & 4 == 4);
}
