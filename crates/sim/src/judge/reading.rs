//! A client reads what comes: interim responses, the server's response to its oldest request, or a
//! refusal of anteroom's own, and says at its end which.

use std::collections::VecDeque;

use exchange::Refusal;

use super::ask::Method;
use super::book::Fate;
use super::gate;
use super::message::{Body, Content, Framing, Head, decimal};
use super::oracle::{Standing, may_refuse, response_head, switch_head};
use super::pattern::Key;
use super::stage::{Stage, Verdict, wrong};

/// Longest head of a response.
const HEAD_MOST: usize = 80 << 10;

/// How far the reading of one connection is.
#[derive(Debug)]
pub(super) struct Reading {
    state: State,
    /// 100 has come for the present request.
    advised: bool,
}

#[derive(Debug)]
enum State {
    /// A head, so many bytes of which were looked at.
    Head(usize),
    /// The body of the server's response.
    Response { body: Body, keeps: bool },
    /// The body of a refusal.
    Refusal { body: Body, status: u16, keeps: bool },
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// Bytes that were understood.
    pub(super) bytes: usize,
    /// Among them 100.
    pub(super) advised: bool,
    /// They end with 101.
    pub(super) switched: bool,
    /// The whole answer to the oldest request.
    pub(super) answer: Option<Answer>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) fate: Fate,
    /// Whether the connection is kept.
    pub(super) keeps: bool,
}

impl Reading {
    pub(super) const fn head() -> Self {
        Self { state: State::Head(0), advised: false }
    }

    /// Whether part of an answer came.
    pub(super) const fn has_begun(&self) -> bool {
        self.advised || !matches!(self.state, State::Head(0))
    }

    /// Reads until an answer is whole, or there is nothing more. `number` is the oldest request.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        number: Option<u32>,
        stage: &Stage,
        at: Standing,
    ) -> Verdict<Came> {
        let mut came = Came::default();
        loop {
            let rest = &bytes[came.bytes..];
            match &mut self.state {
                State::Head(seen) => {
                    let Some(length) = Head::length(rest, *seen) else {
                        *seen = rest.len();
                        if rest.len() > HEAD_MOST {
                            return wrong("response", "a head without an end");
                        }
                        return Ok(came);
                    };
                    came.bytes += length;
                    *seen = 0;
                    match self.head_is_there(&rest[..length], number, stage)? {
                        Some(100) => came.advised = true,
                        Some(101) => {
                            came.switched = true;
                            return Ok(came);
                        }
                        _ => {}
                    }
                }
                State::Response { body, .. } | State::Refusal { body, .. } => {
                    let read = body.read(rest).or_else(|text| wrong("response", text))?;
                    came.bytes += read;
                    if read == 0 && !body.is_whole() {
                        return Ok(came);
                    }
                }
            }
            if let State::Response { body, .. } | State::Refusal { body, .. } = &self.state
                && body.is_whole()
            {
                came.answer = Some(self.answer(number, stage, at)?);
                return Ok(came);
            }
        }
    }

    /// The connection ended: whether that ends an answer.
    pub(super) fn ends(
        &mut self,
        awaits: &mut VecDeque<u32>,
        stage: &mut Stage,
        at: Standing,
    ) -> Verdict<bool> {
        let number = awaits.front().copied();
        match &self.state {
            State::Response { body, .. } | State::Refusal { body, .. }
                if body.ends_with_connection() => {}
            _ => return Ok(false),
        }
        let answer = self.answer(number, stage, at)?;
        if let Some(number) = awaits.pop_front() {
            stage.settle(number, answer.fate);
        }
        Ok(true)
    }

    /// Makes sense of a whole head. Which it is, if it is an interim one.
    fn head_is_there(
        &mut self,
        text: &[u8],
        number: Option<u32>,
        stage: &Stage,
    ) -> Verdict<Option<u16>> {
        let head = Head::of(text).or_else(|text| wrong("response", text))?;
        let status = head.line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| decimal(rest.get(..3)?));
        let status = status.and_then(|status| u16::try_from(status).ok());
        let Some(status @ 100..=599) = status else {
            return wrong("response", format!("no status line: {}", text.escape_ascii()));
        };
        if status < 200 {
            return self.interim(status, &head, number, stage).map(|()| Some(status));
        }
        if head.fields().any(|(name, _)| name == b"X-Number") {
            let Some(number) = number else {
                return wrong("response", "a response that nobody asked for");
            };
            let record = stage.book.get(number);
            let told = response_head(&head, number, record, &stage.setting).or_else(|text| {
                wrong("response", format!("the head of the response to {number}: {text}"))
            })?;
            let body = Body::new(told.framing, Content::Known(Key::Response(number)));
            self.state = State::Response { body, keeps: told.keeps };
            return Ok(None);
        }
        self.refusal(status, &head, number, stage)?;
        Ok(None)
    }

    fn interim(
        &mut self,
        status: u16,
        head: &Head<'_>,
        number: Option<u32>,
        stage: &Stage,
    ) -> Verdict {
        let Some(number) = number else {
            return wrong("response", "an interim response that nobody asked for");
        };
        let record = stage.book.get(number);
        if status == 101 {
            return switch_head(head, number, record, &stage.setting)
                .or_else(|text| wrong("tunnel", format!("the switch of {number}: {text}")));
        }
        let old = record.ask().is_none_or(|ask| ask.old);
        let advises = status == 100 && record.ask().is_some_and(|ask| ask.expects);
        let advises = advises && gate::may_go_on(record, stage);
        let hints = status == 103 && record.reply().is_some_and(|reply| reply.interim > 0);
        let mut fields = head.fields();
        let own = |(name, value): (&[u8], &[u8])| {
            name == b"X-Number" && decimal(value) == Some(u64::from(number))
        };
        let right = if status == 100 {
            advises && !self.advised && fields.next().is_none()
        } else {
            let dated = |(name, value): (&[u8], &[u8])| name == b"Date" && value.len() == 29;
            let first = fields.next().is_some_and(own);
            hints && first && fields.next().is_some_and(dated) && fields.next().is_none()
        };
        if old || !right {
            return wrong("response", format!("{status} before the response to {number}"));
        }
        self.advised |= status == 100;
        Ok(())
    }

    fn refusal(
        &mut self,
        status: u16,
        head: &Head<'_>,
        number: Option<u32>,
        stage: &Stage,
    ) -> Verdict {
        let record = number.map(|number| stage.book.get(number));
        let ask = record.and_then(super::book::Record::ask);
        let mut keeps = ask.is_none_or(|ask| !ask.old);
        let (mut length, mut own) = (None, false);
        for (name, value) in head.fields() {
            let right = match name {
                b"Date" => {
                    own = true;
                    value.len() == 29
                }
                b"Content-Type" => value == b"text/plain; charset=utf-8",
                b"Content-Length" => {
                    length = decimal(value);
                    length.is_some()
                }
                b"Retry-After" => matches!(status, 429 | 503) && value == b"1",
                b"X-Request-ID" => stage.setting.request_ids,
                b"Connection" => {
                    keeps = value == b"keep-alive";
                    value == b"close" || (keeps && ask.is_some_and(|ask| ask.old && ask.keeps))
                }
                _ => gate::may_tell((name, value), status, record, stage),
            };
            if !right {
                let name = name.escape_ascii();
                return wrong("response", format!("field {name} in a refusal with {status}"));
            }
        }
        if status == 401 && !head.fields().any(|(name, _)| name == b"WWW-Authenticate") {
            return wrong("response", "401 without a challenge");
        }
        let Some(length) = length else {
            return wrong("response", format!("a refusal with {status} without a length"));
        };
        let bodiless = own && ask.is_some_and(|ask| ask.method == Method::Head);
        let framing = match (bodiless, keeps) {
            (false, _) => Framing::Length(length),
            (true, true) => Framing::Length(0),
            // Whether its head had been read before is not known here.
            (true, false) => Framing::UntilEnd,
        };
        let body = Body::new(framing, Content::Text(Vec::new()));
        self.state = State::Refusal { body, status, keeps };
        Ok(())
    }

    /// The answer is whole: what it is.
    fn answer(&mut self, number: Option<u32>, stage: &Stage, at: Standing) -> Verdict<Answer> {
        let state = std::mem::replace(&mut self.state, State::Head(0));
        self.advised = false;
        match state {
            State::Head(_) => wrong("response", "no answer"),
            State::Response { body, keeps } => {
                let Some(number) = number else {
                    return wrong("response", "a response that nobody asked for");
                };
                is_all(&body, number, stage)?;
                Ok(Answer { fate: Fate::Answered, keeps })
            }
            State::Refusal { body, status, keeps } => {
                refused(status, body.text(), number, stage, at)?;
                Ok(Answer { fate: Fate::Refused(status), keeps })
            }
        }
    }
}

