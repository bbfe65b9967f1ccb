//! The crowd: guests of every kind, each a thread that asks again and again and checks what it
//! gets.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blackbox::client::Client;
use blackbox::message::Response;
use blackbox::random::Random;

use crate::scene::{Ask, Counts, Scene, Way, is_wait};
use crate::stage::Stage;
use crate::{handshakes, streams, tunnels, visits};

/// What guests do.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Parked,
    Polite,
    SlowWriter,
    SlowReader,
    Aborting,
    Pipelining,
    Big,
    Malformed,
    HalfHead,
    Loyal,
    Tunnel,
    Events,
    HalfHello,
    HalfHeader,
}

/// Each kind, where it comes in, and how many threads play it.
const ALL: [(Kind, Way, usize); 31] = [
    (Kind::Parked, Way::Plain, 1),
    (Kind::Polite, Way::Plain, 6),
    (Kind::SlowWriter, Way::Plain, 6),
    (Kind::SlowReader, Way::Plain, 5),
    (Kind::Aborting, Way::Plain, 4),
    (Kind::Pipelining, Way::Plain, 2),
    (Kind::Big, Way::Plain, 3),
    (Kind::Malformed, Way::Plain, 2),
    (Kind::HalfHead, Way::Plain, 2),
    (Kind::Tunnel, Way::Plain, 3),
    (Kind::Events, Way::Plain, 3),
    (Kind::Loyal, Way::Python, 3),
    (Kind::Parked, Way::Sealed, 1),
    (Kind::Polite, Way::Sealed, 3),
    (Kind::SlowWriter, Way::Sealed, 2),
    (Kind::SlowReader, Way::Sealed, 2),
    (Kind::Aborting, Way::Sealed, 2),
    (Kind::Pipelining, Way::Sealed, 1),
    (Kind::Big, Way::Sealed, 1),
    (Kind::Malformed, Way::Sealed, 1),
    (Kind::HalfHello, Way::Sealed, 4),
    (Kind::Tunnel, Way::Sealed, 2),
    (Kind::Events, Way::Sealed, 2),
    (Kind::Polite, Way::Passed, 2),
    (Kind::Aborting, Way::Passed, 2),
    (Kind::Big, Way::Passed, 1),
    (Kind::Tunnel, Way::Passed, 2),
    (Kind::Polite, Way::Named, 4),
    (Kind::Aborting, Way::Named, 1),
    (Kind::Tunnel, Way::Named, 1),
    (Kind::HalfHeader, Way::Named, 2),
];

/// One of the crowd.
pub(crate) struct Guest {
    pub(crate) scene: Arc<Scene>,
    pub(crate) random: Random,
    /// What it keeps between visits.
    pub(crate) clients: Vec<Client>,
    pub(crate) way: Way,
    /// As whom the server is to know it.
    whom: String,
    counts: Arc<Counts>,
}

impl Guest {
    /// One visit.
    fn visit(&mut self, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Parked => visits::parked(self),
            Kind::Polite => visits::polite(self),
            Kind::SlowWriter => visits::slow_writer(self),
            Kind::SlowReader => visits::slow_reader(self),
            Kind::Aborting => visits::aborting(self),
            Kind::Pipelining => visits::pipelining(self),
            Kind::Big => visits::big(self),
            Kind::Malformed => visits::malformed(self),
            Kind::HalfHead => visits::half_head(self),
            Kind::Loyal => visits::loyal(self),
            Kind::Tunnel => tunnels::visit(self),
            Kind::Events => streams::visit(self),
            Kind::HalfHello => handshakes::half_hello(self),
            Kind::HalfHeader => handshakes::half_header(self),
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.way == Way::Sealed
    }

    /// Comes in. Whoever is passed through, or shut out, finds that out later.
    pub(crate) fn connect(&mut self) -> io::Result<Client> {
        let calm = self.scene.is_calm();
        let entered = self.scene.doors.enter(self.way, &self.whom, &mut self.random);
        entered.inspect_err(|error| {
            // Only listeners are bound to be there; a handshake takes more.
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            if refused || is_wait(error) || (calm && self.way != Way::Named) {
                self.scene.wrong(format!("{:?}: nobody lets us in: {error}", self.way));
            }
        })
    }

