//! Servers over TLS that end their direction behind their last answer and hear nothing more: our last
//! word finds no room there, and the connection breaks while it waits for some.

use base::time::Instant;

use super::outbox::Cut;
use super::reply::micros;
use super::server::Session;
use super::stage::Stage;
use crate::dice::Dice;

/// Bytes that one still takes: a part of our last word.
const TAKES: usize = 3;

/// Whether a server ends so, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deaf {
    /// It reads to the end.
    No,
    /// It will not.
    WillBe,
    /// It has ended its direction, and breaks the connection then.
    Until(Instant),
}

impl Deaf {
    pub(super) fn draw(dice: &mut Dice, often: u32) -> Self {
        if often > 0 && dice.chance(often) { Self::WillBe } else { Self::No }
    }
}

impl Session {
    /// It has given its last answer. Returns when it breaks the connection, if it does so later.
    pub(super) fn goes_deaf(&mut self, stage: &mut Stage, dice: &mut Dice) -> Option<Instant> {
        let polite = self.peer.is_secured() && self.peer.is_polite();
        if self.deaf != Deaf::WillBe || !polite || stage.is_calm() {
            return None;
        }
        stage.world.note(|| format!("session {}: hears nothing more", self.peer.number()));
        let until = stage.now() + micros(1 + dice.length(stage.setting.pause));
        self.deaf = Deaf::Until(until);
        stage.dropped[self.group] = Some(stage.now());
        self.peer.narrow(TAKES);
        self.peer.end();
        Some(until)
    }

    /// It has ended its direction. Returns when it breaks the connection, which it does when all that it
    /// said was received.
    pub(super) fn stays_deaf(&mut self, until: Instant, stage: &mut Stage) -> Option<Instant> {
        let now = stage.now();
        let heard = self.peer.unreceived() == 0;
        if stage.is_calm() || self.peer.is_closed() || self.peer.is_reset() {
            self.leave(stage, Cut::Close);
            return None;
        }
        if now < until {
            return Some(until);
        }
        if heard {
            self.leave(stage, Cut::Reset);
            return None;
        }
        let again = now + micros(stage.setting.pause.max(1));
        self.deaf = Deaf::Until(again);
        Some(again)
    }
}
