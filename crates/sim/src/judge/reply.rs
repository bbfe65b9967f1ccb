//! What a server answers, and how it writes that down: all of it is settled with the request, so
//! that everybody knows what may come.

use std::time::Duration;

use super::ask::{Ask, Method, chunks, put};
use super::outbox::{Cut, Outbox};
use super::pattern::{Key, stretch};
use super::setting::Setting;
use super::tunnel::Talk;
use crate::dice::Dice;

/// A response as its server means it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) form: Form,
    /// Bytes of its body.
    pub(super) length: u32,
    /// Interim responses before it.
    pub(super) interim: u32,
    /// It says that the connection is closed behind it.
    pub(super) parts: bool,
    /// It comes with its own `Date`.
    pub(super) dated: bool,
    /// It has fields for the next hop, and trailers where there may be any.
    pub(super) rich: bool,
    /// `Connection` names a field of its own: then trailers are not passed on.
    pub(super) names: bool,
    /// Bytes of a field that means nothing.
    pub(super) filler: u32,
    /// It begins when so many bytes of the request's body came.
    pub(super) early: Option<u32>,
    /// Pauses, by the part of the response before which they are, in 256ths.
    pauses: Vec<(u32, Duration)>,
    pub(super) trouble: Trouble,
    /// The trouble is met once only.
    once: bool,
    /// The server reads nothing more until it is written.
    pub(super) sulks: bool,
    /// What the server says when it has switched protocols.
    pub(super) talk: Option<Talk>,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Length,
    /// In chunks of so many bytes.
    Chunks(u32),
    UntilEnd,
    /// There is none.
    Nothing,
    /// Protocols are switched: none, but what the server says then.
    Switch,
    /// A stream of events, framed as one of the others.
    Events(Framed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    Chunks,
    UntilEnd,
    Length,
}

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The connection is broken off instead.
    Deserts(Cut),
    /// It is broken off before that 256th of it.
    Breaks(u32, Cut),
    /// It tells more bytes than come.
    Promises(u32),
    /// So many more bytes come.
    TooMuch(u32),
    /// What comes is no response.
    Garbage(usize),
    /// Nothing comes until the world calms down.
    Silent,
}

/// What is no response, or none that may come here.
const GARBAGE: [&str; 10] = [
    "no response at all\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "\0\0\0\0\0\0",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
];

/// Which of them switches to what nobody asked for.
const UNASKED: usize = 5;

/// A pause that only the world's calming down ends.
const FOR_EVER: Duration = Duration::from_hours(1000);

impl Reply {
    /// Draws the response to a request.
    pub(super) fn draw(dice: &mut Dice, setting: &Setting, ask: &Ask, group: usize) -> Self {
        let habits = &setting.habits;
        let offers = ask.offers(group, setting);
        let switches = offers && ask.talk.is_some() && dice.chance(200);
        let form = if switches { Form::Switch } else { form(dice, setting) };
        let huge = dice.chance(habits.huge);
        let length = dice.length(if huge { setting.longest } else { setting.longest.min(2000) });
        let trouble = match (trouble(dice, setting), form) {
            // There, more is not too much.
            (Trouble::Promises(_), Form::Length | Form::Events(Framed::Length)) => {
                Trouble::Promises(1 + length)
            }
            // And nothing is promised elsewhere.
            (
                Trouble::TooMuch(_),
                Form::Switch | Form::UntilEnd | Form::Events(Framed::UntilEnd),
            )
            | (Trouble::Promises(_), _) => Trouble::None,
            // That would be what was asked for.
            (Trouble::Garbage(UNASKED), _) if offers => Trouble::Garbage(UNASKED + 1),
            (trouble, _) => trouble,
        };
        let early = ask.body.is_some() && dice.chance(habits.early);
        Self {
            status: match form {
                Form::Nothing => dice.pick(&[204, 304]),
                Form::Switch => 101,
                _ => dice.pick(&[200, 200, 404, 500, 201]),
            },
            form,
            length: if matches!(form, Form::Nothing | Form::Switch) { 0 } else { length },
            interim: if dice.chance(habits.interim) { dice.between(1, hints(setting)) } else { 0 },
            parts: dice.chance(habits.parts) && !switches,
            dated: dice.chance(60),
            rich: dice.chance(habits.upgrades) && !switches,
            names: dice.chance(habits.upgrades) && !switches,
            filler: if dice.chance(habits.fields) {
                dice.length(setting.max_head - 900)
            } else {
                0
            },
            early: early.then(|| dice.below(ask.length() + 1)),
            pauses: pauses(dice, setting, form),
            trouble,
            once: dice.chance(200),
            talk: switches.then(|| Talk::draw(dice, setting)),
            sulks: early && dice.chance(setting.sulks),
        }
    }

