//! One run: the actors of a world and the workers take their turns until nobody has anything to do;
//! then everybody behaves, and what is left must end well.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use base::id::ServerId;
use base::time::Instant;

use super::checks::Checks;
use super::client::{Client, earlier};
use super::desk::{self, Desk};
use super::door::Porter;
use super::house::House;
use super::keys::Keys;
use super::operator::{self, Ending, Event, Happens};
use super::renewal::Renewal;
use super::server::{Server, Session};
use super::setting::Setting;
use super::stage::{Stage, Verdict, wrong};
use super::tally::Tally;
use crate::dice::{Dice, Origin, Recorder};
use crate::weather::Weather;
use crate::world::{World, WorldConfig};

/// The lanes of a tape.
pub(super) const SETTING: usize = 0;
const WEATHER: usize = 1;
const TURNS: usize = 2;
const OPERATOR: usize = 3;
const SERVERS: usize = 4;
const DESK: usize = 15;
const CLIENTS: usize = 16;

/// Players from here on are sessions; below, clients.
pub(super) const SESSIONS: u32 = 1 << 16;

/// Most rounds of one run, and most of one moment in which nothing moves: beyond, somebody turns
/// in circles.
pub(super) const ROUNDS: u64 = 5_000_000;
const ROUNDS_IN_VAIN: u32 = 3000;

/// After so many rounds everybody begins to behave: other seeds have more to tell by then.
const ROUNDS_WILD: u64 = 12_000;

/// The actors and the workers of one run.
pub(super) struct Run {
    pub(super) stage: Stage,
    pub(super) house: House,
    pub(super) clients: Vec<Client>,
    pub(super) servers: Vec<Server>,
    pub(super) sessions: Vec<Option<Session>>,
    /// Places in `sessions` that are free.
    pub(super) vacant: Vec<usize>,
    /// Who acts when, the next one first. Of several entries of one player, the first that comes
    /// counts.
    pub(super) calendar: BinaryHeap<Reverse<(Instant, u32)>>,
    /// When each client and each session acts next.
    pub(super) due: Vec<Option<Instant>>,
    pub(super) session_due: Vec<Option<Instant>>,
    /// Until when each worker sleeps.
    pub(super) sleeps: Vec<Option<Instant>>,
    turns: Dice,
    pub(super) events: std::vec::IntoIter<Event>,
    pub(super) next_event: Option<Event>,
    pub(super) endings: Vec<Ending>,
    /// An order that found a mailbox full, to be given again.
    pub(super) orders: Vec<(u32, Happens)>,
    pub(super) checks: Checks,
    rounds: u64,
}

impl Run {
    pub(super) fn new(origin: &Origin, recorder: Option<&Recorder>, traced: bool) -> Self {
        let dice = |lane| Dice::new(origin, lane, recorder);
        let setting = Setting::draw(&mut dice(SETTING));
        let world = world(&setting, dice(WEATHER));
        if traced {
            println!("{setting:#?}");
            world.trace();
        }
        let keys = Keys::new(setting.door.versions, setting.papers);
        let house = House::new(&setting, &world, &keys);
        let mut events = operator::events(&mut dice(OPERATOR), &setting).into_iter();
        let groups = setting.groups.len();
        let mut stage = Stage {
            world,
            setting,
            book: super::book::Book::default(),
            tally: Tally::of_one(),
            dropped: vec![None; groups],
            door: Porter::new(groups),
            desk: Desk::new(dice(DESK), groups, house.inquiries.clone()),
            keys,
            unsafe_pieces: 0,
            ends: Vec::new(),
            pins: Vec::new(),
            unawaited: Vec::new(),
            longest: Duration::ZERO,
            renewals: vec![Renewal::default(); groups],
            strays_told: 0,
        };
        stage.pins = vec![0; stage.setting.servers().count()];
        let clients = (0..stage.setting.clients)
            .map(|number| Client::new(number, dice(CLIENTS + number as usize), &stage))
            .collect::<Vec<_>>();
        let servers = (0..)
            .zip(stage.setting.servers())
            .map(|(id, (group, _))| Server {
                id: ServerId(id),
                group,
                dice: dice(SERVERS + id as usize),
            })
            .collect();
        let mut run = Self {
            due: vec![None; clients.len()],
            sleeps: vec![None; house.len()],
            turns: dice(TURNS),
            next_event: events.next(),
            events,
            endings: Vec::new(),
            orders: Vec::new(),
            checks: Checks::new(&stage.setting),
            stage,
            house,
            clients,
            servers,
            sessions: Vec::new(),
            vacant: Vec::new(),
            calendar: BinaryHeap::new(),
            session_due: Vec::new(),
            rounds: 0,
        };
        for player in 0..run.stage.setting.clients {
            let start = Duration::from_micros(u64::from(run.turns.below(300)));
            run.schedule(player, run.stage.now() + start);
        }
        run
    }

