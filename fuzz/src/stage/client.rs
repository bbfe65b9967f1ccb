//! A client that says anything: the server must see whole canonical requests of it and no
//! others, and everybody gets what is meant for them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base::id::ListenerId;

use super::channel::Channel;
use super::house::{Circumstances, House};
use super::script::{Act, acts};
use super::server::{Served, Server};
use crate::reference::{self, Reading, Request, Response};

/// Clients at one time.
const CLIENTS: usize = 3;

/// One connection of a client.
struct Client {
    peer: Channel,
    address: IpAddr,
    said: Vec<u8>,
    got: Vec<u8>,
    ended: bool,
}

struct Stage {
    house: House,
    server: Server,
    circumstances: Circumstances,
    clients: Vec<Client>,
    /// Those that were reset.
    gone: Vec<Client>,
    clients_before: u32,
}

/// The first bytes say under which circumstances the clients say the others.
pub fn check(bytes: &[u8]) {
    let Some((circumstances, bytes)) = Circumstances::read(bytes) else { return };
    let mut stage = Stage {
        house: House::new(&circumstances),
        server: Server::new(circumstances),
        circumstances,
        clients: Vec::new(),
        gone: Vec::new(),
        clients_before: 0,
    };
    for _ in 0..CLIENTS {
        stage.enter();
    }
    let mut turn = 0;
    for act in acts(bytes) {
        stage.act(&act, &mut turn);
    }
    stage.end();
}

impl Stage {
    /// A new client, from an address of its own.
    fn enter(&mut self) {
        self.clients_before += 1;
        let first = Ipv4Addr::new(192, 0, 2, 0).to_bits();
        let address = IpAddr::V4(Ipv4Addr::from_bits(first + self.clients_before));
        let peer = self.house.world.connect_from(ListenerId(0), address);
        let peer = Channel::calls(peer, self.circumstances.clients());
        self.clients.push(Client {
            peer,
            address,
            said: Vec::new(),
            got: Vec::new(),
            ended: false,
        });
    }

    fn act(&mut self, act: &Act, turn: &mut usize) {
        let client = &mut self.clients[*turn];
        match act {
            Act::Say(bytes) if !client.ended => {
                let written = client.peer.write(bytes);
                client.said.extend_from_slice(&bytes[..written]);
            }
            Act::SayBetween(bytes) if !client.ended => {
                let said = client.peer.write_between(bytes);
                client.said.extend_from_slice(&bytes[..said]);
            }
            Act::Say(_) | Act::SayBetween(_) => {}
            Act::Settle => self.settle(),
            Act::Pass(length) => self.pass(*length),
            Act::Take(bytes) => {
                let taken = client.peer.read_some(*bytes);
                client.got.extend(taken);
            }
            Act::End => {
                client.peer.end(self.circumstances.is_polite());
                client.ended = true;
            }
            Act::Reset => {
                client.peer.reset();
                self.settle();
                let client = self.clients.remove(*turn);
                self.gone.push(client);
                self.enter();
            }
            Act::Window(bytes) => client.peer.set_window(*bytes),
            Act::Turn(number) => *turn = number % CLIENTS,
        }
    }

    /// Until the worker and the server have nothing more to do.
    fn settle(&mut self) {
        loop {
            self.house.settle();
            let mut acted = self.server.act(&self.house.world);
            for client in &mut self.clients {
                acted |= client.peer.pump();
            }
            if !acted {
                break;
            }
        }
        self.server.at_rest();
    }

    fn pass(&mut self, length: Duration) {
        let mut left = length;
        while left > Duration::ZERO {
            self.settle();
            left = self.house.step(left);
        }
        self.settle();
    }

    /// Everybody takes what there is for them, and leaves.
    fn end(mut self) {
        for client in &self.clients {
            client.peer.set_window(64 << 10);
        }
        // Long enough for every deadline but that of parked clients.
        for _ in 0..40 {
            self.settle();
            for client in &mut self.clients {
                client.got.extend(client.peer.read());
            }
            self.pass(Duration::from_secs(4));
        }
        let Self { house, server, clients, gone, .. } = self;
        for client in &clients {
            client.judge(&server.served, true);
        }
        for client in &gone {
            client.judge(&server.served, false);
        }
        drop((clients, gone, server));
        house.close();
    }
}

