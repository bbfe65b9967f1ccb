//! The spool's bookkeeping: two workers, several reels, bounds of all kinds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::limits::SPOOL_EXTENT;
use spool::{Full, Limits, Piece, Reel, Shared, Store};

use super::Feed;

const REELS: usize = 4;

/// A reel, and the pieces that must be read from it.
struct Entry {
    reel: Reel,
    worker: usize,
    address: usize,
    /// Everything written that is not given up.
    written: Vec<Piece>,
    /// How many bytes of that were read.
    read: u64,
    /// Whether something was read since it was empty: then it is too late to keep it.
    begun: bool,
    kept: bool,
}

struct Model {
    shared: Arc<Shared>,
    stores: [Store; 2],
    entries: [Option<Entry>; REELS],
    /// Most extents: in all, of one reel, of one address.
    most: [u32; 3],
}

/// The first bytes are the bounds, the others are operations.
pub fn check(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let most = [
        1 + u32::from(feed.byte() % 9),
        1 + u32::from(feed.byte() % 5),
        1 + u32::from(feed.byte() % 7),
    ];
    let [size, per_exchange, per_address] = most.map(|extents| u64::from(extents * SPOOL_EXTENT));
    let shared = Shared::new(Limits { size, per_exchange, per_address }, 3);
    let stores = [Store::new(Arc::clone(&shared)), Store::new(Arc::clone(&shared))];
    let mut model = Model { shared, stores, entries: Default::default(), most };
    while let Some(operation) = feed.next() {
        model.step(operation, &mut feed);
        model.audit();
    }
    model.end();
}

impl Model {
    fn step(&mut self, operation: u8, feed: &mut Feed<'_>) {
        let which = usize::from(operation >> 6) % REELS;
        let amount = u32::try_from(feed.number()).unwrap_or(0) * 97 % (2 * SPOOL_EXTENT);
        match operation % 8 {
            0..3 => self.write(which, amount, feed),
            3 | 4 => self.read(which, amount),
            5 => {
                if let Some(entry) = &mut self.entries[which]
                    && !entry.begun
                {
                    entry.reel.keep(true);
                    entry.kept = true;
                }
            }
            6 => {
                if let Some(entry) = self.entries[which].as_mut().filter(|entry| entry.kept) {
                    entry.reel.rewind();
                    entry.read = 0;
                }
            }
            _ if feed.byte() == 9 => self.worker_dies(which % 2),
            _ => {
                if let Some(entry) = self.entries[which].take() {
                    self.stores[entry.worker].release(entry.reel);
                }
            }
        }
    }

