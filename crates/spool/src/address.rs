//! How much of the spool each client address holds, over all workers.

use alloc::boxed::Box;
use base::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::net::IpAddr;

use base::limits::SPOOL_ADDRESSES;
use base::mix::mix;

/// One place of the table. Addresses that meet in one place share its bound: where it lies
/// depends on a seed, so that nobody outside can tell who meets whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

/// How many places there are; a model makes each anew in every order of its threads.
const PLACES: u32 = if cfg!(loom) { 4 } else { SPOOL_ADDRESSES };

/// Extents held, by address.
#[derive(Debug)]
pub(crate) struct Addresses {
    held: Box<[AtomicU32]>,
    seed: u64,
}

impl Addresses {
    pub(crate) fn new(seed: u64) -> Self {
        Self { held: (0..PLACES).map(|_| AtomicU32::new(0)).collect(), seed }
    }

    /// Where an address is counted; clients on Unix sockets are one address. Of an IPv6 address
    /// its /64 counts, which is what one customer usually has.
    pub(crate) fn place(&self, address: Option<IpAddr>) -> Place {
        let number = match address {
            None => 0,
            Some(IpAddr::V4(address)) => 1 << 32 | u64::from(address.to_bits()),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => 1 << 32 | u64::from(address.to_bits()),
                None => (address.to_bits() >> 64) as u64 ^ 1 << 63,
            },
        };
        let spread = mix(mix(number ^ self.seed) ^ self.seed.rotate_left(32));
        Place((spread % u64::from(PLACES)).try_into().unwrap_or(0))
    }

    /// Counts one extent more, unless that would be more than `most`.
    pub(crate) fn take(&self, place: Place, most: u32) -> bool {
        let more = |held| (held < most).then_some(held + 1);
        self.held[place.0 as usize].fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// What all hold together.
    pub(crate) fn sum(&self) -> u64 {
        self.held.iter().map(|held| u64::from(held.load(Relaxed))).sum()
    }

    pub(crate) fn give_back(&self, place: Place) {
        let held = self.held[place.0 as usize].fetch_sub(1, Relaxed);
        debug_assert!(held > 0, "an extent went back twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bounded_wherever_it_comes_from() {
        let addresses = Addresses::new(7);
        let place = |text: &str| addresses.place(Some(text.parse().unwrap()));
        assert_eq!(place("10.0.0.1"), place("::ffff:10.0.0.1"));
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1"), "one /64");
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_ne!(place("10.0.0.1"), place("10.0.0.2"));
        let one = place("10.0.0.1");
        assert!(addresses.take(one, 2) && addresses.take(one, 2) && !addresses.take(one, 2));
        assert!(addresses.take(place("10.0.0.2"), 2));
        addresses.give_back(one);
        assert!(addresses.take(one, 2));
    }

    #[test]
    fn addresses_spread_over_the_table() {
        let addresses = Addresses::new(1);
        let mut seen = alloc::vec![0u32; SPOOL_ADDRESSES as usize];
        for number in 0..SPOOL_ADDRESSES {
            let address = core::net::Ipv4Addr::from_bits(0x0a00_0000 | number);
            seen[addresses.place(Some(address.into())).0 as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count < 12), "{:?}", seen.iter().max());
    }
}
