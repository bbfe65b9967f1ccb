//! How bytes arrive: in one piece, byte by byte, and cut in places that the bytes themselves
//! decide, so that a file that failed fails again.

/// Numbers that depend on some bytes alone.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of these bytes (FNV-1a, 64 bits).
    pub fn of(bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// The next number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX; the upper half is the better one.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// The ways in which these bytes arrive; the first is whole.
pub fn ways(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    let mut dice = Dice::of(bytes);
    let most = 1 + dice.below(40);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    [vec![bytes], bytes.chunks(1).collect(), pieces]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_brings_all_bytes_and_repeats() {
        let bytes: Vec<u8> = (0..200).collect();
        for way in ways(&bytes) {
            assert_eq!(way.concat(), bytes);
        }
        assert_eq!(ways(&bytes), ways(&bytes));
        assert!(ways(&bytes)[2].len() > 2 && ways(&bytes)[1].len() == 200);
        assert!(ways(b"").iter().all(|way| way.concat().is_empty()));
    }
}
