//! The black-box tests: the files of `tests/tests`, one test program each.

use std::path::{Path, PathBuf};
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

/// Runs these files against the release binary, on each driver that this machine allows.
pub(crate) fn run(runner: &Runner, files: &[String], tally: &mut Tally) {
    let binary = std::env::var_os("ANTEROOM_BIN")
        .map_or_else(|| runner.target().join("release/anteroom"), PathBuf::from);
    for io in ["epoll", "uring"] {
        if io == "uring" && !allows_uring(runner, &binary) {
            println!("\nio_uring is not to be had here: the black-box tests ran on epoll alone");
            continue;
        }
        run_on(runner, files, (io, &binary), tally);
    }
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

/// Whether anteroom itself finds that `io_uring` may be used: containers often forbid it.
fn allows_uring(runner: &Runner, binary: &Path) -> bool {
    let config = runner.target().join("uring-probe.toml");
    let text = "io = \"uring\"\n[[listen]]\naddress = \"127.0.0.1:8080\"\n\
                [[upstream]]\nservers = [\"127.0.0.1:9\"]\n";
    let (binary, file) = (binary.to_string_lossy(), config.to_string_lossy());
    std::fs::write(&config, text).is_ok() && runner.succeeds(&binary, &["check", &file])
}
