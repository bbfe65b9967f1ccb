//! A client: it connects, asks, and misbehaves as its lane says. What is said and heard on one
//! connection is `line`'s.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base::id::ListenerId;
use base::time::Instant;

use super::ask::{Ask, put};
use super::book::{Record, What};
use super::channel::{Channel, Manner};
use super::door::Visit;
use super::front::{FRONT, Way};
use super::gate::Shown;
use super::line::Line;
use super::malformed;
use super::outbox::{Cut, Pace, Wrote};
use super::papers::Faith;
use super::reply::{Reply, micros};
use super::setting::Serves;
use super::stage::{Stage, Verdict};
use super::tunnel::Talk;
use crate::dice::Dice;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    dice: Dice,
    group: usize,
    /// Where it is, or the proxy in front through which it comes.
    address: IpAddr,
    /// Exchanges it may still begin.
    left: u32,
    temper: Temper,
    line: Option<Line>,
    /// How often it was sent away since it was last answered.
    tries: u32,
    /// It stays away until then.
    away: Instant,
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
        let address = ADDRESSES[dice.below(4) as usize];
        let address = if setting.trusts && dice.chance(128) { FRONT } else { address };
        Self {
            number,
            group: dice.below(groups) as usize,
            address,
            left: setting.exchanges / setting.clients,
            dice,
            temper,
            line: None,
            tries: 0,
            away: Instant(0),
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
        probe.address = ADDRESSES[0];
        probe
    }

    /// How long it takes to notice something.
    pub(super) const fn latency(&self) -> Duration {
        self.temper.latency
    }

    /// Whether it has nothing more to do.
    pub(super) fn is_done(&self, calm: bool) -> bool {
        let asks = self.left > 0 && (!calm || self.is_probe);
        !asks && self.line.as_ref().is_none_or(|line| !line.is_busy())
    }

    /// Whether its requests are all answered.
    pub(super) fn awaits(&self) -> Option<u32> {
        self.line.as_ref().and_then(|line| line.awaits.front().copied())
    }

    /// The end of a tunnel that it is, or will be, and its connection.
    pub(super) fn end(&self) -> Option<(usize, &Channel)> {
        let line = self.line.as_ref()?;
        line.speech.as_ref().or(line.offers.as_ref()).map(|speech| (speech.me, &line.peer))
    }

    /// Its connection, if it has one.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.line.as_ref().map(|line| &line.peer)
    }

    /// What begins no record ends its connection.
    pub(super) fn is_heard(&self, stage: &Stage) -> Verdict {
        self.line.as_ref().map_or(Ok(()), |line| line.is_heard(stage))
    }

    /// Does what it can. Returns when it wants to act again, whatever happens.
    pub(super) fn act(&mut self, stage: &mut Stage) -> Verdict<Option<Instant>> {
        let now = stage.now();
        let calm = stage.is_calm();
        if self.line.is_none() {
            if self.is_done(calm) {
                return Ok(None);
            }
            if now < self.away {
                return Ok(Some(self.away));
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
            self.part(stage);
        }
        self.ask_more(stage);
        let Some(line) = &mut self.line else { return Ok(None) };
        let pace = if calm { Pace::FREE } else { self.temper.pace };
        line.looks(stage)?;
        if let Some(cut) = line.peer.breaks_off() {
            line.leave(stage, cut);
            return Ok(self.hang_up(stage));
        }
        let wrote = line.write(stage, pace);
        if wrote == Wrote::All && line.is_idle() {
            line.peer.may_stray(now);
        }
        again = earlier(again, line.peer.flush(now));
        line.completes(stage);
        line.looks(stage)?;
        match wrote {
            Wrote::Until(moment) => again = earlier(again, Some(moment)),
            Wrote::Cut(Cut::End) => line.end(stage),
            Wrote::Cut(cut) => {
                line.leave(stage, cut);
                return Ok(self.hang_up(stage));
            }
            Wrote::All => line.has_said_all(stage),
            Wrote::Full => {}
        }
        if line.is_over(stage) {
            return Ok(self.hang_up(stage));
        }
        Ok(earlier(again, self.thinks))
    }

    /// Gives its connection up, and perhaps comes back.
    fn hang_up(&mut self, stage: &mut Stage) -> Option<Instant> {
        let answered = self.line.as_ref().is_some_and(|line| line.answered);
        self.part(stage);
        self.tries = if answered { 0 } else { self.tries + 1 };
        let causes = &stage.book.causes;
        if causes.drained.is_some() || causes.stopped {
            self.left = 0;
        }
        let pause = self.temper.latency + micros(1 << self.tries.min(20));
        self.away = stage.now() + pause;
        (!self.is_done(stage.is_calm())).then_some(self.away)
    }

    /// Ends its connection in an orderly way.
    pub(super) fn part(&mut self, stage: &mut Stage) {
        if let Some(line) = self.line.take() {
            line.hangs_up(stage);
        }
    }

    /// A handshake that is none ends in time.
    pub(super) fn shakes_in_time(&self, stage: &Stage) -> Verdict {
        self.line.as_ref().map_or(Ok(()), |line| line.shakes_in_time(stage))
    }

    /// So does a record that is begun and not ended.
    pub(super) fn goes_on_in_time(&self, stage: &Stage) -> Verdict {
        self.line.as_ref().map_or(Ok(()), |line| line.goes_on_in_time(stage))
    }

    /// Its connection, if it is one that the door let in.
    pub(super) fn visit(&self) -> Option<Visit> {
        let line = self.line.as_ref()?;
        let here = line.answered && !line.told && line.leaves.is_none();
        (here && !line.peer.is_closed() && !line.peer.is_ended()).then_some(line.visit)
    }

    fn connect(&mut self, stage: &mut Stage) {
        let listener = ListenerId(u32::try_from(self.group).unwrap_or(0));
        let balanced = stage.setting.balanced;
        let from = if balanced { BALANCER } else { self.address };
        let peer = stage.world.connect_from(listener, from);
        stage.world.note(|| format!("client {}: connects as {}", self.number, peer.number()));
        peer.play(self.number);
        let visit =
            Visit { group: self.group, address: self.address, since: stage.now(), heard: false };
        stage.door.comes(&stage.setting.door, visit);
        let mut before = Vec::new();
        if balanced {
            let address = self.address;
            put(&mut before, format_args!("PROXY TCP4 {address} 198.51.100.1 5000 80\r\n"));
        }
        let habits = &stage.setting.habits;
        let calm = stage.is_calm();
        let mut line = if stage.setting.door.secured[self.group][0] {
            let wild = stage.setting.door.garbles;
            let bounds = stage.setting.bounds;
            let manner = if calm {
                Manner::PLAIN
            } else {
                let manner = Manner::draw(&mut self.dice, wild);
                // What is said in a tunnel counts when it is encrypted.
                let manner = match stage.setting.serves[self.group] {
                    Serves::Http => manner
                        .may_drip(&mut self.dice, stage.setting.timeouts.head)
                        .may_stray(&mut self.dice, bounds.strays),
                    _ => manner,
                };
                let manner = manner.may_hoard(&mut self.dice, bounds.hoards);
                if bounds.tight { manner.at_once() } else { manner }
            };
            let plain = calm || self.is_probe;
            let (name, paper) = stage.setting.papers.call(&mut self.dice, plain);
            // Every other one looks closely, where certificates change.
            let looks = bounds.renews > 0 && self.number.is_multiple_of(2);
            let renewal = stage.renewals[self.group];
            let faith = if looks { renewal.certain(stage.now()) } else { Faith::Either };
            let connector = stage.keys.callers.connector(paper, faith);
            let calls = (connector, name);
            let mut channel = Channel::calls(peer, calls, manner, &before, stage.now());
            if bounds.sticks {
                channel.sticks();
            }
            let mut line = Line::new(channel, visit);
            line.paper = paper;
            line
        } else {
            let mut line = Line::new(Channel::plain(peer), visit);
            line.outbox.bytes().append(&mut before);
            line
        };
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
            let within = if stage.setting.sulks > 0 { 300 } else { 30_000 };
            line.stall_at = Some((u64::from(self.dice.length(within)), length));
        }
        self.line = Some(line);
    }

    /// Its connection is passed through: it says what it has to say.
    fn pass(&mut self, stage: &mut Stage) {
        let Some(line) = &mut self.line else { return };
        if self.left == 0 || line.is_busy() || (stage.is_calm() && !self.is_probe) {
            return;
        }
        self.left -= 1;
        let plain = self.is_probe;
        let talk = if plain { Talk::plain() } else { Talk::draw(&mut self.dice, &stage.setting) };
        line.pass(stage, Record::new(What::Passed(talk), self.group, self.address));
    }

    /// Says more, if it may.
    fn ask_more(&mut self, stage: &mut Stage) {
        if stage.setting.serves[self.group].passes() {
            return self.pass(stage);
        }
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
            && !line.is_in_tunnel()
            && (!stage.is_calm() || self.is_probe)
        {
            self.left -= 1;
            let mut what = self::what(&mut self.dice, stage, self.is_probe, self.group);
            if let What::Asked(ask, _) = &mut what
                && stage.setting.trusts
                && !self.is_probe
            {
                ask.way = Some(Way::draw(&mut self.dice, self.address == FRONT));
            }
            let record = Record::new(what, self.group, self.address);
            let record = Record { paper: line.paper, ..record };
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

/// Where clients are.
pub(super) const ADDRESSES: [IpAddr; 4] = [at(1), at(2), at(3), at(4)];

const fn at(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// Where the balancer is.
pub(super) const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// What it says next.
fn what(dice: &mut Dice, stage: &Stage, is_probe: bool, group: usize) -> What {
    let setting = &stage.setting;
    let right = |user| stage.desk.right(group, user);
    if is_probe {
        let shown = Shown::right(&setting.gate, group, right);
        return What::Asked(Ask { shown, ..Ask::plain() }, Reply::plain(77));
    }
    if dice.chance(setting.habits.malformed) {
        let which = dice.below(u32::try_from(malformed::ALL.len() + 4).unwrap_or(1)) as usize;
        let secured = setting.door.secured[group][0];
        let all = malformed::ALL.get(which);
        if let Some(&one) = all.filter(|one| !(secured && one.name == malformed::SCHEME)) {
            return What::Malformed(one);
        }
        let body = Some((0, super::ask::Coding::Chunks { most: 1, odd: false }));
        let shown = Shown::right(&setting.gate, group, right);
        return What::BadBody(Ask {
            method: super::ask::Method::Post,
            body,
            shown,
            ..Ask::plain()
        });
    }
    let mut ask = Ask::draw(dice, setting);
    if setting.gate.is_there() {
        ask.shown = Shown::draw(dice, &setting.gate, group, right);
        ask.forged = setting.gate.forged(dice);
    }
    ask.forged = setting.papers.forged(dice).unwrap_or(ask.forged);
    let reply = Reply::draw(dice, setting, &ask, group);
    What::Asked(ask, reply)
}

/// The earlier of two moments, if there is one.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
