//! Counts a server's connections again and again while something else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::diag::{Diag, Held};
use crate::error::{Outcome, failure};

/// How often the connections are counted.
const SAMPLE: Duration = Duration::from_millis(50);

/// Counts a port's connections again and again.
pub(super) struct Watch {
    stopped: Arc<AtomicBool>,
    thread: thread::JoinHandle<Outcome<Held>>,
}

impl Watch {
    /// Begins to count.
    pub(super) fn start(port: u16) -> Outcome<Self> {
        let mut diag = Diag::open()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut most = Held::default();
            while !flag.load(Ordering::Relaxed) {
                most = most.max(diag.held(port)?);
                thread::sleep(SAMPLE);
            }
            Ok(most)
        });
        Ok(Self { stopped, thread })
    }

    /// The most connections seen at once.
    pub(super) fn most(self) -> Outcome<Held> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| failure("the watch panicked"))?
    }
}
