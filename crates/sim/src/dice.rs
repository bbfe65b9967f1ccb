//! Every random decision of a simulated world, drawn from a tape.
//!
//! A tape has lanes, one for each part of the world that decides something: the settings, the
//! network, each client, each server. A run is a function of its tape alone. A seed stands for a
//! tape without end; while it is played it can be kept, and what was kept can be cut down: a lane
//! that has ended gives 0 for ever, and 0 is always the simplest choice. As each part draws from a
//! lane of its own, leaving one out does not change what the others do.

#[expect(clippy::disallowed_types, reason = "a recorder, shared by the dice of one thread")]
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use base::mix::mix;

/// Most lanes of a tape.
const LANES: usize = 1 << 16;

/// What was drawn, by lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape(pub Vec<Vec<u32>>);

/// Where a world's decisions come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A seed.
    Seed(u64),
    /// What was drawn in an earlier run, or part of it.
    Tape(Rc<Tape>),
}

/// Keeps what is drawn. Clones write the same tape.
#[derive(Clone, Debug, Default)]
#[expect(clippy::disallowed_types, reason = "a recorder, shared by the dice of one thread")]
pub struct Recorder(Rc<RefCell<Tape>>);

/// One lane of a tape.
#[derive(Debug)]
pub struct Dice {
    source: Source,
    lane: usize,
    recorder: Option<Recorder>,
}

#[derive(Debug)]
enum Source {
    Fresh(u64),
    Kept { tape: Rc<Tape>, at: usize },
}

impl Recorder {
    /// What was drawn so far.
    pub fn tape(&self) -> Tape {
        self.0.borrow().clone()
    }

    fn note(&self, lane: usize, value: u32) {
        let lanes = &mut self.0.borrow_mut().0;
        if lanes.len() <= lane {
            lanes.resize(lane + 1, Vec::new());
        }
        lanes[lane].push(value);
    }
}

impl Tape {
    /// Decisions on it.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether every decision is the simplest.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A line for each lane: its number, then what was drawn. Lines that begin with `#` say nothing.
impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (lane, values) in self.0.iter().enumerate() {
            if values.iter().any(|&value| value > 0) {
                write!(f, "{lane}:")?;
                values.iter().try_for_each(|value| write!(f, " {value}"))?;
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Tape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let wrong = || format!("not `LANE: NUMBER ...`: {line}");
            let (lane, values) = line.split_once(':').ok_or_else(wrong)?;
            let lane: usize = lane.parse().map_err(|_| wrong())?;
            let values: Result<Vec<u32>, _> = values.split_whitespace().map(str::parse).collect();
            if lane >= LANES {
                return Err(wrong());
            }
            if tape.0.len() <= lane {
                tape.0.resize(lane + 1, Vec::new());
            }
            tape.0[lane] = values.map_err(|_| wrong())?;
        }
        Ok(tape)
    }
}

impl Dice {
    /// The dice of one lane.
    pub fn new(origin: &Origin, lane: usize, recorder: Option<&Recorder>) -> Self {
        let source = match origin {
            Origin::Seed(seed) => Source::Fresh(mix(seed ^ mix(lane as u64))),
            Origin::Tape(tape) => Source::Kept { tape: Rc::clone(tape), at: 0 },
        };
        Self { source, lane, recorder: recorder.cloned() }
    }

    /// A number below `bound`; 0 without one.
    pub fn below(&mut self, bound: u32) -> u32 {
        let bound = bound.max(1);
        let value = match &mut self.source {
            Source::Fresh(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                // The upper half, spread over the bound (Lemire 2019).
                let random = mix(*state) >> 32;
                u32::try_from((random * u64::from(bound)) >> 32).unwrap_or(0)
            }
            Source::Kept { tape, at } => {
                let kept = tape.0.get(self.lane).and_then(|lane| lane.get(*at));
                *at += 1;
                kept.map_or(0, |&kept| kept % bound)
            }
        };
        if let Some(recorder) = &self.recorder {
            recorder.note(self.lane, value);
        }
        value
    }

    /// A number from `least` to `most`; the least is the simplest.
    pub fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// Yes in `weight` of 256 cases.
    pub fn chance(&mut self, weight: u32) -> bool {
        weight > 0 && self.below(256) >= 256_u32.saturating_sub(weight)
    }

    /// One of these; the first is the simplest.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX));
        choices[place as usize]
    }

    /// The place of one of these weights, each as often as it says; the first is the simplest.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut drawn = self.below(weights.iter().sum());
        for (place, &weight) in weights.iter().enumerate() {
            if drawn < weight {
                return place;
            }
            drawn -= weight;
        }
        0
    }

    /// A length up to `most`, short ones as often as long ones: any number of digits is as likely.
    pub fn length(&mut self, most: u32) -> u32 {
        let bits = u32::BITS - most.leading_zeros();
        let bound = 1_u32.checked_shl(self.below(bits + 1)).unwrap_or(u32::MAX);
        self.below(bound.min(most.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(dice: &mut Dice) -> Vec<u32> {
        (1..200).map(|bound| dice.below(bound)).collect()
    }

    #[test]
    fn a_seed_is_a_tape_and_lanes_differ() {
        let origin = Origin::Seed(7);
        let recorder = Recorder::default();
        let first = draw(&mut Dice::new(&origin, 0, Some(&recorder)));
        let second = draw(&mut Dice::new(&origin, 3, Some(&recorder)));
        assert_ne!(first, second);
        let kept = Origin::Tape(Rc::new(recorder.tape()));
        assert_eq!(draw(&mut Dice::new(&kept, 0, None)), first);
        assert_eq!(draw(&mut Dice::new(&kept, 3, None)), second);
        assert_eq!(draw(&mut Dice::new(&kept, 1, None)), vec![0; 199]);
        assert_eq!(recorder.tape().len(), 2 * 199);
    }

    #[test]
    fn a_tape_is_read_as_it_was_written() {
        let tape = Tape(vec![vec![3, 0, 4], vec![], vec![0, 0], vec![7]]);
        let text = format!("# a story\n{tape}");
        assert_eq!(text, "# a story\n0: 3 0 4\n3: 7\n");
        assert_eq!(text.parse(), Ok(Tape(vec![vec![3, 0, 4], vec![], vec![], vec![7]])));
        for wrong in ["3", "x: 1", "1: y", "99999999: 1"] {
            assert!(wrong.parse::<Tape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn draws_keep_their_bounds_and_reach_all_of_them() {
        let mut dice = Dice::new(&Origin::Seed(1), 0, None);
        let mut seen = [0; 7];
        (0..700).for_each(|_| seen[dice.below(7) as usize] += 1);
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        let yes = (0..2560).filter(|_| dice.chance(64)).count();
        assert!((500..800).contains(&yes), "{yes}");
        assert!((0..100).all(|_| !dice.chance(0)) && (0..100).all(|_| dice.chance(256)));
        assert!((0..1000).all(|_| dice.length(1000) <= 1000));
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
        assert!((0..1000).all(|_| dice.weighted(&[0, 3, 1]) > 0));
    }

    #[test]
    fn the_end_of_a_tape_is_the_simplest_choice() {
        let mut dice = Dice::new(&Origin::Tape(Rc::default()), 0, None);
        assert!(!dice.chance(255));
        assert_eq!((dice.pick(&[9, 8]), dice.between(4, 9), dice.length(99)), (9, 4, 0));
    }
}
