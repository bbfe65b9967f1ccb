//! Counting what passed and what failed, over all steps.

use std::process::ExitCode;

/// How many lines of a panic are told at the end, and how many characters.
const WHY_LINES: usize = 3;
const WHY_MAX: usize = 400;

/// The sums of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// One step without tests of its own held.
    pub(crate) const fn pass(&mut self) {
        self.passed += 1;
    }

    /// One step without tests of its own failed.
    pub(crate) fn fail(&mut self, step: &str) {
        self.failed += 1;
        self.failures.push(step.to_owned());
    }

    /// One step without tests of its own is over.
    pub(crate) fn step(&mut self, step: &str, held: bool) {
        if held { self.pass() } else { self.fail(step) }
    }

    /// What cannot be tried on this machine, and why: told at the end, lest it be taken for tried.
    pub(crate) fn skip(&mut self, what: &str) {
        self.skipped.push(what.to_owned());
    }

    /// A test program is over: `held` is its exit status, `output` what it wrote.
    pub(crate) fn tests(&mut self, step: &str, held: bool, output: &str) {
        let sums = Sums::read(output);
        self.passed += sums.passed;
        self.failed += sums.failed;
        let names = output.lines().filter_map(failed_test);
        self.failures.extend(names.map(|name| format!("{step}: {name}{}", why(name, output))));
        let skipped = output.lines().filter_map(skipped_test);
        self.skipped.extend(skipped.map(|what| format!("{step}: {what}")));
        // It did not compile, crashed or hung: no line tells of that.
        if !held && sums.failed == 0 {
            self.fail(&format!("{step}: ended with a failure outside its tests"));
        }
        if held && sums.programs == 0 {
            self.fail(&format!("{step}: ran no test program"));
        }
    }

    /// The same, where each program has tests that run: a filter that matches nothing is a fault.
    pub(crate) fn tests_of_each(&mut self, step: &str, held: bool, output: &str) {
        self.tests(step, held, output);
        let idle = Sums::read(output).idle;
        if idle > 0 {
            self.fail(&format!("{step}: {idle} test programs ran no test"));
        }
    }

    /// Prints what was skipped, what failed and, last, the line that others read.
    pub(crate) fn close(self) -> ExitCode {
        for what in &self.skipped {
            println!("skipped: {what}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The name in a line `test NAME ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// What a test panicked with, cut to a length: who sees the end of the output alone learns it there.
fn why(name: &str, output: &str) -> String {
    let begins = format!("thread '{name}' ");
    let mut lines = output.lines().skip_while(|line| !is_panic(line, &begins)).skip(1);
    let told = |line: &&str| !line.starts_with("note: ") && *line != "stack backtrace:";
    let words: Vec<&str> = lines.by_ref().take_while(told).take(WHY_LINES).map(str::trim).collect();
    let words: String = words.join(" ").chars().take(WHY_MAX).collect();
    if words.is_empty() { words } else { format!(": {words}") }
}

fn is_panic(line: &str, begins: &str) -> bool {
    line.starts_with(begins) && line.contains("panicked at ")
}

/// What a test says in a line `skipped: WHAT`; with the output of all shown, its name stands before.
fn skipped_test(line: &str) -> Option<&str> {
    line.split_once("skipped: ").map(|(_, what)| what)
}

/// What the `test result:` lines of cargo's test programs say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    programs: u64,
    /// Programs that ran no test at all.
    idle: u64,
    passed: u64,
    failed: u64,
}

impl Sums {
    fn read(output: &str) -> Self {
        let mut sums = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            sums.programs += 1;
            let ran = sums.passed + sums.failed;
            for part in line.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
                match (number.parse::<u64>(), what) {
                    (Ok(number), "passed") => sums.passed += number,
                    (Ok(number), "failed") => sums.failed += number,
                    _ => {}
                }
            }
            sums.idle += u64::from(sums.passed + sums.failed == ran);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a::b ... ok
test a::c ... FAILED
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 10.01s
";

    #[test]
    fn sums_over_programs() {
        assert_eq!(Sums::read(OUTPUT), Sums { programs: 2, idle: 0, passed: 7, failed: 1 });
    }

    #[test]
    fn a_program_without_a_test_is_a_failure_where_each_has_some() {
        let idle = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n";
        let mut tally = Tally::default();
        tally.tests_of_each("models", true, &OUTPUT[OUTPUT.rfind("test result").unwrap()..]);
        assert_eq!((tally.passed, tally.failed), (5, 0));
        tally.tests_of_each("models", false, &format!("{OUTPUT}{idle}"));
        assert_eq!(tally.failures, ["models: a::c", "models: 1 test programs ran no test"]);
    }

    #[test]
    fn what_was_skipped_is_told() {
        let mut tally = Tally::default();
        tally.tests("blackbox", true, &format!("skipped: no mounts\n{OUTPUT}"));
        tally.skip("io_uring");
        assert_eq!(tally.skipped, ["blackbox: no mounts", "io_uring"]);
    }

    #[test]
    fn names_what_failed() {
        let mut tally = Tally::default();
        tally.tests("unit", false, OUTPUT);
        assert_eq!((tally.passed, tally.failed), (7, 1));
        assert_eq!(tally.failures, ["unit: a::c"]);
    }

    #[test]
    fn says_what_it_failed_of() {
        let told = "thread 'a::b' (7) panicked at a.rs:1:2:\nnot this one\n\
                    thread 'a::c' (8) panicked at a.rs:3:4:\n1 disagreements:\n    these\n\
                    note: run with `RUST_BACKTRACE=1` to see more\n";
        let mut tally = Tally::default();
        tally.tests("unit", false, &format!("{told}{OUTPUT}"));
        assert_eq!(tally.failures, ["unit: a::c: 1 disagreements: these"]);
        assert_eq!(
            why("a::c", &format!("thread 'a::c' panicked at b:\n{}", "x".repeat(999))).len(),
            402
        );
    }

    #[test]
    fn a_crash_or_an_empty_run_is_a_failure() {
        let mut tally = Tally::default();
        tally.tests("unit", false, "error: could not compile");
        tally.tests("unit", true, "");
        assert_eq!((tally.passed, tally.failed), (0, 2));
    }
}
