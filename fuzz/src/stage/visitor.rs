//! A polite client: one request after the other, read to the end of its answer.

use std::time::Duration;

use base::id::ListenerId;
use sim::World;

use super::channel::{Channel, Keys};
use crate::reference::{self, Reading, Response};

/// What it asks, in turn; the target is numbered.
const REQUESTS: [(&str, &str); 6] = [
    ("GET", "HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("HEAD", "HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("POST", "HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
    ("GET", "HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    ("PUT", "HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    ("GET", "HTTP/1.0\r\n\r\n"),
];

/// A request, and what came of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: String,
    pub(super) to_head: bool,
    /// `None`: the connection was cut.
    pub(super) answer: Option<Response>,
}

/// The client.
pub(super) struct Visitor {
    name: usize,
    peer: Channel,
    keys: Option<&'static Keys>,
    got: Vec<u8>,
    /// What it waits for the answer of.
    asking: bool,
    pub(super) asked: Vec<Asked>,
    most: usize,
}

impl Visitor {
    pub(super) fn new(
        name: usize,
        most: usize,
        world: &World,
        keys: Option<&'static Keys>,
    ) -> Self {
        let peer = Channel::calls(world.connect(ListenerId(0)), keys);
        Self { name, peer, keys, got: Vec::new(), asking: false, asked: Vec::new(), most }
    }

    /// Whether it has had all its answers.
    pub(super) fn is_done(&self) -> bool {
        !self.asking && self.asked.len() == self.most
    }

    /// What it asked and waits for no longer.
    pub(super) fn concluded(&self) -> &[Asked] {
        &self.asked[..self.asked.len() - usize::from(self.asking)]
    }

    /// Reads what came, and asks again if it can; whether it did something.
    pub(super) fn act(&mut self, world: &World) -> bool {
        let mut acted = self.peer.pump();
        let came = self.peer.read();
        acted |= !came.is_empty();
        self.got.extend(came);
        acted |= self.read(world);
        if !self.asking && self.asked.len() < self.most {
            self.ask();
            acted = true;
        }
        acted
    }

    fn ask(&mut self) {
        let number = self.asked.len();
        let (method, rest) = REQUESTS[(number + self.name) % REQUESTS.len()];
        let target = format!("/{}-{number}", self.name);
        let text = format!("{method} {target} {rest}");
        self.peer.write(text.as_bytes());
        self.asked.push(Asked { target, to_head: method == "HEAD", answer: None });
        self.asking = true;
    }

    fn read(&mut self, world: &World) -> bool {
        let cut = self.peer.is_reset();
        let over = self.peer.is_over();
        let ended = self.peer.has_ended();
        let to_head = self.asked.last().is_some_and(|asked| asked.to_head);
        if self.asking && !cut {
            match reference::response(&self.got, to_head, ended) {
                Reading::Whole(answer, length) => {
                    assert_eq!(length, self.got.len(), "more than an answer");
                    self.got.clear();
                    self.asking = false;
                    let last = answer.last;
                    if let Some(asked) = self.asked.last_mut() {
                        asked.answer = Some(answer);
                    }
                    if last || over {
                        self.come_again(world);
                    }
                    return true;
                }
                Reading::Partial => {}
                Reading::Bad => panic!("no response: {}", self.got.escape_ascii()),
            }
        }
        assert!(self.asking || self.got.is_empty(), "bytes that nobody asked for");
        if over {
            self.asking = false;
            self.come_again(world);
        }
        over
    }

    fn come_again(&mut self, world: &World) {
        self.peer = Channel::calls(world.connect(ListenerId(0)), self.keys);
        self.got.clear();
    }
}

/// Longer than any exchange may take once the servers are gone.
pub(super) const PATIENCE: Duration = Duration::from_mins(4);
