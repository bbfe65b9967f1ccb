//! `cargo xtask sanitize`: the rooms with unsafe code under an address sanitizer, whose runtime
//! comes with the toolchain.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;

/// With its crates: those with unsafe code, what is built on them, and the worker on the
/// simulated driver, which moves every buffer there is.
const CRATES: [&str; 5] = ["pool", "driver", "exchange", "proxies", "sim"];
/// A test that touches a byte behind a buffer.
const PLANTED: &str = "region::tests::planted_a_byte_behind_a_buffer";

/// Runs it; fails when a test fails, or when the planted fault is not found.
pub(crate) fn run(runner: &Runner) -> ExitCode {
    let mut tally = Tally::default();
    let mut planted = sanitized(runner, &["pool"], &["--ignored", "--exact", PLANTED]);
    let done = runner.run(&mut planted, Duration::from_mins(15));
    let found = !done.held && done.output.contains("AddressSanitizer: use-after-poison");
    println!("the planted fault {}", if found { "was found" } else { "WAS NOT FOUND" });
    tally.step("sanitize: a byte behind a buffer is found", found);
    let mut tests = sanitized(runner, &CRATES, &[]);
    let done = runner.run(&mut tests, Duration::from_mins(30));
    tally.tests("sanitize", done.held, &done.output);
    tally.close()
}

/// The target that the compiler was built for.
fn host(runner: &Runner) -> Option<String> {
    let done = runner.quietly(Command::new("rustc").arg("-vV"), Duration::from_mins(1));
    done.output.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// Cargo's tests of these crates, every crate below them sanitized, too.
fn sanitized(runner: &Runner, crates: &[&str], rest: &[&str]) -> Command {
    let host = host(runner).unwrap_or_default();
    // With a target of its own named, what runs while building is left as it is.
    let mut arguments = vec!["test", "--target", &host, "--no-fail-fast", "--lib", "--tests"];
    for name in crates {
        arguments.extend(["--package", name]);
    }
    arguments.push("--");
    arguments.extend(rest);
    let mut command = cargo(&arguments);
    // The flag is unstable, though what it needs is there.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address --cfg asan");
    command.env("CARGO_TARGET_DIR", runner.target().join("sanitize"));
    command.env("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1");
    command
}
