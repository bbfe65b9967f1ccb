//! The time a driver tells its worker: read once a poll.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use base::time::Instant;
use rustix::event::Timespec;
use rustix::time::{ClockId, clock_gettime};

/// One worker's view of the clock that all workers of the process share.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
    now: Instant,
    /// The calendar time, once somebody asked for it.
    wall: Cell<Option<SystemTime>>,
}

impl Clock {
    /// A clock that begins at `epoch`.
    pub(crate) fn new(epoch: std::time::Instant) -> Self {
        let mut clock = Self { epoch, now: Instant::default(), wall: Cell::new(None) };
        clock.read();
        clock
    }

    /// Reads the time anew.
    pub(crate) fn read(&mut self) {
        self.now = self.elapsed();
        self.wall.set(None);
    }

    /// The time when it was last read.
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    /// The time at this moment.
    pub(crate) fn elapsed(&self) -> Instant {
        Instant(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The calendar time; the same until the next [`read`](Self::read).
    pub(crate) fn wall(&self) -> SystemTime {
        let wall = self.wall.get().unwrap_or_else(read_calendar);
        self.wall.set(Some(wall));
        wall
    }

    /// How long it is until `until`; `None` when there is no end to it.
    pub(crate) fn wait_for(&self, until: Option<Instant>) -> Option<Timespec> {
        // A wait too long for a timespec is as good as one without end.
        Timespec::try_from(until?.since(self.elapsed())).ok()
    }
}

/// The calendar time, to the kernel's tick: a Date field has whole seconds.
fn read_calendar() -> SystemTime {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    Duration::try_from(time).map_or(SystemTime::UNIX_EPOCH, |since| SystemTime::UNIX_EPOCH + since)
}
