//! A client's connection: what is said on it, what is heard, and how it ends.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::Instant;

use super::book::{Excuse, Fate, Record, What};
use super::channel::Channel;
use super::door::{Visit, may_hear};
use super::expecting::{Expecting, Sight};
use super::malformed;
use super::oracle::{Standing, TICK, may_cut};
use super::outbox::{Cut, Outbox, Pace, Wrote};
use super::papers::Paper;
use super::reading::Reading;
use super::reply::micros;
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::Speech;
use crate::dice::Dice;

/// Its connection.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct Line {
    pub(super) peer: Channel,
    pub(super) outbox: Outbox,
    expecting: Expecting,
    /// Where each request begins and ends in what it says.
    places: VecDeque<(u64, u64, u32)>,
    /// Requests without an answer.
    pub(super) awaits: VecDeque<u32>,
    pub(super) inbox: Vec<u8>,
    reading: Reading,
    /// It leaves when so many bytes were read.
    pub(super) leaves: Option<(u64, Cut)>,
    pub(super) taken: u64,
    /// It reads nothing until then; and the longest time that it ever did not.
    pub(super) stalls: Option<Instant>,
    pub(super) stalled: Duration,
    /// It stops reading for that long after so many bytes.
    pub(super) stall_at: Option<(u64, Duration)>,
    wrote: Instant,
    /// Between its last two writes, and the longest time between any two.
    before: Duration,
    gap: Duration,
    /// When it was last answered, or connected.
    since: Instant,
    /// What it shows of who it is.
    pub(super) paper: Paper,
    /// The connection as the door knows it.
    pub(super) visit: Visit,
    pub(super) answered: bool,
    /// It left in the middle of something.
    was_busy: bool,
    /// It was told that this was the last answer.
    pub(super) told: bool,
    pub(super) ended: bool,
    /// What it will say if protocols are switched; what it says now that they are.
    pub(super) offers: Option<Speech>,
    pub(super) speech: Option<Speech>,
}

impl Line {
    pub(super) fn new(peer: Channel, visit: Visit) -> Self {
        let now = visit.since;
        Self {
            peer,
            outbox: Outbox::default(),
            expecting: Expecting::default(),
            places: VecDeque::new(),
            awaits: VecDeque::new(),
            inbox: Vec::new(),
            reading: Reading::head(),
            leaves: None,
            taken: 0,
            stalls: None,
            stalled: Duration::ZERO,
            stall_at: None,
            wrote: now,
            before: Duration::ZERO,
            gap: Duration::ZERO,
            since: now,
            paper: Paper::Nothing,
            visit,
            answered: false,
            was_busy: false,
            told: false,
            ended: false,
            offers: None,
            speech: None,
        }
    }

    /// Writes a request down.
    pub(super) fn ask(&mut self, stage: &mut Stage, dice: &mut Dice, record: Record) {
        let number = stage.book.enter(record);
        self.outbox.bytes();
        let start = self.outbox.end();
        let secured = self.peer.is_secured();
        match &stage.book.get(number).what {
            What::Asked(ask, _) => {
                let body = ask.write(number, secured, &mut self.outbox);
                if ask.expects {
                    let wait = dice.length(stage.setting.pause);
                    self.outbox.pause(body, micros(wait));
                    self.expecting.asks(number, body);
                }
            }
            What::Malformed(malformed) => malformed.write(self.outbox.bytes()),
            What::Passed(_) => {}
            What::BadBody(ask) => {
                let w = self.outbox.bytes();
                super::ask::put(
                    w,
                    format_args!(
                        "POST /{number} HTTP/1.1\r\nHost: world\r\nX-Number: {number}\r\n"
                    ),
                );
                ask.shown.write(w);
                w.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let which = dice.below(u32::try_from(malformed::CHUNKS.len()).unwrap_or(1));
                w.extend_from_slice(malformed::CHUNKS[which as usize].as_bytes());
            }
        }
        stage.world.note(|| {
            let what = &stage.book.get(number).what;
            format!("connection {} will ask {number}: {what:?}", self.peer.number())
        });
        self.places.push_back((start, self.outbox.end(), number));
        self.awaits.push_back(number);
        self.offer(stage, number);
    }

