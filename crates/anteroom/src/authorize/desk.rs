//! The thread where questions are decided: it hears of them by a bell, has passwords hashed by a few
//! threads of low priority, asks servers, and checks tokens itself. A token whose key is not known may wait
//! for keys that are fetched.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use base::limits;
use control::authorize::{
    AuthorizationServer, Denial, Finding, KeyServer, Keys, Passwords, Token, TokenRules,
};
use control::{FileWatch, caught};
use driver::{Wake, Waker};
use exchange::{Grant, Refusal};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use worker::{Inquiries, Verdict};

use super::asked::Asked;
use super::fetching::{Ended, Fetching};
use super::{AuthorizeSettings, Source, files};
use crate::failure::Failure;
use crate::figures::Panel;
use crate::log;
use crate::settings::Settings;

/// By how much the threads that hash are nicer than the workers.
const NICER: i32 = 10;

/// Where questions go, and what rings when there is one; nothing where none is put.
///
/// # Errors
/// When the system grants no descriptor or no randomness.
pub(crate) fn inquiries(
    settings: &Settings,
    wakers: Vec<Arc<dyn Wake>>,
) -> std::io::Result<Option<(Arc<Inquiries>, Arc<Waker>)>> {
    let plans = AuthorizeSettings::plans(&settings.listeners);
    if plans.iter().all(|plan| plan.questions == 0) {
        return Ok(None);
    }
    let random = || getrandom::u64().map_err(std::io::Error::other);
    let bell = Arc::new(Waker::new()?);
    let rung = Arc::clone(&bell) as Arc<dyn Wake>;
    Ok(Some((Inquiries::new(&plans, wakers, rung, [random()?, random()?]), bell)))
}

/// The thread. It ends when this is dropped.
pub(crate) struct Authorizers {
    _until_dropped: oneshot::Sender<()>,
    /// Looks after the files.
    _watch: Option<FileWatch>,
}

/// Who decides on one listener's questions.
#[derive(Clone)]
pub(super) enum Decider {
    Passwords(Arc<Passwords>),
    Tokens(Arc<Keys>, Arc<TokenRules>),
    Server(Arc<AuthorizationServer>),
    /// This function, on the thread itself.
    #[cfg(test)]
    Injected(fn(&[u8]) -> Finding),
}

/// A listener's file was read anew: what follows from it.
pub(super) enum Change {
    /// Who decides by it now.
    Decides(Decider),
    /// Who is asked for keys now.
    HasKeys(Arc<KeyServer>),
}

impl Authorizers {
    /// Starts it.
    ///
    /// # Errors
    /// When the system grants no thread or descriptor.
    pub(crate) fn start(
        settings: &Settings,
        inquiries: Arc<Inquiries>,
        bell: Arc<Waker>,
        panel: &Arc<Panel>,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::Run(format!("nobody can decide who may come in: {error}"));
        let (tell, changes) = unbounded_channel();
        let watch = files::watch(settings, tell, Arc::clone(panel)).map_err(failed)?;
        let of = |it: &AuthorizeSettings| (it.source.as_ref().map(Decider::of), it.cache);
        let deciders = settings.listeners.iter().map(|listen| listen.authorize.as_ref().map(of));
        let (tell, heard) = unbounded_channel();
        let desk = Desk {
            right: HashMap::new(),
            complained: HashMap::new(),
            tell,
            inquiries,
            fetching: Fetching::new(settings, Arc::clone(panel)),
            deciders: deciders.map(Option::unwrap_or_default).collect(),
            hashing: Arc::new(Semaphore::new(limits::HASHING_THREADS)),
            patience: settings.timeouts.authorize,
        };
        // Names of servers are looked up on such threads, too.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits::HASHING_THREADS + 2)
            .on_thread_start(be_nice)
            .build()
            .map_err(failed)?;
        let ears = {
            let _entered = runtime.enter();
            Ears::new(bell, changes, heard).map_err(failed)?
        };
        let (until_dropped, dropped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("authorize".to_owned());
        thread
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        () = desk.go_on(ears) => {}
                        // Nothing is ever sent: it ends with its other end.
                        _ = dropped => {}
                    }
                });
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self { _until_dropped: until_dropped, _watch: watch })
    }
}

