//! Notes, warnings and errors: queued by whoever has something to say, written by a thread of
//! their own, so that nobody waits for a reader who does not read.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use base::limits;

use super::UNWRITTEN;
use super::choice::{Destination, Format};
use super::line;
use super::sink::{Sink, remedy};
use super::stamp::{self, Stamp};

/// Something the operator is told.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) time: SystemTime,
    /// `warning: …`, `error: …`, or a plain note.
    pub(crate) text: String,
}

impl Event {
    /// Something that is told now.
    pub(crate) fn now(text: String) -> Self {
        Self { time: stamp::now(), text }
    }

    fn parts(&self) -> (&str, &str) {
        match self.text.split_once(": ") {
            Some((level @ ("warning" | "error"), message)) => (level, message),
            _ => ("note", &self.text),
        }
    }

    /// How bad it is: `note`, `warning` or `error`.
    pub(crate) fn level(&self) -> &str {
        self.parts().0
    }

    /// What it says, without that.
    pub(crate) fn message(&self) -> &str {
        self.parts().1
    }
}

/// What the thread is asked.
#[derive(Debug)]
pub(crate) enum Letter {
    /// To write this.
    Event(Event),
    /// To write these lines to standard error as they are.
    Lines(String),
    /// To open its file anew.
    Reopen,
    /// To answer when all that was said before is written, and end.
    Close(SyncSender<()>),
}

/// Where letters go in, and where they come out.
pub(crate) fn queue() -> (SyncSender<Letter>, Receiver<Letter>) {
    sync_channel(limits::EVENTS_WAITING)
}

/// Writes what comes, until it is told to end.
pub(crate) struct Herald {
    sink: Sink,
    /// How lines look; on standard error they are plain.
    format: Option<Format>,
    stamp: Stamp,
    out: Vec<u8>,
    /// The destination fails, and that was said.
    failing: bool,
}

impl Herald {
    /// Writes to `sink`; in `format`, unless that is standard error.
    pub(crate) fn new(sink: Sink, format: Format) -> Self {
        let plain = *sink.destination() == Destination::Stderr;
        let format = (!plain).then_some(format);
        let stamp = Stamp::new(Format::Json);
        Self { sink, format, stamp, out: Vec::new(), failing: false }
    }

    /// Reads the queue to its end. When that has been answered nothing can be put there any more,
    /// so that what is said later goes to standard error at once.
    pub(crate) fn run(mut self, letters: Receiver<Letter>) {
        while let Ok(letter) = letters.recv() {
            match letter {
                Letter::Event(event) => self.write(&event),
                Letter::Lines(lines) => super::directly(&lines),
                Letter::Reopen => self.reopen(),
                Letter::Close(done) => {
                    drop(letters);
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn write(&mut self, event: &Event) {
        self.out.clear();
        line::event(self.format, &mut self.stamp, event, &mut self.out);
        match self.sink.write(&self.out) {
            Ok(()) => self.failing = false,
            Err(lost) => {
                UNWRITTEN.fetch_add(lost.lines, Ordering::Relaxed);
                // What cannot be said there is said on standard error, and once, why.
                if self.format.is_some() {
                    if !self.failing {
                        let (to, error) = (self.sink.destination(), lost.error);
                        super::directly(&format!("anteroom: error: events to {to}: {error}\n"));
                    }
                    super::directly(&format!("anteroom: {}\n", event.text));
                }
                self.failing = true;
            }
        }
    }

    fn reopen(&mut self) {
        let text = match self.sink.reopen() {
            Ok(()) => return,
            Err(error) => format!(
                "error: {} cannot be opened anew: {error}; events go on to the old file: {}",
                self.sink.destination(),
                remedy(&error)
            ),
        };
        self.write(&Event::now(text));
    }
}
