//! How the network cuts what goes through it.

/// How many bytes one receive or one send moves at most. Never fewer than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segments {
    /// All there are.
    #[default]
    Whole,
    /// So many.
    Most(usize),
    /// A number from 1 to `most` each time, the same sequence for the same seed.
    Random {
        /// Names the sequence.
        seed: u64,
        /// The largest number.
        most: usize,
    },
}

impl Segments {
    /// The most the next receive or send moves.
    pub(crate) fn next_limit(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Most(most) => (*most).max(1),
            Self::Random { seed, most } => {
                let random = split_mix(seed);
                let most = u64::try_from(*most).unwrap_or(u64::MAX).max(1);
                usize::try_from(random % most).unwrap_or(0) + 1
            }
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): any seed gives a good sequence.
const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stay_within_their_bounds_and_repeat_with_the_seed() {
        let draw = |seed| {
            let mut segments = Segments::Random { seed, most: 7 };
            [(); 200].map(|()| segments.next_limit())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!((1..=7).filter(|limit| draw(1).contains(limit)).count(), 7);
        assert!(draw(1).iter().all(|limit| (1..=7).contains(limit)));
        assert_eq!(Segments::Most(0).next_limit(), 1);
        assert_eq!(Segments::Random { seed: 1, most: 0 }.next_limit(), 1);
    }
}