    /// Writes what it may, and enters into the book which requests began and which are complete.
    pub(super) fn write(&mut self, stage: &mut Stage, pace: Pace) -> Wrote {
        let now = stage.now();
        let before = self.outbox.written();
        let (quiet, drips) = (self.quiet(now), self.peer.drips().is_some());
        let wrote = self.outbox.write(&mut self.peer, pace, now);
        let written = self.outbox.written();
        self.has_written(stage);
        if drips || written > before {
            self.gap = self.gap.max(quiet);
        }
        if written > before {
            self.before = now.since(self.wrote);
            self.wrote = now;
            stage.world.note(|| {
                format!("connection {}: {} bytes come", self.peer.number(), written - before)
            });
        }
        for &(_, _, number) in self.places.iter().take_while(|&&(start, ..)| written > start) {
            let record = stage.book.get_mut(number);
            record.began.get_or_insert(now);
            record.blocked |= wrote == Wrote::Full;
        }
        self.completes(stage);
        wrote
    }

    /// How long it has said nothing that tells how fast it is, if it writes now. Of a record that goes
    /// slowly the header and the tag tell nothing (seed 8000192559).
    fn quiet(&self, now: Instant) -> Duration {
        let before = if self.peer.drips().is_some() { self.before } else { Duration::ZERO };
        before + now.since(self.wrote)
    }

    /// Enters into the book which requests the network has whole.
    pub(super) fn completes(&mut self, stage: &mut Stage) {
        let given = self.outbox.written() - self.peer.under_way() as u64;
        let now = stage.now();
        for &(_, _, number) in self.places.iter().take_while(|&&(start, ..)| given > start) {
            stage.book.get_mut(number).given.get_or_insert(now);
        }
        while let Some((.., number)) = self.places.pop_front_if(|&mut (_, end, _)| given >= end) {
            stage.book.get_mut(number).complete = Some(now);
        }
    }

    /// Looks whether it is told what it expects.
    pub(super) fn looks(&mut self, stage: &Stage) -> Verdict {
        // What it wrote is on its way, too: a record may go slowly.
        let speaks = self.peer.is_accepted() && self.peer.has_sent_all();
        let hears = speaks && self.stalls.is_none() && self.peer.unread() == 0;
        let (written, front) = (self.outbox.written(), self.awaits.front().copied());
        self.expecting.look(Sight { written, front, hears }, stage)
    }

    /// Reads and compares. Returns when it reads on, if not when more comes.
    pub(super) fn read(&mut self, stage: &mut Stage, most: usize) -> Verdict<Option<Instant>> {
        let now = stage.now();
        if let Some((at, length)) = self.stall_at
            && self.taken >= at
        {
            self.stall_at = None;
            self.stalls = Some(now + length);
            self.stalled = self.stalled.max(length);
            if let Some(speech) = &self.speech {
                speech.stalled_for(length, stage);
            }
        }
        if let Some(until) = self.stalls {
            if now < until {
                return Ok(Some(until));
            }
            self.stalls = None;
        }
        let most = match self.leaves {
            Some((at, _)) => most.min(usize::try_from(at.saturating_sub(self.taken)).unwrap_or(0)),
            None => most,
        };
        let most = match self.stall_at {
            Some((at, _)) => most.min(usize::try_from(at - self.taken).unwrap_or(0)).max(1),
            None => most,
        };
        let count = self.peer.read_into(&mut self.inbox, most);
        self.taken += count as u64;
        if count > 0 && !std::mem::replace(&mut self.visit.heard, true) {
            may_hear(self.visit, stage)?;
        }
        self.understand(stage)?;
        let rest = self.peer.unread() > 0;
        Ok(rest.then(|| now + Duration::from_micros(if count > 0 { 5 } else { 1000 })))
    }

