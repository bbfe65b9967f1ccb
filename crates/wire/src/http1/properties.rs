//! Properties that hold for every input, however it is cut.

use core::net::{IpAddr, Ipv6Addr};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::fields::space;
use super::*;

const LIMITS: Limits = Limits { target: 200, fields: 64 };

const FORWARDING: Forwarding<'_> = Forwarding {
    granted: b"",
    subject: None,
    passes_credentials: true,
    peer: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    proto: "http",
    believed: Believed::NOTHING,
    default_host: "fallback",
    via: "anteroom",
    persistent: true,
    request_id: Some(b"id"),
    upgrade: None,
    removed: "",
    added: None,
};

/// Bytes that mean something to the codec, far more often than chance would bring them.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(vec![
            &b"\r\n"[..],
            b"\r\n\r\n",
            b"\r",
            b"\n",
            b" ",
            b"\t",
            b":",
            b": ",
            b";",
            b"=",
            b"\"",
            b"\\",
            b",",
            b"0",
            b"0\r\n",
            b"1\r\n",
            b"a\r\n",
            b"fffffffffffffff",
            b"GET / HTTP/1.1\r\n",
            b"POST http://h?q HTTP/1.0\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"Host: h\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: ",
            b"close",
            b"x",
            b"\0",
            b"\x7f",
            b"\xff",
        ])
        .prop_map(<[u8]>::to_vec),
        list(any::<u8>(), 0..12),
    ];
    list(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// `bytes` cut at the given places.
fn cut<'b>(bytes: &'b [u8], places: &[Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    let slice = |end| &bytes[core::mem::replace(&mut start, end)..end];
    ends.into_iter().map(slice).collect()
}

type Scanned = Result<(Option<usize>, Option<u32>, u32), Fault>;

fn scan(mut scanner: HeadScanner, slices: &[&[u8]]) -> Scanned {
    let mut before = 0;
    for slice in slices {
        if let Some(end) = scanner.scan(slice)? {
            assert_eq!(scanner.scanned() as usize, before + end);
            return Ok((Some(before + end), scanner.first_line(), scanner.skipped()));
        }
        before += slice.len();
    }
    assert_eq!(scanner.scanned() as usize, before);
    Ok((None, scanner.first_line(), scanner.skipped()))
}

/// Kept bytes, consumed bytes, whether the body ended, and the counts.
type Read = Result<(Vec<u8>, usize, bool, u64, u64, u32), Fault>;

fn read_chunks(keep: Keep, slices: &[&[u8]]) -> Read {
    let mut reader = ChunkReader::new(keep);
    let (mut kept, mut consumed, mut done) = (Vec::new(), 0, false);
    for slice in slices {
        let mut bytes = slice.to_vec();
        let advance = reader.advance(&mut bytes)?;
        assert!(advance.kept <= advance.consumed && advance.consumed <= bytes.len());
        assert!(advance.done || advance.consumed == bytes.len());
        kept.extend_from_slice(&bytes[..advance.kept]);
        consumed += advance.consumed;
        done = advance.done;
    }
    let counts = (reader.data_len(), reader.remaining_in_chunk(), reader.trailer_bytes());
    Ok((kept, consumed, done, counts.0, counts.1, counts.2))
}

/// A chunked body with everything the grammar allows, and its data.
fn chunked_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = select(vec!["", ";a", " ; a = b", ";a=\"x;\\\"y\"", ";;"]);
    let chunk = (list(any::<u8>(), 1..40), 0..4_usize, any::<bool>(), extension);
    let trailer = select(vec!["", "A: b\r\n", "A:\r\nContent-Length: 3\r\n"]);
    (list(chunk, 0..8), trailer).prop_map(|(chunks, trailer)| {
        let (mut body, mut data) = (Vec::new(), Vec::new());
        for (piece, zeros, upper, extension) in chunks {
            let size = format!("{}{:x}", "0".repeat(zeros), piece.len());
            let size = if upper { size.to_uppercase() } else { size };
            body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            body.extend_from_slice(&piece);
            body.extend_from_slice(b"\r\n");
            data.extend_from_slice(&piece);
        }
        body.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        (body, data)
    })
}

