//! The chunked transfer coding (RFC 9112 §7.1), read in place: what is not kept is squeezed out
//! of the very bytes that were received.

use core::fmt::Write as _;

use super::bytes::{TCHAR, VALUE, is};
use super::fault::Fault;
use super::writer::{Full, Writer};

/// Most bytes of one chunk's extensions, white space included.
pub const CHUNK_EXTENSION_MAX: u16 = 256;

/// Most bytes of all extensions of one body.
pub const EXTENSIONS_MAX: u32 = 16 << 10;

/// Most bytes of a trailer section, without the empty line at its end.
pub const TRAILER_MAX: u32 = 8 << 10;

/// Most digits of a chunk size, leading zeros included: what fits 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// What a [`ChunkReader`] leaves of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The data alone.
    Data,
    /// Valid chunked coding without extensions, with at most one leading zero in a size. Trailer
    /// lines are kept as they came: [`super::write_trailers`] says which may be passed on, and
    /// [`ChunkReader::trailer_held`] how many bytes must not be passed on before that is known.
    Framed,
    /// As [`Self::Framed`], but without trailers: a request's, and a response's whose `Connection`
    /// names some.
    Chunks,
}

/// Reads a chunked body in place, cut anywhere.
#[derive(Clone, Debug)]
pub struct ChunkReader {
    data_len: u64,
    remaining: u64,
    trailer: u32,
    extensions: u32,
    extension: u16,
    digits: u8,
    keep: Keep,
    awaits: Awaits,
}

/// What one call of [`ChunkReader::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Bytes at the front of the slice that are to be kept.
    pub kept: usize,
    /// Bytes of the slice that were read; fewer than all only at the end of the body.
    pub consumed: usize,
    /// Whether the body has ended; bytes that follow belong to the next message.
    pub done: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// A digit of the size, or what follows it.
    Size,
    /// The `;` after white space.
    Semicolon,
    /// More of an extension, or the line's CR.
    Extension,
    /// More of a quoted string.
    Quoted,
    /// The byte that a backslash escapes.
    Escaped,
    /// The LF of the size line.
    SizeLf,
    /// Data.
    Data,
    /// The CR after the data.
    DataCr,
    /// The LF after the data.
    DataLf,
    /// The first byte of a trailer field, or the CR of the last line.
    TrailerLine,
    /// More of a trailer field's name, or its colon.
    TrailerName,
    /// More of a trailer field's value, or its CR.
    TrailerValue,
    /// The LF of a trailer field.
    TrailerLf,
    /// The very last LF.
    LastLf,
    /// Nothing: the body has ended.
    Nothing,
}

/// Whether a byte of the framing is part of the canonical form.
type Canonical = bool;

impl ChunkReader {
    /// A reader at the start of a body.
    pub const fn new(keep: Keep) -> Self {
        Self {
            data_len: 0,
            remaining: 0,
            trailer: 0,
            extensions: 0,
            extension: 0,
            digits: 0,
            keep,
            awaits: Awaits::Size,
        }
    }

    /// Reads as much as there is, compacting in place: `bytes[..kept]` is what to keep, the rest
    /// up to `consumed` is void. The body may be cut anywhere between calls.
    ///
    /// # Errors
    /// The sender's fault; where its next message would begin is unknown. How long a body may
    /// be is for the caller to bound, by [`Self::data_len`] and [`Self::remaining_in_chunk`].
    pub fn advance(&mut self, bytes: &mut [u8]) -> Result<Advance, Fault> {
        let mut kept = 0;
        let mut at = 0;
        while at < bytes.len() && self.awaits != Awaits::Nothing {
            if self.awaits == Awaits::Data {
                let length = self.take_data(bytes.len() - at);
                if kept != at {
                    bytes.copy_within(at..at + length, kept);
                }
                kept += length;
                at += length;
                continue;
            }
            let byte = bytes[at];
            at += 1;
            let kept_here = match self.keep {
                Keep::Data => false,
                Keep::Framed => true,
                Keep::Chunks => !self.is_of_trailer(byte),
            };
            if self.next(byte)? && kept_here {
                bytes[kept] = byte;
                kept += 1;
            }
        }
        Ok(Advance { kept, consumed: at, done: self.awaits == Awaits::Nothing })
    }