    /// Makes sense of what was read.
    fn understand(&mut self, stage: &mut Stage) -> Verdict {
        if self.speech.is_some() {
            return self.hear(stage);
        }
        let standing = self.standing(stage);
        let mut at = 0;
        loop {
            let number = self.awaits.front().copied();
            let came = self.reading.read(&self.inbox[at..], number, stage, standing)?;
            at += came.bytes;
            if came.advised {
                self.outbox.hurry();
                self.expecting.is_told();
            }
            if came.switched {
                self.inbox.drain(..at);
                return self.switches(stage, standing.now);
            }
            let Some(answer) = came.answer else { break };
            self.since = standing.now;
            if let Some(number) = number {
                self.answered = true;
                self.awaits.pop_front();
                stage.settle(number, answer.fate);
            }
            if number.is_some_and(|number| self.spoke_too_early(stage, number)) {
                return Ok(());
            }
            if !answer.keeps {
                self.is_told(stage)?;
                break;
            }
        }
        if self.told && at < self.inbox.len() {
            return wrong("response", "bytes behind the last response of a connection");
        }
        self.inbox.drain(..at);
        Ok(())
    }

    /// No answer follows: whatever else it asked was not heard.
    fn is_told(&mut self, stage: &mut Stage) -> Verdict {
        self.told = true;
        self.outbox.clear();
        self.places.clear();
        for number in std::mem::take(&mut self.awaits) {
            if stage.book.get(number).arrivals > 0 {
                return wrong("response", format!("request {number} was served behind the last"));
            }
            stage.settle(number, Fate::Cut(Excuse::Told));
        }
        Ok(())
    }

    pub(super) fn standing(&self, stage: &Stage) -> Standing {
        let now = stage.now();
        Standing {
            now,
            latency: micros(stage.setting.latency),
            gap: self.gap,
            pause: self.quiet(now),
            stalled: self.stalled,
            since: self.since,
            accepted: self.peer.accepted(),
            ended: self.ended,
            unwelcome: self.may_be_turned_away(stage),
            unsecured: self.may_be_unsecured(stage),
        }
    }

    /// Whether it may be turned away, or cut off, at the door.
    fn may_be_turned_away(&self, stage: &Stage) -> bool {
        let (setting, visit) = (&stage.setting, self.visit);
        stage.door.may_turn_away(&setting.door, visit, setting.takes_up())
    }

    /// Whether its handshake may have failed: it was none, or it took too long, its last word too; or what
    /// it sent behind that was no record.
    fn may_be_unsecured(&self, stage: &Stage) -> bool {
        let over = self.peer.strayed().is_some() || self.is_shown_another();
        if over || self.is_refused(stage) {
            return true;
        }
        if !self.peer.is_awaited() {
            return false;
        }
        let came = self.peer.accepted().unwrap_or_else(|| stage.now());
        let late = stage.now().since(came) + TICK + stage.setting.asleep();
        let none = self.peer.is_shaking() && (self.peer.spoils().is_some() || self.ended);
        none || late >= stage.setting.timeouts.handshake
    }

    /// Whether what it shows will not do: in TLS 1.3 it hears of that when its handshake is over.
    pub(super) fn is_refused(&self, stage: &Stage) -> bool {
        self.peer.is_secured() && stage.setting.papers.refuses(self.paper)
    }

    /// A handshake that is none ends: at once, or within its deadline.
    pub(super) fn shakes_in_time(&self, stage: &Stage) -> Verdict {
        let (Some(spoils), Some(came)) = (self.peer.spoils(), self.peer.accepted()) else {
            return Ok(());
        };
        let over = self.peer.is_ended() || self.peer.is_closed() || self.peer.is_reset();
        let t = &stage.setting.timeouts;
        let most = t.handshake + stage.setting.takes_up();
        let most = if stage.setting.balanced { most + t.head } else { most };
        if over || !self.peer.is_shaking() || stage.now().since(came) <= most {
            return Ok(());
        }
        let number = self.peer.number();
        wrong("handshake", format!("connection {number}: {spoils:?}, and nothing ends it"))
    }

