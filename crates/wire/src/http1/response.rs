//! A response's head as a value (RFC 9112 §4).

use super::Limits;
use super::bytes::{VALUE, all, trim};
use super::fault::Fault;
use super::fields::{FieldSpace, Fields};
use super::framing::{ResponseFraming, Told, Version, is_persistent, told};
use super::request::split_start_line;
use super::trailers;

/// A response's head, valid in every part.
#[derive(Clone, Debug)]
pub struct ResponseHead<'h> {
    /// The upstream's version.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase as it was sent; may be empty, may hold HTAB and obs-text.
    pub reason: &'h [u8],
    /// All fields as they were sent, those that are not passed on included.
    pub fields: Fields<'h>,
    /// Where the body ends.
    pub framing: ResponseFraming,
    /// Whether the upstream's connection may carry another exchange once the body has ended:
    /// its end must be told by something else than the connection's (RFC 9112 §9.3).
    pub persistent: bool,
}

impl ResponseHead<'_> {
    /// Whether this is an interim response: another head follows (RFC 9110 §15.2).
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether `Connection` names what could be a trailer field, which is for the next hop only,
    /// then, as a field of the head would be (RFC 9110 §7.6.1).
    pub fn nominates_trailers(&self) -> bool {
        self.fields.options().any(|option| !option.is_empty() && trailers::may_pass(option))
    }

    /// Whether the body is a stream of events, silent for as long as nothing happens
    /// (`text/event-stream`, HTML Standard §9.2).
    pub fn is_event_stream(&self) -> bool {
        let types = self.fields.named("content-type").unwrap_or_default();
        let essence = types.split(|&byte| byte == b';').next().unwrap_or_default();
        trim(essence).eq_ignore_ascii_case(b"text/event-stream")
    }
}

/// Parses a response's head.
///
/// `head` is what a [`super::HeadScanner`] passed, including the empty line at the end;
/// `to_head_request`: the request was HEAD, so that no body follows. Of `limits`, only the
/// number of fields counts. They are listed in `space`.
///
/// # Errors
/// The upstream's fault; its connection is of no further use.
pub fn parse_response<'h>(
    head: &'h [u8],
    to_head_request: bool,
    limits: &Limits,
    space: &'h mut FieldSpace,
) -> Result<ResponseHead<'h>, Fault> {
    let (line, section) = split_start_line(head)?;
    let (version, status, reason) = parse_status_line(line)?;
    let fields = Fields::parse(section, limits.fields, space)?;
    let told = told(version, &fields)?;
    let bodiless = to_head_request || matches!(status, 100..200 | 204 | 304);
    let framing = match told {
        _ if bodiless => ResponseFraming::None,
        Told::Nothing => ResponseFraming::UntilClose,
        Told::Length(length) => ResponseFraming::Length(length),
        Told::Chunked => ResponseFraming::Chunked,
    };
    // 204 must have no framing, and 304 no coding (RFC 9112 §6.1, RFC 9110 §8.6): a server that
    // sends it may send that body too, and a later response must not begin with it.
    let stray = match (status, told) {
        (204 | 304, Told::Chunked) => true,
        (204, Told::Length(length)) => length > 0,
        _ => false,
    };
    let ends_itself = framing != ResponseFraming::UntilClose && !stray;
    let persistent = ends_itself && is_persistent(version, &fields);
    Ok(ResponseHead { version, status, reason, fields, framing, persistent })
}

