//! Tunnels, and connections that are passed through: two ends, each of which says what only it can
//! say, so that whoever hears a byte knows whose it is and which it must be. What an end may see of
//! the other's leaving is `parting`'s.

use std::net::IpAddr;
use std::time::Duration;

use base::time::Instant;

use super::book::{Excuse, Fate};
use super::channel::Channel;
use super::outbox::{Cut, Outbox};
use super::parting::{Parted, may_break, may_end};
use super::pattern::{Key, stretch};
use super::reply::micros;
use super::setting::Setting;
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;

/// What one end of a tunnel says, and how it leaves.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    /// Bytes that follow its first words; of one that is mute nothing is heard at all.
    length: u32,
    mute: bool,
    /// It speaks before it is told that protocols are switched.
    pub(super) early: bool,
    /// Pauses, by the part of the talk before which they are, in 256ths.
    pauses: Vec<(u32, Duration)>,
    /// It stops listening for that long after so many bytes.
    stalls: Option<(u64, Duration)>,
    leaves: Leaves,
}

/// How an end leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// It ends its direction when it has said everything.
    Ends,
    /// It ends it when the other one has.
    Waits,
    /// It breaks off before that 256th of it.
    Breaks(u32, Cut),
}

/// Most that is said before anybody has agreed to listen.
const EARLY: u32 = 2000;

impl Talk {
    pub(super) fn draw(dice: &mut Dice, setting: &Setting) -> Self {
        let habits = &setting.habits;
        let most = if dice.chance(64) { setting.longest } else { setting.longest.min(2000) };
        let length = dice.length(most);
        let pauses = if dice.chance(100) { dice.between(1, 4) } else { 0 };
        let mut places: Vec<u32> = (0..pauses).map(|_| dice.below(257)).collect();
        places.sort_unstable();
        let pause = |place| (place, micros(dice.length(setting.pause)));
        let pauses = places.into_iter().map(pause).collect();
        let stalls = dice.chance(habits.stalls.max(20)).then(|| {
            (u64::from(dice.length(30_000)), micros(dice.length(setting.pause.saturating_mul(2))))
        });
        let leaves = match dice.weighted(&[6, 6, 3]) {
            0 => Leaves::Ends,
            1 => Leaves::Waits,
            _ => {
                let cut = dice.pick(&[Cut::Close, Cut::Reset, Cut::Vanish]);
                Leaves::Breaks(dice.below(256), cut)
            }
        };
        let early = dice.chance(80);
        Self {
            length: if early { length.min(EARLY) } else { length },
            mute: dice.chance(20),
            early,
            pauses,
            stalls,
            leaves,
        }
    }

