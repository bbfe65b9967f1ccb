//! A server: it takes connections, checks what it is sent, and answers as the book says.

use std::net::IpAddr;
use std::time::Duration;

use base::id::ServerId;
use base::time::Instant;
use wire::proxy_protocol::Version;

use super::book::{Fate, What};
use super::channel::{Channel, Manner};
use super::client::earlier;
use super::deaf::Deaf;
use super::door::{introduction, may_reach};
use super::duties;
use super::gate;
use super::message::{Body, Content, Head};
use super::oracle::{TICK, is_unsafe, may_arrive, request_head};
use super::outbox::{Cut, Outbox, Pace, Wrote};
use super::papers;
use super::pattern::Key;
use super::reply::{Trouble, micros};
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::{Speech, Talk};
use crate::dice::Dice;
use crate::peer::Peer;

/// A server, apart from its connections.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) group: usize,
    pub(super) dice: Dice,
}

/// One connection, from the server's side.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Session {
    pub(super) server: ServerId,
    pub(super) group: usize,
    pub(super) peer: Channel,
    latency: Duration,
    pub(super) pace: Pace,
    pub(super) reads: usize,
    pub(super) inbox: Vec<u8>,
    reading: Reading,
    pub(super) outbox: Outbox,
    /// The request that is being answered, and where its answer begins in what is said.
    pub(super) answers: Option<(u32, u64)>,
    /// The request that was answered last.
    last: Option<u32>,
    /// It closes when everything is written; or then, if nothing comes before.
    closes: bool,
    /// Where a response begins of which more comes than it tells, and whether all of that was said
    /// at once.
    too_much: Option<u64>,
    spent: bool,
    drops: Option<Instant>,
    /// In how many of 256 cases it ends a connection that it kept.
    fickle: u32,
    /// Since when nobody takes what it says, and how much it had said.
    blocked: Option<(u64, Instant)>,
    /// It does not end a connection that we have ended.
    stays: bool,
    /// It ends its direction behind its last answer, and reads no more.
    pub(super) deaf: Deaf,
    /// A stream of events was begun on it.
    pub(super) streams: bool,
    /// Its connection begins with a header that says whose it is, which is awaited.
    awaits_header: Option<Version>,
    /// Whose it is, as the header said.
    introduced: Option<IpAddr>,
    /// Its end of a tunnel.
    pub(super) speech: Option<Speech>,
    pub(super) over: bool,
}

/// How long one that sulks waits for somebody to listen.
const GIVES_UP: Duration = Duration::from_millis(2);

/// How many bytes a server reads at one time, and when it goes on.
const READS: [usize; 4] = [1 << 20, 1 << 20, 3000, 100];
pub(super) const READS_ON: Duration = Duration::from_micros(5);

/// How long a server may take to read so much.
pub(super) fn reading(bytes: usize) -> Duration {
    let times = bytes.div_ceil(READS[READS.len() - 1]);
    READS_ON * u32::try_from(times).unwrap_or(u32::MAX)
}

/// How far the reading of a request is.
#[derive(Debug)]
enum Reading {
    Head(usize),
    Body { number: u32, body: Body },
}

impl Server {
    /// A connection that was just taken.
    pub(super) fn takes(&mut self, peer: Peer, player: u32, stage: &mut Stage) -> Session {
        let setting = &stage.setting;
        let dice = &mut self.dice;
        let slow = dice.chance(setting.habits.slow);
        let peer = if setting.door.secured[self.group][1] {
            let calm = stage.is_calm();
            let manner = if calm { Manner::PLAIN } else { Manner::draw(dice, 0) };
            let mut peer = Channel::answers(peer, &stage.keys.acceptor, manner, stage.now());
            if setting.bounds.sticks {
                peer.sticks();
            }
            peer
        } else {
            Channel::plain(peer)
        };
        peer.play(player);
        stage.world.note(|| format!("server {}: takes {}", self.id.0, peer.number()));
        let mut session = Session {
            server: self.id,
            group: self.group,
            peer,
            latency: micros(dice.below(setting.latency + 1)),
            pace: Pace {
                piece: if slow { dice.pick(&[100_usize, 1, 1000]) } else { usize::MAX },
                gap: micros(if slow { dice.length(setting.pause / 4) } else { 0 }),
            },
            reads: dice.pick(&READS),
            inbox: Vec::new(),
            reading: Reading::Head(0),
            outbox: Outbox::default(),
            answers: None,
            last: None,
            closes: false,
            too_much: None,
            spent: false,
            drops: None,
            fickle: setting.habits.drops,
            blocked: None,
            stays: dice.chance(setting.habits.stays),
            deaf: Deaf::draw(dice, setting.deaf),
            streams: false,
            awaits_header: setting.door.introduces[self.group],
            introduced: None,
            speech: None,
            over: false,
        };
        if stage.setting.serves[self.group].passes() {
            let calm = stage.is_calm();
            let talk = if calm { Talk::plain() } else { Talk::draw(dice, &stage.setting) };
            session.talks(talk, None, stage);
            stage.pins[self.id.index()] += 1;
        }
        session
    }
}