/// Version, status and reason. A missing space before a missing reason is forgiven, as
/// RFC 9112 §4 has clients do.
fn parse_status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Fault> {
    let (version, rest) = line.split_at_checked(8).ok_or(Fault::BadStatusLine)?;
    let version = Version::parse(version)?;
    let (digits, reason) = match rest {
        [b' ', after @ ..] => after.split_at_checked(3).ok_or(Fault::BadStatusLine)?,
        _ => return Err(Fault::BadStatusLine),
    };
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] if all(VALUE, reason) => reason,
        _ => return Err(Fault::BadStatusLine),
    };
    let status = digits.iter().try_fold(0_u16, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
    });
    let status = status.filter(|&status| status >= 100).ok_or(Fault::BadStatusLine)?;
    Ok((version, status, reason))
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::*;
    use std::format;

    const LIMITS: Limits = Limits { target: 0, fields: 16 };

    #[test]
    fn status_lines() {
        type Expected<'a> = Result<(Version, u16, &'a [u8]), Fault>;
        let table: [(&[u8], Expected<'_>); 18] = [
            (b"HTTP/1.1 200 OK", Ok((Version::V11, 200, b"OK"))),
            (b"HTTP/1.0 404 Not Found", Ok((Version::V10, 404, b"Not Found"))),
            (b"HTTP/1.1 200 ", Ok((Version::V11, 200, b""))),
            (b"HTTP/1.1 200", Ok((Version::V11, 200, b""))),
            (b"HTTP/1.1 200  O\tK\xe9", Ok((Version::V11, 200, b" O\tK\xe9"))),
            (b"HTTP/1.1 999 x", Ok((Version::V11, 999, b"x"))),
            (b"HTTP/1.1 100 Continue", Ok((Version::V11, 100, b"Continue"))),
            (b"HTTP/1.1 099 x", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 20 OK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 2000 OK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 +20 OK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1  200 OK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1\t200 OK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 200\tOK", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 200 O\0K", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1", Err(Fault::BadStatusLine)),
            (b"HTTP/2.0 200 OK", Err(Fault::VersionNotSupported)),
            (b"HTTPS1.1 200 OK", Err(Fault::BadVersion)),
        ];
        for (line, expected) in table {
            assert_eq!(parse_status_line(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn framing_and_persistence() {
        use ResponseFraming as Framing;
        let chunked = "Transfer-Encoding: chunked\r\n";
        let length = "Content-Length: 5\r\n";
        let close = "Content-Length: 5\r\nConnection: close\r\n";
        let keep = "Content-Length: 5\r\nConnection: keep-alive\r\n";
        let table = [
            ("1.1", 200, false, length, Framing::Length(5), true),
            ("1.1", 200, false, close, Framing::Length(5), false),
            ("1.0", 200, false, length, Framing::Length(5), false),
            ("1.0", 200, false, keep, Framing::Length(5), true),
            ("1.1", 200, false, chunked, Framing::Chunked, true),
            ("1.1", 200, false, "", Framing::UntilClose, false),
            ("1.0", 200, false, "Connection: keep-alive\r\n", Framing::UntilClose, false),
            ("1.1", 200, true, length, Framing::None, true),
            ("1.1", 200, true, chunked, Framing::None, true),
            ("1.1", 200, true, "", Framing::None, true),
            ("1.1", 204, false, "", Framing::None, true),
            ("1.1", 204, false, length, Framing::None, false),
            ("1.1", 204, false, "Content-Length: 0\r\n", Framing::None, true),
            ("1.1", 204, false, chunked, Framing::None, false),
            ("1.1", 304, false, length, Framing::None, true),
            ("1.1", 304, false, chunked, Framing::None, false),
            ("1.1", 304, false, close, Framing::None, false),
            ("1.1", 100, false, "", Framing::None, true),
            ("1.1", 205, false, "", Framing::UntilClose, false),
        ];
        for (version, status, to_head, lines, framing, persistent) in table {
            let text = format!("HTTP/{version} {status} x\r\n{lines}\r\n");
            let head = parse_response(text.as_bytes(), to_head, &LIMITS, space()).unwrap();
            assert_eq!((head.framing, head.persistent), (framing, persistent), "{text:?}");
            assert_eq!(head.is_interim(), status == 100);
        }
    }

    /// The class counts, known or not, and a body that is told of is none.
    #[test]
    fn interim_responses_are_those_of_the_first_class() {
        for status in 100..=999 {
            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n");
            let head = parse_response(text.as_bytes(), false, &LIMITS, space()).unwrap();
            assert_eq!((head.status, head.is_interim()), (status, status < 200));
            let bodiless = status < 200 || status == 204 || status == 304;
            assert_eq!(head.framing == ResponseFraming::None, bodiless, "{status}");
        }
    }

    #[test]
    fn event_streams() {
        for (field, is) in [
            ("Content-Type: text/event-stream\r\n", true),
            ("content-type:TEXT/Event-Stream ; charset=utf-8\r\n", true),
            ("Content-Type: text/event-streams\r\n", false),
            ("Content-Type: text/plain; x=text/event-stream\r\n", false),
            ("Accept: text/event-stream\r\n", false),
            ("", false),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{field}\r\n");
            let head = parse_response(text.as_bytes(), false, &LIMITS, space()).unwrap();
            assert_eq!(head.is_event_stream(), is, "{field}");
        }
    }

    #[test]
    fn refused() {
        let table = [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::LengthAndCoding),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::LengthDiffers),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Fault::LengthDiffers),
            ("Content-Length: x\r\n", Fault::LengthInvalid),
            ("Transfer-Encoding: gzip\r\n", Fault::CodingNotFinal),
            ("Transfer-Encoding: gzip, chunked\r\n", Fault::CodingUnknown),
            ("A : b\r\n", Fault::SpaceBeforeColon),
            ("A: b\n", Fault::BareLf),
        ];
        for (lines, fault) in table {
            for to_head in [false, true] {
                let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
                let got = parse_response(text.as_bytes(), to_head, &LIMITS, space());
                assert_eq!(got.unwrap_err(), fault, "{lines:?}");
            }
        }
        let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let got = parse_response(old, false, &LIMITS, space());
        assert_eq!(got.unwrap_err(), Fault::CodingInOldVersion);
    }
}
