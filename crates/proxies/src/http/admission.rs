//! Whether a request is let in: by what its head says, and by what those who decide said before.
//!
//! Nothing is decided here that takes longer than a look. What does is put as a question, which the
//! worker asks; when it has the verdict, the head is read again.

use core::fmt::Write;
use core::net::IpAddr;

use exchange::{Admission, Asks, Authorization, Granted, Refusal, Rules, TlsFacts};
use wire::http1::{FieldKind, Full, RequestHead, Writer, is_one_of};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted<'a> {
    /// It is let in: who its client is, if that was asked, and field lines for the server.
    As { subject: &'a [u8], fields: &'a [u8] },
    /// Somebody must be asked; the question has so many bytes.
    Asks(u32),
    /// It is not.
    Denied(Refusal),
}

impl Admitted<'_> {
    /// It is let in, and nothing is known.
    pub(super) const FREELY: Self = Self::As { subject: b"", fields: b"" };
}

/// Whom a request comes from, as far as that is known without its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) peer: Option<IpAddr>,
    /// How it reached us, or the proxy that is trusted: `http` or `https`.
    pub(super) proto: &'a str,
    pub(super) tls: Option<TlsFacts<'a>>,
    pub(super) admission: Option<&'a dyn Admission>,
}

/// Looks at the head; a question is written into `space`.
pub(super) fn admit<'a>(
    head: &RequestHead<'_>,
    caller: Caller<'a>,
    rules: &'a Rules,
    space: &mut [u8],
) -> Admitted<'a> {
    let Some(authorization) = rules.authorization.as_deref() else { return Admitted::FREELY };
    let subject = caller.tls.and_then(|tls| tls.subject);
    if !is_certified(authorization, caller.tls) {
        return Admitted::Denied(Refusal::Forbidden);
    }
    let mut question = Writer::new(space);
    let written = match authorization.asks {
        Asks::Nobody => {
            let subject = subject.unwrap_or_default().as_bytes();
            return Admitted::As { subject, fields: b"" };
        }
        Asks::Passwords | Asks::Tokens => {
            credentials(head, authorization.asks).map(|credentials| question.push(credentials))
        }
        Asks::Server => Ok(for_server(head, caller, rules, &mut question)),
    };
    let length = question.len();
    match written {
        Err(refusal) => return Admitted::Denied(refusal),
        Ok(Ok(())) if length <= authorization.asks.question_max() => {}
        Ok(_) => return Admitted::Denied(Refusal::HeadTooLarge),
    }
    let known = caller.admission.and_then(|known| known.granted(question.written()));
    match known {
        Some(Granted { subject, fields }) => Admitted::As { subject, fields },
        None => Admitted::Asks(u32::try_from(length).unwrap_or(u32::MAX)),
    }
}

/// Whether the client showed a certificate that will do, if one is asked for.
fn is_certified(authorization: &Authorization, tls: Option<TlsFacts<'_>>) -> bool {
    match (&authorization.certificates, tls.filter(|tls| tls.shown)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(subjects), Some(TlsFacts { subject, .. })) => {
            subjects.is_empty() || subjects.iter().any(|asked| subject == Some(&**asked))
        }
    }
}

/// What `Authorization` says behind its scheme (RFC 9110 §11.4). Two such fields say nothing.
fn credentials<'h>(head: &RequestHead<'h>, asks: Asks) -> Result<&'h [u8], Refusal> {
    let scheme = asks.scheme().unwrap_or_default();
    let named = |name: &[u8]| name.eq_ignore_ascii_case(b"authorization");
    let mut sent = head.fields.iter().filter(|field| named(field.name));
    let value = match (sent.next(), sent.next()) {
        (None, _) => return Err(Refusal::NoCredentials),
        (Some(field), None) => field.value,
        (Some(_), Some(_)) => return Err(Refusal::BadCredentials),
    };
    let (asked, rest) = value.split_at_checked(scheme.len()).ok_or(Refusal::NoCredentials)?;
    let apart = matches!(rest.first(), None | Some(b' '));
    if !asked.eq_ignore_ascii_case(scheme.as_bytes()) || !apart {
        return Err(Refusal::NoCredentials);
    }
    let token = rest.trim_ascii();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let fits = (1..=asks.question_max()).contains(&token.len()) && token.iter().all(plain);
    if fits { Ok(token) } else { Err(Refusal::BadCredentials) }
}

/// Fields by which servers of several kinds learn what was asked for: a client that writes one would
/// have another request judged than its own.
const OURS: &str = "X-Original-Method,X-Original-URI,X-Original-URL,X-Rewrite-URL,\
    X-Forwarded-Method,X-Forwarded-Uri,X-Forwarded-Path,X-Forwarded-Prefix";

/// Fields that concern the body, which is not sent, or would have the answer depend on what the
/// client has already.
const ABOUT_CONTENT: &str = "Content-Type,Content-Encoding,Content-Language,Content-Location,\
    Content-Range,Content-MD5,Digest,Content-Digest,Range,If-Match,If-None-Match,\
    If-Modified-Since,If-Unmodified-Since,If-Range";

/// The fields of a request that asks another server whether this one may pass.
fn for_server(
    head: &RequestHead<'_>,
    caller: Caller<'_>,
    rules: &Rules,
    question: &mut Writer<'_>,
) -> Result<(), Full> {
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            question.push(part)?;
        }
        Ok::<(), Full>(())
    };
    line("X-Original-Method", head.method.as_str().as_bytes())?;
    line("X-Forwarded-Proto", caller.proto.as_bytes())?;
    if let Some(host) = head.host {
        line("X-Forwarded-Host", host.as_bytes())?;
    }
    for field in head.fields.iter().filter(|field| field.kind == FieldKind::EndToEnd) {
        let not_for_it = [OURS, ABOUT_CONTENT, &rules.own_fields];
        if let Ok(name) = core::str::from_utf8(field.name)
            && !not_for_it.iter().any(|names| is_one_of(field.name, names))
        {
            line(name, field.value)?;
        }
    }
    let [root, rest] = head.target.parts();
    for part in ["X-Original-URI: ", root, rest, "\r\n"] {
        question.push(part.as_bytes())?;
    }
    if let Some(peer) = caller.peer {
        write!(question, "X-Forwarded-For: {}\r\n", peer.to_canonical()).map_err(|_| Full)?;
    }
    Ok(())
}

/// What `WWW-Authenticate` says to a client that is refused: written into `space`, as a field line.
/// What another server said of that comes instead.
pub(super) fn challenge<'s>(
    refusal: Refusal,
    rules: &Rules,
    admission: Option<&'s dyn Admission>,
    space: &'s mut [u8],
) -> &'s [u8] {
    let Some(authorization) = rules.authorization.as_deref() else { return b"" };
    if !refusal.is_of_authorization() {
        return b"";
    }
    if authorization.asks == Asks::Server {
        return admission.map_or(b"", Admission::told);
    }
    // RFC 6750 §3.1: who sent no token is told of no error.
    let error = match (refusal, authorization.asks) {
        (Refusal::BadCredentials, Asks::Tokens) => ", error=\"invalid_token\"",
        (Refusal::NoCredentials | Refusal::BadCredentials, _) => "",
        _ => return b"",
    };
    let mut line = Writer::new(space);
    let parts = ["WWW-Authenticate: ", &authorization.challenge, error, "\r\n"];
    let whole = parts.iter().try_for_each(|part| line.push(part.as_bytes()));
    let length = line.len();
    if whole.is_ok() { &space[..length] } else { b"" }
}