    /// What begins no record ends its connection, as soon as somebody has looked: nobody waits for more.
    pub(super) fn is_heard(&self, stage: &Stage) -> Verdict {
        let Some((since, true)) = self.peer.strayed().and_then(|it| Some((it.since?, it.idle)))
        else {
            return Ok(());
        };
        let over = self.told || self.peer.unread() > 0 || self.peer.is_ended();
        let over = over || self.peer.is_closed() || self.peer.is_reset();
        // Whoever waits for a buffer is not received; nor is anybody after a stop, or to whom something is
        // still said (seed 5200319759).
        let causes = &stage.book.causes;
        let waits = causes.short.explains(since) || causes.stopped || stage.setting.dozes();
        let most = 2 * stage.setting.takes_up();
        if over || waits || stage.now().since(since) <= most {
            return Ok(());
        }
        let connection = self.peer.number();
        wrong("record", format!("connection {connection}: what is no record is waited for"))
    }

    /// Whether it has nothing to say and nothing to hear.
    pub(super) fn is_idle(&self) -> bool {
        let quiet = self.awaits.is_empty() && self.outbox.is_empty() && self.inbox.is_empty();
        quiet && !self.told && !self.ended && self.peer.unread() == 0
    }

    /// A record with which a request begins is whole within the time of a head, or that is the end.
    pub(super) fn goes_on_in_time(&self, stage: &Stage) -> Verdict {
        let Some((since, (&number, t))) =
            self.peer.drips().zip(self.awaits.front().zip(Some(&stage.setting.timeouts)))
        else {
            return Ok(());
        };
        let record = stage.book.get(number);
        let begins = record.began.is_some_and(|began| began >= since.max(self.since));
        // It may be one of the body, behind a head that was written at the same moment (seed 2700048215).
        let body = record.ask().is_some_and(|ask| ask.body.is_some());
        let whole = if body { t.head.max(t.body_progress) } else { t.head };
        let most = whole + 2 * stage.setting.takes_up() + 2 * micros(stage.setting.latency);
        // Whoever waits for a buffer is not received; nor is anybody after a stop.
        let causes = &stage.book.causes;
        let waits = record.complete.is_some() || causes.short.explains(since) || causes.stopped;
        // What it is told may come byte by byte, and be waited for between any two (seed 2400062130).
        let dozes = stage.setting.dozes();
        let told = self.told || self.peer.unread() > 0 || self.peer.is_ended() || dozes;
        let over = told || self.peer.is_closed() || self.peer.is_reset();
        if over || !begins || waits || stage.now().since(since) <= most {
            return Ok(());
        }
        let connection = self.peer.number();
        wrong(
            "record",
            format!("connection {connection}: nothing ends what request {number} begins"),
        )
    }

    /// It is over.
    pub(super) fn hangs_up(self, stage: &mut Stage) {
        let setting = &stage.setting;
        let until = stage.now() + setting.notices(!self.awaits.is_empty() || self.was_busy);
        let came = self.peer.accepted();
        let fresh = came.is_none_or(|came| came + setting.takes_up() >= stage.now());
        stage.door.leaves(&setting.door, self.visit, came.map(|_| until), fresh);
    }

    /// Whether it has read as much as it wanted, and is gone.
    pub(super) fn has_left(&mut self, stage: &mut Stage) -> bool {
        let Some((at, cut)) = self.leaves else { return false };
        if self.taken < at {
            return false;
        }
        self.leave(stage, cut);
        true
    }

