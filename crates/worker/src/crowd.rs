//! How many clients the whole process holds: the bound `max_clients` is its, not a worker's, as
//! the kernel does not spread clients evenly over the workers.
//!
//! A pinned connection is one client's and takes a descriptor beside that client's. So many have
//! one of their own; each beyond takes the place of a client.
//!
//! Each worker writes its own count, everybody reads the sum. Workers that found no place say so
//! before they look again, and whoever frees a place looks who waits after it counted: so a
//! place is never free while a worker waits for one unwoken.

use base::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use base::id::WorkerId;

/// The clients of all workers, counted.
#[derive(Debug)]
pub(crate) struct Crowd {
    max: u32,
    /// Pinned connections that take no client's place.
    pinned_free: u32,
    shares: Box<[Share]>,
}

#[derive(Debug, Default)]
struct Share {
    here: AtomicU32,
    pinned: AtomicU32,
    waits: AtomicBool,
}

impl Crowd {
    pub(crate) fn new(workers: usize, max: u32, pinned_free: u32) -> Self {
        Self { max, pinned_free, shares: (0..workers).map(|_| Share::default()).collect() }
    }

    /// Clients that may still come. A worker that is woken for arrivals at the moment when another
    /// takes the last place may accept them all the same: one batch, for which there are spare
    /// records.
    pub(crate) fn places(&self) -> u32 {
        let here: u32 = self.shares.iter().map(|share| share.here.load(SeqCst)).sum();
        let pinned = self.pinned().saturating_sub(self.pinned_free);
        self.max.saturating_sub(here).saturating_sub(pinned)
    }

    fn pinned(&self) -> u32 {
        self.shares.iter().map(|share| share.pinned.load(SeqCst)).sum()
    }

    /// Whether there is a descriptor for one more pinned connection.
    pub(crate) fn may_pin(&self) -> bool {
        self.pinned() < self.pinned_free || self.places() > 0
    }

    /// So many connections are pinned by this worker now.
    pub(crate) fn set_pinned(&self, worker: WorkerId, pinned: u32) {
        self.shares[worker.index()].pinned.store(pinned, SeqCst);
    }

    /// So many clients are with this worker now.
    pub(crate) fn set(&self, worker: WorkerId, here: u32) {
        self.shares[worker.index()].here.store(here, SeqCst);
    }

    /// Whether this worker waits for a place.
    pub(crate) fn set_waiting(&self, worker: WorkerId, waits: bool) {
        self.shares[worker.index()].waits.store(waits, SeqCst);
    }

    /// The other workers that wait for a place.
    pub(crate) fn waiting(&self, but: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        self.others(but, true)
    }

    /// The other workers that accept clients.
    pub(crate) fn accepting(&self, but: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        self.others(but, false)
    }

    fn others(&self, but: WorkerId, waits: bool) -> impl Iterator<Item = WorkerId> + '_ {
        let shares = (0u32..).map(WorkerId).zip(&self.shares);
        shares
            .filter(move |&(worker, share)| worker != but && share.waits.load(SeqCst) == waits)
            .map(|(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_connections_beyond_their_own_take_the_places_of_clients() {
        let crowd = Crowd::new(2, 10, 3);
        crowd.set(WorkerId(0), 6);
        crowd.set_pinned(WorkerId(0), 2);
        crowd.set_pinned(WorkerId(1), 1);
        assert_eq!(crowd.places(), 4);
        crowd.set_pinned(WorkerId(1), 4);
        assert_eq!(crowd.places(), 1);
        assert!(crowd.may_pin());
        crowd.set_pinned(WorkerId(1), 5);
        assert!(!crowd.may_pin() && crowd.places() == 0);
        crowd.set(WorkerId(0), 5);
        assert!(crowd.may_pin());
    }

    #[test]
    fn places_are_the_processs() {
        let crowd = Crowd::new(3, 10, 0);
        crowd.set(WorkerId(0), 4);
        crowd.set(WorkerId(2), 5);
        assert_eq!(crowd.places(), 1);
        crowd.set(WorkerId(1), 3);
        assert_eq!(crowd.places(), 0);
        crowd.set_waiting(WorkerId(1), true);
        crowd.set_waiting(WorkerId(2), true);
        assert_eq!(crowd.waiting(WorkerId(1)).collect::<Vec<_>>(), [WorkerId(2)]);
        assert_eq!(crowd.accepting(WorkerId(1)).collect::<Vec<_>>(), [WorkerId(0)]);
    }
}