    /// A plain one.
    pub(super) const fn plain(length: u32) -> Self {
        Self {
            status: 200,
            form: Form::Length,
            length,
            interim: 0,
            parts: false,
            dated: false,
            rich: false,
            names: false,
            filler: 0,
            early: None,
            pauses: Vec::new(),
            trouble: Trouble::None,
            once: false,
            talk: None,
            sulks: false,
        }
    }

    /// What is wrong with it when the request arrives for the `attempt`th time, the first being 0.
    pub(super) fn trouble_at(&self, attempt: u32) -> Trouble {
        if self.once && attempt > 0 { Trouble::None } else { self.trouble }
    }

    /// Whether its trailers reach its client.
    pub(super) const fn has_trailers(&self) -> bool {
        self.rich && self.is_chunked() && !self.names
    }

    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.form, Form::Events(_))
    }

    pub(super) fn is_switch(&self) -> bool {
        self.form == Form::Switch
    }

    /// Whether its body comes in chunks.
    pub(super) const fn is_chunked(&self) -> bool {
        matches!(self.form, Form::Chunks(_) | Form::Events(Framed::Chunks))
    }

    /// Whether its body ends with the server's connection.
    pub(super) const fn is_until_end(&self) -> bool {
        matches!(self.form, Form::UntilEnd | Form::Events(Framed::UntilEnd))
    }

    /// Whether the answer has a body that comes.
    pub(super) fn has_body(&self, ask: &Ask) -> bool {
        !matches!(self.form, Form::Nothing | Form::Switch) && ask.method != Method::Head
    }

    /// Writes it down, with its pauses and what goes wrong. Returns whether the server closes the
    /// connection when all is written.
    pub(super) fn write(&self, ask: &Ask, number: u32, attempt: u32, outbox: &mut Outbox) -> bool {
        outbox.bytes();
        let start = outbox.end();
        let trouble = self.trouble_at(attempt);
        if let Trouble::Garbage(which) = trouble {
            outbox.bytes().extend_from_slice(GARBAGE[which].as_bytes());
            return true;
        }
        if let Trouble::Deserts(cut) = trouble {
            outbox.cut(start, cut);
            return true;
        }
        if trouble == Trouble::Silent {
            outbox.pause(start, FOR_EVER);
        }
        for _ in 0..self.interim {
            let w = outbox.bytes();
            put(w, format_args!("HTTP/1.1 103 Early Hints\r\nX-Number: {number}\r\n\r\n"));
        }
        self.write_head(number, trouble, outbox.bytes());
        let has_body = self.has_body(ask);
        if has_body {
            self.write_body(number, outbox.bytes());
        }
        let end = outbox.end();
        let part = |part: u32| start + (end - start) * u64::from(part) / 256;
        for &(at, length) in &self.pauses {
            outbox.pause(part(at), length);
        }
        match trouble {
            Trouble::Breaks(at, cut) => outbox.cut(part(at).max(start + 1), cut),
            Trouble::Promises(_) if has_body => return true,
            Trouble::TooMuch(count) => {
                let more = stretch(Key::Request(number), 0, count as usize);
                outbox.bytes().extend_from_slice(more);
            }
            _ => {}
        }
        self.parts || (self.is_until_end() && has_body)
    }

    fn write_head(&self, number: u32, trouble: Trouble, w: &mut Vec<u8>) {
        put(w, format_args!("HTTP/1.1 {} Answer\r\nX-Number: {number}\r\n", self.status));
        if self.dated {
            w.extend_from_slice(b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        }
        if self.is_stream() {
            w.extend_from_slice(b"Content-Type: text/event-stream\r\n");
        }
        if self.is_switch() {
            w.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
        }
        if self.rich {
            w.extend_from_slice(
                b"keep-alive: timeout=5\r\nX-Accel-Buffering: no\r\nUpgrade: h2c\r\n\
                Trailer: X-Checksum\r\n",
            );
        }
        match (self.parts, self.names) {
            (true, true) => w.extend_from_slice(b"Connection: X-Hop, close\r\nX-Hop: 1\r\n"),
            (true, false) => w.extend_from_slice(b"connection:close\r\n"),
            (false, true) => w.extend_from_slice(b"X-Hop: 1\r\nConnection: x-hop\r\n"),
            (false, false) => {}
        }
        if self.filler > 0 {
            w.extend_from_slice(b"X-Filler: ");
            w.resize(w.len() + self.filler as usize, b'g');
            w.extend_from_slice(b"\r\n");
        }
        if self.is_chunked() {
            w.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if matches!(self.form, Form::Length | Form::Events(Framed::Length)) {
            let more = if let Trouble::Promises(more) = trouble { more } else { 0 };
            put(w, format_args!("Content-Length: {}\r\n", self.length + more));
        }
        w.extend_from_slice(b"\r\n");
    }

    fn write_body(&self, number: u32, w: &mut Vec<u8>) {
        let key = Key::Response(number);
        let most = match self.form {
            Form::Chunks(most) => most,
            Form::Events(Framed::Chunks) => 200,
            _ => return w.extend_from_slice(stretch(key, 0, self.length as usize)),
        };
        chunks(key, self.length, most, self.rich, w);
        if self.rich {
            w.extend_from_slice(b"X-Checksum: 9\r\nSet-Cookie: a=b\r\n");
        }
        w.extend_from_slice(b"\r\n");
    }
}

/// Most interim responses: together with the response's own head they fit into `max_head`.
fn hints(setting: &Setting) -> u32 {
    const HINT: u32 = 45;
    match (setting.sulks, setting.habits.fields) {
        (0, _) => 4,
        (_, 0) => ((setting.max_head - 300) / HINT).min(40),
        _ => 12,
    }
}

fn form(dice: &mut Dice, setting: &Setting) -> Form {
    let habits = &setting.habits;
    if dice.chance(habits.events) {
        return Form::Events(dice.pick(&[Framed::Chunks, Framed::UntilEnd, Framed::Length]));
    }
    if dice.chance(habits.coded) {
        let least = setting.longest / 800 + 1;
        return Form::Chunks(least.max(dice.pick(&[4000, 1, 9, 300])));
    }
    if dice.chance(habits.until_end) {
        return Form::UntilEnd;
    }
    if dice.chance(habits.bodiless) { Form::Nothing } else { Form::Length }
}

fn pauses(dice: &mut Dice, setting: &Setting, form: Form) -> Vec<(u32, Duration)> {
    let slow = dice.chance(setting.habits.slow);
    let count = match (form, slow) {
        (Form::Events(_), _) => dice.between(1, 6),
        (_, true) => dice.between(1, 3),
        (_, false) => 0,
    };
    let mut places: Vec<u32> = (0..count).map(|_| dice.below(257)).collect();
    places.sort_unstable();
    let pause = |place| (place, micros(dice.length(setting.pause)));
    places.into_iter().map(pause).collect()
}

fn trouble(dice: &mut Dice, setting: &Setting) -> Trouble {
    let habits = &setting.habits;
    let cut = |dice: &mut Dice| dice.pick(&[Cut::End, Cut::Reset, Cut::Close, Cut::Vanish]);
    if dice.chance(habits.breaks) {
        return Trouble::Breaks(dice.below(256), cut(dice));
    }
    if dice.chance(habits.deserts) {
        return Trouble::Deserts(cut(dice));
    }
    if dice.chance(habits.lies) {
        return Trouble::Promises(1);
    }
    if dice.chance(habits.too_much) {
        // Little is there with the response more often than much.
        let count = dice.between(1, 3000);
        return Trouble::TooMuch(if count.is_multiple_of(2) { 1 + count % 40 } else { count });
    }
    if dice.chance(habits.garbage) {
        return Trouble::Garbage(dice.below(u32::try_from(GARBAGE.len()).unwrap_or(1)) as usize);
    }
    if dice.chance(habits.silent) { Trouble::Silent } else { Trouble::None }
}

/// So many microseconds.
pub(super) fn micros(count: u32) -> Duration {
    Duration::from_micros(u64::from(count))
}
