//! Finds the end of a head while its bytes arrive, slice by slice, and refuses at once what can
//! be no head: nobody waits for an end that never comes.

use core::num::NonZeroU32;

use super::bytes::{TCHAR, is, short, text_length};
use super::fault::Fault;

/// Most empty lines skipped before a request (RFC 9112 §2.2).
pub const LEADING_LINES_MAX: u8 = 4;

/// Finds a head's end incrementally across the slices of a chain (RFC 9112 §2).
///
/// What it passes consists of lines that end in CRLF, without control bytes but HTAB in fields
/// (and in a response's reason), without folded lines, and, for a request, begins with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadScanner {
    scanned: u32,
    first_line: Option<NonZeroU32>,
    skipped: u8,
    kind: Kind,
    awaits: Awaits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The first byte of the start-line, or the CR of an empty line before it.
    Start,
    /// The LF of an empty line before the start-line.
    LeadingLf,
    /// The rest of the start-line and its CR.
    StartLine,
    /// The start-line's LF.
    StartLf,
    /// The first byte of a field line, or the CR of the empty line that ends the head.
    FieldLine,
    /// The rest of a field line and its CR.
    FieldText,
    /// A field line's LF.
    FieldLf,
    /// The last LF.
    LastLf,
    /// Nothing: the head is whole.
    Nothing,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self::request()
    }
}

impl HeadScanner {
    /// A scanner for a request: up to [`LEADING_LINES_MAX`] empty lines before it are skipped.
    pub const fn request() -> Self {
        Self::new(Kind::Request)
    }

    /// A scanner for a response.
    pub const fn response() -> Self {
        Self::new(Kind::Response)
    }

    const fn new(kind: Kind) -> Self {
        Self { scanned: 0, first_line: None, skipped: 0, kind, awaits: Awaits::Start }
    }

    /// Feeds the next slice. `Ok(Some(n))`: the head ends after `n` bytes of this slice, its
    /// empty line included. `Ok(None)`: the whole slice belongs to the head, which goes on.
    ///
    /// # Errors
    /// The first fault met; the scanner is then of no further use. A head's size is for the
    /// caller to bound, by [`Self::scanned`].
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut rest = bytes;
        while self.awaits != Awaits::Nothing {
            if matches!(self.awaits, Awaits::StartLine | Awaits::FieldText) {
                let text = text_length(rest);
                self.scanned = self.scanned.saturating_add(short(text));
                rest = &rest[text..];
            }
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(None);
            };
            self.awaits = self.next(byte)?;
            self.scanned = self.scanned.saturating_add(1);
            rest = after;
        }
        Ok(Some(bytes.len() - rest.len()))
    }

    /// Bytes of the head seen so far, skipped empty lines included.
    pub const fn scanned(&self) -> u32 {
        self.scanned
    }

    /// Bytes of empty lines before the start-line, to be dropped before parsing.
    pub const fn skipped(&self) -> u32 {
        self.skipped as u32
    }

    /// Length of the start-line, without its CRLF, once its CR was seen.
    pub fn first_line(&self) -> Option<u32> {
        self.first_line.map(NonZeroU32::get)
    }

    fn next(&mut self, byte: u8) -> Result<Awaits, Fault> {
        match self.awaits {
            Awaits::Start => self.start(byte),
            Awaits::LeadingLf => {
                self.skipped += 2;
                line_feed(byte, Awaits::Start)
            }
            Awaits::StartLine => match byte {
                b'\r' => {
                    self.first_line = NonZeroU32::new(self.scanned - u32::from(self.skipped));
                    Ok(Awaits::StartLf)
                }
                b'\t' if self.kind == Kind::Response => Ok(Awaits::StartLine),
                _ => text(byte, Awaits::StartLine),
            },
            Awaits::StartLf | Awaits::FieldLf => line_feed(byte, Awaits::FieldLine),
            Awaits::FieldLine => match byte {
                b'\r' => Ok(Awaits::LastLf),
                b' ' | b'\t' => Err(Fault::ObsFold),
                _ => text(byte, Awaits::FieldText),
            },
            Awaits::FieldText => match byte {
                b'\r' => Ok(Awaits::FieldLf),
                b'\t' => Ok(Awaits::FieldText),
                _ => text(byte, Awaits::FieldText),
            },
            Awaits::LastLf | Awaits::Nothing => line_feed(byte, Awaits::Nothing),
        }
    }

    fn start(&self, byte: u8) -> Result<Awaits, Fault> {
        match (self.kind, byte) {
            (Kind::Request, b'\r') if self.skipped < LEADING_LINES_MAX * 2 => Ok(Awaits::LeadingLf),
            (Kind::Request, b'\n') => Err(Fault::BareLf),
            (Kind::Request, _) if is(TCHAR, byte) => Ok(Awaits::StartLine),
            (Kind::Request, _) => Err(Fault::NotAToken),
            (Kind::Response, b'H') => Ok(Awaits::StartLine),
            (Kind::Response, _) => Err(Fault::BadStatusLine),
        }
    }
}

