//! Reproducible randomness: one seed, printed by the test that fails.

/// A small generator (xorshift64*): not for secrets, good enough to cut bodies.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of one test: `salt` keeps tests apart, `ANTEROOM_SEED` varies runs.
    pub fn new(salt: u64) -> Self {
        let seed = std::env::var("ANTEROOM_SEED").ok().and_then(|text| text.parse().ok());
        let mixed =
            (seed.unwrap_or(1_u64) ^ salt.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(mixed | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.number() % end).unwrap_or(0)
    }

    /// True once in `n` times on average.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// `length` bytes of every value.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// A length from 0 to `most`: every order of magnitude is as likely as the others, and the
    /// edges of buffers are met often.
    pub fn length(&mut self, most: usize) -> usize {
        const EDGES: [usize; 10] = [0, 1, 2, 511, 1792, 2047, 2048, 2049, 4096, 65_536];
        if self.once_in(3) {
            return EDGES[self.below(EDGES.len())].min(most);
        }
        let bits = self.below(usize::BITS as usize - most.leading_zeros() as usize + 1);
        self.below(1 << bits).min(most)
    }

    /// `bytes` cut into pieces at random points, at most `pieces` of them.
    pub fn cut<'b>(&mut self, bytes: &'b [u8], pieces: usize) -> Vec<&'b [u8]> {
        let mut cuts: Vec<usize> = (1..pieces).map(|_| self.below(bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).filter(|p| !p.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lose_nothing() {
        let mut random = Random::new(7);
        for _ in 0..200 {
            let length = random.length(5000);
            let bytes = random.bytes(length);
            assert_eq!(random.cut(&bytes, 9).concat(), bytes);
        }
    }

    #[test]
    fn lengths_stay_within_and_reach_both_ends() {
        let mut random = Random::new(8);
        let lengths: Vec<usize> = (0..2000).map(|_| random.length(200_000)).collect();
        assert!(lengths.iter().all(|&length| length <= 200_000));
        assert!(lengths.contains(&0) && lengths.iter().any(|&length| length > 100_000));
    }
}
