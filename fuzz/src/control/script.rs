//! What an authority says instead of what it should.
//!
//! The bytes are cut at zeros: each piece belongs to one request, in turn. An empty one leaves the
//! answer as it is. Otherwise it begins, if with three digits, with a status and lines of fields up to an
//! empty line; the rest is the body. A body that begins with `~` is edited: `~this~that` puts `that`
//! wherever `this` stands. Two fields are no fields: `wait` says how many seconds the answer takes, and
//! `fail` that there is none.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// Pieces that are still to be said.
pub(super) struct Script {
    pieces: Vec<Vec<u8>>,
    next: usize,
    /// Whether the last one is said for ever.
    repeats: bool,
}

/// An answer, when it comes, and whether it does.
pub(super) struct Line {
    pub(super) answer: Response<Bytes>,
    pub(super) wait: Duration,
    pub(super) fails: bool,
}

impl Script {
    pub(super) fn new(bytes: &[u8], repeats: bool) -> Self {
        let pieces = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        Self { pieces, next: 0, repeats }
    }

    /// Whether all is said: from now on answers are what they should be.
    pub(super) fn is_over(&self) -> bool {
        let left = self.pieces.get(self.next..).unwrap_or_default();
        let repeats = self.repeats && self.pieces.last().is_some_and(|piece| !piece.is_empty());
        !repeats && left.iter().all(Vec::is_empty)
    }

    /// What is said instead of this.
    pub(super) fn say(&mut self, answer: Response<Bytes>) -> Line {
        let at = if self.repeats { self.next.min(self.pieces.len() - 1) } else { self.next };
        self.next += 1;
        match self.pieces.get(at) {
            Some(piece) if !piece.is_empty() => edited(answer, piece),
            _ => Line { answer, wait: Duration::ZERO, fails: false },
        }
    }
}

fn edited(answer: Response<Bytes>, piece: &[u8]) -> Line {
    let mut line = Line { answer, wait: Duration::ZERO, fails: false };
    let status = piece.get(..3).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let body = match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        None => piece,
        Some(status) => {
            *line.answer.status_mut() = status;
            let rest = &piece[3..];
            let end = rest.windows(2).position(|two| two == b"\n\n");
            let (fields, body) = end.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
            for field in fields.split(|byte| *byte == b'\n') {
                line.put(field);
            }
            body
        }
    };
    if let Some(edits) = body.strip_prefix(b"~") {
        let mut words = edits.split(|byte| *byte == b'~');
        while let (Some(this), that) = (words.next(), words.next().unwrap_or_default()) {
            let body = replaced(line.answer.body(), this, that);
            *line.answer.body_mut() = Bytes::from(body);
        }
    } else if !body.is_empty() {
        *line.answer.body_mut() = Bytes::copy_from_slice(body);
    }
    line
}

impl Line {
    fn put(&mut self, field: &[u8]) {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        match name {
            b"wait" => {
                let seconds: Option<u32> =
                    str::from_utf8(value).ok().and_then(|it| it.parse().ok());
                self.wait = Duration::from_secs(u64::from(seconds.unwrap_or_default()));
            }
            b"fail" => self.fails = true,
            name => {
                let name = HeaderName::from_bytes(name).ok();
                let value = HeaderValue::from_bytes(value).ok();
                if let Some((name, value)) = name.zip(value) {
                    self.answer.headers_mut().insert(name, value);
                }
            }
        }
    }
}

/// Puts `that` wherever `this` stands; what is longer than an answer may be is not needed here.
fn replaced(text: &[u8], this: &[u8], that: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(this.len().max(1)).position(|it| it == this)
        && all.len() < 1 << 16
    {
        all.extend_from_slice(&rest[..at]);
        all.extend_from_slice(that);
        rest = &rest[at + this.len()..];
    }
    all.extend_from_slice(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &[u8]) -> Line {
        Script::new(script, false).say(Response::new(Bytes::from_static(b"one two one")))
    }

    #[test]
    fn an_answer_is_changed_as_the_piece_says() {
        assert_eq!(said(b"").answer.body(), "one two one");
        assert_eq!(said(b"~one~1~two~").answer.body(), "1  1");
        let line = said(b"429\nretry-after: 5\nwait: 7\n\nno");
        assert_eq!((line.answer.status().as_u16(), &line.answer.body()[..]), (429, &b"no"[..]));
        assert_eq!(line.answer.headers()["retry-after"], "5");
        assert_eq!((line.wait, line.fails), (Duration::from_secs(7), false));
        let line = said(b"503\nfail:");
        assert_eq!((line.fails, &line.answer.body()[..]), (true, &b"one two one"[..]));
    }

    #[test]
    fn pieces_are_said_in_turn() {
        let mut script = Script::new(b"a\0\0b", false);
        let mut next = || {
            let over = script.is_over();
            (over, script.say(Response::new(Bytes::from_static(b"-"))).answer.into_body())
        };
        let said = [next(), next(), next(), next()];
        assert_eq!(
            said.map(|(over, body)| (over, body[0])),
            [(false, b'a'), (false, b'-'), (false, b'b'), (true, b'-')]
        );
        let mut script = Script::new(b"a\0b", true);
        let mut next = || script.say(Response::new(Bytes::new())).answer.into_body();
        assert_eq!([next(), next(), next()].map(|body| body[0]), [b'a', b'b', b'b']);
        assert!(!script.is_over());
    }
}