    fn write(&mut self, which: usize, amount: u32, feed: &mut Feed<'_>) {
        let entry = self.entries[which].get_or_insert_with(|| {
            let (worker, address) = (feed.below(2), feed.below(3));
            let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(address).unwrap_or(0)));
            let reel = self.stores[worker].begin(Some(ip));
            Entry { reel, worker, address, written: Vec::new(), read: 0, begun: false, kept: false }
        });
        let (worker, address) = (entry.worker, entry.address);
        let mut left = amount.max(1);
        while left > 0 {
            let Some(expected) =
                self.entries[which].as_ref().map(|entry| self.refusal(entry, address))
            else {
                return;
            };
            let Some(entry) = &mut self.entries[which] else { return };
            let piece = match (self.stores[worker].room(&mut entry.reel, left), expected) {
                (Ok(piece), None) => piece,
                (Err(full), Some(expected)) => return assert_eq!(full, expected),
                (got, expected) => panic!("{got:?}, and not {expected:?}"),
            };
            assert!(piece.len >= 1 && piece.len <= left && piece.len <= SPOOL_EXTENT);
            self.stores[worker].wrote(&mut entry.reel, piece);
            entry.written.push(piece);
            left -= piece.len;
        }
    }

    /// Which bound refuses one byte more, if one does.
    fn refusal(&self, entry: &Entry, address: usize) -> Option<Full> {
        let fits = entry.written.last().is_some_and(|last| {
            let end = last.at + u64::from(last.len);
            !end.is_multiple_of(u64::from(SPOOL_EXTENT))
        });
        let all = self.entries.iter().flatten();
        let of_address: u32 =
            all.clone().filter(|entry| entry.address == address).map(extents).sum();
        let [size, per_exchange, per_address] = self.most;
        match () {
            () if fits && extents(entry) > 0 => None,
            () if extents(entry) >= per_exchange => Some(Full::Exchange),
            () if of_address >= per_address => Some(Full::Address),
            () if all.map(extents).sum::<u32>() >= size => Some(Full::Spool),
            () => None,
        }
    }

    fn read(&mut self, which: usize, amount: u32) {
        let Some(entry) = &mut self.entries[which] else { return };
        let Some(next) = entry.reel.next() else {
            return assert_eq!(entry.read, total(entry), "it has more to read");
        };
        let (at, left) = place(entry);
        assert_eq!(next.at, at, "read in another place than written");
        assert!(next.len > 0 && u64::from(next.len) <= left);
        let bytes = amount.min(next.len);
        self.stores[entry.worker].read(&mut entry.reel, bytes);
        entry.read += u64::from(bytes);
        entry.begun = true;
        if !entry.kept {
            forget(entry);
        }
    }

    /// A worker panics: what its reels held is free, and a new one begins.
    fn worker_dies(&mut self, worker: usize) {
        for entry in &mut self.entries {
            if entry.as_ref().is_some_and(|entry| entry.worker == worker) {
                *entry = None;
            }
        }
        self.stores[worker] = Store::new(Arc::clone(&self.shared));
    }

    fn audit(&self) {
        let entries = || self.entries.iter().flatten();
        let held: u32 = entries().map(extents).sum();
        assert_eq!(self.shared.held(), held, "an extent is lost, or counted twice");
        for (worker, store) in self.stores.iter().enumerate() {
            let own = entries().filter(|entry| entry.worker == worker);
            assert_eq!(store.held(), own.map(extents).sum::<u32>());
        }
        let mut all: Vec<u64> = entries().flat_map(numbers).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|two| two[0] != two[1]), "an extent has two owners");
        for entry in entries() {
            assert_eq!(entry.reel.unread(), total(entry) - entry.read);
            assert_eq!(entry.reel.is_empty(), extents(entry) == 0);
        }
    }

    fn end(mut self) {
        for entry in self.entries.iter_mut().filter_map(Option::take) {
            self.stores[entry.worker].release(entry.reel);
        }
        drop(self.stores);
        assert_eq!(self.shared.held(), 0);
    }
}

fn total(entry: &Entry) -> u64 {
    entry.written.iter().map(|piece| u64::from(piece.len)).sum()
}

/// The numbers of the extents that a reel holds, each once.
fn numbers(entry: &Entry) -> Vec<u64> {
    let mut all: Vec<u64> =
        entry.written.iter().map(|piece| piece.at / u64::from(SPOOL_EXTENT)).collect();
    all.dedup();
    all
}

fn extents(entry: &Entry) -> u32 {
    u32::try_from(numbers(entry).len()).unwrap_or(u32::MAX)
}

/// Where the next byte to be read was written, and how many bytes stand there and behind it.
fn place(entry: &Entry) -> (u64, u64) {
    let mut before = 0;
    for piece in &entry.written {
        let end = before + u64::from(piece.len);
        if entry.read < end {
            return (piece.at + entry.read - before, total(entry) - entry.read);
        }
        before = end;
    }
    panic!("all was read")
}

/// Forgets what was read to the end of an extent, or all if all was read.
fn forget(entry: &mut Entry) {
    if entry.read == total(entry) {
        entry.written.clear();
        (entry.read, entry.begun) = (0, false);
        return;
    }
    let current = place(entry).0 / u64::from(SPOOL_EXTENT);
    let gone = entry.written.iter().position(|piece| piece.at / u64::from(SPOOL_EXTENT) == current);
    let gone: Vec<Piece> = entry.written.drain(..gone.unwrap_or(0)).collect();
    entry.read -= gone.iter().map(|piece| u64::from(piece.len)).sum::<u64>();
}
