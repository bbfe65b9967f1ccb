//! What the tests need beyond the Rust toolchain: printed, then installed, unless it is there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::deny;
use crate::run::{Runner, shown};

/// (program that shows the package is there, Debian package)
const DEBIAN: [(&str, &str); 15] = [
    // libFuzzer is C++.
    ("c++", "g++"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("curl", "curl"),
    ("node", "nodejs"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("redis-server", "redis-server"),
    // Its server is on no path, as there may be several versions of it.
    ("pg_createcluster", "postgresql"),
    ("chromium", "chromium"),
    ("slowhttptest", "slowhttptest"),
    ("testssl", "testssl.sh"),
    ("pebble", "pebble"),
];

/// What goes into the Python environment under `target/venv`.
const PYTHON: [&str; 2] = ["gunicorn", "websockets"];

const LIMIT: Duration = Duration::from_mins(10);

/// Installs whatever is missing.
///
/// # Errors
/// What could not be installed, and the command that would.
pub(crate) fn everything(runner: &Runner) -> Result<(), String> {
    debian(runner)?;
    python(runner)?;
    deny::install(runner)
}

fn debian(runner: &Runner) -> Result<(), String> {
    let mut missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, name)| *name)
        .collect();
    if !runner.succeeds("python3", &["-c", "import ensurepip, venv"]) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        println!("install: every Debian package is there");
        return Ok(());
    }
    println!("install: Debian packages {}", missing.join(" "));
    let list = missing.join(" ");
    // policy-rc.d answers 101, "action forbidden": no service starts on somebody's machine.
    let script = format!(
        "set -e\n\
         policy=/usr/sbin/policy-rc.d\n\
         if [ ! -e $policy ]; then\n\
           printf '#!/bin/sh\\nexit 101\\n' > $policy\n\
           chmod 755 $policy\n\
           trap 'rm -f $policy' EXIT\n\
         fi\n\
         export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1\n\
         apt-get update -qq\n\
         apt-get install -y -qq --no-install-recommends {list}"
    );
    let mut command = as_root(runner, &script).ok_or_else(|| {
        format!(
            "these packages are missing and can only be installed as root:\n  \
             apt-get install --no-install-recommends {list}"
        )
    })?;
    let line = shown(&command);
    if runner.run(&mut command, LIMIT).held { Ok(()) } else { Err(format!("failed: {line}")) }
}

/// A shell as root: directly, or through a `sudo` that asks for no password.
fn as_root(runner: &Runner, script: &str) -> Option<Command> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root && !runner.succeeds("sudo", &["-n", "true"]) {
        return None;
    }
    let mut command = Command::new(if root { "sh" } else { "sudo" });
    if !root {
        command.args(["-n", "sh"]);
    }
    command.args(["-c", script]);
    Some(command)
}

fn python(runner: &Runner) -> Result<(), String> {
    let bin = runner.path("target/venv/bin");
    let missing: Vec<&str> =
        PYTHON.into_iter().filter(|program| !bin.join(program).is_file()).collect();
    if missing.is_empty() {
        println!("install: the Python environment is there");
        return Ok(());
    }
    println!("install: Python packages {} into target/venv", missing.join(" "));
    let make = ["-m", "venv", "target/venv"];
    if !runner.run(Command::new("python3").args(make), LIMIT).held {
        return Err("failed: python3 -m venv target/venv".to_owned());
    }
    let mut pip = Command::new(bin.join("pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(&missing);
    if runner.run(&mut pip, LIMIT).held {
        Ok(())
    } else {
        Err(format!("failed: target/venv/bin/pip install {}", missing.join(" ")))
    }
}

/// Where a program is, on the path or where Debian keeps those of the administrator.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_only() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
