//! The door: which addresses may come in, how many connections and requests each may have, how fast
//! a request must come; and what the oracle knows of all that.

use std::net::IpAddr;
use std::time::Duration;

use base::time::Instant;
use proxies::security::{AccessList, LimitRules, Rate, Verdict as Judgement};
use tls::Versions;
use wire::proxy_protocol::Version;
use worker::LeastRate;

use super::book::Record;
use super::checks::is_answer;
use super::client::ADDRESSES;
use super::front::FRONT;
use super::message::Wrong;
use super::oracle::{LATE, TICK};
use super::reply::micros;
use super::setting::Setting;
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;

/// What the door is like; most have none.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// There are lists of who may come, and bans.
    pub lists: bool,
    /// How often the operator changes them, of 256.
    pub restless: u32,
    /// What one address may have.
    pub limits: Option<LimitRules>,
    /// How fast a request must come.
    pub least_rate: Option<LeastRate>,
    /// In which version servers are told whose connection it is, by group.
    pub introduces: Vec<Option<Version>>,
    /// Whose clients speak TLS, and whose servers do, by group.
    pub secured: Vec<[bool; 2]>,
    /// How often somebody does not shake hands, of 256.
    pub garbles: u32,
    /// Which versions of TLS are spoken.
    pub versions: Versions,
}

impl Door {
    pub(super) fn draw(dice: &mut Dice, groups: usize) -> Self {
        let secures = dice.chance(30);
        let versions = [[true, true], [false, true], [true, false]];
        let [tls12, tls13] = if secures { dice.pick(&versions) } else { versions[0] };
        let secured = Self {
            introduces: vec![None; groups],
            secured: (0..groups)
                .map(|_| [secures && dice.chance(200), secures && dice.chance(100)])
                .collect(),
            garbles: if secures { dice.pick(&[0, 20, 100]) } else { 0 },
            versions: Versions { tls12, tls13 },
            ..Self::default()
        };
        if !dice.chance(70) {
            return secured;
        }
        let lists = dice.chance(120);
        let limits = dice.chance(100).then(|| LimitRules {
            connections: dice.pick(&[None, Some(4), Some(1), Some(12)]),
            connection_rate: rate(dice),
            request_rate: rate(dice),
            prefixes: if dice.chance(60) { [24, 64] } else { [32, 64] },
            addresses: 64,
        });
        let least_rate = dice.chance(60).then(|| LeastRate {
            bytes: dice.pick(&[100, 1000, 20_000]),
            over: Duration::from_millis(u64::from(dice.pick(&[1000_u32, 100, 20]))),
        });
        let versions = [None, Some(Version::V1), Some(Version::V2)];
        Self {
            lists,
            restless: if lists { dice.pick(&[32, 8, 100]) } else { 0 },
            limits,
            least_rate,
            introduces: (0..groups).map(|_| dice.pick(&versions)).collect(),
            ..secured
        }
    }

    /// The same network or address, as far as limits tell them apart.
    fn key(&self, address: IpAddr) -> usize {
        let apart = self.limits.is_some_and(|rules| rules.prefixes[0] == 32);
        if apart || address == FRONT { place_of(address) } else { 0 }
    }
}

fn rate(dice: &mut Dice) -> Option<Rate> {
    let period = Duration::from_millis(u64::from(dice.pick(&[1000_u32, 2000, 100])));
    let count = dice.pick(&[20, 3, 1]);
    dice.chance(100).then_some(Rate { count, period })
}

/// Places of addresses: behind those of clients that of a proxy in front, which nobody denies.
const PLACES: usize = ADDRESSES.len() + 1;

fn place_of(address: IpAddr) -> usize {
    ADDRESSES.iter().position(|&other| other == address).unwrap_or(ADDRESSES.len())
}

/// Whom it denies, by address.
pub(super) type Denied = [bool; ADDRESSES.len()];

/// The list that says so.
pub(super) fn list(denied: Denied) -> AccessList {
    let all = ADDRESSES.iter().zip(denied).filter(|(_, denied)| *denied);
    let entries: Vec<_> = all.map(|(&it, _)| (it.into(), Judgement::Deny)).collect();
    AccessList::new(&entries, Judgement::Allow)
}

/// A change of what becomes of an address.
#[derive(Clone, Copy, Debug)]
struct Change {
    denied: bool,
    /// From when on every worker goes by it for sure; not known before all are told.
    sure: Option<Instant>,
}

/// What became of an address at one door, from the beginning on.
#[derive(Debug, Default)]
struct History(Vec<Change>);

