//! Large exchanges of every kind at once, on short pools and small spools, over disks that slow
//! down, hang and fail, with peers that leave at random: every byte that arrives is the right
//! one, nobody waits for ever, and everything is given back.

use crate::house::{House, Setting};
use base::id::ServerId;
use base::limits::SPOOL_EXTENT;
use sim::{DiskMode, Peer, Segments, WorldConfig};
use std::time::Duration;
use worker::Timeouts;

const E: u64 = SPOOL_EXTENT as u64;
const CLIENTS: usize = 10;

/// A reproducible sequence (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below<N: TryFrom<u64> + Default>(&mut self, end: u64) -> N {
        N::try_from(self.number() % end).unwrap_or_default()
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }
}

/// The body of exchange `id`: no stretch of it stands anywhere else.
fn body(id: u64, length: usize) -> Vec<u8> {
    let byte = |at: u64| (at ^ id << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[1];
    (0..length as u64).map(byte).collect()
}

fn chunks(body: &[u8], piece: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(piece) {
        coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
        coded.extend(chunk);
        coded.extend(b"\r\n");
    }
    coded.extend(b"0\r\n\r\n");
    coded
}

/// A message at the front of what came.
struct Message {
    head: String,
    body: Vec<u8>,
    length: usize,
}

/// The first message if it is whole. Panics at what is none.
fn message(bytes: &[u8]) -> Option<Message> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head is text");
    if let Some((_, rest)) = head.split_once("Content-Length: ") {
        let length: usize =
            rest.split("\r\n").next().and_then(|it| it.parse().ok()).expect("a length");
        let all = bytes.get(head_end..head_end + length)?;
        return Some(Message { head, body: all.to_vec(), length: head_end + length });
    }
    if !head.contains("chunked") {
        return Some(Message { head, body: Vec::new(), length: head_end });
    }
    let (mut at, mut body) = (head_end, Vec::new());
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        at += line + 2;
        body.extend(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "a chunk's end");
        at += size + 2;
        if size == 0 {
            return Some(Message { head, body, length: at });
        }
    }
}

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Nothing: everything must be answered with 200.
    Fair,
    /// The spool is too small.
    Tight,
    /// The disk slows down, hangs and fails.
    Disk,
    /// All of that, and peers leave.
    Storm,
}

/// A client with some requests to make, one after another or at once.
struct Caller {
    peer: Peer,
    unsent: Vec<u8>,
    got: Vec<u8>,
    /// Exchanges that await their answer: number and length of the response's body.
    awaits: std::collections::VecDeque<(u64, usize)>,
    reads: usize,
}

impl Caller {
    fn new(peer: Peer, first: u64, dice: &mut Dice) -> Self {
        let mut caller = Self {
            peer,
            unsent: Vec::new(),
            got: Vec::new(),
            awaits: [].into(),
            reads: 200 + dice.below::<usize>(20_000),
        };
        for id in first..=first + dice.below::<u64>(3) {
            let (up, down) = (size(dice), size(dice));
            let target = format!("/{id}/{up}/{down}/{}", dice.below::<u8>(3));
            let sent = body(id, up);
            let version = "HTTP/1.1\r\nHost: h";
            caller.unsent.extend(match dice.below(4) {
                0 => format!("GET /{id}/0/{down}/{} {version}\r\n\r\n", dice.below::<u8>(3))
                    .into_bytes(),
                1 => {
                    let head = format!("POST {target} {version}\r\nContent-Length: {up}\r\n\r\n");
                    [head.as_bytes(), &sent].concat()
                }
                2 => {
                    let head = format!("PUT {target} {version}\r\nContent-Length: {up}\r\n\r\n");
                    [head.as_bytes(), &sent].concat()
                }
                _ => {
                    let head =
                        format!("PUT {target} {version}\r\nTransfer-Encoding: chunked\r\n\r\n");
                    [head.as_bytes(), &chunks(&sent, 1 + dice.below::<usize>(9000))].concat()
                }
            });
            caller.awaits.push_back((id, down));
        }
        caller
    }

