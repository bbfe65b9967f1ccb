//! A client: it connects, asks, reads, compares, and misbehaves as its lane says.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base::id::ListenerId;
use base::time::Instant;

use super::ask::Ask;
use super::book::{Excuse, Fate, Record, What};
use super::malformed;
use super::oracle::{Standing, may_cut};
use super::outbox::{Cut, Outbox, Pace, Wrote};
use super::reading::Reading;
use super::reply::{Reply, micros};
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;
use crate::peer::Peer;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    dice: Dice,
    group: usize,
    address: IpAddr,
    /// Exchanges it may still begin.
    left: u32,
    temper: Temper,
    line: Option<Line>,
    /// How often it was sent away since it was last answered.
    tries: u32,
    /// Its next word is spoken at that moment.
    thinks: Option<Instant>,
    /// It asks plainly, and wants a plain answer.
    pub(super) is_probe: bool,
}

/// What does not change while it is connected.
#[derive(Clone, Copy, Debug)]
struct Temper {
    pace: Pace,
    latency: Duration,
    /// Most bytes that it reads at one time.
    reads: usize,
    /// Most requests without an answer.
    depth: usize,
}

/// Its connection.
#[derive(Debug)]
struct Line {
    peer: Peer,
    outbox: Outbox,
    /// Where each request begins and ends in what it says.
    places: VecDeque<(u64, u64, u32)>,
    /// Requests without an answer.
    awaits: VecDeque<u32>,
    inbox: Vec<u8>,
    reading: Reading,
    /// It leaves when so many bytes were read.
    leaves: Option<(u64, Cut)>,
    taken: u64,
    /// It reads nothing until then; and the longest time that it ever did not.
    stalls: Option<Instant>,
    stalled: Duration,
    /// It stops reading for that long after so many bytes.
    stall_at: Option<(u64, Duration)>,
    wrote: Instant,
    gap: Duration,
    /// When it was last answered, or connected.
    since: Instant,
    answered: bool,
    /// It was told that this was the last answer.
    told: bool,
    ended: bool,
}

impl Client {
    pub(super) fn new(number: u32, mut dice: Dice, stage: &Stage) -> Self {
        let setting = &stage.setting;
        let habits = &setting.habits;
        let groups = u32::try_from(setting.groups.len()).unwrap_or(1);
        let dribbles = dice.chance(habits.dribbles.saturating_mul(2));
        let pace = Pace {
            piece: if dribbles { dice.pick(&[100_usize, 1, 7, 1000]) } else { usize::MAX },
            gap: micros(if dribbles { dice.length(setting.pause / 4) } else { 0 }),
        };
        let temper = Temper {
            pace,
            latency: micros(dice.below(setting.latency + 1)),
            reads: dice.pick(&[1_usize << 20, 1 << 20, 5000, 300]),
            depth: if dice.chance(habits.pipelines.saturating_mul(2)) { 6 } else { 1 },
        };
        let last = u8::try_from(dice.below(4)).unwrap_or(0);
        Self {
            number,
            group: dice.below(groups) as usize,
            address: Ipv4Addr::new(192, 0, 2, last + 1).into(),
            left: setting.exchanges / setting.clients,
            dice,
            temper,
            line: None,
            tries: 0,
            thinks: None,
            is_probe: false,
        }
    }

    /// One that asks once, plainly, when everything has calmed down.
    pub(super) fn probe(number: u32, dice: Dice, stage: &Stage, group: usize) -> Self {
        let mut probe = Self::new(number, dice, stage);
        probe.temper =
            Temper { pace: Pace::FREE, latency: Duration::ZERO, reads: 1 << 20, depth: 1 };
        (probe.group, probe.left, probe.is_probe) = (group, 1, true);
        probe
    }

    /// How long it takes to notice something.
    pub(super) const fn latency(&self) -> Duration {
        self.temper.latency
    }

    /// Whether it has nothing more to do.
    pub(super) fn is_done(&self, calm: bool) -> bool {
        let asks = self.left > 0 && (!calm || self.is_probe);
        !asks && self.line.as_ref().is_none_or(|line| line.awaits.is_empty())
    }

