//! What all guests share: where they come in, what they ask, and whether the answer is right.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blackbox::client::Client;
use blackbox::message::Response;
use blackbox::random::Random;
use blackbox::sealed::{Sealed, Trust};
use blackbox::stream::Stream;

use crate::{endless, server};

/// How long a client waits for the next byte: longer than any of the proxy's time-outs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Where a guest comes in. Behind all but one are our own servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    /// gunicorn answers.
    Python,
    /// Over TLS.
    Sealed,
    /// Passed through unread.
    Passed,
    /// Behind a balancer, whose PROXY header names the client. Some names are shut out at times.
    Named,
}

impl Way {
    /// All of them, in the order of the listeners.
    pub(crate) const ALL: [Self; 5] =
        [Self::Plain, Self::Python, Self::Sealed, Self::Passed, Self::Named];
}

/// Where they all lead, and whose certificate is believed there.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) addresses: [String; Way::ALL.len()],
    pub(crate) trust: Arc<Trust>,
}

impl Doors {
    /// A connection as it comes in there, with `whom` in the header of a balancer.
    pub(crate) fn enter(&self, way: Way, whom: &str, random: &mut Random) -> io::Result<Client> {
        let mut client = match way {
            Way::Sealed => {
                let mut sealed = self.knock(random)?;
                sealed.set_timeout(PATIENCE)?;
                sealed.shake_hands()?;
                Client::over(Stream::Sealed(Box::new(sealed)))
            }
            _ => Client::try_new(&self.addresses[way as usize])?,
        };
        client.patience(PATIENCE);
        if way == Way::Named {
            let header = header(whom, random);
            client.send_cut(&header, random, 3)?;
        }
        Ok(client)
    }

    /// A connection that is not secured yet.
    pub(crate) fn knock(&self, random: &mut Random) -> io::Result<Sealed> {
        self.trust.connect(&self.addresses[Way::Sealed as usize], random.once_in(3))
    }
}

