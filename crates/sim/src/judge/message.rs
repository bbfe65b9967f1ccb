//! A little reader of HTTP/1 messages, stricter than any real one and independent of `wire`: what
//! it does not take, anteroom must not write.

use super::pattern::{Key, stretch};

/// Why what was read cannot stand there, in words.
pub(super) type Wrong = String;

/// A whole head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'h> {
    /// The first line, without its CRLF.
    pub(super) line: &'h [u8],
    section: &'h [u8],
}

impl<'h> Head<'h> {
    /// The length of the head that `bytes` begin with, if it is whole. The first `seen` bytes were
    /// looked at before.
    pub(super) fn length(bytes: &[u8], seen: usize) -> Option<usize> {
        let from = seen.saturating_sub(3);
        let rest = bytes.get(from..)?;
        // A line ends rarely: so its end is looked for first.
        let mut at = 0;
        while let Some(found) = rest[at..].iter().position(|&byte| byte == b'\n') {
            at += found + 1;
            if at >= 4 && rest[at - 4..at] == *b"\r\n\r\n" {
                return Some(from + at);
            }
        }
        None
    }

    /// Divides a whole head.
    pub(super) fn of(bytes: &'h [u8]) -> Result<Self, Wrong> {
        let end = bytes.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        let head = Self { line: &bytes[..end], section: bytes.get(end + 2..).unwrap_or_default() };
        let lines = head.section.strip_suffix(b"\r\n").unwrap_or(b"no end");
        match lines.split_inclusive(|&byte| byte == b'\n').find(|line| !is_field(line)) {
            Some(_) => Err(format!("no field: {}", bytes.escape_ascii())),
            None => Ok(head),
        }
    }

    /// Names and values, in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> + use<'h> {
        let lines = self.section.split(|&byte| byte == b'\n');
        lines.filter_map(|line| {
            let line = line.strip_suffix(b"\r").filter(|line| !line.is_empty())?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 2..]))
        })
    }
}

/// `Name: value` CRLF, with one space, and nothing that another reader could take for something
/// else.
fn is_field(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let value = |byte: &u8| matches!(byte, b' '..=b'~' | 0x80..);
    colon > 0
        && line[..colon].iter().all(name)
        && line.get(colon + 1) == Some(&b' ')
        && line[colon + 2..].iter().all(value)
}

/// A decimal number without sign, zeros before it or anything else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilEnd,
}

/// What a body must be.
#[derive(Debug)]
pub(super) enum Content {
    /// The stretch of this key.
    Known(Key),
    /// Anything; it is kept.
    Text(Vec<u8>),
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    awaits: Awaits,
    content: Content,
    /// Bytes of content that came.
    pub(super) came: usize,
    /// The trailer section, if there is one.
    pub(super) trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Data(u64),
    Size { digits: u8, size: u64 },
    SizeLf(u64),
    DataCr,
    DataLf,
    Trailer,
    Nothing,
}

impl Body {
    pub(super) fn new(framing: Framing, content: Content) -> Self {
        let awaits = match framing {
            Framing::Length(0) => Awaits::Nothing,
            Framing::Length(length) => Awaits::Data(length),
            Framing::Chunked => Awaits::Size { digits: 0, size: 0 },
            Framing::UntilEnd => Awaits::Data(u64::MAX),
        };
        Self { framing, awaits, content, came: 0, trailers: Vec::new() }
    }

    /// Whether it has ended; one without an end of its own has when the connection ends.
    pub(super) fn is_whole(&self) -> bool {
        self.awaits == Awaits::Nothing
    }

    pub(super) fn ends_with_connection(&self) -> bool {
        self.framing == Framing::UntilEnd
    }

    /// What was kept of it.
    pub(super) fn text(&self) -> &[u8] {
        match &self.content {
            Content::Text(text) => text,
            Content::Known(_) => b"",
        }
    }

