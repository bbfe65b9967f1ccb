//! What runs came to: how many exchanges, how they ended, what was met on the way.

use std::collections::BTreeMap;
use std::fmt;

use worker::coverage::Coverage;

use super::book::Fate;
use super::checks::is_answer;

/// Sums over one run, or many.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Exchanges whose response was checked or whose end was explained.
    pub exchanges: u64,
    /// Turns of workers.
    pub turns: u64,
    /// Virtual time, nanoseconds.
    pub time: u128,
    fates: BTreeMap<Fate, u64>,
    met: BTreeMap<&'static str, u64>,
    /// What met what.
    pub coverage: Coverage,
}

impl Tally {
    /// Of one run that has just begun.
    pub(super) fn of_one() -> Self {
        Self { runs: 1, ..Self::default() }
    }

    pub(super) fn ended(&mut self, fate: Fate) {
        self.exchanges += 1;
        *self.fates.entry(fate).or_default() += 1;
    }

    /// Answers that clients read to their end.
    pub(super) fn answers(&self) -> u64 {
        self.fates.iter().filter(|(fate, _)| is_answer(**fate)).map(|(_, count)| count).sum()
    }

    pub(super) fn met(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.met.entry(what).or_default() += times;
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.exchanges += other.exchanges;
        self.turns += other.turns;
        self.time += other.time;
        self.coverage.add(&other.coverage);
        for (&fate, count) in &other.fates {
            *self.fates.entry(fate).or_default() += count;
        }
        for (&what, count) in &other.met {
            *self.met.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "how exchanges ended:")?;
        for (fate, count) in &self.fates {
            let fate = format!("{fate:?}");
            writeln!(f, "  {fate:<20} {count:>12}")?;
        }
        writeln!(f, "what was met:")?;
        for (what, count) in &self.met {
            writeln!(f, "  {what:<34} {count:>12}")?;
        }
        Ok(())
    }
}
