//! Floor 5: the binary.
//!
//! `cli` reads the command line, `settings` checks it, `master` runs it: it starts the workers
//! (`crew`), serves `admin` and ends in order. Figures flow one way: the workers' counters and
//! the bus's (`upstreams`) are added up in `figures` when `metrics`, `status` or `demo` ask.
#![forbid(unsafe_code)]

mod admin;
mod advice;
mod budget;
mod cli;
mod crew;
mod demo;
mod descriptors;
mod failure;
mod figures;
mod http;
mod log;
mod master;
mod metrics;
mod quantity;
mod resolve;
mod settings;
mod sheet;
mod speak;
mod status;
mod upstreams;

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;

use cli::{Cli, Command, ProxyArgs};
use failure::Failure;
use master::Master;
use settings::Settings;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::note(format_args!("error: {failure}"));
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("the system grants too little: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Proxy(args) => proxy(&args).await,
            Command::Demo(args) => demo::run(&args).await,
            Command::Status(args) => speak::status(&args.admin).await,
            Command::Drain(args) => speak::order(&args.admin, "/drain").await,
            Command::Stop(args) => speak::order(&args.admin, "/stop").await,
        }
    })
}

async fn proxy(args: &ProxyArgs) -> Result<(), Failure> {
    let settings = Settings::check(args, descriptors::raise_limit(), cores())?;
    log::note(budget::line(&settings));
    Master::open(settings)?.run().await
}

/// How many workers there are unless told.
fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}
