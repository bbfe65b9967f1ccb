//! What must hold of secured connections between two turns: see [`crate::Worker::audit`].

use driver::Driver;

use super::Secured;
use super::places::Side;
use super::slot::Place;

impl<D: Driver> Secured<D> {
    /// Whether somebody stands in line though a place is free.
    pub(crate) fn stands_in_vain(&self) -> bool {
        [Side::Clients, Side::Servers].into_iter().any(|side| self.places.calls(side))
    }

    /// Places, lines and parts are what the connections have, and within their bounds.
    ///
    /// # Errors
    /// The first contradiction that was found, in words.
    pub(crate) fn audit_bounds(&self) -> Result<(), String> {
        for side in [Side::Clients, Side::Servers] {
            let own = || self.slots.iter().flatten().filter(|slot| slot.side() == side);
            let ahead = own().filter(|slot| slot.ahead.is_some()).count();
            let stands = own().filter(|slot| slot.place == Place::InLine);
            let line = stands.map(|slot| slot.socket.index).collect();
            self.places.audit(side, ahead, line)?;
        }
        let sessions = self.slots.iter().flatten().filter_map(|slot| slot.session.as_deref());
        self.parts.audit(sessions)
    }
}