    /// Whether its requests are all answered.
    pub(super) fn awaits(&self) -> Option<u32> {
        self.line.as_ref().and_then(|line| line.awaits.front().copied())
    }

    /// Does what it can. Returns when it wants to act again, whatever happens.
    pub(super) fn act(&mut self, stage: &mut Stage) -> Verdict<Option<Instant>> {
        let now = stage.now();
        let calm = stage.is_calm();
        if self.line.is_none() {
            if self.is_done(calm) {
                return Ok(None);
            }
            self.connect(stage);
        }
        let Some(line) = &mut self.line else { return Ok(None) };
        if calm {
            line.calm_down(now);
        }
        let mut again = line.read(stage, self.temper.reads)?;
        if line.has_left(stage) || line.has_lost(stage, self.number)? {
            return Ok(self.hang_up(stage));
        }
        if calm && self.is_done(calm) && stage.setting.may_be_crowded() {
            // Others may wait for its place.
            self.part();
        }
        self.ask_more(stage);
        let Some(line) = &mut self.line else { return Ok(None) };
        let pace = if calm { Pace::FREE } else { self.temper.pace };
        match line.write(stage, pace) {
            Wrote::Until(moment) => again = earlier(again, Some(moment)),
            Wrote::Cut(Cut::End) => line.end(),
            Wrote::Cut(cut) => {
                line.leave(stage, cut);
                return Ok(self.hang_up(stage));
            }
            Wrote::All | Wrote::Full => {}
        }
        Ok(earlier(again, self.thinks))
    }

    /// Gives its connection up, and perhaps comes back.
    fn hang_up(&mut self, stage: &Stage) -> Option<Instant> {
        let answered = self.line.take().is_some_and(|line| line.answered);
        self.tries = if answered { 0 } else { self.tries + 1 };
        let causes = &stage.book.causes;
        if causes.drained.is_some() || causes.stopped {
            self.left = 0;
        }
        let pause = self.temper.latency + micros(1 << self.tries.min(20));
        (!self.is_done(stage.is_calm())).then(|| stage.now() + pause)
    }

    /// Ends its connection in an orderly way.
    pub(super) fn part(&mut self) {
        self.line = None;
    }

    fn connect(&mut self, stage: &Stage) {
        let listener = ListenerId(u32::try_from(self.group).unwrap_or(0));
        let peer = stage.world.connect_from(listener, self.address);
        stage.world.note(|| format!("client {}: connects as {}", self.number, peer.number()));
        peer.play(self.number);
        let mut line = Line::new(peer, stage.now());
        let habits = &stage.setting.habits;
        let calm = stage.is_calm();
        if !calm && self.dice.chance(habits.leaves) {
            let cut = self.dice.pick(&[Cut::Close, Cut::Reset, Cut::Vanish]);
            let place = u64::from(self.dice.length(30_000));
            if self.dice.chance(128) {
                line.outbox.cut(place, cut);
            } else {
                line.leaves = Some((place, cut));
            }
        }
        if !calm && self.dice.chance(habits.stalls) {
            let length = micros(self.dice.length(stage.setting.pause.saturating_mul(2)));
            line.stall_at = Some((u64::from(self.dice.length(30_000)), length));
        }
        self.line = Some(line);
    }

    /// Says more, if it may.
    fn ask_more(&mut self, stage: &mut Stage) {
        let now = stage.now();
        if let Some(moment) = self.thinks {
            if now < moment && !stage.is_calm() {
                return;
            }
            self.thinks = None;
        }
        let Some(line) = &mut self.line else { return };
        let habits = stage.setting.habits;
        while self.left > 0
            && line.awaits.len() < self.temper.depth
            && !line.told
            && !line.ended
            && (!stage.is_calm() || self.is_probe)
        {
            self.left -= 1;
            let record =
                Record::new(what(&mut self.dice, stage, self.is_probe), self.group, self.address);
            line.ask(stage, &mut self.dice, record);
            if self.is_probe {
                break;
            }
            if self.dice.chance(habits.half_closes) {
                line.outbox.cut(line.outbox.end(), Cut::End);
                break;
            }
            if self.dice.chance(habits.thinks) {
                self.thinks = Some(now + micros(self.dice.length(stage.setting.pause)));
                break;
            }
        }
    }
}