    /// Bytes of data read so far.
    pub const fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Bytes of trailer fields read so far.
    pub const fn trailer_bytes(&self) -> u32 {
        self.trailer
    }

    /// How many of the bytes kept last belong to a trailer section that is not empty, the line
    /// that ends it included. 0 when only the data is kept.
    pub const fn trailer_held(&self) -> u32 {
        let end = match self.awaits {
            Awaits::LastLf => 1,
            Awaits::Nothing => 2,
            _ => 0,
        };
        match self.keep {
            Keep::Framed if self.trailer > 0 => self.trailer + end,
            _ => 0,
        }
    }

    /// Bytes of data that are still missing from the chunk that has begun.
    pub const fn remaining_in_chunk(&self) -> u64 {
        match self.awaits {
            Awaits::Data => self.remaining,
            _ => 0,
        }
    }

    /// Whether the next byte, if it is this one, belongs to a trailer field.
    const fn is_of_trailer(&self, byte: u8) -> bool {
        match self.awaits {
            Awaits::TrailerLine => byte != b'\r',
            Awaits::TrailerName | Awaits::TrailerValue | Awaits::TrailerLf => true,
            _ => false,
        }
    }

    /// Takes up to `available` bytes of data.
    fn take_data(&mut self, available: usize) -> usize {
        let length = usize::try_from(self.remaining).map_or(available, |most| most.min(available));
        self.remaining -= length as u64;
        self.data_len += length as u64;
        if self.remaining == 0 {
            self.awaits = Awaits::DataCr;
        }
        length
    }