    /// It leaves by itself.
    pub(super) fn leave(&mut self, stage: &mut Stage, cut: Cut) {
        stage.world.note(|| format!("connection {}: {cut:?}", self.peer.number()));
        match cut {
            Cut::Reset => self.peer.reset(),
            Cut::Vanish => self.peer.vanish(),
            // Dropping it closes it.
            Cut::End | Cut::Close => self.peer.says_goodbye(),
        }
        self.completes(stage);
        self.was_busy = self.is_busy();
        self.breaks_off(stage, cut);
        for number in std::mem::take(&mut self.awaits) {
            stage.settle(number, Fate::Left);
        }
    }

    /// Whether the other side has ended the connection; if so, whether it might.
    pub(super) fn has_lost(&mut self, stage: &mut Stage, client: u32) -> Verdict<bool> {
        if self.speech.is_some() {
            return self.is_parted(stage);
        }
        let reset = self.peer.is_reset() || self.peer.has_failed();
        if !reset && (self.stalls.is_some() || !self.peer.has_ended()) {
            return Ok(false);
        }
        stage.world.note(|| format!("client {client}: is cut off, reset: {reset}"));
        self.is_turned_away(stage, reset);
        self.is_alerted(stage)?;
        self.is_shown_what_holds(stage)?;
        let standing = self.standing(stage);
        if !reset
            && !self.peer.is_truncated()
            && self.reading.ends(&mut self.awaits, stage, standing)?
        {
            self.is_told(stage)?;
        }
        if self.awaits.is_empty() && !self.told && !self.ended {
            self.may_be_parted(stage, standing)?;
        }
        self.is_cut_off(stage, reset, standing)?;
        Ok(true)
    }

    /// Whoever sent what is no record is told so by an alert (RFC 8446 §6.2).
    fn is_alerted(&self, stage: &mut Stage) -> Verdict {
        if !self.peer.is_stray_taken() || self.peer.is_reset() {
            return Ok(());
        }
        if self.peer.has_failed() && self.is_refused(stage) {
            // For its certificate, perhaps (seed 3300005114).
            return Ok(());
        }
        if self.peer.has_failed() {
            stage.strays_told += 1;
            stage.tally.met("records that are none, told by an alert", 1);
            return Ok(());
        }
        let told = self.told || stage.book.causes.stopped || !self.peer.is_truncated();
        if told {
            return Ok(());
        }
        let connection = self.peer.number();
        wrong("record", format!("connection {connection}: no alert tells that a record is none"))
    }

    /// It was reset before it was told anything, and denied all the time: that is counted.
    fn is_turned_away(&self, stage: &mut Stage, reset: bool) {
        let (visit, causes) = (self.visit, &stage.book.causes);
        let ends = causes.drained.is_some() || causes.stopped;
        if reset && !visit.heard && !ends && !stage.setting.balanced {
            let surely = stage.door.denies_surely(visit.group, visit.address, visit.since);
            stage.door.turned_away += u64::from(surely);
        }
    }

    /// Whether what was not answered may end so. A reset destroys answers that were on their way:
    /// then it is a later request that explains it.
    fn is_cut_off(&mut self, stage: &mut Stage, reset: bool, at: Standing) -> Verdict {
        let mut begun = self.reading.has_begun() || !self.inbox.is_empty();
        let mut lost = Vec::new();
        while let Some(number) = self.awaits.pop_front() {
            let record = stage.book.get(number);
            lost.push(number);
            let Some(excuse) = may_cut(begun, record, stage, at) else {
                let was_heard = record.arrivals > 0 && !self.awaits.is_empty();
                if reset && (was_heard || is_served_behind(stage, &self.awaits)) {
                    begun = false;
                    continue;
                }
                let parted = at.may_be_parted(stage) && self.goes_on(&lost, stage);
                if reset && (self.ends_by_itself(&lost, stage) || parted) {
                    // It went on asking when all was answered and the connection closed, and met a
                    // reset: what it had been told before is lost (RFC 9112 §9.6).
                    lost.extend(self.awaits.drain(..));
                    let told = |number| stage.settle(number, Fate::Cut(Excuse::Told));
                    lost.into_iter().for_each(told);
                    return Ok(());
                }
                let came = self.inbox.escape_ascii();
                return wrong("cut", format!("request {number}, {came}: {record:?} {at:?}"));
            };
            lost.drain(..).for_each(|number| stage.settle(number, Fate::Cut(excuse)));
            if reset && is_served_behind(stage, &self.awaits) {
                begun = false;
                continue;
            }
            break;
        }
        for number in std::mem::take(&mut self.awaits) {
            if stage.book.get(number).arrivals > 0 {
                return wrong(
                    "response",
                    format!("request {number} was served behind one cut off"),
                );
            }
            stage.settle(number, Fate::Unheard);
        }
        Ok(())
    }

