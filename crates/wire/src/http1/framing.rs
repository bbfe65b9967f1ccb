//! Where a message's body ends and whether its connection lives on (RFC 9112 §6, §9), read so
//! strictly that no other reader can come to another answer.

use super::bytes::{decimal, elements, is_token, trim};
use super::fault::Fault;
use super::fields::{FieldKind, Fields};

/// The version of a message. Any later 1.x counts as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Version {
    V10,
    V11,
}

/// How a request's body is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// There is none.
    None,
    /// It has this many bytes; 0 when the client said so.
    Length(u64),
    /// In chunks: [`super::ChunkReader`] finds its end.
    Chunked,
}

/// How a response's body is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none, whatever the fields say: the answer to HEAD, 1xx, 204 or 304.
    None,
    /// It has this many bytes.
    Length(u64),
    /// In chunks: [`super::ChunkReader`] finds its end.
    Chunked,
    /// It ends where the connection ends.
    UntilClose,
}

impl Version {
    /// Reads `HTTP/x.y` (RFC 9112 §2.3).
    pub(super) fn parse(text: &[u8]) -> Result<Self, Fault> {
        match text {
            b"HTTP/1.0" => Ok(Self::V10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => Ok(Self::V11),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(Fault::VersionNotSupported)
            }
            _ => Err(Fault::BadVersion),
        }
    }
}

/// What a head says about its body, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads `Content-Length` and `Transfer-Encoding`.
pub(super) fn told(version: Version, fields: &Fields<'_>) -> Result<Told, Fault> {
    let has_length = fields.has(FieldKind::ContentLength);
    if !fields.has(FieldKind::TransferEncoding) {
        return if has_length { content_length(fields) } else { Ok(Told::Nothing) };
    }
    if version == Version::V10 {
        return Err(Fault::CodingInOldVersion);
    }
    if has_length {
        return Err(Fault::LengthAndCoding);
    }
    transfer_coding(fields)
}

/// One line with one number; a repetition is refused even when its values agree.
fn content_length(fields: &Fields<'_>) -> Result<Told, Fault> {
    let mut values = fields.of(FieldKind::ContentLength);
    let value = values.next().unwrap_or_default();
    let is_list = memchr::memchr(b',', value).is_some();
    if values.next().is_some() || is_list {
        return Err(Fault::LengthDiffers);
    }
    decimal(value).map(Told::Length).ok_or(Fault::LengthInvalid)
}

/// `chunked` alone; every other list is refused, each for its reason.
fn transfer_coding(fields: &Fields<'_>) -> Result<Told, Fault> {
    let mut unknown = false;
    let mut chunked = false;
    for coding in fields.of(FieldKind::TransferEncoding).flat_map(elements) {
        if chunked {
            return Err(Fault::CodingNotFinal);
        }
        let name = coding.split(|&byte| byte == b';').next().unwrap_or_default();
        chunked = coding.eq_ignore_ascii_case(b"chunked");
        if !is_token(trim(name)) || (!chunked && trim(name).eq_ignore_ascii_case(b"chunked")) {
            return Err(Fault::CodingInvalid);
        }
        unknown |= !chunked;
    }
    match (unknown, chunked) {
        (false, _) => Ok(Told::Chunked),
        (true, true) => Err(Fault::CodingUnknown),
        // Where the body ends is unknown, which weighs more than what its coding is.
        (true, false) => Err(Fault::CodingNotFinal),
    }
}