/// A worker on the same core goes first.
fn be_nice() {
    // Where the system does not let us, nothing is lost.
    let _ = rustix::process::nice(NICER);
}

impl Decider {
    fn of(source: &Source) -> Self {
        match source {
            Source::Passwords(file) => Self::Passwords(Arc::clone(&file.known)),
            Source::Keys(file, rules) => Self::Tokens(Arc::clone(&file.known), Arc::clone(rules)),
            // They are fetched.
            Source::KeyServer(_, _, rules) => Self::Tokens(Arc::new(Keys::NONE), Arc::clone(rules)),
            Source::Server(server, _) => Self::Server(Arc::clone(server)),
        }
    }
}

struct Bell(Arc<Waker>);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What the thread hears of.
struct Ears {
    rung: AsyncFd<Bell>,
    changes: UnboundedReceiver<(u16, Change)>,
    /// Without files nothing changes.
    may_change: bool,
    heard: UnboundedReceiver<Heard>,
}

impl Ears {
    /// To be made where the runtime is entered.
    fn new(
        bell: Arc<Waker>,
        changes: UnboundedReceiver<(u16, Change)>,
        heard: UnboundedReceiver<Heard>,
    ) -> std::io::Result<Self> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; the descriptor is the bell's own"
        )]
        let rung = AsyncFd::new(Bell(bell))?;
        Ok(Self { rung, changes, may_change: true, heard })
    }
}

/// Whose password was right, by which edition of the file, and until when that is remembered.
struct Right {
    found: Finding,
    edition: u32,
    until: Instant,
}

/// What a question came to that somebody else found out, but for the answer.
enum Heard {
    /// A password was right: the mark of its question.
    Right(u128, Right),
    /// The authorization server of this listener did not say whether a client may, and why.
    Silent(u16, String),
}

/// Bytes of a password that was right: its place, twice as a map has room, and its client's name.
pub(crate) const RIGHT_BYTES: usize = 2 * size_of::<(u128, Right)>() + limits::SUBJECT_MAX;

/// What the thread works with.
struct Desk {
    /// Whose passwords were right: another worker does not know it, and a hash may have to wait long.
    right: HashMap<u128, Right>,
    /// When it was told last that a listener's server does not decide.
    complained: HashMap<u16, Instant>,
    tell: UnboundedSender<Heard>,
    inquiries: Arc<Inquiries>,
    /// Keys that stand at URLs, and who waits for them.
    fetching: Fetching,
    /// By listener, and how long it is remembered who was let in.
    deciders: Vec<(Option<Decider>, Duration)>,
    hashing: Arc<Semaphore>,
    patience: Duration,
}

impl Desk {
    /// Serves for as long as the thread lives. What panicked is told, and what it was about goes back;
    /// the rest is as it was.
    async fn go_on(mut self, mut ears: Ears) {
        while let Err(why) = caught(self.serve(&mut ears)).await {
            log::note(format_args!(
                "error: what decides who may come in panicked: {why}; it goes on"
            ));
            sleep(limits::DECIDE_PAUSE).await;
        }
    }

