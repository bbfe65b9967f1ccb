//! One exchange, or one note, as one line. Whatever a client sent, it stays within its quotes,
//! and the line stays one line.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use exchange::Piece;
use wire::http1::Version;
use worker::AccessRecord;

use super::choice::Format;
use super::stamp::Stamp;

/// The names that records give as numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The addresses of the listeners, by their numbers.
    pub(crate) listeners: Vec<String>,
    /// The groups and addresses of the servers, by their numbers.
    pub(crate) servers: Vec<[String; 2]>,
}

/// Writes records in one format.
#[derive(Debug)]
pub(crate) struct Scribe {
    format: Format,
    names: Names,
    stamp: Stamp,
}

impl Scribe {
    /// A scribe who knows these names.
    pub(crate) const fn new(format: Format, names: Names) -> Self {
        Self { format, names, stamp: Stamp::new(format) }
    }

    /// Appends the line of one record.
    pub(crate) fn push(&mut self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => self.json(record, out),
            Format::Common => self.common(record, out),
        }
        out.push(b'\n');
    }

    fn json(&mut self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        self.stamp.push(record.time, out);
        out.extend_from_slice(b"\",\"client\":\"");
        client(record.peer, out);
        out.push(b'"');
        if let Some(listener) = self.names.listeners.get(record.listener.index()) {
            member("listener", listener.as_bytes(), false, out);
        }
        for (key, piece) in [("method", Piece::Method), ("target", Piece::Target)] {
            let (text, cut) = record.piece(piece);
            member(key, text, cut, out);
        }
        member("protocol", protocol(record).as_bytes(), false, out);
        for (key, piece) in [("host", Piece::Host), ("user", Piece::User)] {
            let (text, cut) = record.piece(piece);
            member(key, text, cut, out);
        }
        if let Some(agreed) = record.tls {
            member("tls_version", agreed.version().as_bytes(), false, out);
            member("tls_cipher", agreed.cipher().as_bytes(), false, out);
        }
        if record.status != 0 {
            number("status", record.status.into(), out);
        }
        number("bytes_received", record.received, out);
        number("bytes_sent", record.sent, out);
        seconds("request_seconds", record.request_time, out);
        seconds("queue_seconds", record.queue_time, out);
        seconds("upstream_seconds", record.upstream_time, out);
        if let Some([group, server]) =
            record.server.and_then(|server| self.names.servers.get(server.index()))
        {
            member("upstream", group.as_bytes(), false, out);
            member("server", server.as_bytes(), false, out);
            let reused: &[u8] = if record.reused { b"true" } else { b"false" };
            out.extend_from_slice(b",\"reused\":");
            out.extend_from_slice(reused);
            number("retries", record.retries.into(), out);
        }
        member("request_id", record.request_id, false, out);
        for (key, piece) in [("user_agent", Piece::UserAgent), ("referer", Piece::Referer)] {
            let (text, cut) = record.piece(piece);
            member(key, text, cut, out);
        }
        member(
            "refusal",
            record.refusal.map_or("", exchange::Refusal::label).as_bytes(),
            false,
            out,
        );
        member("detail", record.detail, false, out);
        member(
            "closed",
            record.closed.map_or("", worker::CloseReason::label).as_bytes(),
            false,
            out,
        );
        cut_members(record, out);
        out.push(b'}');
    }

    /// `client - user [time] "method target protocol" status bytes "referer" "user agent"`.
    fn common(&mut self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        client(record.peer, out);
        out.extend_from_slice(b" - ");
        match record.piece(Piece::User) {
            ([], _) => out.push(b'-'),
            (user, _) => word(user, out),
        }
        out.extend_from_slice(b" [");
        self.stamp.push(record.time, out);
        out.extend_from_slice(b"] \"");
        let (method, _) = record.piece(Piece::Method);
        if method.is_empty() {
            out.push(b'-');
        } else {
            escape(method, out);
            out.push(b' ');
            quoted(record.piece(Piece::Target), out);
            let protocol = protocol(record);
            if !protocol.is_empty() {
                out.push(b' ');
                out.extend_from_slice(protocol.as_bytes());
            }
        }
        out.extend_from_slice(b"\" ");
        match record.status {
            0 => out.push(b'-'),
            status => digits(status.into(), out),
        }
        out.push(b' ');
        digits(record.sent, out);
        for piece in [Piece::Referer, Piece::UserAgent] {
            out.extend_from_slice(b" \"");
            match record.piece(piece) {
                ([], _) => out.push(b'-'),
                text => quoted(text, out),
            }
            out.push(b'"');
        }
    }
}

