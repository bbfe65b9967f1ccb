//! Waking a driver from other threads.

use base::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;

use crate::Wake;

/// Wakes one worker's driver. It is made before the driver, so that everybody can know it before
/// any worker starts, and outlives it: a worker's successor takes it over.
#[derive(Debug)]
pub struct Waker {
    /// An event descriptor, written to at most once between two wakings.
    descriptor: OwnedFd,
    call: Call,
}

impl Waker {
    /// A waker that nobody has called.
    ///
    /// # Errors
    /// When no descriptor is left, or no memory.
    pub fn new() -> std::io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { descriptor, call: Call::default() })
    }

    /// What epoll watches, edge-triggered: each write is an edge, so nobody has to read it, and
    /// a counter of 64 bits does not overflow. A new driver finds an edge if there ever was one, so
    /// a call that its predecessor did not live to see is not lost.
    pub(crate) const fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Whoever is woken woke. What others did before they called [`Wake::wake`] can be seen from here.
    pub fn woken(&self) {
        self.call.answer();
    }
}

/// For whoever is woken and is no driver of ours: it is written to, and never read.
impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Wake for Waker {
    fn wake(&self) {
        if self.call.make() {
            let written = write(&self.descriptor, &1u64.to_ne_bytes());
            debug_assert_eq!(written, Ok(8));
        }
    }
}

/// A call that was made and not answered, so that many at once ring once.
#[derive(Debug, Default)]
pub(crate) struct Call(AtomicBool);

impl Call {
    /// True for the first one since the last answer: it must ring.
    pub(crate) fn make(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// It is heard: the next one rings again. What was done before a call can be seen from here.
    pub(crate) fn answer(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
