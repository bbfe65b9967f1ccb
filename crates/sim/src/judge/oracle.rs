//! What each client and each server may see. It knows what was asked and what happened, and nothing
//! of how anteroom works.

use std::time::Duration;

use base::time::Instant;
use exchange::Refusal;
use worker::Timeouts;

use super::ask::Method;
use super::book::{Excuse, Record, What};
use super::door::may_ask_too_often;
use super::front;
use super::gate;
use super::message::{Framing, Head, Wrong, decimal};
use super::reply::{Reply, Trouble, micros};
use super::room;
use super::server::reading;
use super::setting::Setting;
use super::stage::Stage;
use super::tunnel::{End, Side};

/// What a server must find in the head of a request.
pub(super) fn request_head(
    head: &Head<'_>,
    number: u32,
    record: &Record,
    setting: &Setting,
) -> Result<(Framing, Option<Vec<u8>>), Wrong> {
    let Some(ask) = record.ask() else { return Err(format!("malformed request {number}")) };
    let line = format!("{} /{number} HTTP/1.1", ask.method.name());
    if head.line != line.as_bytes() {
        return Err(format!("its first line is not {line:?}"));
    }
    let streamed = setting.stream[record.group];
    let offers = ask.offers(record.group, setting);
    let connection = if offers { "upgrade" } else { "close" };
    let host = if ask.homeless && !ask.absolute { "front" } else { "world" };
    let told = (host == "world").then_some(host);
    let told = ask.way.and_then(|way| way.host()).or(told);
    let proto = front::proto(ask, record.group, setting);
    let (peer, way) = (record.peer.to_string(), front::way(record));
    let forwarded = match told {
        Some(host) => format!("for={peer};host=\"{host}\";proto={proto}"),
        None => format!("for={peer};proto={proto}"),
    };
    let mut seen = 0_u32;
    let mut framing = Framing::Length(0);
    let mut id = None;
    for (place, (name, value)) in head.fields().enumerate() {
        let text = str::from_utf8(value).unwrap_or_default();
        let (bit, right) = match name {
            b"Host" => (0, place == 0 && text == host),
            b"X-Number" => (1, decimal(value) == Some(u64::from(number))),
            b"X-Filler" => (2, value.len() == ask.filler as usize && all(value, b'f')),
            b"X-Forwarded-For" => (3, text == way),
            b"X-Forwarded-Proto" => (4, text == proto),
            b"X-Forwarded-Host" => (5, Some(text) == told),
            b"Forwarded" => (6, text == forwarded),
            b"Via" => (7, text.strip_suffix(" anteroom") == Some(ask.version())),
            b"X-Request-ID" => {
                id = Some(value.to_vec());
                (8, request_id(text, number, ask.own_id, setting))
            }
            b"Connection" => (9, text == connection && (offers || !setting.persistent)),
            b"Upgrade" => (12, text == "websocket" && offers),
            b"Content-Length" => {
                framing = Framing::Length(u64::from(ask.length()));
                let told = ask.body.is_some() && !(streamed && ask.is_chunked());
                (10, told && decimal(value) == Some(u64::from(ask.length())))
            }
            b"Transfer-Encoding" => {
                framing = Framing::Chunked;
                (11, text == "chunked" && streamed && ask.is_chunked())
            }
            // That is looked at there.
            _ if gate::is_looked_at(name, setting) => continue,
            _ => return Err(format!("field {:?}", name.escape_ascii().to_string())),
        };
        if !right || seen & 1 << bit != 0 {
            let name = name.escape_ascii();
            return Err(format!("field {name} says {:?}", value.escape_ascii().to_string()));
        }
        seen |= 1 << bit;
    }
    let mut must = 0b1101_1011 | u32::from(ask.filler > 0) << 2 | u32::from(told.is_some()) << 5;
    must |= u32::from(setting.request_ids || ask.own_id) << 8;
    must |= u32::from(offers || !setting.persistent) << 9 | u32::from(offers) << 12;
    must |= match (ask.body.is_some(), streamed && ask.is_chunked()) {
        (true, false) => 1 << 10,
        (true, true) => 1 << 11,
        (false, _) => 0,
    };
    if seen == must { Ok((framing, id)) } else { Err(format!("fields {seen:b}, not {must:b}")) }
}