impl Session {
    pub(super) const fn latency(&self) -> Duration {
        self.latency
    }

    /// Whether it is open and nothing is under way on it: whoever leases it holds it too long.
    pub(super) fn is_idle(&self) -> bool {
        // One that has ended behind less than it promised is seen to when its client takes the rest
        // (seed 3400003416).
        let may_lie = matches!(self.deaf, Deaf::Until(_));
        !self.peer.is_closed() && !may_lie && self.has_nothing_under_way()
    }

    /// The end of a tunnel that it is, if it is one, and its connection.
    pub(super) fn end(&self) -> Option<(usize, &Channel)> {
        self.speech.as_ref().map(|speech| (speech.me, &self.peer))
    }

    /// A server that reads nothing while it answers, and would break off later, does so when nobody
    /// takes what it says for a while.
    fn gives_up(&mut self, stage: &Stage) -> Option<Cut> {
        let sulks = self.answers.filter(|_| self.sulks(stage));
        let reply = sulks.and_then(|(number, _)| stage.book.get(number).reply());
        let Some(&Trouble::Breaks(_, cut)) = reply.map(|reply| &reply.trouble) else {
            // It does not look again (seed 5000045498).
            self.blocked = None;
            return None;
        };
        let (now, written) = (stage.now(), self.outbox.written());
        let known = self.blocked.filter(|&(place, _)| place == written);
        let (_, since) = *self.blocked.insert(known.unwrap_or((written, now)));
        (now >= since + GIVES_UP).then_some(cut)
    }

    /// Whether it does not read while it answers: until the last byte, whatever pause comes behind it
    /// (seed 1000006264).
    fn sulks(&self, stage: &Stage) -> bool {
        let reply = self.answers.and_then(|(number, _)| stage.book.get(number).reply());
        !stage.is_calm() && !self.outbox.is_empty() && reply.is_some_and(|reply| reply.sulks)
    }

    fn has_nothing_under_way(&self) -> bool {
        self.answers.is_none()
            && self.outbox.is_empty()
            && self.inbox.is_empty()
            && matches!(self.reading, Reading::Head(_))
            && self.peer.unreceived() == 0
            && self.peer.unread() == 0
            && !self.peer.has_part()
    }

    /// Does what it can. Returns when it wants to act again, whatever happens.
    pub(super) fn act(&mut self, stage: &mut Stage, dice: &mut Dice) -> Verdict<Option<Instant>> {
        let now = stage.now();
        let calm = stage.is_calm();
        if calm {
            self.outbox.calm_down();
            self.peer.calm_down();
        }
        if let Deaf::Until(moment) = self.deaf {
            return Ok(self.stays_deaf(moment, stage));
        }
        let reads = if self.speech.is_some() || self.sulks(stage) { 0 } else { self.reads };
        let count = self.peer.read_into(&mut self.inbox, reads);
        if let Some(version) = self.awaits_header {
            self.header_comes(version, stage)?;
        } else if self.speech.is_none() {
            self.understand(stage)?;
        }
        let shakes = self.shakes_too_long(stage);
        if self.speech.is_some() {
            return Ok(earlier(self.act_in_tunnel(stage)?, shakes));
        }
        if calm {
            // What was just asked is not answered late either.
            self.outbox.hurry();
        }
        let mut again = (self.peer.unread() > 0 && reads > 0).then(|| now + READS_ON);
        again = earlier(again, shakes);
        if count > 0 {
            self.drops = None;
        }
        if let Some(failure) = self.peer.failure() {
            let number = self.peer.number();
            return wrong("handshake", format!("session {number}: {failure:?}"));
        }
        self.is_awaited(stage)?;
        let stays = self.stays && !calm && !self.peer.is_closed();
        if self.peer.is_reset() || (self.peer.has_ended() && !stays) {
            self.leave(stage, Cut::Close);
            return Ok(None);
        }
        let pace = if calm { Pace::FREE } else { self.pace };
        let before = self.outbox.written();
        let wrote = self.outbox.write(&mut self.peer, pace, now);
        if self.outbox.written() > before {
            self.touches(stage);
        }
        if self.too_much.is_some_and(|start| self.outbox.written() > start) {
            // What comes may be taken for an answer to what follows.
            stage.dropped[self.group] = Some(now);
        }
        if let Some(start) = self.too_much
            && before <= start
            && wrote == Wrote::All
            && self.peer.has_sent_all()
        {
            // It was all there when the response was: nobody can have missed it.
            self.spent = true;
        }
        match wrote {
            Wrote::Until(moment) => again = earlier(again, Some(moment)),
            Wrote::Full => {
                if let Some(cut) = self.gives_up(stage) {
                    self.fails(stage);
                    self.leave(stage, cut);
                    return Ok(None);
                }
                again = earlier(again, self.blocked.map(|(_, since)| since + GIVES_UP));
            }
            Wrote::Cut(cut) => {
                self.fails(stage);
                self.leave(stage, cut);
                return Ok(None);
            }
            Wrote::All => {
                again = earlier(again, self.has_written(stage, dice));
                if self.peer.unread() > 0 && !self.over {
                    again = earlier(again, Some(now + READS_ON));
                }
            }
        }
        Ok(again)
    }