    pub(crate) fn rest(&mut self, millis: usize) {
        thread::sleep(Duration::from_millis(self.random.below(millis) as u64));
    }

    /// A request for so many bytes.
    pub(crate) fn get(&mut self, length: usize) -> Ask {
        self.scene.get(length, &mut self.random)
    }

    /// A request with so many bytes, which come back.
    pub(crate) fn post(&mut self, length: usize) -> Ask {
        self.scene.post(length, &mut self.random)
    }

    /// Asks on a connection.
    pub(crate) fn ask(&self, client: &mut Client, ask: &Ask) -> io::Result<()> {
        // A server's early answer is worth reading even if the rest was not taken.
        let _ = client.try_send(&ask.bytes);
        let answer = client.try_response();
        self.answered(ask, answer)
    }

    pub(crate) fn answered(&self, ask: &Ask, answer: io::Result<Response>) -> io::Result<()> {
        let ends = answer.as_ref().is_ok_and(Response::says_close);
        if self.scene.check(ask, &self.whom, answer)? {
            self.right();
        } else {
            self.refused();
        }
        if ends { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Asks for something that does not end with its answer: whether it has begun.
    pub(crate) fn begins(&self, ask: &Ask, answer: io::Result<Response>) -> io::Result<bool> {
        let right = self.scene.check(ask, &self.whom, answer)?;
        if !right {
            self.refused();
        }
        Ok(right)
    }

    /// It got an answer that was not the server's.
    pub(crate) fn refused(&self) {
        self.counts.refused.fetch_add(1, Relaxed);
    }

    /// It got what it came for.
    pub(crate) fn right(&self) {
        self.counts.right.fetch_add(1, Relaxed);
    }
}

/// All of them.
pub(crate) struct Crowd {
    scene: Arc<Scene>,
    counts: Vec<Arc<Counts>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// They come.
    pub(crate) fn start(stage: &Stage, random: &mut Random) -> Self {
        let scene = Arc::new(Scene::new(stage.doors()));
        let counts: Vec<_> = ALL.iter().map(|_| Arc::new(Counts::default())).collect();
        let all = ALL.iter().zip(&counts);
        let all = all.flat_map(|(&(kind, way, many), counts)| {
            (0..many).map(move |number| (kind, way, number, Arc::clone(counts)))
        });
        let threads = all
            .map(|(kind, way, number, counts)| {
                let (scene, random) = (Arc::clone(&scene), Random::new(random.number()));
                // Some of these are in networks that are shut out at times.
                let whom = match way {
                    Way::Named => format!("198.51.100.{}", 10 + 60 * number + kind as usize),
                    _ => "127.0.0.1".to_owned(),
                };
                let mut guest = Guest { scene, random, clients: Vec::new(), way, whom, counts };
                thread::spawn(move || {
                    while !guest.scene.has_ended() {
                        if guest.visit(kind).is_err() {
                            guest.counts.broken.fetch_add(1, Relaxed);
                        }
                    }
                })
            })
            .collect();
        Self { scene, counts, threads }
    }

    /// From when that is set on, whoever asks politely must be served.
    pub(crate) fn is_calm_when(&self, calm: &Arc<AtomicBool>) {
        let mut known = self.scene.calm.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::clone(calm);
    }

    /// They finish and go; what they did.
    pub(crate) fn stop(self) -> String {
        self.end().0
    }

    /// They finish and go; what they did, and what was wrong.
    pub(crate) fn end(self) -> (String, Vec<String>) {
        self.scene.stop.store(true, SeqCst);
        let mut wrong = Vec::new();
        for thread in self.threads {
            if thread.join().is_err() {
                wrong.push("a client of ours panicked".to_owned());
            }
        }
        let mut told = String::new();
        for (&(kind, way, _), counts) in ALL.iter().zip(&self.counts) {
            let [right, refused, broken] =
                [&counts.right, &counts.refused, &counts.broken].map(|count| count.load(Relaxed));
            let _ = write!(
                told,
                "\n  {way:?} {kind:?}: {right} right, {refused} refused, {broken} broken"
            );
            if right == 0 {
                wrong.push(format!("no {way:?} {kind:?} ever got what it came for"));
            }
        }
        wrong.append(&mut self.scene.all_wrong());
        (told, wrong)
    }
}