    /// Sends and reads what it can.
    fn act(&mut self, weather: Weather) {
        let taken = self.peer.write(&self.unsent);
        self.unsent.drain(..taken);
        self.got.extend(self.peer.read_some(self.reads));
        while let Some(response) = message(&self.got) {
            self.got.drain(..response.length);
            let (id, length) = self.awaits.pop_front().expect("an answer to a request");
            let code = &response.head[9..12];
            if code == "200" {
                assert!(response.body == body(!id, length), "response {id}: {length} bytes");
            } else {
                assert_ne!(weather, Weather::Fair, "exchange {id}: {}", response.head);
                assert!(
                    ["408", "413", "502", "503", "504", "507"].contains(&code),
                    "{}",
                    response.head
                );
                if response.head.contains("Connection: close") {
                    self.awaits.clear();
                    self.unsent.clear();
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.awaits.is_empty() || self.peer.is_closed() || self.peer.is_reset()
    }
}

fn size(dice: &mut Dice) -> usize {
    match dice.below(4) {
        0 => dice.below(3000),
        1 => dice.below(40_000),
        2 => (64 << 10) - 200 + dice.below::<usize>(400),
        _ => dice.below(200_000),
    }
}

/// A server's end of a connection: it checks what it gets and answers what it is asked for.
struct Clerk {
    peer: Peer,
    asked: Vec<u8>,
    answer: Vec<u8>,
    ends: bool,
}

impl Clerk {
    fn act(&mut self, dice: &mut Dice, weather: Weather) {
        self.asked.extend(self.peer.read());
        if self.answer.is_empty() && !self.ends {
            self.think(dice, weather);
        }
        let count = self.peer.write(&self.answer);
        self.answer.drain(..count);
        if self.ends && self.answer.is_empty() {
            self.peer.end();
        }
    }

    fn think(&mut self, dice: &mut Dice, weather: Weather) {
        if weather == Weather::Storm && !self.asked.is_empty() && dice.once_in(200) {
            return self.peer.reset();
        }
        let Some(request) = message(&self.asked) else { return };
        self.asked.drain(..request.length);
        let target = request.head.split(' ').nth(1).expect("a target");
        let parts: Vec<usize> =
            target.split('/').skip(1).map(|it| it.parse().expect("a number")).collect();
        let [id, up, down, form] = parts[..] else { panic!("{target}") };
        let id = id as u64;
        assert!(request.body == body(id, up), "request {id}: {up} bytes");
        let sent = body(!id, down);
        let head = "HTTP/1.1 200 OK\r\n";
        self.answer = match form {
            0 => [format!("{head}Content-Length: {down}\r\n\r\n").as_bytes(), &sent].concat(),
            1 => {
                let coded = chunks(&sent, 1 + dice.below::<usize>(9000));
                [head.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\n", &coded].concat()
            }
            _ => {
                self.ends = true;
                [head.as_bytes(), b"\r\n", &sent].concat()
            }
        };
    }
}

fn setting(dice: &mut Dice, weather: Weather) -> Setting {
    let roomy = matches!(weather, Weather::Fair | Weather::Disk);
    let size = if roomy { 200 } else { 2 + dice.below::<u64>(40) };
    let part = if roomy { size } else { 1 + dice.below::<u64>(size) };
    let most = 1 + dice.below::<usize>(6000);
    let pipe_bytes = 1 << (10 + dice.below::<usize>(6));
    let segments = Segments::Random { seed: dice.number(), most };
    let short = Duration::from_secs(5);
    Setting {
        world: WorldConfig { segments, pipe_bytes, ..WorldConfig::default() },
        workers: 1 + dice.below::<u32>(3),
        buffers: 40 + dice.below::<u32>(60),
        connections: 1 + dice.below::<u32>(4),
        exchange_memory: (12 + dice.below::<u32>(20)) << 10,
        max_body: 64 << 20,
        spool: Some(spool::Limits {
            size: size * E,
            per_exchange: part * E,
            per_address: size * E,
        }),
        timeouts: if weather == Weather::Fair {
            Timeouts::default()
        } else {
            Timeouts {
                head: short,
                body_progress: short,
                write_progress: short,
                queue: short,
                response: short,
                first_byte: short,
                ..Timeouts::default()
            }
        },
        ..Setting::default()
    }
}

fn disk(dice: &mut Dice) -> DiskMode {
    match dice.below(6) {
        0 => DiskMode::Stuck,
        1 => DiskMode::ReadsFail,
        2 => DiskMode::WritesFail,
        3 => DiskMode::Slow(Duration::from_micros(dice.below(30_000))),
        _ => DiskMode::Well,
    }
}

fn run(seed: u64, weather: Weather) -> u64 {
    let mut dice = Dice(seed);
    let mut house = House::new(&setting(&mut dice, weather));
    if weather == Weather::Fair {
        house.world.set_disk(DiskMode::Slow(Duration::from_micros(dice.below(3000))));
    }
    let mut callers: Vec<Option<Caller>> = (0..CLIENTS as u64)
        .map(|number| Some(Caller::new(house.client(), number * 10, &mut dice)))
        .collect();
    let mut clerks: Vec<Clerk> = Vec::new();
    for round in 0.. {
        assert!(round < 60_000, "they never come to an end");
        let wild = round < 1500;
        if matches!(weather, Weather::Disk | Weather::Storm) && (wild && dice.once_in(100)) {
            house.world.set_disk(disk(&mut dice));
        }
        if round == 1500 && weather != Weather::Fair {
            house.world.set_disk(DiskMode::Well);
        }
        for caller in &mut callers {
            if let Some(calls) = caller
                && dice.once_in(3)
            {
                calls.act(weather);
                if wild && weather == Weather::Storm && dice.once_in(3000) {
                    calls.peer.reset();
                    *caller = None;
                }
            }
        }
        while let Some(peer) = house.world.accept(ServerId(0)) {
            clerks.push(Clerk { peer, asked: Vec::new(), answer: Vec::new(), ends: false });
        }
        clerks.retain(|clerk| !clerk.peer.is_closed() && !clerk.peer.is_reset());
        for clerk in &mut clerks {
            clerk.act(&mut dice, weather);
        }
        house.pass(Duration::from_micros(100 + dice.below::<u64>(2000)));
        if callers.iter().flatten().all(Caller::is_done) {
            break;
        }
    }
    for caller in callers.iter().flatten() {
        assert!(weather != Weather::Fair || caller.awaits.is_empty(), "a client was cut off");
    }
    drop((callers, clerks));
    house.world.set_disk(DiskMode::Well);
    house.pass(Duration::from_secs(12));
    house.assert_quiet();
    house.sum(|c| c.spooled.get())
}

/// Runs many seeds, `STORM_RUNS` times as many if that is set; `STORM_SEED` runs one again.
fn runs(weather: Weather, count: u64) {
    let times = std::env::var("STORM_RUNS").ok().and_then(|text| text.parse().ok());
    let count = count * times.unwrap_or(1);
    if let Some(seed) = std::env::var("STORM_SEED").ok().and_then(|text| text.parse().ok()) {
        run(seed, weather);
        return;
    }
    let mut spooled = 0;
    for seed in 0..count {
        let result = std::panic::catch_unwind(|| run(seed, weather));
        spooled += result.unwrap_or_else(|_| panic!("{weather:?}: STORM_SEED={seed}"));
    }
    assert!(spooled > count, "{spooled} went to the spool");
}

#[test]
fn in_fair_weather_everybody_is_served() {
    runs(Weather::Fair, 30);
}

#[test]
fn a_spool_that_is_too_small_harms_only_who_does_not_fit() {
    runs(Weather::Tight, 30);
}

#[test]
fn a_disk_that_fails_and_hangs_mixes_nothing_up() {
    runs(Weather::Disk, 30);
}

#[test]
fn nothing_is_lost_in_a_storm() {
    runs(Weather::Storm, 40);
}