/// Appends a note: one JSON object, or a line of text, with the time if that is wanted.
pub(crate) fn event(
    format: Option<Format>,
    stamp: &mut Stamp,
    event: &super::events::Event,
    out: &mut Vec<u8>,
) {
    if format == Some(Format::Json) {
        out.extend_from_slice(b"{\"time\":\"");
        stamp.push(event.time, out);
        out.push(b'"');
        member("level", event.level().as_bytes(), false, out);
        member("message", event.message().as_bytes(), false, out);
        out.extend_from_slice(b"}\n");
        return;
    }
    if format.is_some() {
        stamp.push(event.time, out);
        out.push(b' ');
    }
    out.extend_from_slice(b"anteroom: ");
    out.extend_from_slice(event.text.as_bytes());
    out.push(b'\n');
}

fn protocol(record: &AccessRecord<'_>) -> &'static str {
    match record.pieces.version() {
        Some(Version::V10) => "HTTP/1.0",
        Some(Version::V11) => "HTTP/1.1",
        None => "",
    }
}

/// Its address; `unix:` for one on a Unix socket, as nginx has it.
fn client(peer: Option<IpAddr>, out: &mut Vec<u8>) {
    // A vector takes whatever is written.
    let _ = match peer {
        Some(IpAddr::V4(four)) => write!(out, "{four}"),
        Some(IpAddr::V6(six)) => write!(out, "{six}"),
        None => out.write_all(b"unix:"),
    };
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A text; left out if it is empty.
fn member(name: &str, text: &[u8], cut: bool, out: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    key(name, out);
    out.push(b'"');
    json_text(text, cut, out);
    out.push(b'"');
}

fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    key(name, out);
    digits(value, out);
}

fn digits(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds with microseconds behind the point.
fn seconds(name: &str, length: Duration, out: &mut Vec<u8>) {
    number(name, length.as_secs(), out);
    let mut micros = length.subsec_micros();
    let mut text = *b".000000";
    for digit in text[1..].iter_mut().rev() {
        *digit += u8::try_from(micros % 10).unwrap_or(0);
        micros /= 10;
    }
    out.extend_from_slice(&text);
}

/// Which values are only the beginnings of what was sent.
fn cut_members(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let names = ["method", "target", "host", "user_agent", "referer", "user"];
    let mut first = true;
    for (name, piece) in names.into_iter().zip(Piece::ALL) {
        if record.pieces.is_cut(piece) {
            out.extend_from_slice(if first { b",\"cut\":[\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            first = false;
        }
    }
    if !first {
        out.push(b']');
    }
}

/// Whether a byte may stand in a JSON string as it is.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Whether all bytes may. Without a way out in the middle, so that many are looked at at once.
fn all_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & is_plain(*byte))
}

/// The inside of a JSON string (RFC 8259 §7). What is no UTF-8 becomes U+FFFD; of a text that
/// was cut within a character, that character is left out.
fn json_text(text: &[u8], cut: bool, out: &mut Vec<u8>) {
    if all_plain(text) {
        return out.extend_from_slice(text);
    }
    let whole = match std::str::from_utf8(text) {
        Err(error) if cut && error.error_len().is_none() => &text[..error.valid_up_to()],
        _ => text,
    };
    for chunk in whole.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                _ if steers_a_terminal(character) => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Whether a character does something to the screen it is shown on: control characters of both
/// sets, line ends of Unicode, and those that turn the direction of writing.
const fn steers_a_terminal(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// A text between quotes; `...` at its end says that it was cut.
fn quoted((text, cut): (&[u8], bool), out: &mut Vec<u8>) {
    escape(text, out);
    if cut {
        out.extend_from_slice(b"...");
    }
}

/// Escapes what could end the quotes or the line, and what is no printable ASCII, as nginx does.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    if all_plain(text) {
        return out.extend_from_slice(text);
    }
    for &byte in text {
        if is_plain(byte) {
            out.push(byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// The same for a text without quotes around it, in which a space would end it.
fn word(text: &[u8], out: &mut Vec<u8>) {
    let mut parts = text.split(|byte| *byte == b' ');
    escape(parts.next().unwrap_or_default(), out);
    for part in parts {
        out.extend_from_slice(b"\\x20");
        escape(part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Event;
    use super::*;
    use base::id::{ListenerId, ServerId};
    use exchange::{Note, Pieces, Refusal};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::UNIX_EPOCH;
    use worker::CloseReason;

    const EMPTY: AccessRecord<'_> = AccessRecord {
        time: UNIX_EPOCH,
        listener: ListenerId(0),
        peer: None,
        tls: None,
        status: 0,
        received: 1,
        sent: 0,
        request_time: Duration::ZERO,
        queue_time: Duration::ZERO,
        upstream_time: Duration::ZERO,
        server: None,
        reused: false,
        retries: 0,
        refusal: None,
        closed: None,
        request_id: b"",
        detail: b"",
        pieces: Pieces::NONE,
        text: b"",
    };

    fn names() -> Names {
        Names {
            listeners: vec!["127.0.0.1:80".to_owned()],
            servers: vec![["app".to_owned(), "unix:/run/\"a\"".to_owned()]],
        }
    }

    /// The line of a record whose head has these pieces.
    fn line(format: Format, record: &AccessRecord<'_>, space: usize, pieces: [&[u8]; 5]) -> String {
        let [method, target, host, agent, referer] = pieces;
        let pieces = [method, target, host, agent, referer, b""];
        line_of(format, record, space, pieces)
    }

    /// The same with a user.
    fn line_of(
        format: Format,
        record: &AccessRecord<'_>,
        space: usize,
        pieces: [&[u8]; 6],
    ) -> String {
        let (mut space, mut kept) = (vec![0; space], Pieces::NONE);
        let parts = pieces.map(|piece| [piece, b""]);
        Note::new(&mut space, &mut kept).write(Some(Version::V11), parts);
        let record = AccessRecord { pieces: kept, text: &space[..kept.len()], ..record.clone() };
        let mut out = Vec::new();
        Scribe::new(format, names()).push(&record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_user_is_named_and_ends_no_word() {
        let pieces: [&[u8]; 6] = [b"GET", b"/", b"h", b"", b"", b"a b\"\nc"];
        let json = line_of(Format::Json, &EMPTY, 512, pieces);
        assert!(json.contains(r#""host":"h","user":"a b\"\u000ac""#), "{json}");
        let common = line_of(Format::Common, &EMPTY, 512, pieces);
        assert!(common.starts_with(r"unix: - a\x20b\x22\x0Ac ["), "{common}");
    }

    const HEAD: [&[u8]; 5] = [b"GET", b"/a?b=c", b"example.org", b"curl/8", b"http://r/"];

    #[test]
    fn nothing_in_a_value_steers_the_terminal_it_is_shown_on() {
        let mut out = Vec::new();
        json_text("a\u{9b}2J\u{202e}b\u{7f}é\u{2066}".as_bytes(), false, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\u009b2J\\u202eb\\u007fé\\u2066");
    }

    #[test]
    fn a_record_as_json() {
        let record = AccessRecord {
            time: UNIX_EPOCH + Duration::from_millis(1_795_699_199_042),
            peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            tls: Some(tls::Agreed::from_number(0x1301)),
            status: 200,
            received: 100,
            sent: 2345,
            request_time: Duration::from_micros(1_234_567),
            queue_time: Duration::from_nanos(1_999),
            server: Some(ServerId(0)),
            reused: true,
            retries: 1,
            request_id: b"a-1",
            ..EMPTY
        };
        let expected = r#"{"time":"2026-11-26T13:19:59.042Z","client":"192.0.2.1","listener":"127.0.0.1:80","method":"GET","target":"/a?b=c","protocol":"HTTP/1.1","host":"example.org","tls_version":"TLSv1.3","tls_cipher":"TLS_AES_128_GCM_SHA256","status":200,"bytes_received":100,"bytes_sent":2345,"request_seconds":1.234567,"queue_seconds":0.000001,"upstream_seconds":0.000000,"upstream":"app","server":"unix:/run/\"a\"","reused":true,"retries":1,"request_id":"a-1","user_agent":"curl/8","referer":"http://r/"}"#;
        assert_eq!(line(Format::Json, &record, 512, HEAD), format!("{expected}\n"));
    }

    #[test]
    fn a_record_in_the_combined_format() {
        let record = AccessRecord {
            peer: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            status: 404,
            sent: 17,
            ..EMPTY
        };
        assert_eq!(
            line(Format::Common, &record, 512, HEAD),
            "::1 - - [01/Jan/1970:00:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 404 17 \"http://r/\" \"curl/8\"\n"
        );
        assert_eq!(
            line(Format::Common, &EMPTY, 0, [b""; 5]),
            "unix: - - [01/Jan/1970:00:00:00 +0000] \"-\" - 0 \"-\" \"-\"\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_and_what_went_wrong_is_told() {
        let record = AccessRecord {
            refusal: Some(Refusal::Malformed),
            closed: Some(CloseReason::Drain),
            detail: b"CR without LF",
            ..EMPTY
        };
        let line = line(Format::Json, &record, 0, [b""; 5]);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        for key in ["method", "target", "status", "server", "reused", "request_id", "referer"] {
            assert!(read.get(key).is_none(), "{key}: {line}");
        }
        assert_eq!(
            (read["refusal"].as_str(), read["closed"].as_str()),
            (Some("malformed"), Some("drain"))
        );
        assert_eq!(
            (read["detail"].as_str(), read["client"].as_str()),
            (Some("CR without LF"), Some("unix:"))
        );
    }

    #[test]
    fn no_client_forges_a_line_or_a_member() {
        let evil: &[u8] = b"a\"},\n{\"status\":200} \\\" \x1b[2J\x00\x7f \xff\xc3\xa9";
        let text = line(Format::Json, &EMPTY, 512, [b"GET", evil, evil, evil, evil]);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains('\x1b') && !text.contains('\0'), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let meant = "a\"},\n{\"status\":200} \\\" \u{1b}[2J\0\u{7f} \u{fffd}é";
        for key in ["target", "host", "user_agent", "referer"] {
            assert_eq!(read[key], meant, "{text}");
        }
        assert!(read.get("status").is_none());
        let text = line(Format::Common, &EMPTY, 512, [b"GET", evil, evil, evil, evil]);
        assert_eq!((text.matches('\n').count(), text.matches('"').count()), (1, 6), "{text}");
        assert!(text.is_ascii() && text.contains("a\\x22},\\x0A{\\x22status\\x22:200}"), "{text}");
    }

    #[test]
    fn any_bytes_make_valid_json() {
        for first in 0..=u8::MAX {
            for second in [b'a', b'"', b'\\', 0x80, 0xc3, 0xff] {
                let bytes = [first, second, first];
                let text = line(Format::Json, &EMPTY, 512, [b"GET", &bytes, b"", b"", b""]);
                let read: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(read["target"], String::from_utf8_lossy(&bytes).as_ref());
            }
        }
    }

    #[test]
    fn what_was_cut_is_marked_and_no_character_is_halved() {
        let long = "é".repeat(200);
        let text = line(Format::Json, &EMPTY, 256, [b"GET", long.as_bytes(), b"h", b"u", b""]);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["cut"], serde_json::json!(["target"]));
        let target = read["target"].as_str().unwrap();
        assert!(target.chars().all(|letter| letter == 'é') && target.len() > 200, "{target}");
        let text =
            line(Format::Common, &EMPTY, 256, [b"GET", &[b'x'; 400], b"h", b"u", &[b'y'; 400]]);
        assert!(text.contains("x... HTTP/1.1\"") && text.contains("y...\" \"u\""), "{text}");
    }

    #[test]
    fn notes_are_lines_or_objects_with_a_level() {
        let written = |format, text: &str| {
            let stamp = &mut Stamp::new(Format::Json);
            let note = Event { time: UNIX_EPOCH, text: text.to_owned() };
            let mut out = Vec::new();
            event(format, stamp, &note, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(None, "warning: x"), "anteroom: warning: x\n");
        assert_eq!(
            written(Some(Format::Common), "draining"),
            "1970-01-01T00:00:00.000Z anteroom: draining\n"
        );
        assert_eq!(
            written(Some(Format::Json), "warning: \"x\""),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warning\",\"message\":\"\\\"x\\\"\"}\n"
        );
        for (text, level) in [("error: a", "error"), ("draining", "note"), ("b: error: c", "note")]
        {
            assert!(written(Some(Format::Json), text).contains(&format!("\"level\":\"{level}\"")));
        }
    }
}
