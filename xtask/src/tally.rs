//! Counting what passed and what failed, over all steps.

use std::process::ExitCode;

/// The sums of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
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

    /// A test program is over: `held` is its exit status, `output` what it wrote.
    pub(crate) fn tests(&mut self, step: &str, held: bool, output: &str) {
        let sums = Sums::read(output);
        self.passed += sums.passed;
        self.failed += sums.failed;
        let names = output.lines().filter_map(failed_test);
        self.failures.extend(names.map(|name| format!("{step}: {name}")));
        // It did not compile, crashed or hung: no line tells of that.
        if !held && sums.failed == 0 {
            self.fail(&format!("{step}: ended with a failure outside its tests"));
        }
        if held && sums.programs == 0 {
            self.fail(&format!("{step}: ran no test program"));
        }
    }

    /// Prints what failed and, last, the line that others read.
    pub(crate) fn close(self) -> ExitCode {
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

/// What the `test result:` lines of cargo's test programs say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    programs: u64,
    passed: u64,
    failed: u64,
}

impl Sums {
    fn read(output: &str) -> Self {
        let mut sums = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            sums.programs += 1;
            for part in line.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
                match (number.parse::<u64>(), what) {
                    (Ok(number), "passed") => sums.passed += number,
                    (Ok(number), "failed") => sums.failed += number,
                    _ => {}
                }
            }
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
        assert_eq!(Sums::read(OUTPUT), Sums { programs: 2, passed: 7, failed: 1 });
    }

    #[test]
    fn names_what_failed() {
        let mut tally = Tally::default();
        tally.tests("unit", false, OUTPUT);
        assert_eq!((tally.passed, tally.failed), (7, 1));
        assert_eq!(tally.failures, ["unit: a::c"]);
    }

    #[test]
    fn a_crash_or_an_empty_run_is_a_failure() {
        let mut tally = Tally::default();
        tally.tests("unit", false, "error: could not compile");
        tally.tests("unit", true, "");
        assert_eq!((tally.passed, tally.failed), (0, 2));
    }
}
