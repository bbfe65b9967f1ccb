//! The mix: what differs from seed to seed. Each seed draws its own settings, and for every habit
//! of the world whether it has it at all and how much of it, so that rare combinations happen.

use std::time::Duration;

use base::limits;
use bus::{Balance, HealthPolicy, Policy, RetryPolicy};
use spool::Limits;
use worker::{AtLimit, Timeouts};

use super::bounds::Bounds;
use super::door::Door;
use super::gate::Gate;
use super::papers::{Asked, Papers};
use crate::dice::Dice;
use crate::segments::Segments;

/// Everything that is settled before a run begins.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Setting {
    /// Worker threads of the process.
    pub workers: u32,
    /// Buffers of each worker's pool, and the bytes of each.
    pub buffers: u32,
    /// Bytes of a buffer.
    pub buffer_bytes: u32,
    /// `max_clients`.
    pub max_clients: u32,
    /// Listening addresses: listener `i` leads to group `i`.
    pub groups: Vec<Vec<ServerSetting>>,
    /// Pinned connections beside all clients.
    pub pinned_free: u32,
    /// `request = "stream"`, by group.
    pub stream: Vec<bool>,
    /// `queue.length`.
    pub queue_length: u32,
    /// `exchange_memory`.
    pub exchange_memory: u32,
    /// `spool`.
    pub spool: Option<Limits>,
    /// Errands of one worker that the disk has at one time.
    pub disk_room: usize,
    /// `max_head`.
    pub max_head: u32,
    /// `max_body`.
    pub max_body: u64,
    /// `persistent`.
    pub persistent: bool,
    /// `at_limit`.
    pub at_limit: AtLimit,
    /// `reclaim_parked`.
    pub reclaim_parked: bool,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `request_ids`.
    pub request_ids: bool,
    /// Bytes of each worker's ring for the access log.
    pub access: Option<usize>,
    /// How servers are chosen and judged.
    pub policy: Policy,
    /// Letters that a worker's mailbox holds.
    pub mailbox: usize,
    /// Bytes that each direction of a connection holds.
    pub pipe_bytes: usize,
    /// How bytes are cut on their way.
    pub segments: Segments,
    /// How often completions are late, of 256.
    pub late: u32,
    /// Completions of different sockets come in any order.
    pub shuffled: bool,
    /// How often something is told in vain, of 256.
    pub in_vain: u32,
    /// How often a connection that changes hands cannot be watched, of 256.
    pub unwatched: u32,
    /// Most clients accepted by one poll.
    pub accepts: u32,
    /// How often a worker sleeps after a turn, of 256, and for how many microseconds at most.
    pub sleepy: [u32; 2],
    /// Clients, and how many exchanges they may begin together.
    pub clients: u32,
    /// Most exchanges of the whole run.
    pub exchanges: u32,
    /// Longest body, bytes.
    pub longest: u32,
    /// Longest latency of a client or a server, microseconds.
    pub latency: u32,
    /// How long a pause may be, microseconds.
    pub pause: u32,
    /// What clients, servers and the operator are like.
    pub habits: Habits,
    /// What each group's listener does with what comes.
    pub serves: Vec<Serves>,
    /// How often a request asks to switch protocols, of 256.
    pub switches: u32,
    /// Clients come through a balancer that says whose connection each is (PROXY protocol).
    pub balanced: bool,
    /// How often a server that answers early reads nothing until its answer is written, of 256.
    pub sulks: u32,
    /// How often a server over TLS reads nothing behind its last answer, and breaks off then, of 256.
    pub deaf: u32,
    /// The disk is slow from the beginning, and servers leave in the middle of large requests.
    pub rereads: bool,
    /// Who may come in, and how often.
    pub door: Door,
    /// Who is let in.
    pub gate: Gate,
    /// Some clients come through a proxy that is trusted to say whom its requests are from.
    pub trusts: bool,
    /// Certificates, where TLS is spoken.
    pub papers: Papers,
    /// Who goes up to the bounds of what TLS keeps.
    pub bounds: Bounds,
}

