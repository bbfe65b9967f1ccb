//! Storms of tunnels: both ends do anything at any time, buffers are short and bytes come in pieces.
//! What one end gets is what the other has sent, in order and from the first byte on; where both
//! end in order nothing is missing; and nothing is left afterwards.

use crate::house::{House, Setting, status, text};
use base::id::ServerId;
use exchange::Passing;
use sim::{Peer, Segments, WorldConfig};
use std::time::Duration;

const SEEDS: u64 = 300;

const ASK: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// A small generator: every storm is its seed's.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// The byte at a place of what an end sends.
fn byte(end: usize, place: usize) -> u8 {
    u8::try_from((place.wrapping_mul(31) ^ (place >> 8) ^ (end * 77)) & 0xff).unwrap_or(0)
}

/// One end of a tunnel, as the test plays it.
struct End {
    peer: Peer,
    number: usize,
    sent: usize,
    got: usize,
    ended: bool,
    broken: bool,
}

impl End {
    fn new(peer: Peer, number: usize) -> Self {
        Self { peer, number, sent: 0, got: 0, ended: false, broken: false }
    }

    fn write(&mut self, bytes: usize) {
        if !self.ended {
            let what: Vec<u8> =
                (self.sent..self.sent + bytes).map(|at| byte(self.number, at)).collect();
            self.sent += self.peer.write(&what);
        }
    }

    /// Reads some of what the end `other` has sent.
    fn read(&mut self, other: usize, most: usize) {
        for read in self.peer.read_some(most) {
            assert_eq!(read, byte(other, self.got), "byte {} of end {other}", self.got);
            self.got += 1;
        }
    }

    fn reset(&mut self) {
        self.broken = true;
        self.peer.reset();
    }

    /// Whether something may be missing at either side of it.
    fn is_cut(&self) -> bool {
        self.broken || self.peer.is_reset() || !self.peer.has_ended()
    }

    fn end(&mut self) {
        self.ended = true;
        self.peer.end();
    }
}

/// The ends of a new tunnel.
fn begin(house: &mut House, number: usize, passes: bool) -> Option<[End; 2]> {
    let client = house.client();
    let mut asked = 0;
    while !passes && asked < ASK.len() {
        asked += client.write(&ASK.as_bytes()[asked..]);
        house.settle();
    }
    house.settle();
    let server = house.world.accept(ServerId(0))?;
    if !passes {
        let (mut request, mut head, mut said) = (String::new(), String::new(), 0);
        for _ in 0..500 {
            request += &text(&server);
            if request.ends_with("\r\n\r\n") {
                said += server.write(&SWITCHED.as_bytes()[said..]);
            }
            house.settle();
            head += &text(&client);
        }
        assert!(status(&head) == 101 && head.ends_with("\r\n\r\n"), "{head}");
    }
    Some([End::new(client, 2 * number), End::new(server, 2 * number + 1)])
}

/// How many tunnels ended with nothing missing.
fn storm(seed: u64, passes: bool) -> usize {
    let mut dice = Dice(seed);
    let pipe_bytes = [64, 700, 5000, 70_000][dice.below(4)];
    let segments = match dice.below(3) {
        0 => Segments::Whole,
        1 => Segments::Most(1 + dice.below(3000)),
        _ => Segments::Random { seed, most: 4000 },
    };
    let world = WorldConfig { pipe_bytes, segments, ..WorldConfig::default() };
    let mut house = House::new(&Setting {
        world,
        buffers: 12 + u32::try_from(dice.below(60)).unwrap_or(0),
        passing: passes.then(Passing::default),
        ..Setting::default()
    });
    let mut tunnels: Vec<[End; 2]> =
        (0..4).filter_map(|number| begin(&mut house, number, passes)).collect();
    assert!(!tunnels.is_empty());
    for _ in 0..150 {
        let at = dice.below(tunnels.len());
        let pair = &mut tunnels[at];
        let one = dice.below(2);
        let other = pair[1 - one].number;
        match dice.below(40) {
            0 => pair[one].end(),
            1 if seed.is_multiple_of(2) => pair[one].reset(),
            2 => house.pass(Duration::from_millis(1 + dice.below(300) as u64)),
            3..20 => pair[one].write(dice.below(9000)),
            _ => pair[one].read(other, dice.below(20_000)),
        }
        if dice.below(3) > 0 {
            house.settle();
        }
    }
    // From here on everybody reads, and ends.
    for round in 0..6000 {
        house.settle();
        let mut moved = 0;
        for [one, two] in &mut tunnels {
            let before = one.got + two.got;
            one.read(two.number, usize::MAX);
            two.read(one.number, usize::MAX);
            moved += one.got + two.got - before;
        }
        if round > 0 && moved == 0 {
            break;
        }
    }
    let mut all_there = 0;
    for [one, two] in &mut tunnels {
        one.end();
        two.end();
        house.settle();
        let cut = one.is_cut() || two.is_cut();
        let whole = one.got == two.sent && two.got == one.sent;
        assert!(cut || whole, "seed {seed}, passed through {passes}: bytes are missing");
        all_there += usize::from(!cut && one.got + two.got > 0);
    }
    for [one, two] in tunnels {
        one.peer.reset();
        two.peer.reset();
    }
    house.assert_quiet();
    assert_eq!(house.world.connections_to(ServerId(0)), 0, "seed {seed}");
    all_there
}

#[test]
fn what_one_end_gets_is_what_the_other_has_sent() {
    let mut all_there = 0;
    for seed in 0..SEEDS {
        for passes in [false, true] {
            all_there += storm(seed, passes);
        }
    }
    assert!(all_there > 1000, "{all_there} of some {} tunnels", SEEDS * 8);
}