/// A valid request's head.
fn request_head() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "POST", "OPTIONS", "DELETE", "M-SEARCH"]);
    let target = prop_oneof![
        "/[!-\"$-~]{0,30}",
        "http://[a-z]{1,9}(:[0-9]{0,4})?(/[!-\"$-~]{0,9})?",
        "HTTPS://[a-z]{1,9}\\?[a-z]{0,9}",
    ];
    let name = prop_oneof![
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}".prop_map(|name| format!("X{name}")),
        select(vec![
            "Via",
            "X-Forwarded-For",
            "forwarded",
            "Upgrade",
            "TE",
            "X-A",
            "Date",
            "X-Real-IP"
        ])
        .prop_map(String::from),
    ];
    let line = (name, "[ \t]{0,2}", "([!-~é]([ -~\té]{0,20}[!-~é])?)?", "[ \t]{0,2}")
        .prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n"));
    let framing = select(vec![
        "",
        "Content-Length: 0\r\n",
        "Content-Length: 77\r\n",
        "transfer-encoding: CHUNKED\r\n",
    ]);
    let connection =
        select(vec!["", "Connection: close\r\n", "Connection: x-a, host, keep-alive\r\n"]);
    (method, target, list(line, 0..10), list(line_of_other(), 0..3), framing, connection).prop_map(
        |(method, target, lines, others, framing, connection)| {
            let (lines, others) = (lines.concat(), others.concat());
            format!("{method} {target} HTTP/1.1\r\n{lines}Host: h.example\r\n{connection}{others}{framing}\r\n")
        },
    )
}

/// A head of a request or a response that something went wrong with, perhaps.
fn damaged_head() -> impl Strategy<Value = Vec<u8>> {
    let damage = select(vec![
        &b"\n"[..],
        b"\r",
        b"\r\n",
        b"\0",
        b" ",
        b"\t",
        b"\x7f",
        b"\xff",
        b":",
        b",",
        b"#",
        b"",
    ]);
    let status_line = select(vec!["", "HTTP/1.1 200 OK", "HTTP/1.0 404", "HTTP/1.1 304 \t\u{e9}"]);
    (request_head(), status_line, list((any::<Index>(), damage, any::<bool>()), 0..3)).prop_map(
        |(head, status_line, damages)| {
            let line_end = if status_line.is_empty() { 0 } else { head.find('\r').unwrap() };
            let mut bytes = [status_line.as_bytes(), &head.as_bytes()[line_end..]].concat();
            for (place, damage, replaces) in damages {
                let start = place.index(bytes.len());
                let end = start + usize::from(replaces);
                bytes.splice(start..end, damage.iter().copied());
            }
            bytes
        },
    )
}

fn line_of_other() -> impl Strategy<Value = &'static str> {
    select(vec!["Accept: */*\r\n", "Expect: 100-continue\r\n", "Cookie: a=b; c\r\n"])
}

