//! Medians, spreads and percentiles.

use std::fmt;

/// The middle, the least and the most of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) least: f64,
    /// The largest.
    pub(crate) most: f64,
}

impl Spread {
    /// Of these values; none of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let (least, most) = extremes(&values);
        (!values.is_empty()).then(|| Self { median: median(&values), least, most })
    }
}

/// `12.3 (11.9–14.0)`, with as many decimals as the format asks for, two if it does not.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, least, most } = self;
        write!(f, "{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

/// The middle of these values, or the mean of the two middle ones; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.as_slice() {
        [] => 0.0,
        even if even.len().is_multiple_of(2) => f64::midpoint(even[half - 1], even[half]),
        odd => odd[half],
    }
}

/// The smallest and the largest of these values; zeros of none.
fn extremes(values: &[f64]) -> (f64, f64) {
    let smallest = values.iter().copied().reduce(f64::min).unwrap_or_default();
    let largest = values.iter().copied().reduce(f64::max).unwrap_or_default();
    (smallest, largest)
}

/// The value below or at which `share` (0 to 1) of the sorted values lie, by nearest rank.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among far fewer than 2^52 values, and not negative"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// An exact conversion for counts this bench meets (far below 2^52).
#[expect(clippy::cast_precision_loss, reason = "counts and bytes far below 2^52")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, middle) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![4.0, 1.0], 2.5), (vec![9.0, 1.0, 2.0], 2.0)]
        {
            assert!((median(&values) - middle).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn spreads_are_shown_with_their_range() {
        let spread = Spread::of([2.0, 1.0, 4.0]).unwrap();
        assert_eq!(spread.to_string(), "2.00 (1.00–4.00)");
        assert_eq!(format!("{spread:.0}"), "2 (1–4)");
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 0.5), 100);
        assert_eq!(percentile(&sorted, 0.99), 198);
        assert_eq!(percentile(&sorted, 1.0), 200);
        assert_eq!(percentile(&[], 0.99), 0);
    }
}
