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
  simulator on up to N seeds (10,000) until a checker finds each, on a seed that fails only with
  the bug; ends with a table
  NAME     only the bugs whose name contains it
  --list   only say which bugs there are";

/// How many seeds a bug may take.
const SEEDS: u64 = 10_000;
/// How many characters of a checker's words are shown.
const WORDS: usize = 110;
/// How long the simulator may take for them.
const LIMIT: Duration = Duration::from_hours(1);

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
    println!("building the simulator in {}", nursery.root().display());
    let built = nursery.build_healthy();
    if !built.held {
        return Err(format!("without any bug planted, it does not compile:\n{}", built.output));
    }
    let mut harvest = Vec::new();
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

/// Plays seed after seed until one fails that does not fail without the bug.
fn search(nursery: &Nursery, seeds: u64) -> Found {
    let mut from = 1;
    while from <= seeds {
        let (first, left) = (from.to_string(), (seeds + 1 - from).to_string());
        let arguments = ["--from", &first, "--seeds", &left, "--threads", "1", "--no-shrink"];
        match verdict(&nursery.run(&arguments, LIMIT)) {
            Verdict::Clean => return Found::Nobody,
            Verdict::Unclear(why) => return Found::Withered(why),
            Verdict::Violation { seed, said } => {
                if nursery.run_healthy(&["--seed", &seed.to_string(), "--quiet"], LIMIT).held {
                    return Found::By { seeds: seed, said };
                }
                println!("  seed {seed} fails without the bug, too");
                from = seed + 1;
            }
        }
    }
    Found::Nobody
}

/// What the simulator says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Violation { seed: u64, said: String },
    Unclear(String),
}

/// Reads `violation seed=7 seeds=7 checker="leak"` and the line behind it.
fn verdict(done: &Done) -> Verdict {
    if done.held {
        return Verdict::Clean;
    }
    let mut lines = done.output.lines();
    let told = lines.find_map(|line| line.strip_prefix("violation seed="));
    let seed = told.and_then(|line| line.split(' ').next()).and_then(|seed| seed.parse().ok());
    let checker = told.and_then(|line| line.split('"').nth(1));
    let (Some(seed), Some(checker)) = (seed, checker) else {
        let last = done.output.lines().last().unwrap_or_default();
        return Verdict::Unclear(format!("the simulator ended without a verdict: {last}"));
    };
    // A checker may show everything it knows; its first words say what is wrong.
    let text: String = lines.next().unwrap_or_default().trim().chars().take(WORDS).collect();
    Verdict::Violation { seed, said: format!("{checker}: {text}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn done(held: bool, output: &str) -> Done {
        Done { held, output: output.to_owned() }
    }

    #[test]
    fn a_violation_is_read() {
        let output =
            "12 exchanges\nviolation seed=7 seeds=7 checker=\"leak\"\n  1 buffer\n  more\n";
        let said = "leak: 1 buffer".to_owned();
        assert_eq!(verdict(&done(false, output)), Verdict::Violation { seed: 7, said });
        assert_eq!(verdict(&done(true, "12 exchanges\n")), Verdict::Clean);
        assert!(matches!(verdict(&done(false, "killed\n")), Verdict::Unclear(_)));
    }

    #[test]
    fn the_command_line_is_understood() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let order = Order::parse(&words("drain lease --seeds 50")).unwrap();
        assert_eq!((order.names.len(), order.seeds, order.list), (2, 50, false));
        assert!(Order::parse(&words("--seeds many")).is_err());
        assert!(Order::parse(&words("--all")).is_err());
    }
}