/// What a client must find in the head that switches protocols.
pub(super) fn switch_head(
    head: &Head<'_>,
    number: u32,
    record: &Record,
    setting: &Setting,
) -> Result<(), Wrong> {
    let Some(reply) = record.reply().filter(|reply| reply.is_switch() && record.said_101) else {
        return Err(format!("101 to {number}, though no server said so"));
    };
    if head.line != b"HTTP/1.1 101 Answer" {
        return Err("its first line".to_owned());
    }
    let mut seen = 0_u32;
    for (name, value) in head.fields() {
        let text = str::from_utf8(value).unwrap_or_default();
        let (bit, right) = match name {
            b"X-Number" => (0, decimal(value) == Some(u64::from(number))),
            b"Connection" => (1, text == "upgrade"),
            b"Upgrade" => (2, text == "websocket"),
            b"Date" => (3, date(text, reply.dated)),
            b"X-Filler" => (4, value.len() == reply.filler as usize && all(value, b'g')),
            b"X-Request-ID" => (5, record.id.as_deref() == Some(value) && setting.request_ids),
            _ => return Err(format!("field {:?}", name.escape_ascii().to_string())),
        };
        if !right || seen & 1 << bit != 0 {
            let name = name.escape_ascii();
            return Err(format!("field {name} says {:?}", value.escape_ascii().to_string()));
        }
        seen |= 1 << bit;
    }
    let must = 0b1111 | u32::from(reply.filler > 0) << 4 | u32::from(setting.request_ids) << 5;
    if seen == must { Ok(()) } else { Err(format!("fields {seen:b}, not {must:b}")) }
}

/// An ID is the client's own, or one of 32 digits.
fn request_id(text: &str, number: u32, own: bool, setting: &Setting) -> bool {
    if own {
        return text == format!("own-{number}");
    }
    let digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    setting.request_ids && text.len() == 32 && text.bytes().all(digit)
}

fn all(bytes: &[u8], of: u8) -> bool {
    bytes.iter().all(|&byte| byte == of)
}

/// What a response's head says to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) framing: Framing,
    /// The connection is kept behind it.
    pub(super) keeps: bool,
}

