//! The thread that writes the access log: it empties the workers' rings in batches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel};
use std::thread::{self, Thread};
use std::time::Instant;

use base::limits;
use driver::Wake;
use worker::{AccessReader, AccessWriter, access_ring};

use super::UNWRITTEN;
use super::line::Scribe;
use super::sink::{Sink, remedy};

/// Bytes gathered before they are written, but for the line that goes beyond.
const BATCH: usize = 64 << 10;

/// What the thread is asked.
enum Letter {
    /// To read a worker's ring until that worker is over.
    Ring(AccessReader),
    /// To open its file anew.
    Reopen,
    /// To write what is there, to answer, and to end.
    Close(SyncSender<()>),
}

/// What others hold of the thread.
#[derive(Clone)]
pub(crate) struct AccessLog {
    letters: Sender<Letter>,
    thread: Thread,
    /// Bytes of each ring.
    buffer: u32,
    /// Bytes of each note.
    line: u32,
}

impl AccessLog {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system grants none.
    pub(crate) fn start(sink: Sink, scribe: Scribe, buffer: u32, line: u32) -> io::Result<Self> {
        let (letters, received) = channel();
        let writer = Writer::new(sink, scribe);
        let builder = thread::Builder::new().name("access-log".to_owned());
        let thread = builder.spawn(move || writer.run(&received))?.thread().clone();
        Ok(Self { letters, thread, buffer, line })
    }

    /// A ring for a worker that starts, and how much its notes hold.
    pub(crate) fn ring(&self) -> (AccessWriter, u32) {
        let wake = Arc::new(Unpark(self.thread.clone()));
        let (writer, reader) = access_ring(self.buffer as usize, wake);
        self.send(Letter::Ring(reader));
        (writer, self.line)
    }

    /// Has the file opened anew.
    pub(crate) fn reopen(&self) {
        self.send(Letter::Reopen);
    }

    /// Ends the thread when it has written what is there; false if it could not in time.
    pub(crate) fn close(&self) -> bool {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        self.send(Letter::Close(done));
        answer.recv_timeout(limits::LOG_PARTING).is_ok()
    }

    fn send(&self, letter: Letter) {
        // A thread that is over has nothing left to do.
        let _ = self.letters.send(letter);
        self.thread.unpark();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

struct Writer {
    sink: Sink,
    scribe: Scribe,
    rings: Vec<AccessReader>,
    out: Vec<u8>,
    lost: Lost,
}

impl Writer {
    fn new(sink: Sink, scribe: Scribe) -> Self {
        let lost = Lost { lines: 0, why: String::new(), said: None };
        Self { sink, scribe, rings: Vec::new(), out: Vec::with_capacity(2 * BATCH), lost }
    }

    fn run(mut self, letters: &Receiver<Letter>) {
        loop {
            match letters.try_recv() {
                Ok(Letter::Ring(ring)) => self.rings.push(ring),
                Ok(Letter::Reopen) => self.reopen(),
                Ok(Letter::Close(done)) => {
                    while self.round() {}
                    self.lost.say(self.sink.destination(), true);
                    let _ = done.send(());
                    return;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let more = self.round();
                    self.lost.say(self.sink.destination(), false);
                    if !more {
                        thread::park_timeout(limits::LOG_PAUSE);
                    }
                }
            }
        }
    }

    /// Writes what is there, at most one batch of each ring; whether there was more in one.
    fn round(&mut self) -> bool {
        let mut more = false;
        let Self { sink, scribe, rings, out, lost } = self;
        rings.retain_mut(|ring| {
            // Asked before it is emptied, so that nothing is left in a ring that is let go.
            let over = ring.is_over();
            out.clear();
            ring.drain(|record| {
                scribe.push(record, out);
                out.len() < BATCH
            });
            more |= out.len() >= BATCH;
            if !out.is_empty()
                && let Err(unwritten) = sink.write(out)
            {
                lost.count(unwritten.lines, &unwritten.error);
            }
            !over
        });
        more
    }

    /// Each line is whole in the old file or in the new one.
    fn reopen(&mut self) {
        let to = self.sink.destination().clone();
        match self.sink.reopen() {
            Ok(()) if matches!(to, super::Destination::File(_)) => {
                super::note(format_args!("access log: {to} is opened anew"));
            }
            Ok(()) => {}
            Err(error) => super::note(format_args!(
                "error: access log: {to} cannot be opened anew: {error}; lines go on to the old \
                 file: {}",
                remedy(&error)
            )),
        }
    }
}

/// Lines that could not be written, told once a minute at most.
struct Lost {
    /// Those that were not told yet.
    lines: u64,
    why: String,
    said: Option<Instant>,
}

impl Lost {
    fn count(&mut self, lines: u64, error: &io::Error) {
        UNWRITTEN.fetch_add(lines, Ordering::Relaxed);
        self.lines += lines;
        self.why = error.to_string();
    }

    fn say(&mut self, to: &super::Destination, last: bool) {
        if self.lines == 0 {
            return;
        }
        let now = clock();
        if last || self.said.is_none_or(|said| now - said >= super::SAY_AGAIN) {
            super::note(format_args!(
                "warning: access log: {} lines could not be written to {to}: {}",
                self.lines, self.why
            ));
            (self.lines, self.said) = (0, Some(now));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long ago a warning was given; no data path")]
fn clock() -> Instant {
    Instant::now()
}