fn end_to_end<'f>(fields: &Fields<'f>) -> Vec<(&'f [u8], Vec<u8>)> {
    let passed = [FieldKind::EndToEnd, FieldKind::Via, FieldKind::Date];
    let kept = fields.iter().filter(|field| passed.contains(&field.kind));
    kept.map(|field| (field.name, field.value.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scanning_does_not_depend_on_cuts(bytes in any_bytes(), places in list(any::<Index>(), 0..8)) {
        for scanner in [HeadScanner::request(), HeadScanner::response()] {
            let whole = scan(scanner, &[&bytes]);
            prop_assert_eq!(scan(scanner, &cut(&bytes, &places)), whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(scan(scanner, &single), whole);
        }
    }

    #[test]
    fn heads_are_scanned_to_their_end(head in request_head(), places in list(any::<Index>(), 0..8)) {
        let bytes = [head.as_bytes(), b"\r\n\r\nbody"].concat();
        let (end, first_line, skipped) = scan(HeadScanner::request(), &cut(&bytes, &places)).unwrap();
        prop_assert_eq!(end, Some(head.len()));
        prop_assert_eq!(first_line.map(|length| length as usize), head.find('\r'));
        prop_assert_eq!(skipped, 0);
    }

    #[test]
    fn chunks_do_not_depend_on_cuts(bytes in any_bytes(), places in list(any::<Index>(), 0..8)) {
        for keep in [Keep::Data, Keep::Framed] {
            let whole = read_chunks(keep, &[&bytes]);
            prop_assert_eq!(read_chunks(keep, &cut(&bytes, &places)), whole.clone());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read_chunks(keep, &single), whole);
        }
    }

    #[test]
    fn chunks_make_a_round_trip((body, data) in chunked_body(), places in list(any::<Index>(), 0..8)) {
        let mut sent = body.clone();
        sent.extend_from_slice(b"GET / HTTP/1.1");
        let (kept, consumed, done, data_len, _, _) = read_chunks(Keep::Data, &cut(&sent, &places)).unwrap();
        prop_assert_eq!((&kept, consumed, done), (&data, body.len(), true));
        prop_assert_eq!(data_len, data.len() as u64);

        let framed = read_chunks(Keep::Framed, &cut(&sent, &places)).unwrap().0;
        prop_assert!(framed.ends_with(b"\r\n\r\n") || framed == b"0\r\n\r\n");
        prop_assert!(framed.len() <= body.len());
        prop_assert_eq!(read_chunks(Keep::Data, &[&framed]).unwrap().0, data);
        prop_assert_eq!(&read_chunks(Keep::Framed, &[&framed]).unwrap().0, &framed);
    }

    #[test]
    fn written_requests_parse_to_the_same(head in request_head(), length in any::<Option<u64>>(), persistent in any::<bool>()) {
        let first = parse_request(head.as_bytes(), &LIMITS, space()).unwrap();
        let forwarding = Forwarding { persistent, ..FORWARDING };
        let mut room = vec![0; head.len() + 1024];
        let mut writer = Writer::new(&mut room);
        write_request(&mut writer, &first, &forwarding).unwrap();
        finish_request(&mut writer, length).unwrap();
        let text = writer.written().to_vec();
        prop_assert_eq!(scan(HeadScanner::request(), &[&text]).unwrap().0, Some(text.len()));

        let again = parse_request(&text, &LIMITS, space()).unwrap();
        prop_assert_eq!(again.method, first.method);
        prop_assert_eq!(again.target.to_string(), first.target.to_string());
        prop_assert_eq!(again.host, first.host);
        prop_assert_eq!(again.framing, length.map_or(RequestFraming::None, RequestFraming::Length));
        prop_assert_eq!((again.persistent, again.expects_continue), (persistent, false));
        let mut expected = end_to_end(&first.fields);
        expected.push((b"Via", b"1.1 anteroom".to_vec()));
        prop_assert_eq!(again.fields.of(FieldKind::RequestId).collect::<Vec<_>>(), [b"id"]);
        prop_assert_eq!(end_to_end(&again.fields), expected);
        for gone in [FieldKind::TransferEncoding, FieldKind::Upgrade, FieldKind::HopByHop, FieldKind::Nominated] {
            prop_assert!(!again.fields.has(gone));
        }
    }

    #[test]
    fn what_passes_is_sound(
        bytes in prop_oneof![any_bytes(), damaged_head()],
        to_head in any::<bool>(),
    ) {
        let mut room = vec![0; bytes.len() + 1024];
        let mut writer = Writer::new(&mut room);
        if let Ok(head) = parse_request(&bytes, &LIMITS, space()) {
            prop_assert_eq!(scan(HeadScanner::request(), &[&bytes]).unwrap().0, Some(bytes.len()));
            prop_assert!(head.version == Version::V10 || head.host.is_some());
            write_request(&mut writer, &head, &FORWARDING).unwrap();
            finish_request(&mut writer, None).unwrap();
            let again = parse_request(writer.written(), &LIMITS, space()).unwrap();
            prop_assert_eq!((again.method, again.target), (head.method, head.target));
        } else if let Ok(head) = parse_response(&bytes, to_head, &LIMITS, space()) {
            prop_assert_eq!(scan(HeadScanner::response(), &[&bytes]).unwrap().0, Some(bytes.len()));
            let delivery = Delivery { date: b"d", connection: ConnectionField::Close, body: Sent::AsIs, trailers: false, request_id: None, upgrade: None };
            write_response(&mut writer, &head, &delivery).unwrap();
            let again = parse_response(writer.written(), to_head, &LIMITS, space()).unwrap();
            prop_assert_eq!((again.status, again.reason), (head.status, head.reason));
        }
    }
}
