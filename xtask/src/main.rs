//! The project's own commands: `cargo xtask test` runs everything that must hold.
#![forbid(unsafe_code)]

mod bench;
mod blackbox;
mod deny;
mod fuzz;
mod house;
mod install;
mod lint;
mod models;
mod planted;
mod run;
mod sanitize;
mod sim;
mod soak;
mod tally;
mod tests;

use std::process::ExitCode;

use run::{Runner, root};
use tally::Tally;

const USAGE: &str = "\
usage: cargo xtask test [--no-install] [--only FILTER]
       cargo xtask bench [ROW ...] [--rounds N] [--quick] [--wait SECONDS]
       cargo xtask bench profile --row ROW
       cargo xtask sim [--seed S | --tape FILE | --seeds N | --minutes M] [--coverage] ...
       cargo xtask planted [NAME ...] [--seeds N] [--list]
       cargo xtask sanitize
       cargo xtask soak [--minutes N] [--seed S] [--io epoll|uring]
       cargo xtask fuzz [TARGET ...] [--minutes M | --runs N | --smoke | --replay FILE | --merge]

  test          install what the tests need, then lints, unit and property tests, the layering
                test and the black-box tests of the release binary; ends in `N passed, N failed`
  --no-install  skip installing: what is missing makes its step fail
  --only FILTER run only the steps, and of the black-box tests only the files, whose name
                contains FILTER (steps: fmt, clippy, deny, house, unit, models, sim, fuzz, build,
                blackbox)

  bench         measure anteroom beside nginx and HAProxy and write the table into
                docs/benchmarks.md; only these rows if any are named (`bench --help` lists them)
  bench profile count the system calls and instructions of a request

  sim           the judge: real workers in a simulated world (docs/simulation.md, `sim --help`)
  planted       plant known bugs one after another, and have the simulator find each
  sanitize      the tests of the crates with unsafe code, and the worker's on the simulated driver,
                under AddressSanitizer; first shows that it stops a planted fault
  soak          the release binary under random faults for N minutes (default 10) on each driver;
                whatever it held must be back where it began
  fuzz          run the checks of fuzz/ on inputs that libFuzzer looks for (docs/fuzzing.md)";

fn main() -> ExitCode {
    if std::env::var_os(fuzz::wrapper::ASKED).is_some() {
        return fuzz::wrapper::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (&**first, rest)) {
        Some(("bench", rest)) => return bench::run(&Runner::new(root()), rest),
        Some(("fuzz", rest)) => return fuzz::run(&Runner::new(root()), rest),
        Some(("planted", rest)) => return planted::run(&Runner::new(root()), rest),
        Some(("sanitize", _)) => return sanitize::run(&Runner::new(root())),
        Some(("sim", rest)) => return sim::run(&Runner::new(root()), rest),
        Some(("soak", rest)) => return soak::run(&Runner::new(root()), rest),
        _ => {}
    }
    match Plan::parse(&arguments) {
        Ok(plan) => plan.execute(),
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    install: bool,
    only: Option<String>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut words = arguments.iter().map(String::as_str);
        match words.next() {
            Some("test") => {}
            Some(other) => return Err(format!("unknown command `{other}`")),
            None => return Err("no command".to_owned()),
        }
        let mut plan = Self { install: true, only: None };
        while let Some(word) = words.next() {
            match word {
                "--no-install" => plan.install = false,
                "--only" => {
                    let filter = words.next().ok_or("`--only` wants a filter behind it")?;
                    plan.only = Some(filter.to_owned());
                }
                other => return Err(format!("unknown argument `{other}`")),
            }
        }
        Ok(plan)
    }

    fn wants(&self, step: &str) -> bool {
        self.only.as_deref().is_none_or(|filter| step.contains(filter))
    }

    fn execute(&self) -> ExitCode {
        let runner = Runner::new(root());
        let mut tally = Tally::default();
        if self.install
            && let Err(missing) = install::everything(&runner)
        {
            eprintln!("{missing}");
            tally.fail("install");
            return tally.close();
        }
        self.lints(&runner, &mut tally);
        if self.wants("unit") {
            tests::unit(&runner, &mut tally);
        }
        if self.wants("sim") {
            sim::check(&runner, &mut tally);
        }
        if self.wants("models") {
            models::run(&runner, &mut tally);
        }
        if self.wants("fuzz") {
            fuzz::smoke(&runner, &mut tally);
        }
        let files = blackbox::files(&runner, self.only.as_deref());
        if !files.is_empty() || self.wants("build") || self.wants("blackbox") {
            let built = tests::build(&runner, &mut tally);
            if built && !files.is_empty() {
                blackbox::run(&runner, &files, &mut tally);
            }
        }
        tally.close()
    }

    fn lints(&self, runner: &Runner, tally: &mut Tally) {
        if self.wants("fmt") {
            lint::fmt(runner, tally);
        }
        if self.wants("house") {
            house::check(runner, tally);
        }
        if self.wants("clippy") {
            lint::clippy(runner, tally);
        }
        if self.wants("deny") {
            deny::check(runner, tally);
        }
    }
}

#[cfg(test)]
mod command_line {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn is_understood() {
        assert_eq!(parse("test"), Ok(Plan { install: true, only: None }));
        let plan = parse("test --no-install --only drain").unwrap();
        assert_eq!(plan, Plan { install: false, only: Some("drain".to_owned()) });
        assert!(plan.wants("drain") && !plan.wants("fmt"));
    }

    #[test]
    fn is_refused_with_what_is_wrong() {
        for (line, wrong) in
            [("", "no command"), ("tset", "tset"), ("test --only", "filter"), ("test -x", "-x")]
        {
            let refusal = parse(line).unwrap_err();
            assert!(refusal.contains(wrong), "{refusal}");
        }
    }
}
