//! The models of what threads share: loom's, then shuttle's.

use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// The tool, and the crates that have models for it.
const TOOLS: [(&str, &[&str]); 2] = [
    ("loom", &["base", "spool", "bus", "driver", "proxies", "worker"]),
    ("shuttle", &["bus", "worker"]),
];

/// Runs them all, within about a minute once they are built. `LOOM_MAX_PREEMPTIONS` and
/// `MODEL_TIMES` ask for more, by hand.
pub(crate) fn run(runner: &Runner, tally: &mut Tally) {
    for (tool, crates) in TOOLS {
        let mut arguments = vec!["test", "--lib", "--no-fail-fast"];
        for name in crates {
            arguments.extend(["--package", name]);
        }
        // What each ran is told beside its result.
        arguments.extend(["models::", "--", "--nocapture"]);
        let mut command = cargo(&arguments);
        command.env("RUSTFLAGS", format!("--cfg {tool}")).env("RUST_BACKTRACE", "0");
        // A directory of its own: the flag is part of every crate.
        command.env("CARGO_TARGET_DIR", runner.target().join("models"));
        let done = runner.run(&mut command, Duration::from_mins(20));
        tally.tests_of_each(&format!("models on {tool}"), done.held, &done.output);
    }
}
