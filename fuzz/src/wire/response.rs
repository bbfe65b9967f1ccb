//! Heads of responses: scanned, parsed, and written for a client.

use wire::http1::{
    ConnectionField, Delivery, FieldKind, FieldSpace, HeadScanner, ResponseFraming, ResponseHead,
    Sent, Writer, parse_request, parse_response, write_response,
};

use super::{LIMITS, scanned};
use crate::reference::{self, Head};

/// What the scanner passes and the parser accepts, a second reader reads alike.
pub fn check(bytes: &[u8]) {
    let found = scanned(HeadScanner::response(), bytes);
    for to_head in [false, true] {
        let mut space = FieldSpace::new();
        if let Ok(head) = parse_response(bytes, to_head, &LIMITS, &mut space) {
            assert_eq!(found, Ok(Some((bytes.len(), 0))), "parsed, but not scanned");
            agrees(&head, bytes, to_head);
        }
    }
    let Ok(Some((end, _))) = found else { return };
    let mut space = FieldSpace::new();
    if let Ok(head) = parse_response(&bytes[..end], false, &LIMITS, &mut space) {
        agrees(&head, &bytes[..end], false);
    }
}

/// A head that is accepted reaches the client with its meaning, however its body is sent.
pub fn check_written(bytes: &[u8]) {
    for to_head in [false, true] {
        let mut space = FieldSpace::new();
        let Ok(head) = parse_response(bytes, to_head, &LIMITS, &mut space) else { continue };
        let ways: &[Sent] = match head.framing {
            ResponseFraming::None | ResponseFraming::Length(_) => &[Sent::AsIs],
            ResponseFraming::Chunked | ResponseFraming::UntilClose => {
                &[Sent::Chunked, Sent::UntilClose]
            }
        };
        for body in ways {
            written(bytes, &head, to_head, *body, None);
        }
        // As a 101 is passed on, whatever the server said of the protocol.
        if head.is_interim() {
            written(bytes, &head, to_head, Sent::AsIs, Some(b"a/1"));
        }
    }
}

fn written(
    bytes: &[u8],
    head: &ResponseHead<'_>,
    to_head: bool,
    body: Sent,
    upgrade: Option<&[u8]>,
) {
    let connection = match body {
        Sent::UntilClose => ConnectionField::Close,
        _ => ConnectionField::None,
    };
    let delivery = Delivery {
        date: b"d",
        connection,
        body,
        trailers: false,
        request_id: Some(b"id"),
        upgrade,
    };
    let mut room = vec![0; bytes.len() + 1024];
    let mut writer = Writer::new(&mut room);
    assert!(write_response(&mut writer, head, &delivery).is_ok(), "longer than it may be");
    let text = writer.written();
    assert_eq!(scanned(HeadScanner::response(), text), Ok(Some((text.len(), 0))));

    let mut space = FieldSpace::new();
    let again = match parse_response(text, to_head, &LIMITS, &mut space) {
        Ok(again) => again,
        // Ours are beyond the bound that the server's met just so.
        Err(_) if head.fields.len() > 100 => return,
        Err(fault) => panic!("{fault:?} in {}", text.escape_ascii()),
    };
    agrees(&again, text, to_head);
    assert_eq!((again.status, again.reason), (head.status, head.reason));
    let framing = match (head.framing, body) {
        (ResponseFraming::Chunked | ResponseFraming::UntilClose, Sent::Chunked) => {
            ResponseFraming::Chunked
        }
        (ResponseFraming::Chunked, _) => ResponseFraming::UntilClose,
        (other, _) => other,
    };
    assert_eq!(again.framing, framing, "{}", text.escape_ascii());
    let named =
        if head.status == 426 { head.fields.of(FieldKind::Upgrade).collect() } else { vec![] };
    let named: Vec<&[u8]> = named.into_iter().chain(upgrade).collect();
    assert_eq!(again.fields.of(FieldKind::Upgrade).collect::<Vec<_>>(), named);
    let other = reference::head(text);
    let told = other.is_some_and(|other| other.lists("connection", "upgrade"));
    assert_eq!(told, !named.is_empty(), "a field for one hop says so");
    for gone in
        [FieldKind::HopByHop, FieldKind::Nominated, FieldKind::Trailer, FieldKind::AccelBuffering]
    {
        assert!(!again.fields.has(gone), "{gone:?} is passed on");
    }
    let passed = |head: &ResponseHead<'_>| {
        let kept = head.fields.iter().filter(|field| field.kind == FieldKind::EndToEnd);
        kept.map(|field| (field.name.to_vec(), field.value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(passed(&again), passed(head), "what is for the client");
    let mut room = [httparse::EMPTY_HEADER; 160];
    let mut other = httparse::Response::new(&mut room);
    assert_eq!(other.parse(text), Ok(httparse::Status::Complete(text.len())));
    assert_eq!((other.version, other.code), (Some(1), Some(head.status)));
    let theirs = other.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(theirs.eq(again.fields.iter().map(|field| (field.name, field.value))));
}

/// Everything in the parsed head is as a second reader has it.
fn agrees(head: &ResponseHead<'_>, bytes: &[u8], to_head: bool) {
    let Some(other) = reference::head(bytes) else { panic!("no head: {}", bytes.escape_ascii()) };
    let [version, status, reason] = other.line;
    assert!(version.starts_with(b"HTTP/1.") && version.len() == 8);
    assert_eq!(head.status.to_string().as_bytes(), status);
    assert!((100..1000).contains(&head.status));
    assert_eq!(head.reason, reason);
    let fields: Vec<(&[u8], &[u8])> =
        head.fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(fields, other.fields);
    let lengths = other.all("content-length").count();
    let codings = other.all("transfer-encoding").count();
    assert!(
        lengths + codings < 2
            || (lengths == 0 && head.framing == ResponseFraming::Chunked)
            || bodiless(head, to_head)
    );
    match head.framing {
        ResponseFraming::None => assert!(bodiless(head, to_head)),
        ResponseFraming::UntilClose => {
            assert_eq!((lengths, codings), (0, 0));
            assert!(!head.persistent);
        }
        ResponseFraming::Length(length) => {
            let value = other.only("content-length").unwrap_or_default();
            let told = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            assert_eq!(told, Some(length));
        }
        ResponseFraming::Chunked => assert!(other.lists("transfer-encoding", "chunked")),
    }
    assert!(!head.persistent || !other.lists("connection", "close"));
    switch_agrees(head, &other);
}

/// A server switches to what it was asked for, by the second reader, too.
fn switch_agrees(head: &ResponseHead<'_>, other: &Head<'_>) {
    // Whatever it names is asked for; and something that everybody knows.
    let names = other.all("upgrade").flat_map(reference::list).chain([&b"websocket"[..]]);
    for name in names {
        let request =
            [b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: ", name, b"\r\n\r\n"];
        let request = request.concat();
        let mut space = FieldSpace::new();
        let Ok(parsed) = parse_request(&request, &LIMITS, &mut space) else { continue };
        let Some(asked) = parsed.upgrade() else { continue };
        let switches = reference::switches(other, other.line[0], asked.name());
        assert_eq!(head.switches_to(&asked), switches, "{}", name.escape_ascii());
    }
}

const fn bodiless(head: &ResponseHead<'_>, to_head: bool) -> bool {
    to_head || matches!(head.status, 100..200 | 204 | 304)
}
