//! When certificates are renewed, and when a failed order is tried again.

use std::time::{Duration, SystemTime};

use super::Held;
use super::advice::Window;

/// When a third of its time is left; a little earlier by `luck`, so that many do not come at once.
pub(super) fn renewal(held: &Held, luck: u32) -> SystemTime {
    let life = held.not_after.duration_since(held.not_before).unwrap_or_default();
    let early = part(life / 30, luck);
    held.not_after.checked_sub(life / 3 + early).unwrap_or(held.not_before)
}

/// When the authority would have it renewed: at a moment of its window that `luck` chooses, but never
/// when hardly anything is left of its time (RFC 9773 §4.2).
pub(super) fn advised(held: &Held, window: Window, luck: u32) -> SystemTime {
    let length = window.end.duration_since(window.start).unwrap_or_default();
    let chosen = window.start.checked_add(part(length, luck)).unwrap_or(window.start);
    let life = held.not_after.duration_since(held.not_before).unwrap_or_default();
    chosen.min(held.not_after.checked_sub(life / 10).unwrap_or(held.not_before))
}

/// How long to wait after so many failures in a row: doubling between both bounds, and longer by up
/// to a quarter. What the authority asks for is the least, within bounds.
pub(super) fn pause(
    failures: u32,
    [least, most]: [Duration; 2],
    asked: Option<Duration>,
    luck: u32,
) -> Duration {
    let doubled = least.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most);
    let own = doubled + part(doubled / 4, luck);
    own.max(asked.unwrap_or_default().min(base::limits::ACME_ASKED_MAX))
}

/// A share of `length`: none of it for 0, nearly all of it for the greatest number.
fn part(length: Duration, luck: u32) -> Duration {
    length.mul_f64(f64::from(luck) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn held(not_before: SystemTime, life: Duration) -> Held {
        Held { not_before, not_after: not_before + life, issued_as: None }
    }

    #[test]
    fn the_authority_knows_better_up_to_a_point() {
        let start = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let held = held(start, 90 * DAY);
        let window =
            |from: u32, to: u32| Window { start: start + from * DAY, end: start + to * DAY };
        let middle = u32::MAX / 2 + 1;
        assert_eq!(advised(&held, window(40, 42), 0), start + 40 * DAY);
        assert_eq!(advised(&held, window(40, 42), middle), start + 41 * DAY);
        assert_eq!(advised(&held, window(88, 200), middle), start + 81 * DAY);
        assert_eq!(advised(&held, window(9, 2), middle), start + 9 * DAY);
    }

    #[test]
    fn a_third_is_left_when_it_is_renewed() {
        for (life, luck, left) in [
            (90 * DAY, 0, 30 * DAY),
            (90 * DAY, u32::MAX / 2 + 1, 31 * DAY + DAY / 2),
            (6 * DAY, 0, 2 * DAY),
            (Duration::from_secs(30), 0, Duration::from_secs(10)),
            (Duration::ZERO, 9, Duration::ZERO),
        ] {
            let not_before = SystemTime::UNIX_EPOCH + 1000 * DAY;
            let held = held(not_before, life);
            assert_eq!(renewal(&held, luck), held.not_after - left, "{life:?}");
        }
    }

    #[test]
    fn pauses_double_and_heed_the_authority() {
        let secs = Duration::from_secs;
        let bounds = [secs(60), secs(3600)];
        let own = [1, 2, 3, 6, 7, 1000].map(|failures| pause(failures, bounds, None, 0).as_secs());
        assert_eq!(own, [60, 120, 240, 1920, 3600, 3600]);
        assert_eq!(pause(1, bounds, None, u32::MAX / 2 + 1), secs(60 + 7) + secs(1) / 2);
        assert_eq!(pause(1, bounds, Some(secs(7200)), 0), secs(7200));
        assert_eq!(pause(1, bounds, Some(secs(5)), 0), secs(60));
        assert_eq!(pause(1, bounds, Some(secs(u64::MAX)), 0), base::limits::ACME_ASKED_MAX);
    }
}