/// What a listener does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// HTTP.
    Http,
    /// HTTP, and protocols may be switched.
    Upgrades,
    /// It passes everything through, and connects at once, or with the first byte.
    Passes {
        /// With the first byte.
        first_byte: bool,
    },
}

impl Serves {
    /// Whether everything is passed through.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Passes { .. })
    }
}

/// A server as it is configured.
#[derive(Clone, Copy, Debug)]
pub struct ServerSetting {
    /// `connections`.
    pub connections: u32,
    /// `pinned`.
    pub pinned: u32,
    /// `weight`.
    pub weight: u32,
    /// `backup`.
    pub backup: bool,
}

macro_rules! habits {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each kind of behaviour is met, of 256; most are switched off in most seeds.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Habits {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl Habits {
            /// Draws each of them; `share` of 256 are there at all.
            fn draw(dice: &mut Dice, share: u32) -> Self {
                Self { $($name: if dice.chance(share) { dice.pick(&[8, 2, 32, 100]) } else { 0 },)* }
            }
        }
    };
}

habits! {
    /// A client sends several requests before it has an answer.
    pipelines,
    /// It sends in small pieces with pauses.
    dribbles,
    /// It leaves at any byte.
    leaves,
    /// It sends what is no request.
    malformed,
    /// Its request has a body.
    bodies,
    /// A body is huge.
    huge,
    /// A body comes in chunks.
    chunks,
    /// The chunks are odd: extensions, trailers, leading zeros, one byte each.
    odd,
    /// It expects 100.
    expects,
    /// It offers to change protocols, and sends other fields for the next hop only.
    upgrades,
    /// It speaks HTTP/1.0.
    old,
    /// It asks for heads alone.
    heads,
    /// It asks that its connection be closed.
    closes,
    /// It ends its direction behind a request.
    half_closes,
    /// It stops reading for a while.
    stalls,
    /// It pauses between exchanges.
    thinks,
    /// Its request has many bytes of fields.
    fields,
    /// A server is slow.
    slow,
    /// It answers before it has the whole request.
    early,
    /// It sends interim responses first.
    interim,
    /// It breaks off at any byte.
    breaks,
    /// It leaves without a word.
    deserts,
    /// It tells a wrong length.
    lies,
    /// It sends what is no response.
    garbage,
    /// It sends more than the response.
    too_much,
    /// It says nothing for a long time.
    silent,
    /// It ends a connection that it kept.
    drops,
    /// It does not end a connection that we have ended.
    stays,
    /// It answers in chunks.
    coded,
    /// It answers until the connection ends.
    until_end,
    /// It answers with events.
    events,
    /// Its responses have no body.
    bodiless,
    /// It says that it closes the connection.
    parts,
    /// Connects are refused, fail late, hang; servers die and return.
    connects,
    /// Accepting fails.
    accepts,
    /// The disk is slow, hangs, fails.
    disk,
    /// Servers' names get other addresses.
    moves,
    /// The worker is drained or stopped in the middle of the run.
    ends,
}

impl Habits {
    /// What rarely comes together by itself: large bodies from slow clients, and a disk that fails;
    /// interim responses to clients that do not read; requests behind an event stream; hints of
    /// servers that read no further; requests that are read back from disk a second time.
    fn take_up(&mut self, theme: usize) {
        match theme {
            1 => {
                (self.bodies, self.huge, self.disk, self.dribbles) = (200, 128, 64, 40);
                (self.chunks, self.drops, self.deserts, self.leaves) = (80, 32, 48, 32);
            }
            2 => {
                (self.interim, self.stalls, self.early, self.bodies) = (100, 100, 32, 128);
                (self.dribbles, self.half_closes, self.leaves) = (64, 32, 32);
                (self.silent, self.breaks, self.slow, self.stalls) = (32, 48, 32, 200);
            }
            3 => {
                (self.events, self.pipelines) = (100, 120);
                (self.half_closes, self.leaves) = (20, 64);
            }
            4 => {
                (self.interim, self.early, self.bodies, self.stalls) = (220, 220, 220, 220);
                (self.huge, self.slow, self.breaks, self.deserts) = (160, 200, 48, 16);
                self.connects = 16;
            }
            5 => {
                (self.bodies, self.huge, self.deserts, self.early) = (230, 200, 110, 160);
                self.disk = 32;
            }
            _ => {}
        }
    }
}

