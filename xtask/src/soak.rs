//! `cargo xtask soak`: builds the release binary and the soak, and lets it run.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::install;
use crate::run::{Runner, cargo};
use crate::tally::Tally;

const USAGE: &str = "\
usage: cargo xtask soak [--minutes N] [--seed S] [--io epoll|uring]

  installs what it needs, builds the release binary and lets it run under random faults, 10 minutes
  on each driver unless told otherwise: its memory, descriptors and buffers must end where they
  began (docs/soak.md)";

/// Runs it on both drivers, or on the one that is named.
pub(crate) fn run(runner: &Runner, arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if let Err(missing) = install::everything(runner) {
        eprintln!("{missing}");
        return ExitCode::FAILURE;
    }
    let limit = Duration::from_mins(20);
    let builds = [
        ["build", "--release", "--package", "anteroom"],
        ["build", "--package", "blackbox", "--bin=soak"],
    ];
    if !builds.iter().all(|build| runner.run(&mut cargo(build), limit).held) {
        return ExitCode::FAILURE;
    }
    let named = arguments.iter().any(|word| word == "--io");
    let drivers: &[&str] = if named { &[""] } else { &["epoll", "uring"] };
    let mut tally = Tally::default();
    for io in drivers {
        let mut soak = Command::new(runner.target().join("debug/soak"));
        soak.args(arguments);
        if !io.is_empty() {
            soak.args(["--io", io]);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        soak.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        // It ends by itself; what it is told wrong it says at once.
        tally.step(&format!("soak {io}"), runner.run(&mut soak, Duration::from_hours(24)).held);
    }
    tally.close()
}
