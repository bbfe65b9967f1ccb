//! A server that says anything: a polite client gets a whole response, the one that the server
//! said, or an answer of ours, or a clear cut.

use std::time::Duration;

use base::id::ServerId;
use sim::ServerMode;

use super::channel::Channel;
use super::house::{Circumstances, House};
use super::script::{Act, acts};
use super::visitor::{Asked, PATIENCE, Visitor};
use crate::reference::{self, Reading, Response};

/// Clients at one time, and what each asks.
const CLIENTS: usize = 2;
const REQUESTS: usize = 6;

/// A connection to the server.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Link {
    peer: Option<Channel>,
    heard: Vec<u8>,
    said: Vec<u8>,
    /// Whether all was read of what was said, and nothing more comes.
    ended: bool,
    /// Whether the server broke it, or left without a word.
    broken: bool,
    /// Whether it says nothing more.
    mute: bool,
    polite: bool,
}

struct Stage {
    house: House,
    circumstances: Circumstances,
    visitors: Vec<Visitor>,
    links: Vec<Link>,
    /// Whether any time went by, beyond which something may not be waited for.
    passed: bool,
}

/// The first bytes say under which circumstances the server says the others.
pub fn check(bytes: &[u8]) {
    let Some((circumstances, bytes)) = Circumstances::read(bytes) else { return };
    let house = House::new(&circumstances);
    let keys = circumstances.clients();
    let visitor = |name| Visitor::new(name, REQUESTS, &house.world, keys);
    let visitors = (0..CLIENTS).map(visitor).collect();
    let mut stage = Stage { house, circumstances, visitors, links: Vec::new(), passed: false };
    stage.settle();
    let mut turn = 0;
    for act in acts(bytes) {
        stage.act(&act, &mut turn);
    }
    stage.end();
}

impl Stage {
    fn act(&mut self, act: &Act, turn: &mut usize) {
        match act {
            Act::Settle => return self.settle(),
            Act::Pass(length) => {
                self.passed = true;
                return self.pass(*length);
            }
            Act::Turn(number) => {
                *turn = *number;
                return;
            }
            _ => {}
        }
        let open: Vec<usize> =
            (0..self.links.len()).filter(|&at| self.links[at].peer.is_some()).collect();
        let Some(&at) = open.get(*turn % open.len().max(1)) else { return };
        self.links[at].act(act);
    }

    /// Until nobody has anything more to do.
    fn settle(&mut self) {
        loop {
            self.house.settle();
            while let Some(peer) = self.house.world.accept(ServerId(0)) {
                let peer = Channel::answers(peer, self.circumstances.servers());
                self.links.push(Link::new(peer, self.circumstances.is_polite()));
            }
            let mut acted = false;
            for link in &mut self.links {
                acted |= link.hear();
            }
            for visitor in &mut self.visitors {
                acted |= visitor.act(&self.house.world);
            }
            if !acted && self.house.world.is_still() {
                return;
            }
        }
    }

    fn pass(&mut self, length: Duration) {
        let mut left = length;
        while left > Duration::ZERO {
            self.settle();
            left = self.house.step(left);
        }
        self.settle();
    }

    /// The server goes; everybody has been answered then, or was cut off.
    fn end(mut self) {
        self.settle();
        self.judge_cuts();
        self.house
            .world
            .set_server(ServerId(0), ServerMode::FailsAtOnce(driver::ConnectFault::Refused));
        for link in &mut self.links {
            link.act(&Act::Reset);
        }
        self.pass(PATIENCE);
        let Self { house, visitors, links, .. } = self;
        for visitor in &visitors {
            assert!(visitor.is_done(), "a client waits for ever: {:?}", visitor.asked.last());
            visitor.asked.iter().for_each(|asked| judge(asked, &links));
        }
        drop((visitors, links));
        house.close();
    }

    /// Nobody was cut off without a reason.
    fn judge_cuts(&self) {
        if self.passed || self.house.was_short() {
            return;
        }
        for asked in self.visitors.iter().flat_map(Visitor::concluded) {
            let reason = self.links.iter().any(|link| link.is_reason_to_cut(&asked.target));
            assert!(asked.answer.is_some() || reason, "cut off without a reason: {asked:?}");
        }
    }
}

