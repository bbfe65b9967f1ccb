//! A polite server: it reads all that comes, insists that it is whole canonical requests, and
//! answers each with something that only its client may get.

use std::net::IpAddr;

use base::id::ServerId;

use super::channel::Channel;
use super::house::Circumstances;
use crate::cuts::Dice;
use crate::reference::{self, Reading, Request};

/// One request that was answered.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) client: IpAddr,
    pub(super) request: Request,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A connection to the server.
struct Link {
    peer: Channel,
    /// What came of a request that is not whole yet.
    unread: Vec<u8>,
    /// What did not fit yet of the answers.
    unsent: Vec<u8>,
    /// Whether the connection ends behind them.
    last: bool,
}

/// The server.
pub(super) struct Server {
    links: Vec<Link>,
    pub(super) served: Vec<Served>,
    circumstances: Circumstances,
}

impl Server {
    pub(super) const fn new(circumstances: Circumstances) -> Self {
        Self { links: Vec::new(), served: Vec::new(), circumstances }
    }

    /// Does what there is to do; whether it did something.
    pub(super) fn act(&mut self, world: &sim::World) -> bool {
        let mut acted = false;
        while let Some(peer) = world.accept(ServerId(0)) {
            let peer = Channel::answers(peer, self.circumstances.servers());
            self.links.push(Link { peer, unread: Vec::new(), unsent: Vec::new(), last: false });
            acted = true;
        }
        let open = world.connections_to(ServerId(0));
        let most = self.circumstances.connections + 2;
        assert!(open <= most, "{open} connections (law 6)");
        let Self { links, served, circumstances } = self;
        links.retain_mut(|link| {
            let came = link.peer.read();
            acted |= !came.is_empty();
            link.unread.extend(came);
            acted |= link.answer(served, *circumstances);
            acted |= link.write();
            acted |= link.peer.pump();
            let over = link.is_over() || link.peer.is_closed();
            acted |= over;
            !over
        });
        acted
    }

    /// At rest: what came is whole (law 4), unless it is shown as it arrives.
    pub(super) fn at_rest(&self) {
        for link in self.links.iter().filter(|_| !self.circumstances.stream) {
            let left = link.peer.is_over() || link.last;
            let text = link.unread.escape_ascii();
            assert!(left || link.unread.is_empty(), "a request that is not whole: {text}");
        }
    }
}

impl Link {
    /// Answers every whole request.
    fn answer(&mut self, served: &mut Vec<Served>, circumstances: Circumstances) -> bool {
        let mut answered = false;
        while !self.last {
            let (request, length) = match reference::request(&self.unread) {
                Reading::Whole(request, length) => (request, length),
                Reading::Partial => break,
                Reading::Bad => panic!("no request: {}", self.unread.escape_ascii()),
            };
            canonical(&self.unread[..length], circumstances);
            self.unread.drain(..length);
            assert!(answered || self.unsent.is_empty(), "pipelined towards the server");
            self.last = request.last;
            let client =
                request.forwarded_for.as_deref().and_then(|text| str::from_utf8(text).ok());
            let Some(client) = client.and_then(|text| text.parse().ok()) else {
                panic!("a request of nobody: {request:?}")
            };
            let mut answer = Answer::to(&request, served.len(), circumstances.choice);
            self.last |= answer.last;
            self.unsent.append(&mut answer.text);
            served.push(Served { client, request, status: answer.status, body: answer.body });
            answered = true;
        }
        answered
    }

    /// Whether it may be closed: the last answer is written. Over TLS the end is told, and what the other
    /// side says of that is waited for.
    fn is_over(&mut self) -> bool {
        let written = self.last && self.unsent.is_empty();
        if written && self.peer.is_secured() {
            self.peer.end(true);
        }
        written && !self.peer.is_secured()
    }

    fn write(&mut self) -> bool {
        let written = self.peer.write(&self.unsent);
        self.unsent.drain(..written);
        if self.peer.is_reset() {
            self.unsent.clear();
            self.last = true;
        }
        written > 0
    }
}

/// A request in the one form that a server is shown.
fn canonical(bytes: &[u8], circumstances: Circumstances) {
    let text = bytes.escape_ascii();
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { panic!("{text}") };
    let Some(head) = reference::head(&bytes[..end + 4]) else { panic!("{text}") };
    assert_eq!(head.line[2], b"HTTP/1.1", "{text}");
    for once in ["host", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto"] {
        // Those who led the request to us stand before us in `Via`, a line each.
        let most = if once == "via" { usize::MAX } else { 1 };
        assert!((1..=most).contains(&head.all(once).count()), "{once} in {text}");
    }
    for never in ["te", "upgrade", "expect", "keep-alive", "trailer", "proxy", "proxy-connection"] {
        assert_eq!(head.all(never).count(), 0, "{never} in {text}");
    }
    let closes = head.lists("connection", "close");
    assert_eq!(closes, !circumstances.persistent, "{text}");
    assert!(circumstances.stream || head.all("transfer-encoding").count() == 0, "{text}");
    assert!(!circumstances.request_ids || head.only("x-request-id").is_some(), "{text}");
}

/// What is answered.
struct Answer {
    status: u16,
    body: Vec<u8>,
    text: Vec<u8>,
    last: bool,
}

impl Answer {
    /// The number goes with it, so that nobody else's is taken for it.
    fn to(request: &Request, number: usize, choice: u8) -> Self {
        let mut dice = Dice::of(&[&request.target, &request.body[..], &[choice]].concat());
        let length = [0, 1, 5, 40, 300, 1500][dice.below(6)];
        let body: Vec<u8> = format!("<{number}>").bytes().cycle().take(length).collect();
        let hint = if dice.below(6) == 0 { "HTTP/1.1 103 Hint\r\nLink: <a>\r\n\r\n" } else { "" };
        let bodiless = request.method == b"HEAD";
        let echo = format!("X-Echo: {number}\r\n");
        let head =
            |status: &str, fields: &str| format!("{hint}HTTP/1.1 {status}\r\n{echo}{fields}\r\n");
        let (status, head, coded, last) = match dice.below(8) {
            0 => (204, head("204 No", ""), Vec::new(), false),
            1 => (304, head("304 Same", "ETag: \"a\"\r\n"), Vec::new(), false),
            2 | 3 => (200, head("200 OK", "Transfer-Encoding: chunked\r\n"), chunks(&body), false),
            4 => (200, head("200 OK", ""), body.clone(), true),
            5 => {
                let fields = format!("Content-Length: {length}\r\nConnection: close\r\n");
                (404, head("404 Nothing", &fields), body.clone(), true)
            }
            _ => {
                let fields = format!("Content-Length: {length}\r\n");
                (200, head("200 OK", &fields), body.clone(), false)
            }
        };
        let body = if bodiless || status != 200 && status != 404 { Vec::new() } else { body };
        let coded = if bodiless { Vec::new() } else { coded };
        Self { status, body, text: [head.into_bytes(), coded].concat(), last }
    }
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(200) {
        coded.extend(format!("{:x};x\r\n", chunk.len()).into_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\nT: u\r\n\r\n");
    coded
}
