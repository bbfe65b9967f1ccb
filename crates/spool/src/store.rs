//! One worker's part of the spool: the links between the extents of its reels.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;
use core::net::IpAddr;

use base::limits::SPOOL_EXTENT;

use crate::address::Place;
use crate::reel::{Piece, Reel, piece};
use crate::shared::{Full, Shared};

/// What a worker knows of an extent, as one number: 0 for one that is not its own, so that the
/// table of a large spool comes zeroed from the system and is not touched where it is not used.
pub(crate) type Link = u64;

/// An extent of ours, the last of its reel.
const fn last_of(place: Place) -> Link {
    (place.0 as u64 + 1) << 32
}

/// One more than the number of the next extent of the reel; 0 for the last one.
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn next_of(link: Link) -> u32 {
    link as u32
}

/// Where an extent of ours is counted.
fn place_of(link: Link) -> Option<Place> {
    let place = u32::try_from(link >> 32).unwrap_or(0);
    place.checked_sub(1).map(Place)
}

/// The extents of one worker.
pub struct Store {
    shared: Arc<Shared>,
    links: Box<[Link]>,
    held: u32,
}

impl Store {
    /// A worker's part, with nothing in it.
    pub fn new(shared: Arc<Shared>) -> Self {
        let links = vec![0; shared.size() as usize].into_boxed_slice();
        Self { shared, links, held: 0 }
    }

    /// The whole of which this is a part.
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Extents held by this worker.
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// An empty reel for an exchange of the client with this address.
    pub fn begin(&self, address: Option<IpAddr>) -> Reel {
        Reel::new(self.shared.place(address))
    }

    /// Where at most `most` more bytes go (at least one is asked for), and how many of them
    /// fit there. Nothing counts as written before [`wrote`](Self::wrote).
    ///
    /// # Errors
    /// When that takes an extent more, and a bound leaves none.
    pub fn room(&mut self, reel: &mut Reel, most: u32) -> Result<Piece, Full> {
        let last = match reel.last {
            Some(last) if reel.written < SPOOL_EXTENT => last,
            _ => self.extend(reel)?,
        };
        Ok(piece(last, reel.written, most.min(SPOOL_EXTENT - reel.written)))
    }

    /// The bytes of the last [`room`](Self::room) are on their way to the file.
    pub fn wrote(&mut self, reel: &mut Reel, piece: Piece) {
        reel.written += piece.len;
        reel.unread += u64::from(piece.len);
        debug_assert!(reel.written <= SPOOL_EXTENT);
        if reel.at.is_none() {
            (reel.at, reel.read) = (reel.last, reel.written - piece.len);
        }
    }

    fn extend(&mut self, reel: &mut Reel) -> Result<u32, Full> {
        if reel.extents >= self.shared.per_exchange() {
            return Err(Full::Exchange);
        }
        let extent = self.shared.claim(reel.place)?;
        self.held += 1;
        self.links[extent as usize] = last_of(reel.place);
        match reel.last {
            Some(last) => self.links[last as usize] |= u64::from(extent + 1),
            None => reel.first = Some(extent),
        }
        reel.last = Some(extent);
        reel.written = 0;
        reel.extents += 1;
        Ok(extent)
    }

    /// Counts the first `bytes` unread ones as read. Extents that were read to their end go back
    /// at once, unless the reel is kept.
    ///
    /// Panics when there are fewer.
    pub fn read(&mut self, reel: &mut Reel, bytes: u32) {
        assert!(u64::from(bytes) <= reel.unread, "more read than there is");
        reel.unread -= u64::from(bytes);
        reel.read_before += u64::from(bytes);
        let mut left = bytes;
        while let Some(at) = reel.at {
            let end = if reel.at == reel.last { reel.written } else { SPOOL_EXTENT };
            let here = left.min(end - reel.read);
            reel.read += here;
            left -= here;
            if reel.read < SPOOL_EXTENT {
                break;
            }
            (reel.at, reel.read) = (self.after(at), 0);
            if !reel.kept {
                self.drop_first(reel);
            }
        }
        debug_assert_eq!(left, 0, "the extents end before the reel");
        if reel.unread == 0 && !reel.kept {
            self.clear(reel);
        }
    }

    /// Gives back all extents.
    pub fn release(&mut self, mut reel: Reel) {
        self.clear(&mut reel);
    }

