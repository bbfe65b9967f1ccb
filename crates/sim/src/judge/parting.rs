//! What one end of a tunnel may see of its end: an end behind the last byte of the other one, a
//! reset when the other broke off, or a cut for which there is a cause.

use std::time::Duration;

use base::time::Instant;
use worker::Timeouts;

use super::book::{Excuse, Fate, Record};
use super::oracle::{LATE, TICK};
use super::reply::micros;
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::{End, Side};

/// How an end was parted from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parted {
    /// The other one has ended its direction: this one may go on.
    Ended,
    /// The connection is over.
    Cut(Excuse),
    /// It is over, and never led to anybody.
    Unheard,
}

/// How late an end may be passed on that stands behind bytes which were all taken.
const PROMPT: Duration = Duration::from_millis(400);

/// Something of a record came to an end that is secured. Before its last word others may stand that are
/// TLS's own, and all of them may come byte by byte: as long as they do, the end is on its way.
pub(super) fn stirs(me: usize, stage: &mut Stage) {
    let mine = &stage.ends[me];
    let ended = mine.other.and_then(|other| stage.ends[other].ended);
    let quiet = stage.now().since(mine.listened.max(ended.unwrap_or(mine.listened)));
    if quiet <= PROMPT + slack(stage) {
        stage.ends[me].listened = stage.now();
    }
}

/// An end sees an orderly end.
pub(super) fn may_end(me: usize, stage: &Stage) -> Verdict<Parted> {
    let mine = &stage.ends[me];
    let Some(other) = mine.other.map(|other| &stage.ends[other]) else {
        return Ok(alone(me, false, stage));
    };
    let never = never_began(mine, stage);
    let whole = mine.heard == other.said;
    if let Some(ended) = other.ended
        && whole
    {
        let since = ended.max(mine.listened);
        let late = stage.now().since(since);
        if never.is_none()
            && late > PROMPT + slack(stage) + mine.stalled
            && !stage.book.causes.short.explains(mine.since.min(other.since))
        {
            return wrong("tunnel", format!("end {me} is told {late:?} late that the other ended"));
        }
        return Ok(Parted::Ended);
    }
    if let Some(excuse) = never {
        return Ok(Parted::Cut(excuse));
    }
    // What was on its way for so short a time when the connection was cut may be missed.
    let until = other.cut.map_or(stage.now(), |(_, moment)| moment);
    let missed = until.since(other.spoke) <= slack(stage);
    let quiet = if whole || missed { quiet(mine, other, stage) } else { None };
    match quiet {
        Some(excuse) => Ok(Parted::Cut(excuse)),
        None => wrong("tunnel", format!("end {me} is told of an end: {mine:?}, {other:?}")),
    }
}

/// An end sees a reset.
pub(super) fn may_break(me: usize, stage: &Stage) -> Verdict<Parted> {
    let mine = &stage.ends[me];
    let Some(other) = mine.other.map(|other| &stage.ends[other]) else {
        return Ok(alone(me, true, stage));
    };
    let causes = &stage.book.causes;
    let t = &stage.setting.timeouts;
    let patience = t.write_progress.min(t.response).min(t.tunnel).min(t.half_closed);
    let stalled = mine.stalled.max(other.stalled) + slack(stage) >= patience;
    let excuse = if other.broke || mine.broke {
        Some(Excuse::Server)
    } else if stalled {
        Some(Excuse::Slow)
    } else if causes.short.explains(mine.since.min(other.since)) {
        Some(Excuse::Short)
    } else {
        never_began(mine, stage).or_else(|| quiet(mine, other, stage))
    };
    match excuse {
        Some(excuse) => Ok(Parted::Cut(excuse)),
        None => wrong("tunnel", format!("end {me} is reset: {mine:?}, {other:?}")),
    }
}

/// Both were silent for as long as they may be, or the operator wants an end.
fn quiet(mine: &End, other: &End, stage: &Stage) -> Option<Excuse> {
    if let Some((excuse, _)) = other.cut {
        return Some(excuse);
    }
    let causes = &stage.book.causes;
    if stage.is_over() {
        return Some(Excuse::Operator);
    }
    if is_expelled(mine, stage) || is_expelled(other, stage) {
        return Some(Excuse::Door);
    }
    // What was given to a receiver that does not listen is on its way no longer.
    let ended = [mine.ended, other.ended].into_iter().flatten();
    // What was said a moment ago may not have been noticed yet.
    let noticed = |end: &End| {
        let fresh = stage.now().since(end.spoke) <= slack(stage);
        if fresh { end.before } else { end.spoke }
    };
    let Timeouts { tunnel, half_closed, .. } = stage.setting.timeouts;
    let half = mine.ended.is_some() || other.ended.is_some();
    let length = if half { half_closed.min(tunnel) } else { tunnel };
    let last = ended.chain([noticed(mine), noticed(other)]).max()?;
    if causes.drained.is_some() && is_over(last, base::limits::STREAM_GRACE, stage) {
        return Some(Excuse::Operator);
    }
    is_over(last, length, stage).then_some(Excuse::Silence)
}

/// Whether this may be a client's end whose address may not be here any more.
fn is_expelled(end: &End, stage: &Stage) -> bool {
    let denied = |from| stage.door.may_deny(end.group, from, end.since);
    end.from.is_some_and(denied)
}

fn is_over(since: Instant, length: Duration, stage: &Stage) -> bool {
    stage.now().since(since) + slack(stage) >= length
}

/// How late one may notice what happened.
pub(super) fn slack(stage: &Stage) -> Duration {
    let setting = &stage.setting;
    let late = if setting.late > 0 { LATE } else { Duration::ZERO };
    2 * micros(setting.latency) + TICK + setting.asleep() + late
}

/// A server that has switched, though its client was told something else, or was gone.
fn never_began(mine: &End, stage: &Stage) -> Option<Excuse> {
    let record: &Record = stage.book.get(mine.request?);
    let told = record.fate == Some(Fate::Switched);
    (mine.side == Side::Server && (!told || record.failed)).then_some(Excuse::Told)
}

/// An end to which nobody has spoken: who is at the other end is not known.
fn alone(me: usize, reset: bool, stage: &Stage) -> Parted {
    let mine = &stage.ends[me];
    if mine.side == Side::Server {
        // Its client left before; or it has said nothing, and listens still.
        return if reset { Parted::Unheard } else { Parted::Ended };
    }
    // Somebody who says nothing may be anybody who has said nothing.
    let mute = |it: &End| {
        let left = it.ended.is_some() || it.broke;
        it.side == Side::Server && it.group == mine.group && it.other.is_none() && left
    };
    if stage.ends.iter().any(mute) { Parted::Ended } else { Parted::Unheard }
}
