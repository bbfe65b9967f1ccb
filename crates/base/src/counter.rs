//! Counters that one worker writes and the master reads.
//!
//! A worker is the only writer of its counters, so adding is a plain load and store: no locked
//! instruction on the data path. Components own their counters; the top floor collects them.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

/// A figure that only grows, or, written with [`Counter::set`], a figure as it stands.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `n` more. Only the owner calls this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// `n` fewer. Only the owner calls this.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Stands at `n`. Only the owner calls this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The figure.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, in microseconds: 50 µs to 60 s, three a decade.
pub const BOUNDS_MICROS: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How long something took, counted in fixed buckets (not cumulative; the last is "longer").
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS_MICROS.len() + 1],
    sum_nanos: Counter,
}

impl Histogram {
    /// Counts one that took `length`.
    pub fn observe(&self, length: Duration) {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| bound * 1_000 < nanos);
        self.buckets[bucket].increment();
        self.sum_nanos.add(nanos);
    }

    /// The count of each bucket, in the order of [`BOUNDS_MICROS`], then those above all bounds.
    pub fn buckets(&self) -> [u64; BOUNDS_MICROS.len() + 1] {
        core::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// All lengths together, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a sum for averages needs no last digit")]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos.get() as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [1, 50, 51, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1]), (2, 1));
        assert_eq!((buckets[18], buckets[19]), (1, 1));
        assert_eq!(buckets.iter().sum::<u64>(), 5);
        assert!((histogram.sum_seconds() - 120.000_103).abs() < 1e-6);
    }

    #[test]
    fn counters_count() {
        let counter = Counter::new();
        counter.add(5);
        counter.increment();
        counter.sub(2);
        assert_eq!(counter.get(), 4);
        counter.set(9);
        assert_eq!(counter.get(), 9);
    }
}
