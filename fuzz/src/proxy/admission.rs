//! Requests that somebody is to let in: what is asked of whom, and what servers see of it.

use exchange::{Asks, Authorization, Refusal};
use pool::Chain;
use wire::http1::FieldKind;

use super::desk::{Came, Circumstances, Desk, FIELDS, OWN_FIELDS, SUBJECT};
use super::peer::Source;
use crate::reference::{self, Head, Reading};
use crate::wire::fields::kind;

/// What became of the first request.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    came: Came,
    question: Option<Vec<u8>>,
    request: Option<Vec<u8>>,
}

/// The first byte says who decides, the next ones under which circumstances the others come.
pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let Some((circumstances, bytes)) = Circumstances::read(bytes) else { return };
    let circumstances = Circumstances { request_ids: false, ..circumstances };
    let asks = [Asks::Passwords, Asks::Tokens, Asks::Server][usize::from(choice % 3)];
    let passes = choice & 64 == 64;
    let whole = run(circumstances.roomy(), asks, passes, &mut Source::whole(bytes));
    agrees(&whole, asks, passes, bytes);
    for mut source in Source::ways(bytes) {
        let cut = run(circumstances, asks, passes, &mut source);
        match (cut.came, whole.came) {
            (Came::NoRoom, _) => {}
            // Which of two bounds is met first may depend on the cuts, not that one is.
            (Came::Refused(..), Came::Refused(..)) if circumstances.bounded => {}
            _ => assert_eq!(cut, whole, "the cuts decide"),
        }
    }
}

fn run(circumstances: Circumstances, asks: Asks, passes: bool, source: &mut Source<'_>) -> Seen {
    let mut desk = Desk::new(circumstances);
    desk.authorizes(Authorization {
        number: 0,
        asks,
        challenge: "Basic realm=\"here\"".into(),
        certificates: None,
        subject_field: Some("X-User".into()),
        passes_credentials: passes,
    });
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, source);
    let request = (came == Came::Complete).then(|| desk.write(&mut exchange));
    let question = desk.question();
    let rest = desk.end(exchange);
    desk.close(rest);
    Seen { came, question, request }
}

/// Nobody gets through unasked; what is asked stands in the head, and servers see what was granted
/// and nothing that looks like it.
fn agrees(seen: &Seen, asks: Asks, passes: bool, bytes: &[u8]) {
    let text = bytes.escape_ascii();
    assert!(seen.came != Came::Complete || seen.question.is_some(), "unasked: {text}");
    let Some(head) = front(bytes) else {
        assert!(seen.question.is_none(), "what is asked of no head? {text}");
        return;
    };
    let credentials = credentials(&head, asks);
    if let Came::Refused(refusal @ (Refusal::NoCredentials | Refusal::BadCredentials), _) =
        seen.came
    {
        assert_eq!(credentials, Err(refusal), "{text}");
    }
    if let Some(question) = &seen.question {
        assert!(question.len() <= asks.question_max());
        match asks {
            Asks::Server => questioned(&head, question),
            _ => assert_eq!(credentials, Ok(&question[..]), "{text}"),
        }
    }
    let Some(request) = &seen.request else { return };
    let (Reading::Whole(read, _), Some(passed)) = (reference::request(request), front(request))
    else {
        panic!("the server sees no request: {}", request.escape_ascii())
    };
    let Reading::Whole(meant, _) = reference::request(bytes) else { panic!("nobody sent: {text}") };
    assert_eq!(
        (&read.method, &read.target, &read.body),
        (&meant.method, &meant.target, &meant.body)
    );
    let own: Vec<_> =
        passed.fields.iter().filter(|(name, _)| is_one_of(name, OWN_FIELDS)).collect();
    let (role, _) = FIELDS.split_at(FIELDS.len() - 2);
    let told: Vec<_> =
        own.iter().map(|(name, value)| [*name, &b": "[..], *value].concat()).collect();
    assert_eq!(told.len(), 2, "{}", request.escape_ascii());
    assert!(told.contains(&role.to_vec()) && told.contains(&[&b"X-User: "[..], SUBJECT].concat()));
    let is_for_us =
        |head: &Head<'_>| head.all("authorization").map(<[u8]>::to_vec).collect::<Vec<_>>();
    let expected = if passes { is_for_us(&head) } else { Vec::new() };
    if !head.lists("connection", "authorization") {
        assert_eq!(is_for_us(&passed), expected, "the client's credentials");
    }
}

