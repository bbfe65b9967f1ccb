//! The bus against an adversary: one to four workers in one thread, virtual time, letters that
//! are late and overtake each other, connects, leases and idle connections that fail as a seed
//! says. What is checked stands in `checks`, the runs in `runs`.

mod checks;
mod pins;
mod runs;
mod threads;

use alloc::collections::{BTreeMap, BinaryHeap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;
use std::vec;

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::time::Instant;

use crate::bus::{Bus, Failure};
use crate::decide::Decision;
use crate::group::GroupConfig;
use crate::handover::Travelling;
use crate::shared::Shared;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// A small generator: every run is its seed's.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn number(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(u64::from(bound))).unwrap()
    }

    fn one_of<const N: usize>(&mut self, choices: [u64; N]) -> u64 {
        choices[self.number(u32::try_from(N).unwrap()) as usize]
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What goes wrong, and how often, in percent.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    refused: u64,
    timed_out: u64,
    busy: u64,
    idle_ends: u64,
    breaks: u64,
    lost_letters: u64,
    no_buffers: u64,
    pins: u64,
    crashes: u64,
    withdrawals: u64,
}

/// What happens at some moment, to some worker of some life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives { group: u32 },
    Withdraws { serial: u64 },
    ConnectEnds { serial: u64 },
    LeaseEnds { serial: u64 },
    Pins { serial: u64 },
    PinEnds { serial: u64 },
    IdleEnds { serial: u64 },
    Noticed { serial: u64 },
    ReallyClosed { serial: u64 },
    Letter { from: u32 },
    Buffers,
    Crash,
    Reborn,
    Wake,
}

/// When, after how many others, to which worker and which life of it.
type Due = (u64, u64, u32, u64, Event);

#[derive(Debug)]
enum Letter {
    Nudge(GroupId),
    Carried(Travelling, Socket),
}

/// A connection as the world knows it.
#[derive(Clone, Debug)]
struct Socket {
    serial: u64,
    server: u32,
    used: bool,
    dead: bool,
    what: Doing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Connecting { since: Instant },
    Idle,
    Leased(ExchangeId),
    Pinned(ExchangeId),
    Closing,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    exchange: ExchangeId,
    serial: u64,
    group: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Queues {
    again: VecDeque<Request>,
    returned: VecDeque<Request>,
    rest: VecDeque<Request>,
}

impl Queues {
    fn all(&self) -> impl Iterator<Item = &Request> {
        self.again.iter().chain(&self.returned).chain(&self.rest)
    }

    fn ordinary(&self) -> usize {
        self.returned.len() + self.rest.len()
    }

    fn remove(&mut self, exchange: ExchangeId) {
        for queue in [&mut self.again, &mut self.returned, &mut self.rest] {
            queue.retain(|request| request.exchange != exchange);
        }
    }
}

#[derive(Debug)]
struct Worker {
    bus: Option<Bus>,
    life: u64,
    sockets: BTreeMap<ConnectionId, Socket>,
    queues: Vec<Queues>,
    leased: BTreeMap<ExchangeId, Request>,
    may_lease: bool,
    wake: Option<Instant>,
    /// The first attempt to each server that failed since its last success, by its beginning.
    refused: Vec<Option<Instant>>,
}

impl Worker {
    fn free_exchange(&self) -> Option<ExchangeId> {
        let taken = |id: &ExchangeId| {
            self.leased.contains_key(id)
                || self.queues.iter().flat_map(Queues::all).any(|other| other.exchange == *id)
        };
        (0..EXCHANGES).map(ExchangeId).find(|id| !taken(id))
    }