/// Whether the body is all that the server meant.
fn is_all(body: &Body, number: u32, stage: &Stage) -> Verdict {
    let record = stage.book.get(number);
    let (Some(ask), Some(reply)) = (record.ask(), record.reply()) else {
        return wrong("response", "a response to what is no request");
    };
    if record.truncated {
        let text = format!("the response to {number} is whole, and nobody said that it was");
        return wrong("response", text);
    }
    let length = if reply.has_body(ask) { reply.length as usize } else { 0 };
    // Of a body that ends with the connection nobody can tell whether that came too early.
    let shorter = reply.is_until_end() && record.failed && body.came < length;
    if body.came != length && !shorter {
        return wrong("response", format!("{} of {length} bytes to {number}", body.came));
    }
    let trailers = match (reply.has_trailers(), body.trailers.is_empty()) {
        (_, true) => b"",
        (true, false) => &b"X-Checksum: 9\r\n\r\n"[..],
        (false, false) => b"\r\n",
    };
    if body.trailers != trailers {
        return wrong("response", format!("trailers {}", body.trailers.escape_ascii()));
    }
    Ok(())
}

/// Whether the client may be refused so.
fn refused(status: u16, text: &[u8], number: Option<u32>, stage: &Stage, at: Standing) -> Verdict {
    let Some(number) = number else {
        // That a client has ended its direction is found out with a buffer, too.
        if status == 503
            && (stage.setting.may_be_crowded() || stage.book.causes.short.explains(at.since))
        {
            return Ok(());
        }
        return wrong("refusal", format!("{status} to a client that asked for nothing"));
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let shown = lines.next().or_else(|| first.split_once(": ").map(|(_, detail)| detail));
    if !first.is_empty() && !first.starts_with(&status.to_string()) {
        return wrong("refusal", format!("{status} says {first:?}"));
    }
    let of_status = || Refusal::ALL.into_iter().filter(|refusal| refusal.status() == status);
    let named = |refusal: &Refusal| shown.is_none_or(|shown| shown == refusal.detail());
    // What is wrong with a request is told in other words than the refusal's own.
    let fits: Vec<Refusal> = match of_status().filter(named).collect::<Vec<_>>() {
        none if none.is_empty() => of_status().take(1).collect(),
        some => some,
    };
    let record = stage.book.get(number);
    let mut complaint = format!("{status} is no refusal");
    for refusal in fits {
        match may_refuse(refusal, record, stage, at) {
            Ok(()) => return Ok(()),
            Err(text) => complaint = text,
        }
    }
    wrong("refusal", format!("request {number}: {complaint}: {record:?} {at:?}"))
}
