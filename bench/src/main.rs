//! Figures, side by side with others, on this machine.
//!
//! `cargo run --release -p bench -- parked|cpu|slow` starts anteroom and Debian's nginx on
//! loopback addresses, does the same to both, and prints tables that are Markdown too.
#![forbid(unsafe_code)]

mod address;
mod answer;
mod cpu;
mod diag;
mod error;
mod machine;
mod parked;
mod process;
mod role;
mod slab;
mod slow;
mod stand;
mod statistics;
mod table;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::error::Outcome;
use crate::machine::Patience;
use crate::stand::folder::Folder;
use crate::stand::{Proxy, Stand};

/// Measures anteroom beside others.
#[derive(Parser)]
struct Line {
    /// anteroom's binary, built with `cargo build --release`.
    #[arg(long, global = true)]
    anteroom: Option<PathBuf>,
    /// What is measured, in this order.
    #[arg(
        long,
        global = true,
        value_enum,
        value_delimiter = ',',
        default_value = "nginx,anteroom,floor"
    )]
    proxies: Vec<Proxy>,
    /// Seconds that may be waited, all in all, for other programs to pause.
    #[arg(long, global = true, default_value_t = 0)]
    wait: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Memory per parked client, of the proxy and of the kernel.
    Parked(parked::Parked),
    /// Processor time per request.
    Cpu(cpu::Cpu),
    /// gunicorn's normal clients beside a crowd of slow ones.
    Slow(slow::Slow),
    /// A part this program plays for itself.
    #[command(subcommand, hide = true)]
    Role(role::Role),
}

fn main() -> ExitCode {
    match run(Line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: Line) -> Outcome<()> {
    let what = match line.what {
        What::Role(part) => return role::play(part),
        what => what,
    };
    let anteroom = line.anteroom.unwrap_or_else(release);
    println!("{}", machine::description(&anteroom));
    println!("- load average before: {}", machine::load());
    let patience = Patience::new(Duration::from_secs(line.wait));
    let stand = Stand { anteroom, folder: Folder::new()?, patience };
    match what {
        What::Parked(parked) => parked.run(&stand, &line.proxies),
        What::Cpu(cpu) => cpu.run(&stand, &line.proxies),
        What::Slow(slow) => slow.run(&stand, &line.proxies),
        What::Role(_) => Ok(()),
    }
}

/// Where a release build of this project stands.
fn release() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).join("target/release/anteroom")
}
