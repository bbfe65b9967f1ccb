//! Figures, side by side with others, on this machine.
//!
//! `cargo xtask bench` starts anteroom, Debian's nginx and HAProxy on loopback addresses, does
//! the same to all of them, and writes what it found into `docs/benchmarks.md`.
#![forbid(unsafe_code)]

mod address;
mod answer;
mod contest;
mod diag;
mod document;
mod error;
mod machine;
mod process;
mod profile;
mod report;
mod role;
mod rows;
mod slab;
mod stand;
mod statistics;
mod table;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::error::{Outcome, While, failure};
use crate::machine::Patience;
use crate::rows::{Length, Row};
use crate::stand::Stand;
use crate::stand::folder::Folder;

/// Measures anteroom beside nginx, HAProxy and a forwarder that does nothing else.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Line {
    /// anteroom's binary, built with `cargo build --release`.
    #[arg(long, global = true)]
    anteroom: Option<PathBuf>,
    /// Another build of anteroom, which takes part in the rows of CPU: what did a change gain?
    /// Nothing is written.
    #[arg(long)]
    other: Option<PathBuf>,
    /// Rows of the table; all but `million` if none is named.
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// Rounds that count.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a round under load.
    #[arg(long)]
    seconds: Option<u64>,
    /// Only see that everything works: 2 rounds of 1 s, small crowds, nothing written.
    #[arg(long)]
    quick: bool,
    /// Seconds that may be waited, all in all, for other programs to pause; while they last,
    /// disturbed rounds are repeated.
    #[arg(long, default_value_t = 0)]
    wait: u64,
    /// The Markdown file the results go into, between the marks of each row.
    #[arg(long)]
    write: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Count system calls and instructions per request: these repeat.
    Profile(profile::Profile),
    /// A part this program plays for itself.
    #[command(subcommand, hide = true)]
    Role(role::Role),
}

fn main() -> ExitCode {
    match run(&Line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: &Line) -> Outcome<()> {
    match &line.what {
        Some(What::Role(part)) => role::play(part),
        Some(What::Profile(profile)) => profile.run(&line.stand()?),
        None => measure(line),
    }
}

impl Line {
    fn stand(&self) -> Outcome<Stand> {
        let anteroom = self.anteroom.clone().unwrap_or_else(release);
        let patience = Patience::new(Duration::from_secs(self.wait));
        Ok(Stand { anteroom, other: self.other.clone(), folder: Folder::new()?, patience })
    }
}

/// Measures row after row; each result is shown, and written, before the next row begins.
fn measure(line: &Line) -> Outcome<()> {
    let stand = line.stand()?;
    let machine = machine::description(&stand.anteroom)?;
    println!("{machine}");
    let (rounds, seconds) = if line.quick { (2, 1) } else { (10, 2) };
    let length = Length {
        rounds: line.rounds.unwrap_or(rounds),
        seconds: line.seconds.unwrap_or(seconds),
        quick: line.quick,
    };
    let rows = if line.rows.is_empty() { Row::usual() } else { line.rows.clone() };
    let file = line.write.as_deref().filter(|_| !line.quick && line.other.is_none());
    let mut failed = Vec::new();
    for row in rows {
        let before = machine::load();
        let report = match row.measure(&stand, length) {
            Ok(report) => report.markdown(),
            Err(why) => {
                eprintln!("{}: {why}", row.name());
                failed.push(row.name());
                continue;
            }
        };
        let conditions = machine::conditions(row, length, &before)?;
        println!("\n## {}\n\n{report}\n{conditions}", row.heading());
        if let Some(file) = file {
            write(file, row, &format!("{report}\n{conditions}"), &machine)?;
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(failure(format!("could not be measured: {}", failed.join(", "))))
}

/// Puts a row's result and what is said of the machine into the document.
fn write(file: &Path, row: Row, report: &str, machine: &str) -> Outcome<()> {
    use clap::ValueEnum;
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).doing(&name)?;
    let text = document::replace(&text, "machine", "Machine", machine);
    let text = document::replace(&text, &row.name(), &row.heading(), report);
    let rows: Vec<String> = Row::value_variants().iter().map(|row| row.name()).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    std::fs::write(file, document::summarise(&text, &rows)).doing(&name)
}

/// Where a release build of this project stands.
fn release() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).join("target/release/anteroom")
}
