//! A case of a corpus sent through anteroom, and all that is to be seen of it on both sides.

use std::io;
use std::time::Duration;

use crate::client::{Client, get};
use crate::corpus::{Case, Expected, Passage};
use crate::message::Response;
use crate::proxy::{Anteroom, Setup};
use crate::random::Random;
use crate::witness::{Reading, Witness, answer};

/// How the bytes of a case reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At once.
    Whole,
    /// In two or three pieces, cut at random.
    Pieces,
    /// Each byte alone.
    Bytes,
}

impl Cut {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Pieces, Self::Bytes];
}

/// Longer cases are not sent byte by byte, but in many pieces.
pub(crate) const BYTES_MAX: usize = 1500;

/// A proxy with one connection to a witness, so that whatever stays behind on it meets the next
/// request.
pub struct Trial {
    proxy: Anteroom,
    witness: Witness,
    bystander: Client,
    random: Random,
    number: usize,
    streams: bool,
}

impl Trial {
    /// A proxy that shows complete requests, or (`streams`) requests as they arrive.
    pub fn new(witness: Witness, streams: bool) -> Self {
        if streams {
            witness.expect_streams();
        }
        let setup = Setup::new(witness.address()).with("--connections", 1).with("--workers", 1);
        let when = if streams { "stream" } else { "complete" };
        let proxy = setup.with("--memory", "4MiB").with("--request", when).start();
        let bystander = proxy.client();
        let random = Random::new(witness.name().len() as u64 + 500);
        Self { proxy, witness, bystander, random, number: 0, streams }
    }

    /// Sends every case in every way; what was wrong, if anything.
    pub fn run(mut self, cases: &[Case]) -> Vec<String> {
        let mut wrong = Vec::new();
        self.forget();
        // A server may complain late of what it has a part of: those come last, lest the complaint
        // be taken for one about the next case.
        let (torn, whole): (Vec<_>, Vec<_>) = cases.iter().partition(|case| self.tears(case));
        for case in [whole, torn].concat() {
            for cut in Cut::ALL {
                if let Err(what) = self.one(case, cut) {
                    let name = self.witness.name();
                    let bytes = case.bytes();
                    let shown = &bytes[..bytes.len().min(400)];
                    wrong.push(format!(
                        "{} ({name}, {cut:?}): {what}\n    {}",
                        case.name,
                        shown.escape_ascii()
                    ));
                    // What went wrong must not spoil the next case.
                    self.bystander = self.proxy.client();
                    crate::wait::pause(50);
                    self.forget();
                }
            }
        }
        self.proxy.finish();
        wrong
    }

    /// Whether the server may have a part of this: of a streamed request that is refused, or that
    /// never becomes whole, or that the server itself does not like.
    fn tears(&self, case: &Case) -> bool {
        let name = self.witness.name();
        let torn = |it: &Expected| match it {
            Expected::Passes(passage) => passage.except.iter().any(|(server, _)| server == name),
            _ => true,
        };
        self.streams && case.expected.iter().any(torn)
    }

    /// What the witness has recorded so far is nobody's.
    fn forget(&mut self) {
        let _ = (self.witness.read(0, Duration::ZERO), self.witness.malformed());
        let _ = (self.witness.heads(), self.witness.faults());
    }

    fn one(&mut self, case: &Case, cut: Cut) -> Result<(), String> {
        let mut client = self.proxy.client();
        self.send(&mut client, case, cut);
        let mut readings = Vec::new();
        let mut met = Met { open: true, disliked: false };
        for expected in &case.expected {
            match (met.open, met.disliked && self.streams) {
                (true, _) => {}
                // A server that answers within a streamed body ends its connection.
                (false, true) => break,
                (false, false) => return Err("closed before all was answered".to_owned()),
            }
            let now = self.meet(&mut client, expected, &mut readings)?;
            met = Met { open: now.open, disliked: met.disliked || now.disliked };
        }
        if met.open {
            readings.push(self.sentinel(&mut client, "same")?);
        } else {
            let refused = !matches!(case.expected.last(), Some(Expected::Passes(_)));
            closed(&mut client, refused)?;
        }
        let mut bystander = std::mem::replace(&mut self.bystander, client);
        let seen = self.sentinel(&mut bystander, "other");
        self.bystander = bystander;
        readings.push(seen?);
        self.compare(case, &readings, met.disliked)
    }

    /// What was sent comes to what is expected.
    fn meet(
        &mut self,
        client: &mut Client,
        expected: &Expected,
        readings: &mut Vec<Reading>,
    ) -> Result<Met, String> {
        let ended = Met { open: false, disliked: false };
        match expected {
            Expected::Refused(statuses) => self.refused(client, statuses).map(|()| ended),
            Expected::Nothing => unanswered(client).map(|()| ended),
            Expected::Passes(passage) => {
                let (response, liked) = self.passes(client, passage)?;
                if liked {
                    readings.push(passage.reading());
                }
                Ok(Met { open: !response.says_close(), disliked: !liked })
            }
            Expected::Broken | Expected::RefusedOrBroken(_) => {
                Err("requests are never broken".to_owned())
            }
        }
    }