/// What it says next.
fn what(dice: &mut Dice, stage: &Stage, is_probe: bool) -> What {
    if is_probe {
        return What::Asked(Ask::plain(), Reply::plain(77));
    }
    let setting = &stage.setting;
    if dice.chance(setting.habits.malformed) {
        let which = dice.below(u32::try_from(malformed::ALL.len() + 4).unwrap_or(1)) as usize;
        if let Some(&one) = malformed::ALL.get(which) {
            return What::Malformed(one);
        }
        let body = Some((0, super::ask::Coding::Chunks { most: 1, odd: false }));
        return What::BadBody(Ask { method: super::ask::Method::Post, body, ..Ask::plain() });
    }
    let ask = Ask::draw(dice, setting);
    let reply = Reply::draw(dice, setting, &ask);
    What::Asked(ask, reply)
}

impl Line {
    fn new(peer: Peer, now: Instant) -> Self {
        Self {
            peer,
            outbox: Outbox::default(),
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
            gap: Duration::ZERO,
            since: now,
            answered: false,
            told: false,
            ended: false,
        }
    }

    /// Writes a request down.
    fn ask(&mut self, stage: &mut Stage, dice: &mut Dice, record: Record) {
        let number = stage.book.enter(record);
        self.outbox.bytes();
        let start = self.outbox.end();
        match &stage.book.get(number).what {
            What::Asked(ask, _) => {
                let body = ask.write(number, &mut self.outbox);
                if ask.expects {
                    let wait = dice.length(stage.setting.pause);
                    self.outbox.pause(body, micros(wait));
                }
            }
            What::Malformed(malformed) => malformed.write(self.outbox.bytes()),
            What::BadBody(_) => {
                let w = self.outbox.bytes();
                super::ask::put(
                    w,
                    format_args!(
                        "POST /{number} HTTP/1.1\r\nHost: world\r\nX-Number: {number}\r\n\
                         Transfer-Encoding: chunked\r\n\r\n"
                    ),
                );
                let which = dice.below(u32::try_from(malformed::CHUNKS.len()).unwrap_or(1));
                w.extend_from_slice(malformed::CHUNKS[which as usize].as_bytes());
            }
        }
        self.places.push_back((start, self.outbox.end(), number));
        self.awaits.push_back(number);
    }

    /// Writes what it may, and enters into the book which requests began and which are complete.
    fn write(&mut self, stage: &mut Stage, pace: Pace) -> Wrote {
        let now = stage.now();
        let before = self.outbox.written();
        let wrote = self.outbox.write(&self.peer, pace, now);
        let written = self.outbox.written();
        if written > before {
            self.gap = self.gap.max(now.since(self.wrote));
            self.wrote = now;
            stage.world.note(|| {
                format!("connection {}: {} bytes come", self.peer.number(), written - before)
            });
        }
        while let Some(&(start, end, number)) = self.places.front()
            && written > start
        {
            let record = stage.book.get_mut(number);
            record.began.get_or_insert(now);
            if written < end {
                break;
            }
            record.complete = Some(now);
            self.places.pop_front();
        }
        wrote
    }