/// A byte that must be no control byte.
fn text(byte: u8, then: Awaits) -> Result<Awaits, Fault> {
    match byte {
        b'\n' => Err(Fault::BareLf),
        0..b' ' | 0x7f => Err(Fault::ControlByte),
        _ => Ok(then),
    }
}

/// The byte after a CR.
fn line_feed(byte: u8, then: Awaits) -> Result<Awaits, Fault> {
    if byte == b'\n' { Ok(then) } else { Err(Fault::BareCr) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds all of `bytes`, cut into pieces of `piece`; the head's end counted from the start.
    fn fed(mut scanner: HeadScanner, bytes: &[u8], piece: usize) -> Result<Option<usize>, Fault> {
        for (index, slice) in bytes.chunks(piece).enumerate() {
            if let Some(end) = scanner.scan(slice)? {
                assert_eq!(scanner.scanned() as usize, index * piece + end);
                return Ok(Some(index * piece + end));
            }
        }
        assert_eq!(scanner.scanned() as usize, bytes.len());
        Ok(None)
    }

    type Case = (&'static [u8], Result<Option<usize>, Fault>);

    fn check(scanner: HeadScanner, table: &[Case]) {
        for (bytes, expected) in table {
            for piece in 1..=bytes.len() {
                let got = fed(scanner, bytes, piece);
                assert_eq!(got, *expected, "{} by {piece}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn record_is_small() {
        assert!(size_of::<HeadScanner>() <= 16);
    }

    #[test]
    fn requests() {
        let table: &[Case] = &[
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            (b"GET / HTTP/1.1\r\n\r\nGET", Ok(Some(18))),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX:\tb\xff\r\n\r\n", Ok(Some(34))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None)),
            (b"\r\n\r\nG / HTTP/1.1\r\n\r\n", Ok(Some(20))),
            (b"\r\n\r\n\r\n\r\nG\r\n\r\n", Ok(Some(13))),
            (b"\r\n\r\n\r\n\r\n\r\n", Err(Fault::NotAToken)),
            (b"\nGET", Err(Fault::BareLf)),
            (b"\rGET", Err(Fault::BareCr)),
            (b"\x16\x03\x01\x02\x00", Err(Fault::NotAToken)),
            (b" GET / HTTP/1.1\r\n", Err(Fault::NotAToken)),
            (b"\0", Err(Fault::NotAToken)),
            (b"GET / HTTP/1.1\n", Err(Fault::BareLf)),
            (b"GET /\rHTTP/1.1", Err(Fault::BareCr)),
            (b"GET /\tHTTP/1.1", Err(Fault::ControlByte)),
            (b"GET /\x7f HTTP/1.1", Err(Fault::ControlByte)),
            (b"GET / HTTP/1.1\r\nHost: a\n", Err(Fault::BareLf)),
            (b"GET / HTTP/1.1\r\n\n", Err(Fault::BareLf)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\rX", Err(Fault::BareCr)),
            (b"GET / HTTP/1.1\r\nHost: a\rb", Err(Fault::BareCr)),
            (b"GET / HTTP/1.1\r\nHost: a\0b", Err(Fault::ControlByte)),
            (b"GET / HTTP/1.1\r\n\0", Err(Fault::ControlByte)),
            (b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n", Err(Fault::ObsFold)),
            (b"GET / HTTP/1.1\r\n\tA: b", Err(Fault::ObsFold)),
        ];
        check(HeadScanner::request(), table);
    }

    #[test]
    fn responses() {
        let table: &[Case] = &[
            (b"HTTP/1.1 200 O\tK\xe9\r\n\r\nbody", Ok(Some(21))),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Ok(Some(25))),
            (b"\r\nHTTP/1.1 200 OK\r\n", Err(Fault::BadStatusLine)),
            (b"<html>", Err(Fault::BadStatusLine)),
            (b"HTTP/1.1 200 OK\n", Err(Fault::BareLf)),
            (b"HTTP/1.1 200 \x01", Err(Fault::ControlByte)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n c", Err(Fault::ObsFold)),
        ];
        check(HeadScanner::response(), table);
    }

    #[test]
    fn skipped_and_first_line_are_told() {
        let mut scanner = HeadScanner::request();
        assert_eq!(scanner.scan(b"\r\n\r\nGET / HTTP/1.1"), Ok(None));
        assert_eq!((scanner.skipped(), scanner.first_line()), (4, None));
        assert_eq!(scanner.scan(b"\r"), Ok(None));
        assert_eq!((scanner.skipped(), scanner.first_line()), (4, Some(14)));
        assert_eq!(scanner.scan(b"\n"), Ok(None));
        assert_eq!((scanner.skipped(), scanner.first_line()), (4, Some(14)));
        assert_eq!(scanner.scan(b"\r\nmore"), Ok(Some(2)));
        assert_eq!(scanner.scanned(), 22);
        assert_eq!(scanner.scan(b"more"), Ok(Some(0)), "nothing beyond the end is read");
    }
}