    /// Reads one byte of framing.
    fn next(&mut self, byte: u8) -> Result<Canonical, Fault> {
        match self.awaits {
            Awaits::Size => self.size(byte),
            Awaits::Semicolon | Awaits::Extension | Awaits::Quoted | Awaits::Escaped => {
                self.extension(byte)
            }
            Awaits::SizeLf => {
                line_feed(byte)?;
                self.begin_chunk()
            }
            Awaits::DataCr if byte == b'\r' => self.then(Awaits::DataLf, true),
            Awaits::DataLf if byte == b'\n' => {
                self.digits = 0;
                self.extension = 0;
                self.then(Awaits::Size, true)
            }
            Awaits::Data | Awaits::DataCr | Awaits::DataLf => Err(Fault::ChunkEnd),
            Awaits::TrailerLine if byte == b'\r' => self.then(Awaits::LastLf, true),
            Awaits::TrailerLine
            | Awaits::TrailerName
            | Awaits::TrailerValue
            | Awaits::TrailerLf => self.trailer(byte),
            Awaits::LastLf | Awaits::Nothing => {
                line_feed(byte)?;
                self.then(Awaits::Nothing, true)
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends the branches of one match")]
    const fn then(&mut self, awaits: Awaits, canonical: Canonical) -> Result<Canonical, Fault> {
        self.awaits = awaits;
        Ok(canonical)
    }

    fn size(&mut self, byte: u8) -> Result<Canonical, Fault> {
        if let Some(value) = char::from(byte).to_digit(16) {
            if self.digits == SIZE_DIGITS_MAX {
                return Err(Fault::ChunkSize);
            }
            let repeated_zero = self.digits > 0 && self.remaining == 0;
            self.digits += 1;
            self.remaining = self.remaining << 4 | u64::from(value);
            return Ok(!repeated_zero || value != 0);
        }
        match byte {
            _ if self.digits == 0 => Err(Fault::ChunkSize),
            b'\r' => self.then(Awaits::SizeLf, true),
            b'\n' => Err(Fault::BareLf),
            b';' | b' ' | b'\t' => {
                self.awaits = Awaits::Semicolon;
                self.extension(byte)
            }
            _ => Err(Fault::ChunkSize),
        }
    }

    /// The size line has ended.
    fn begin_chunk(&mut self) -> Result<Canonical, Fault> {
        if self.data_len.checked_add(self.remaining).is_none() {
            return Err(Fault::ChunkSize);
        }
        let awaits = if self.remaining == 0 { Awaits::TrailerLine } else { Awaits::Data };
        self.then(awaits, true)
    }

    /// Extensions are dropped, so that their grammar is checked only as far as it could hide
    /// the line's end from another reader.
    fn extension(&mut self, byte: u8) -> Result<Canonical, Fault> {
        let awaits = match (self.awaits, byte) {
            (Awaits::Extension, b'\r') => return self.then(Awaits::SizeLf, true),
            (_, b'\n') => return Err(Fault::BareLf),
            (Awaits::Semicolon, b' ' | b'\t') => Awaits::Semicolon,
            (Awaits::Semicolon, b';')
            | (Awaits::Extension, b';' | b'=' | b' ' | b'\t')
            | (Awaits::Quoted, b'"') => Awaits::Extension,
            (Awaits::Extension, b'"') => Awaits::Quoted,
            (Awaits::Extension, _) if is(TCHAR, byte) => Awaits::Extension,
            (Awaits::Quoted, b'\\') => Awaits::Escaped,
            (Awaits::Quoted | Awaits::Escaped, _) if is(VALUE, byte) => Awaits::Quoted,
            _ => return Err(Fault::ChunkExtension),
        };
        self.extension += 1;
        self.extensions += 1;
        if self.extension > CHUNK_EXTENSION_MAX || self.extensions > EXTENSIONS_MAX {
            return Err(Fault::ChunkExtension);
        }
        self.then(awaits, false)
    }

    fn trailer(&mut self, byte: u8) -> Result<Canonical, Fault> {
        let awaits = match (self.awaits, byte) {
            (Awaits::TrailerValue, b'\r') => Awaits::TrailerLf,
            (Awaits::TrailerLf, b'\n') => Awaits::TrailerLine,
            (Awaits::TrailerLf, _) => return Err(Fault::BareCr),
            (_, b'\n') => return Err(Fault::BareLf),
            (Awaits::TrailerName, b':') => Awaits::TrailerValue,
            (Awaits::TrailerValue, _) if is(VALUE, byte) => Awaits::TrailerValue,
            (Awaits::TrailerLine | Awaits::TrailerName, _) if is(TCHAR, byte) => {
                Awaits::TrailerName
            }
            _ => return Err(Fault::BadTrailer),
        };
        self.trailer += 1;
        if self.trailer > TRAILER_MAX {
            return Err(Fault::TrailerTooLarge);
        }
        self.then(awaits, true)
    }
}

/// Most bytes that [`write_chunk_head`] writes.
pub const CHUNK_HEAD_MAX: u16 = 2 + 16 + 2;

/// Writes what stands before the data of a chunk of `length` bytes, at least 1: unless it is the
/// `first`, the end of the one before; then its size. So a chunk can be begun before it is known
/// what follows it (RFC 9112 §7.1).
///
/// # Errors
/// [`Full`] when the room does not suffice; [`CHUNK_HEAD_MAX`] bytes do.
pub fn write_chunk_head(w: &mut Writer<'_>, first: bool, length: u64) -> Result<(), Full> {
    debug_assert!(length > 0, "an empty chunk is the last");
    if !first {
        w.push(b"\r\n")?;
    }
    write!(w, "{length:x}\r\n").map_err(|_| Full)
}

/// What ends a body of chunks written so: unless there was none, the end of the one before, and
/// the last chunk.
pub const fn last_chunk(none_before: bool) -> &'static [u8] {
    if none_before { b"0\r\n\r\n" } else { b"\r\n0\r\n\r\n" }
}

/// The byte after a CR.
const fn line_feed(byte: u8) -> Result<(), Fault> {
    if byte == b'\n' { Ok(()) } else { Err(Fault::BareCr) }
}

#[cfg(test)]
mod tests;
