//! Targets run one after the other, and what they found.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::plan::Effort;
use super::seeds;
use super::stats::Stats;
use crate::run::{Runner, shown};

/// Longest input, bytes.
const INPUT_MOST: &str = "-max_len=4096";
/// How long `--smoke` goes on with a target behind its corpus, seconds.
const SMOKE: u64 = 3;
/// Longest that one input may take, seconds: a machine may be busy with other things.
const INPUT_PATIENCE: &str = "-timeout=120";

/// Targets that were built.
pub(super) struct Campaign<'r> {
    runner: &'r Runner,
    programs: PathBuf,
    folder: PathBuf,
}

impl<'r> Campaign<'r> {
    /// `programs` is where the targets were built; `folder` keeps what they find.
    pub(super) const fn new(runner: &'r Runner, programs: PathBuf, folder: PathBuf) -> Self {
        Self { runner, programs, folder }
    }

    /// Runs targets in turn, all of them even if one fails, and prints their figures. Returns which
    /// failed, and of what.
    pub(super) fn run(&self, targets: &[String], effort: Effort) -> Vec<String> {
        let head = ["target", "executions", "a second", "edges reached / all", "inputs"];
        println!("\n{:<18} {:>12} {:>8} {:>17} {:>6}", head[0], head[1], head[2], head[3], head[4]);
        let mut failures = Vec::new();
        let mut all = 0;
        for target in targets {
            // A disk may be full for a moment, where many write to it.
            let again = |error: io::Error| {
                println!("{target:<18} {error}; once more");
                self.run_one(target, effort)
            };
            match self.run_one(target, effort).or_else(again) {
                Ok((stats, None)) => {
                    println!("{target:<18} {stats}");
                    all += stats.executions;
                }
                Ok((stats, Some(output))) => {
                    println!("{target:<18} {stats}  FAILED");
                    self.tell(target, &output);
                    failures.push(format!("{target}: {}", reason(&output)));
                }
                Err(error) => {
                    println!("{target:<18} {error}");
                    failures.push(format!("{target}: {error}"));
                }
            }
        }
        println!("{all} executions in all");
        failures
    }

    /// The figures, and what was written if it failed.
    fn run_one(&self, target: &str, effort: Effort) -> io::Result<(Stats, Option<String>)> {
        let (seeds, found) = self.corpora(target)?;
        let crashes = self.crashes(target)?;
        let attempt = |span: &str, found: &Path| {
            let mut command = self.program(target);
            command.args([INPUT_MOST, INPUT_PATIENCE, span, "-print_final_stats=1"]);
            command.arg(format!("-dict={}", self.dictionary(target).display()));
            command.arg(format!("-artifact_prefix={}/", crashes.display()));
            command.args([found, &seeds]);
            let (ended_well, output) = self.logged(target, &mut command)?;
            Ok((Stats::read(&output), (!ended_well).then_some(output)))
        };
        match effort {
            Effort::Seconds(seconds) => attempt(&format!("-max_total_time={seconds}"), &found),
            Effort::Runs(runs) => attempt(&format!("-runs={runs}"), &found),
            Effort::Smoke => {
                let none = self.nothing_found(target)?;
                let began = Instant::now();
                let corpus = attempt("-runs=0", &none)?;
                if corpus.1.is_some() {
                    return Ok(corpus);
                }
                // A run begins with the corpus, and its time with the process.
                let seconds = began.elapsed().as_secs() + 1 + SMOKE;
                attempt(&format!("-max_total_time={seconds}"), &none)
            }
        }
    }

    /// What is kept of a target, unpacked, and where what it finds goes.
    fn corpora(&self, target: &str) -> io::Result<(PathBuf, PathBuf)> {
        let seeds = self.folder.join("seeds").join(target);
        seeds::unpack(&self.kept(target)?, &seeds)?;
        let found = self.folder.join("found").join(target);
        fs::create_dir_all(&found)?;
        Ok((seeds, found))
    }

    /// An empty folder for what a short run finds, that the next one does not begin with.
    fn nothing_found(&self, target: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join("smoke").join(target);
        seeds::unpack(&BTreeSet::new(), &folder)?;
        Ok(folder)
    }

