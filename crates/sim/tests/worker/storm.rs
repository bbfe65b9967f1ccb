//! Storms: clients and servers that do anything at any time, in small worlds. Whatever they did,
//! nothing is left of it afterwards, and both bounds of the server held.

use crate::house::{GET, House, Setting};
use base::id::ServerId;
use sim::{Peer, Segments, WorldConfig};
use std::time::Duration;
use worker::CloseReason;

const SEEDS: u64 = 600;

/// A small generator: every storm is its seed's.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// What a client may say: requests, parts of them, and bodies that go on.
const WORDS: [&str; 9] = [
    GET,
    "GET /b HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\nExpect: 100-continue\r\n\r\n",
    "100;x=y\r\n",
    "0\r\nT: r\r\n\r\n",
    "GET /c HTTP/1.1\r\nHo",
    "\r\n\r\n",
];

/// What a server may say, at any time.
const ANSWERS: [&str; 12] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 50\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
    "8\r\ndata: 1\n\r\n",
    "0\r\n\r\n",
    "data: plain\n\n",
    "no answer at all\r\n\r\n",
];

fn client_acts(dice: &mut Dice, clients: &mut Vec<Peer>) {
    if clients.is_empty() {
        return;
    }
    let at = dice.below(clients.len());
    let client = &clients[at];
    match dice.below(12) {
        0..6 => {
            client.write(dice.of(&WORDS).as_bytes());
        }
        6 => {
            client.write(&vec![b'x'; dice.below(3000)]);
        }
        7 => {
            let _ = client.read_some(dice.below(5000));
        }
        8 => {
            let _ = client.read();
        }
        9 => client.set_window(dice.below(4000)),
        10 if dice.once_in(2) => client.end(),
        11 if dice.once_in(2) => {
            clients.remove(at).reset();
        }
        _ => {}
    }
}

fn server_acts(dice: &mut Dice, servers: &mut Vec<Peer>) {
    if servers.is_empty() {
        return;
    }
    let at = dice.below(servers.len());
    let server = &servers[at];
    match dice.below(10) {
        0..5 => {
            server.write(dice.of(&ANSWERS).as_bytes());
        }
        5..8 => {
            let _ = server.read_some(dice.below(9000));
        }
        8 if dice.once_in(3) => server.end(),
        9 if dice.once_in(3) => {
            let server = servers.remove(at);
            if dice.once_in(2) { server.reset() } else { server.close() }
        }
        _ => {}
    }
}

/// What a storm met: answers of the servers, clients that left, streams beyond the leases, uploads
/// the server answered early.
type Met = [u64; 4];

fn storm(seed: u64) -> Met {
    let mut dice = Dice(seed);
    let world = WorldConfig {
        pipe_bytes: *dice.of(&[600, 4096, 65_536]),
        segments: *dice.of(&[Segments::Whole, Segments::Random { seed, most: 700 }]),
        ..WorldConfig::default()
    };
    let (connections, pinned) = (*dice.of(&[1, 2, 3]), *dice.of(&[0, 1, 3]));
    let setting = Setting {
        world,
        workers: *dice.of(&[1, 2]),
        buffers: *dice.of(&[16, 24, 64]),
        max_clients: 24,
        connections,
        pinned,
        pinned_free: *dice.of(&[0, 2, 16]),
        stream: !dice.once_in(4),
        persistent: !dice.once_in(5),
        reclaim_parked: dice.once_in(4),
        ..Setting::default()
    };
    let mut house = House::new(&setting);
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    let mut beyond = 0;
    for _ in 0..400 {
        match dice.below(10) {
            0 if clients.len() < 20 => clients.push(house.client()),
            0..5 => client_acts(&mut dice, &mut clients),
            5..9 => server_acts(&mut dice, &mut servers),
            _ => house.pass(Duration::from_millis(*dice.of(&[1, 200, 7_000]))),
        }
        house.settle();
        while let Some(server) = house.world.accept(ServerId(0)) {
            servers.push(server);
        }
        let open = house.world.connections_to(ServerId(0));
        beyond += u64::from(open > connections);
        assert!(open <= connections + pinned, "{open} connections, {setting:?}");
    }
    clients.drain(..).for_each(|client: Peer| client.reset());
    servers.clear();
    house.pass(Duration::from_mins(3));
    house.assert_quiet();
    assert_eq!(house.sum(|c| c.clients.get()), 0);
    let closed = |reason| house.sum(|c| c.clients_closed[reason as usize].get());
    let answers = house.sum(|c| c.requests[1].get());
    [answers, closed(CloseReason::Aborted), beyond, closed(CloseReason::Done)]
}

#[test]
fn nothing_is_left_after_any_storm() {
    let mut met = [0; 4];
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| storm(seed));
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        met.iter_mut().zip(outcome).for_each(|(sum, count)| *sum += count);
    }
    println!("answers, aborts, rounds with streams, last answers: {met:?}");
    assert!(met.iter().all(|&count| count > SEEDS / 2), "too quiet: {met:?}");
}