impl Setting {
    /// The settings of one run.
    pub fn draw(dice: &mut Dice) -> Self {
        let share = dice.pick(&[0, 10, 40, 90, 150]);
        let mut habits = Habits::draw(dice, share);
        let theme = dice.weighted(&[10, 2, 2, 1, 2, 2]);
        habits.take_up(theme);
        let workers = dice.pick(&[1, 2, 1, 3, 4]);
        let buffer_bytes = dice.pick(&[2048, 2048, 512, 4096]);
        let buffers = dice.pick(&[256, 64, 8, 9, 12, 16, 24, 40]);
        // Hints do not wait in large pipes, nor in large buffers.
        let (hints, rereads) = (theme == 2 || theme == 4, theme == 5);
        // There, requests are longer than a connection holds, and pauses than deadlines.
        let (least, patient) = match theme {
            4 => (3000, 900_000),
            5 => (200_000, 0),
            _ => (0, 0),
        };
        let (buffer_bytes, buffers) =
            if theme == 4 { (512, buffers.min(16)) } else { (buffer_bytes, buffers) };
        // What the configuration's check allows: see `exchange_memory` and `max_head` there.
        let most = lendable(buffers, buffer_bytes);
        let exchange_memory = dice.pick(&[64 << 10, 4096, 12 << 10, 20 << 10]).min(most);
        let max_head = dice.pick(&[8 << 10, 1024, 16 << 10]).min(exchange_memory - 1024);
        let groups: Vec<Vec<ServerSetting>> = (0..dice.pick(&[1, 1, 1, 2]))
            .map(|_| {
                let count = dice.pick(&[1, 1, 2, 3]);
                (0..count).map(|place| server(dice, place)).collect()
            })
            .collect();
        let short = dice.chance(110);
        let (segments, most) = segments(dice);
        let spool = spool(dice, rereads);
        let mut setting = Self {
            workers,
            buffers,
            buffer_bytes,
            max_clients: dice.pick(&[64, 24, 12, 6, 2]),
            pinned_free: dice.pick(&[16, 4, 1, 0]),
            stream: groups.iter().map(|_| dice.chance(70)).collect(),
            groups,
            queue_length: dice.pick(&[64, 64, 8, 2, 1]),
            exchange_memory,
            spool,
            disk_room: dice.pick(&[16, 16, 1, 3]),
            max_head,
            max_body: u64::from(dice.pick(&[1_u32 << 20, 100_000, 5000])),
            persistent: !dice.chance(40),
            at_limit: if dice.chance(80) { AtLimit::Answer } else { AtLimit::Pause },
            reclaim_parked: dice.chance(50),
            timeouts: if short { short_timeouts(dice) } else { Timeouts::default() },
            request_ids: dice.chance(80),
            access: dice.pick(&[None, Some(64 << 10), Some(2048), Some(600)]),
            policy: policy(dice),
            mailbox: dice.pick(&[64, 8, 2, 1]),
            pipe_bytes: if hints { 300 } else { dice.pick(&[64 << 10, 8192, 1500, 300]) },
            segments,
            late: dice.pick(&[0, 0, 20, 128]),
            shuffled: dice.chance(128),
            in_vain: dice.pick(&[0, 0, 0, 12, 60]),
            unwatched: dice.pick(&[0, 0, 0, 0, 30]),
            accepts: dice.pick(&[32, 1, 4]),
            sleepy: sleepy(dice, short),
            clients: dice.pick(&[4, 1, 2, 8, 16, 32]),
            exchanges: dice.pick(&[1500, 20, 60, 200, 600]),
            longest: dice.pick(&[300, 3000, 20_000, 200_000]).max(least).min(most),
            latency: dice.pick(&[20, 0, 300, 5000]),
            pause: if short {
                dice.pick(&[500, 20_000, 900_000]).max(patient)
            } else {
                dice.pick(&[500, 20_000, 900_000, 70_000_000])
            },
            habits,
            serves: Vec::new(),
            switches: 0,
            balanced: false,
            sulks: if theme == 4 { 200 } else { 0 },
            deaf: 0,
            rereads,
            door: Door::default(),
            gate: Gate::default(),
            trusts: false,
            papers: Papers::default(),
            bounds: Bounds::default(),
        };
        setting.draw_tunnels(dice, short);
        setting.balanced = dice.chance(40);
        setting.draw_door(dice);
        setting.gate = Gate::draw(dice, &setting.serves);
        if setting.gate.is_there() && dice.chance(160) {
            let millis = dice.pick(&[2000_u32, 20, 100, 500]);
            setting.timeouts.authorize = Duration::from_millis(u64::from(millis));
        }
        setting.trusts = dice.chance(30);
        setting.draw_papers(dice);
        if setting.door.secured.iter().any(|it| it[1]) {
            setting.deaf = dice.pick(&[0, 0, 40, 200]);
        }
        setting.draw_bounds(dice);
        setting
    }

