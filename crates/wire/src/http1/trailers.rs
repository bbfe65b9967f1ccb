//! Trailer fields (RFC 9110 §6.5): which of them may be passed on.

use super::fields::{FieldKind, equal_as_variable, kind_of};
use super::writer::{Full, Writer};

/// What must not be in trailers (RFC 9110 §6.5.1): whoever merges them into the head would be
/// told about routing, authentication, caching or the response as a whole after it acted. The
/// fields that [`FieldKind`] tells apart are dropped too, and so is all of `Content-*`, which
/// says how the body is to be read.
const FORBIDDEN: [&str; 26] = [
    "accept-ranges",
    "age",
    "allow",
    "authentication-info",
    "authorization",
    "cache-control",
    "clear-site-data",
    "close",
    "cookie",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "pragma",
    "proxy-status",
    "range",
    "refresh",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
];

/// The one `Content-*` made for trailers: a digest is known last (RFC 9530 §2).
const DIGEST: &str = "content-digest";

/// Writes the lines of a trailer section that may be passed on, each as it came. Returns the
/// bytes of those that may not.
///
/// `section` is what a [`super::ChunkReader`] passed: field lines that end in CRLF, with or
/// without the empty line behind them, which is not written.
///
/// # Errors
/// [`Full`] when the room does not suffice; as many bytes as `section` has always do.
pub fn write_trailers(w: &mut Writer<'_>, section: &[u8]) -> Result<u32, Full> {
    let mut dropped = 0;
    for line in section.split_inclusive(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if may_pass(&line[..colon]) {
            w.push(line)?;
        } else {
            dropped += super::bytes::short(line.len());
        }
    }
    Ok(dropped)
}

/// Whether a trailer field of this name may be passed on.
pub(super) fn may_pass(name: &[u8]) -> bool {
    let is = |known: &&str| name.len() == known.len() && equal_as_variable(name, known);
    let prefix = b"content-".len();
    let is_content = name.get(..prefix).is_some_and(|name| equal_as_variable(name, "content-"));
    kind_of(name) == FieldKind::EndToEnd
        && (!is_content || is(&DIGEST))
        && !FORBIDDEN.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    fn passed(section: &str) -> (String, u32) {
        let mut room = std::vec![0; section.len()];
        let mut writer = Writer::new(&mut room);
        let dropped = write_trailers(&mut writer, section.as_bytes()).unwrap();
        (String::from_utf8(writer.written().to_vec()).unwrap(), dropped)
    }

    #[test]
    fn what_describes_the_finished_body_passes_as_it_came() {
        let section = "Server-Timing:a;dur=1\r\nETag: \"x\"\r\nX:  y : z \r\n\
            content-digest: sha-256=:YQ==:\r\nGrpc-Status: 0\r\nEmpty:\r\n";
        assert_eq!(passed(section), (section.into(), 0));
        assert_eq!(passed(&format!("{section}\r\n")), (section.into(), 0));
        assert_eq!(passed(""), (String::new(), 0));
    }

    #[test]
    fn what_must_be_known_before_the_body_is_dropped_and_counted() {
        let others = [
            "Content-Length",
            "content-TYPE",
            "Content_Encoding",
            "Content-",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Keep-Alive",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Via",
            "Date",
            "Forwarded",
            "X-Forwarded-For",
            "X-Request-ID",
            "Max-Forwards",
            "Proxy-Authenticate",
            "Set_Cookie",
        ];
        for name in others.into_iter().chain(FORBIDDEN) {
            let line = format!("{name}: a\r\n");
            let dropped = u32::try_from(line.len()).unwrap();
            let section = format!("A: b\r\n{line}C: d\r\n\r\n");
            assert_eq!(passed(&section), ("A: b\r\nC: d\r\n".into(), dropped), "{name}");
        }
    }

    #[test]
    fn a_list_without_repetitions_in_order() {
        assert!(FORBIDDEN.is_sorted_by(|a, b| a < b));
    }
}
