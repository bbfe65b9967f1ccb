//! Heads of requests: scanned, parsed, and written anew.

use core::net::{IpAddr, Ipv4Addr};

use wire::http1::{
    Believed, FieldKind, FieldSpace, Forwarding, HeadScanner, Protocol, RequestFraming,
    RequestHead, Version, Writer, finish_request, parse_request, write_request,
};

use super::{LIMITS, scanned};
use crate::reference::{self, Head};

/// What goes into canonical heads.
const FORWARDING: Forwarding<'_> = Forwarding {
    granted: b"",
    subject: None,
    passes_credentials: true,
    peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
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
/// By how much a canonical head may be longer than what was received.
const GROWTH: usize = 1024;

/// What the scanner passes and the parser accepts, a second reader reads alike.
pub fn check(bytes: &[u8]) {
    let found = scanned(HeadScanner::request(), bytes);
    let mut space = FieldSpace::new();
    if let Ok(head) = parse_request(bytes, &LIMITS, &mut space) {
        assert_eq!(found, Ok(Some((bytes.len(), 0))), "parsed, but not scanned");
        agrees(&head, bytes);
    }
    let Ok(Some((end, skipped))) = found else { return };
    let mut space = FieldSpace::new();
    if let Ok(head) = parse_request(&bytes[skipped..end], &LIMITS, &mut space) {
        agrees(&head, &bytes[skipped..end]);
    }
}

/// A head that is accepted survives its canonical form, which others read as we do; whether or not
/// what it says of its way is believed.
pub fn check_written(bytes: &[u8]) {
    let mut space = FieldSpace::new();
    let Ok(head) = parse_request(bytes, &LIMITS, &mut space) else { return };
    check_form(bytes, &head, &FORWARDING);
    let believed = Believed::read(&head.fields, trusts);
    check_form(bytes, &head, &Forwarding { believed, ..FORWARDING });
    if let Some(asked) = head.upgrade() {
        check_form(bytes, &head, &Forwarding { upgrade: Some(asked.name()), ..FORWARDING });
    }
}

/// Every second address.
fn trusts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[3] % 2 == 0,
        IpAddr::V6(address) => address.octets()[15] % 2 == 0,
    }
}

