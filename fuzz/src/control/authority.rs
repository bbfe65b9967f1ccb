//! What a certificate authority answers while a certificate is had from it (RFC 8555, RFC 9773).
//!
//! The real jobs ask a clerk who does all as it should, but for what the bytes say instead. Time is
//! virtual, so that whoever waits for a day is back at once.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base::limits;
use control::acme::{
    AskError, Authority, BodyWrapper, Event, External, Held, Proof, Said, Stand, Store, Tally,
    Wanted, jobs_with,
};
use exchange::Challenges;
use hyper::body::{Body, Bytes};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use tls::{Identity, IssuedAs};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::clerk::{Clerk, DIRECTORY, TOKEN, Wish};
use super::script::Script;

/// The bounds of a pause.
const RETRY: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(6)];
/// Orders until all is as it should be, when the authority is.
const ORDERS: u32 = 4;
/// Requests that one order takes at most: it lasts ten minutes, and asks no more than once a second
/// but for what there is of each name.
const REQUESTS: u32 = 4000;
/// Longest that is told of a fault, characters.
const WORDS_MAX: usize = 400;
/// In what parts it counts how long the authority wants to be left alone.
const COUNTED: Duration = Duration::from_millis(2);
/// How often it is looked.
const LOOK: Duration = Duration::from_hours(1);

/// What the first byte says.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the byte")]
struct Circumstances {
    proof: Proof,
    two: bool,
    email: bool,
    external: bool,
    /// Whether there is a certificate already, whose time is over.
    held: bool,
    /// Whether what is said last is said for ever.
    repeats: bool,
    /// Whether certificates are for others than they were asked for.
    careless: bool,
    /// Whether there is an account already.
    known: bool,
}

impl Circumstances {
    const fn read(byte: u8) -> Self {
        Self {
            proof: if byte & 1 == 1 { Proof::TlsAlpn01 } else { Proof::Http01 },
            two: byte & 2 == 2,
            email: byte & 4 == 4,
            external: byte & 8 == 8,
            held: byte & 16 == 16,
            repeats: byte & 32 == 32,
            careless: byte & 64 == 64,
            known: byte & 128 == 128,
        }
    }

    /// As it was before: somebody else got an account, without an address.
    const fn before(self) -> Self {
        let (email, held, repeats, careless) = (false, false, false, false);
        Self { email, held, repeats, careless, ..self }
    }

    fn names(self) -> Vec<String> {
        let all = ["a.example", "b.example"];
        all.iter().take(if self.two { 2 } else { 1 }).map(|name| (*name).to_owned()).collect()
    }
}

/// What happened so far.
struct Play {
    clerk: Clerk,
    script: Script,
    proof: Proof,
    /// Requests since the last end of an order.
    requests: u32,
    /// Whether all was said as it should be since then.
    is_plain: bool,
    /// Until when nobody is to ask for an order.
    quiet: Instant,
    /// Until when the authority asked to be left alone.
    rest: Instant,
    texts: Arc<Challenges>,
    certificates: Vec<Arc<Identity>>,
    failed: u32,
    /// The orders that failed since the authority does as it should.
    failed_since: u32,
    issued: Option<Arc<Identity>>,
    /// Told when it is over.
    over: Arc<Notify>,
}

/// The first byte says under which circumstances, the others what the authority says.
pub fn check(bytes: &[u8]) {
    let Some((&choice, script)) = bytes.split_first() else { return };
    let circumstances = Circumstances::read(choice);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let folder = Folder::new();
    let store = Store::open(&folder.0, DIRECTORY).unwrap_or_else(|error| panic!("{error}"));
    let mut clerk = Clerk::default();
    if circumstances.known {
        clerk = runtime.block_on(played(circumstances.before(), b"", clerk, &store));
        let path = store.certificate_path(&circumstances.names());
        assert!(std::fs::remove_file(path).is_ok(), "no certificate, whatever is said");
    }
    clerk.careless = circumstances.careless;
    runtime.block_on(played(circumstances, script, clerk, &store));
}

/// All until there is a certificate, or it is hopeless.
async fn played(circumstances: Circumstances, script: &[u8], clerk: Clerk, store: &Store) -> Clerk {
    let now = Instant::now();
    let play = Arc::new(Mutex::new(Play {
        clerk,
        script: Script::new(script, circumstances.repeats),
        proof: circumstances.proof,
        requests: 0,
        is_plain: true,
        quiet: now,
        rest: now,
        texts: Arc::default(),
        certificates: Vec::new(),
        failed: 0,
        failed_since: 0,
        issued: None,
        over: Arc::default(),
    }));
    let names = circumstances.names();
    let tally = Arc::new(Tally::default());
    let wanted = Wanted {
        names: names.clone(),
        proofs: vec![circumstances.proof],
        held: circumstances.held.then(held),
        tally: Arc::clone(&tally),
    };
    let external = || External { id: "ours".to_owned(), key: vec![7; 32] };
    let authority = Authority {
        directory: DIRECTORY.to_owned(),
        email: circumstances.email.then(|| "me@a.example".to_owned()),
        ca: None,
        external: circumstances.external.then(external),
        retry: RETRY,
    };
    let (asked, heard) = (Arc::clone(&play), Arc::clone(&play));
    let stand: Stand =
        Arc::new(move |request: Request<BodyWrapper<Bytes>>| ask(Arc::clone(&asked), request));
    let tell = move |event| lock(&heard).hear(event);
    let jobs = jobs_with(Some(stand), authority, store, vec![wanted], 0, tell);
    let lives: Vec<JoinHandle<()>> = jobs.into_iter().map(|mut job| tokio::spawn(job())).collect();
    let over = Arc::clone(&lock(&play).over);
    while !lock(&play).is_over() {
        // Not often: days may pass.
        let _ = timeout(LOOK, over.notified()).await;
        for life in &lives {
            assert!(!life.is_finished(), "a job ended");
        }
    }
    // What was shown is taken away.
    sleep(COUNTED).await;
    let mut play = lock(&play);
    assert!(!play.shows_anything(), "it is still shown");
    assert_eq!(tally.failed.get(), u64::from(play.failed));
    assert_eq!(tally.issued.get(), u64::from(play.issued.is_some()));
    if let Some(identity) = &play.issued {
        kept(identity, &names, store);
    }
    for life in lives {
        life.abort();
    }
    std::mem::take(&mut play.clerk)
}