    /// Whether there are tunnels, and where: in most seeds there are none.
    fn draw_tunnels(&mut self, dice: &mut Dice, short: bool) {
        let any = dice.chance(80);
        let serves = |dice: &mut Dice| match dice.weighted(&[1, 5, 2, 1]) {
            0 => Serves::Http,
            1 => Serves::Upgrades,
            place => Serves::Passes { first_byte: place == 3 },
        };
        let draw = |_: &Vec<ServerSetting>| if any { serves(dice) } else { Serves::Http };
        self.serves = self.groups.iter().map(draw).collect();
        if any {
            self.switches = dice.pick(&[100, 20, 250]);
        }
        if any && short {
            let millis = dice.pick(&[2000_u32, 500, 100]);
            self.timeouts.tunnel = Duration::from_millis(u64::from(millis));
            self.timeouts.half_closed = self.timeouts.tunnel / 2;
        }
        for (streams, serves) in self.stream.iter_mut().zip(&self.serves) {
            // What is passed through is not read.
            *streams &= !serves.passes();
        }
        for (servers, serves) in self.groups.iter_mut().zip(&self.serves) {
            if serves.passes() {
                // Where none may be pinned, none is served.
                for server in servers {
                    server.pinned = server.pinned.max(1);
                }
            }
        }
    }

    /// Whether the door asks anything, and what.
    fn draw_door(&mut self, dice: &mut Dice) {
        self.door = Door::draw(dice, self.groups.len());
        let secured = &self.door.secured;
        for ((version, serves), secured) in
            self.door.introduces.iter_mut().zip(&self.serves).zip(secured)
        {
            // One header names the client of a whole connection, and TLS begins it.
            *version = version.filter(|_| (serves.passes() || !self.persistent) && !secured[1]);
        }
        if secured.iter().any(|it| it[1]) {
            // Hands are shaken within this time, through whatever a connection holds.
            let least = Duration::from_millis(500);
            self.timeouts.connect = self.timeouts.connect.max(least);
            self.timeouts.queue = self.timeouts.queue.max(least);
        }
        if short_handshakes(dice, self.timeouts.head) {
            self.timeouts.handshake = self.timeouts.head;
        }
    }

    /// Which certificates there are, where TLS is spoken.
    fn draw_papers(&mut self, dice: &mut Dice) {
        self.papers = Papers::draw(dice, self.door.secured.iter().any(|it| it[0]));
        if self.papers.asks != Asked::Off {
            let groups = self.door.secured.iter().copied().zip(self.serves.iter().copied());
            self.gate.asks_for_papers(dice, &groups.collect::<Vec<_>>());
        }
    }