impl History {
    fn changes(&mut self, denied: bool) {
        if self.0.last().is_some_and(|last| last.denied) != denied {
            self.0.push(Change { denied, sure: None });
        }
    }

    fn is_told(&mut self, then: Instant) {
        let unsure = self.0.iter_mut().rev().take_while(|change| change.sure.is_none());
        unsure.for_each(|change| change.sure = Some(then));
    }

    /// Whether it was denied by everybody, all the time from `since` until now.
    fn denies_surely(&self, since: Instant) -> bool {
        let last = self.0.last();
        last.is_some_and(|it| it.denied && it.sure.is_some_and(|sure| sure <= since))
    }

    /// Whether somebody may have denied it at some time from `since` until now.
    fn may_deny(&self, since: Instant) -> bool {
        self.0.iter().enumerate().any(|(place, it)| {
            let next = self.0.get(place + 1);
            it.denied && next.is_none_or(|next| next.sure.is_none_or(|sure| sure >= since))
        })
    }
}

/// A connection as the door knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) group: usize,
    pub(super) address: IpAddr,
    /// When it came.
    pub(super) since: Instant,
    /// Whether it was told anything.
    pub(super) heard: bool,
}

/// What one address, or network, had.
#[derive(Debug, Default)]
struct Visitor {
    /// When each connection came, and when it was noticed at the latest that it left.
    stays: Vec<(Instant, Option<Instant>)>,
    /// Connections that were told something, and requests that reached a server, and since when
    /// they came.
    served: Paced,
    asked: Paced,
}

/// How many there were since the first.
#[derive(Debug, Default)]
struct Paced {
    first: Option<Instant>,
    count: u64,
}

impl Paced {
    /// One more; whether that is within a rate, however late each was noticed.
    fn one_more(&mut self, began: Instant, now: Instant, rate: Option<Rate>) -> bool {
        self.count += 1;
        // Who came first may be heard later than others (seed 5200385393).
        let first = self.first.map_or(began, |first| first.min(began));
        self.first = Some(first);
        let Some(rate) = rate else { return true };
        let each = rate.period / rate.count.max(1);
        let passed = now.since(first).as_nanos() / each.as_nanos().max(1);
        u128::from(self.count) <= u128::from(rate.count) + passed + 1
    }
}

/// What the door did, as the oracle knows it.
#[derive(Debug, Default)]
pub(super) struct Porter {
    /// By listener, and by address.
    lists: Vec<[History; PLACES]>,
    bans: [History; PLACES],
    visitors: [Visitor; PLACES],
    /// Connections that may have been turned away by a list or a ban; and those that surely were.
    pub(super) suspects: u64,
    pub(super) turned_away: u64,
    /// Connections that ended and were never told anything.
    pub(super) unheard: u64,
}

impl Porter {
    pub(super) fn new(groups: usize) -> Self {
        Self { lists: (0..groups).map(|_| Default::default()).collect(), ..Self::default() }
    }

    /// The operator tells the workers of another list.
    pub(super) fn lists(&mut self, group: usize, denied: Denied) {
        for (history, denied) in self.lists[group].iter_mut().zip(denied) {
            history.changes(denied);
        }
    }

    /// The operator tells the workers of other bans.
    pub(super) fn bans(&mut self, denied: Denied) {
        for (history, denied) in self.bans.iter_mut().zip(denied) {
            history.changes(denied);
        }
    }

    /// Who is banned.
    pub(super) fn banned(&self) -> Denied {
        std::array::from_fn(|place| self.bans[place].0.last().is_some_and(|it| it.denied))
    }

    /// All workers have their letters, and go by them from then on.
    pub(super) fn is_told(&mut self, then: Instant) {
        let histories = self.lists.iter_mut().flatten().chain(&mut self.bans);
        histories.for_each(|it| it.is_told(then));
    }

    fn histories(&self, group: usize, address: IpAddr) -> [&History; 2] {
        let place = place_of(address);
        [&self.lists[group][place], &self.bans[place]]
    }

    /// Whether an address was denied by everybody all the time since then.
    pub(super) fn denies_surely(&self, group: usize, address: IpAddr, since: Instant) -> bool {
        self.histories(group, address).into_iter().any(|it| it.denies_surely(since))
    }

    /// Whether somebody may have denied an address since then.
    pub(super) fn may_deny(&self, group: usize, address: IpAddr, since: Instant) -> bool {
        self.histories(group, address).into_iter().any(|it| it.may_deny(since))
    }

