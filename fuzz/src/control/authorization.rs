//! What an authorization server answers, and what a key server does.
//!
//! The bytes are what it says on its connection, whatever that is. A second reader goes over them line
//! by line, so that who is let in is who it says, with what it says, and nothing else of it.

use std::time::Duration;

use base::limits::{AUTHORIZE_ANSWER_MAX, TOKEN_KEYS_MAX};
use control::authorize::{
    AuthorizationServer, Denial, Fetch, Fetched, Finding, HeaderName, Refresh, Url, fields,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::line::{Line, Then};
use crate::cuts;
use crate::reference::{self, Reading};

/// How long an answer is waited for: longer than all pieces take.
const PATIENCE: Duration = Duration::from_secs(10);
/// As long as nobody reads what is for nobody.
const SKIPPED: Duration = Duration::from_secs(3);
/// What may have been said of what nobody reads.
const ON_ITS_WAY: usize = 64 << 10;
/// Longest that is told of a fault.
const WORDS_MAX: usize = 160;
/// What the server behind is told: as it is looked for, and as it is spelled.
const COPIED: [[&str; 2]; 3] =
    [["x-role", "X-Role"], ["remote-groups", "Remote-Groups"], ["set-cookie", "Set-Cookie"]];
const USER: &str = "x-user";
const CHALLENGE: &str = "Bearer realm=\"here\"";
/// Where `url` points.
const URL: &str = "http://auth.example/check?a=b";
/// What is asked if the bytes do not say.
const QUESTION: &[u8] = b"X-Original-Method: GET\r\nX-Original-URI: /a\r\nCookie: a=b\r\n";

/// What the first byte says.
#[derive(Clone, Copy)]
struct Circumstances {
    /// Whether the question stands before the answer, up to a zero.
    asks: bool,
    named: bool,
    document: bool,
    then: Then,
}

impl Circumstances {
    const fn read(byte: u8) -> Self {
        let then = match byte & 0x18 {
            0 | 8 => Then::Ends,
            16 => Then::Hears,
            _ => Then::Repeats,
        };
        Self { asks: byte & 1 == 1, named: byte & 2 == 2, document: byte & 4 == 4, then }
    }
}

/// The first byte says under which circumstances; the others are the question, if it says so, and the
/// answer.
pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let circumstances = Circumstances::read(choice);
    let (question, answer) = match bytes.iter().position(|byte| *byte == 0) {
        Some(end) if circumstances.asks && is_ours(&bytes[..end]) => {
            (&bytes[..end], &bytes[end + 1..])
        }
        _ => (QUESTION, bytes),
    };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let [whole, _, cut] = cuts::ways(answer);
    if circumstances.document {
        let all = [&whole, &cut].map(|pieces| document(&runtime, circumstances, pieces, answer));
        assert_eq!(all[0].as_ref().ok(), all[1].as_ref().ok(), "the cuts decide");
    } else {
        let all =
            [&whole, &cut].map(|pieces| ask(&runtime, circumstances, pieces, question, answer));
        assert_eq!(all[0].as_ref().ok(), all[1].as_ref().ok(), "the cuts decide");
    }
}

/// Whether nothing in it says where a request ends, or is for one hop: no question has such a line.
fn is_ours(question: &[u8]) -> bool {
    let never = "connection,content-length,keep-alive,te,trailer,transfer-encoding,upgrade";
    fields(question).is_none_or(|fields| !never.split(',').any(|name| fields.contains_key(name)))
}

fn url() -> Url {
    Url::parse(URL).unwrap_or_else(|why| panic!("{why}"))
}

/// One question, and then another: nobody gets an answer to another's.
fn ask(
    runtime: &Runtime,
    circumstances: Circumstances,
    pieces: &[&[u8]],
    question: &[u8],
    answer: &[u8],
) -> Result<Finding, String> {
    let line = Line::new(pieces, circumstances.then);
    let name = HeaderName::from_static;
    let server = AuthorizationServer {
        fetch: Fetch::over(line.clone(), PATIENCE),
        url: url(),
        copied: COPIED.iter().map(|[name, _]| HeaderName::from_static(name)).collect(),
        user: circumstances.named.then(|| name(USER)),
        challenge: CHALLENGE.to_owned(),
    };
    runtime.block_on(async {
        let found = bounded(server.ask(question)).await;
        let heads = line.seen().heads.clone();
        asked(question, &heads, &found);
        if let Some(head) = heads.first() {
            sent(question, head);
            judged(circumstances.named, answer, &found);
        }
        rests(&line).await;
        let refused = Finding::Denied { why: Denial::Forbidden, fields: Vec::new() };
        let next = if heads.is_empty() { Ok(refused.clone()) } else { server.ask(QUESTION).await };
        assert_eq!(next, Ok(refused), "an answer to another's question");
        found
    })
}

