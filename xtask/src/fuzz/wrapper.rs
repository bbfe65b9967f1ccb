//! The compiler as our own crates meet it while fuzzing is built. Cargo keeps what comes of it apart
//! from other builds, and leaves out what others keep: that needs no counters.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// The variable that says that this program is to be the compiler.
pub(crate) const ASKED: &str = "ANTEROOM_FUZZ_RUSTC";

/// What libFuzzer needs to see where an input leads: a counter at every edge. Debug assertions and
/// overflow checks are the debug build's.
const EDGES: [&str; 7] = [
    "--cfg=fuzzing",
    "-Copt-level=2",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// What shows it the values that are compared, so that it can put them in. That is half of all time
/// where it is, so only for those who read text.
const COMPARISONS: &str = "-Cllvm-args=-sanitizer-coverage-trace-compares";
const READERS: [&str; 3] = ["wire", "anteroom", "exchange"];

/// Runs the compiler with its arguments and ours.
pub(crate) fn run() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(compiler) = arguments.next() else { return ExitCode::FAILURE };
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(compiler);
    command.args(&arguments).args(extra(&arguments));
    let code = command.status().ok().and_then(|status| status.code());
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What a crate gets beside what Cargo gives it; nothing where Cargo only asks.
fn extra(arguments: &[OsString]) -> Vec<&'static str> {
    let mut behind = arguments.iter().skip_while(|argument| *argument != "--crate-name").skip(1);
    let Some(name) = behind.next().filter(|name| *name != "___") else { return Vec::new() };
    let mut all = EDGES.to_vec();
    if READERS.iter().any(|reader| name == *reader) {
        all.push(COMPARISONS);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra_for(line: &str) -> usize {
        extra(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).len()
    }

    #[test]
    fn crates_are_instrumented_and_questions_are_not() {
        assert_eq!(extra_for("-vV"), 0);
        assert_eq!(extra_for("- --crate-name ___ --print=cfg"), 0);
        assert_eq!(extra_for("--crate-name pool src/lib.rs"), EDGES.len());
        assert_eq!(extra_for("--crate-name wire src/lib.rs"), EDGES.len() + 1);
    }
}
