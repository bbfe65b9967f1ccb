//! Numbers spread over all bits, for tables and identifiers that nobody outside can foresee.

/// Spreads every bit of a number over all of them, one-to-one (a finalizer after Murmur and
/// `SplitMix`). No secret: mix in a seed that is one.
pub const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_in_changes_about_half_of_those_out() {
        for bit in 0..64 {
            let changed = (mix(0x3039) ^ mix(0x3039 ^ 1 << bit)).count_ones();
            assert!((12..52).contains(&changed), "bit {bit} changes {changed}");
        }
    }
}
