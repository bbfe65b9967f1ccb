//! The machine a figure comes from, and how much of it others used meanwhile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Failure, Outcome, While, failure};
use crate::rows::{Length, Row};
use crate::statistics::real;
use crate::usage::TICKS;

/// A few lines that describe the machine and the programs measured. Fails when one of them is
/// not there.
pub(crate) fn description(anteroom: &Path) -> Outcome<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let lines = [
        format!("- {cores} cores, {}, {} of memory", model(), memory()),
        format!("- Linux {}", first_line("/proc/sys/kernel/osrelease")),
        format!("- {}", version("nginx", "-v", "apt-get install nginx-light")?),
        format!("- {}", version("haproxy", "-v", "apt-get install haproxy")?),
        format!("- {}", version("wrk", "-v", "apt-get install wrk")?),
        format!(
            "- {}",
            version(&anteroom.display().to_string(), "--version", "cargo build --release")?
        ),
        format!("- {}", version("rustc", "--version", "rustup")?),
    ];
    if !rustix::process::geteuid().is_root() {
        return Err(failure(
            "only root may count the kernel's objects and start nginx as measured",
        ));
    }
    Ok(lines.join("\n"))
}

/// How a row was measured.
pub(crate) fn conditions(row: Row, length: Length, load_before: &str) -> Outcome<String> {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    let date: Vec<&str> = now.split_whitespace().skip(1).take(3).collect();
    Ok(format!(
        "{}, commit {}: `cargo xtask bench {} --rounds {} --seconds {}`; load average {load_before} \
         before, {} after.",
        date.join(" "),
        commit()?,
        row.name(),
        length.rounds,
        length.seconds,
        load(),
    ))
}

/// The commit of the tree, and whether anything but the figures themselves differs from it.
fn commit() -> Outcome<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().doing("git")?;
        Ok::<_, Failure>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--", ":/", ":!/docs/benchmarks.md"])?;
    let state = if changed.is_empty() { "" } else { " with changes not committed" };
    Ok(format!("{}{state}", git(&["rev-parse", "--short=10", "HEAD"])?))
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

fn memory() -> String {
    let line = first_line("/proc/meminfo");
    let kibibytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    format!("{} GiB", kibibytes.unwrap_or_default() / (1 << 20))
}

/// What a program says of itself, in a line; `remedy` brings it when it is missing.
fn version(program: &str, flag: &str, remedy: &str) -> Outcome<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program).arg(flag).env("PATH", path + ":/usr/sbin").output();
    let output = output.map_err(|error| failure(format!("{program}: {error} ({remedy})")))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// Time all cores spent so far, in ticks.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    all: u64,
    idle: u64,
    stolen: u64,
}

/// Whose time it was, in percent of all cores' time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Given to other machines by the hypervisor.
    pub(crate) stolen: f64,
    /// Used by programs that are not part of the measurement.
    pub(crate) others: f64,
}

impl Cores {
    /// Reads /proc/stat.
    pub(crate) fn now() -> Outcome<Self> {
        let text = fs::read_to_string("/proc/stat").doing("/proc/stat")?;
        Self::read(&text).ok_or_else(|| failure("/proc/stat is odd"))
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal (the guests' are in user).
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().next()?;
        let words = line.split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { all: ticks.iter().sum(), idle, stolen: *ticks.get(7)? })
    }

    /// Whose the time since then was, when the programs of the measurement used `known`
    /// seconds of it.
    pub(crate) fn since(self, before: Self, known: f64) -> Share {
        let ticks = |now: u64, then: u64| real(now.saturating_sub(then));
        let all = ticks(self.all, before.all).max(1.0);
        let stolen = ticks(self.stolen, before.stolen);
        let busy = all - ticks(self.idle, before.idle) - stolen;
        let others = (busy - known * TICKS).max(0.0);
        Share { stolen: 100.0 * stolen / all, others: 100.0 * others / all }
    }
}

/// How long a measurement may wait for other programs to pause.
pub(crate) struct Patience {
    end: Instant,
}

impl Patience {
    /// So much from now on.
    pub(crate) fn new(length: Duration) -> Self {
        Self { end: Instant::now() + length }
    }

    /// Whether it is used up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Returns when the machine has been all but idle for a second, or patience is used up.
    pub(crate) fn wait_for_quiet(&self) -> Outcome<()> {
        const SECOND: Duration = Duration::from_secs(1);
        const QUIET: f64 = 5.0;
        while !self.is_over() {
            let before = Cores::now()?;
            thread::sleep(SECOND);
            if Cores::now()?.since(before, 0.0).others < QUIET {
                break;
            }
        }
        Ok(())
    }
}

/// The number of runnable threads, averaged over the last minute.
pub(crate) fn load() -> String {
    let line = first_line("/proc/loadavg");
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_patience_waits_for_nothing() {
        let patience = Patience::new(Duration::ZERO);
        let start = Instant::now();
        patience.wait_for_quiet().unwrap();
        assert!(patience.is_over() && start.elapsed() < Duration::from_millis(500));
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let error = version("no-such-program", "-v", "get it").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("get it"), "{error}");
    }

    #[test]
    fn every_tick_is_somebodys() {
        let before = Cores::read("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0").unwrap();
        let after = Cores::read("cpu  40 0 20 130 5 0 0 5 7 0\ncpu0").unwrap();
        let share = after.since(before, 0.3);
        assert!((share.stolen - 5.0).abs() < 1e-9, "{share:?}");
        assert!((share.others - 10.0).abs() < 1e-9, "{share:?}");
        assert!(Cores::read("cpu 1 2").is_none());
        assert!(Cores::now().is_ok());
    }
}
