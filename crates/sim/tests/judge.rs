//! The judge itself: what it found once it never finds again, and a run is its tape's.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use sim::dice::{Origin, Recorder, Tape};
use sim::judge::{Wishes, judge};

/// Runs that went wrong once, cut down to what it took.
#[test]
fn what_went_wrong_once_goes_well() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tapes");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let tape: Tape = text.parse().unwrap();
        let (_, violation) = judge(&Origin::Tape(Rc::new(tape)), Wishes::default());
        assert_eq!(violation, None, "{}", path.display());
        played += 1;
    }
    assert!(played > 0, "there are none");
}

/// Seeds that found something in the worker, and are short enough to be played here.
#[test]
fn what_a_seed_found_once_it_finds_no_more() {
    for seed in [7_100_044_882, 7_100_052_581] {
        let (_, violation) = judge(&Origin::Seed(seed), Wishes::default());
        assert_eq!(violation, None, "seed {seed}");
    }
}

/// The same seed is the same run, and so is the tape that was kept of it.
#[test]
fn a_run_is_a_function_of_its_tape() {
    for seed in 0..6 {
        let recorder = Recorder::default();
        let wishes = || Wishes { recorder: Some(&recorder), ..Wishes::default() };
        let (first, violation) = judge(&Origin::Seed(seed), wishes());
        assert_eq!(violation, None, "seed {seed}");
        let tape = Rc::new(recorder.tape());
        let (again, _) = judge(&Origin::Tape(tape), Wishes::default());
        assert_eq!(first.to_string(), again.to_string(), "seed {seed}");
        assert_eq!((first.turns, first.time), (again.turns, again.time), "seed {seed}");
        assert!(first.exchanges > 10);
    }
}

/// The simplest tape of all is a quiet day.
#[test]
fn nothing_but_zeros_is_a_run_too() {
    let (tally, violation) = judge(&Origin::Tape(Rc::default()), Wishes::default());
    assert_eq!(violation, None);
    assert_eq!(tally.exchanges, 1500 + 2, "two of them ask whether all is well");
}