    /// The inputs of both files of a target: those written by hand, and those that were found.
    fn kept(&self, target: &str) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut all = seeds::read(&self.file(target, "txt"))?;
        let found = self.file(target, "found.txt");
        if found.exists() {
            all.append(&mut seeds::read(&found)?);
        }
        Ok(all)
    }

    fn file(&self, target: &str, ending: &str) -> PathBuf {
        self.runner.path("fuzz/corpus").join(format!("{target}.{ending}"))
    }

    /// A target's own, or the words of HTTP.
    fn dictionary(&self, target: &str) -> PathBuf {
        let folder = self.runner.path("fuzz/dict");
        let own = folder.join(format!("{target}.dict"));
        if own.exists() { own } else { folder.join("http.dict") }
    }

    fn crashes(&self, target: &str) -> io::Result<PathBuf> {
        let crashes = self.folder.join("crashes").join(target);
        fs::create_dir_all(&crashes)?;
        Ok(crashes)
    }

    fn program(&self, target: &str) -> Command {
        let mut command = Command::new(self.programs.join(target));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program; whether it ended well, and what it wrote, which stays in a file.
    fn logged(&self, target: &str, command: &mut Command) -> io::Result<(bool, String)> {
        let folder = self.folder.join("logs");
        fs::create_dir_all(&folder)?;
        let log = folder.join(target);
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let ended_well = command.status()?.success();
        Ok((ended_well, String::from_utf8_lossy(&fs::read(log)?).into_owned()))
    }

    /// Says what failed, with which input, and how to see it again.
    fn tell(&self, target: &str, output: &str) {
        let panics = output.lines().skip_while(|line| !line.contains("panicked at"));
        for line in panics.take_while(|line| !line.starts_with("stack backtrace")).take(12) {
            println!("  {line}");
        }
        let written =
            |line: &str| line.split_once("Test unit written to ").map(|it| it.1.to_owned());
        let Some(file) = output.lines().find_map(written) else {
            let log = self.folder.join("logs").join(target);
            println!("  no input was written; see {}", log.display());
            return;
        };
        if let Ok(input) = fs::read(&file) {
            println!("  input ({} bytes): {}", input.len(), input.escape_ascii());
        }
        println!("  file: {file}");
        println!("  again: cargo xtask fuzz {target} --replay {file}");
    }

    /// Checks one input and shows all that is said of it.
    pub(super) fn replay(&self, targets: &[String], file: &Path) -> bool {
        targets.iter().all(|target| {
            let mut command = self.program(target);
            command.arg(file).env("RUST_BACKTRACE", "1");
            println!("\n$ {}", shown(&command));
            command.status().is_ok_and(|status| status.success())
        })
    }

    /// Keeps of what was found as little as reaches the same.
    pub(super) fn merge(&self, target: &str) -> bool {
        match self.merged(target) {
            Ok([before, after]) => {
                println!("{target:<18} {before:>6} inputs before, {after:>6} now");
                true
            }
            Err(error) => {
                println!("{target:<18} {error}");
                false
            }
        }
    }

    fn merged(&self, target: &str) -> io::Result<[usize; 2]> {
        let (_, found) = self.corpora(target)?;
        let before = self.kept(target)?;
        let by_hand = self.folder.join("seeds").join(format!("{target}.by-hand"));
        seeds::unpack(&seeds::read(&self.file(target, "txt"))?, &by_hand)?;
        let all = self.folder.join("seeds").join(target);
        // Those written by hand come first, and stay whatever they reach.
        let minimal = self.folder.join("seeds").join(format!("{target}.minimal"));
        seeds::unpack(&seeds::gather(&by_hand)?, &minimal)?;
        let mut command = self.program(target);
        // By edges alone, not by how often each is passed: a tenth of the inputs does.
        command.args(["-set_cover_merge=1", "-use_counters=0", INPUT_MOST, INPUT_PATIENCE]);
        command.args([&minimal, &all, &found]);
        let (ended_well, output) = self.logged(target, &mut command)?;
        if !ended_well {
            self.tell(target, &output);
            return Err(io::Error::other("an input fails"));
        }
        let by_hand = seeds::gather(&by_hand)?;
        let merged: BTreeSet<Vec<u8>> =
            seeds::gather(&minimal)?.into_iter().filter(|input| !by_hand.contains(input)).collect();
        seeds::write(&self.file(target, "found.txt"), &merged)?;
        Ok([before.len(), merged.len() + by_hand.len()])
    }
}

/// A panic's first words, or what libFuzzer says that it is, or the last line.
fn reason(output: &str) -> &str {
    let mut lines = output.lines();
    let panicked = lines.by_ref().any(|line| line.contains("panicked at "));
    let said = || output.lines().find(|line| line.contains("ERROR: "));
    let panic = panicked.then(|| lines.next()).flatten();
    panic.or_else(said).or_else(|| output.lines().last()).unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_in_one_line() {
        let panicked =
            "INFO: seed\nthread 'a' panicked at a.rs:1:2:\nnever sent\nstack backtrace:\n";
        assert_eq!(
            reason(&format!("{panicked}==1== ERROR: libFuzzer: deadly signal\n")),
            "never sent"
        );
        assert_eq!(
            reason("INFO: seed\n==1== ERROR: libFuzzer: timeout\nend"),
            "==1== ERROR: libFuzzer: timeout"
        );
        assert_eq!((reason("a\nlast"), reason("")), ("last", "it says nothing"));
    }
}
