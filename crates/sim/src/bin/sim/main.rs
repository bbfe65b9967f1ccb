//! Runs the judge: one seed with a trace, or as many as there is time for.
#![forbid(unsafe_code)]

mod search;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use sim::coverage;
use sim::dice::Origin;
use sim::judge::{Failure, Part, Violation, Wishes, judge};
use worker::coverage::Coverage;

use search::{Found, Search, Until};

/// Real workers in a simulated world, and checkers that forgive nothing.
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// Replay this seed and write down what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Replay a tape that was kept, and write down what happens.
    #[arg(long, value_name = "FILE")]
    tape: Option<PathBuf>,
    /// Play so many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them; unless given, the time decides.
    #[arg(long)]
    from: Option<u64>,
    /// Play fresh seeds for so many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Play on so many threads; unless given, on all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation: each checker's first one is kept.
    #[arg(long)]
    all: bool,
    /// Play only worlds that have this part.
    #[arg(long, value_name = "PART", value_parser = part)]
    with: Option<Part>,
    /// Do not look for the shortest run that fails.
    #[arg(long)]
    no_shrink: bool,
    /// Look for it for so many seconds.
    #[arg(long, default_value_t = 60)]
    shrink_seconds: u64,
    /// Print which event met which state how often; fail if something that can happen did not.
    #[arg(long)]
    coverage: bool,
    /// No trace of the seed that is replayed.
    #[arg(long)]
    quiet: bool,
}

fn part(name: &str) -> Result<Part, String> {
    Ok(match name {
        "tls" => Part::Tls,
        "gate" => Part::Gate,
        "front" => Part::Front,
        "papers" => Part::Papers,
        _ => return Err("tls, gate, front or papers".to_owned()),
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What fails is told once, in the report.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(path) = &arguments.tape {
        return match read(path) {
            Ok(origin) => replay(&origin, &arguments),
            Err(wrong) => {
                eprintln!("{}: {wrong}", path.display());
                ExitCode::from(2)
            }
        };
    }
    if let Some(seed) = arguments.seed {
        return replay(&Origin::Seed(seed), &arguments);
    }
    let first = arguments.from.unwrap_or_else(fresh);
    let until = match (arguments.seeds, arguments.minutes) {
        (Some(seeds), _) => Until::Seeds(seeds),
        (None, Some(minutes)) => Until::Time(Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
        (None, None) => Until::Seeds(1000),
    };
    let search = Search {
        first,
        until,
        threads: arguments.threads.unwrap_or_else(cores).max(1),
        goes_on: arguments.all,
        with: arguments.with,
    };
    println!("seeds from {first} on, {} threads", search.threads);
    let report = search.run();
    println!("{}", report.tally);
    println!("{}", report.line());
    for found in &report.found {
        tell(found, &arguments);
    }
    let covered = !arguments.coverage || tell_what_met(&report.tally.coverage);
    if report.found.is_empty() && covered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what met what. False if something that can happen did not.
fn tell_what_met(met: &Coverage) -> bool {
    if !Coverage::COUNTS {
        eprintln!("nothing was counted: `cargo xtask sim --coverage` builds what counts");
        return false;
    }
    print!("{}", coverage::table(met));
    let missing = coverage::missing(met);
    for meeting in &missing {
        println!("never met: {meeting}");
    }
    println!("{} meetings never came about", missing.len());
    missing.is_empty()
}

/// Plays one run, with its trace unless that is not wanted.
fn replay(origin: &Origin, arguments: &Arguments) -> ExitCode {
    let wishes = Wishes { trace: !arguments.quiet, ..Wishes::default() };
    // Where an assertion fails is told at once, at the moment it happens.
    std::panic::set_hook(Box::new(|panic| println!("panic: {panic}")));
    let (tally, violation) = judge(origin, wishes);
    println!("{tally}");
    match violation {
        None => {
            println!("{} exchanges, no violation", tally.exchanges);
            ExitCode::SUCCESS
        }
        Some(Violation { checker, text }) => {
            println!("VIOLATION {checker}: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Tells a violation, in one line for programs and a few for people, and keeps the shortest run.
fn tell(found: &Found, arguments: &Arguments) {
    let Found { seed, after, violation } = found;
    let Violation { checker, text } = violation;
    println!("violation seed={seed} seeds={after} checker={checker:?}");
    println!("  {text}");
    println!("  cargo xtask sim --seed {seed}");
    if arguments.no_shrink {
        return;
    }
    let Some(mut failure) = Failure::of(&Origin::Seed(*seed)) else {
        println!("  it does not fail again: the run depends on more than its seed");
        return;
    };
    let whole = failure.tape.len();
    let end = search::clock() + Duration::from_secs(arguments.shrink_seconds);
    failure.shrink(|| search::clock() < end);
    let path = format!("sim-{seed}.tape");
    let Violation { checker, text } = &failure.violation;
    let heading = text.lines().next().unwrap_or_default();
    let kept = format!("# seed {seed}\n# {checker}: {heading}\n{}", failure.tape);
    println!("  shortest run: {} of {whole} decisions: {text}", failure.tape.len());
    match std::fs::write(&path, kept) {
        Ok(()) => println!("  cargo xtask sim --tape {path}"),
        Err(error) => println!("  {path}: {error}"),
    }
}

fn read(path: &Path) -> Result<Origin, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(Origin::Tape(Rc::new(text.parse()?)))
}

/// A seed that nobody has played.
#[expect(clippy::disallowed_methods, reason = "a fresh seed is wanted")]
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0) * 1_000_000
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