    async fn serve(&mut self, ears: &mut Ears) {
        // Nothing rings for those that were asked before.
        self.decide_all();
        loop {
            tokio::select! {
                ready = ears.rung.readable() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    // In this order: what is asked from here on rings again.
                    ears.rung.get_ref().0.woken();
                    self.decide_all();
                }
                Some(heard) = ears.heard.recv() => match heard {
                    Heard::Right(mark, found) => self.note_right(mark, found),
                    Heard::Silent(number, why) => self.complain(number, &why),
                },
                ended = self.fetching.next() => self.fetched(ended),
                change = ears.changes.recv(), if ears.may_change => match change {
                    Some((number, Change::Decides(decider))) => self.change(number, decider),
                    Some((number, Change::HasKeys(server))) => self.fetching.change(number, server),
                    None => ears.may_change = false,
                },
            }
        }
    }

    fn decide_all(&mut self) {
        while let Some(inquiry) = Asked::next(&self.inquiries) {
            self.decide(inquiry);
        }
    }

    /// Goes by something else from now on.
    fn change(&mut self, number: u16, decider: Decider) {
        if let Some(place) = self.deciders.get_mut(usize::from(number)) {
            place.0 = Some(decider);
            self.inquiries.changed(number);
            self.right.clear();
        }
    }

    /// Keys were fetched, or not: whoever waited for that is decided on.
    fn fetched(&mut self, ended: Ended) {
        if let Some((keys, rules)) = ended.keys {
            self.change(ended.number, Decider::Tokens(Arc::new(keys), rules));
        }
        for inquiry in ended.waited {
            self.decide(inquiry);
        }
    }

    /// Remembers whose password was right.
    fn note_right(&mut self, mark: u128, found: Right) {
        if self.right.len() >= limits::REMEMBERED {
            let now = Instant::now();
            self.right.retain(|_, it| it.until > now);
        }
        if self.right.len() < limits::REMEMBERED {
            self.right.insert(mark, found);
        }
    }

    /// Tells the operator why a server does not decide, now and again.
    fn complain(&mut self, number: u16, why: &str) {
        let now = Instant::now();
        let said = self.complained.get(&number);
        if said.is_some_and(|said| now.duration_since(*said) < log::SAY_AGAIN) {
            return;
        }
        let place = self.deciders.get(usize::from(number));
        let Some((Some(Decider::Server(server)), _)) = place else { return };
        self.complained.insert(number, now);
        log::note(format_args!(
            "warning: {} does not say whether a client may: {why}; its request is answered 503",
            server.url
        ));
    }

    /// What is known of a password that was right.
    fn known_right(&self, mark: u128, edition: u32) -> Option<Finding> {
        let right = self.right.get(&mark).filter(|it| it.edition == edition)?;
        let left = right.until.checked_duration_since(Instant::now())?;
        match &right.found {
            Finding::LetIn { subject, fields, .. } => Some(Finding::LetIn {
                subject: subject.clone(),
                fields: fields.clone(),
                until: Some(left),
            }),
            _ => None,
        }
    }

    fn decide(&mut self, inquiry: Asked) {
        let number = inquiry.authorizer();
        let place = self.deciders.get(usize::from(number));
        let (decider, cache) = place.cloned().unwrap_or_default();
        let edition = self.inquiries.edition(number);
        let slip = Slip { number, cache, edition, tell: self.tell.clone() };
        match decider {
            None => slip.answer(inquiry, Finding::Failed),
            #[cfg(test)]
            Some(Decider::Injected(found)) => {
                let found = found(inquiry.question());
                slip.answer(inquiry, found);
            }
            Some(Decider::Tokens(keys, rules)) => {
                // A fault in reading what a stranger wrote is a fault of that one question.
                let check = || rules.check(inquiry.question(), &keys, now());
                let checked = catch_unwind(AssertUnwindSafe(check));
                match checked.unwrap_or(Token::Found(Finding::Failed)) {
                    Token::Found(found) => slip.answer(inquiry, found),
                    Token::UnknownKey => {
                        if let Err((inquiry, found)) = self.fetching.wait(inquiry) {
                            slip.answer(inquiry, found);
                        }
                    }
                }
            }
            Some(Decider::Passwords(passwords)) => {
                let mark = inquiry.mark();
                if let Some(found) = self.known_right(mark, edition) {
                    return slip.answer(inquiry, found);
                }
                let tell = self.tell.clone();
                let hashing = Arc::clone(&self.hashing);
                let late = Instant::now() + self.patience;
                tokio::spawn(async move {
                    let Ok(_permit) = hashing.acquire().await else { return };
                    if Instant::now() > late {
                        // Nobody waits for it any more.
                        return slip.answer(inquiry, Finding::Failed);
                    }
                    let question = inquiry.question().to_vec();
                    let found = spawn_blocking(move || passwords.check(&question)).await;
                    let found = found.unwrap_or(Finding::Failed);
                    if matches!(found, Finding::LetIn { .. }) && !cache.is_zero() {
                        let until = Instant::now() + cache;
                        let right = Right { found: found.clone(), edition, until };
                        let _ = tell.send(Heard::Right(mark, right));
                    }
                    slip.answer(inquiry, found);
                });
            }
            Some(Decider::Server(server)) => {
                let question = inquiry.question().to_vec();
                let tell = self.tell.clone();
                tokio::spawn(async move {
                    // In a task of its own: whatever becomes of that, the inquiry comes back.
                    let asked = tokio::spawn(async move { server.ask(&question).await });
                    let said =
                        asked.await.unwrap_or_else(|_| Err("the question failed".to_owned()));
                    let found = said.unwrap_or_else(|why| {
                        let _ = tell.send(Heard::Silent(number, why));
                        Finding::Failed
                    });
                    slip.answer(inquiry, found);
                });
            }
        }
    }
}