/// What a client must find in the head of the server's response.
pub(super) fn response_head(
    head: &Head<'_>,
    number: u32,
    record: &Record,
    setting: &Setting,
) -> Result<Told, Wrong> {
    let (Some(ask), Some(reply)) = (record.ask(), record.reply()) else {
        return Err(format!("a server's response to {number}, which is no request"));
    };
    let line = format!("HTTP/1.1 {} Answer", reply.status);
    if head.line != line.as_bytes() {
        return Err(format!("its first line is not {line:?}"));
    }
    let has_body = reply.has_body(ask);
    let coded = has_body && !ask.old && (reply.is_chunked() || reply.is_until_end());
    let more = if let Trouble::Promises(more) = reply.trouble { more } else { 0 };
    let lengths = [reply.length + more, reply.length].map(u64::from);
    let mut seen = 0_u32;
    let mut framing = if has_body { Framing::UntilEnd } else { Framing::Length(0) };
    let mut keeps = !ask.old;
    for (name, value) in head.fields() {
        let text = str::from_utf8(value).unwrap_or_default();
        let (bit, right) = match name {
            b"X-Number" => (0, decimal(value) == Some(u64::from(number))),
            b"Date" => (1, date(text, reply.dated)),
            b"Content-Type" => (2, reply.is_stream() && text == "text/event-stream"),
            b"X-Filler" => (3, value.len() == reply.filler as usize && all(value, b'g')),
            b"Trailer" => (4, coded && reply.has_trailers()),
            b"X-Request-ID" => (5, record.id.as_deref() == Some(value) && setting.request_ids),
            b"Connection" => {
                keeps = text == "keep-alive";
                (6, if keeps { ask.old && ask.keeps } else { text == "close" })
            }
            b"Content-Length" => {
                let length = decimal(value);
                if has_body {
                    framing = Framing::Length(length.unwrap_or(0));
                }
                (7, length.is_some_and(|length| lengths.contains(&length)))
            }
            b"Transfer-Encoding" => {
                framing = Framing::Chunked;
                (8, text == "chunked" && coded)
            }
            _ => return Err(format!("field {:?}", name.escape_ascii().to_string())),
        };
        if !right || seen & 1 << bit != 0 {
            let name = name.escape_ascii();
            return Err(format!("field {name} says {:?}", value.escape_ascii().to_string()));
        }
        seen |= 1 << bit;
    }
    let must = 0b11
        | u32::from(reply.is_stream()) << 2
        | u32::from(reply.filler > 0) << 3
        | u32::from(setting.request_ids) << 5
        | u32::from(coded) << 8;
    let may = 1 << 4 | 1 << 6 | u32::from(!coded) << 7;
    if seen & !may != must {
        return Err(format!("fields {seen:b}, not {must:b}"));
    }
    if has_body && framing == Framing::UntilEnd && keeps {
        return Err("its body has no end".to_owned());
    }
    Ok(Told { framing, keeps })
}

/// A `Date` is the server's own, or of the world's first days.
fn date(text: &str, own: bool) -> bool {
    if own {
        return text == "Thu, 01 Jan 1970 00:00:00 GMT";
    }
    text.len() == 29 && text.ends_with(" GMT") && text.contains(" Nov 2026 ")
}

/// What a client had done and met when something was said to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) now: Instant,
    /// The longest time between two things that it wrote, and the time since the last.
    pub(super) gap: Duration,
    pub(super) pause: Duration,
    /// The longest time for which it read nothing.
    pub(super) stalled: Duration,
    /// When it was last answered, or connected.
    pub(super) since: Instant,
    /// When its connection was accepted, if it was.
    pub(super) accepted: Option<Instant>,
    /// It ended its direction.
    pub(super) ended: bool,
    /// How late it learns of things.
    pub(super) latency: Duration,
    /// It may have been turned away at the door, or expelled.
    pub(super) unwelcome: bool,
    /// Its handshake may have failed.
    pub(super) unsecured: bool,
}

/// How late a worker may notice what happened, beside what it must: it sleeps, and completions
/// come late.
pub(super) const LATE: Duration = Duration::from_millis(300);

/// Deadlines are kept in whole milliseconds.
pub(super) const TICK: Duration = Duration::from_millis(2);

impl Standing {
    /// Whether so much time had passed since then.
    pub(super) fn lasted(&self, since: Instant, length: Duration) -> bool {
        self.now.since(since) + TICK + 2 * self.latency + self.stalled >= length
    }

    /// Whether a client may be closed because it is parked: for too long, or while others wait.
    pub(super) fn may_be_parted(&self, stage: &Stage) -> bool {
        let setting = &stage.setting;
        let full = setting.may_be_crowded() || setting.reclaim_parked;
        full || self.lasted(self.since, setting.timeouts.idle)
    }

    /// Whether anteroom must have noticed by now that this request is there: nobody takes its client for
    /// parked any more. A word about that may have been on its way when this one began.
    fn is_heard(&self, record: &Record, setting: &Setting) -> bool {
        let Some((given, accepted)) = record.given.zip(self.accepted) else { return false };
        // Whoever dozes receives a record slowly.
        let late = setting.takes_up() + 2 * self.latency + self.stalled + TICK;
        let since = given.max(accepted).max(self.since);
        record.arrivals > 0 || (!setting.dozes() && self.now.since(since) > late)
    }

