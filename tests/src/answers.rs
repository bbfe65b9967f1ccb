//! A response of a corpus brought through anteroom by a server that writes just these bytes.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Client;
use crate::corpus::{Case, Expected, Passage};
use crate::message::{Framing, Reader, Response};
use crate::proxy::{Anteroom, Setup};
use crate::random::Random;
use crate::stream::Stream;
use crate::trial::{BYTES_MAX, Cut};
use crate::upstream::{Upstream, respond};
use crate::wait::eventually;
use crate::witness::answer;

/// What the server is to say to `/case`, and what it has seen.
#[derive(Debug, Default)]
struct Script {
    pieces: Vec<Vec<u8>>,
    closes: bool,
    /// Requests for it so far, and those that it has answered in full.
    asked: usize,
    said: usize,
    /// Requests of any other kind.
    others: usize,
}

/// A proxy with one connection to a server that plays a script, so that whatever the server says
/// too much meets the next request.
pub struct Answers {
    proxy: Anteroom,
    script: Arc<Mutex<Script>>,
    bystander: Client,
    sentinels: usize,
    random: Random,
    // It ends when this is dropped.
    _upstream: Upstream,
}

impl Answers {
    /// Starts both.
    pub fn new() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let played = Arc::clone(&script);
        let upstream = Upstream::raw(move |_, reader| play(&played, reader));
        let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
        let proxy = setup.with("--memory", "4MiB").start();
        let (bystander, random) = (proxy.client(), Random::new(700));
        Self { proxy, script, bystander, sentinels: 0, random, _upstream: upstream }
    }

    /// Has every response said in every way; what was wrong, if anything.
    pub fn run(mut self, cases: &[Case]) -> Vec<String> {
        let mut wrong = Vec::new();
        for case in cases {
            for cut in Cut::ALL {
                if let Err(what) = self.one(case, cut) {
                    let bytes = case.bytes();
                    let shown = &bytes[..bytes.len().min(400)];
                    wrong.push(format!(
                        "{} ({cut:?}): {what}\n    {}",
                        case.name,
                        shown.escape_ascii()
                    ));
                    self.bystander = self.proxy.client();
                    self.sentinels = lock(&self.script).others;
                }
            }
        }
        self.proxy.finish();
        wrong
    }

    fn one(&mut self, case: &Case, cut: Cut) -> Result<(), String> {
        self.prepare(case, cut);
        let mut client = self.proxy.client();
        let (method, version) = case.method.split_once(' ').unwrap_or((&case.method, "HTTP/1.1"));
        client.send(format!("{method} /case {version}\r\nHost: test\r\n\r\n"));
        let open = match case.expected.as_slice() {
            [Expected::Passes(passage)] => {
                let response = read(&mut client, method)?;
                compare(passage, &response)?;
                !response.says_close() && response.framing != Framing::Close
            }
            [Expected::Refused(statuses)] => refused(&read(&mut client, method)?, statuses)?,
            [Expected::Broken] => match broken(&mut client, method)? {
                None => false,
                Some(response) => return Err(format!("it seems whole: {}", response.head.start)),
            },
            [Expected::RefusedOrBroken(statuses)] => match broken(&mut client, method)? {
                None => false,
                Some(response) => refused(&response, statuses)?,
            },
            other => return Err(format!("a response can't come to {other:?}")),
        };
        // What the server says too late to be noticed before the next request is beyond us.
        eventually("the server to have said it", || {
            let script = lock(&self.script);
            (script.said == script.asked && script.asked > 0).then_some(())
        });
        if open {
            self.sentinel(&mut client, "same")?;
        }
        let mut bystander = std::mem::replace(&mut self.bystander, client);
        let served = self.sentinel(&mut bystander, "other");
        self.bystander = bystander;
        served?;
        match lock(&self.script).others {
            others if others == self.sentinels => Ok(()),
            others => Err(format!("{others} requests instead of {}", self.sentinels)),
        }
    }

    fn prepare(&mut self, case: &Case, cut: Cut) {
        let mut script = lock(&self.script);
        script.closes = case.closes;
        (script.asked, script.said) = (0, 0);
        script.pieces.clear();
        for piece in &case.pieces {
            match cut {
                Cut::Whole => script.pieces.push(piece.clone()),
                Cut::Bytes if piece.len() <= BYTES_MAX => {
                    script.pieces.extend(piece.chunks(1).map(<[u8]>::to_vec));
                }
                Cut::Pieces | Cut::Bytes => {
                    let cuts = if cut == Cut::Bytes { 200 } else { 3 };
                    script.pieces.extend(self.random.cut(piece, cuts).iter().map(|p| p.to_vec()));
                }
            }
            // A pause.
            script.pieces.push(Vec::new());
        }
        script.pieces.pop();
    }

    /// A request that nothing of the case may touch.
    fn sentinel(&mut self, client: &mut Client, which: &str) -> Result<(), String> {
        self.sentinels += 1;
        let target = format!("/{which}?{}", self.sentinels);
        let response = client
            .try_get(&target)
            .map_err(|error| format!("the {which} client's next request: {error}"))?;
        match (response.status, response.text()) {
            (200, text) if text == answer(&target) => Ok(()),
            (status, text) => Err(format!("the {which} client got {status} {text:?}")),
        }
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

fn read(client: &mut Client, method: &str) -> Result<Response, String> {
    client.reader().response(method).map_err(|error| format!("no response: {error}"))
}

/// The response, unless it is cut off.
fn broken(client: &mut Client, method: &str) -> Result<Option<Response>, String> {
    match client.reader().response(method) {
        Ok(response) => Ok(Some(response)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(format!("it is no response: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err("no end".to_owned()),
        Err(_) => Ok(None),
    }
}

/// One of these statuses; whether the connection goes on.
fn refused(response: &Response, statuses: &[u16]) -> Result<bool, String> {
    if statuses.contains(&response.status) {
        Ok(!response.says_close())
    } else {
        Err(format!("{} instead of {statuses:?}", response.head.start))
    }
}

fn compare(passage: &Passage, response: &Response) -> Result<(), String> {
    let start = format!("HTTP/1.1 {}", passage.start);
    if response.head.start != start {
        return Err(format!("{:?} instead of {start:?}", response.head.start));
    }
    if response.interim != passage.interim {
        return Err(format!("{:?} before it", response.interim));
    }
    if response.body != passage.body {
        let got = &response.body[..response.body.len().min(200)];
        return Err(format!("a body of {}: {}", response.body.len(), got.escape_ascii()));
    }
    let lines: Vec<String> =
        response.head.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let bytes: Vec<u8> =
        lines.join("\r\n").chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect();
    passage.compare_fields(&bytes)
}

/// The server's side of one connection.
fn play(script: &Mutex<Script>, mut reader: Reader) -> io::Result<()> {
    reader.stream().set_timeout(std::time::Duration::from_mins(2))?;
    while let Some(request) = reader.request()? {
        if request.target() != "/case" {
            lock(script).others += 1;
            respond(reader.stream(), 200, answer(request.target()).as_bytes())?;
            continue;
        }
        let (pieces, closes) = {
            let mut script = lock(script);
            script.asked += 1;
            (script.pieces.clone(), script.closes)
        };
        // The proxy may have heard enough.
        let said = say(reader.stream(), &pieces);
        lock(script).said += 1;
        said?;
        if closes {
            reader.stream().shutdown(Shutdown::Write);
            return Ok(());
        }
    }
    Ok(())
}

fn say(stream: &mut Stream, pieces: &[Vec<u8>]) -> io::Result<()> {
    for piece in pieces {
        if piece.is_empty() {
            crate::wait::pause(10);
        }
        stream.write_all(piece)?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
