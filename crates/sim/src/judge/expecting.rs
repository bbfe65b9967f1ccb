//! A client that waits to be told to go on with its body (RFC 9110 §10.1.1), and whoever does not
//! tell it.

use std::time::Duration;

use base::time::Instant;

use super::stage::{Stage, Verdict, wrong};

/// How long it may take until the client is told, though a worker sleeps and completions are late.
const PROMPT: Duration = Duration::from_millis(400);

/// A wait for `100 Continue`, if there is one.
#[derive(Debug, Default)]
pub(super) struct Expecting {
    /// Whose body it is, and where that begins in what the client says.
    body: Option<(u32, u64)>,
    /// Since when nothing but the word is missing.
    since: Option<Instant>,
}

/// What the client knows of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Bytes written.
    pub(super) written: u64,
    /// The oldest request without an answer.
    pub(super) front: Option<u32>,
    /// Somebody listens to it, and it has read all that came.
    pub(super) hears: bool,
}

impl Expecting {
    /// A request was put down that expects to be told before `place`.
    pub(super) fn asks(&mut self, number: u32, place: u64) {
        self.body.get_or_insert((number, place));
    }

    /// It was told.
    pub(super) fn is_told(&mut self) {
        *self = Self::default();
    }

    /// Looks how long it has waited.
    pub(super) fn look(&mut self, sight: Sight, stage: &Stage) -> Verdict {
        let Some((number, place)) = self.body else { return Ok(()) };
        let (group, causes) = (stage.book.get(number).group, &stage.book.causes);
        // A streamed body is asked for when a lease begins, which may take long.
        // Where there is no room for the whole word behind what is said already, none is said.
        let (door, setting) = (&stage.setting.door, &stage.setting);
        // Whoever sleeps between any two pieces of a head has it late.
        let dozes = setting.dozes();
        let excused = setting.stream[group]
            || dozes
            || (door.secured[group][0] && setting.has_small_pipes())
            || causes.short.explains(stage.book.get(number).since(stage.now()))
            || stage.is_over();
        if sight.written > place || sight.front.is_none_or(|front| front > number) || excused {
            self.is_told();
            return Ok(());
        }
        if sight.written < place || sight.front != Some(number) || !sight.hears {
            self.since = None;
            return Ok(());
        }
        let now = stage.now();
        if super::gate::is_awaited(stage.book.get(number), stage) {
            self.since = None;
            return Ok(());
        }
        if now.since(*self.since.get_or_insert(now)) <= PROMPT {
            return Ok(());
        }
        wrong("continue", format!("request {number} waits to be told to go on"))
    }
}