    /// A connection is closed in two steps after its last response, so that a server that counts its
    /// connections never sees one too many: our direction ends, then the server's (law 6). Where
    /// connections move, or the process ends, there are more reasons to close one.
    fn is_awaited(&self, stage: &mut Stage) -> Verdict {
        let causes = &stage.book.causes;
        // What was too much of an earlier response may come behind this one.
        let too_much = stage.setting.habits.too_much > 0;
        let ends = causes.drained.is_some() || causes.stopped;
        // Of a request that is lost on the disk nothing may have been sent.
        let lost = causes.disk.explains(stage.now()) && stage.setting.spool.is_some();
        let plain = stage.setting.workers == 1 && !ends && !too_much && !lost;
        if !plain || self.stays || !self.peer.is_closed() || self.peer.is_reset() {
            return Ok(());
        }
        let Some(number) = self.last.filter(|_| self.has_nothing_under_way()) else {
            return Ok(());
        };
        let record = stage.book.get(number);
        let well = record.reply().is_some_and(|reply| reply.trouble == Trouble::None);
        if well && record.fate.is_none_or(|fate| fate == Fate::Answered) {
            // Whether anteroom had read all of it shows when the client has.
            stage.unawaited.push(number);
        }
        duties::parting(stage)
    }

    /// A server is connected when hands are shaken, which may take longer than connecting may: then
    /// the connect has failed. Returns when that will be.
    fn shakes_too_long(&self, stage: &mut Stage) -> Option<Instant> {
        let late = self.peer.began() + stage.setting.timeouts.connect.saturating_sub(TICK);
        if self.peer.is_awaited() && stage.now() < late {
            return Some(late);
        }
        self.leaves_shaking(stage);
        None
    }

    /// It is about to end its direction: if hands are not shaken yet, they never will be.
    pub(super) fn leaves_shaking(&self, stage: &mut Stage) {
        if self.peer.is_awaited() {
            let until = stage.now() + stage.setting.aftermath();
            stage.book.causes.connects.lasts(until);
        }
    }

    /// Everything is written: the connection is kept, dropped, or dropped later.
    fn has_written(&mut self, stage: &mut Stage, dice: &mut Dice) -> Option<Instant> {
        let now = stage.now();
        if let Some((number, start)) = self.answers.take() {
            // One that meant to desert it, and was not quick enough, has said nothing.
            if self.outbox.written() > start {
                stage.book.get_mut(number).answered = Some(now);
            }
            self.lets_go(stage);
            if self.closes {
                // What is unread now will be lost with a reset, and the response perhaps, too. And
                // who does not say that it was all may have been cut off.
                let record = stage.book.get_mut(number);
                let ends = record.ask().zip(record.reply());
                let ends = ends.is_some_and(|(ask, it)| it.is_until_end() && it.has_body(ask));
                record.truncated = ends && !self.peer.is_polite();
                record.failed |= record.truncated || !matches!(self.reading, Reading::Head(_));
                let breaks = self.goes_deaf(stage, dice);
                if breaks.is_none() {
                    self.leave(stage, Cut::Close);
                }
                return breaks;
            }
            if !stage.is_calm() && dice.chance(self.fickle) {
                self.drops = Some(now + micros(dice.length(stage.setting.pause)));
            }
        }
        let moment = self.drops?;
        if now < moment && !stage.is_calm() {
            return Some(moment);
        }
        if self.has_nothing_under_way() {
            self.peer.retires();
        }
        self.leave(stage, Cut::Close);
        None
    }

