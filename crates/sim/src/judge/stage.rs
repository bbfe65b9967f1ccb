//! What the actors of a run share: the world, the book, and the way a violation is told.

use base::time::Instant;

use super::book::{Book, Fate};
use super::setting::Setting;
use super::tally::Tally;
use crate::world::World;

/// Something happened that must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// What it found, and what it expected.
    pub text: String,
}

/// Nothing wrong was found so far.
pub(super) type Verdict<T = ()> = Result<T, Violation>;

/// A violation.
pub(super) fn wrong<T>(checker: &'static str, text: impl Into<String>) -> Verdict<T> {
    Err(Violation { checker, text: text.into() })
}

/// What the actors share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) setting: Setting,
    pub(super) book: Book,
    pub(super) tally: Tally,
    /// For each group, when a server last closed a connection, or spoke out of turn.
    pub(super) dropped: Vec<Option<Instant>>,
    /// For each group, how many connections ended with what may be the beginning of a request
    /// that must not be sent twice.
    pub(super) unsafe_pieces: u32,
}

impl Stage {
    pub(super) fn now(&self) -> Instant {
        self.world.now()
    }

    pub(super) fn is_calm(&self) -> bool {
        self.book.causes.calm.is_some()
    }

    /// How an exchange ended for its client.
    pub(super) fn settle(&mut self, number: u32, fate: Fate) {
        let record = self.book.get_mut(number);
        debug_assert!(record.fate.is_none(), "it ends once");
        record.fate = Some(fate);
        self.tally.ended(fate);
        self.world.note(|| format!("request {number}: {fate:?}"));
    }
}
