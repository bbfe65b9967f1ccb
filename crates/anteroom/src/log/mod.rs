//! What the program tells its operator: events (notes, warnings, errors) and the access log.
//!
//! `choice` is what can be asked for, `sink` an open destination, `line` how lines look.
//! `events` and `access` are a thread each. Until they are started, and in commands that serve
//! nobody, whole lines go to standard error, one write each, so that lines of several threads
//! never mix.

mod access;
mod choice;
mod events;
mod line;
mod sink;
mod stamp;

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use base::limits;

pub(crate) use access::AccessLog;
pub(crate) use choice::{Destination, Format, LogSettings, destination};
use events::{Event, Herald, Letter};
pub(crate) use line::{Names, Scribe};
use sink::{Sink, remedy};

use crate::failure::Failure;
use crate::identity::Identity;
use crate::settings::Word;

/// How long a warning that repeats itself stays away.
pub(crate) const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Where events are queued, once there is a thread that writes them.
static EVENTS: OnceLock<SyncSender<Letter>> = OnceLock::new();
/// Lines of all logs that could not be written.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// Tells an event: `warning: …`, `error: …`, or a plain note.
pub(crate) fn note(text: impl fmt::Display) {
    let Some(events) = EVENTS.get() else { return directly(&format!("anteroom: {text}\n")) };
    match events.try_send(Letter::Event(Event::now(text.to_string()))) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => count_unwritten(),
        Err(TrySendError::Disconnected(_)) => directly(&format!("anteroom: {text}\n")),
    }
}

/// Writes the one line that says the listeners accept (DESIGN.md §5), to standard error always.
pub(crate) fn ready(addresses: impl fmt::Display) {
    let line = format!("anteroom ready: {addresses}\n");
    let Some(events) = EVENTS.get() else { return directly(&line) };
    match events.try_send(Letter::Lines(line)) {
        Err(TrySendError::Full(_)) => count_unwritten(),
        Err(TrySendError::Disconnected(Letter::Lines(line))) => directly(&line),
        _ => {}
    }
}

/// Writes lines as they are to standard error.
pub(crate) fn lines(text: &str) {
    directly(text);
}

/// How many lines could not be written, of events and of the access log.
pub(crate) fn unwritten() -> u64 {
    UNWRITTEN.load(Ordering::Relaxed)
}

fn count_unwritten() {
    UNWRITTEN.fetch_add(1, Ordering::Relaxed);
}

/// A line that cannot be written has nobody to read it.
fn directly(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The logs of the process, from before it gives up root to its end.
pub(crate) struct Logs {
    settings: LogSettings,
    access: Option<Sink>,
    events: Option<(Sink, Receiver<Letter>)>,
    letters: SyncSender<Letter>,
    running: Option<AccessLog>,
}

impl Logs {
    /// Opens every destination. From now on events are queued; [`start`](Self::start) has them
    /// written.
    ///
    /// # Errors
    /// [`Failure::Usage`], with the remedy, when one cannot be opened.
    pub(crate) fn open(settings: &LogSettings, owner: Option<&Identity>) -> Result<Self, Failure> {
        let open = |word, to: &Destination| {
            Sink::open(to.clone(), owner).map_err(|error| {
                let set = settings.tongue.set(word, settings.tongue.quoted(to));
                Failure::Usage(format!("{set}: {error}: {}", remedy(&error)))
            })
        };
        let access = settings.access.as_ref().map(|to| open(Word::ACCESS_LOG, to)).transpose()?;
        let events = open(Word::EVENTS, &settings.events)?;
        let (letters, received) = events::queue();
        Ok(Self {
            settings: settings.clone(),
            access,
            events: Some((events, received)),
            letters,
            running: None,
        })
    }

    /// Makes this the log of every [`note`] of the process from now on; once in its life.
    pub(crate) fn install(&self) {
        let _ = EVENTS.set(self.letters.clone());
    }

    /// Starts the threads; `names` are what the access log calls listeners and servers.
    ///
    /// # Errors
    /// When the system grants none.
    pub(crate) fn start(&mut self, names: Names) -> Result<(), Failure> {
        let failed =
            |error| Failure::Run(format!("the system grants no thread for the logs: {error}"));
        if let Some((sink, letters)) = self.events.take() {
            let herald = Herald::new(sink, self.settings.format);
            let thread = thread::Builder::new().name("events".to_owned());
            thread.spawn(move || herald.run(letters)).map_err(failed)?;
        }
        if let Some(sink) = self.access.take() {
            let scribe = Scribe::new(self.settings.format, names);
            let LogSettings { buffer, line, .. } = self.settings;
            self.running = Some(AccessLog::start(sink, scribe, buffer, line).map_err(failed)?);
        }
        Ok(())
    }

    /// The access log, if there is one.
    pub(crate) const fn access(&self) -> Option<&AccessLog> {
        self.running.as_ref()
    }

    /// What has every file opened anew, whenever it is called.
    pub(crate) fn reopener(&self) -> impl Fn() + use<> {
        let (access, letters) = (self.running.clone(), self.letters.clone());
        move || {
            // A queue that is full is not read, and no file helps then.
            let _ = letters.try_send(Letter::Reopen);
            if let Some(access) = &access {
                access.reopen();
            }
        }
    }

    /// Writes what is left, as far as it is taken in time, and lets go of everything. A failure
    /// that ends the process is an event, too, where standard error does not tell it anyway.
    pub(crate) fn close(mut self, failure: Option<&Failure>) {
        if let Some(access) = &self.running
            && !access.close()
        {
            note("warning: access log: its reader is too slow; what was left is lost");
        }
        if let Some(failure) = failure
            && self.settings.events != Destination::Stderr
        {
            note(format_args!("error: {failure}"));
        }
        if let Some((sink, letters)) = self.events.take() {
            // It was never started: what was said is written here.
            let herald = Herald::new(sink, self.settings.format);
            let _ = self.letters.try_send(Letter::Close(sync_channel(1).0));
            herald.run(letters);
            return;
        }
        let (done, answer) = sync_channel(1);
        let mut letter = Letter::Close(done);
        let began = clock();
        while let Err(TrySendError::Full(back)) = self.letters.try_send(letter) {
            if began.elapsed() > limits::LOG_PARTING {
                return;
            }
            letter = back;
            thread::park_timeout(Duration::from_millis(5));
        }
        let _ = answer.recv_timeout(limits::LOG_PARTING);
    }
}

#[expect(clippy::disallowed_methods, reason = "the end of the process; no data path")]
fn clock() -> Instant {
    Instant::now()
}
