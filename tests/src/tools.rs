//! Clients that others wrote: curl, wrk, h2load, Python.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::Process;
use crate::servers;
use crate::wait::eventually;

/// What a tool did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote, both streams.
    pub output: String,
}

/// A test, or a part of it, cannot be run on this machine: `cargo xtask test` tells so at its end.
pub fn skip(why: &str) {
    // Printed by the macros, it would be kept with the output of a test that held.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs a tool to its end.
///
/// # Panics
/// When it is not installed or takes longer than a minute.
pub fn run(program: &str, arguments: &[&str]) -> Ran {
    let mut process = Process::start(Command::new(program).args(arguments));
    let code = process.wait(Duration::from_mins(1)).code();
    // The collecting threads may be behind the exit.
    eventually("the last of what it wrote", || process.is_heard_out().then_some(()));
    Ran { code, output: process.output() }
}

/// Runs a tool and gives its standard output byte by byte.
///
/// # Panics
/// When it is not installed or ends with a failure.
pub fn bytes(program: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let done = command.output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {}: {error}", done.status);
    done.stdout
}

/// curl with a limit of 20 s: the body.
///
/// # Panics
/// When curl fails.
pub fn curl(arguments: &[&str]) -> Vec<u8> {
    bytes("curl", &[&["--silent", "--show-error", "--max-time", "20"], arguments].concat())
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Responses received.
    pub requests: u64,
    /// Responses other than 2xx and 3xx.
    pub refused: u64,
    /// Connections that failed, broke or timed out.
    pub broken: u64,
}

/// wrk against `http://address/target` for some seconds.
///
/// # Panics
/// When wrk is not installed or fails.
pub fn wrk(address: &str, target: &str, connections: u32, seconds: u32) -> Load {
    let arguments = wrk_arguments(address, target, connections, seconds);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    read_wrk(&run("wrk", &arguments).output)
}

/// wrk in the background; [`read_wrk`] reads what it wrote.
pub fn wrk_start(address: &str, target: &str, connections: u32, seconds: u32) -> Process {
    let arguments = wrk_arguments(address, target, connections, seconds);
    Process::start(Command::new("wrk").args(arguments))
}

fn wrk_arguments(address: &str, target: &str, connections: u32, seconds: u32) -> Vec<String> {
    vec![
        "-t1".to_owned(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        "--timeout".to_owned(),
        "15s".to_owned(),
        format!("http://{address}{target}"),
    ]
}

/// The sums in wrk's output.
///
/// # Panics
/// When it has none.
pub fn read_wrk(output: &str) -> Load {
    let mut load = Load::default();
    let mut found = false;
    for line in output.lines().map(str::trim) {
        if let Some(errors) = line.strip_prefix("Socket errors: ") {
            let numbers = errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
            load.broken = numbers.sum();
        } else if let Some(refused) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            load.refused = refused.parse().unwrap_or(u64::MAX);
        } else if let Some((number, _)) = line.split_once(" requests in ") {
            load.requests = number.parse().expect("a number of requests");
            found = true;
        }
    }
    assert!(found, "wrk said nothing of requests: {output}");
    load
}

/// h2load over HTTP/1.1: (succeeded, failed or errored or timed out).
///
/// # Panics
/// When h2load is not installed or says nothing of requests.
pub fn h2load(address: &str, target: &str, requests: u32, clients: u32) -> (u64, u64) {
    let (requests, clients) = (format!("-n{requests}"), format!("-c{clients}"));
    let url = format!("http://{address}{target}");
    let ran = run("h2load", &["--h1", &requests, &clients, "-t1", "-N20s", &url]);
    let line = ran.output.lines().find_map(|line| line.strip_prefix("requests: "));
    let line = line.unwrap_or_else(|| panic!("h2load said nothing of requests: {}", ran.output));
    let figure = |what: &str| {
        let part = line.split(',').find(|part| part.trim().ends_with(what));
        let number = part.and_then(|part| part.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no `{what}` in {line:?}"))
    };
    (figure("succeeded"), figure("failed") + figure("errored") + figure("timeout"))
}

/// A Python script with arguments: what it wrote.
///
/// # Panics
/// When it fails.
pub fn python(script: &str, arguments: &[&str]) -> String {
    let python = servers::venv("python3").display().to_string();
    let output = bytes(&python, &[&["-c", script], arguments].concat());
    String::from_utf8_lossy(&output).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_counted() {
        let output = "Running 2s test\n  9876 requests in 2.00s, 1.3MB read\n  \
                      Socket errors: connect 1, read 2, write 3, timeout 4\n  \
                      Non-2xx or 3xx responses: 5\nRequests/sec: 4938.00\n";
        let expected = Load { requests: 9876, refused: 5, broken: 10 };
        assert_eq!(read_wrk(output), expected);
        let clean = "  12 requests in 1.00s, 1KB read\n";
        assert_eq!(read_wrk(clean), Load { requests: 12, refused: 0, broken: 0 });
    }
}