/// Whether the connection may carry another message after this one (RFC 9112 §9.3).
pub(super) fn is_persistent(version: Version, fields: &Fields<'_>) -> bool {
    match version {
        Version::V10 => fields.has_option("keep-alive") && !fields.has_option("close"),
        Version::V11 => !fields.has_option("close"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::*;
    use std::string::String;

    fn told_by(version: Version, lines: &str) -> Result<Told, Fault> {
        let section = String::from(lines) + "\r\n";
        told(version, &Fields::parse(section.as_bytes(), 16, space()).unwrap())
    }

    #[test]
    fn lengths() {
        let table = [
            ("", Ok(Told::Nothing)),
            ("Content-Length: 0\r\n", Ok(Told::Length(0))),
            ("Content-Length: \t 007 \r\n", Ok(Told::Length(7))),
            ("Content-Length: 18446744073709551615\r\n", Ok(Told::Length(u64::MAX))),
            ("Content-Length: 18446744073709551616\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length:\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: +1\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: -1\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: 1 2\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: 0x10\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: 1_0\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: 1.0\r\n", Err(Fault::LengthInvalid)),
            ("Content-Length: 1, 1\r\n", Err(Fault::LengthDiffers)),
            ("Content-Length: 1,\r\n", Err(Fault::LengthDiffers)),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(Fault::LengthDiffers)),
            ("Content-Length: 1\r\ncontent-length: 2\r\n", Err(Fault::LengthDiffers)),
        ];
        for (lines, expected) in table {
            assert_eq!(told_by(Version::V11, lines), expected, "{lines:?}");
            assert_eq!(told_by(Version::V10, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn codings() {
        let table = [
            ("chunked", Ok(Told::Chunked)),
            ("ChunKed \t", Ok(Told::Chunked)),
            ("gzip, chunked", Err(Fault::CodingUnknown)),
            ("gzip;q=1, chunked", Err(Fault::CodingUnknown)),
            ("gzip", Err(Fault::CodingNotFinal)),
            ("gzip;q=1", Err(Fault::CodingNotFinal)),
            ("identity", Err(Fault::CodingNotFinal)),
            ("xchunked", Err(Fault::CodingNotFinal)),
            ("xchunked, chunked", Err(Fault::CodingUnknown)),
            ("chunked, chunked", Err(Fault::CodingNotFinal)),
            ("chunked, gzip", Err(Fault::CodingNotFinal)),
            ("chunked, identity", Err(Fault::CodingNotFinal)),
            ("", Err(Fault::CodingInvalid)),
            (",chunked", Err(Fault::CodingInvalid)),
            ("chunked,", Err(Fault::CodingNotFinal)),
            ("chunked;a=b", Err(Fault::CodingInvalid)),
            ("chunked ;", Err(Fault::CodingInvalid)),
            ("\"chunked\"", Err(Fault::CodingInvalid)),
            ("chun ked", Err(Fault::CodingInvalid)),
            ("chunked\u{a0}", Err(Fault::CodingInvalid)),
        ];
        for (value, expected) in table {
            let line = std::format!("Transfer-Encoding: {value}\r\n");
            assert_eq!(told_by(Version::V11, &line), expected, "{value:?}");
            assert_eq!(told_by(Version::V10, &line), Err(Fault::CodingInOldVersion), "{value:?}");
            let both = line.clone() + "Content-Length: 3\r\n";
            assert_eq!(told_by(Version::V11, &both), Err(Fault::LengthAndCoding), "{value:?}");
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(told_by(Version::V11, twice), Err(Fault::CodingNotFinal));
        let split = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(told_by(Version::V11, split), Err(Fault::CodingUnknown));
    }

    #[test]
    fn versions() {
        let table: [(&[u8], Result<Version, Fault>); 11] = [
            (b"HTTP/1.1", Ok(Version::V11)),
            (b"HTTP/1.0", Ok(Version::V10)),
            (b"HTTP/1.2", Ok(Version::V11)),
            (b"HTTP/1.9", Ok(Version::V11)),
            (b"HTTP/0.9", Err(Fault::VersionNotSupported)),
            (b"HTTP/2.0", Err(Fault::VersionNotSupported)),
            (b"HTTP/2", Err(Fault::BadVersion)),
            (b"HTTP/1.10", Err(Fault::BadVersion)),
            (b"http/1.1", Err(Fault::BadVersion)),
            (b"HTTP/1,1", Err(Fault::BadVersion)),
            (b"", Err(Fault::BadVersion)),
        ];
        for (text, expected) in table {
            assert_eq!(Version::parse(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn persistence() {
        let table = [
            ("", false, true),
            ("Connection: close\r\n", false, false),
            ("Connection: Keep-Alive\r\n", true, true),
            ("Connection: keep-alive, CLOSE\r\n", false, false),
            ("Connection: x\r\nConnection: y , close\r\n", false, false),
            ("Connection: closed\r\n", false, true),
            ("Proxy-Connection: keep-alive\r\n", false, true),
        ];
        for (lines, old, new) in table {
            let section = String::from(lines) + "\r\n";
            let fields = Fields::parse(section.as_bytes(), 16, space()).unwrap();
            assert_eq!(is_persistent(Version::V10, &fields), old, "{lines:?}");
            assert_eq!(is_persistent(Version::V11, &fields), new, "{lines:?}");
        }
    }
}
