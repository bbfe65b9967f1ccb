//! What a peer sends: bytes that come in pieces.

use core::cmp::Reverse;
use std::vec::Vec;

/// Bytes on their way, cut where the test says.
#[derive(Clone, Debug)]
pub(super) struct Source {
    bytes: Vec<u8>,
    at: usize,
    /// Where pieces end, the next one last; the end of all bytes is one without being named.
    cuts: Vec<usize>,
}

impl Source {
    /// All in one piece.
    pub(super) fn whole(bytes: &[u8]) -> Self {
        Self::cut(bytes, &[])
    }

    /// Cut at these places, in any order.
    pub(super) fn cut(bytes: &[u8], cuts: &[usize]) -> Self {
        let mut cuts = cuts.to_vec();
        cuts.sort_unstable_by_key(|&cut| Reverse(cut));
        Self { bytes: bytes.to_vec(), at: 0, cuts }
    }

    /// In pieces of `length` bytes.
    pub(super) fn pieces(bytes: &[u8], length: usize) -> Self {
        let cuts: Vec<usize> = (0..bytes.len()).step_by(length).collect();
        Self::cut(bytes, &cuts)
    }

    pub(super) fn is_dry(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// What was not read.
    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// One receive: up to the next cut, as far as there is space.
    pub(super) fn read(&mut self, spaces: &mut [&mut [u8]]) -> usize {
        while self.cuts.pop_if(|cut| *cut <= self.at).is_some() {}
        let end = self.cuts.last().map_or(self.bytes.len(), |&cut| cut.min(self.bytes.len()));
        let began = self.at;
        for space in spaces {
            let n = space.len().min(end - self.at);
            space[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
            self.at += n;
        }
        self.at - began
    }
}
