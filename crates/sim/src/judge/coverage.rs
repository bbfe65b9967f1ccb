//! Where a table of what runs met is filled.

use worker::WorkerCounters;

/// Shown every turn of every worker.
pub trait Coverage {
    /// A worker has turned.
    fn turned(&mut self, worker: usize, counters: &WorkerCounters);
}
