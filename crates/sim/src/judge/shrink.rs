//! A failing run is cut down: whole lanes and parts of them are left out, numbers are lowered, as
//! long as the same checker complains. What is left is the shortest story that still goes wrong.

use std::rc::Rc;

use super::{Violation, Wishes, judge};
use crate::dice::{Origin, Recorder, Tape};

/// A failing run, and what fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its decisions.
    pub tape: Tape,
    /// What is wrong.
    pub violation: Violation,
}

impl Failure {
    /// The failing run of a seed, kept as it is drawn.
    pub fn of(origin: &Origin) -> Option<Self> {
        let recorder = Recorder::default();
        let wishes = Wishes { recorder: Some(&recorder), ..Wishes::default() };
        let (_, violation) = judge(origin, wishes);
        Some(Self { tape: recorder.tape(), violation: violation? })
    }

    /// Cuts it down until nothing more can be left out, or `goes_on` says no.
    pub fn shrink(&mut self, mut goes_on: impl FnMut() -> bool) {
        loop {
            let before = self.tape.clone();
            for lane in (0..self.tape.0.len()).rev() {
                self.leave_out(lane, &mut goes_on);
            }
            for lane in 0..self.tape.0.len() {
                self.lower(lane, &mut goes_on);
            }
            if self.tape == before || !goes_on() {
                return;
            }
        }
    }

    /// Leaves out parts of a lane: all of it, its end, ever shorter pieces.
    fn leave_out(&mut self, lane: usize, goes_on: &mut impl FnMut() -> bool) {
        let mut length = self.tape.0[lane].len();
        while length > 0 && goes_on() {
            let mut end = self.tape.0[lane].len();
            while end > 0 && goes_on() {
                let start = end.saturating_sub(length);
                let shorter = |tape: &mut Tape| drop(tape.0[lane].drain(start..end));
                if !self.tries(shorter) && length > 1 {
                    // In its place, nothing happens.
                    self.tries(|tape| tape.0[lane][start..end].fill(0));
                }
                end = start.min(self.tape.0[lane].len());
            }
            length /= 2;
        }
    }

    /// Lowers the numbers of a lane: to 0, else by halves, else by one.
    fn lower(&mut self, lane: usize, goes_on: &mut impl FnMut() -> bool) {
        for place in 0..self.tape.0[lane].len() {
            let mut least = 0;
            while goes_on() {
                let Some(&value) = self.tape.0[lane].get(place) else { break };
                if least >= value {
                    break;
                }
                let middle = if least == 0 { 0 } else { least + (value - least) / 2 };
                if !self.tries(|tape| tape.0[lane][place] = middle) {
                    least = middle + 1;
                }
            }
        }
    }

    /// Whether the same checker complains of a changed tape; it is kept then.
    fn tries(&mut self, change: impl FnOnce(&mut Tape)) -> bool {
        let mut tape = self.tape.clone();
        change(&mut tape);
        for lane in &mut tape.0 {
            // Where a lane ends, nothing but zeros comes.
            let end = lane.iter().rposition(|&value| value > 0).map_or(0, |last| last + 1);
            lane.truncate(end);
        }
        if tape == self.tape {
            return false;
        }
        let checker = self.violation.checker;
        let Some(failure) = play(tape) else { return false };
        let same = failure.violation.checker == checker
            && (checker != "assertion" || same_place(&failure.violation, &self.violation));
        // What is drawn beyond a tape's end may make it longer; shorter is what counts.
        if same && size(&failure.tape) < size(&self.tape) {
            *self = failure;
            return true;
        }
        false
    }
}

/// The run of a tape, in a thread of its own: a panic leaves nothing behind there.
fn play(tape: Tape) -> Option<Failure> {
    std::thread::scope(|scope| {
        let run = scope.spawn(move || {
            let (_, violation) = judge(&Origin::Tape(Rc::new(tape.clone())), Wishes::default());
            violation.map(|violation| Failure { tape, violation })
        });
        run.join().ok().flatten()
    })
}

/// Two assertions are the same if they begin with the same words.
fn same_place(one: &Violation, other: &Violation) -> bool {
    let words =
        |violation: &Violation| violation.text.split([':', '{', '(']).next().map(str::to_owned);
    words(one) == words(other)
}

/// How long a tape is, and of two as long ones, how large its numbers are.
fn size(tape: &Tape) -> (usize, u64) {
    (tape.len(), tape.0.iter().flatten().map(|&value| u64::from(value)).sum())
}
