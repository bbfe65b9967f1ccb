//! Fuzzing: each check of `fuzz/` made a program with libFuzzer inside, and run for a while.
//!
//! Nothing but the stable toolchain is needed: the coverage is LLVM's own pass over each crate of
//! ours and those below it, called by name.

mod campaign;
mod plan;
mod seeds;
mod stats;

use std::process::ExitCode;
use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;
use campaign::Campaign;
use plan::{Plan, Span};

/// How long each target is looked at by `cargo xtask test`, beside what it has in its corpus.
const SMOKE: Duration = Duration::from_secs(3);

/// What libFuzzer needs to see where an input leads: counters at every edge, and comparisons.
/// Other checks than a debug build's come from the profile.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// `cargo xtask fuzz ...`
pub(crate) fn run(runner: &Runner, arguments: &[String]) -> ExitCode {
    let all = targets(runner);
    let plan = match Plan::parse(arguments, &all) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", plan::USAGE);
            return ExitCode::from(2);
        }
    };
    let Some(campaign) = build(runner, &plan.targets) else { return ExitCode::FAILURE };
    let held = match &plan.span {
        Span::Replay(file) => campaign.replay(&plan.targets, file),
        Span::Merge => plan.targets.iter().all(|target| campaign.merge(target)),
        Span::Each(effort) => campaign.run(&plan.targets, *effort),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The step of `cargo xtask test`: every target, its whole corpus, and a few seconds more.
pub(crate) fn smoke(runner: &Runner, tally: &mut Tally) {
    let targets = targets(runner);
    let held = build(runner, &targets)
        .is_some_and(|campaign| campaign.run(&targets, plan::Effort::Seconds(SMOKE.as_secs())));
    tally.step("fuzz", held && !targets.is_empty());
}

/// Every target there is: a file of `fuzz/targets` each.
fn targets(runner: &Runner) -> Vec<String> {
    let entries = std::fs::read_dir(runner.path("fuzz/targets")).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        file.strip_suffix(".rs").map(str::to_owned)
    };
    let mut all: Vec<String> = entries.filter_map(name).collect();
    all.sort();
    all
}

/// Builds the targets, in a directory of their own: what is instrumented is of no other use.
fn build<'r>(runner: &'r Runner, targets: &[String]) -> Option<Campaign<'r>> {
    let host = host()?;
    let folder = runner.target().join("fuzz");
    // With a target named, what runs while building is left as it is.
    let mut command = cargo(&["build", "--package", "fuzz", "--features", "libfuzzer"]);
    command.args(["--profile", "fuzz", "--target", &host]);
    for target in targets {
        command.args(["--bin", target]);
    }
    command.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", FLAGS);
    let built = runner.run(&mut command, Duration::from_mins(30)).held;
    built.then(|| Campaign::new(runner, folder.join(host).join("fuzz"), folder))
}

/// The triple that this toolchain builds for.
fn host() -> Option<String> {
    let version = std::process::Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(version.stdout).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(line.to_owned())
}