    /// The server breaks off all its connections.
    pub(super) fn dies(&mut self, stage: &mut Stage, cut: Cut) {
        if !self.over {
            self.fails(stage);
            self.leave(stage, cut);
        }
    }

    /// The server has it no longer.
    pub(super) fn lets_go(&self, stage: &mut Stage) {
        if let Some(reached) = self.last.and_then(|number| stage.book.get(number).reached) {
            stage.longest = stage.longest.max(stage.now().since(reached));
        }
    }

    pub(super) fn leave(&mut self, stage: &mut Stage, cut: Cut) {
        self.lets_go(stage);
        stage.world.note(|| format!("session {}: {cut:?}", self.peer.number()));
        match cut {
            Cut::Reset => self.peer.reset(),
            Cut::Vanish => self.peer.vanish(),
            Cut::End => self.peer.end(),
            // Dropping it closes it.
            Cut::Close => self.peer.says_goodbye(),
        }
        stage.dropped[self.group] = Some(stage.now());
        if let Some(speech) = &self.speech {
            speech.leaves(cut, self.peer.resets_by_closing(), stage);
            self.takes_back(cut, stage);
        }
        if matches!(self.reading, Reading::Head(_)) && is_unsafe(&self.inbox) {
            match number_of(&self.inbox, stage) {
                Some(number) => stage.book.get_mut(number).beginnings += 1,
                None => stage.unsafe_pieces += 1,
            }
        }
        self.over = true;
    }

    /// What it was asked is not answered as it should be.
    pub(super) fn fails(&mut self, stage: &mut Stage) {
        let reading = match &self.reading {
            Reading::Body { number, .. } => Some(*number),
            Reading::Head(_) => None,
        };
        for number in self.answers.map(|it| it.0).into_iter().chain(reading) {
            stage.book.get_mut(number).failed = true;
        }
    }

    /// It does something for the request it has.
    fn touches(&self, stage: &mut Stage) {
        if let Some((number, _)) = self.answers {
            let now = stage.now();
            stage.book.get_mut(number).is_served(now);
        }
    }

    /// Reads what says whose connection it is, if that is whole.
    fn header_comes(&mut self, version: Version, stage: &mut Stage) -> Verdict {
        self.peer.read_into(&mut self.inbox, usize::MAX);
        let balanced = stage.setting.balanced;
        let header = introduction(version, &self.inbox, balanced);
        let header = header.or_else(|text| {
            wrong("introduction", format!("{text}: {}", self.inbox.escape_ascii()))
        })?;
        let Some((length, client)) = header else { return Ok(()) };
        self.inbox.drain(..length);
        (self.awaits_header, self.introduced) = (None, Some(client));
        match &self.speech {
            Some(speech) => stage.ends[speech.me].from = Some(client),
            None => self.understand(stage)?,
        }
        Ok(())
    }

    /// Makes sense of what was read.
    fn understand(&mut self, stage: &mut Stage) -> Verdict {
        let inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while at < inbox.len() && self.speech.is_none() {
            let rest = &inbox[at..];
            match &mut self.reading {
                Reading::Head(seen) => {
                    let Some(length) = Head::length(rest, *seen) else {
                        *seen = rest.len();
                        break;
                    };
                    at += length;
                    self.head_is_there(&rest[..length], stage)?;
                }
                Reading::Body { number, body } => {
                    let number = *number;
                    let read = body.read(rest).or_else(|text| {
                        wrong("request", format!("the body of {number}: {text}"))
                    })?;
                    at += read;
                    let now = stage.now();
                    stage.book.get_mut(number).is_served(now);
                }
            }
            self.body_came(stage)?;
        }
        self.inbox = inbox;
        self.inbox.drain(..at);
        Ok(())
    }