fn lock(play: &Mutex<Play>) -> MutexGuard<'_, Play> {
    match play.lock() {
        Ok(play) => play,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// A certificate whose time is over, which the authority knows.
fn held() -> Held {
    let issued_as = IssuedAs { authority_key: vec![1, 2, 3, 4], serial: vec![5, 6, 7] };
    let start = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365);
    let end = start + Duration::from_hours(24 * 90);
    Held { not_before: start, not_after: end, issued_as: Some(issued_as) }
}

/// What was issued has the names that were asked for, and is found in its file again.
fn kept(identity: &Identity, names: &[String], store: &Store) {
    let own = identity.names();
    assert!(names.iter().all(|name| own.iter().any(|own| **own == **name)), "it is for others");
    match store.certificate(names) {
        Ok(Some(again)) => assert_eq!(again.not_after(), identity.not_after()),
        other => panic!("what is kept is not found: {other:?}"),
    }
}

/// One request, and what is answered in the end.
fn ask(play: Arc<Mutex<Play>>, request: Request<BodyWrapper<Bytes>>) -> Said {
    Box::pin(async move {
        let (parts, mut body) = request.into_parts();
        let mut sent = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            sent.extend_from_slice(frame.data_ref().map_or(&[][..], AsRef::as_ref));
        }
        let line = lock(&play).answer(&Wish { path: parts.uri.path(), body: &sent });
        sleep(line.wait).await;
        if line.fails {
            return Err(AskError::Str("the way there is closed"));
        }
        lock(&play).refuse(&line.answer);
        Ok(line.answer)
    })
}

impl Play {
    fn answer(&mut self, wish: &Wish<'_>) -> super::script::Line {
        let now = Instant::now();
        self.requests += 1;
        assert!(self.requests <= REQUESTS, "it asks for ever");
        assert!(now >= self.quiet, "{:?} too early", self.quiet - now);
        if wish.is_ready() {
            assert!(self.shows_anything(), "it is to look where nothing is shown");
            let place = wish.path.strip_prefix("/challenge/").unwrap_or_default();
            if self.is_plain && self.proof == Proof::Http01 {
                let path = format!("/.well-known/acme-challenge/{TOKEN}{place}");
                assert!(self.texts.find(&path).is_some(), "{path} is not shown");
            }
        }
        self.is_plain &= self.script.is_over();
        let answer = self.clerk.answer(wish);
        self.script.say(answer)
    }

    /// Notes whether the authority asks to be left alone.
    fn refuse<B>(&mut self, answer: &Response<B>) {
        let status = answer.status().as_u16();
        let said = answer.headers().get(RETRY_AFTER).map(|it| it.as_bytes().trim_ascii());
        let digits = said.filter(|it| it.iter().all(u8::is_ascii_digit) && it.len() < 10);
        let seconds = digits.and_then(|it| str::from_utf8(it).ok()?.parse().ok());
        if let (429 | 503, Some(seconds)) = (status, seconds) {
            let asked = Duration::from_secs(seconds).min(limits::ACME_ASKED_MAX);
            self.rest = self.rest.max(Instant::now() + asked);
        }
    }

    fn hear(&mut self, event: Event) {
        self.note(event);
        if self.is_over() {
            self.over.notify_one();
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Show { texts, certificates } => {
                (self.texts, self.certificates) = (texts, certificates);
            }
            Event::Issued { place, identity, unkept } => {
                assert_eq!((place, unkept), (0, None));
                self.issued = Some(identity);
                self.requests = 0;
            }
            Event::Failed { place, why, again } => {
                told(&why);
                let most = (RETRY[1] + RETRY[1] / 4).max(limits::ACME_ASKED_MAX);
                assert!(place == 0 && again >= RETRY[0] && again <= most, "{again:?}");
                self.quiet = (Instant::now() + again).max(self.rest - COUNTED);
                (self.failed, self.requests, self.is_plain) = (self.failed + 1, 0, true);
                self.failed_since += u32::from(self.script.is_over());
                assert!(
                    self.failed_since <= ORDERS || self.clerk.careless,
                    "no certificate, whatever is said: {why}"
                );
            }
            Event::ContactRefused { why } => told(&why),
            Event::Kept { .. } => panic!("everything can be kept here"),
        }
    }

    fn shows_anything(&self) -> bool {
        self.texts.answer(0).is_some() || !self.certificates.is_empty()
    }

    /// There is a certificate, or there will be none.
    fn is_over(&self) -> bool {
        self.issued.is_some() || self.failed > 2 * ORDERS
    }
}

/// One line of bounded length, and no orders to a terminal.
fn told(why: &str) {
    let is_plain = !why.is_empty() && !why.chars().any(char::is_control);
    assert!(is_plain && why.chars().count() <= WORDS_MAX, "{why:?}");
}

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("anteroom-{}-authority", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&folder.0);
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
