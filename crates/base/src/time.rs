//! Time as it is passed in: nobody below the driver reads a clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on a clock that only moves forward, in nanoseconds since the worker's clock began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// How much later than `earlier` this is; nothing if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the clock began, modulo 2³² (49.7 days): what a record can
    /// afford to keep.
    #[expect(clippy::cast_possible_truncation, reason = "wraps by design, see Tick::is_due")]
    pub const fn tick(self) -> Tick {
        Tick((self.0 / 1_000_000) as u32)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// A moment in milliseconds that wraps every 49.7 days; 4 bytes in a parked client's record.
///
/// Two ticks compare rightly while they are less than 24.8 days apart; [`crate::limits`] holds
/// every time-out below that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// This moment and `millis` more.
    #[must_use]
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Whether `now` has reached this moment.
    pub const fn is_due(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0) < u32::MAX / 2
    }

    /// Milliseconds from `now` until this moment, 0 once it is due.
    pub const fn left(self, now: Self) -> u32 {
        if self.is_due(now) { 0 } else { self.0.wrapping_sub(now.0) }
    }

    /// Milliseconds passed since this moment, 0 while it lies ahead.
    pub const fn age(self, now: Self) -> u32 {
        if self.is_due(now) { now.0.wrapping_sub(self.0) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_compare_across_the_wrap() {
        let late = Tick(u32::MAX - 5);
        let due = late.after(10);
        assert_eq!(due, Tick(4));
        assert!(!due.is_due(late));
        assert_eq!(due.left(late), 10);
        assert!(due.is_due(Tick(4)));
        assert_eq!(due.age(Tick(7)), 3);
        assert_eq!(due.left(Tick(7)), 0);
        assert_eq!(due.age(late), 0);
    }

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        assert_eq!(Instant(5).since(Instant(9)), Duration::ZERO);
        assert_eq!(Instant(u64::MAX) + Duration::from_secs(1), Instant(u64::MAX));
        assert_eq!(Instant(3_999_999).tick(), Tick(3));
    }
}
