//! The black-box tests: the files of `tests/tests`, one test program each.

use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// The files' names without their ending: those that contain the filter, or all when the
/// filter is the step's own name or there is none.
pub(crate) fn files(runner: &Runner, only: Option<&str>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(runner.path("tests/tests")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let wanted = |name: &String| {
        only.is_none_or(|filter| "blackbox".contains(filter) || name.contains(filter))
    };
    let mut names: Vec<String> = names.filter(wanted).collect();
    names.sort();
    names
}

/// Runs these files against the release binary.
pub(crate) fn run(runner: &Runner, files: &[String], tally: &mut Tally) {
    let binary = runner.target().join("release/anteroom");
    let mut arguments = vec!["test", "--package", "blackbox", "--no-fail-fast"];
    for file in files {
        arguments.extend(["--test", file]);
    }
    let mut command = cargo(&arguments);
    if std::env::var_os("ANTEROOM_BIN").is_none() {
        command.env("ANTEROOM_BIN", binary);
    }
    // Debian keeps nginx where an ordinary user's path does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let done = runner.run(&mut command, Duration::from_mins(15));
    tally.tests("blackbox", done.held, &done.output);
}
