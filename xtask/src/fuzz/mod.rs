//! Fuzzing: each check of `fuzz/` made a program with libFuzzer inside, and run for a while.
//!
//! Nothing but the stable toolchain is needed: the coverage is LLVM's own pass, called by name
//! (`wrapper`).

mod campaign;
mod plan;
mod seeds;
mod stats;
pub(crate) mod wrapper;

use std::process::ExitCode;
use std::time::Duration;

use crate::run::{Runner, cargo};
use crate::tally::Tally;
use campaign::Campaign;
use plan::{Plan, Span};

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
        Span::Each(effort) => campaign.run(&plan.targets, *effort).is_empty(),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The step of `cargo xtask test`: every target, its whole corpus, and a few seconds more.
pub(crate) fn smoke(runner: &Runner, tally: &mut Tally) {
    let targets = targets(runner);
    let Some(campaign) = build(runner, &targets) else {
        return tally.fail("fuzz: it does not build");
    };
    let failures = campaign.run(&targets, plan::Effort::Smoke);
    for failure in &failures {
        tally.fail(&format!("fuzz: {failure}"));
    }
    if failures.is_empty() {
        tally.step("fuzz: there is no target", !targets.is_empty());
    }
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

/// Builds the targets: our own crates once more, with a wrapper around the compiler; what others
/// keep is shared with every other build.
fn build<'r>(runner: &'r Runner, targets: &[String]) -> Option<Campaign<'r>> {
    let wrapper = std::env::current_exe().ok()?;
    let mut command = cargo(&["build", "--package", "fuzz", "--features", "libfuzzer"]);
    for target in targets {
        command.args(["--bin", target]);
    }
    command.env(wrapper::ASKED, "1").env("RUSTC_WORKSPACE_WRAPPER", wrapper);
    let built = runner.run(&mut command, Duration::from_mins(30)).held;
    let folder = runner.target();
    built.then(|| Campaign::new(runner, folder.join("debug"), folder.join("fuzz")))
}
