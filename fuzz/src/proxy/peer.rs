//! What a peer sends: pieces, one receive after the other.

use std::collections::VecDeque;

use crate::cuts::ways;

/// Bytes on their way.
#[derive(Clone, Debug)]
pub(super) struct Source<'b> {
    pieces: VecDeque<&'b [u8]>,
}

impl<'b> Source<'b> {
    /// All in one piece.
    pub(super) fn whole(bytes: &'b [u8]) -> Self {
        Self::of(vec![bytes])
    }

    /// In every way in which they may come; the first is whole.
    pub(super) fn ways(bytes: &'b [u8]) -> [Self; 3] {
        ways(bytes).map(Self::of)
    }

    fn of(pieces: Vec<&'b [u8]>) -> Self {
        Self { pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect() }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All that has not come yet.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.pieces.drain(..).collect::<Vec<_>>().concat()
    }

    /// One receive: what is left of a piece, as far as there is space.
    pub(super) fn read(&mut self, spaces: &mut [&mut [u8]]) -> usize {
        let Some(mut piece) = self.pieces.pop_front() else { return 0 };
        let mut read = 0;
        for space in spaces {
            let (now, later) = piece.split_at(space.len().min(piece.len()));
            space[..now.len()].copy_from_slice(now);
            read += now.len();
            piece = later;
        }
        if !piece.is_empty() {
            self.pieces.push_front(piece);
        }
        read
    }
}