/// A PROXY header of either version.
fn header(whom: &str, random: &mut Random) -> Vec<u8> {
    if random.once_in(2) {
        return format!("PROXY TCP4 {whom} 192.0.2.1 4242 80\r\n").into_bytes();
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(whom.split('.').filter_map(|part| part.parse::<u8>().ok()));
    header.extend(b"\xc0\0\x02\x01\x10\x92\0\x50");
    header
}

/// What guests of one kind got.
#[derive(Default)]
pub(crate) struct Counts {
    /// The right answer, or the end that they came for.
    pub(crate) right: AtomicU64,
    /// An answer that was not the server's.
    pub(crate) refused: AtomicU64,
    /// An end they did not come for.
    pub(crate) broken: AtomicU64,
}

/// What all of them share.
pub(crate) struct Scene {
    pub(crate) doors: Doors,
    pub(crate) stop: AtomicBool,
    pub(crate) calm: Mutex<Arc<AtomicBool>>,
    marks: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// A request, and what its answer must be.
pub(crate) struct Ask {
    pub(crate) bytes: Vec<u8>,
    mark: String,
    pub(crate) body: Vec<u8>,
    status: u16,
    /// It began when everything was well: it must be served.
    pub(crate) calm: bool,
}

impl Scene {
    pub(crate) fn new(doors: Doors) -> Self {
        Self {
            doors,
            stop: AtomicBool::new(false),
            calm: Mutex::default(),
            marks: AtomicU64::new(0),
            wrong: Mutex::default(),
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.lock().unwrap_or_else(PoisonError::into_inner).load(SeqCst)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.stop.load(SeqCst)
    }

    pub(crate) fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < 30 {
            all.push(what);
        }
    }

    /// What was wrong so far.
    pub(crate) fn all_wrong(&self) -> Vec<String> {
        std::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn mark(&self) -> String {
        format!("m{}", self.marks.fetch_add(1, Relaxed))
    }

    /// A request without a body, answered with this one.
    fn plain(&self, target: &str, fields: &str, body: Vec<u8>, status: u16) -> Ask {
        let mark = self.mark();
        let head = format!("GET {target} HTTP/1.1\r\nHost: soak\r\nX-Mark: {mark}\r\n{fields}\r\n");
        Ask { bytes: head.into_bytes(), mark, body, status, calm: self.is_calm() }
    }

    /// A request for bytes of the server's.
    pub(crate) fn get(&self, length: usize, random: &mut Random) -> Ask {
        let target = format!("/bytes/{length}/{}", random.number());
        let body = server::body_of(&target).unwrap_or_default();
        self.plain(&target, "", body, 200)
    }

    /// A request to go on as a tunnel.
    pub(crate) fn switch(&self, target: &str) -> Ask {
        let fields = "Connection: upgrade\r\nUpgrade: soak\r\n";
        self.plain(target, fields, Vec::new(), 101)
    }

    /// A request for an event stream.
    pub(crate) fn events(&self, target: &str) -> Ask {
        let body = endless::events_of(target).concat().into_bytes();
        self.plain(target, "", body, 200)
    }

    /// A body that comes back.
    pub(crate) fn post(&self, length: usize, random: &mut Random) -> Ask {
        let mark = self.mark();
        let body = server::bytes(length, random.number());
        let mut bytes = format!(
            "POST /echo HTTP/1.1\r\nHost: soak\r\nX-Mark: {mark}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        Ask { bytes, mark, body, status: 200, calm: self.is_calm() }
    }

    /// Whether the answer is the right one; false for one that is none of the server's.
    pub(crate) fn check(
        &self,
        ask: &Ask,
        whom: &str,
        answer: io::Result<Response>,
    ) -> io::Result<bool> {
        match answer {
            Ok(answer) if matches!(answer.status, 101 | 200) => {
                // gunicorn knows no marks, and who is passed through has no name.
                let (mark, name) = (answer.get("x-mark"), answer.get("x-whom"));
                if mark.is_some_and(|mark| mark != ask.mark) {
                    self.wrong(format!("{} got the answer to {mark:?}", ask.mark));
                } else if name.is_some_and(|name| name != whom && !name.is_empty()) {
                    self.wrong(format!("{}: the server took {whom} for {name:?}", ask.mark));
                } else if answer.status != ask.status {
                    let (status, wanted) = (answer.status, ask.status);
                    self.wrong(format!("{}: {status} for {wanted}", ask.mark));
                } else if answer.body != ask.body {
                    let (has, wants) = (answer.body.len(), ask.body.len());
                    self.wrong(format!("{}: other bytes, {has} for {wants}", ask.mark));
                }
                Ok(true)
            }
            Ok(answer) => {
                if ask.calm {
                    self.wrong(format!("{}: {} though all is well", ask.mark, answer.status));
                }
                Ok(false)
            }
            Err(error) => {
                if is_wait(&error) {
                    self.wrong(format!("{}: neither an answer nor an end", ask.mark));
                } else if error.kind() == io::ErrorKind::InvalidData {
                    self.wrong(format!("{}: no response: {error}", ask.mark));
                } else if ask.calm {
                    self.wrong(format!("{}: {error} though all is well", ask.mark));
                }
                Err(error)
            }
        }
    }
}

/// Whether somebody waited in vain.
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blackbox::certificates::Certificates;
    use blackbox::message::{Framing, Head};

    fn answer(status: u16, mark: &str, whom: &str, body: &[u8]) -> Response {
        let fields = [("x-mark", mark), ("x-whom", whom)];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let head = Head { start: String::new(), fields };
        Response { head, status, body: body.to_vec(), interim: vec![], framing: Framing::Length }
    }

    fn complaints(calm: bool, answered: impl Fn(&Ask) -> io::Result<Response>) -> usize {
        let trust = Arc::new(Trust::new(&Certificates::new().ca(), "soak"));
        let scene = Scene::new(Doors { addresses: Default::default(), trust });
        *scene.calm.lock().unwrap() = Arc::new(AtomicBool::new(calm));
        let ask = scene.get(100, &mut Random::new(1));
        let _ = scene.check(&ask, "a", answered(&ask));
        scene.all_wrong().len()
    }

    #[test]
    fn the_right_answer_is_right_and_every_other_is_found() {
        assert_eq!(complaints(true, |ask| Ok(answer(200, &ask.mark, "a", &ask.body))), 0);
        assert_eq!(complaints(false, |ask| Ok(answer(200, "m9", "a", &ask.body))), 1, "another's");
        assert_eq!(complaints(false, |ask| Ok(answer(200, &ask.mark, "b", &ask.body))), 1);
        assert_eq!(complaints(false, |ask| Ok(answer(200, &ask.mark, "a", &ask.body[1..]))), 1);
        assert_eq!(complaints(false, |ask| Ok(answer(101, &ask.mark, "a", &ask.body))), 1);
        assert_eq!(complaints(false, |ask| Ok(answer(502, &ask.mark, "", b""))), 0);
        assert_eq!(complaints(true, |ask| Ok(answer(502, &ask.mark, "", b""))), 1);
        for (calm, kind, found) in [
            (false, io::ErrorKind::UnexpectedEof, 0),
            (true, io::ErrorKind::UnexpectedEof, 1),
            (false, io::ErrorKind::WouldBlock, 1),
            (false, io::ErrorKind::InvalidData, 1),
        ] {
            assert_eq!(complaints(calm, |_| Err(kind.into())), found, "{kind:?}");
        }
    }
}
