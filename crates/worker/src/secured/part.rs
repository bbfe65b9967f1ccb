//! A record that is not whole yet: it stays with the kernel, and is as much a beginning as the first
//! bytes of a head are.

use base::limits::{TLS_PARTS_OWN, TLS_SEALED};
use driver::{Driver, Socket};

use super::slot::{Slot, Stage};
use super::{Secured, slot_of};

/// What has come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Bytes that were there when it was last looked at.
    bytes: u16,
    /// Bytes that counted as progress before they could be delivered.
    counted: u16,
}

impl Part {
    pub(super) const NONE: Self = Self { bytes: 0, counted: 0 };

    /// So many bytes are there.
    pub(super) fn is(&mut self, bytes: usize) {
        self.bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
    }

    pub(super) const fn is_there(self) -> bool {
        self.bytes > 0
    }

    /// What has come since the last call that tells how fast its sender is: the `bytes` that were
    /// delivered, and what may be plaintext of those that cannot be yet. None counts twice.
    fn progress(&mut self, bytes: u32) -> u32 {
        let plain = u32::from(self.bytes).saturating_sub(TLS_SEALED);
        let counted = u32::from(self.counted);
        let progress = (bytes + plain).saturating_sub(counted);
        let ahead = (counted + progress).saturating_sub(bytes);
        self.counted = u16::try_from(ahead).unwrap_or(u16::MAX);
        progress
    }
}

impl<D: Driver> Secured<D> {
    /// Whether a connection speaks TLS.
    pub(crate) fn is_secured(&self, socket: Socket) -> bool {
        !self.is_plain(socket)
    }

    /// Whether the peer has sent a part of a record, as far as is known.
    pub(crate) fn has_part(&self, socket: Socket) -> bool {
        let in_one = |slot: &Slot| slot.stage == Stage::Open && slot.part.is_there();
        self.slot(socket).is_some_and(in_one)
    }

    /// Whether a session keeps a part of a message of TLS's own.
    pub(crate) fn keeps_parts(&self, socket: Socket) -> bool {
        let session = self.slot(socket).and_then(|slot| slot.session.as_deref());
        session.is_some_and(|session| session.parts() > TLS_PARTS_OWN)
    }

    /// How much has come since the last call, of which `bytes` were delivered.
    pub(crate) fn progress(&mut self, socket: Socket, bytes: u32) -> u32 {
        slot_of(&mut self.slots, socket).map_or(bytes, |slot| slot.part.progress(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counted_as_a_part_does_not_count_again_as_a_whole() {
        let mut part = Part::NONE;
        let mut comes = |there, delivered| {
            part.is(there);
            part.progress(delivered)
        };
        assert_eq!(comes(5, 0), 0, "a header is no progress");
        assert_eq!(comes(121, 0), 100);
        assert_eq!(comes(221, 0), 100);
        assert_eq!(comes(0, 250), 50, "the record is whole");
        assert_eq!(comes(71, 10), 60, "and a part of the next");
        // It is delivered in pieces.
        assert_eq!(comes(0, 20), 0);
        assert_eq!(comes(0, 20), 0);
        assert_eq!(comes(0, 20), 10);
        assert_eq!(comes(0, 20), 20);
    }
}