    /// Reads and compares. Returns when it reads on, if not when more comes.
    fn read(&mut self, stage: &mut Stage, most: usize) -> Verdict<Option<Instant>> {
        let now = stage.now();
        if let Some((at, length)) = self.stall_at
            && self.taken >= at
        {
            self.stall_at = None;
            self.stalls = Some(now + length);
            self.stalled = self.stalled.max(length);
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
        self.understand(stage)?;
        let rest = self.peer.unread() > 0;
        Ok(rest.then(|| now + Duration::from_micros(if count > 0 { 5 } else { 1000 })))
    }

    /// Makes sense of what was read.
    fn understand(&mut self, stage: &mut Stage) -> Verdict {
        let standing = self.standing(stage);
        let mut at = 0;
        loop {
            let number = self.awaits.front().copied();
            let came = self.reading.read(&self.inbox[at..], number, stage, standing)?;
            at += came.bytes;
            if came.advised {
                self.outbox.hurry();
            }
            let Some(answer) = came.answer else { break };
            (self.since, self.answered) = (standing.now, true);
            if let Some(number) = number {
                self.awaits.pop_front();
                stage.settle(number, answer.fate);
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

    fn standing(&self, stage: &Stage) -> Standing {
        let now = stage.now();
        Standing {
            now,
            latency: micros(stage.setting.latency),
            gap: self.gap.max(now.since(self.wrote)),
            stalled: self.stalled,
            since: self.since,
            ended: self.ended,
        }
    }

    /// Whether it has read as much as it wanted, and is gone.
    fn has_left(&mut self, stage: &mut Stage) -> bool {
        let Some((at, cut)) = self.leaves else { return false };
        if self.taken < at {
            return false;
        }
        self.leave(stage, cut);
        true
    }

    /// It leaves by itself.
    fn leave(&mut self, stage: &mut Stage, cut: Cut) {
        stage.world.note(|| format!("connection {}: {cut:?}", self.peer.number()));
        match cut {
            Cut::Reset => self.peer.reset(),
            Cut::Vanish => self.peer.vanish(),
            // Dropping it closes it.
            Cut::End | Cut::Close => {}
        }
        for number in std::mem::take(&mut self.awaits) {
            stage.settle(number, Fate::Left);
        }
    }

    /// Whether the other side has ended the connection; if so, whether it might.
    fn has_lost(&mut self, stage: &mut Stage, client: u32) -> Verdict<bool> {
        let reset = self.peer.is_reset();
        if !reset && (self.stalls.is_some() || !self.peer.has_ended()) {
            return Ok(false);
        }
        stage.world.note(|| format!("client {client}: is cut off, reset: {reset}"));
        let standing = self.standing(stage);
        if !reset && self.reading.ends(&mut self.awaits, stage, standing)? {
            self.is_told(stage)?;
        }
        if self.awaits.is_empty() && !self.told && !self.ended {
            self.may_be_parted(stage, standing)?;
        }
        self.is_cut_off(stage, reset, standing)?;
        Ok(true)
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
                if reset && record.arrivals > 0 && !self.awaits.is_empty() {
                    begun = true;
                    continue;
                }
                return wrong("cut", format!("request {number}: {record:?} {at:?}"));
            };
            lost.drain(..).for_each(|number| stage.settle(number, Fate::Cut(excuse)));
            if reset && record_is_served_behind(stage, &self.awaits) {
                begun = true;
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

    /// Whether a client without a request may be closed.
    fn may_be_parted(&self, stage: &Stage, at: Standing) -> Verdict {
        let setting = &stage.setting;
        let causes = &stage.book.causes;
        let idle = at.lasted(self.since, setting.timeouts.idle);
        let full = setting.may_be_crowded();
        let ends = causes.drained.is_some() || causes.stopped;
        if idle || ends || full || causes.short || setting.reclaim_parked {
            return Ok(());
        }
        wrong("cut", format!("connection {} was parked and closed: {at:?}", self.peer.number()))
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.peer.end();
        }
    }

    /// It behaves from now on.
    fn calm_down(&mut self, now: Instant) {
        self.outbox.calm_down();
        (self.leaves, self.stall_at) = (None, None);
        if let Some(until) = self.stalls.filter(|&until| now < until) {
            self.stalled = self.stalled.saturating_sub(until.since(now));
            self.stalls = None;
        }
    }
}

/// Whether the next request that was not answered has reached a server all the same.
fn record_is_served_behind(stage: &Stage, awaits: &VecDeque<u32>) -> bool {
    awaits.front().is_some_and(|&next| stage.book.get(next).arrivals > 0)
}

/// The earlier of two moments, if there is one.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