    /// The answer must be the one to this request, or what this server says to such requests.
    fn passes(&self, client: &mut Client, passage: &Passage) -> Result<(Response, bool), String> {
        let method = passage.start.split(' ').next().unwrap_or_default();
        let response =
            client.reader().response(method).map_err(|error| format!("no response: {error}"))?;
        let name = self.witness.name();
        if let Some((_, status)) = passage.except.iter().find(|(server, _)| server == name) {
            let said = response.status;
            return if said == *status {
                Ok((response, false))
            } else {
                Err(format!("said {said}"))
            };
        }
        let text = response.body.iter().map(|&byte| char::from(byte)).collect::<String>();
        let own = method == "HEAD" || text == answer(passage.target());
        match response.status {
            200 if own => Ok((response, true)),
            status => Err(format!("{status}, and not its own answer: {text:?}")),
        }
    }

    /// One of these statuses, and that the connection ends. A server that is shown a body as it
    /// arrives reads its framing as we do, and may be the first to refuse it.
    fn refused(&mut self, client: &mut Client, statuses: &[u16]) -> Result<(), String> {
        let response = client.try_response().map_err(|error| format!("no refusal: {error}"))?;
        let (status, text) = (response.status, response.text());
        let servers = |trial: &mut Self| trial.streams && trial.complaints(true) > 0;
        let is_told = statuses.contains(&status) || status >= 400 && servers(self);
        if !is_told {
            return Err(format!("{status} instead of {statuses:?}: {text:?}"));
        }
        if !response.says_close() {
            return Err(format!("{status} on a connection that goes on"));
        }
        Ok(())
    }

    /// A request that nothing of the case may touch.
    fn sentinel(&mut self, client: &mut Client, which: &str) -> Result<Reading, String> {
        self.number += 1;
        let target = format!("/{which}?{}", self.number);
        let response = client
            .try_get(&target)
            .map_err(|error| format!("the {which} client's next request: {error}"))?;
        if (response.status, response.text()) != (200, answer(&target)) {
            let text = response.text();
            return Err(format!("the {which} client got {} {text:?}", response.status));
        }
        let request = Passage { start: format!("GET {target}"), ..Passage::default() };
        debug_assert!(get(&target).contains("Host: test"), "what the sentinel's host is");
        Ok(request.reading())
    }

    /// The witness read exactly these requests, and nothing that it could not read.
    fn compare(&mut self, case: &Case, expected: &[Reading], disliked: bool) -> Result<(), String> {
        let read = self.witness.read(expected.len(), Duration::from_secs(3));
        let (complaints, heads) = (self.complaints(disliked), self.witness.heads());
        let faults = self.witness.faults();
        if read != expected {
            return Err(format!("read {read:?}\n    instead of {expected:?}"));
        }
        let tolerated = disliked || self.tears(case);
        if complaints > 0 && !tolerated {
            return Err(format!("{complaints} requests that the server can't read"));
        }
        if !faults.is_empty() && !tolerated {
            return Err(format!("no clean requests: {faults:?}"));
        }
        for (passage, head) in case.passages().zip(&heads) {
            passage.compare_fields(head)?;
        }
        Ok(())
    }

    /// How many requests the server could not read; waits for its complaint if there must be one,
    /// lest it be taken for that of the next case.
    fn complaints(&mut self, awaited: bool) -> usize {
        for _ in 0..200 {
            match self.witness.malformed() {
                0 if awaited => crate::wait::pause(5),
                complaints => return complaints,
            }
        }
        0
    }

    fn send(&mut self, client: &mut Client, case: &Case, cut: Cut) {
        for (index, piece) in case.pieces.iter().enumerate() {
            if index > 0 {
                crate::wait::pause(10);
            }
            // Whoever refuses may stop reading at any byte: the answer says enough.
            let _ = match cut {
                Cut::Whole => client.try_send(piece),
                Cut::Pieces => client.send_cut(piece, &mut self.random, 3),
                Cut::Bytes if piece.len() > BYTES_MAX => {
                    client.send_cut(piece, &mut self.random, 200)
                }
                Cut::Bytes => piece.iter().try_for_each(|byte| client.try_send([*byte])),
            };
        }
    }
}

/// How far a case has come.
#[derive(Clone, Copy)]
struct Met {
    /// The client's connection goes on.
    open: bool,
    /// The server did not like a request, as was expected of it.
    disliked: bool,
}

/// The client gives up, and has not been answered.
fn unanswered(client: &mut Client) -> Result<(), String> {
    let rest = client.end().reader().rest().map_err(|error| format!("no end: {error}"))?;
    match rest.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&rest) {
        [] => Ok(()),
        answer => Err(format!("answered: {}", answer.escape_ascii())),
    }
}

/// Nothing more comes, and the connection ends: in order behind a refusal, which a reset would destroy.
/// What a slow client still sends behind the response that was to be the last gets one.
fn closed(client: &mut Client, refused: bool) -> Result<(), String> {
    match client.reader().rest() {
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!("behind the last answer: {}", rest.escape_ascii())),
        Err(error) if !refused && error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("not closed: {error}")),
    }
}