    fn head_is_there(&mut self, text: &[u8], stage: &mut Stage) -> Verdict {
        let head = Head::of(text).or_else(|text| wrong("request", text))?;
        let Some(number) = number_of(head.line, stage) else {
            return wrong(
                "request",
                format!("a request that nobody made: {}", text.escape_ascii()),
            );
        };
        if self.answers.is_some() || !self.outbox.is_empty() {
            // It says more than it was asked for: what follows may be taken for an answer.
            stage.book.get_mut(number).failed = true;
        }
        if self.closes {
            return wrong("request", format!("request {number} on a connection that is closed"));
        }
        if self.spent {
            let text = format!("request {number} where more was said than was asked for");
            return wrong("request", text);
        }
        let record = stage.book.get(number);
        if record.group != self.group {
            return wrong("request", format!("request {number} reaches another group"));
        }
        may_arrive(record, &stage.setting)
            .or_else(|text| wrong("request", format!("request {number}: {text}")))?;
        if self.introduced.is_some_and(|client| client != record.through) {
            let text = format!("request {number} where {:?} was introduced", self.introduced);
            return wrong("introduction", text);
        }
        may_reach(number, stage)?;
        let record = stage.book.get(number);
        let (framing, id) = request_head(&head, number, record, &stage.setting)
            .or_else(|text| wrong("request", format!("the head of request {number}: {text}")))?;
        if record.id.is_some() && record.id != id {
            return wrong("request", format!("request {number} has another ID now"));
        }
        papers::may_reach(&head, stage.book.get(number), &stage.setting)?;
        gate::may_reach(&head, number, stage)?;
        let now = stage.now();
        let record = stage.book.get_mut(number);
        record.is_served(now);
        record.reached = Some(now);
        (record.arrivals, record.id) = (record.arrivals + 1, id);
        self.last = None;
        let content = match record.what {
            // What of it is in order may come.
            What::BadBody(_) => Content::Text(Vec::new()),
            _ => Content::Known(Key::Request(number)),
        };
        let body = Body::new(framing, content);
        self.reading = Reading::Body { number, body };
        Ok(())
    }

    /// Some of the request's body is there, or all of it: perhaps that is enough for an answer.
    fn body_came(&mut self, stage: &mut Stage) -> Verdict {
        let Reading::Body { number, body } = &self.reading else { return Ok(()) };
        let number = *number;
        let record = stage.book.get_mut(number);
        let whole = body.is_whole();
        let (came, trailers) = (body.came, body.trailers.clone());
        if whole {
            record.taken += 1;
            self.reading = Reading::Head(0);
            let length = record.ask().map_or(0, super::ask::Ask::length);
            if came != length as usize || !(trailers.is_empty() || trailers == b"\r\n") {
                return wrong("request", format!("{came} bytes of the body of {number}"));
            }
        }
        let attempt = record.arrivals - 1;
        let What::Asked(ask, reply) = &record.what else {
            if whole {
                return wrong("request", format!("request {number} is malformed and complete"));
            }
            return Ok(());
        };
        let early = reply.early.is_some_and(|early| came >= early as usize);
        // It may have been answered before the end of its body.
        if self.last == Some(number) || !(whole || early) {
            return Ok(());
        }
        let trouble = reply.trouble_at(attempt);
        stage
            .world
            .note(|| format!("session {}: answers {number}: {trouble:?}", self.peer.number()));
        let start = self.outbox.end();
        self.answers = Some((number, start));
        self.closes |= reply.write(ask, number, attempt, &mut self.outbox);
        self.streams |= reply.is_stream();
        stage.pins[self.server.index()] += u32::from(reply.is_stream());
        let talk = reply
            .talk
            .clone()
            .filter(|_| !matches!(trouble, Trouble::Garbage(_) | Trouble::Deserts(_)));
        let fails = !matches!(trouble, Trouble::None | Trouble::TooMuch(_) | Trouble::Silent);
        let speaks_out_of_turn = matches!(trouble, Trouble::TooMuch(_));
        // Who switches before the request is whole reads the rest of it in another protocol.
        record.failed |= fails || (talk.is_some() && !whole);
        self.too_much = speaks_out_of_turn.then_some(start);
        if speaks_out_of_turn {
            stage.dropped[self.group] = Some(stage.now());
        }
        self.last = Some(number);
        if let Some(talk) = talk {
            self.talks(talk, Some(number), stage);
        }
        Ok(())
    }
}

/// Whose request begins so: as soon as its target is whole.
fn number_of(start: &[u8], stage: &Stage) -> Option<u32> {
    let mut words = start.split(|&byte| byte == b' ');
    let target = words.nth(1).filter(|_| words.next().is_some())?;
    let number = target.strip_prefix(b"/").and_then(super::message::decimal)?;
    u32::try_from(number).ok().filter(|&number| number < stage.book.len())
}
