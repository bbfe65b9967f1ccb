//! The black-box tests: the files of `tests/tests`, one test program each.

use std::path::{Path, PathBuf};
use std::process::Command;
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

/// What the tests of the spool need on its disk at one time, in MiB.
const DISK: u64 = 6 << 10;

/// Runs these files against the release binary, on each driver that this machine allows.
pub(crate) fn run(runner: &Runner, files: &[String], tally: &mut Tally) {
    if let Some(free) = free_disk(runner, "/var/tmp").filter(|free| *free < DISK) {
        // They would fail one by one, and none would say why.
        println!("{free} MiB are free in /var/tmp, and the spool's tests need {DISK}");
        tally.fail("blackbox: the disk is too full");
    }
    let binary = std::env::var_os("ANTEROOM_BIN")
        .map_or_else(|| runner.target().join("release/anteroom"), PathBuf::from);
    for io in ["epoll", "uring"] {
        let probed = probe(runner, &binary, io);
        if let Some(reason) = probed.as_ref().err().and_then(|told| not_to_be_had(io, told)) {
            tally.skip(&format!("black-box tests on io_uring: {reason}"));
            continue;
        }
        if let Err(told) = probed {
            println!("{told}");
            tally.fail(&format!("blackbox on {io}: anteroom refuses a plain configuration"));
            continue;
        }
        run_on(runner, files, (io, &binary), tally);
    }
}

/// MiB that are free where this folder is.
fn free_disk(runner: &Runner, folder: &str) -> Option<u64> {
    let mut command = Command::new("df");
    command.args(["--block-size=1M", "--output=avail", folder]);
    let done = runner.quietly(&mut command, Duration::from_mins(1));
    done.output.lines().rev().find_map(|line| line.trim().parse().ok())
}

fn run_on(runner: &Runner, files: &[String], (io, binary): (&str, &Path), tally: &mut Tally) {
    let mut arguments = vec!["test", "--package", "blackbox", "--no-fail-fast"];
    for file in files {
        arguments.extend(["--test", file]);
    }
    let mut command = cargo(&arguments);
    command.env("ANTEROOM_BIN", binary).env("ANTEROOM_IO", io);
    // Debian keeps nginx where an ordinary user's path does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    println!("\nblack-box tests on {io}");
    let done = runner.run(&mut command, Duration::from_mins(15));
    tally.tests(&format!("blackbox on {io}"), done.held, &done.output);
}

/// Whether anteroom would serve a plain configuration on this driver; what it says if not.
fn probe(runner: &Runner, binary: &Path, io: &str) -> Result<(), String> {
    let config = runner.target().join("io-probe.toml");
    let text = format!(
        "io = \"{io}\"\n[[listen]]\naddress = \"127.0.0.1:8080\"\n\
         [[upstream]]\nservers = [\"127.0.0.1:9\"]\n"
    );
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(binary);
    command.arg("check").arg(&config);
    let done = runner.quietly(&mut command, Duration::from_mins(1));
    if done.held { Ok(()) } else { Err(done.output) }
}

/// The line in which anteroom says that `io_uring` may not be used here: containers often forbid
/// it. Whatever else it says is a fault.
fn not_to_be_had<'t>(io: &str, told: &'t str) -> Option<&'t str> {
    let reasons = ["io_uring is switched off", "io_uring is forbidden", "has no io_uring"];
    let mut lines = told.lines().filter(|_| io == "uring");
    lines.find(|line| reasons.iter().any(|reason| line.contains(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_anteroom_says_of_io_uring_excuses_it() {
        let told = "a.toml:1:6: error: `io` = \"uring\": io_uring is forbidden to this process\n";
        assert_eq!(not_to_be_had("uring", told), told.lines().next());
        assert_eq!(not_to_be_had("epoll", told), None);
        for other in ["a.toml:2:1: error: unknown key `address`", "panicked at uring.rs", ""] {
            assert_eq!(not_to_be_had("uring", other), None, "{other}");
        }
    }
}