    fn socket(&self, serial: u64) -> Option<(ConnectionId, &Socket)> {
        let found = self.sockets.iter().find(|(_, socket)| socket.serial == serial);
        found.map(|(&id, socket)| (id, socket))
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(|queues| queues.all().count()).sum()
    }
}

const EXCHANGES: u32 = 64;
const QUEUE: u32 = 24;
/// A mark in a leased request's number: its connection was fresh.
const FRESH: u64 = 1 << 63;

/// How long things take.
#[derive(Clone, Copy, Debug)]
struct Pace {
    connect: u64,
    lease: u64,
    letter: u64,
    close: u64,
    /// Whether each takes any time up to that, or exactly that.
    exact: bool,
}

struct World {
    dice: Dice,
    pace: Pace,
    faults: Faults,
    configs: Vec<GroupConfig>,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Letters from each worker to each, in order.
    letters: BTreeMap<(u32, u32), VecDeque<Letter>>,
    events: BinaryHeap<Reverse<Due>>,
    serial: u64,
    now: Instant,
    /// Connections that are really open, by server.
    open: Vec<u32>,
    served: u64,
    failed: u64,
    /// Nudges, against what happened.
    nudges: u64,
    happened: u64,
    longest_wait: Duration,
    /// Every request that ends is followed by another.
    closed_loop: bool,
}

impl World {
    fn new(seed: u64, workers: u32, configs: Vec<GroupConfig>, pace: Pace) -> Self {
        let shared = Shared::new(workers, &configs);
        let servers = configs.iter().map(|config| config.servers.len()).sum();
        let mut world = Self {
            dice: Dice::new(seed),
            pace,
            faults: Faults::default(),
            workers: Vec::new(),
            letters: BTreeMap::new(),
            events: BinaryHeap::new(),
            serial: 0,
            now: Instant(MILLI),
            open: vec![0; servers],
            served: 0,
            failed: 0,
            nudges: 0,
            happened: 0,
            longest_wait: Duration::ZERO,
            closed_loop: false,
            configs,
            shared,
        };
        for worker in 0..workers {
            let bus = world.bus(worker);
            world.workers.push(Worker {
                bus: Some(bus),
                life: 0,
                sockets: BTreeMap::new(),
                queues: world.configs.iter().map(|_| Queues::default()).collect(),
                leased: BTreeMap::new(),
                may_lease: true,
                wake: None,
                refused: vec![None; servers],
            });
            world.after(worker, 0, Event::Wake);
        }
        world
    }

    /// A bus without its safety net: what it is told must be enough.
    fn bus(&self, worker: u32) -> Bus {
        let shared = Arc::clone(&self.shared);
        let mut bus = Bus::new(shared, WorkerId(worker), &self.configs, EXCHANGES);
        bus.look_again = Duration::MAX;
        bus
    }

    fn some_time(&mut self, most: u64) -> u64 {
        if self.pace.exact { most } else { 1 + self.dice.below(most) }
    }

    fn after(&mut self, worker: u32, nanos: u64, event: Event) {
        let life = self.workers[worker as usize].life;
        self.serial += 1;
        self.events.push(Reverse((self.now.0 + nanos, self.serial, worker, life, event)));
    }

