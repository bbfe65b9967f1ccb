//! The tests of the crates, and the binary that the black-box tests need.

use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// Unit and property tests of every crate, the harness's own included.
pub(crate) fn unit(runner: &Runner, tally: &mut Tally) {
    let limit = Duration::from_mins(20);
    let workspace = ["test", "--workspace", "--exclude", "blackbox", "--no-fail-fast"];
    let done = runner.run(&mut cargo(&workspace), limit);
    tally.tests("unit", done.held, &done.output);
    let harness = ["test", "--package", "blackbox", "--lib", "--bins"];
    let done = runner.run(&mut cargo(&harness), limit);
    tally.tests("unit", done.held, &done.output);
}

/// Builds the release binary and says whether that worked.
pub(crate) fn build(runner: &Runner, tally: &mut Tally) -> bool {
    let arguments = ["build", "--release", "--package", "anteroom"];
    let limit = Duration::from_mins(15);
    let built = runner.run(&mut cargo(&arguments), limit).held;
    tally.step("build", built);
    // The README's first command names no package: cargo must know which binary is meant.
    let started = runner.run(&mut cargo(&["run", "--release", "--", "--version"]), limit).held;
    tally.step("the README's cargo run", started);
    built
}
