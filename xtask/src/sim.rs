//! The judge: real workers in a simulated world (`crates/sim`).

use std::process::ExitCode;
use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// How its program is run: built with a profile of its own, every check on.
const RUN: [&str; 8] = ["run", "--quiet", "--profile", "sim", "--package", "sim", "--bin", "sim"];

/// For how many minutes fresh seeds are played in a test.
const MINUTES: &str = "1";

/// Hands these arguments to it.
pub(crate) fn run(runner: &Runner, arguments: &[String]) -> ExitCode {
    let mut command = cargo(&RUN);
    if arguments.iter().any(|argument| argument == "--coverage") {
        // What meets what is counted in a build of its own.
        command.args(["--features", "coverage"]);
    }
    let status = command.arg("--").args(arguments).current_dir(runner.path(".")).status();
    match status.ok().and_then(|status| status.code()) {
        Some(0) => ExitCode::SUCCESS,
        Some(2) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Plays fresh seeds, which it prints, for a fixed time; whatever is found fails.
pub(crate) fn check(runner: &Runner, tally: &mut Tally) {
    let limit = Duration::from_mins(15);
    let built = runner.run(&mut cargo(&["build", "--profile", "sim", "--package", "sim"]), limit);
    let held = built.held && {
        let mut command = cargo(&RUN);
        command.args(["--", "--minutes", MINUTES, "--all", "--no-shrink"]);
        runner.run(&mut command, limit).held
    };
    tally.step("sim", held);
}
