//! The spool's disk: bytes in memory, errands done one after another, under virtual time.

use std::collections::VecDeque;
use std::collections::btree_map::BTreeMap;
use std::time::Duration;

use base::limits::{SPOOL_ERRANDS, SPOOL_EXTENT};
use base::time::Instant;
use driver::{SpoolDone, SpoolRead, Ticket};
use spool::Piece;

/// How the disk of a world behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskMode {
    /// Every errand is done by the next poll.
    #[default]
    Well,
    /// Each takes so long.
    Slow(Duration),
    /// None is done any more, until the mode changes.
    Stuck,
    /// What is to be read fails.
    ReadsFail,
    /// What is to be written fails, and what stands there is garbage.
    WritesFail,
}

#[derive(Debug)]
struct Errand {
    worker: usize,
    ticket: Ticket,
    piece: Piece,
    /// What is to be written; nothing is to be read.
    bytes: Option<Vec<u8>>,
    due: Instant,
}

/// One disk for all workers of a world.
#[derive(Debug)]
pub(crate) struct Disk {
    mode: DiskMode,
    /// Errands of one worker that it has at one time.
    room: usize,
    file: BTreeMap<u64, Vec<u8>>,
    errands: VecDeque<Errand>,
    /// What was read and not yet taken, by worker and place.
    read: BTreeMap<(usize, u32), Vec<u8>>,
    next_place: u32,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            mode: DiskMode::default(),
            room: SPOOL_ERRANDS as usize,
            file: BTreeMap::new(),
            errands: VecDeque::new(),
            read: BTreeMap::new(),
            next_place: 0,
        }
    }
}

impl Disk {
    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Errands of a worker that are not done, or whose bytes were not taken.
    pub(crate) fn out(&self, worker: usize) -> usize {
        self.errands.iter().filter(|errand| errand.worker == worker).count()
            + self.read.keys().filter(|(of, _)| *of == worker).count()
    }

    pub(crate) fn set(&mut self, mode: DiskMode) {
        self.mode = mode;
    }

    /// Accepts an errand, unless the worker has as many as it may have.
    pub(crate) fn accept(
        &mut self,
        worker: usize,
        piece: Piece,
        ticket: Ticket,
        bytes: Option<Vec<u8>>,
        now: Instant,
    ) -> bool {
        if self.out(worker) >= self.room {
            return false;
        }
        let due = match self.mode {
            DiskMode::Slow(length) => now + length,
            _ => now,
        };
        self.errands.push_back(Errand { worker, ticket, piece, bytes, due });
        true
    }

    /// When the next errand is done, if one is under way that will be.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.errands.front().filter(|_| self.mode != DiskMode::Stuck).map(|errand| errand.due)
    }

    /// Does the next errand that is due: for whom, and what came of it.
    pub(crate) fn do_next(&mut self, now: Instant) -> Option<(usize, Ticket, SpoolDone)> {
        self.next_due().filter(|&due| due <= now)?;
        let Errand { worker, ticket, piece, bytes, .. } = self.errands.pop_front()?;
        let done = match bytes {
            Some(_) if self.mode == DiskMode::WritesFail => {
                self.write(piece.at, &vec![b'!'; piece.len as usize]);
                SpoolDone::Failed
            }
            Some(bytes) => {
                self.write(piece.at, &bytes);
                SpoolDone::Written
            }
            None if self.mode == DiskMode::ReadsFail => SpoolDone::Failed,
            None => {
                let place = self.next_place;
                self.next_place += 1;
                self.read.insert((worker, place), self.stretch(piece));
                SpoolDone::Read(SpoolRead(place))
            }
        };
        Some((worker, ticket, done))
    }

    /// Hands out what was read.
    pub(crate) fn take(&mut self, worker: usize, read: SpoolRead) -> Vec<u8> {
        let taken = self.read.remove(&(worker, read.0));
        assert!(taken.is_some(), "what was read is taken or forgotten once");
        taken.unwrap_or_default()
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let (extent, from) = place(at);
        let memory = self.file.entry(extent).or_insert_with(|| vec![0; SPOOL_EXTENT as usize]);
        memory[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn stretch(&self, piece: Piece) -> Vec<u8> {
        let (extent, from) = place(piece.at);
        let whole = self.file.get(&extent);
        whole.map_or(vec![0; piece.len as usize], |whole| {
            whole[from..from + piece.len as usize].to_vec()
        })
    }
}

/// In which extent a byte lies, and where there.
fn place(at: u64) -> (u64, usize) {
    let extent = u64::from(SPOOL_EXTENT);
    (at / extent, usize::try_from(at % extent).unwrap_or(0))
}
