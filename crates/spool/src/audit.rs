//! The counts of the spool compared with each other: for simulators and tests.

use alloc::format;
use alloc::string::String;

use crate::shared::Shared;

impl Shared {
    /// Whether what all addresses hold together is what is held.
    ///
    /// # Errors
    /// What is wrong, in words. Only a spool at rest, which no other thread changes, is judged
    /// rightly.
    pub fn audit(&self) -> Result<(), String> {
        let (held, by_address) = (u64::from(self.held()), self.held_by_addresses());
        if held == by_address {
            return Ok(());
        }
        Err(format!("{held} extents are held, {by_address} are counted by address"))
    }
}

#[cfg(test)]
mod tests {
    use crate::shared::{Limits, Shared};

    #[test]
    fn what_addresses_hold_is_what_is_held() {
        let limits = Limits { size: 1 << 20, per_exchange: 1 << 20, per_address: 1 << 20 };
        let shared = Shared::new(limits, 1);
        let place = shared.place(None);
        let extent = shared.claim(place).unwrap();
        assert_eq!(shared.audit(), Ok(()));
        shared.give_back(extent, place);
        assert_eq!(shared.audit(), Ok(()));
        assert!(shared.count_only(place));
        assert!(shared.audit().is_err());
    }
}