/// How an inquiry is answered.
struct Slip {
    number: u16,
    cache: Duration,
    edition: u32,
    tell: UnboundedSender<Heard>,
}

impl Slip {
    /// Nothing is answered by what does not do; the operator hears of that.
    fn answer(&self, inquiry: Asked, found: Finding) {
        inquiry.answer(|grant| match self.verdict(grant, found) {
            Ok(verdict) => Some(verdict),
            Err(why) => {
                if let Some(why) = why {
                    let _ = self.tell.send(Heard::Silent(self.number, why));
                }
                None
            }
        });
    }

    /// What a finding says, with what goes with it in `grant`.
    ///
    /// # Errors
    /// If it says nothing: what has no room there, or could not stand in a field, is no answer, and
    /// which that is. Never what it holds, which may be a secret.
    fn verdict(&self, grant: &mut Grant, found: Finding) -> Result<Verdict, Option<String>> {
        let (subject, fields, verdict) = match found {
            Finding::LetIn { subject, fields, until } => {
                let good_for = until.map_or(self.cache, |until| until.min(self.cache));
                (subject, fields, Verdict::LetIn { good_for, edition: self.edition })
            }
            Finding::Denied { why, fields } => {
                let refusal = match why {
                    Denial::Credentials => Refusal::BadCredentials,
                    Denial::Forbidden => Refusal::Forbidden,
                    Denial::Elsewhere => Refusal::Redirected,
                };
                (Vec::new(), fields, Verdict::Refused(refusal))
            }
            Finding::Failed => return Err(None),
        };
        if !grant.set(&subject) {
            let most = limits::SUBJECT_MAX;
            return Err(Some(format!(
                "who it says the client is has more than {most} bytes, or cannot stand in a field"
            )));
        }
        match fields.iter().find(|(name, value)| !grant.add(name.as_bytes(), value)) {
            None => Ok(verdict),
            Some((name, _)) => {
                let most = limits::GRANT_MAX;
                Err(Some(format!(
                    "`{name}` of its answer has no room among the {most} bytes that are kept of it, or \
                     cannot stand in a field"
                )))
            }
        }
    }
}