    /// Whether whose connection it is was not said in time, or not at all: nobody is answered then.
    fn is_unknown(&self, record: &Record, setting: &Setting) -> bool {
        let late = self.ended || self.lasted(self.since, setting.timeouts.head);
        setting.balanced && record.complete.is_none() && late
    }

    /// Whether the client was too slow with its request: until that was complete.
    fn is_slow(&self, record: &Record, setting: &Setting) -> bool {
        let Timeouts { head, body_progress, .. } = setting.timeouts;
        let late = 2 * self.latency + TICK + setting.asleep();
        let began = record.began.unwrap_or(self.now);
        let end = record.complete.unwrap_or(self.now);
        let ongoing = if record.complete.is_none() { self.pause } else { Duration::ZERO };
        let took = end.since(began) + late;
        // Whoever dozes receives slowly, too (seed 5200371049).
        let least = setting.door.least_rate;
        let least = least.is_some_and(|least| took >= least.over || setting.dozes());
        least || took >= head || self.gap.max(ongoing) + late >= body_progress
    }
}

/// How much longer than a server was silent that may seem to whoever sent the request: it learns
/// of it late, and reads for a while what its connection holds already.
fn slack(setting: &Setting) -> Duration {
    2 * micros(setting.latency) + TICK + reading(setting.pipe_bytes)
}

/// Whether a request may be refused so.
pub(super) fn may_refuse(
    refusal: Refusal,
    record: &Record,
    stage: &Stage,
    at: Standing,
) -> Result<(), Wrong> {
    let (setting, causes) = (&stage.setting, &stage.book.causes);
    let Timeouts { queue, first_byte, response, .. } = setting.timeouts;
    let began = record.since(at.now);
    let short = causes.short.explains(began);
    let malformed = match &record.what {
        What::Malformed(malformed) => Some(malformed.status),
        What::BadBody(_) => Some(400),
        What::Asked(..) | What::Passed(_) => None,
    };
    let length = record.ask().map_or(0, |ask| u64::from(ask.length()));
    // A server learns of a request, and its answer is learned of, with some delay.
    let asleep = setting.asleep();
    let silence = record.silence_until(at.now) + slack(setting) + asleep;
    let dropped = stage.dropped[record.group].is_some_and(|moment| moment + LATE >= began);
    // Who waits for the disk in vain is told that there is no room.
    let spools = setting.spool.is_some() && length > 0;
    let unreachable = causes.connects.explains(began) || stage.may_be_on_probation(record.group);
    let (right, cause) = match refusal {
        Refusal::Malformed
        | Refusal::Version
        | Refusal::Unsupported
        | Refusal::TargetTooLong
        | Refusal::Misdirected
        | Refusal::HeadTooLarge => {
            let long = refusal == Refusal::HeadTooLarge && gate::may_be_too_long(record, setting);
            (malformed == Some(refusal.status()) || long, "the request was not malformed so")
        }
        Refusal::BodyTooLarge => {
            let streams = setting.stream[record.group];
            let most = if streams { setting.max_body } else { setting.collectable() };
            (length > most, "the body was not too long")
        }
        Refusal::Slow => (at.is_slow(record, setting) || short, "its client was not slow"),
        Refusal::Pressure => (short, "no buffer was waited for"),
        Refusal::Unreachable => (unreachable || dropped, "every connect succeeded"),
        Refusal::BadResponse => {
            // What the client said too early may have found no buffer to be kept in: then nothing is
            // switched. Nobody waits for that one (seed 1200011878).
            let early = record.ask().and_then(|ask| ask.talk.as_ref()).is_some_and(|it| it.early);
            let too_early = record.said_101 && (short || early && setting.is_tight());
            (record.failed || dropped || too_early, "no server failed it")
        }
        Refusal::QueueFull => {
            let most = room::may_wait(record, stage);
            (most >= setting.queue_length, "so many requests there never were")
        }
        Refusal::QueueTimeout => {
            let long = at.lasted(began, queue);
            (long && stage.may_be_busy_for(queue, began), "no server was busy for so long")
        }
        Refusal::Crowded => (setting.may_be_crowded() || short || spools, "there was room"),
        Refusal::Stopping => (stage.is_over(), "nobody stopped, and no drain is over"),
        Refusal::Silent => {
            let silent = silence >= first_byte.min(response);
            (silent || short, "the server was not silent")
        }
        Refusal::Storage => (room::may_be_spooled_full(record, stage), "the spool had room"),
        Refusal::Rate => (may_ask_too_often(record, stage), "its address did not ask so often"),
        Refusal::Unwelcome => {
            let denied = stage.door.may_deny(record.group, record.peer, began);
            (denied && record.is_named(), "whom it is from may be here")
        }
        Refusal::NoCredentials
        | Refusal::BadCredentials
        | Refusal::Forbidden
        | Refusal::Redirected
        | Refusal::AuthorizerFull
        | Refusal::AuthorizerFailed => gate::may_refuse(refusal, record, stage),
        Refusal::PinnedFull => {
            let keeps = |reply: &Reply| reply.is_stream() || reply.is_switch();
            let kept = record.reply().is_none_or(keeps);
            (kept && stage.may_be_pinned_full(record.group), "there was room for one more")
        }
    };
    if right { Ok(()) } else { Err(format!("refused as {}, but {cause}", refusal.label())) }
}

