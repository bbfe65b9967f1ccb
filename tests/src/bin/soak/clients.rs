//! The crowd: clients of every kind, each a thread that asks again and again and checks what it
//! gets.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blackbox::client::Client;
use blackbox::message::Response;
use blackbox::random::Random;

use crate::server;
use crate::stage::Stage;

/// How long a client waits for the next byte: longer than any of the proxy's time-outs.
const PATIENCE: Duration = Duration::from_secs(40);
/// Clients that stay connected and rarely ask.
const PARKED: usize = 1000;

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
    Python,
}

impl Kind {
    /// Each kind, and how many threads play it.
    const ALL: [(Self, usize); 10] = [
        (Self::Parked, 1),
        (Self::Polite, 6),
        (Self::SlowWriter, 6),
        (Self::SlowReader, 5),
        (Self::Aborting, 4),
        (Self::Pipelining, 2),
        (Self::Big, 3),
        (Self::Malformed, 2),
        (Self::HalfHead, 2),
        (Self::Python, 3),
    ];

    /// One visit.
    fn visit(self, scene: &Scene, random: &mut Random, state: &mut State) -> io::Result<()> {
        match self {
            Self::Parked => parked(scene, random, state),
            Self::Polite => polite(scene, random, state),
            Self::SlowWriter => slow_writer(scene, random),
            Self::SlowReader => slow_reader(scene, random),
            Self::Aborting => aborting(scene, random),
            Self::Pipelining => pipelining(scene, random),
            Self::Big => big(scene, random),
            Self::Malformed => malformed(scene, random),
            Self::HalfHead => half_head(scene),
            Self::Python => python(scene, random),
        }
    }
}

/// What a thread keeps between visits.
#[derive(Default)]
struct State {
    clients: Vec<Client>,
}

/// What all threads share.
struct Scene {
    own: String,
    python: String,
    stop: AtomicBool,
    calm: Mutex<Arc<AtomicBool>>,
    marks: AtomicU64,
    right: [AtomicU64; Kind::ALL.len()],
    refused: [AtomicU64; Kind::ALL.len()],
    broken: [AtomicU64; Kind::ALL.len()],
    wrong: Mutex<Vec<String>>,
}

/// A request, and what its answer must be.
struct Ask {
    bytes: Vec<u8>,
    mark: String,
    body: Vec<u8>,
    /// It began when everything was well: it must be served.
    calm: bool,
}

impl Scene {
    fn is_calm(&self) -> bool {
        self.calm.lock().unwrap_or_else(PoisonError::into_inner).load(SeqCst)
    }

    fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < 30 {
            all.push(what);
        }
    }

    fn connect(&self) -> io::Result<Client> {
        let mut client = Client::try_new(&self.own).inspect_err(|error| {
            self.wrong(format!("nobody accepts: {error}"));
        })?;
        client.patience(PATIENCE);
        Ok(client)
    }

    fn mark(&self) -> String {
        format!("m{}", self.marks.fetch_add(1, Relaxed))
    }

    /// A request for bytes of the server's.
    fn get(&self, length: usize, random: &mut Random) -> Ask {
        let mark = self.mark();
        let target = format!("/bytes/{length}/{}", random.number());
        let head = format!("GET {target} HTTP/1.1\r\nHost: soak\r\nX-Mark: {mark}\r\n\r\n");
        let body = server::body_of(&target).unwrap_or_default();
        Ask { bytes: head.into_bytes(), mark, body, calm: self.is_calm() }
    }

    /// A body that comes back.
    fn post(&self, length: usize, random: &mut Random) -> Ask {
        let mark = self.mark();
        let body = server::bytes(length, random.number());
        let mut bytes = format!(
            "POST /echo HTTP/1.1\r\nHost: soak\r\nX-Mark: {mark}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        Ask { bytes, mark, body, calm: self.is_calm() }
    }

    /// Whether the answer is the right one; false for one that is none of the server's.
    fn check(&self, ask: &Ask, answer: io::Result<Response>) -> io::Result<bool> {
        match answer {
            Ok(answer) if answer.status == 200 => {
                // gunicorn knows no marks.
                let mark = answer.get("x-mark");
                if mark.is_some_and(|mark| mark != ask.mark) {
                    self.wrong(format!("{} got the answer to {mark:?}", ask.mark));
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
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
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

    /// Asks on a connection. Counted as the kind's.
    fn ask(&self, client: &mut Client, ask: &Ask, kind: Kind) -> io::Result<()> {
        // A server's early answer is worth reading even if the rest was not taken.
        let _ = client.try_send(&ask.bytes);
        let answer = client.try_response();
        self.answered(ask, answer, kind)
    }

    fn answered(&self, ask: &Ask, answer: io::Result<Response>, kind: Kind) -> io::Result<()> {
        let ends = answer.as_ref().is_ok_and(Response::says_close);
        let right = self.check(ask, answer)?;
        let count = if right { &self.right } else { &self.refused };
        count[kind as usize].fetch_add(1, Relaxed);
        if ends { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

fn rest(millis: usize, random: &mut Random) {
    thread::sleep(Duration::from_millis(random.below(millis) as u64));
}

fn parked(scene: &Scene, random: &mut Random, state: &mut State) -> io::Result<()> {
    while state.clients.len() < PARKED && !scene.stop.load(SeqCst) {
        state.clients.push(scene.connect()?);
    }
    rest(40, random);
    let which = random.below(state.clients.len());
    let ask = scene.get(random.length(3000), random);
    let asked = scene.ask(&mut state.clients[which], &ask, Kind::Parked);
    if asked.is_err() || random.once_in(20) {
        state.clients.swap_remove(which);
    }
    asked
}

fn polite(scene: &Scene, random: &mut Random, state: &mut State) -> io::Result<()> {
    rest(30, random);
    let mut client = match state.clients.pop() {
        Some(client) => client,
        None => scene.connect()?,
    };
    let length = random.length(20_000);
    let ask =
        if random.once_in(2) { scene.get(length, random) } else { scene.post(length, random) };
    scene.ask(&mut client, &ask, Kind::Polite)?;
    if !random.once_in(50) {
        state.clients.push(client);
    }
    Ok(())
}

fn slow_writer(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let mut client = scene.connect()?;
    let mut ask = scene.post(2000 + random.below(8000), random);
    ask.calm = false;
    for piece in ask.bytes.chunks(200) {
        if client.stream().has_news() || client.try_send(piece).is_err() {
            break;
        }
        rest(40, random);
    }
    let answer = client.try_response();
    scene.answered(&ask, answer, Kind::SlowWriter)
}

fn slow_reader(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let mut client = scene.connect()?;
    // One that is slow in every way takes less, so that it comes to its end.
    let most = if random.once_in(3) {
        client.stream().receive_little();
        100_000
    } else {
        4_000_000
    };
    let mut ask = scene.get(50_000 + random.below(most), random);
    // Under pressure it may be cut off.
    ask.calm = false;
    client.try_send(&ask.bytes)?;
    rest(4000, random);
    let answer = client.try_response();
    scene.answered(&ask, answer, Kind::SlowReader)
}

/// Leaves with a reset, somewhere in its request or in the answer.
fn aborting(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let mut client = scene.connect()?;
    rest(20, random);
    let ask = if random.once_in(2) {
        scene.get(random.length(300_000), random)
    } else {
        scene.post(random.length(300_000), random)
    };
    let cut = if random.once_in(2) { ask.bytes.len() } else { random.below(ask.bytes.len()) };
    client.try_send(&ask.bytes[..cut])?;
    if cut == ask.bytes.len() && random.once_in(2) {
        let _ = client.reader().skip(random.below(ask.body.len() / 2 + 1));
    }
    scene.right[Kind::Aborting as usize].fetch_add(1, Relaxed);
    if random.once_in(4) {
        drop(client);
    } else {
        client.reset();
    }
    Ok(())
}

fn pipelining(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let mut client = scene.connect()?;
    rest(100, random);
    let asks: Vec<Ask> = (0..10).map(|_| scene.get(random.length(5000), random)).collect();
    let all: Vec<u8> = asks.iter().flat_map(|ask| ask.bytes.iter().copied()).collect();
    client.try_send(all)?;
    for ask in &asks {
        let answer = client.try_response();
        scene.answered(ask, answer, Kind::Pipelining)?;
    }
    Ok(())
}

/// A large body either way at the same time.
fn big(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let client = scene.connect()?;
    rest(500, random);
    let ask = scene.post(500_000 + random.below(4_000_000), random);
    let mut client = client;
    scene.ask(&mut client, &ask, Kind::Big)
}

const NONSENSE: [&[u8]; 8] = [
    b"\x00\x01\x02\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
];

fn malformed(scene: &Scene, random: &mut Random) -> io::Result<()> {
    let mut client = scene.connect()?;
    rest(100, random);
    let which = random.below(NONSENSE.len());
    let _ = client.try_send(NONSENSE[which]);
    match client.try_response() {
        Ok(answer) if answer.status < 400 => {
            scene.wrong(format!("nonsense {which} was answered {}", answer.status));
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            scene.wrong(format!("nonsense {which} got neither an answer nor an end"));
        }
        _ => drop(scene.right[Kind::Malformed as usize].fetch_add(1, Relaxed)),
    }
    Ok(())
}

/// Never ends its head: it is told so, and closed.
fn half_head(scene: &Scene) -> io::Result<()> {
    let mut client = scene.connect()?;
    client.try_send("GET / HTTP/1.1\r\nHost: soak\r\nX-Mark: ")?;
    for _ in 0..80 {
        if scene.stop.load(SeqCst) {
            return Ok(());
        }
        if client.stream().has_news() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = client.stream().write(b"y");
    match client.try_response() {
        Ok(answer) if answer.status == 408 => {
            scene.right[Kind::HalfHead as usize].fetch_add(1, Relaxed);
        }
        // Whoever holds a buffer and does nothing may lose it without a word to write it in.
        Ok(answer) if answer.status == 503 => {}
        Ok(answer) => scene.wrong(format!("half a head was answered {}", answer.status)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            scene.wrong("half a head got neither an answer nor an end".to_owned());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn python(scene: &Scene, random: &mut Random) -> io::Result<()> {
    rest(100, random);
    let mut client = Client::try_new(&scene.python)?;
    client.patience(PATIENCE);
    for _ in 0..5 {
        let ask = scene.post(random.length(100_000), random);
        scene.ask(&mut client, &ask, Kind::Python)?;
        rest(50, random);
    }
    Ok(())
}

/// All of them.
pub(crate) struct Crowd {
    scene: Arc<Scene>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// They come.
    pub(crate) fn start(stage: &Stage, random: &mut Random) -> Self {
        let [own, python] = stage.addresses();
        let counts = || [const { AtomicU64::new(0) }; Kind::ALL.len()];
        let scene = Arc::new(Scene {
            own,
            python,
            stop: AtomicBool::new(false),
            calm: Mutex::default(),
            marks: AtomicU64::new(0),
            right: counts(),
            refused: counts(),
            broken: counts(),
            wrong: Mutex::default(),
        });
        let kinds = Kind::ALL.iter().flat_map(|&(kind, many)| (0..many).map(move |_| kind));
        let threads = kinds
            .map(|kind| {
                let (scene, mut random) = (Arc::clone(&scene), Random::new(random.number()));
                thread::spawn(move || {
                    let mut state = State::default();
                    while !scene.stop.load(SeqCst) {
                        if kind.visit(&scene, &mut random, &mut state).is_err() {
                            scene.broken[kind as usize].fetch_add(1, Relaxed);
                        }
                    }
                })
            })
            .collect();
        Self { scene, threads }
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
        for &(kind, _) in &Kind::ALL {
            let [right, refused, broken] =
                [&self.scene.right, &self.scene.refused, &self.scene.broken]
                    .map(|counts| counts[kind as usize].load(Relaxed));
            let _ = write!(told, "\n  {kind:?}: {right} right, {refused} refused, {broken} broken");
            if right == 0 {
                wrong.push(format!("no {kind:?} ever got what it came for"));
            }
        }
        wrong.append(&mut self.scene.wrong.lock().unwrap_or_else(PoisonError::into_inner));
        (told, wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blackbox::message::{Framing, Head};

    fn scene(calm: bool) -> Scene {
        let counts = || [const { AtomicU64::new(0) }; Kind::ALL.len()];
        Scene {
            own: String::new(),
            python: String::new(),
            stop: AtomicBool::new(false),
            calm: Mutex::new(Arc::new(AtomicBool::new(calm))),
            marks: AtomicU64::new(0),
            right: counts(),
            refused: counts(),
            broken: counts(),
            wrong: Mutex::default(),
        }
    }

    fn answer(status: u16, mark: &str, body: &[u8]) -> Response {
        let fields = vec![("x-mark".to_owned(), mark.to_owned())];
        let head = Head { start: String::new(), fields };
        Response { head, status, body: body.to_vec(), interim: vec![], framing: Framing::Length }
    }

    fn complaints(calm: bool, answered: impl Fn(&Ask) -> io::Result<Response>) -> usize {
        let scene = scene(calm);
        let ask = scene.get(100, &mut Random::new(1));
        let _ = scene.check(&ask, answered(&ask));
        scene.wrong.into_inner().unwrap().len()
    }

    #[test]
    fn the_right_answer_is_right_and_every_other_is_found() {
        assert_eq!(complaints(true, |ask| Ok(answer(200, &ask.mark, &ask.body))), 0);
        assert_eq!(complaints(false, |ask| Ok(answer(200, "m9", &ask.body))), 1, "another's");
        assert_eq!(complaints(false, |ask| Ok(answer(200, &ask.mark, &ask.body[1..]))), 1);
        assert_eq!(complaints(false, |ask| Ok(answer(502, &ask.mark, b""))), 0);
        assert_eq!(complaints(true, |ask| Ok(answer(502, &ask.mark, b""))), 1);
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