    /// Reads as far as the body reaches; how many bytes that were.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let mut at = 0;
        while at < bytes.len() && self.awaits != Awaits::Nothing {
            if let Awaits::Data(left) = self.awaits {
                let rest = &bytes[at..];
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                self.data(&rest[..count])?;
                at += count;
                let left = left - count as u64;
                self.awaits = match (left, self.framing) {
                    (0, Framing::Chunked) => Awaits::DataCr,
                    (0, _) => Awaits::Nothing,
                    (left, Framing::UntilEnd) => Awaits::Data(left.max(u64::MAX >> 1)),
                    (left, _) => Awaits::Data(left),
                };
                continue;
            }
            self.awaits = self.next(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        match &mut self.content {
            Content::Text(text) => text.extend_from_slice(bytes),
            Content::Known(key) => {
                if stretch(*key, self.came, bytes.len()) != bytes {
                    return Err(format!("the body of {key:?} differs behind byte {}", self.came));
                }
            }
        }
        self.came += bytes.len();
        Ok(())
    }

    fn next(&mut self, byte: u8) -> Result<Awaits, Wrong> {
        let wrong = || format!("byte {byte:#04x} in the framing of chunks");
        Ok(match (self.awaits, byte) {
            (Awaits::Size { digits: 1.., size }, b'\r') => Awaits::SizeLf(size),
            (Awaits::Size { digits: digits @ 0..16, size }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(wrong)?;
                Awaits::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Awaits::SizeLf(0), b'\n') => Awaits::Trailer,
            (Awaits::SizeLf(size), b'\n') => Awaits::Data(size),
            (Awaits::DataCr, b'\r') => Awaits::DataLf,
            (Awaits::DataLf, b'\n') => Awaits::Size { digits: 0, size: 0 },
            (Awaits::Trailer, _) if self.trailers.len() < 16 << 10 => {
                self.trailers.push(byte);
                let ended = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
                if ended { Awaits::Nothing } else { Awaits::Trailer }
            }
            _ => return Err(wrong()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_they_come_and_divided_strictly() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\nX: a b\r\n\r\nrest";
        for seen in 0..30 {
            assert_eq!(Head::length(text, seen), Some(text.len() - 4));
        }
        assert_eq!(Head::length(&text[..text.len() - 5], 0), None);
        let head = Head::of(&text[..text.len() - 4]).unwrap();
        assert_eq!(head.line, b"GET / HTTP/1.1");
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [(&b"Host"[..], &b"h"[..]), (b"X", b"a b")]);
        for wrong in ["Host:h", "Host : h", " x: y", "Ho\tst: h", "Host: a\nb", "Host"] {
            let text = format!("GET / HTTP/1.1\r\n{wrong}\r\n\r\n");
            assert!(Head::of(text.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_is_compared_wherever_it_is_cut() {
        let known = stretch(Key::Response(7), 0, 20);
        let text =
            [b"a\r\n", &known[..10], b"\r\n0a\r\n", &known[10..], b"\r\n0\r\n\r\nmore"].concat();
        for cut in 1..text.len() {
            let mut body = Body::new(Framing::Chunked, Content::Known(Key::Response(7)));
            let read = body.read(&text[..cut]).unwrap() + body.read(&text[cut..]).unwrap_or(0);
            let whole = text.len() - 4;
            assert!(body.is_whole() && (read == whole || cut > whole), "{cut}");
            assert_eq!(body.came, 20);
        }
        let mut body = Body::new(Framing::Length(20), Content::Known(Key::Response(8)));
        assert!(body.read(known).is_err());
        for framing in ["x\r\n", "1;a=b\r\n", "\r\n", "1\n"] {
            let mut body = Body::new(Framing::Chunked, Content::Text(Vec::new()));
            assert!(body.read(framing.as_bytes()).is_err(), "{framing:?}");
        }
    }

    #[test]
    fn numbers_are_plain() {
        assert_eq!((decimal(b"0"), decimal(b"120")), (Some(0), Some(120)));
        for text in ["", "00", "01", "+1", " 1", "1 ", "99999999999999999999"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
    }
}