/// Why a client whose request was not answered may be cut off, if it may. `begun`: it had part of
/// the answer.
pub(super) fn may_cut(begun: bool, record: &Record, stage: &Stage, at: Standing) -> Option<Excuse> {
    let (setting, causes) = (&stage.setting, &stage.book.causes);
    let Timeouts { idle, first_byte, write_progress, response, .. } = setting.timeouts;
    if record.failed {
        return Some(Excuse::Server);
    }
    if stage.is_over() {
        return Some(Excuse::Operator);
    }
    // A drain closes who is parked, or took its request for one who is.
    if causes.drained.is_some() && !begun && !at.is_heard(record, setting) {
        return Some(Excuse::Operator);
    }
    if at.unwelcome {
        return Some(Excuse::Door);
    }
    if at.unsecured {
        return Some(Excuse::Handshake);
    }
    if at.is_unknown(record, setting) {
        return Some(Excuse::Slow);
    }
    let streams = setting.stream[record.group] || record.reply().is_some_and(Reply::is_stream);
    if at.ended && (record.complete.is_none() || streams) {
        return Some(Excuse::HalfClosed);
    }
    let silence = record.silence_until(at.now) + slack(setting);
    let advised = record.arrivals == 0 && record.ask().is_some_and(|ask| ask.expects);
    if advised && setting.has_small_pipes() {
        // It had room for half of 100 only.
        return Some(Excuse::NoRoom);
    }
    // As many streams as may be run already, and hints were under way: the stream's head with them.
    if record.reply().is_some_and(|reply| reply.is_stream() && reply.interim > 0) {
        return Some(Excuse::Crowd);
    }
    if record.arrivals > 0 && silence >= first_byte.min(response).min(idle) {
        return Some(Excuse::Silence);
    }
    let stream = record.reply().is_some_and(Reply::is_stream);
    if causes.drained.is_some() && stream && silence >= base::limits::STREAM_GRACE {
        return Some(Excuse::Operator);
    }
    // It may have held a lease that others waited for: see `base::limits::STALL_PATIENCE`.
    let mut patience = write_progress.min(base::limits::STALL_PATIENCE);
    if record.said_101 {
        // In a tunnel nobody may be silent for longer, and its server is waited for.
        patience = patience.min(setting.timeouts.tunnel).min(response);
        // And for less long behind its server's last word (seed 3000048621).
        let [_, server] = record.ends;
        if server.is_some_and(|end| stage.ends[end].ended.is_some()) {
            patience = patience.min(setting.timeouts.half_closed);
        }
    }
    if at.is_slow(record, setting) || at.stalled + TICK >= patience {
        return Some(Excuse::Slow);
    }
    let began = record.since(at.now);
    if causes.disk.explains(began) && setting.spool.is_some() {
        return Some(Excuse::Disk);
    }
    if causes.short.explains(began) {
        return Some(Excuse::Short);
    }
    // Of what comes behind a refusal no more is read (law 9, seed 2100005999).
    let long = record.ask().is_some_and(|ask| ask.length() > base::limits::LINGER_BYTES);
    if record.arrivals == 0 && begun && long {
        return Some(Excuse::Unread);
    }
    if !begun && !at.is_heard(record, setting) && at.may_be_parted(stage) {
        Some(Excuse::Parked)
    } else {
        None
    }
}

