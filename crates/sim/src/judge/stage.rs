//! What the actors of a run share: the world, the book, and the way a violation is told.

use std::time::Duration;

use base::time::Instant;

use super::book::{Book, Fate, Record};
use super::desk::Desk;
use super::door::Porter;
use super::keys::Keys;
use super::oracle::{LATE, TICK};
use super::renewal::Renewal;
use super::reply::micros;
use super::setting::Setting;
use super::tally::Tally;
use super::tunnel::End;
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
    /// What makes sessions of TLS.
    pub(super) keys: Keys,
    /// What the door did.
    pub(super) door: Porter,
    /// Those who decide who is let in.
    pub(super) desk: Desk,
    /// The ends of tunnels, and of connections that are passed through.
    pub(super) ends: Vec<End>,
    /// For each server, how often a connection to it was to be kept by one client for long.
    pub(super) pins: Vec<u32>,
    /// Requests behind whose response a connection was closed at once.
    pub(super) unawaited: Vec<u32>,
    /// The longest time that a server ever had a request.
    pub(super) longest: Duration,
    /// What became of each listener's certificate.
    pub(super) renewals: Vec<Renewal>,
    /// How often somebody was told by an alert that what it sent is no record.
    pub(super) strays_told: u64,
}

/// How long workers may take to tell each other what became free.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Stage {
    pub(super) fn now(&self) -> Instant {
        self.world.now()
    }

    pub(super) fn is_calm(&self) -> bool {
        self.book.causes.calm.is_some()
    }

    /// Whether the operator's order cuts off whoever is still there: a stop, or a drain whose time is over.
    pub(super) fn is_over(&self) -> bool {
        let causes = &self.book.causes;
        let until = causes.drained.map(|since| since + self.setting.timeouts.drain);
        causes.stopped || until.is_some_and(|until| self.now() + TICK >= until)
    }

    /// Whether the servers may have been busy for so long that a request waited in vain: all that
    /// clients may have asked before, one after another, as slowly as any of it was done.
    pub(super) fn may_be_busy_for(&self, length: Duration, since: Instant) -> bool {
        let (setting, causes) = (&self.setting, &self.book.causes);
        let habits = &setting.habits;
        let never_ends = habits.silent + habits.stalls + habits.events + habits.leaves;
        let never_ends = never_ends + setting.switches > 0;
        let troubles = [causes.connects, causes.disk, causes.short];
        let troubled = troubles.into_iter().any(|cause| cause.explains(since));
        if never_ends || setting.dozes() || troubled {
            return true;
        }
        // Whoever sleeps serves nobody.
        let [often, most] = setting.sleepy;
        let asleep = if often > 0 { micros(most) } else { Duration::ZERO };
        // One that is slow may be at its first request still.
        let slow = if habits.slow > 0 { 6 * micros(setting.pause) } else { Duration::ZERO };
        // One that keeps its end open is waited for, and takes a place as long.
        let stays = if habits.stays > 0 { base::limits::PARTING } else { Duration::ZERO };
        // So may what is still under way (seed 5200103361).
        let now = self.now();
        let held = |it: &Record| it.reached.filter(|_| it.fate.is_none());
        let held = self.book.records.iter().filter_map(held).min().map(|since| now.since(since));
        let longest = self.longest.max(held.filter(|_| habits.slow > 0).unwrap_or_default());
        let each = longest + slow + stays + 2 * micros(setting.latency) + 2 * asleep + LOOK_AGAIN;
        each * setting.clients * 2 >= length
    }

    /// Whether a server of a group may have failed long ago, and not been asked since: of those who ask
    /// next all but the first wait for its connection no longer than the grace, which may be none.
    pub(super) fn may_be_on_probation(&self, group: usize) -> bool {
        let failed = self.book.causes.connects.ever() || self.dropped[group].is_some();
        failed && self.setting.policy.health.grace < LATE
    }

    /// Whether there may have been no room for one more pinned connection to a group's servers.
    pub(super) fn may_be_pinned_full(&self, group: usize) -> bool {
        let servers = self.setting.servers().zip(&self.pins);
        let mut own = servers.filter(|((other, _), _)| *other == group);
        // Whom nobody connects is not counted.
        let more = u32::from(self.setting.serves[group].passes());
        own.any(|((_, server), &wanted)| wanted + more > server.pinned)
            || self.setting.may_be_crowded()
    }

    /// A new end; its number.
    pub(super) fn begins(&mut self, end: End) -> usize {
        self.ends.push(end);
        self.ends.len() - 1
    }

    /// Two ends are each other's.
    pub(super) fn join(&mut self, one: usize, other: usize) {
        self.ends[one].other = Some(other);
        self.ends[other].other = Some(one);
    }

    /// How an exchange ended for its client.
    pub(super) fn settle(&mut self, number: u32, fate: Fate) {
        let now = self.now();
        let record = self.book.get_mut(number);
        debug_assert!(record.fate.is_none(), "it ends once");
        record.fate = Some(fate);
        record.settled = Some(now);
        self.tally.ended(fate);
        self.world.note(|| format!("request {number}: {fate:?}"));
    }
}