    /// What it came to so far.
    pub(super) fn came_to(&mut self) -> Tally {
        self.stage.tally.coverage.add(&self.house.what_met());
        std::mem::take(&mut self.stage.tally)
    }

    /// The whole run.
    pub(super) fn play(&mut self) -> Verdict {
        self.until_done(Duration::from_hours(3), ROUNDS_WILD)?;
        self.calm_down();
        let bound = self.bound();
        self.until_done(bound, ROUNDS)?;
        if let Some(client) = self.clients.iter().find(|client| !client.is_done(true)) {
            let text =
                format!("client {}: request {:?} never ends", client.number, client.awaits());
            return wrong("liveness", text);
        }
        if self.stage.book.causes.drained.is_none() && !self.stage.book.causes.stopped {
            self.probe()?;
        }
        self.rest()?;
        if self.stage.book.causes.drained.is_none() && !self.stage.book.causes.stopped {
            desk::all_given_back(&self.stage)?;
        }
        self.close()
    }

    /// How long everything may take once everybody behaves: every deadline once, and what comes
    /// between them.
    fn bound(&self) -> Duration {
        let t = self.stage.setting.timeouts;
        let deadlines = [t.head, t.body_progress, t.first_byte, t.write_progress, t.connect];
        let sum: Duration =
            deadlines.into_iter().chain([t.response, t.queue, t.drain, t.authorize]).sum();
        2 * sum + Duration::from_mins(1)
    }

    /// Lets everybody act until nobody has anything to do, for so long, or for so many rounds.
    pub(super) fn until_done(&mut self, length: Duration, rounds: u64) -> Verdict {
        let end = self.stage.now() + length;
        loop {
            let calm = self.stage.is_calm();
            if self.clients.iter().all(|client| client.is_done(calm)) {
                return Ok(());
            }
            if self.rounds > rounds || !self.step(end)? {
                return Ok(());
            }
        }
    }

    /// Everything that can happen now, then the next moment. False if there is none before `end`.
    pub(super) fn step(&mut self, end: Instant) -> Verdict<bool> {
        let (mut in_vain, mut moved) = (0, self.stage.world.moved());
        while self.round()? {
            let before = std::mem::replace(&mut moved, self.stage.world.moved());
            in_vain = if moved == before { in_vain + 1 } else { 0 };
            self.rounds += 1;
            if in_vain > ROUNDS_IN_VAIN || self.rounds > ROUNDS {
                return wrong("liveness", "the workers turn in circles");
            }
        }
        self.checks.at_rest(&mut self.stage, &self.house, &self.sessions, &self.clients)?;
        let Some(next) = self.next_moment().filter(|&next| next <= end) else { return Ok(false) };
        let now = self.stage.now();
        assert!(next > now, "what is due was done");
        self.stage.world.advance(next.since(now));
        Ok(true)
    }

    /// The next moment at which something happens.
    fn next_moment(&self) -> Option<Instant> {
        let actor = self.calendar.peek().map(|Reverse((moment, _))| *moment);
        let woken = self.sleeps.iter().flatten().min().copied();
        let ending = self.endings.iter().map(|ending| ending.at).min();
        // A worker that sleeps misses its own deadline.
        let awake = (0..self.house.len())
            .filter(|&worker| !self.house.has_ended(worker) && self.sleeps[worker].is_none());
        let deadline = awake.filter_map(|worker| self.stage.world.deadline_of(worker)).min();
        let disk = self.stage.world.disk_due();
        let order = self.orders.first().map(|_| self.stage.now() + Duration::from_millis(1));
        let verdict = self.stage.desk.next_due();
        [woken, ending, deadline, disk, order, verdict].into_iter().fold(actor, earlier)
    }

    /// Whoever is due acts, then the workers turn. False if nobody did.
    fn round(&mut self) -> Verdict<bool> {
        self.happen();
        self.stage.world.do_errands();
        let mut any = self.act()?;
        any |= self.stage.desk.says(self.stage.now());
        let count = self.house.len();
        let first = if count > 1 { self.turns.below(u32::try_from(count).unwrap_or(1)) } else { 0 };
        for step in 0..count {
            let worker = (first as usize + step) % count;
            any |= self.turn(worker)?;
        }
        desk::is_asked(&mut self.stage)?;
        self.take_connections();
        self.hear();
        if any {
            self.checks.after_round(&self.stage, &self.house)?;
            self.read_logs();
        }
        let now = self.stage.now();
        let verdict = self.stage.desk.next_due().is_some_and(|due| due <= now);
        let due = self.calendar.peek().is_some_and(|Reverse((moment, _))| *moment <= now);
        Ok(any || verdict || due)
    }

