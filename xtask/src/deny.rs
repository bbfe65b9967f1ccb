//! cargo-deny: licences, bans and sources of what stands below us.

use std::path::PathBuf;
use std::time::Duration;

use crate::install::find;
use crate::run::{Runner, cargo};
use crate::tally::Tally;

const NAME: &str = "cargo-deny";

/// Installs it into `target/tools` unless it is on the path or there already. Built without
/// optimisation: that takes a minute instead of six, and it runs for two seconds.
///
/// # Errors
/// The command that failed.
pub(crate) fn install(runner: &Runner) -> Result<(), String> {
    if program(runner).is_some() {
        println!("install: {NAME} is there");
        return Ok(());
    }
    println!("install: {NAME} into target/tools");
    let tools = runner.path("target/tools");
    let tools = tools.display().to_string();
    let arguments = ["install", "--locked", "--debug", "--quiet", "--root", &tools, NAME];
    let mut command = cargo(&arguments);
    // Its own build directory, which goes again: ours is not to be filled with it.
    let build = runner.path("target/tools/build");
    command.env("CARGO_TARGET_DIR", &build);
    let done = runner.run(&mut command, Duration::from_mins(15));
    let _ = std::fs::remove_dir_all(build);
    if done.held { Ok(()) } else { Err(format!("failed: cargo install --locked {NAME}")) }
}

/// Checks what `deny.toml` asks for.
pub(crate) fn check(runner: &Runner, tally: &mut Tally) {
    let Some(program) = program(runner) else {
        println!("\n{NAME} is missing: run `cargo xtask test` without --no-install");
        return tally.fail("deny");
    };
    let mut command = std::process::Command::new(program);
    command.args(["check", "licenses", "bans", "sources"]);
    tally.step("deny", runner.run(&mut command, Duration::from_mins(5)).held);
}

fn program(runner: &Runner) -> Option<PathBuf> {
    let ours = runner.path("target/tools/bin").join(NAME);
    if ours.is_file() { Some(ours) } else { find(NAME) }
}