/// Keys, wherever they are.
fn document(
    runtime: &Runtime,
    circumstances: Circumstances,
    pieces: &[&[u8]],
    answer: &[u8],
) -> Result<Vec<u8>, String> {
    let line = Line::new(pieces, circumstances.then);
    let fetch = Fetch::over(line.clone(), PATIENCE);
    runtime.block_on(async {
        let mut refresh = Refresh::new(Duration::from_mins(5));
        refresh.begin();
        let found = bounded(fetch.document(&url())).await;
        fetched(circumstances.then, answer, found.as_deref());
        let is_chunked = |told: Told| !told.all("transfer-encoding").is_empty();
        if Told::read(answer).is_some_and(|told| !is_chunked(told)) {
            assert!(line.seen().said <= AUTHORIZE_ANSWER_MAX + ON_ITS_WAY, "it is read for ever");
        }
        match refresh.end(found.clone(), Instant::now()) {
            Fetched::Changed(keys) => assert!((1..=TOKEN_KEYS_MAX).contains(&keys.len())),
            Fetched::Same(_) => panic!("nothing was there before"),
            Fetched::Failed(news, why) => {
                told(&why);
                assert!(news && !refresh.is_known());
            }
        }
        rests(&line).await;
        found.map(|body| body.to_vec())
    })
}

/// What comes of it, in time, and what is wrong in a few words.
async fn bounded<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let began = Instant::now();
    let found = asked.await;
    assert!(began.elapsed() <= PATIENCE + Duration::from_millis(1), "{:?}", began.elapsed());
    if let Err(why) = &found {
        told(why);
    }
    found
}

fn told(why: &str) {
    let is_plain = !why.is_empty() && !why.chars().any(char::is_control);
    assert!(is_plain && why.len() <= WORDS_MAX, "{why:?}");
}

/// Whoever goes on for ever is not heard for long.
async fn rests(line: &Line) {
    sleep(SKIPPED).await;
    let said = line.seen().said;
    sleep(SKIPPED).await;
    assert_eq!(line.seen().said, said, "it is heard for ever");
}

/// Whatever is a question is asked, once; nothing else is.
fn asked(question: &[u8], heads: &[Vec<u8>], found: &Result<Finding, String>) {
    let lines = [b"GET / HTTP/1.1\r\n", question, b"\r\n"].concat();
    if reference::head(&lines).is_some() && !question.starts_with(b"\r\n") {
        assert!(fields(question).is_some(), "a question is refused: {}", question.escape_ascii());
    }
    if fields(question).is_none() {
        assert!(heads.is_empty() && found.is_err(), "what is no question is asked");
    }
    assert!(heads.len() <= 1, "asked {} times", heads.len());
}

/// What is asked is one request without a body, of the lines of the question and what says to whom.
fn sent(question: &[u8], head: &[u8]) {
    let text = head.escape_ascii();
    let Some(read) = reference::head(head) else { panic!("no head: {text}") };
    assert_eq!(read.line, [&b"GET"[..], b"/check?a=b", b"HTTP/1.1"], "{text}");
    let lines = [b"GET / HTTP/1.1\r\n", question, b"\r\n"].concat();
    let Some(meant) = reference::head(&lines) else { return };
    for (name, value) in &meant.fields {
        let name = str::from_utf8(name).unwrap_or_default();
        let ours =
            |head: &reference::Head<'_>| head.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(ours(&read), ours(&meant), "{text}: {}", value.escape_ascii());
    }
    let added = read.fields.len().saturating_sub(meant.fields.len());
    assert!(added <= 1 && (added == 0 || read.only("host") == Some(b"auth.example")), "{text}");
}

/// A status, and the fields that stand with it.
struct Told {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
}

impl Told {
    /// The first head that is no interim one, read as leniently as may be.
    fn read(answer: &[u8]) -> Option<Self> {
        let mut lines = answer.split(|byte| *byte == b'\n');
        let mut next = || lines.next().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        loop {
            let mut first = next()?;
            while first.is_empty() {
                first = next()?;
            }
            let digits = first.get(9..12)?;
            let status = str::from_utf8(digits).ok()?.parse().ok()?;
            let mut fields = Vec::new();
            loop {
                let line = next()?;
                if line.is_empty() {
                    break;
                }
                let colon = line.iter().position(|byte| *byte == b':')?;
                let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
                fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
            }
            if !(100..200).contains(&status) || status == 101 {
                return Some(Self { status, fields });
            }
        }
    }

