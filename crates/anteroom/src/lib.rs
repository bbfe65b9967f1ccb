//! Floor 5: the program; `main.rs` is nothing but its start.
//!
//! `cli` reads the command line and `config` a file, `settings` checks what either asks for,
//! `master` runs it: it starts the workers
//! (`crew`), serves `admin` and ends in order. Figures flow one way: the workers' counters and
//! the bus's (`upstreams`) are added up in `figures` when `metrics`, `status` or `demo` ask.
//!
//! It is a library so that others than the program reach what reads text from outside: [`read`].
#![forbid(unsafe_code)]

mod acme;
mod admin;
mod advice;
mod authorize;
mod bans;
mod budget;
mod certificates;
mod cli;
mod config;
mod content;
mod crew;
mod demo;
mod descriptors;
mod failure;
mod figures;
mod http;
mod identity;
mod lists;
mod log;
mod master;
mod metrics;
mod names;
mod quantity;
pub mod read;
mod resolve;
mod roster;
mod settings;
mod sheet;
mod speak;
mod spooling;
mod status;
mod upstreams;

use std::io::Write;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;

use budget::Budget;
use cli::{CheckArgs, Cli, Command, ProxyArgs, RunArgs};
use control::FileSet;
use failure::Failure;
use log::Logs;
use master::Master;
use roster::Roster;
use settings::{Machine, Settings};

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                Failure::Configuration(lines) => log::lines(lines),
                other => log::note(format_args!("error: {other}")),
            }
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
            Command::Run(args) => serve_file(&args).await,
            Command::Check(args) => check(&args),
            Command::Demo(args) => demo::run(&args).await,
            Command::Status(args) => speak::status(&args.admin).await,
            Command::Drain(args) => speak::order(&args.admin, "/drain").await,
            Command::Stop(args) => speak::order(&args.admin, "/stop").await,
        }
    })
}

async fn proxy(args: &ProxyArgs) -> Result<(), Failure> {
    let settings = Settings::check(args, descriptors::raise_limit(), cores())?;
    serve(settings).await
}

async fn serve_file(args: &RunArgs) -> Result<(), Failure> {
    let configured = config::load(&args.config, machine())?;
    log::lines(&configured.warnings);
    serve(configured.settings).await
}

/// Serves, with the logs open from before anything else to the end.
async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut logs = Logs::open(&settings.log, settings.identity.as_ref())?;
    logs.install();
    let ended = serve_logged(settings, &mut logs).await;
    logs.close(ended.as_ref().err());
    ended
}

/// Binds, gives up root if told to, and serves.
async fn serve_logged(settings: Settings, logs: &mut Logs) -> Result<(), Failure> {
    log::note(budget::line(&settings));
    let identity = settings.identity.clone();
    let watched: Vec<FileSet> = settings.files().cloned().collect();
    let mut master = Master::open(settings)?;
    if let Some(identity) = identity {
        identity.assume()?;
        for path in watched.iter().flat_map(FileSet::shut) {
            log::note(format_args!("warning: \"{}\": {}", path.display(), identity.barred()));
        }
    }
    logs.start(master.names())?;
    master.log_to(logs);
    master.run().await
}

/// Says what is wrong, or what there will be.
fn check(args: &CheckArgs) -> Result<(), Failure> {
    let Some(path) = &args.config else {
        print(&config::defaults());
        return Ok(());
    };
    let configured = config::load(path, machine())?;
    log::lines(&configured.warnings);
    let settings = &configured.settings;
    let (roster, budget) = (Roster(settings), Budget::of(settings));
    print(&format!("{}: can be served\n\n{roster}{budget}", path.display()));
    Ok(())
}

/// Whoever closed standard output wants no more.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// What this machine grants, the soft limit of open files raised.
fn machine() -> Machine {
    Machine { descriptors: descriptors::raise_limit(), cores: cores() }
}

/// How many workers there are unless told.
fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}