    /// A connection comes.
    pub(super) fn comes(&mut self, door: &Door, visit: Visit) {
        self.visitors[door.key(visit.address)].stays.push((visit.since, None));
    }

    /// A connection is over; its worker has noticed by then. None: it had not been accepted, and nobody
    /// knows when it will be (seed 5200028005).
    /// `fresh`: it may not have been let in before it left.
    pub(super) fn leaves(
        &mut self,
        door: &Door,
        visit: Visit,
        until: Option<Instant>,
        fresh: bool,
    ) {
        let stays = &mut self.visitors[door.key(visit.address)].stays;
        let own = stays.iter_mut().rev().find(|it| it.0 == visit.since && it.1.is_none());
        if let Some(stay) = own {
            stay.1 = until;
        }
        let denied = self.may_deny(visit.group, visit.address, visit.since);
        self.suspects += u64::from(denied || fresh);
        self.unheard += u64::from(!visit.heard);
    }

    /// Whether a connection may be turned away or cut off at the door.
    pub(super) fn may_turn_away(&self, door: &Door, visit: Visit, late: Duration) -> bool {
        if self.may_deny(visit.group, visit.address, visit.since) {
            return true;
        }
        // The connections of a proxy in front are no address's.
        let counts = !visit.heard && visit.address != FRONT;
        let Some(rules) = door.limits.filter(|_| counts) else { return false };
        let stays = &self.visitors[door.key(visit.address)].stays;
        let here = |from: Instant| {
            let is_here =
                |stay: &&(Instant, Option<Instant>)| stay.1.is_none_or(|until| until >= from);
            stays.iter().filter(is_here).count()
        };
        // Itself among them.
        let crowded = rules.connections.is_some_and(|most| here(visit.since) > most as usize);
        let often = rules.connection_rate.is_some_and(|rate| {
            let window = rate.period + late;
            here(Instant(visit.since.0.saturating_sub(nanos(window)))) > rate.count as usize
        });
        crowded || often
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

impl Setting {
    /// From when all workers have their letters until all go by them.
    pub(super) fn takes_up(&self) -> Duration {
        let late = if self.late > 0 { LATE } else { TICK };
        late + self.asleep()
    }

    /// How long a worker may take to notice that a client left, which was in the middle of something
    /// or not.
    pub(super) fn notices(&self, busy: bool) -> Duration {
        let t = &self.timeouts;
        let all = [t.head, t.body_progress, t.first_byte, t.write_progress, t.connect, t.response];
        let deadlines: Duration = all.into_iter().chain([t.queue, t.tunnel, t.authorize]).sum();
        self.takes_up() + if busy { deadlines } else { Duration::ZERO }
    }
}

/// What reaches a server is not of one who is denied, and not more than a rate allows.
pub(super) fn may_reach(number: u32, stage: &mut Stage) -> Verdict {
    let now = stage.now();
    let setting = &stage.setting;
    let record = stage.book.get(number);
    let slow = setting.takes_up()
        + 2 * micros(setting.latency)
        + super::server::reading(setting.pipe_bytes);
    let since = Instant(now.0.saturating_sub(nanos(slow)));
    // Whom a proxy names is looked up when the head is read, and not again.
    let since = if record.is_named() { since.min(record.since(now)) } else { since };
    if stage.door.denies_surely(record.group, record.peer, since) {
        return wrong("door", format!("request {number} of a denied client reaches a server"));
    }
    least_rate(number, record, stage)?;
    let Some(rules) = setting.door.limits.filter(|_| record.arrivals == 0) else { return Ok(()) };
    let visitor = &mut stage.door.visitors[setting.door.key(record.peer)];
    if visitor.asked.one_more(record.since(now), now, rules.request_rate) {
        return Ok(());
    }
    wrong("door", format!("request {number} is one more of its address than its rate allows"))
}

/// A request that came slower than any may did not come to a server.
fn least_rate(number: u32, record: &Record, stage: &Stage) -> Verdict {
    let setting = &stage.setting;
    let (Some(least), Some(ask)) = (setting.door.least_rate, record.ask()) else { return Ok(()) };
    let (Some(began), Some(complete)) = (record.began, record.complete) else { return Ok(()) };
    let waits = stage.book.causes.short.explains(began) || setting.stream[record.group];
    // Whoever waits in the backlog is not received yet.
    let waits = waits || record.blocked || setting.may_be_crowded();
    // While it is found out whether it may, nobody receives.
    let waits = waits || setting.gate.asks[record.group].is_some();
    // One that is pipelined waits for its turn, and nobody receives it meanwhile.
    // Behind what comes together with the end nobody looks for more (seed 3200143931).
    let ends = setting.habits.half_closes > 0;
    if waits || ends || ask.expects || setting.habits.pipelines > 0 {
        return Ok(());
    }
    let late = setting.asleep() + LATE;
    let passed = complete.since(began).saturating_sub(2 * least.over + late);
    // At most so many bytes: chunks, extensions and fields among them.
    let bytes = 2000 + u64::from(ask.filler) + 40 * u64::from(ask.length());
    if u128::from(least.bytes) * passed.as_millis() / 1000 <= u128::from(bytes) {
        return Ok(());
    }
    wrong("door", format!("request {number} took {passed:?} beyond what its least rate allows"))
}

/// A connection was told something: it is not one that is denied, and not one too many.
pub(super) fn may_hear(visit: Visit, stage: &mut Stage) -> Verdict {
    let (now, setting) = (stage.now(), &stage.setting);
    if setting.balanced {
        // Before it is known who has come, anybody may be told that there is no room.
        return Ok(());
    }
    if stage.door.denies_surely(visit.group, visit.address, visit.since) {
        return wrong("door", format!("a denied client is told something: {visit:?}"));
    }
    let rate = setting.door.limits.and_then(|rules| rules.connection_rate);
    let rate = rate.filter(|_| visit.address != FRONT);
    let visitor = &mut stage.door.visitors[setting.door.key(visit.address)];
    if visitor.served.one_more(visit.since, now, rate) {
        return Ok(());
    }
    wrong("door", format!("one more connection of an address than its rate allows: {visit:?}"))
}

/// Of no address more connections are served than may be.
pub(super) fn no_more_than(visits: impl Iterator<Item = Visit>, stage: &Stage) -> Verdict {
    let door = &stage.setting.door;
    let Some(most) = door.limits.and_then(|rules| rules.connections) else { return Ok(()) };
    let mut here = [0; PLACES];
    for visit in visits.filter(|visit| visit.address != FRONT) {
        let own = &mut here[door.key(visit.address)];
        *own += 1;
        if *own > most {
            return wrong("door", format!("{own} connections of {}, of {most}", visit.address));
        }
    }
    Ok(())
}

/// Whether so many requests of its address may have been counted within the period before this one
/// that it is one too many.
pub(super) fn may_ask_too_often(record: &Record, stage: &Stage) -> bool {
    let door = &stage.setting.door;
    let Some(rate) = door.limits.and_then(|rules| rules.request_rate) else { return false };
    let (now, key) = (stage.now(), door.key(record.peer));
    let window = rate.period + stage.setting.takes_up();
    let from = Instant(record.since(now).0.saturating_sub(nanos(window)));
    let counts = |it: &&Record| {
        // What a client that left had asked may be read later.
        let heard = it.fate.is_some_and(is_answer);
        let over = heard && it.settled.is_some_and(|settled| settled < from);
        it.began.is_some() && door.key(it.peer) == key && !over
    };
    // Itself among them.
    stage.book.records.iter().filter(counts).count() > rate.count as usize
}

/// Reads the header that says whose connection it is, with a reader of its own: its length and the
/// client's address, if it is whole.
pub(super) fn introduction(
    version: Version,
    bytes: &[u8],
    balanced: bool,
) -> Result<Option<(usize, IpAddr)>, Wrong> {
    // The balancer says which port; otherwise the network does.
    let port: u16 = if balanced { 5000 } else { 40_000 };
    let all = ADDRESSES.into_iter().chain([FRONT]);
    let all = all.map(|address| (header(version, address, port), address));
    let fits = |text: &[u8]| text.iter().zip(bytes).all(|(one, other)| one == other);
    let mut fitting = all.filter(|(text, _)| fits(text)).peekable();
    if fitting.peek().is_none() {
        return Err("no header of a client that there is".to_owned());
    }
    let whole = fitting.find(|(text, _)| text.len() <= bytes.len());
    Ok(whole.map(|(text, address)| (text.len(), address)))
}

/// The header as it must be (the specification of the PROXY protocol, §2.1 and §2.2).
fn header(version: Version, address: IpAddr, port: u16) -> Vec<u8> {
    let IpAddr::V4(client) = address else { return Vec::new() };
    if version == Version::V1 {
        return format!("PROXY TCP4 {client} 198.51.100.1 {port} 80\r\n").into_bytes();
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend_from_slice(&client.octets());
    bytes.extend_from_slice(&[198, 51, 100, 1]);
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&80_u16.to_be_bytes());
    bytes
}
