//! `cargo xtask planted`: the judge is judged. Bugs are planted one after another, and the
//! simulator has to find each.

mod nursery;
mod plant;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::run::{Done, Runner};
use nursery::Nursery;
use plant::Plant;

const USAGE: &str = "\
usage: cargo xtask planted [NAME ...] [--seeds N] [--list]

  plants the bugs of crates/sim/planted one after another in a copy of the sources, and runs the
  simulator on up to N seeds (10,000) until a checker finds each; ends with a table
  NAME     only the bugs whose name contains it
  --list   only say which bugs there are";

/// How many seeds a bug may take.
const SEEDS: u64 = 10_000;
/// How long the simulator may take for them.
const LIMIT: Duration = Duration::from_mins(30);

/// Runs the command and says whether every bug was found.
pub(crate) fn run(runner: &Runner, arguments: &[String]) -> ExitCode {
    let order = match Order::parse(arguments) {
        Ok(order) => order,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match execute(runner, &order) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    names: Vec<String>,
    seeds: u64,
    list: bool,
}

impl Order {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut order = Self { names: Vec::new(), seeds: SEEDS, list: false };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => order.list = true,
                "--seeds" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    order.seeds = number.ok_or("`--seeds` wants a number behind it")?;
                }
                other if other.starts_with('-') => {
                    return Err(format!("unknown argument `{other}`"));
                }
                name => order.names.push(name.to_owned()),
            }
        }
        Ok(order)
    }

    fn wants(&self, plant: &Plant) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| plant.name.contains(name.as_str()))
    }
}

fn execute(runner: &Runner, order: &Order) -> Result<bool, String> {
    let plants = Plant::all(&runner.path(""))?;
    let plants: Vec<_> = plants.into_iter().filter(|plant| order.wants(plant)).collect();
    if plants.is_empty() {
        return Err("no planted bug has such a name".to_owned());
    }
    if order.list {
        for Plant { name, text } in &plants {
            println!("{name} (law {})\n  {}\n  {}", text.law, text.wrong, text.seen);
        }
        return Ok(true);
    }
    let nursery = Nursery::new(runner).map_err(|error| format!("no copy can be made: {error}"))?;
    let mut harvest = Vec::new();
    healthy(&nursery, order)?;
    for plant in &plants {
        let started = Instant::now();
        let found = find(&nursery, plant, order.seeds)?;
        println!("{}: {} ({} s)", plant.name, found.told(), started.elapsed().as_secs());
        harvest.push((plant, found));
    }
    print_table(&harvest);
    let missed = harvest.iter().filter(|(_, found)| !matches!(found, Found::By { .. })).count();
    println!("{} of {} planted bugs found", harvest.len() - missed, harvest.len());
    Ok(missed == 0)
}

/// What became of a planted bug.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A checker found it.
    By {
        /// How many seeds that took.
        seeds: u64,
        /// What the checker said.
        said: String,
    },
    /// Nobody did.
    Nobody,
    /// Its place is gone, it does not compile, or the simulator did not end.
    Withered(String),
}

impl Found {
    fn told(&self) -> String {
        match self {
            Self::By { seeds, said } => format!("found with {seeds} seeds: {said}"),
            Self::Nobody => "NOT FOUND".to_owned(),
            Self::Withered(why) => format!("WITHERED: {why}"),
        }
    }
}

/// Without a bug nothing may be found: otherwise whatever is found would prove nothing.
fn healthy(nursery: &Nursery, order: &Order) -> Result<(), String> {
    println!("building the simulator in {}", nursery.root().display());
    let built = nursery.build();
    if !built.held {
        return Err(format!("without any bug planted, it does not compile:\n{}", built.output));
    }
    match search(nursery, order.seeds.min(SEEDS / 10)) {
        Found::Nobody => Ok(()),
        found => Err(format!("without any bug planted: {}", found.told())),
    }
}

/// Plants a bug, looks for it, and takes it out again. An error is one of the copy.
fn find(nursery: &Nursery, plant: &Plant, seeds: u64) -> Result<Found, String> {
    let changed = match nursery.plant(plant) {
        Ok(changed) => changed,
        Err(wrong) => return Ok(Found::Withered(wrong)),
    };
    let built = nursery.build();
    let found = if built.held {
        search(nursery, seeds)
    } else {
        Found::Withered(format!("it does not compile:\n{}", built.output))
    };
    nursery.clear(&changed)?;
    Ok(found)
}

fn search(nursery: &Nursery, seeds: u64) -> Found {
    let seeds = seeds.to_string();
    verdict(&nursery.run(&["--seeds", &seeds, "--no-shrink"], LIMIT))
}

/// What the simulator's last words come to.
fn verdict(done: &Done) -> Found {
    if done.held {
        return Found::Nobody;
    }
    let violation = done.output.lines().find_map(|line| line.strip_prefix("violation: "));
    let Some((seeds, said)) = violation.and_then(|line| line.split_once(": ")) else {
        let last = done.output.lines().last().unwrap_or_default();
        return Found::Withered(format!("the simulator ended without a verdict: {last}"));
    };
    match seeds.parse() {
        Ok(seeds) => Found::By { seeds, said: said.to_owned() },
        Err(_) => Found::Withered(format!("no number of seeds: {seeds}")),
    }
}

fn print_table(harvest: &[(&Plant, Found)]) {
    println!("\n| planted bug | law | seeds | found by |\n|---|---|---|---|");
    for (Plant { name, text }, found) in harvest {
        let (seeds, said) = match found {
            Found::By { seeds, said } => (seeds.to_string(), said.as_str()),
            Found::Nobody => ("–".to_owned(), "nobody"),
            Found::Withered(_) => ("–".to_owned(), "(withered)"),
        };
        println!("| {name} | {} | {seeds} | {} |", text.law, said.replace('|', "\\|"));
    }
}
