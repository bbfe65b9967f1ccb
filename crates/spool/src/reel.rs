//! What lies in the spool of one exchange: bytes in the order they were written, read from the
//! front.

use base::limits::SPOOL_EXTENT;

use crate::address::Place;

/// A stretch of the file within one extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file.
    pub at: u64,
    /// Its bytes; at least 1, at most [`SPOOL_EXTENT`].
    pub len: u32,
}

/// Extents linked through a worker's [`Store`](crate::Store), and positions in them. It must go
/// back with [`Store::release`](crate::Store::release).
#[derive(Debug)]
#[must_use = "its extents must go back to the spool"]
pub struct Reel {
    pub(crate) place: Place,
    pub(crate) first: Option<u32>,
    /// Where reading goes on.
    pub(crate) at: Option<u32>,
    pub(crate) last: Option<u32>,
    /// Bytes read of the extent `at`.
    pub(crate) read: u32,
    /// Bytes written to the extent `last`.
    pub(crate) written: u32,
    pub(crate) extents: u32,
    /// Whether what was read stays, to be read again.
    pub(crate) kept: bool,
    pub(crate) unread: u64,
    pub(crate) read_before: u64,
}

impl Reel {
    pub(crate) const fn new(place: Place) -> Self {
        Self {
            place,
            first: None,
            at: None,
            last: None,
            read: 0,
            written: 0,
            extents: 0,
            kept: false,
            unread: 0,
            read_before: 0,
        }
    }

    /// Bytes that were written and not yet read.
    pub const fn unread(&self) -> u64 {
        self.unread
    }

    /// Whether it holds no extent.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The next unread stretch, if there is one.
    pub fn next(&self) -> Option<Piece> {
        let extent = self.at.filter(|_| self.unread > 0)?;
        let end = if self.at == self.last { self.written } else { SPOOL_EXTENT };
        Some(piece(extent, self.read, end - self.read))
    }

    /// From now on, what is read stays until the reel is released: a request that may have to be
    /// sent again, of which nothing was read yet. Or, with `false`, goes back as it is read.
    pub const fn keep(&mut self, kept: bool) {
        debug_assert!(!kept || self.kept || self.read_before == 0, "what was read is gone");
        self.kept = kept;
    }

    /// A kept reel is read from its first byte again.
    pub fn rewind(&mut self) {
        debug_assert!(self.kept || self.read_before == 0, "what was read is gone");
        (self.at, self.read) = (self.first, 0);
        self.unread += core::mem::take(&mut self.read_before);
    }
}

/// `len` bytes from `offset` on of an extent.
pub(crate) fn piece(extent: u32, offset: u32, len: u32) -> Piece {
    debug_assert!(len > 0 && offset + len <= SPOOL_EXTENT);
    Piece { at: u64::from(extent) * u64::from(SPOOL_EXTENT) + u64::from(offset), len }
}