impl Client {
    /// What the server saw of it, and what it got.
    fn judge(&self, served: &[Served], stayed: bool) {
        let sent = reference::requests(&self.said);
        let mut rest = sent.iter();
        for seen in served.iter().filter(|seen| seen.client == self.address) {
            let meant = rest.any(|meant| same(&seen.request, meant));
            assert!(meant, "never sent so: {:?} of {sent:?}", seen.request);
        }
        if stayed {
            self.judge_answers(served, &sent);
        }
    }

    /// The answers in their order, each whole or the last of a connection that was cut.
    fn judge_answers(&self, served: &[Served], sent: &[Request]) {
        // Between bytes that are none, records may be waited for for ever.
        let closed = self.peer.is_closed() || self.peer.is_over() || self.peer.is_spoiled();
        let mut rest = &self.got[..];
        let mut before = None;
        let mut answers = 0;
        while !rest.is_empty() {
            let head = sent.get(answers).map(|request| request.method == b"HEAD");
            let Some((answer, length)) = read(rest, head, self.peer.has_ended()) else {
                assert!(closed, "a part of an answer: {}", rest.escape_ascii());
                break;
            };
            rest = &rest[length..];
            answers += 1;
            match number(&answer) {
                Some(number) => {
                    let Some(served) = served.get(number) else { panic!("{answer:?}") };
                    assert_eq!(served.client, self.address, "somebody else's answer");
                    assert!(before < Some(number), "an answer out of order");
                    assert_eq!((answer.status, &answer.body), (served.status, &served.body));
                    before = Some(number);
                }
                None => assert!(ours(&answer), "nobody's answer: {answer:?}"),
            }
            assert!(
                !answer.last || rest.is_empty(),
                "bytes behind the last answer, {answer:?}: {}",
                rest.escape_ascii()
            );
        }
        assert!(closed || answers >= sent.len(), "{answers} answers to {} requests", sent.len());
    }
}

/// Reads an answer to a request that was HEAD or not, or of which that is not known. A refusal of
/// what is HEAD only here has a body.
fn read(bytes: &[u8], to_head: Option<bool>, ended: bool) -> Option<(Response, usize)> {
    let read = |to_head| match reference::response(bytes, to_head, ended) {
        Reading::Whole(response, length) => Some((response, length)),
        Reading::Partial => None,
        Reading::Bad => panic!("no response: {}", bytes.escape_ascii()),
    };
    // What stands behind the last answer, if it is ours, is its body, of which a part may be missing.
    let has_body =
        |(answer, length): &(Response, usize)| ours(answer) && answer.last && *length < bytes.len();
    match to_head.map(read) {
        Some(Some(found)) if has_body(&found) => read(false),
        Some(known) => known,
        None => read(false).or_else(|| read(true).filter(|found| !has_body(found))),
    }
}

/// The number that the server gave its answer.
fn number(answer: &Response) -> Option<usize> {
    let text = answer.echo.as_deref().and_then(|echo| str::from_utf8(echo).ok())?;
    text.parse().ok()
}

/// An answer of our own: a refusal, or that to OPTIONS which went no further.
fn ours(answer: &Response) -> bool {
    match answer.status {
        200 => answer.body.is_empty(),
        400 | 408 | 413 | 414 | 421 | 431 | 501 | 502 | 503 | 504 | 505 | 507 => {
            answer.content_type.as_deref() == Some(b"text/plain; charset=utf-8")
        }
        _ => false,
    }
}

fn same(seen: &Request, meant: &Request) -> bool {
    let host = meant.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(b"front");
    (&seen.method, &seen.target, &seen.body) == (&meant.method, &meant.target, &meant.body)
        && seen.host.as_deref() == Some(host)
}
