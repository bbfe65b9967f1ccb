//! The thread beside the data path that reads and writes the spool.

use base::sync::atomic::{AtomicBool, Ordering};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
#[cfg(not(any(loom, shuttle)))]
use std::thread::{self, Thread};

use base::limits::SPOOL_ERRANDS;
use base::sync::ArrayQueue;
#[cfg(any(loom, shuttle))]
use base::sync::thread::{self, Thread};
use spool::Piece;

use super::file::SpoolFile;
use crate::sockets::Waker;
use crate::{Ticket, Wake};

/// Something for the disk to do, and what came of it.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) write: bool,
    pub(crate) piece: Piece,
    pub(crate) ticket: Ticket,
    /// Which of the desk's places the memory is from.
    pub(crate) place: u32,
    pub(crate) memory: Box<[u8]>,
    /// Where it is told that it is done; not there any more once it is, for what lies in an inbox
    /// must not keep that inbox.
    pub(crate) inbox: Option<Arc<Inbox>>,
    /// Set when it is done.
    pub(crate) failed: bool,
}

/// Where a desk finds the errands that are done. It outlives the desk as long as some are under
/// way.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) done: ArrayQueue<Errand>,
    pub(crate) waker: Arc<Waker>,
}

/// Errands that wait for the thread: at most those of all desks.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) waiting: ArrayQueue<Errand>,
    ends: AtomicBool,
}

/// The thread and its queue. When it is dropped, the thread ends after what waits.
#[derive(Debug)]
pub struct Disk {
    counter: Arc<Counter>,
    thread: Thread,
}

impl Disk {
    /// Starts the thread, for so many workers.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start(file: SpoolFile, workers: u32) -> io::Result<Self> {
        // Twice as many as desks have, since a worker that failed leaves some behind.
        let most = (2 * workers * SPOOL_ERRANDS) as usize;
        let counter =
            Arc::new(Counter { waiting: ArrayQueue::new(most), ends: AtomicBool::new(false) });
        let theirs = Arc::clone(&counter);
        let thread = thread::Builder::new().name("disk".to_owned());
        let thread = thread.spawn(move || serve(&file.0, &theirs))?.thread().clone();
        Ok(Self { counter, thread })
    }

    pub(crate) const fn counter(&self) -> &Arc<Counter> {
        &self.counter
    }

    pub(crate) const fn thread(&self) -> &Thread {
        &self.thread
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.counter.ends.store(true, Ordering::Release);
        self.thread.unpark();
        // Nobody waits for it: a disk that hangs must not keep the process.
    }
}

fn serve(file: &File, counter: &Counter) {
    loop {
        while let Some(mut errand) = counter.waiting.pop() {
            errand.failed = run(file, &mut errand).is_err();
            let Some(inbox) = errand.inbox.take() else { continue };
            let told = inbox.done.push(errand);
            debug_assert!(told.is_ok(), "there is a place for each errand of a desk");
            inbox.waker.wake();
        }
        if counter.ends.load(Ordering::Acquire) {
            return;
        }
        thread::park();
    }
}

fn run(file: &File, errand: &mut Errand) -> io::Result<()> {
    let Piece { at, len } = errand.piece;
    let Some(memory) = errand.memory.get_mut(..len as usize) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if errand.write { file.write_all_at(memory, at) } else { file.read_exact_at(memory, at) }
}
