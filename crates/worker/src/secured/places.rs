//! Plaintext ahead of its buffers: whose may be, and who waits until there is less of it (law 3).
//!
//! Whoever has some holds a place until all of it is in buffers. A few places are anybody's; the others are
//! for those who bring the promise of a buffer, and each side has its own, so that no server waits for
//! clients. Who finds none stands in line, and its record stays with the kernel meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use base::limits::{TLS_AHEAD_MAX, TLS_PLAIN_MAX};

use crate::counters::WorkerCounters;

/// Places of each side of a worker with such a pool: as much plaintext on both as it has buffers, beside
/// what is anybody's.
pub fn ahead_places(buffers: u32, buffer_bytes: u32) -> u32 {
    let pool = u64::from(buffers) * u64::from(buffer_bytes);
    let records = pool / (2 * TLS_PLAIN_MAX as u64);
    TLS_AHEAD_MAX.saturating_add(u32::try_from(records).unwrap_or(u32::MAX))
}

/// Which side somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Clients,
    Servers,
}

/// The places of both.
pub(super) struct Places {
    most: u32,
    taken: [u32; 2],
    /// Who waits for one, and is told of nothing else.
    lines: [VecDeque<u32>; 2],
    counters: Arc<WorkerCounters>,
}

impl Places {
    /// `sockets`: most that can stand in line.
    pub(super) fn new(most: u32, sockets: usize, counters: Arc<WorkerCounters>) -> Self {
        let line = || VecDeque::with_capacity(sockets);
        Self { most, taken: [0; 2], lines: [line(), line()], counters }
    }

    fn taken(&self) -> u32 {
        self.taken.iter().sum()
    }

    /// Whether one is free for somebody who brings a promise, or does not.
    pub(super) fn is_free(&self, side: Side, promised: bool) -> bool {
        self.taken() < TLS_AHEAD_MAX || (promised && self.taken[side as usize] < self.most)
    }

    pub(super) fn take(&mut self, side: Side) {
        self.taken[side as usize] += 1;
        self.counters.tls_ahead.set(u64::from(self.taken()));
    }

    pub(super) fn give_back(&mut self, side: Side) {
        self.taken[side as usize] -= 1;
        self.counters.tls_ahead.set(u64::from(self.taken()));
    }

    pub(super) fn stand(&mut self, side: Side, index: u32) {
        self.lines[side as usize].push_back(index);
    }

    pub(super) fn leave(&mut self, side: Side, index: u32) {
        self.lines[side as usize].retain(|&other| other != index);
    }

    /// Whether somebody's turn has come.
    pub(super) fn is_due(&self) -> bool {
        [Side::Clients, Side::Servers].into_iter().any(|side| self.calls(side))
    }

    pub(super) fn calls(&self, side: Side) -> bool {
        self.is_free(side, true) && !self.lines[side as usize].is_empty()
    }

    /// Whether that is what there is: so many connections of a side have plaintext ahead, these stand in
    /// line.
    pub(super) fn audit(&self, side: Side, ahead: usize, mut line: Vec<u32>) -> Result<(), String> {
        let taken = self.taken[side as usize];
        if ahead != taken as usize || taken > self.most {
            return Err(format!("{side:?}: {taken} places of {} are taken, by {ahead}", self.most));
        }
        let told = self.counters.tls_ahead.get();
        if told != u64::from(self.taken()) {
            return Err(format!("{} places are taken, {told} are told of", self.taken()));
        }
        let mut stands: Vec<u32> = self.lines[side as usize].iter().copied().collect();
        stands.sort_unstable();
        line.sort_unstable();
        if stands == line {
            return Ok(());
        }
        Err(format!("{side:?}: {stands:?} stand in line for a place, {line:?} know of it"))
    }

    /// Whose turn has come: it stands in line no more.
    pub(super) fn call(&mut self) -> Option<u32> {
        let side = [Side::Servers, Side::Clients].into_iter().find(|&side| self.calls(side))?;
        self.lines[side as usize].pop_front()
    }
}