    /// How far clients go with what TLS keeps. What is drawn behind the rest stands here, so that it is
    /// nobody else's.
    fn draw_bounds(&mut self, dice: &mut Dice) {
        self.bounds = Bounds::draw(dice, &self.door.secured);
        if self.bounds.crowds() {
            // All of them come to one worker, which keeps as much as it can of each.
            (self.workers, self.clients, self.max_clients) = (1, 32, 64);
            self.exchanges = self.exchanges.max(320);
            if self.papers.asks == Asked::Off {
                self.papers.asks = Asked::Optional;
            }
        } else if self.bounds.tight && self.longest >= 20_000 {
            // More records come at one time than may be ahead of so few buffers.
            self.shrink_pool(12, 2048);
            (self.bounds.hoards, self.bounds.strays, self.door.garbles) = (0, 0, 0);
            (self.workers, self.clients, self.max_clients) = (1, 24, 64);
            self.exchanges = self.exchanges.max(320);
            self.longest = self.longest.max(60_000);
            self.max_body = self.max_body.max(100_000);
            let habits = &mut self.habits;
            (habits.bodies, habits.huge, habits.leaves) = (230, 200, habits.leaves.max(16));
            (habits.malformed, habits.slow) = (habits.malformed.min(10), habits.slow.max(60));
        }
    }

    /// A pool of so many buffers, and requests that fit into it.
    fn shrink_pool(&mut self, buffers: u32, buffer_bytes: u32) {
        (self.buffers, self.buffer_bytes) = (buffers, buffer_bytes);
        self.exchange_memory = self.exchange_memory.min(lendable(buffers, buffer_bytes));
        self.max_head = self.max_head.min(self.exchange_memory - 1024);
    }

    /// The fields that only we may write.
    pub(super) fn own_fields(&self) -> String {
        let gate = Some(self.gate.own_fields()).filter(|fields| !fields.is_empty());
        gate.into_iter().chain(self.papers.own_field()).collect::<Vec<_>>().join(",")
    }

    /// The servers of all groups, in the order of their numbers, each with its group.
    pub fn servers(&self) -> impl Iterator<Item = (usize, &ServerSetting)> {
        let groups = self.groups.iter().enumerate();
        groups.flat_map(|(group, servers)| servers.iter().map(move |server| (group, server)))
    }

    /// Whether `max_clients` may be reached: by clients, and by event streams, some of which take
    /// the place of one.
    pub fn may_be_crowded(&self) -> bool {
        // A worker that sleeps has not heard of those that left, nor has one that waits for a server on
        // their behalf (seed 2100020147).
        let tunnels = self.serves.iter().any(|serves| *serves != Serves::Http);
        let unheard = self.habits.leaves > 0 || self.sleepy[0] > 0;
        // Whoever leaves while others decide about it is there until they have (seed 3200091670).
        let asked = self.gate.asks.iter().any(Option::is_some);
        let more = self.habits.events > 0 || tunnels || unheard || asked;
        self.clients >= self.max_clients || (more && 4 * self.clients > self.max_clients)
    }

    /// Whether requests that hold all they may can leave nothing to others: two of them, or more where
    /// there are more clients (seed 5200100768). Each may hold some beside, what is decrypted ahead among
    /// them, and some are kept for what is more urgent (seed 8000261819).
    pub fn is_tight(&self) -> bool {
        let one = self.exchange_memory.div_ceil(self.buffer_bytes) + limits::BESIDE_ONE_EXCHANGE;
        self.buffers < reserve(self.buffers) + self.clients.max(2) * one
    }

    /// Whether a worker may sleep between any two pieces of what it sends: how long that takes, nobody
    /// can tell.
    pub fn dozes(&self) -> bool {
        self.sleepy[0] > 0 && self.segments != Segments::Whole
    }

    /// How late a worker may notice what happened because it sleeps.
    pub fn asleep(&self) -> Duration {
        let [often, most] = self.sleepy;
        if often > 0 { 3 * super::reply::micros(most) } else { Duration::ZERO }
    }

    /// For how long what failed is felt: a server is left alone for a while, and whoever waited for
    /// one, or for the disk, has not been told yet.
    pub fn aftermath(&self) -> Duration {
        let HealthPolicy { fail_timeout, grace, .. } = self.policy.health;
        let attempts = self.policy.retries.attempts.max(1);
        fail_timeout
            + grace
            + attempts * self.timeouts.connect
            + self.asleep()
            + super::oracle::LATE
    }