    /// A few words, and an end.
    pub(super) const fn plain() -> Self {
        Self {
            length: 77,
            mute: false,
            early: false,
            pauses: Vec::new(),
            stalls: None,
            leaves: Leaves::Ends,
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// One end, as the book knows it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) side: Side,
    pub(super) group: usize,
    /// The request that asked for it; nobody asks to be passed through.
    pub(super) request: Option<u32>,
    /// Where the client is, if it is a client's.
    pub(super) from: Option<IpAddr>,
    /// The other one, once that is known.
    pub(super) other: Option<usize>,
    /// Bytes it has said and heard.
    pub(super) said: u64,
    pub(super) heard: u64,
    /// When its actor put it down.
    pub(super) since: Instant,
    /// When it last did; and when it had spoken before, if it spoke but a moment ago.
    pub(super) spoke: Instant,
    pub(super) before: Instant,
    pub(super) listened: Instant,
    /// The longest time for which it did not listen.
    pub(super) stalled: Duration,
    /// When it ended its direction in order; it broke off.
    pub(super) ended: Option<Instant>,
    pub(super) broke: bool,
    /// It heard the other one's end.
    pub(super) knows: bool,
    /// Its connection was cut off, for that reason, and when: the other one's was, too.
    pub(super) cut: Option<(Excuse, Instant)>,
}

impl End {
    pub(super) const fn new(side: Side, group: usize, request: Option<u32>, now: Instant) -> Self {
        Self {
            side,
            group,
            request,
            from: None,
            other: None,
            said: 0,
            heard: 0,
            since: now,
            spoke: now,
            before: now,
            listened: now,
            stalled: Duration::ZERO,
            ended: None,
            broke: false,
            knows: false,
            cut: None,
        }
    }
}

/// An end as its actor plays it.
#[derive(Debug)]
pub(super) struct Speech {
    /// Which end it is.
    pub(super) me: usize,
    talk: Talk,
    /// Where its words begin in what is written.
    pub(super) base: u64,
    poured: bool,
    /// What it heard until that told whose it is.
    first: Vec<u8>,
    stalls: Option<Instant>,
}

/// An end's first words tell which one it is.
const FIRST: usize = 8;

fn first_words(me: usize) -> [u8; FIRST] {
    let [a, b, c, d] = u32::try_from(me).unwrap_or(u32::MAX).to_be_bytes();
    [0xff, b'e', b'n', b'd', a, b, c, d]
}

impl Speech {
    /// `base`: where its words begin in what its actor writes.
    pub(super) fn new(me: usize, talk: Talk, base: u64) -> Self {
        Self { me, talk, base, poured: false, first: Vec::new(), stalls: None }
    }

    /// Whether it speaks without waiting for a word.
    pub(super) const fn is_early(&self) -> bool {
        self.talk.early
    }

    /// Puts down what it says.
    pub(super) fn pour(&mut self, outbox: &mut Outbox) {
        if std::mem::replace(&mut self.poured, true) {
            return;
        }
        self.base = outbox.end();
        let w = outbox.bytes();
        if !self.talk.mute {
            w.extend_from_slice(&first_words(self.me));
            w.extend_from_slice(stretch(Key::End(self.me), 0, self.talk.length as usize));
        }
        let end = outbox.end();
        let part = |part: u32| self.base + (end - self.base) * u64::from(part) / 256;
        for &(at, length) in &self.talk.pauses {
            outbox.pause(part(at), length);
        }
        match self.talk.leaves {
            Leaves::Ends => outbox.cut(end, Cut::End),
            Leaves::Breaks(at, cut) => outbox.cut(part(at), cut),
            Leaves::Waits => {}
        }
    }

    /// Its actor has written so much.
    pub(super) fn has_written(&self, written: u64, peer: &Channel, stage: &mut Stage) {
        let now = stage.now();
        let end = &mut stage.ends[self.me];
        let said = written.saturating_sub(self.base);
        // What is written to a closed connection was never said.
        if self.poured && said > end.said && !peer.is_closed() {
            if now > end.spoke {
                end.before = end.spoke;
            }
            (end.said, end.spoke) = (said, now);
        }
    }

    /// Until when it does not listen.
    pub(super) fn stalls(&mut self, stage: &mut Stage) -> Option<Instant> {
        let now = stage.now();
        if stage.is_calm() {
            (self.talk.stalls, self.stalls) = (None, None);
        }
        let heard = stage.ends[self.me].heard;
        if let Some((at, length)) = self.talk.stalls
            && heard >= at
        {
            self.talk.stalls = None;
            self.stalls = Some(now + length);
            self.stalled_for(length, stage);
        }
        self.stalls = self.stalls.filter(|&until| now < until);
        self.stalls
    }

    /// It stops listening for that long.
    pub(super) fn stalled_for(&self, length: Duration, stage: &mut Stage) {
        let end = &mut stage.ends[self.me];
        end.stalled = end.stalled.max(length);
    }

    /// Whether it is about to stop listening after less than `most` bytes: then after how many.
    pub(super) fn most(&self, most: usize, stage: &Stage) -> usize {
        let heard = stage.ends[self.me].heard;
        let place = self.talk.stalls.map(|(at, _)| at.saturating_sub(heard).max(1));
        place.map_or(most, |left| most.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// It hears this.
    pub(super) fn hear(&mut self, bytes: &[u8], stage: &mut Stage) -> Verdict {
        if bytes.is_empty() {
            return Ok(());
        }
        let now = stage.now();
        let missing = FIRST.saturating_sub(self.first.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(missing);
        if !first.is_empty() {
            self.first.extend_from_slice(first);
            if self.first.len() == FIRST {
                self.recognises(stage)?;
            }
        }
        let end = &mut stage.ends[self.me];
        let place = end.heard.saturating_sub(FIRST as u64);
        end.heard += bytes.len() as u64;
        end.listened = now;
        let (heard, Some(other)) = (end.heard, end.other) else { return Ok(()) };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if stretch(Key::End(other), place, rest.len()) != rest {
            let text = format!("what end {other} says differs behind byte {place} at {}", self.me);
            return wrong("tunnel", text);
        }
        let said = stage.ends[other].said;
        if heard > said {
            let text = format!("end {} heard {heard} bytes, end {other} said {said}", self.me);
            return wrong("tunnel", text);
        }
        Ok(())
    }

    /// The first words are there: they tell to whom it is joined.
    fn recognises(&self, stage: &mut Stage) -> Verdict {
        let strange = || {
            let heard = self.first.escape_ascii();
            wrong("tunnel", format!("end {} hears {heard} first", self.me))
        };
        let number = self.first.last_chunk().map_or(0, |it| u32::from_be_bytes(*it)) as usize;
        if number >= stage.ends.len() || self.first != first_words(number) {
            return strange();
        }
        let (mine, theirs) = (&stage.ends[self.me], &stage.ends[number]);
        let fits = |it: Option<usize>, other| it.is_none_or(|it| it == other);
        let joined = mine.side != theirs.side
            && mine.group == theirs.group
            && mine.request == theirs.request
            && mine.from.zip(theirs.from).is_none_or(|(mine, theirs)| mine == theirs)
            && fits(mine.other, number)
            && fits(theirs.other, self.me);
        if !joined {
            let text = format!("end {} hears end {number}: {mine:?}, {theirs:?}", self.me);
            return wrong("tunnel", text);
        }
        stage.join(self.me, number);
        Ok(())
    }

    /// Looks how the other one left, if it has. What that is to this one.
    pub(super) fn looks(&self, peer: &Channel, stage: &mut Stage) -> Verdict<Option<Parted>> {
        let parted = if peer.is_reset() {
            may_break(self.me, stage)?
        } else if self.stalls.is_none() && !stage.ends[self.me].knows && peer.has_ended() {
            may_end(self.me, stage)?
        } else {
            return Ok(None);
        };
        let now = stage.now();
        let end = &mut stage.ends[self.me];
        end.knows = true;
        if let Parted::Cut(excuse) = parted {
            end.cut = Some((excuse, now));
        }
        Ok(Some(parted))
    }

    /// All is said: whether it ends its direction now.
    pub(super) fn ends_now(&self, stage: &Stage) -> bool {
        let end = &stage.ends[self.me];
        let waits = self.talk.leaves == Leaves::Waits && !end.knows;
        self.poured && end.ended.is_none() && (!waits || stage.is_calm())
    }

    /// It leaves.
    pub(super) fn leaves(&self, cut: Cut, unread: bool, stage: &mut Stage) {
        let now = stage.now();
        let end = &mut stage.ends[self.me];
        let in_order = cut == Cut::End || (cut == Cut::Close && !unread);
        if in_order {
            end.ended.get_or_insert(now);
        }
        end.broke |= cut != Cut::End;
    }

    /// Whether both ends have ended, as far as this one knows.
    pub(super) fn is_over(&self, stage: &Stage) -> bool {
        let end = &stage.ends[self.me];
        end.knows && end.ended.is_some()
    }

    /// How the exchange ended that was nothing but this: passed through from end to end, or cut.
    pub(super) fn fate(&self, parted: Option<Parted>, stage: &Stage) -> Fate {
        match parted {
            Some(Parted::Cut(excuse)) => Fate::Cut(excuse),
            Some(Parted::Unheard) => Fate::Unheard,
            _ if stage.ends[self.me].other.is_some() => Fate::Passed,
            _ => Fate::Left,
        }
    }
}
