//! Field lines: what they mean, what `Connection` names, and what is passed on.

use wire::http1::{FieldKind, FieldSpace, parse_request};

use super::LIMITS;
use crate::reference;

/// The bytes are the field lines of a head; the kinds of those that pass are told a second time.
pub fn check(section: &[u8]) {
    let bytes = [b"GET / HTTP/1.1\r\nHost: h\r\n", section, b"\r\n"].concat();
    let mut space = FieldSpace::new();
    let Ok(head) = parse_request(&bytes, &LIMITS, &mut space) else { return };
    let Some(other) = reference::head(&bytes) else { panic!("no head: {}", bytes.escape_ascii()) };
    assert_eq!(head.fields.len() as usize, other.fields.len());
    assert_eq!(head.fields.is_empty(), other.fields.is_empty());
    for (field, (name, value)) in head.fields.iter().zip(&other.fields) {
        assert_eq!((field.name, field.value), (*name, *value));
        let named = str::from_utf8(name).unwrap_or_default();
        let nominated = other.lists("connection", named);
        assert_eq!(field.kind, kind(name, nominated), "{named}");
        assert!(head.fields.has(field.kind));
        assert!(head.fields.of(field.kind).any(|one| one == *value));
        let first = other.all(named).next();
        assert_eq!(head.fields.named(named), first);
    }
}

/// What a field means, told by its name as CGI would have it.
pub(crate) fn kind(name: &[u8], nominated: bool) -> FieldKind {
    let lower = name.to_ascii_lowercase();
    let variable: Vec<u8> =
        lower.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
    let kind = match &variable[..] {
        b"forwarded" | b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-port"
        | b"x-forwarded-proto" => FieldKind::Forwarding,
        b"x-request-id" => FieldKind::RequestId,
        b"host" => FieldKind::Host,
        b"content-length" => FieldKind::ContentLength,
        b"transfer-encoding" => FieldKind::TransferEncoding,
        b"connection" => FieldKind::Connection,
        b"upgrade" => FieldKind::Upgrade,
        b"expect" => FieldKind::Expect,
        b"via" => FieldKind::Via,
        b"date" => FieldKind::Date,
        b"trailer" => FieldKind::Trailer,
        b"max-forwards" => FieldKind::MaxForwards,
        b"x-accel-buffering" => FieldKind::AccelBuffering,
        b"te"
        | b"close"
        | b"keep-alive"
        | b"proxy"
        | b"proxy-connection"
        | b"proxy-authenticate"
        | b"proxy-authorization"
        | b"proxy-authentication-info" => FieldKind::HopByHop,
        _ => FieldKind::EndToEnd,
    };
    let kind = match kind {
        FieldKind::Forwarding | FieldKind::RequestId => kind,
        // A twin with underscores means nothing to us, and must not reach who would obey it.
        _ if kind != FieldKind::EndToEnd && lower != variable => FieldKind::HopByHop,
        _ => kind,
    };
    match kind {
        FieldKind::EndToEnd
        | FieldKind::Via
        | FieldKind::Date
        | FieldKind::Trailer
        | FieldKind::RequestId
        | FieldKind::AccelBuffering
        | FieldKind::Forwarding
            if nominated =>
        {
            FieldKind::Nominated
        }
        _ => kind,
    }
}
