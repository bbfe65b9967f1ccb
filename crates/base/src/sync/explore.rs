//! Running a model.

#[cfg(loom)]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How loom runs a model: every order of its threads in which a thread is interrupted at most so
/// often where it need not be; every one there is without a bound. `LOOM_MAX_PREEMPTIONS` asks
/// for another bound.
#[cfg(loom)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Explore {
    /// The bound.
    pub preemptions: Option<usize>,
}

#[cfg(loom)]
impl Explore {
    /// Runs the model and tells how many orders there were.
    pub fn run(self, model: impl Fn() + Send + Sync + 'static) {
        let mut loom = loom::model::Builder::new();
        loom.preemption_bound = loom.preemption_bound.or(self.preemptions);
        loom.max_branches = 20_000;
        let runs = alloc::sync::Arc::new(AtomicU64::new(0));
        let model = alloc::sync::Arc::new(model);
        for behind in [false, true] {
            super::atomic::fences_behind(behind);
            let (counted, model) =
                (alloc::sync::Arc::clone(&runs), alloc::sync::Arc::clone(&model));
            loom.check(move || {
                counted.fetch_add(1, Relaxed);
                model();
            });
        }
        let thread = std::thread::current();
        let bound = loom.preemption_bound.map_or("all".into(), |n| std::format!("<= {n}"));
        std::eprintln!(
            "model {}: {} orders ({bound} preemptions)",
            thread.name().unwrap_or("?"),
            runs.load(Relaxed)
        );
    }
}

#[cfg(shuttle)]
use shuttle::scheduler::{PctScheduler, RandomScheduler};

/// How shuttle runs a model: so many random orders, and as many of those that few interruptions
/// make, which find what hides from chance. `MODEL_TIMES` multiplies both.
#[cfg(shuttle)]
#[derive(Clone, Copy, Debug)]
pub struct Explore {
    /// How many of each kind.
    pub runs: usize,
}

#[cfg(shuttle)]
impl Explore {
    /// Runs the model and tells how often.
    pub fn run(self, model: impl Fn() + Clone + Send + Sync + 'static) {
        let times = std::env::var("MODEL_TIMES").ok().and_then(|times| times.parse().ok());
        let runs = self.runs * times.unwrap_or(1usize);
        let mut config = shuttle::Config::new();
        // That it takes every order of memory for the strictest is known, and why it is used.
        config.silence_warnings = true;
        shuttle::Runner::new(RandomScheduler::new(runs), config.clone()).run(model.clone());
        shuttle::Runner::new(PctScheduler::new(3, runs), config).run(model);
        let thread = std::thread::current();
        std::eprintln!(
            "model {}: {runs} random orders, {runs} of PCT",
            thread.name().unwrap_or("?")
        );
    }
}
