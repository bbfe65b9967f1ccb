//! A real session with a client: whatever that sends, in whatever pieces it comes, and whoever
//! changes it on its way.

use base::limits::{TLS_PARTS_SHORT, TLS_RECORD_MAX};
use tls::{Failure, Record, next_record};

use super::end::{End, Pair, pair, split};
use crate::cuts::{Dice, ways};

/// How many bytes of a stream are looked at one by one.
const LOOKED_AT: usize = 64;
/// The alert for what is no record (RFC 8446 §6.2).
const DECODE_ERROR: u8 = 50;

/// The first byte says what the others are: what a client sends, a message that is to be long, or
/// what a client says that is really there, and what becomes of it on its way. The second one says
/// of which kind the session is.
pub fn check(bytes: &[u8]) {
    let Some((&[mode, kind], bytes)) = bytes.split_first_chunk() else { return };
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

/// What becomes of one of a client's records on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Passed,
    /// A byte behind its header is another one.
    Changed {
        place: usize,
        by: u8,
    },
    Repeated,
    LeftOut,
}

/// The way from a client to a server.
struct Way {
    deed: Deed,
    /// To which record.
    which: usize,
    /// How many bytes a record of a message in the clear has at most.
    most: Option<usize>,
    /// Whether what comes is encrypted: a record is whole then, or none.
    sealed: bool,
    passed: usize,
    /// Whether it was done, and to a record that means something in each version.
    touched: bool,
    done: bool,
}

impl Way {
    /// What comes out of what a client said.
    fn through(&mut self, said: &[u8]) -> Vec<u8> {
        let mut through = Vec::new();
        for (kind, body) in split(said) {
            self.sealed |= kind == 20;
            let most = self.most.filter(|_| kind == 22 && !self.sealed).unwrap_or(usize::MAX);
            for part in body.chunks(most.max(1)) {
                let mut record = vec![kind, 3, 3];
                record.extend(u16::try_from(part.len()).unwrap_or(0).to_be_bytes());
                record.extend_from_slice(part);
                self.pass(kind, record, &mut through);
            }
        }
        through
    }

    fn pass(&mut self, kind: u8, mut record: Vec<u8>, through: &mut Vec<u8>) {
        let meant = self.passed == self.which && self.deed != Deed::Passed;
        self.passed += 1;
        if meant {
            self.touched = true;
            // In TLS 1.3 change_cipher_spec means nothing.
            self.done = kind != 20;
            match self.deed {
                Deed::Changed { place, by } => {
                    let body = record.len() - 5;
                    record[5 + place % body] ^= by;
                }
                Deed::Repeated => through.extend_from_slice(&record),
                Deed::LeftOut => return,
                Deed::Passed => {}
            }
        }
        through.extend_from_slice(&record);
    }
}

/// Two real ends. What is heard is what was said, from its beginning; all of it, unless somebody did
/// something to it, and then never to its end.
fn real(pair: &Pair, mode: u8, bytes: &[u8]) {
    let Some((&[what, which, place, by, most], text)) = bytes.split_first_chunk() else { return };
    let deed = match what % 4 {
        0 => Deed::Passed,
        1 => Deed::Changed { place: place.into(), by: by.max(1) },
        2 => Deed::Repeated,
        _ => Deed::LeftOut,
    };
    let most = (most > 0).then(|| usize::from(most));
    let mut way = Way {
        deed,
        which: which.into(),
        most,
        sealed: false,
        passed: 0,
        touched: false,
        done: false,
    };
    let mut dice = Dice::of(bytes);
    let together = mode & 4 == 4;
    let (mut server, mut client) = (pair.server(), pair.client());
    client.begin();
    while !client.said.is_empty() {
        let said = std::mem::take(&mut client.said);
        arrive(&mut server, &way.through(&said), &mut dice, together);
        let answer = std::mem::take(&mut server.said);
        client.receive(&answer, together);
    }
    let shaken = !client.session.is_handshaking() && client.over.is_none() && !client.closed;
    if shaken {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            client.say(Some(line));
        }
        client.say(None);
        let said = std::mem::take(&mut client.said);
        arrive(&mut server, &way.through(&said), &mut dice, together);
    }
    assert!(text.starts_with(&server.heard), "another thing is heard than was said");
    // Nobody listens behind the end.
    way.done &= deed != Deed::Repeated || way.which + 1 < way.passed || !shaken;
    let complete = server.over.is_none() && server.closed && server.heard == text;
    if way.done {
        assert!(!complete, "{:?} is not seen", way.deed);
    } else if !way.touched || complete {
        let why = (server.over, client.over, server.heard.len(), text.len());
        assert!(complete && shaken, "{why:?}");
        server.session.identify();
        assert_eq!(server.session.has_certificate(), pair.asks());
        let subject = pair.asks().then_some("CN=alice");
        assert_eq!(server.session.subject(), subject);
        assert_eq!(server.session.agreed(), client.session.agreed());
    }
}

/// The bytes come in pieces.
fn arrive(server: &mut End, bytes: &[u8], dice: &mut Dice, together: bool) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = [1, 40, 2000][dice.below(3)];
        let (piece, after) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        server.receive(piece, together);
        rest = after;
    }
}