fn check_form(bytes: &[u8], head: &RequestHead<'_>, forwarding: &Forwarding<'_>) {
    let length = match head.framing {
        RequestFraming::None => None,
        RequestFraming::Length(length) => Some(length),
        RequestFraming::Chunked => Some(bytes.len() as u64),
    };
    let mut room = vec![0; bytes.len() + GROWTH];
    let mut writer = Writer::new(&mut room);
    let written = write_request(&mut writer, head, forwarding)
        .and_then(|()| finish_request(&mut writer, length));
    assert!(written.is_ok(), "a canonical head is longer than it may be");
    let text = writer.written();
    assert_eq!(scanned(HeadScanner::request(), text), Ok(Some((text.len(), 0))));

    let mut space = FieldSpace::new();
    let again = parse_request(text, &LIMITS, &mut space);
    let again = match again {
        Ok(again) => again,
        // Ours are beyond the bound that the client's met just so.
        Err(_) if head.fields.len() > 100 => return,
        Err(fault) => panic!("{fault:?} in {}", text.escape_ascii()),
    };
    agrees(&again, text);
    assert_eq!((again.method, again.target), (head.method, head.target));
    let host = head.host.filter(|host| !host.is_empty()).unwrap_or("fallback");
    assert_eq!(again.host, Some(host));
    assert_eq!(again.framing, length.map_or(RequestFraming::None, RequestFraming::Length));
    assert!(again.persistent && !again.expects_continue && again.version == Version::V11);
    for gone in [
        FieldKind::TransferEncoding,
        FieldKind::Expect,
        FieldKind::Trailer,
        FieldKind::HopByHop,
        FieldKind::Nominated,
    ] {
        assert!(!again.fields.has(gone), "{gone:?} is passed on");
    }
    // The server is asked for that protocol, and for no other one.
    let asked: Vec<&[u8]> = forwarding.upgrade.into_iter().collect();
    assert_eq!(again.fields.of(FieldKind::Upgrade).collect::<Vec<_>>(), asked);
    let options: Vec<&[u8]> = again.fields.of(FieldKind::Connection).collect();
    assert_eq!(options, asked.iter().map(|_| &b"upgrade"[..]).collect::<Vec<_>>());
    let again_asked = again.upgrade();
    assert_eq!(again_asked.as_ref().map(Protocol::name), forwarding.upgrade);
    assert_eq!(again.fields.of(FieldKind::RequestId).collect::<Vec<_>>(), [b"id"]);
    let passed = |head: &RequestHead<'_>| {
        let kept = head.fields.iter().filter(|field| field.kind == FieldKind::EndToEnd);
        kept.map(|field| (field.name.to_vec(), field.value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(passed(&again), passed(head), "what is for the server");
    // Read back, the way begins with whom it is from, and we are its end.
    let way = again.fields.named("X-Forwarded-For").unwrap_or_default();
    let way: Vec<_> = str::from_utf8(way).unwrap_or_default().split(", ").collect();
    let client = forwarding.believed.client.or(FORWARDING.peer).map(|client| client.to_string());
    assert_eq!(way.first().map(|first| (*first).to_owned()), client);
    assert_eq!(way.last().copied(), Some("192.0.2.1"));
    others_read(text, &again);
}

/// An independent parser reads the canonical head alike.
fn others_read(text: &[u8], head: &RequestHead<'_>) {
    let mut room = [httparse::EMPTY_HEADER; 160];
    let mut other = httparse::Request::new(&mut room);
    assert_eq!(other.parse(text), Ok(httparse::Status::Complete(text.len())));
    assert_eq!(other.method, Some(head.method.as_str()));
    assert_eq!(other.path.map(str::to_owned), Some(head.target.to_string()));
    assert_eq!(other.version, Some(1));
    let theirs = other.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(theirs.eq(head.fields.iter().map(|field| (field.name, field.value))));
}

/// Everything in the parsed head is as a second reader has it.
fn agrees(head: &RequestHead<'_>, bytes: &[u8]) {
    let Some(other) = reference::head(bytes) else { panic!("no head: {}", bytes.escape_ascii()) };
    let [method, target, version] = other.line;
    assert_eq!(head.method.as_str().as_bytes(), method);
    assert_ne!(method, b"CONNECT");
    match head.version {
        Version::V10 => assert_eq!(version, b"HTTP/1.0"),
        Version::V11 => assert!(version.starts_with(b"HTTP/1.") && version != b"HTTP/1.0"),
    }
    let fields: Vec<(&[u8], &[u8])> =
        head.fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(fields, other.fields);
    origin_agrees(head, target, &other);
    framing_agrees(head, &other);
    let persistent = match head.version {
        Version::V10 => {
            other.lists("connection", "keep-alive") && !other.lists("connection", "close")
        }
        Version::V11 => !other.lists("connection", "close"),
    };
    assert_eq!(head.persistent, persistent);
    let expects = other.lists("expect", "100-continue");
    assert!(!head.expects_continue || (expects && head.version == Version::V11));
    let upgrade = head.upgrade();
    assert_eq!(upgrade.as_ref().map(Protocol::name), reference::upgrade(&other, version));
}

/// The target is in origin-form, and the host is that of the target or of the one `Host`.
fn origin_agrees(head: &RequestHead<'_>, target: &[u8], other: &Head<'_>) {
    let text = head.target.to_string();
    let asterisk = text == "*" && head.method.as_str() == "OPTIONS";
    assert!(text.starts_with('/') || asterisk, "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{text:?}");
    assert!(head.version == Version::V10 || other.only("host").is_some());
    if head.target.scheme().is_none() {
        assert_eq!(text.as_bytes(), target);
        assert_eq!(head.host.map(str::as_bytes), other.only("host"));
        return;
    }
    let host = head.host.unwrap_or_default();
    let given = String::from_utf8_lossy(target).into_owned();
    let (_, behind) = given.split_once("://").unwrap_or_default();
    assert!(!host.is_empty() && behind.starts_with(host), "{host:?} of {given:?}");
    let path = &behind[host.len()..];
    assert!(text == path || text == format!("/{path}") || (asterisk && path.is_empty()));
}

/// One way to tell the body's end, or none.
fn framing_agrees(head: &RequestHead<'_>, other: &Head<'_>) {
    let lengths = other.all("content-length").count();
    let codings = other.all("transfer-encoding").count();
    match head.framing {
        RequestFraming::None => assert_eq!((lengths, codings), (0, 0)),
        RequestFraming::Length(length) => {
            let value = other.only("content-length").unwrap_or_default();
            let told = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            assert_eq!((told, codings), (Some(length), 0));
        }
        RequestFraming::Chunked => {
            let all: Vec<&[u8]> =
                other.all("transfer-encoding").flat_map(reference::list).collect();
            assert!(matches!(all[..], [one] if one.eq_ignore_ascii_case(b"chunked")), "{all:?}");
            assert_eq!((lengths, head.version), (0, Version::V11));
        }
    }
}
