//! The lints of the toolchain.

use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// Every file is formatted.
pub(crate) fn fmt(runner: &Runner, tally: &mut Tally) {
    let mut command = cargo(&["fmt", "--all", "--check"]);
    tally.step("fmt", runner.run(&mut command, Duration::from_mins(2)).held);
}

/// Clippy has nothing to say, tests included.
pub(crate) fn clippy(runner: &Runner, tally: &mut Tally) {
    let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    let mut command = cargo(&arguments);
    tally.step("clippy", runner.run(&mut command, Duration::from_mins(15)).held);
}
