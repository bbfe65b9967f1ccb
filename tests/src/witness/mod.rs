//! Servers that tell how they read each request: nginx, HAProxy, Node, gunicorn, hyper, and the
//! strict reader of these tests.
//!
//! Each answers a request with 200 and `read <target>`, so that an answer that went to somebody
//! else is found, and records what it read before it answers.

mod hyper;
mod proxies;
mod scripts;

pub use hyper::hyper;
pub use proxies::{haproxy, haproxy_before, nginx, nginx_before};
pub use scripts::{gunicorn, node};

use std::fmt;
use std::fs;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::corpus::notation::latin;
use crate::message::Request;
use crate::servers::Server;
use crate::upstream::{Next, Upstream, respond};

/// One request as a server read it; bytes beyond ASCII as ISO 8859-1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The host, empty if there was none.
    pub host: String,
    /// The body, freed from its framing.
    pub body: Vec<u8>,
}

impl Reading {
    /// As our own strict reader reads it.
    pub fn of(request: &Request) -> Self {
        Self {
            method: request.method().to_owned(),
            target: request.target().to_owned(),
            host: request.head.all("host").join(","),
            body: request.body.clone(),
        }
    }

    /// From a line that a script wrote: four words in hexadecimal, `-` for nothing.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(|word| match word {
            "-" => Some(Vec::new()),
            _ => unhex(word),
        });
        let mut text = || words.next()?.map(|bytes| latin(&bytes));
        let (method, target, host) = (text()?, text()?, text()?);
        Some(Self { method, target, host, body: words.next()?? })
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.body[..self.body.len().min(60)];
        let length = self.body.len();
        write!(f, "[{} {} @{} ", self.method, self.target, self.host)?;
        write!(f, "{length}: {}]", body.escape_ascii())
    }
}

/// A server that records what it reads.
pub struct Witness {
    name: &'static str,
    address: String,
    records: Records,
    readings: Vec<Reading>,
    heads: Vec<Vec<u8>>,
    malformed: usize,
    // What must live as long as the witness does.
    server: Option<Server>,
    recorder: Option<Upstream>,
}

/// Where a server records what it read.
enum Records {
    /// Here.
    Memory(Arc<Memory>),
    /// In a file of its own, a line each, read up to here.
    File { path: String, read: usize },
    /// At the recorder behind it.
    Behind,
}

/// What a server in this process records.
#[derive(Debug, Default)]
struct Memory {
    readings: Mutex<Vec<Reading>>,
    malformed: Mutex<usize>,
}

/// What a server writes of a request that it can't read.
const COMPLAINTS: [&str; 4] =
    ["witness-status=4", "witness-status=5", "Invalid request from", "Error handling request"];

impl Witness {
    fn new(name: &'static str, address: &str, records: Records) -> Self {
        let address = address.to_owned();
        let (readings, heads, malformed) = (Vec::new(), Vec::new(), 0);
        let (server, recorder) = (None, None);
        Self { name, address, records, readings, heads, malformed, server, recorder }
    }

    /// The name by which the corpora know it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was read since the last call: waits until it is as much as expected, or `patience`
    /// is over.
    pub fn read(&mut self, expected: usize, patience: Duration) -> Vec<Reading> {
        let start = Instant::now();
        loop {
            self.look();
            if self.readings.len() >= expected || start.elapsed() > patience {
                return mem::take(&mut self.readings);
            }
            crate::wait::pause(1);
        }
    }

    /// How many requests it could not read since the last call.
    pub fn malformed(&mut self) -> usize {
        self.look();
        mem::take(&mut self.malformed)
    }

    /// The heads it was sent since the last call, byte for byte; only our own reader knows.
    pub fn heads(&mut self) -> Vec<Vec<u8>> {
        mem::take(&mut self.heads)
    }

    /// Of a strict reader: what was wrong with the requests it met since the last call (law 4).
    pub fn faults(&self) -> Vec<String> {
        self.recorder.as_ref().map(Upstream::take_faults).unwrap_or_default()
    }

    /// What comes may be streamed.
    pub fn expect_streams(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.expect_streams();
        }
    }

    /// Takes in what was recorded meanwhile.
    fn look(&mut self) {
        match &mut self.records {
            Records::Memory(memory) => {
                self.readings.append(&mut lock(&memory.readings));
                self.malformed += mem::take(&mut *lock(&memory.malformed));
            }
            Records::File { path, read } => {
                let text = lines(path, read);
                let (readings, others): (Vec<_>, Vec<_>) =
                    text.lines().map(Reading::parse).partition(Option::is_some);
                self.readings.extend(readings.into_iter().flatten());
                self.malformed += others.len();
            }
            Records::Behind => {
                let requests = self.recorder.as_ref().map(Upstream::take).unwrap_or_default();
                self.readings.extend(requests.iter().map(Reading::of));
                if self.server.is_none() {
                    self.heads.extend(requests.into_iter().map(|request| request.raw_head));
                }
            }
        }
        let said = self.server.as_mut().map(|server| server.process().news()).unwrap_or_default();
        let complains = |line: &&str| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
        self.malformed += said.lines().filter(complains).count();
    }
}

/// The strict reader of these tests (law 4 is checked on all it meets).
pub fn plain() -> Witness {
    let recorder = recorder();
    let address = recorder.address().to_owned();
    Witness { recorder: Some(recorder), ..Witness::new("plain", &address, Records::Behind) }
}

fn recorder() -> Upstream {
    Upstream::http(|request, _, stream| {
        let bodiless = request.method() == "HEAD";
        let body = answer(request.target());
        if bodiless {
            use std::io::Write;
            write!(stream, "HTTP/1.1 200 Fine\r\nContent-Length: {}\r\n\r\n", body.len())?;
        } else {
            respond(stream, 200, body.as_bytes())?;
        }
        Ok(Next::Keep)
    })
}

/// What every witness answers.
pub fn answer(target: &str) -> String {
    format!("read {target}")
}

/// The whole lines that were added to a file since.
fn lines(path: &str, read: &mut usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let fresh = text.get(*read..).unwrap_or_default();
    let whole = fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    *read += whole;
    latin(&fresh[..whole])
}

fn unhex(word: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = word.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn lines_of_scripts_are_read() {
        let reading = Reading::parse("474554 2f e9 -").unwrap();
        assert_eq!((reading.method.as_str(), reading.target.as_str()), ("GET", "/"));
        assert_eq!((reading.host.as_str(), reading.body.len()), ("\u{e9}", 0));
        assert_eq!(Reading::parse("malformed"), None);
        assert_eq!(Reading::parse("47 4"), None);
    }

    #[test]
    fn every_witness_reads_and_notices_what_it_cannot_read() {
        let patience = Duration::from_secs(5);
        for mut witness in [plain(), hyper(), node(), gunicorn(), nginx(), haproxy()] {
            let name = witness.name();
            witness.read(0, Duration::ZERO);
            let mut client = Client::new(witness.address());
            client.send("POST /a?b HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nxyz");
            assert_eq!(client.response().text(), "read /a?b", "{name}");
            let read = witness.read(1, patience);
            let expected = "[POST /a?b @test 3: xyz]";
            assert_eq!(format!("{read:?}"), format!("[{expected}]"), "{name}");
            witness.malformed();
            Client::new(witness.address()).send("GET / HTTP/1.1\r\nA : b\r\n\r\n").expect_refusal();
            if name != "plain" {
                crate::wait::eventually(&format!("{name} to complain"), || {
                    (witness.malformed() > 0).then_some(())
                });
            }
        }
    }
}
