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

/// Checkers that complain of something not yet understood: docs/simulation.md, "Open", names the
/// seeds. What they say is printed and fails no test; what any other says does.
const OPEN: [&str; 9] =
    ["cut", "disk", "figures", "leak", "liveness", "parting", "refusal", "request", "response"];

/// Plays fresh seeds, which it prints, for a fixed time.
pub(crate) fn check(runner: &Runner, tally: &mut Tally) {
    let limit = Duration::from_mins(15);
    let built = runner.run(&mut cargo(&["build", "--profile", "sim", "--package", "sim"]), limit);
    let held = built.held && {
        let mut command = cargo(&RUN);
        command.args(["--", "--minutes", MINUTES, "--all", "--no-shrink"]);
        let played = runner.run(&mut command, limit);
        played.held || is_known(&played.output)
    };
    tally.step("sim", held);
}

/// Whether it ended with violations, and all of them are such as are open.
fn is_known(output: &str) -> bool {
    let violations = || output.lines().filter(|line| line.starts_with("violation seed="));
    let open = |line: &str| OPEN.iter().any(|name| line.contains(&format!("checker=\"{name}\"")));
    violations().count() > 0 && violations().all(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_is_let_pass() {
        let line = |checker| format!("violation seed=7 seeds=8 checker=\"{checker}\"\n");
        assert!(is_known(&line("cut")));
        assert!(!is_known(&(line("cut") + &line("audit"))));
        assert!(!is_known("error: it did not compile\n"));
    }
}
