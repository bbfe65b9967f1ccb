//! A request's head as a value (RFC 9112 §3).

use super::Limits;
use super::bytes::{decimal, elements};
use super::fault::Fault;
use super::fields::{FieldKind, FieldSpace, Fields};
use super::framing::{RequestFraming, Told, Version, is_persistent, told};
use super::host;
use super::method::Method;
use super::target::Target;

/// A request's head, valid in every part.
#[derive(Clone, Debug)]
pub struct RequestHead<'h> {
    /// What is asked for; never CONNECT.
    pub method: Method<'h>,
    /// What it is asked of.
    pub target: Target<'h>,
    /// The client's version.
    pub version: Version,
    /// All fields as they were sent, those that are not passed on included.
    pub fields: Fields<'h>,
    /// Where the body ends.
    pub framing: RequestFraming,
    /// Whether the client's connection may carry another request (RFC 9112 §9.3).
    pub persistent: bool,
    /// Whether the client waits for 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The host with its port, from the target or from `Host`; may be empty. `None`: an HTTP/1.0
    /// client that named none.
    pub host: Option<&'h str>,
    /// How often OPTIONS or TRACE may still be passed on (RFC 9110 §7.6.2); at 0 the recipient
    /// answers it. `None` for other methods, which need not heed the field.
    pub max_forwards: Option<u64>,
}

/// Parses a request's head.
///
/// `head` is what a [`super::HeadScanner`] passed, without the empty lines it skipped and
/// including the empty line at the end. Its fields are listed in `space`.
///
/// # Errors
/// The client's fault. The connection is to be closed then: where the next request would begin
/// is in doubt.
pub fn parse_request<'h>(
    head: &'h [u8],
    limits: &Limits,
    space: &'h mut FieldSpace,
) -> Result<RequestHead<'h>, Fault> {
    let (line, section) = split_start_line(head)?;
    let (name, target, version) = split_request_line(line).ok_or(Fault::BadRequestLine)?;
    let version = Version::parse(version)?;
    let method = Method::parse(name)?;
    if target.len() as u64 > u64::from(limits.target) {
        return Err(Fault::TargetTooLong);
    }
    let (target, authority) = Target::parse(target, method)?;
    let fields = Fields::parse(section, limits.fields, space)?;
    let host = authority.or(host_field(version, &fields)?);
    let framing = match told(version, &fields)? {
        Told::Nothing => RequestFraming::None,
        Told::Length(length) => RequestFraming::Length(length),
        Told::Chunked => RequestFraming::Chunked,
    };
    Ok(RequestHead {
        max_forwards: max_forwards(method, &fields)?,
        method,
        target,
        version,
        framing,
        persistent: is_persistent(version, &fields),
        expects_continue: expects_continue(version, framing, &fields),
        host,
        fields,
    })
}

/// The start-line without its CRLF, and the field lines.
///
/// Parsing relies on no scanner: it refuses by itself all that [`super::HeadScanner`] refuses,
/// so that a head that was scanned in another way, or not at all, cannot slip through.
pub(super) fn split_start_line(head: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let end = memchr::memchr2(b'\r', b'\n', head).ok_or(Fault::HeadNotWhole)?;
    let (line, rest) = head.split_at(end);
    match rest {
        [b'\r', b'\n', section @ ..] => Ok((line, section)),
        [b'\n', ..] => Err(Fault::BareLf),
        _ => Err(Fault::BareCr),
    }
}

/// Method, target and version: divided at the first and at the last space, so that a space too
/// many is found in the target.
fn split_request_line(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = memchr::memchr(b' ', line)?;
    let last = memchr::memrchr(b' ', line)?;
    let target = line.get(first + 1..last)?;
    Some((&line[..first], target, &line[last + 1..]))
}

/// `Host`: exactly one in HTTP/1.1, at most one in HTTP/1.0, valid even when the target's
/// authority replaces it (RFC 9112 §3.2).
fn host_field<'h>(version: Version, fields: &Fields<'h>) -> Result<Option<&'h str>, Fault> {
    let mut values = fields.of(FieldKind::Host);
    match (values.next(), values.next()) {
        (None, _) if version == Version::V10 => Ok(None),
        (None, _) => Err(Fault::HostMissing),
        (Some(value), None) => host::parse(value).map(Some),
        (Some(_), Some(_)) => Err(Fault::HostRepeated),
    }
}