/// Seconds since 1970, by which tokens end.
#[expect(clippy::disallowed_methods, reason = "tokens are good by the calendar")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::id::{ExchangeId, WorkerId};
    use exchange::Asks;

    fn field(name: &str, length: usize) -> (String, Vec<u8>) {
        (name.to_owned(), vec![b'a'; length])
    }

    /// A desk where this decides, and where it is rung.
    fn desk(found: fn(&[u8]) -> Finding) -> (Desk, Arc<Waker>) {
        let content =
            "[[listen]]\naddress = \":8080\"\n[[upstream]]\nservers = [\"127.0.0.1:9000\"]\n";
        let machine = crate::settings::Machine { descriptors: 20_000, cores: 2 };
        let settings = crate::config::check_text("a.toml", content, machine).unwrap().settings;
        let panel = Arc::new(crate::figures::tests::panel().2);
        let bell = Arc::new(Waker::new().unwrap());
        let plan = worker::AuthorizerPlan { asks: Asks::Passwords, questions: 4, remembers: false };
        let wakers = vec![Arc::new(Waker::new().unwrap()) as Arc<dyn Wake>];
        let rung = Arc::clone(&bell) as Arc<dyn Wake>;
        let desk = Desk {
            right: HashMap::new(),
            complained: HashMap::new(),
            tell: unbounded_channel().0,
            inquiries: Inquiries::new(&[plan], wakers, rung, [1, 2]),
            fetching: Fetching::new(&settings, panel),
            deciders: vec![(Some(Decider::Injected(found)), Duration::ZERO)],
            hashing: Arc::new(Semaphore::new(1)),
            patience: Duration::from_secs(1),
        };
        (desk, bell)
    }

    #[tokio::test]
    async fn a_panic_costs_its_question_alone() {
        let (desk, bell) = desk(|question| {
            assert!(question != b"bad", "this one panics");
            Finding::bad_credentials()
        });
        let inquiries = Arc::clone(&desk.inquiries);
        let ears = Ears::new(bell, unbounded_channel().1, unbounded_channel().1).unwrap();
        tokio::spawn(desk.go_on(ears));
        let (worker, exchange) = (WorkerId(0), ExchangeId(1));
        let answer = async || {
            for _ in 0..2000 {
                if let Some(inquiry) = inquiries.hear(worker) {
                    return inquiry.verdict;
                }
                sleep(Duration::from_millis(10)).await;
            }
            panic!("no answer");
        };
        for round in 0..2 {
            // At one time: nothing rings for the second any more when it is its turn.
            assert!(inquiries.ask((worker, exchange, round), 0, b"bad"));
            assert!(inquiries.ask((worker, exchange, round), 0, b"good"));
            let failed = Verdict::Refused(Refusal::AuthorizerFailed);
            assert_eq!(answer().await, failed, "round {round}");
            assert_eq!(answer().await, Verdict::Refused(Refusal::BadCredentials), "round {round}");
        }
    }

    /// The client is answered 503, and the operator hears why.
    #[tokio::test]
    async fn what_a_server_says_that_has_no_room_is_told() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let content = format!(
            "[[listen]]\naddress = \":8080\"\nauthorize = {{ request = \"{url}\", copy = [\"X-Role\"] }}\n\
             [[upstream]]\nservers = [\"127.0.0.1:9000\"]\n"
        );
        let machine = crate::settings::Machine { descriptors: 20_000, cores: 2 };
        let settings = crate::config::check_text("a.toml", &content, machine).unwrap().settings;
        let authorize = settings.listeners[0].authorize.as_ref().unwrap();
        let (mut desk, _bell) = desk(|_| Finding::Failed);
        desk.deciders[0].0 = authorize.source.as_ref().map(Decider::of);
        let (tell, mut heard) = unbounded_channel();
        desk.tell = tell;
        assert!(desk.inquiries.ask((WorkerId(0), ExchangeId(1), 0), 0, b"X-A: b\r\n"));
        desk.decide_all();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let long = "a".repeat(limits::GRANT_MAX);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Role: {long}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let Some(Heard::Silent(0, why)) = heard.recv().await else { panic!("nobody is told") };
        assert!(why.starts_with("`X-Role` of its answer has no room"), "{why}");
    }

    #[test]
    fn what_does_not_fit_is_no_verdict() {
        let (tell, _) = unbounded_channel();
        let slip = Slip { number: 0, cache: Duration::ZERO, edition: 7, tell };
        let mut grant = Grant::with_room(limits::GRANT_MAX);
        let let_in = |fields| Finding::LetIn { subject: b"me".to_vec(), fields, until: None };
        let denied = |fields| Finding::Denied { why: Denial::Elsewhere, fields };
        let long = || vec![field("X-Token", 100), field("X-Long", limits::GRANT_MAX)];
        for found in [let_in(long()), denied(long())] {
            let why = slip.verdict(&mut grant, found).unwrap_err().unwrap();
            assert!(why.contains("`X-Long`") && !why.contains("aaaa"), "{why}");
        }
        let nobody = Finding::LetIn { subject: vec![b'a'; 257], fields: Vec::new(), until: None };
        let why = slip.verdict(&mut grant, nobody).unwrap_err().unwrap();
        assert!(why.contains("more than 256 bytes"), "{why}");
        let found = slip.verdict(&mut grant, denied(vec![field("Location", 1)]));
        assert_eq!(found, Ok(Verdict::Refused(Refusal::Redirected)));
        assert_eq!(grant.known().fields, b"Location: a\r\n", "nothing of what was before");
        let verdict = Verdict::LetIn { good_for: Duration::ZERO, edition: 7 };
        assert_eq!(slip.verdict(&mut grant, let_in(vec![field("X", 1)])), Ok(verdict));
        assert_eq!(slip.verdict(&mut grant, Finding::Failed), Err(None));
    }
}