/// Whether a connection that is passed through may be cut off though no server was found for it.
pub(super) fn may_turn_away(record: &Record, stage: &Stage, at: Standing) -> Result<(), Wrong> {
    let for_that = [
        Refusal::Unreachable,
        Refusal::QueueFull,
        Refusal::QueueTimeout,
        Refusal::Crowded,
        Refusal::Stopping,
        Refusal::Pressure,
        Refusal::PinnedFull,
    ];
    let may = |refusal: Refusal| may_refuse(refusal, record, stage, at).is_ok();
    let causes = &stage.book.causes;
    // A server may have broken off before it said a word.
    let began = record.since(at.now).min(at.since);
    let dropped = stage.dropped[record.group];
    let left = causes.connects.explains(began)
        || causes.drained.is_some()
        || stage.may_be_on_probation(record.group)
        || dropped.is_some_and(|moment| moment + stage.setting.aftermath() >= began);
    let unknown = stage.setting.balanced && at.lasted(at.since, stage.setting.timeouts.head);
    // Or it ended without saying so, and what it had said went with the reset (seed 5000008176).
    let broke = |end: &End| {
        end.side == Side::Server && end.group == record.group && end.other.is_none() && end.broke
    };
    let broke =
        stage.ends.iter().any(|end| broke(end) && end.ended.is_some_and(|it| it >= at.since));
    // Or it never said a word, and both were silent for as long as they may be (seed 6000025665).
    let Timeouts { tunnel, half_closed, .. } = stage.setting.timeouts;
    let longest = if at.ended { half_closed.min(tunnel) } else { tunnel };
    let silent = at.pause + slack(&stage.setting) + stage.setting.takes_up() >= longest;
    if left
        || broke
        || silent
        || unknown
        || at.unwelcome
        || at.unsecured
        || at.may_be_parted(stage)
        || for_that.into_iter().any(may)
    {
        return Ok(());
    }
    Err("there was a server for it".to_owned())
}

/// Whether a request may reach a server once more.
pub(super) fn may_arrive(record: &Record, setting: &Setting) -> Result<(), Wrong> {
    let Some(ask) = record.ask() else { return Err("it is no request".to_owned()) };
    let complete = record.complete.is_some() || setting.stream[record.group];
    if !complete {
        return Err("its client has not sent all of it".to_owned());
    }
    if record.arrivals == 0 {
        return Ok(());
    }
    if !ask.method.is_idempotent() {
        return Err(format!("{} reaches a server for the second time", ask.method.name()));
    }
    let attempts = setting.policy.retries.attempts.max(2);
    if record.arrivals >= attempts {
        return Err(format!("it reaches a server more than {attempts} times"));
    }
    if record.answered.is_some() {
        return Err("it was answered before".to_owned());
    }
    Ok(())
}

/// Whether these first bytes of a request tell that it must not be sent twice.
pub(super) fn is_unsafe(bytes: &[u8]) -> bool {
    let tells = |method: Method| bytes.starts_with(&method.name().as_bytes()[..2]);
    [Method::Post, Method::Patch].into_iter().any(tells)
}
