//! What wakes a thread.

use base::sync::atomic::{AtomicBool, AtomicU32, Ordering::AcqRel};
use driver::Wake;

/// As the drivers' wakers are: many calls ring once, until they are answered.
#[derive(Default)]
pub(super) struct Bell {
    called: AtomicBool,
    rung: AtomicU32,
}

impl Wake for Bell {
    fn wake(&self) {
        if !self.called.swap(true, AcqRel) {
            self.rung.fetch_add(1, AcqRel);
        }
    }
}

impl Bell {
    /// Whether it rang since it was heard last.
    pub(super) fn is_heard(&self) -> bool {
        let rang = self.has_rung();
        if rang {
            self.answer();
        }
        rang
    }

    /// The same, and it does not ring again before it is answered.
    pub(super) fn has_rung(&self) -> bool {
        self.rung.swap(0, AcqRel) > 0
    }

    /// From here on it rings again.
    pub(super) fn answer(&self) {
        self.called.swap(false, AcqRel);
    }
}
