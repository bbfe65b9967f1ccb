//! What the workers of a process share of the spool: the free extents, and the bounds.

use alloc::sync::Arc;
use base::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::fmt;
use core::net::IpAddr;

use base::limits::SPOOL_EXTENT;
use base::sync::ArrayQueue;

use crate::address::{Addresses, Place};

/// How much may lie in the spool, in bytes; each is rounded up to whole extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all (`spool.size`).
    pub size: u64,
    /// Of one exchange (`spool.per_exchange`).
    pub per_exchange: u64,
    /// Of all exchanges of one client address (`spool.per_address`).
    pub per_address: u64,
}

impl Limits {
    /// What the file must have, bytes: whole extents.
    pub fn bytes(self) -> u64 {
        u64::from(extents(self.size).max(1)) * u64::from(SPOOL_EXTENT)
    }

    /// The longest body for which there can be room, bytes: one extent may be needed for its head.
    pub fn longest_body(self) -> u64 {
        let least = self.size.min(self.per_exchange).min(self.per_address);
        u64::from(extents(least).max(1) - 1) * u64::from(SPOOL_EXTENT)
    }
}

/// Which bound leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `spool.size`.
    Spool,
    /// `spool.per_exchange`.
    Exchange,
    /// `spool.per_address`.
    Address,
}

impl Full {
    /// Every bound, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Spool, Self::Exchange, Self::Address];

    /// The label in `anteroom_spool_full_total{limit}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Spool => "size",
            Self::Exchange => "per_exchange",
            Self::Address => "per_address",
        }
    }
}

/// The extents of the one file, free or not, without locks.
pub struct Shared {
    /// Extents given back.
    returned: ArrayQueue<u32>,
    /// Extents from here on were never used: so that a spool used little stays a small part of
    /// the file, and of the page cache.
    fresh: AtomicU32,
    held: AtomicU32,
    addresses: Addresses,
    limits: Limits,
    size: u32,
    per_exchange: u32,
    per_address: u32,
}

impl Shared {
    /// A spool of which everything is free. `seed` decides where addresses are counted; it must
    /// not be known outside.
    pub fn new(limits: Limits, seed: u64) -> Arc<Self> {
        let size = extents(limits.size).max(1);
        Arc::new(Self {
            returned: ArrayQueue::new(size as usize),
            fresh: AtomicU32::new(0),
            held: AtomicU32::new(0),
            addresses: Addresses::new(seed),
            limits,
            size,
            per_exchange: extents(limits.per_exchange).max(1),
            per_address: extents(limits.per_address).max(1),
        })
    }

    /// All extents.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Bytes of all extents: what the file must have.
    pub const fn bytes(&self) -> u64 {
        self.size as u64 * SPOOL_EXTENT as u64
    }

    /// See [`Limits::longest_body`].
    pub fn longest_body(&self) -> u64 {
        self.limits.longest_body()
    }

    /// Extents that are not free now.
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// Extents that all addresses hold, as they are counted for their bounds.
    pub(crate) fn held_by_addresses(&self) -> u64 {
        self.addresses.sum()
    }

    pub(crate) const fn per_exchange(&self) -> u32 {
        self.per_exchange
    }

    /// Counts an extent that is not there.
    #[cfg(test)]
    pub(crate) fn count_only(&self, place: Place) -> bool {
        self.addresses.take(place, self.per_address)
    }

    pub(crate) fn place(&self, address: Option<IpAddr>) -> Place {
        self.addresses.place(address)
    }

    /// A free extent.
    pub(crate) fn claim(&self, place: Place) -> Result<u32, Full> {
        if !self.addresses.take(place, self.per_address) {
            return Err(Full::Address);
        }
        let unused = || {
            let next = |fresh| (fresh < self.size).then_some(fresh + 1);
            self.fresh.fetch_update(Relaxed, Relaxed, next).ok()
        };
        let Some(extent) = self.returned.pop().or_else(unused) else {
            self.addresses.give_back(place);
            return Err(Full::Spool);
        };
        self.held.fetch_add(1, Relaxed);
        Ok(extent)
    }

    pub(crate) fn give_back(&self, extent: u32, place: Place) {
        self.addresses.give_back(place);
        self.held.fetch_sub(1, Relaxed);
        let returned = self.returned.push(extent);
        debug_assert!(returned.is_ok(), "there is a place for each extent");
    }
}

fn extents(bytes: u64) -> u32 {
    // The numbers of a worker's links are one higher, so the last one is left out.
    u32::try_from(bytes.div_ceil(u64::from(SPOOL_EXTENT))).unwrap_or(u32::MAX - 1)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, held) = (self.size, self.held());
        f.debug_struct("Shared").field("size", &size).field("held", &held).finish_non_exhaustive()
    }
}