    fn clear(&mut self, reel: &mut Reel) {
        while reel.first.is_some() {
            self.drop_first(reel);
        }
        *reel = Reel { kept: reel.kept, ..Reel::new(reel.place) };
    }

    fn drop_first(&mut self, reel: &mut Reel) {
        let Some(first) = reel.first else { return };
        reel.first = self.after(first);
        if reel.first.is_none() {
            (reel.last, reel.at) = (None, None);
        }
        reel.extents -= 1;
        self.give_back(first);
    }

    fn after(&self, extent: u32) -> Option<u32> {
        next_of(self.links[extent as usize]).checked_sub(1)
    }

    fn give_back(&mut self, extent: u32) {
        let link = core::mem::take(&mut self.links[extent as usize]);
        let place = place_of(link);
        debug_assert!(place.is_some(), "an extent that is not ours");
        self.held -= 1;
        self.shared.give_back(extent, place.unwrap_or(Place(0)));
    }
}

/// A worker that panics gives back what its reels held; whatever the disk still writes there
/// comes before what the next owner writes.
impl Drop for Store {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        for (extent, &link) in (0u32..).zip(&self.links) {
            if let Some(place) = place_of(link) {
                self.shared.give_back(extent, place);
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Limits;
    use proptest::prelude::*;
    use std::vec::Vec;

    const E: u32 = SPOOL_EXTENT;

    fn shared(size: u32, per_exchange: u32, per_address: u32) -> Arc<Shared> {
        let bytes = |extents: u32| u64::from(extents) * u64::from(E);
        let limits = Limits {
            size: bytes(size),
            per_exchange: bytes(per_exchange),
            per_address: bytes(per_address),
        };
        Shared::new(limits, 3)
    }

    /// Writes `bytes` bytes; where they went.
    fn write(store: &mut Store, reel: &mut Reel, bytes: u32) -> Result<Vec<Piece>, Full> {
        let mut pieces = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let piece = store.room(reel, left)?;
            store.wrote(reel, piece);
            left -= piece.len;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    #[test]
    fn what_was_written_is_read_in_order_and_goes_back_as_it_is_read() {
        let shared = shared(4, 4, 4);
        let mut store = Store::new(Arc::clone(&shared));
        let mut reel = store.begin(None);
        assert_eq!(reel.next(), None);
        let written = write(&mut store, &mut reel, 2 * E + 100).unwrap();
        assert_eq!(written, [piece(0, 0, E), piece(1, 0, E), piece(2, 0, 100)]);
        assert_eq!((shared.held(), reel.unread()), (3, u64::from(2 * E + 100)));
        assert_eq!(reel.next(), Some(piece(0, 0, E)));
        store.read(&mut reel, 10);
        assert_eq!(reel.next(), Some(piece(0, 10, E - 10)));
        store.read(&mut reel, E - 10);
        assert_eq!((shared.held(), reel.next()), (2, Some(piece(1, 0, E))));
        store.read(&mut reel, E + 60);
        assert_eq!((shared.held(), reel.next()), (1, Some(piece(2, 60, 40))));
        write(&mut store, &mut reel, 5).unwrap();
        assert_eq!(reel.next(), Some(piece(2, 60, 45)));
        store.read(&mut reel, 45);
        assert!(reel.is_empty() && shared.held() == 0);
        // It can be used again, on extents that were used before.
        let again = write(&mut store, &mut reel, 7).unwrap();
        assert_eq!(again, [piece(0, 0, 7)]);
        store.release(reel);
        assert_eq!((shared.held(), store.held()), (0, 0));
    }

    #[test]
    fn reading_up_to_what_is_written_and_writing_on() {
        let mut store = Store::new(shared(4, 4, 4));
        let mut reel = store.begin(None);
        write(&mut store, &mut reel, E).unwrap();
        reel.keep(true);
        store.read(&mut reel, E);
        assert_eq!(reel.next(), None);
        write(&mut store, &mut reel, 3).unwrap();
        assert_eq!(reel.next(), Some(piece(1, 0, 3)));
        store.read(&mut reel, 3);
        write(&mut store, &mut reel, 4).unwrap();
        assert_eq!(reel.next(), Some(piece(1, 3, 4)));
        store.release(reel);
    }

    #[test]
    fn a_kept_reel_can_be_read_again() {
        let shared = shared(4, 4, 4);
        let mut store = Store::new(Arc::clone(&shared));
        let mut reel = store.begin(None);
        write(&mut store, &mut reel, E + 9).unwrap();
        reel.keep(true);
        store.read(&mut reel, E + 9);
        assert_eq!((reel.next(), shared.held()), (None, 2));
        reel.rewind();
        assert_eq!(reel.next(), Some(piece(0, 0, E)));
        assert_eq!(reel.unread(), u64::from(E + 9));
        reel.keep(false);
        store.read(&mut reel, E + 9);
        assert!(reel.is_empty() && shared.held() == 0);
        store.release(reel);
    }

    #[test]
    fn each_bound_is_named() {
        let shared = shared(4, 2, 3);
        let mut store = Store::new(Arc::clone(&shared));
        let one = "10.0.0.1".parse().ok();
        let mut first = store.begin(one);
        assert_eq!(write(&mut store, &mut first, 2 * E + 1), Err(Full::Exchange));
        let mut second = store.begin(one);
        assert_eq!(write(&mut store, &mut second, 2 * E), Err(Full::Address));
        let mut third = store.begin("10.0.0.2".parse().ok());
        assert_eq!(write(&mut store, &mut third, 2 * E), Err(Full::Spool));
        assert_eq!(shared.held(), 4);
        // What is refused is not counted anywhere.
        store.release(first);
        assert_eq!(write(&mut store, &mut third, E).map(|pieces| pieces.len()), Ok(1));
        assert_eq!(shared.longest_body(), u64::from(E));
        store.release(second);
        store.release(third);
        assert_eq!(shared.held(), 0);
    }

    #[test]
    fn a_worker_that_is_gone_holds_nothing() {
        let shared = shared(4, 4, 4);
        let mut store = Store::new(Arc::clone(&shared));
        let mut reel = store.begin(None);
        write(&mut store, &mut reel, 4 * E).unwrap();
        drop(store);
        assert_eq!(shared.held(), 0);
        let mut store = Store::new(Arc::clone(&shared));
        let mut reel = store.begin(None);
        assert!(write(&mut store, &mut reel, 4 * E).is_ok());
        store.release(reel);
    }

    proptest! {
        /// Two workers write and read at random: no extent is ever in two reels, and every byte
        /// comes back in its place.
        #[test]
        fn no_extent_has_two_owners(steps in prop::collection::vec((0usize..4, 0u8..4, 1..3 * E), 1..80)) {
            let shared = shared(6, 4, 6);
            let mut stores = [Store::new(Arc::clone(&shared)), Store::new(Arc::clone(&shared))];
            let mut reels: [Option<Reel>; 4] = [None, None, None, None];
            let mut models: [Vec<(u64, u32)>; 4] = Default::default();
            for (which, what, amount) in steps {
                let store = &mut stores[which % 2];
                let reel = reels[which].get_or_insert_with(|| store.begin(None));
                let model = &mut models[which];
                match what {
                    0 | 1 => {
                        let mut left = amount;
                        while left > 0 {
                            let Ok(piece) = store.room(reel, left) else { break };
                            store.wrote(reel, piece);
                            model.push((piece.at, piece.len));
                            left -= piece.len;
                        }
                    }
                    2 => {
                        let Some(piece) = reel.next() else { continue };
                        let (at, len) = &mut model[0];
                        prop_assert_eq!(piece.at, *at);
                        let bytes = amount.min(*len).min(piece.len);
                        *at += u64::from(bytes);
                        *len -= bytes;
                        if *len == 0 {
                            model.remove(0);
                        }
                        store.read(reel, bytes);
                    }
                    _ => {
                        store.release(reels[which].take().unwrap());
                        model.clear();
                    }
                }
                let mut all: Vec<(u64, u32)> = models.concat();
                all.sort_unstable();
                prop_assert!(all.windows(2).all(|two| two[0].0 + u64::from(two[0].1) <= two[1].0));
                let held: u32 = stores.iter().map(Store::held).sum();
                prop_assert_eq!(held, shared.held());
            }
            for (which, reel) in reels.into_iter().enumerate() {
                if let Some(reel) = reel {
                    stores[which % 2].release(reel);
                }
            }
            prop_assert_eq!(shared.held(), 0);
        }
    }
}
