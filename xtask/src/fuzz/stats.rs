//! What libFuzzer says of a run.

use std::fmt;

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// Inputs run.
    pub(super) executions: u64,
    /// How many in a second.
    pub(super) per_second: u64,
    /// Edges of the code that were reached, and how many there are.
    pub(super) edges: [u64; 2],
    /// Inputs that are kept because each reaches something that the others do not.
    pub(super) inputs: u64,
}

impl Stats {
    /// Reads what was written.
    pub(super) fn read(output: &str) -> Self {
        let mut stats = Self::default();
        for line in output.lines() {
            if let Some(number) = after(line, "stat::number_of_executed_units:") {
                stats.executions = number;
            } else if let Some(number) = after(line, "stat::average_exec_per_sec:") {
                stats.per_second = number;
            } else if let Some(number) = after(line, "modules   (") {
                stats.edges[1] = number;
            } else if let Some(number) = after(line, " cov: ") {
                stats.edges[0] = number;
                stats.inputs = after(line, " corp: ").unwrap_or(stats.inputs);
            }
        }
        stats
    }
}

/// The number behind these words.
fn after(line: &str, words: &str) -> Option<u64> {
    let (_, rest) = line.split_once(words)?;
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { executions, per_second, edges: [reached, all], inputs } = self;
        write!(f, "{executions:>12} {per_second:>8} {reached:>7} / {all:<7} {inputs:>6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let output = "\
INFO: Running with entropic power schedule (0xFF, 100).
INFO: Loaded 1 modules   (2045 inline 8-bit counters): 2045 [0x5, 0x6),
#2\tINITED cov: 58 ft: 59 corp: 1/1b exec/s: 0 rss: 38Mb
#65536\tpulse  cov: 290 ft: 801 corp: 99/3520b lim: 652 exec/s: 32768 rss: 51Mb
Done 100000 runs in 2 second(s)
stat::number_of_executed_units: 100000
stat::average_exec_per_sec:     50000
stat::new_units_added:          98
";
        let expected =
            Stats { executions: 100_000, per_second: 50_000, edges: [290, 2045], inputs: 99 };
        assert_eq!(Stats::read(output), expected);
    }
}
