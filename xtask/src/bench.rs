//! `cargo xtask bench`: builds anteroom and the bench, and lets the bench do the rest.

use std::process::ExitCode;

use crate::run::{Runner, cargo};

/// Where the bench puts what it found.
const DOCUMENT: &str = "docs/benchmarks.md";

/// Runs the bench with these arguments, which it explains itself.
pub(crate) fn run(runner: &Runner, arguments: &[String]) -> ExitCode {
    let mut build = cargo(&["build", "--release", "--package", "anteroom", "--package", "bench"]);
    if !build.current_dir(runner.path("")).status().is_ok_and(|status| status.success()) {
        eprintln!("the bench measures release binaries, and these could not be built");
        return ExitCode::FAILURE;
    }
    let release = runner.target().join("release");
    let mut bench = std::process::Command::new(release.join("bench"));
    bench.current_dir(runner.path("")).args(arguments);
    if !profiles(arguments) {
        bench.arg("--anteroom").arg(release.join("anteroom"));
        bench.arg("--write").arg(runner.path(DOCUMENT));
    }
    match bench.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the bench cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this is about one of the bench's commands, which write nothing.
fn profiles(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|first| first == "profile" || first == "help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_are_written() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(profiles(&words("profile --row unix")));
        assert!(!profiles(&words("parked unix --rounds 3")) && !profiles(&[]));
    }
}