    /// Whether the answer to one of these requests, or to one behind them, is the last of the
    /// connection.
    fn ends_by_itself(&self, lost: &[u32], stage: &Stage) -> bool {
        // In a drain each answer is.
        let drained = stage.book.causes.drained.is_some() && self.goes_on(lost, stage);
        let is_last = |&number: &u32| {
            let What::Asked(ask, _) = &stage.book.get(number).what else { return true };
            let long = u64::from(ask.length()) > stage.setting.collectable();
            let advised = ask.expects && stage.setting.has_small_pipes();
            let denied = stage.setting.gate.asks[self.visit.group].is_some() && ask.body.is_some();
            denied || drained || ask.old || !ask.keeps || long || advised
        };
        lost.iter().chain(&self.awaits).any(is_last)
    }

    /// Whether one of these requests was answered, or more was sent with it, another request or the first
    /// words of a tunnel (seed 7000003306): then the answer may be lost with what nobody read behind it.
    fn goes_on(&self, lost: &[u32], stage: &Stage) -> bool {
        let goes_on = |&number: &u32| {
            let record = stage.book.get(number);
            let talk = record.ask().and_then(|ask| ask.talk.as_ref());
            record.answered.is_some() || talk.is_some_and(|talk| talk.early)
        };
        lost.iter().any(goes_on) || lost.len() + self.awaits.len() > 1
    }

    /// Whether a client without a request may be closed.
    fn may_be_parted(&self, stage: &Stage, at: Standing) -> Verdict {
        let causes = &stage.book.causes;
        // A drain lets it come back for a moment.
        let grace = base::limits::DRAIN_GRACE;
        let spared = at.accepted.is_some() && !at.lasted(at.since, grace);
        let ends = stage.is_over() || (causes.drained.is_some() && !spared);
        // Whose connection it is must be said in time (seed 2200013531).
        let setting = &stage.setting;
        let unknown = setting.balanced && at.lasted(at.since, setting.timeouts.head);
        if at.may_be_parted(stage)
            || ends
            || unknown
            || at.unwelcome
            || at.unsecured
            || causes.short.explains(at.since)
        {
            return Ok(());
        }
        wrong("cut", format!("connection {} was parked and closed: {at:?}", self.peer.number()))
    }

    pub(super) fn end(&mut self, stage: &mut Stage) {
        if !std::mem::replace(&mut self.ended, true) {
            self.ends_talk(stage);
            self.peer.end();
            self.completes(stage);
        }
    }

    /// It behaves from now on.
    pub(super) fn calm_down(&mut self, now: Instant) {
        self.outbox.calm_down();
        self.peer.calm_down();
        (self.leaves, self.stall_at) = (None, None);
        if let Some(until) = self.stalls.filter(|&until| now < until) {
            self.stalled = self.stalled.saturating_sub(until.since(now));
            self.stalls = None;
        }
    }
}

/// Whether a request behind has reached a server all the same.
fn is_served_behind(stage: &Stage, awaits: &VecDeque<u32>) -> bool {
    awaits.iter().any(|&next| stage.book.get(next).arrivals > 0)
}