impl Link {
    const fn new(peer: Channel, polite: bool) -> Self {
        Self {
            peer: Some(peer),
            heard: Vec::new(),
            said: Vec::new(),
            ended: false,
            broken: false,
            mute: false,
            polite,
        }
    }

    /// Reads what came; whether something was done that others have to see.
    fn hear(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        let acted = peer.pump();
        self.heard.extend(peer.read());
        if peer.is_closed() {
            self.peer = None;
        }
        acted
    }

    fn act(&mut self, act: &Act) {
        let Some(peer) = &mut self.peer else { return };
        match act {
            Act::Say(bytes) if !self.mute => {
                let written = peer.write(bytes);
                self.said.extend_from_slice(&bytes[..written]);
            }
            Act::SayBetween(bytes) if !self.mute => {
                let said = peer.write_between(bytes);
                self.said.extend_from_slice(&bytes[..said]);
                self.broken |= said < bytes.len();
            }
            Act::End => {
                let whole = peer.end(self.polite);
                self.ended |= whole;
                self.broken |= !whole;
                self.mute = true;
            }
            Act::Reset => {
                peer.reset();
                self.peer = None;
                self.broken = true;
            }
            Act::Window(bytes) => peer.set_window(*bytes),
            Act::Take(bytes) => {
                let heard = peer.read_some(*bytes);
                self.heard.extend(heard);
            }
            Act::Say(_) | Act::SayBetween(_) | Act::Settle | Act::Pass(_) | Act::Turn(_) => {}
        }
    }

    /// Whether the client that asked for `target` may be left without a whole answer: the server
    /// ended or broke the connection, or said something that is none, or not whole.
    fn is_reason_to_cut(&self, target: &str) -> bool {
        let spoiled = || matches!(self.said_to(target), Some(Reading::Partial | Reading::Bad));
        self.ended || self.broken || (!self.said.is_empty() && spoiled())
    }

    /// What the server said to the request for `target`: `None` if it never saw it, or all of it.
    fn said_to(&self, target: &str) -> Option<Reading<Response>> {
        let mut heard = &self.heard[..];
        let mut said = &self.said[..];
        loop {
            let (request, length) = match reference::request(heard) {
                Reading::Whole(request, length) => (request, length),
                Reading::Partial => {
                    // A part of a request can be answered, too.
                    let words: Vec<&[u8]> = heard.splitn(3, |byte| *byte == b' ').collect();
                    let shown = words.len() == 3 && words[1] == target.as_bytes();
                    let to_head = words.first() == Some(&&b"HEAD"[..]);
                    return shown.then(|| reference::response(said, to_head, self.ended));
                }
                Reading::Bad => panic!("no request: {}", heard.escape_ascii()),
            };
            heard = &heard[length..];
            let answer = reference::response(said, request.method == b"HEAD", self.ended);
            if request.target == target.as_bytes() {
                return Some(answer);
            }
            match answer {
                Reading::Whole(_, length) => said = &said[length..],
                _ => return None,
            }
        }
    }
}

/// A client's answer is what some connection said, or ours.
fn judge(asked: &Asked, links: &[Link]) {
    let Some(answer) = &asked.answer else { return };
    let said: Vec<_> = links.iter().filter_map(|link| link.said_to(&asked.target)).collect();
    let same = |said: &Reading<Response>| match said {
        Reading::Whole(said, _) => {
            (said.status, &said.body, &said.content_type)
                == (answer.status, &answer.body, &answer.content_type)
        }
        Reading::Partial | Reading::Bad => false,
    };
    assert!(said.iter().any(same) || ours(answer), "{asked:?} is not what was said: {said:?}");
}

/// A refusal of ours.
fn ours(answer: &Response) -> bool {
    matches!(answer.status, 408 | 502 | 503 | 504)
        && answer.content_type.as_deref() == Some(b"text/plain; charset=utf-8")
}
