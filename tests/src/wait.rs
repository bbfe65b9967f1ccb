//! Waiting with an end.

use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Asks `probe` every few milliseconds until it gives a value.
///
/// # Panics
/// When [`PATIENCE`] is over first, with `what` was awaited.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// As [`eventually`], with another patience.
///
/// # Panics
/// When `patience` is over first.
pub fn within<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain: {what}");
        pause(5);
    }
}

/// Sleeps for some milliseconds.
pub fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_first_value() {
        let mut left = 3;
        let value = eventually("a countdown", || {
            left -= 1;
            (left == 0).then_some("done")
        });
        assert_eq!(value, "done");
    }

    #[test]
    #[should_panic(expected = "in vain: nothing")]
    fn ends() {
        within(Duration::from_millis(20), "nothing", || None::<()>);
    }
}
