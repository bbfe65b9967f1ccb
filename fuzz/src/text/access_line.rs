//! The access log: one exchange is one line, and what a client said stays within its quotes.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use base::id::{ListenerId, ServerId};
use exchange::{Note, Piece, Pieces, Refusal};
use serde_json::Value;
use wire::http1::Version;
use worker::{AccessRecord, CloseReason};

/// The members that hold pieces of a head.
const MEMBERS: [&str; 6] = ["method", "target", "host", "user_agent", "referer", "user"];

/// The first bytes choose the figures, the others are the pieces of a head, parted by 0xfe.
pub fn check(bytes: &[u8]) {
    let Some((figures, bytes)) = bytes.split_first_chunk::<8>() else { return };
    let mut parts = bytes.splitn(7, |byte| *byte == 0xfe);
    let mut next = || parts.next().unwrap_or_default();
    let said = [next(), next(), next(), next(), next(), next()];
    let id = next();
    let mut space = [0; 200];
    let mut pieces = Pieces::default();
    let version = [None, Some(Version::V10), Some(Version::V11)][usize::from(figures[0] % 3)];
    Note::new(&mut space, &mut pieces).write(version, said.map(|piece| [piece, b""]));
    let record = record(*figures, pieces, &space[..pieces.len()], id);
    json(&record, said);
    common(&record);
}

fn record<'r>(
    figures: [u8; 8],
    pieces: Pieces,
    text: &'r [u8],
    request_id: &'r [u8],
) -> AccessRecord<'r> {
    let [_, status, time, peer, server, refusal, closed, retries] = figures;
    let length = Duration::from_micros(u64::from(time).pow(4));
    AccessRecord {
        time: UNIX_EPOCH + length * 1000,
        listener: ListenerId(u32::from(peer % 2)),
        peer: match peer % 3 {
            0 => None,
            1 => Some(IpAddr::from([192, 0, 2, peer])),
            _ => Some(Ipv6Addr::from([peer; 16]).into()),
        },
        tls: None,
        status: u16::from(status) * 4,
        received: u64::from(time).pow(7),
        sent: u64::from(status),
        request_time: length,
        queue_time: Duration::ZERO,
        upstream_time: length / 2,
        server: u32::from(server % 3).checked_sub(1).map(ServerId),
        reused: server & 4 == 4,
        retries,
        refusal: Refusal::ALL.get(usize::from(refusal)).copied(),
        closed: CloseReason::ALL.get(usize::from(closed)).copied(),
        request_id,
        detail: b"a \"detail\"",
        pieces,
        text,
    }
}

/// One line that is one JSON object, in which what was said can be read again.
fn json(record: &AccessRecord<'_>, said: [&[u8]; 6]) {
    let line = anteroom::read::access_line(record, true);
    let shown = line.escape_ascii();
    let Some(object) = line.strip_suffix(b"\n") else { panic!("{shown}") };
    let Ok(text) = str::from_utf8(object) else { panic!("{shown}") };
    assert!(!text.chars().any(char::is_control), "it steers the terminal: {shown}");
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { panic!("{shown}") };
    for ((name, piece), said) in MEMBERS.into_iter().zip(Piece::ALL).zip(said) {
        let told = members.get(name).and_then(Value::as_str).unwrap_or_default();
        let meant = String::from_utf8_lossy(said);
        if record.pieces.is_cut(piece) {
            let told = told.trim_end_matches('\u{fffd}');
            assert!(meant.starts_with(told), "{name}: {told:?} of {meant:?}");
            let cut = members.get("cut").and_then(Value::as_array);
            assert!(cut.is_some_and(|cut| cut.contains(&name.into())), "{shown}");
        } else {
            assert_eq!(told, meant, "{name}");
        }
    }
    let seconds = members.get("request_seconds").and_then(Value::as_f64).unwrap_or(-1.0);
    assert!((seconds - record.request_time.as_secs_f64()).abs() < 1e-3, "{shown}");
    assert_eq!(members.get("bytes_received").and_then(Value::as_u64), Some(record.received));
}

/// One line of printable ASCII with three quoted strings.
fn common(record: &AccessRecord<'_>) {
    let line = anteroom::read::access_line(record, false);
    let shown = line.escape_ascii();
    let Some(text) = line.strip_suffix(b"\n") else { panic!("{shown}") };
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)), "{shown}");
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'"').collect();
    assert_eq!(parts.len(), 7, "{shown}");
    for (quoted, piece) in [(parts[3], Piece::Referer), (parts[5], Piece::UserAgent)] {
        let (said, cut) = record.piece(piece);
        let told = unescaped(quoted);
        let told = if cut { told.strip_suffix(b"...").unwrap_or_default() } else { &told[..] };
        assert!(told == said || (said.is_empty() && told == b"-"), "{shown}");
    }
}

/// Without `\xNN`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        let hex = after.strip_prefix(b"x").and_then(|hex| str::from_utf8(hex.get(..2)?).ok());
        match hex.filter(|_| *byte == b'\\') {
            Some(hex) => {
                bytes.extend(u8::from_str_radix(hex, 16));
                rest = &after[3..];
            }
            None => bytes.push(*byte),
        }
    }
    bytes
}