    fn all(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.fields.iter().filter(|(own, _)| own == name);
        named.map(|(_, value)| value.clone()).collect()
    }

    /// All fields of these names, in the order of the names.
    fn copied(&self, names: &[[&str; 2]]) -> Vec<(String, Vec<u8>)> {
        let of = |[name, spelled]: &[&str; 2]| {
            let spelled = (*spelled).to_owned();
            self.all(name)
                .into_iter()
                .map(move |value| (spelled.clone(), value))
                .collect::<Vec<_>>()
        };
        names.iter().flat_map(of).collect()
    }

    /// What it means; none if that is nothing.
    fn finding(&self, named: bool) -> Option<Finding> {
        let cookies = ["set-cookie", "Set-Cookie"];
        Some(match self.status {
            200..=299 => {
                let user = if named { self.all(USER) } else { Vec::new() };
                let subject = user.into_iter().next().unwrap_or_default();
                Finding::LetIn { subject, fields: self.copied(&COPIED), until: None }
            }
            401 => {
                let name = ["www-authenticate", "WWW-Authenticate"];
                let mut fields = self.copied(&[name, cookies]);
                if self.all(name[0]).iter().all(Vec::is_empty) {
                    fields.insert(0, (name[1].to_owned(), CHALLENGE.as_bytes().to_vec()));
                }
                Finding::Denied { why: Denial::Credentials, fields }
            }
            403 => Finding::Denied { why: Denial::Forbidden, fields: Vec::new() },
            300..=399 if !self.all("location").is_empty() => {
                let fields = self.copied(&[["location", "Location"], cookies]);
                Finding::Denied { why: Denial::Elsewhere, fields }
            }
            _ => return None,
        })
    }
}

/// The finding is what the second reader finds; what is plainly said is found.
fn judged(named: bool, answer: &[u8], found: &Result<Finding, String>) {
    let text = answer.escape_ascii();
    let told = Told::read(answer);
    let meant = told.as_ref().and_then(|told| told.finding(named));
    match found {
        Ok(found) => {
            assert_eq!(Some(found), meant.as_ref(), "{text}");
            can_stand(found);
        }
        Err(why) => {
            assert!(!(is_plain(answer) && meant.is_some()), "{why}: {text}");
            let status = told.map(|told| format!("the answer is {}", told.status));
            if why.starts_with("the answer is") {
                assert_eq!(Some(why), status.as_ref(), "{text}");
            }
        }
    }
}

/// No field that is told ends a line, or is the name of none.
fn can_stand(found: &Finding) {
    let (subject, fields) = match found {
        Finding::LetIn { subject, fields, .. } => (&subject[..], fields),
        Finding::Denied { fields, .. } => (&b""[..], fields),
        Finding::Failed => panic!("that is said by nobody"),
    };
    let values = fields.iter().map(|(_, value)| &value[..]).chain([subject]);
    for value in values {
        let is_text = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 127));
        assert!(is_text && value.trim_ascii() == value, "{}", value.escape_ascii());
    }
}

/// Whether no reader could take the answer for another: one strict head, and nothing in it that says
/// where the body ends.
fn is_plain(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let Some(head) = reference::head(&answer[..end + 4]) else { return false };
    let about = ["content-length", "transfer-encoding", "connection", "upgrade"];
    let version = matches!(head.line[0], b"HTTP/1.0" | b"HTTP/1.1");
    // An interim one is no answer yet.
    let digits = matches!(head.line[1], [b'2'..=b'9', b'0'..=b'9', b'0'..=b'9']);
    let reason = head.line[2].iter().all(|byte| *byte >= b' ' && *byte != 127);
    let fits = head.fields.len() <= 64;
    version && digits && reason && fits && about.iter().all(|name| head.all(name).next().is_none())
}

/// A document is what stands there, whole, and no longer than it may be.
fn fetched(then: Then, answer: &[u8], found: Result<&[u8], &String>) {
    let text = answer.escape_ascii();
    let said = reference::response(answer, false, then == Then::Ends);
    match found {
        Ok(body) => {
            assert!(body.len() <= AUTHORIZE_ANSWER_MAX);
            assert_eq!(Told::read(answer).map(|told| told.status), Some(200), "{text}");
            if let Reading::Whole(said, _) = said {
                assert_eq!(body, said.body, "{text}");
            }
        }
        Err(why) => {
            let plain = is_plain(answer) && then == Then::Ends;
            let whole = matches!(said, Reading::Whole(said, _) if said.status == 200);
            assert!(!(plain && whole), "{why}: {text}");
        }
    }
}