fn max_forwards(method: Method<'_>, fields: &Fields<'_>) -> Result<Option<u64>, Fault> {
    if !matches!(method, Method::Options | Method::Trace) {
        return Ok(None);
    }
    let mut values = fields.of(FieldKind::MaxForwards);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => decimal(value).map(Some).ok_or(Fault::MaxForwardsInvalid),
        (Some(_), Some(_)) => Err(Fault::MaxForwardsInvalid),
    }
}

/// Whoever sends no body waits for nothing. Other expectations are ignored, as RFC 9110 §10.1.1
/// allows.
fn expects_continue(version: Version, framing: RequestFraming, fields: &Fields<'_>) -> bool {
    let has_body = !matches!(framing, RequestFraming::None | RequestFraming::Length(0));
    let mut expectations = fields.of(FieldKind::Expect).flat_map(elements);
    version == Version::V11
        && has_body
        && expectations.any(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::*;
    use std::format;
    use std::string::ToString;

    const LIMITS: Limits = Limits { target: 64, fields: 16 };

    fn fault(head: &str) -> Option<Fault> {
        parse_request(head.as_bytes(), &LIMITS, space()).err()
    }

    #[test]
    fn whole_head() {
        let text =
            "POST /a?b HTTP/1.1\r\nHost: h:80\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
        let head = parse_request(text.as_bytes(), &LIMITS, space()).unwrap();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target.to_string(), "/a?b");
        assert_eq!(head.version, Version::V11);
        assert_eq!(head.framing, RequestFraming::Length(5));
        assert_eq!(head.host, Some("h:80"));
        assert_eq!(head.fields.len(), 3);
        assert!(head.persistent && head.expects_continue);
    }

    #[test]
    fn request_lines() {
        let table = [
            ("GET / HTTP/1.1", None),
            ("GET / HTTP/1.7", None),
            ("get / HTTP/1.1", None),
            ("GET /", Some(Fault::BadRequestLine)),
            ("GET", Some(Fault::BadRequestLine)),
            ("GET  / HTTP/1.1", Some(Fault::BadTarget)),
            ("GET /  HTTP/1.1", Some(Fault::BadTarget)),
            ("GET /a b HTTP/1.1", Some(Fault::BadTarget)),
            ("GET / HTTP/1.1 ", Some(Fault::BadVersion)),
            ("GET / http/1.1", Some(Fault::BadVersion)),
            ("GET / HTTP/1.1.1", Some(Fault::BadVersion)),
            ("G(T / HTTP/1.1", Some(Fault::BadRequestLine)),
            ("GET / HTTP/2.0", Some(Fault::VersionNotSupported)),
            ("PRI * HTTP/2.0", Some(Fault::VersionNotSupported)),
            ("GET / HTTP/0.9", Some(Fault::VersionNotSupported)),
            ("CONNECT a:443 HTTP/1.1", Some(Fault::ConnectNotSupported)),
            ("GET * HTTP/1.1", Some(Fault::BadTarget)),
            ("OPTIONS * HTTP/1.1", None),
        ];
        for (line, expected) in table {
            assert_eq!(fault(&format!("{line}\r\nHost: h\r\n\r\n")), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_head_never_passes() {
        let table = [
            ("GET / HTTP/1.1\nHost: h\n\n", Fault::BareLf),
            ("GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", Fault::BareLf),
            ("GET / HTTP/1.1\r\nHost: h\r\n\n", Fault::BareLf),
            ("GET / HTTP/1.1\r\nHost: h\r\n", Fault::HeadNotWhole),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET", Fault::HeadNotWhole),
            ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
            ("GET / HTTP/1.1\r\nHost: h\r\n a\r\n\r\n", Fault::ObsFold),
            ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", Fault::SpaceBeforeColon),
            ("", Fault::HeadNotWhole),
        ];
        for (head, expected) in table {
            assert_eq!(fault(head), Some(expected), "{head:?}");
        }
    }

    #[test]
    fn targets_are_bounded() {
        let line =
            |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(length - 1));
        assert_eq!(fault(&line(64)), None);
        assert_eq!(fault(&line(65)), Some(Fault::TargetTooLong));
    }

    #[test]
    fn hosts() {
        let table = [
            ("GET / HTTP/1.1\r\n\r\n", Err(Fault::HostMissing)),
            ("GET / HTTP/1.0\r\n\r\n", Ok(None)),
            ("GET / HTTP/1.0\r\nHost: h\r\n\r\n", Ok(Some("h"))),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(Some(""))),
            ("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", Err(Fault::HostRepeated)),
            ("GET / HTTP/1.0\r\nHost: h\r\nhost: h\r\n\r\n", Err(Fault::HostRepeated)),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(Fault::HostInvalid)),
            ("GET http://a:1/ HTTP/1.1\r\nHost: b\r\n\r\n", Ok(Some("a:1"))),
            ("GET http://a/ HTTP/1.0\r\n\r\n", Ok(Some("a"))),
            ("GET http://a/ HTTP/1.1\r\n\r\n", Err(Fault::HostMissing)),
            ("GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n", Err(Fault::HostInvalid)),
        ];
        for (head, expected) in table {
            let got = parse_request(head.as_bytes(), &LIMITS, space()).map(|head| head.host);
            assert_eq!(got, expected, "{head:?}");
        }
    }

    #[test]
    fn max_forwards_is_heeded_by_options_and_trace() {
        let table = [
            ("OPTIONS", "Max-Forwards: 0\r\n", Ok(Some(0))),
            ("TRACE", "max-forwards: 007\r\n", Ok(Some(7))),
            ("OPTIONS", "", Ok(None)),
            ("GET", "Max-Forwards: 0\r\n", Ok(None)),
            ("GET", "Max-Forwards: x\r\n", Ok(None)),
            ("TRACE", "Max-Forwards: x\r\n", Err(Fault::MaxForwardsInvalid)),
            ("TRACE", "Max-Forwards: -1\r\n", Err(Fault::MaxForwardsInvalid)),
            ("TRACE", "Max-Forwards:\r\n", Err(Fault::MaxForwardsInvalid)),
            ("OPTIONS", "Max-Forwards: 1\r\nMax-Forwards: 1\r\n", Err(Fault::MaxForwardsInvalid)),
            ("OPTIONS", "Max-Forwards: 99999999999999999999\r\n", Err(Fault::MaxForwardsInvalid)),
        ];
        for (method, lines, expected) in table {
            let text = format!("{method} / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            let got =
                parse_request(text.as_bytes(), &LIMITS, space()).map(|head| head.max_forwards);
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn expectations() {
        let table = [
            ("HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
            ("HTTP/1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", true),
            ("HTTP/1.1", "Expect: a, 100-CONTINUE\r\nContent-Length: 1\r\n", true),
            ("HTTP/1.1", "Expect: ,, 100-continue,\r\nContent-Length: 1\r\n", true),
            ("HTTP/1.1", "Expect: 100-continue\r\n", false),
            ("HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
            ("HTTP/1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
            ("HTTP/1.1", "Expect: 200-ok\r\nContent-Length: 1\r\n", false),
            ("HTTP/1.1", "Content-Length: 1\r\n", false),
        ];
        for (version, lines, expected) in table {
            let text = format!("POST / {version}\r\nHost: h\r\n{lines}\r\n");
            let head = parse_request(text.as_bytes(), &LIMITS, space()).unwrap();
            assert_eq!(head.expects_continue, expected, "{text:?}");
        }
    }

    #[test]
    fn framing_faults_are_the_requests() {
        let table = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", Fault::LengthAndCoding),
            ("Content-Length: 1\r\nContent-Length: 1", Fault::LengthDiffers),
            ("Transfer-Encoding: gzip, chunked", Fault::CodingUnknown),
        ];
        for (lines, expected) in table {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
            assert_eq!(fault(&head), Some(expected));
        }
    }
}