    /// The next moment. False if nothing will ever happen any more.
    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, worker, life, event))) = self.events.pop() else { return false };
        self.now = Instant(at);
        self.happened += 1;
        let current = self.workers[worker as usize].life == life;
        if current || matches!(event, Event::Letter { .. } | Event::Arrives { .. }) {
            self.happen(worker, event);
            self.round(worker);
            self.check_now();
        }
        true
    }

    fn happen(&mut self, worker: u32, event: Event) {
        if self.workers[worker as usize].bus.is_none() {
            match event {
                Event::Reborn => self.workers[worker as usize].bus = Some(self.bus(worker)),
                // It finds its letters when it begins.
                Event::Letter { .. } => self.after(worker, MILLI, event),
                _ => {}
            }
            return;
        }
        match event {
            Event::Arrives { group } => self.arrive(worker, group),
            Event::Withdraws { serial } => self.withdraw(worker, serial),
            Event::ConnectEnds { serial } => self.connect_ends(worker, serial),
            Event::LeaseEnds { serial } => self.lease_ends(worker, serial),
            Event::Pins { serial } => self.pins(worker, serial),
            Event::PinEnds { serial } => self.pin_ends(worker, serial),
            Event::IdleEnds { serial } => self.idle_ends(worker, serial),
            Event::Noticed { serial } => self.noticed(worker, serial),
            Event::ReallyClosed { serial } => self.really_closed(worker, serial),
            Event::Letter { from } => self.read_letter(worker, from),
            Event::Buffers => self.workers[worker as usize].may_lease = true,
            Event::Crash => self.crash(worker),
            Event::Wake | Event::Reborn => {}
        }
    }

    fn parts(&mut self, worker: u32) -> (&mut Worker, Instant) {
        (&mut self.workers[worker as usize], self.now)
    }

    fn arrive(&mut self, worker: u32, group: u32) {
        let (here, now) = self.parts(worker);
        let Some(exchange) = here.free_exchange() else { return };
        let full = {
            let queues = &here.queues[group as usize];
            queues.rest.len() >= QUEUE as usize
        };
        let answer = here.bus.as_mut().unwrap().enqueue(GroupId(group), exchange, now, false);
        assert_eq!(answer.is_err(), full, "the queue is full, and only then");
        if full {
            return;
        }
        self.serial += 1;
        let request = Request { exchange, serial: self.serial, group, since: now };
        self.workers[worker as usize].queues[group as usize].rest.push_back(request);
        if self.dice.percent(self.faults.withdrawals) {
            let after = self.dice.below(20 * MILLI);
            self.after(worker, after, Event::Withdraws { serial: request.serial });
        }
    }

    fn withdraw(&mut self, worker: u32, serial: u64) {
        let (here, _) = self.parts(worker);
        let all = here.queues.iter().flat_map(Queues::all);
        let Some(request) = all.copied().find(|request| request.serial == serial) else { return };
        here.queues[request.group as usize].remove(request.exchange);
        here.bus.as_mut().unwrap().withdraw(request.exchange);
    }

    fn connect_ends(&mut self, worker: u32, serial: u64) {
        let faults = self.faults;
        let dice = self.dice.below(100);
        let (here, now) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        let Doing::Connecting { since } = socket.what else { return };
        let server = socket.server as usize;
        let failure = if dice < faults.refused {
            Failure::Refused
        } else if dice < faults.refused + faults.timed_out {
            Failure::TimedOut
        } else if dice < faults.refused + faults.timed_out + faults.busy {
            Failure::Busy
        } else {
            here.sockets.get_mut(&id).unwrap().what = Doing::Idle;
            here.refused[server] = None;
            here.bus.as_mut().unwrap().connected(id, now);
            return;
        };
        if matches!(failure, Failure::Refused | Failure::TimedOut) {
            let first = here.refused[server].map_or(since, |first| first.min(since));
            here.refused[server] = Some(first);
        }
        here.bus.as_mut().unwrap().connect_failed(id, failure, now);
        self.close(worker, id);
    }

    fn close(&mut self, worker: u32, id: ConnectionId) {
        let (here, _) = self.parts(worker);
        let socket = here.sockets.get_mut(&id).unwrap();
        assert_ne!(socket.what, Doing::Closing, "closed twice");
        socket.what = Doing::Closing;
        let serial = socket.serial;
        let time = self.some_time(self.pace.close);
        self.after(worker, time, Event::ReallyClosed { serial });
    }

    fn really_closed(&mut self, worker: u32, serial: u64) {
        let (here, _) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        let server = socket.server as usize;
        here.sockets.remove(&id);
        self.open[server] -= 1;
        self.workers[worker as usize].bus.as_mut().unwrap().closed(id);
    }

    fn lease_ends(&mut self, worker: u32, serial: u64) {
        let breaks = self.dice.percent(self.faults.breaks);
        let reusable = self.dice.percent(90) || self.faults.breaks == 0;
        let persistent: Vec<bool> = self.configs.iter().map(|config| config.persistent).collect();
        let (here, now) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        let Doing::Leased(exchange) = socket.what else { return };
        let (server, fresh) = (socket.server as usize, here.leased[&exchange].serial & FRESH != 0);
        let mut request = here.leased.remove(&exchange).unwrap();
        request.serial &= !FRESH;
        let bus = here.bus.as_mut().unwrap();
        if breaks {
            if fresh {
                bus.broke(id, now);
                here.refused[server].get_or_insert(now);
                bus.release(id, false, now);
            } else {
                bus.release(id, false, now);
                bus.enqueue(GroupId(request.group), exchange, now, true).unwrap();
                request.since = now;
                here.queues[request.group as usize].again.push_back(request);
            }
            return;
        }
        bus.answered(id);
        here.refused[server] = None;
        bus.release(id, reusable, now);
        if reusable && persistent[request.group as usize] {
            here.sockets.get_mut(&id).unwrap().what = Doing::Idle;
            if self.dice.percent(self.faults.idle_ends) {
                let after = self.dice.below(10 * MILLI);
                self.after(worker, after, Event::IdleEnds { serial });
            }
        }
        self.follow_up(worker, request.group);
    }

    fn follow_up(&mut self, worker: u32, group: u32) {
        self.served += 1;
        if self.closed_loop {
            self.after(worker, 10 * MICRO, Event::Arrives { group });
        }
    }

    /// The server closes an idle connection; the worker hears of it later, or when it uses it.
    fn idle_ends(&mut self, worker: u32, serial: u64) {
        let (here, _) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        if socket.what == Doing::Idle {
            here.sockets.get_mut(&id).unwrap().dead = true;
            let after = self.dice.below(MILLI);
            self.after(worker, after, Event::Noticed { serial });
        }
    }

    fn noticed(&mut self, worker: u32, serial: u64) {
        let (here, now) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        if socket.what == Doing::Idle {
            here.bus.as_mut().unwrap().lost(id, now);
        }
    }

    fn read_letter(&mut self, worker: u32, from: u32) {
        let letter = self.letters.get_mut(&(from, worker)).and_then(VecDeque::pop_front);
        let fails = self.dice.percent(self.faults.lost_letters);
        let now = self.now;
        let here = &mut self.workers[worker as usize];
        let bus = here.bus.as_mut().unwrap();
        match letter {
            None => {}
            Some(Letter::Nudge(group)) => bus.nudged(group),
            Some(Letter::Carried(travelling, socket)) => {
                assert_eq!(travelling.server().0, socket.server);
                let id = bus.adopt(travelling, now).expect("as many records as permits");
                if fails {
                    // It could not be attached.
                    self.open[socket.server as usize] -= 1;
                    bus.closed(id);
                } else {
                    let (dead, serial) = (socket.dead, socket.serial);
                    here.sockets.insert(id, socket);
                    if dead {
                        self.after(worker, 1, Event::Noticed { serial });
                    }
                }
            }
        }
    }

    /// The worker panics: its sockets close, its permits go back, its requests are lost.
    fn crash(&mut self, worker: u32) {
        let here = &mut self.workers[worker as usize];
        for socket in core::mem::take(&mut here.sockets).into_values() {
            self.open[socket.server as usize] -= 1;
        }
        here.queues.iter_mut().for_each(|queues| *queues = Queues::default());
        here.leased.clear();
        here.refused.fill(None);
        here.life += 1;
        here.may_lease = true;
        here.wake = None;
        here.bus = None;
        let after = self.dice.below(30 * MILLI);
        self.after(worker, after, Event::Reborn);
    }

    /// The worker does what its bus decides.
    fn round(&mut self, worker: u32) {
        let mut decisions = 0;
        loop {
            let now = self.now;
            let here = &mut self.workers[worker as usize];
            let may_lease = here.may_lease;
            let Some(bus) = here.bus.as_mut() else { return };
            let Some(decision) = bus.decide(now, may_lease) else { break };
            decisions += 1;
            assert!(decisions < 300, "it decides for ever: {decision:?}");
            self.obey(worker, decision);
        }
        let now = self.now;
        let here = &mut self.workers[worker as usize];
        let wake = here.bus.as_ref().unwrap().wake_at(now).filter(|wake| wake.0 < u64::MAX);
        assert!(wake.is_none_or(|wake| wake > now), "it is woken for ever");
        if wake != here.wake {
            here.wake = wake;
            if let Some(wake) = wake {
                self.after(worker, wake.0 - now.0, Event::Wake);
            }
        }
    }

    fn obey(&mut self, worker: u32, decision: Decision) {
        match decision {
            Decision::Lease { exchange, connection, fresh, waited } => {
                assert!(self.workers[worker as usize].may_lease, "no buffer is promised");
                self.lease(worker, exchange, connection, (fresh, waited));
            }
            Decision::Open { connection, server } => self.open(worker, connection, server),
            Decision::Close { connection } => self.close(worker, connection),
            Decision::HandOver { connection, to } => self.hand_over(worker, connection, to),
            Decision::Nudge { to, group } => {
                assert_ne!(to.0, worker, "nobody nudges himself");
                self.nudges += 1;
                self.post(worker, to.0, Letter::Nudge(group));
            }
            Decision::Fail { exchange } => self.fail(worker, exchange),
        }
    }

    fn lease(
        &mut self,
        worker: u32,
        exchange: ExchangeId,
        connection: ConnectionId,
        (fresh, waited): (bool, Duration),
    ) {
        self.longest_wait = self.longest_wait.max(waited);
        self.check_backup(ServerId(self.workers[worker as usize].sockets[&connection].server));
        let (here, now) = self.parts(worker);
        let socket = here.sockets.get_mut(&connection).unwrap();
        assert_eq!(socket.what, Doing::Idle);
        assert_eq!(fresh, !socket.used);
        let all = here.queues.iter().flat_map(Queues::all);
        let mut request = *all.into_iter().find(|request| request.exchange == exchange).unwrap();
        let queues = &mut here.queues[request.group as usize];
        assert_eq!(waited, now.since(request.since));
        if queues.again.front() == Some(&request) {
            assert!(fresh, "it goes only on a connection opened for it");
        } else {
            let first = queues.returned.front().or(queues.rest.front());
            assert_eq!(first, Some(&request), "first come, first served");
        }
        queues.remove(exchange);
        if !fresh && socket.dead {
            // Found out before a byte was written.
            here.bus.as_mut().unwrap().stale(connection, exchange);
            here.queues[request.group as usize].returned.push_back(request);
            return;
        }
        socket.used = true;
        socket.what = Doing::Leased(exchange);
        let serial = socket.serial;
        request.serial |= if fresh { FRESH } else { 0 };
        here.leased.insert(exchange, request);
        if self.dice.percent(self.faults.no_buffers) {
            self.workers[worker as usize].may_lease = false;
            let after = self.dice.below(5 * MILLI);
            self.after(worker, after, Event::Buffers);
        }
        let time = self.some_time(self.pace.lease);
        let pins = self.dice.percent(self.faults.pins);
        let then = if pins { Event::Pins { serial } } else { Event::LeaseEnds { serial } };
        self.after(worker, time, then);
    }

    /// Backups serve only while all others are down.
    fn check_backup(&self, server: ServerId) {
        let config = &self.configs[self.shared.group_of(server).index()];
        let backup = config.servers.iter().any(|s| s.id == server && s.backup);
        let mut regular = config.servers.iter().filter(|s| !s.backup);
        assert!(!backup || regular.all(|s| self.shared.is_down(s.id)), "a backup serves");
    }

    fn open(&mut self, worker: u32, id: ConnectionId, server: ServerId) {
        let group = self.shared.group_of(server);
        if self.workers[worker as usize].queues[group.index()].all().count() > 0 {
            self.check_backup(server);
        }
        self.open[server.index()] += 1;
        self.serial += 1;
        let serial = self.serial;
        let (here, now) = self.parts(worker);
        let what = Doing::Connecting { since: now };
        let socket = Socket { serial, server: server.0, used: false, dead: false, what };
        assert!(here.sockets.insert(id, socket).is_none());
        let time = if self.faults.timed_out > 0 && self.dice.percent(5) {
            200 * MILLI
        } else {
            self.some_time(self.pace.connect)
        };
        if self.faults.busy > 0 && self.dice.percent(5) {
            // At once, as when descriptors run out.
            let (here, now) = self.parts(worker);
            here.sockets.remove(&id);
            let bus = here.bus.as_mut().unwrap();
            bus.connect_failed(id, Failure::Exhausted, now);
            self.open[server.index()] -= 1;
            self.workers[worker as usize].bus.as_mut().unwrap().closed(id);
            return;
        }
        self.after(worker, time, Event::ConnectEnds { serial });
    }

    fn hand_over(&mut self, worker: u32, id: ConnectionId, to: WorkerId) {
        assert_ne!(to.0, worker, "nobody gives himself anything");
        let (now, given_up) = (self.now, self.dice.percent(50));
        let here = &mut self.workers[worker as usize];
        let bus = here.bus.as_mut().unwrap();
        if here.sockets[&id].dead && given_up {
            // It can't be detached: it ended in the meantime.
            bus.lost(id, now);
            return;
        }
        let socket = here.sockets.remove(&id).unwrap();
        assert_eq!(socket.what, Doing::Idle);
        let travelling = bus.hand_over(id).unwrap();
        if self.dice.percent(self.faults.lost_letters) {
            // The mailbox is full.
            self.open[socket.server as usize] -= 1;
            drop(travelling);
        } else {
            self.post(worker, to.0, Letter::Carried(travelling, socket));
        }
    }

    fn post(&mut self, from: u32, to: u32, letter: Letter) {
        self.letters.entry((from, to)).or_default().push_back(letter);
        let time = self.some_time(self.pace.letter);
        self.after(to, time, Event::Letter { from });
    }

    fn fail(&mut self, worker: u32, exchange: ExchangeId) {
        let (here, _) = self.parts(worker);
        let all = here.queues.iter().flat_map(Queues::all);
        let request = *all.into_iter().find(|request| request.exchange == exchange).unwrap();
        here.queues[request.group as usize].remove(exchange);
        // As the worker does when it answers for us.
        here.bus.as_mut().unwrap().withdraw(exchange);
        let config = &self.configs[request.group as usize];
        let refused = &self.workers[worker as usize].refused;
        let refused = config.servers.iter().map(|server| refused[server.id.index()]);
        assert!(refused.clone().all(|since| since.is_some()), "a server was left to try");
        let down = refused.flatten().min().expect("a group has servers");
        assert!(self.now >= down + config.policy.health.grace, "the grace is not over");
        self.failed += 1;
        if self.closed_loop {
            self.after(worker, MILLI, Event::Arrives { group: request.group });
        }
    }
}