    /// Whether a client's connection may have room for a part of `100 Continue` only.
    pub fn has_small_pipes(&self) -> bool {
        self.pipe_bytes < 8192
    }

    /// The largest body of a request that is not streamed.
    pub fn collectable(&self) -> u64 {
        let spooled = self.spool.map_or(0, Limits::longest_body);
        self.max_body.min(spooled.max(u64::from(self.exchange_memory)))
    }
}

/// What requests may hold of a pool.
fn lendable(buffers: u32, buffer_bytes: u32) -> u32 {
    (buffers - reserve(buffers) - limits::BESIDE_ONE_EXCHANGE) * buffer_bytes
}

/// What requests may not hold of a pool.
fn reserve(buffers: u32) -> u32 {
    (buffers / 16).max(2).min(buffers / 4)
}

/// Whether a handshake has as long as a head, where that is short.
fn short_handshakes(dice: &mut Dice, head: Duration) -> bool {
    head < Timeouts::default().head && dice.chance(128)
}

/// Where deadlines are short, sleeping workers would miss them all.
fn sleepy(dice: &mut Dice, short: bool) -> [u32; 2] {
    let often = dice.pick(&[0, 0, 8, 60]);
    if short { [often / 8, 50] } else { [often, dice.pick(&[50, 2000, 100_000])] }
}

fn server(dice: &mut Dice, place: u32) -> ServerSetting {
    ServerSetting {
        connections: dice.pick(&[2, 1, 3, 8]),
        pinned: dice.pick(&[16, 0, 1, 4]),
        weight: dice.pick(&[1, 1, 2, 5]),
        // The first is never one, so that a group has a regular server.
        backup: place > 0 && dice.chance(80),
    }
}

fn spool(dice: &mut Dice, ample: bool) -> Option<Limits> {
    const EXTENT: u64 = base::limits::SPOOL_EXTENT as u64;
    let drawn = dice.pick(&[0, 0, 1, 2, 6, 400]);
    let size = if ample { 400 } else { drawn } * EXTENT;
    (size > 0).then(|| Limits {
        size,
        per_exchange: (dice.pick(&[400, 1, 3]) * EXTENT).min(size),
        per_address: (dice.pick(&[400, 2, 5]) * EXTENT).min(size),
    })
}

/// How bytes are cut, and the longest body for which that takes no more turns than it is worth.
fn segments(dice: &mut Dice) -> (Segments, u32) {
    let mut random = |most| Segments::Random { seed: u64::from(dice.below(u32::MAX)), most };
    let all = [
        (Segments::Whole, 200_000),
        (random(2000), 200_000),
        (random(60), 20_000),
        (Segments::Most(7), 3000),
        (Segments::Most(1), 300),
    ];
    all[dice.weighted(&[6, 2, 2, 1, 1])]
}

fn policy(dice: &mut Dice) -> Policy {
    Policy {
        balance: if dice.chance(128) { Balance::RoundRobin } else { Balance::LeastLeased },
        health: HealthPolicy {
            max_fails: dice.pick(&[1, 1, 3]),
            fail_timeout: Duration::from_millis(u64::from(dice.pick(&[1000_u32, 60]))),
            grace: Duration::from_millis(u64::from(dice.pick(&[1000_u32, 0, 100]))),
        },
        retries: RetryPolicy { attempts: dice.pick(&[3, 1, 2]), budget: dice.pick(&[20, 0, 100]) },
        warm: dice.pick(&[0, 0, 0, 1, 2]),
        passes: false,
    }
}

/// From 20 milliseconds to 2 seconds each, so that all of them run out in some seed.
fn short_timeouts(dice: &mut Dice) -> Timeouts {
    let mut length = || Duration::from_millis(u64::from(dice.pick(&[2000_u32, 20, 100, 500])));
    Timeouts {
        authorize: Timeouts::default().authorize,
        handshake: Timeouts::default().handshake,
        head: length(),
        body_progress: length(),
        idle: length(),
        first_byte: length(),
        write_progress: length(),
        connect: length(),
        response: length(),
        queue: length(),
        drain: length(),
        tunnel: Duration::from_secs(2),
        half_closed: Duration::from_secs(1),
    }
}