/// The head at the front of some bytes.
fn front(bytes: &[u8]) -> Option<Head<'_>> {
    let skipped = bytes.chunks(2).take_while(|two| **two == *b"\r\n").count() * 2;
    let bytes = &bytes[skipped..];
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    reference::head(&bytes[..end])
}

/// What the one `Authorization` says behind the scheme.
fn credentials<'h>(head: &Head<'h>, asks: Asks) -> Result<&'h [u8], Refusal> {
    let Some(scheme) = asks.scheme() else { return Ok(b"") };
    let all: Vec<&[u8]> = head.all("authorization").collect();
    let value = match all[..] {
        [] => return Err(Refusal::NoCredentials),
        [value] => value,
        _ => return Err(Refusal::BadCredentials),
    };
    let mut words = value.splitn(2, |byte| *byte == b' ');
    if !words.next().is_some_and(|word| word.eq_ignore_ascii_case(scheme.as_bytes())) {
        return Err(Refusal::NoCredentials);
    }
    let token = words.next().unwrap_or_default();
    let text = str::from_utf8(token).map(|text| text.trim_matches([' ', '\t']));
    let is_plain = |text: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        !text.is_empty() && text.len() <= asks.question_max() && text.chars().all(plain)
    };
    text.ok().filter(is_plain).map(str::as_bytes).ok_or(Refusal::BadCredentials)
}

/// What another server is asked: what the request is, by fields that only we write, and what the
/// client said for a server, but for its body.
fn questioned(head: &Head<'_>, question: &[u8]) {
    let text = question.escape_ascii();
    let whole = [b"GET / HTTP/1.1\r\n", question, b"\r\n"].concat();
    let Some(asked) = reference::head(&whole) else { panic!("no lines: {text}") };
    let sent = control::authorize::fields(question).map(|fields| fields.len());
    assert_eq!(sent, Some(asked.fields.len()), "no question can be made of {text}");
    let [method, target, _] = head.line;
    assert_eq!(asked.only("X-Original-Method"), Some(method), "{text}");
    assert_eq!(asked.only("X-Forwarded-Proto"), Some(&b"http"[..]), "{text}");
    assert_eq!(asked.only("X-Forwarded-For"), Some(&b"192.0.2.1"[..]), "{text}");
    let path = asked.only("X-Original-URI").unwrap_or_else(|| panic!("no target: {text}"));
    let asterisk = method == b"OPTIONS" && path == b"*";
    let behind =
        target.ends_with(path) || path.strip_prefix(b"/").is_some_and(|it| target.ends_with(it));
    assert!(asterisk || (path.starts_with(b"/") && behind), "{text}");
    let ours = asked.fields.iter().filter(|(name, _)| is_one_of(name, OURS)).count();
    let host = asked.all("x-forwarded-host").count();
    assert!(ours == 4 + host && host < 2, "forged: {text}");
    let passes = |(name, _): &&(&[u8], &[u8])| {
        let nominated = head.lists("connection", str::from_utf8(name).unwrap_or_default());
        let lists = [OURS, OWN_FIELDS, ABOUT_CONTENT];
        kind(name, nominated) == FieldKind::EndToEnd && !lists.iter().any(|it| is_one_of(name, it))
    };
    let meant: Vec<_> = head.fields.iter().filter(passes).collect();
    let told: Vec<_> = asked.fields.iter().filter(|(name, _)| !is_one_of(name, OURS)).collect();
    assert_eq!(told, meant, "{text}");
}

/// What only we tell such a server, in whatever spelling.
const OURS: &str = "X-Original-Method,X-Original-URI,X-Original-URL,X-Rewrite-URL,\
    X-Forwarded-Method,X-Forwarded-Uri,X-Forwarded-Path,X-Forwarded-Prefix,\
    X-Forwarded-For,X-Forwarded-Host,X-Forwarded-Proto";
/// What is of a body that it does not get.
const ABOUT_CONTENT: &str = "Content-Type,Content-Encoding,Content-Language,Content-Location,\
    Content-Range,Content-MD5,Digest,Content-Digest,Range,If-Match,If-None-Match,\
    If-Modified-Since,If-Unmodified-Since,If-Range";

/// Whether it is one of these to who reads names as CGI does.
fn is_one_of(name: &[u8], names: &str) -> bool {
    let variable = |name: &str| name.to_ascii_uppercase().replace('-', "_");
    let own = variable(str::from_utf8(name).unwrap_or_default());
    names.split(',').any(|one| variable(one) == own)
}