    fn turn(&mut self, worker: usize) -> Verdict<bool> {
        let now = self.stage.now();
        if self.house.has_ended(worker) || self.sleeps[worker].is_some_and(|until| now < until) {
            return Ok(false);
        }
        self.sleeps[worker] = None;
        if !self.stage.world.is_due(worker) {
            return Ok(false);
        }
        self.house.turn(worker, &self.stage.world)?;
        self.stage.tally.turns += 1;
        if self.house.has_ended(worker) {
            return Ok(true);
        }
        if self.stage.world.is_traced() {
            self.checks.trace(worker, &self.stage, &self.house);
        }
        let [often, most] = self.stage.setting.sleepy;
        if !self.stage.is_calm() && self.turns.chance(often) {
            let length = Duration::from_micros(u64::from(self.turns.below(most)));
            self.sleeps[worker] = Some(now + length);
        }
        Ok(true)
    }

    /// Actors that are due act.
    fn act(&mut self) -> Verdict<bool> {
        let now = self.stage.now();
        let mut any = false;
        while let Some(&Reverse((moment, player))) = self.calendar.peek() {
            if moment > now {
                break;
            }
            self.calendar.pop();
            let due = self.due_of(player);
            if *due != Some(moment) {
                // It acts at another moment, or has.
                continue;
            }
            *due = None;
            any = true;
            let again = match player.checked_sub(SESSIONS) {
                None => self.clients[player as usize].act(&mut self.stage)?,
                Some(place) => self.act_session(place as usize)?,
            };
            if let Some(moment) = again {
                // Nobody acts twice without time passing.
                self.schedule(player, moment.max(now + Duration::from_nanos(500)));
            }
        }
        Ok(any)
    }

    fn act_session(&mut self, place: usize) -> Verdict<Option<Instant>> {
        let Some(session) = &mut self.sessions[place] else { return Ok(None) };
        let server = session.server.index();
        let again = session.act(&mut self.stage, &mut self.servers[server].dice)?;
        if session.over {
            self.sessions[place] = None;
            self.vacant.push(place);
            return Ok(None);
        }
        let flushed = session.peer.flush(self.stage.now());
        Ok(earlier(again, flushed))
    }

    fn due_of(&mut self, player: u32) -> &mut Option<Instant> {
        match player.checked_sub(SESSIONS) {
            None => &mut self.due[player as usize],
            Some(place) => &mut self.session_due[place as usize],
        }
    }

    /// A player acts at that moment, unless it does so earlier.
    pub(super) fn schedule(&mut self, player: u32, moment: Instant) {
        let due = self.due_of(player);
        if due.is_none_or(|due| moment < due) {
            *due = Some(moment);
            self.calendar.push(Reverse((moment, player)));
        }
    }

    /// Tells the players what happened at their connections.
    fn hear(&mut self) {
        let now = self.stage.now();
        let mut heard = Vec::new();
        self.stage.world.stirred(|player| heard.push(player));
        for player in heard {
            let latency = match player.checked_sub(SESSIONS) {
                None => Some(self.clients[player as usize].latency()),
                Some(place) => self.sessions[place as usize].as_ref().map(Session::latency),
            };
            if let Some(latency) = latency {
                self.schedule(player, now + latency);
            }
        }
    }

    /// Servers take the connections that were opened to them.
    fn take_connections(&mut self) {
        for place in 0..self.servers.len() {
            while let Some(peer) = self.stage.world.accept(self.servers[place].id) {
                let vacant = self.vacant.pop().unwrap_or_else(|| {
                    self.sessions.push(None);
                    self.session_due.push(None);
                    self.sessions.len() - 1
                });
                let player = SESSIONS + u32::try_from(vacant).unwrap_or(0);
                self.session_due[vacant] = None;
                let session = self.servers[place].takes(peer, player, &mut self.stage);
                self.sessions[vacant] = Some(session);
            }
        }
    }

    /// The log is read, or not.
    fn read_logs(&mut self) {
        if !self.house.logs.is_empty() && (self.stage.is_calm() || self.turns.chance(30)) {
            self.checks.read_logs(&mut self.house);
        }
    }
}

fn world(setting: &Setting, dice: Dice) -> World {
    let world = World::new(WorldConfig {
        listeners: u32::try_from(setting.groups.len()).unwrap_or(1),
        servers: u32::try_from(setting.servers().count()).unwrap_or(1),
        pipe_bytes: setting.pipe_bytes,
        segments: setting.segments,
    });
    world.set_disk_room(setting.disk_room);
    world.set_weather(Some(Weather {
        dice,
        late: setting.late,
        shuffled: setting.shuffled,
        in_vain: setting.in_vain,
        unwatched: setting.unwatched,
        accepts: setting.accepts,
    }));
    world
}
