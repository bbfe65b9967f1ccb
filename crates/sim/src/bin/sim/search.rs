//! The search for a seed that fails, on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use sim::dice::Origin;
use sim::judge::{Part, Tally, Violation, Wishes, has, judge};

use crate::watch::{PATIENCE, Watch};

/// What is searched.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) first: u64,
    pub(crate) until: Until,
    pub(crate) threads: usize,
    /// After a violation, too.
    pub(crate) goes_on: bool,
    /// Only worlds are played that have this part.
    pub(crate) with: Option<Part>,
}

/// When the search is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Seeds(u64),
    Time(Duration),
}

/// A seed that fails.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) seed: u64,
    /// How many seeds it took.
    pub(crate) after: u64,
    pub(crate) violation: Violation,
}

/// What a search came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// The first of each checker.
    pub(crate) found: Vec<Found>,
    violations: u64,
    took: Duration,
}

/// The clock of the search; runs have their own.
#[expect(clippy::disallowed_methods, reason = "the search, not the run, takes real time")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// How often it is looked at whether a run takes too long.
const LOOK: Duration = Duration::from_secs(1);

/// What a thread tells of one seed.
type Told = (u64, Tally, Option<Violation>);

impl Search {
    pub(crate) fn run(&self) -> Report {
        let began = clock();
        let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let watches: Vec<Watch> = (0..self.threads).map(|_| Watch::default()).collect();
        let mut report = Report {
            tally: Tally::default(),
            found: Vec::new(),
            violations: 0,
            took: began.elapsed(),
        };
        let mut firsts: BTreeMap<&'static str, Found> = BTreeMap::new();
        std::thread::scope(|scope| {
            let (sender, told) = channel::<Told>();
            for watch in &watches {
                let sender = sender.clone();
                scope.spawn(|| self.keep_playing(began, (&next, &over, watch), sender));
            }
            drop(sender);
            loop {
                if let Some(seed) = watches.iter().find_map(|it| it.hangs(began.elapsed())) {
                    self.gives_up(seed);
                }
                let (seed, tally, violation) = match told.recv_timeout(LOOK) {
                    Ok(told) => told,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                report.tally.add(&tally);
                let Some(violation) = violation else { continue };
                report.violations += 1;
                println!("found seed={seed} checker={:?}", violation.checker);
                over.fetch_or(!self.goes_on, Relaxed);
                let found = Found { seed, after: seed - self.first + 1, violation };
                match firsts.get(found.violation.checker) {
                    Some(known) if known.seed < found.seed => {}
                    _ => drop(firsts.insert(found.violation.checker, found)),
                }
            }
        });
        report.found = firsts.into_values().collect();
        report.took = began.elapsed();
        report
    }

    /// A run never ends: nor would the search, which waits for its thread.
    fn gives_up(&self, seed: u64) -> ! {
        println!("violation seed={seed} seeds={} checker=\"hang\"", seed - self.first + 1);
        println!("  the run does not end within {PATIENCE:?}");
        println!("  cargo xtask sim --seed {seed}");
        std::process::exit(1)
    }

    /// Threads that a panic has ended are replaced: what it left behind is gone with them.
    fn keep_playing(
        &self,
        began: Instant,
        shared: (&AtomicU64, &AtomicBool, &Watch),
        told: Sender<Told>,
    ) {
        let mut plays = true;
        while plays {
            plays = std::thread::scope(|scope| {
                let player = scope.spawn(|| self.play(began, shared, &told));
                player.join().unwrap_or(true)
            });
        }
        drop(told);
    }

    /// Plays seeds until there are no more, or one fails. Whether there may be more.
    fn play(
        &self,
        began: Instant,
        (next, over, watch): (&AtomicU64, &AtomicBool, &Watch),
        told: &Sender<Told>,
    ) -> bool {
        loop {
            if over.load(Relaxed) {
                return false;
            }
            let place = next.fetch_add(1, Relaxed);
            let more = match self.until {
                Until::Seeds(count) => place < count,
                Until::Time(length) => began.elapsed() < length,
            };
            if !more {
                return false;
            }
            let seed = self.first + place;
            if self.with.is_some_and(|part| !has(&Origin::Seed(seed), part)) {
                continue;
            }
            watch.begins(seed, began.elapsed());
            let (tally, violation) = judge(&Origin::Seed(seed), Wishes::default());
            watch.ends();
            let failed = violation.is_some();
            if told.send((seed, tally, violation)).is_err() {
                return false;
            }
            if failed {
                return true;
            }
        }
    }
}

/// What the processor was asked for, as the kernel counts it: hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let behind_name = stat.rsplit(')').next()?;
    let mut fields = behind_name.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    Some((fields.next()?? + fields.next()??) / 100.0)
}

impl Report {
    /// The sum in one line.
    #[expect(clippy::cast_precision_loss, reason = "a speed needs no last digit")]
    pub(crate) fn line(&self) -> String {
        let tally = &self.tally;
        let (exchanges, seconds) = (tally.exchanges, self.took.as_secs_f64());
        let cpu = cpu_seconds().unwrap_or(seconds);
        format!(
            "{exchanges} exchanges in {} runs, {} turns; {seconds:.0} s, {cpu:.0} s of processor: {:.0} \
             exchanges a second, {:.0} a second of processor; {} violations",
            tally.runs,
            tally.turns,
            exchanges as f64 / seconds,
            exchanges as f64 / cpu,
            self.violations
        )
    }
}
