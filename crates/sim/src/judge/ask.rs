//! What a client asks, and how it writes that down.

use std::io::Write;

use super::front::Way;
use super::gate::Shown;
use super::outbox::Outbox;
use super::pattern::{Key, stretch};
use super::setting::{Serves, Setting};
use super::tunnel::Talk;
use crate::dice::Dice;

/// A request as its client means it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Ask {
    pub(super) method: Method,
    /// HTTP/1.0.
    pub(super) old: bool,
    /// The client wants to keep its connection.
    pub(super) keeps: bool,
    /// Length and coding of its body.
    pub(super) body: Option<(u32, Coding)>,
    pub(super) expects: bool,
    /// It comes with fields for the next hop, and some that only a proxy may tell.
    pub(super) upgrades: bool,
    /// Bytes of a field that means nothing.
    pub(super) filler: u32,
    /// The target in absolute-form.
    pub(super) absolute: bool,
    /// An HTTP/1.0 request that names no host.
    pub(super) homeless: bool,
    /// Empty lines before it (RFC 9112 §2.2).
    pub(super) blank: bool,
    /// An ID of the client's own.
    pub(super) own_id: bool,
    /// It asks to go on in another protocol, and with what.
    pub(super) talk: Option<Talk>,
    /// What it shows of who sends it.
    pub(super) shown: Shown,
    /// Fields that it must not write.
    pub(super) forged: &'static str,
    /// What it says of its way.
    pub(super) way: Option<Way>,
}

/// A request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Put,
    Delete,
    Post,
    Patch,
    /// One that no specification knows.
    Other,
}

/// How a request's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Length,
    /// In chunks of so many bytes; odd ones have extensions, leading zeros and trailers.
    Chunks {
        most: u32,
        odd: bool,
    },
}

impl Method {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Other => "REVIEW",
        }
    }

    /// Whether sending it twice does no harm (RFC 9110 §9.2.2).
    pub(super) const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete)
    }
}

impl Ask {
    /// Draws a request that anteroom must take, unless its body is too long.
    pub(super) fn draw(dice: &mut Dice, setting: &Setting) -> Self {
        let habits = &setting.habits;
        let has_body = dice.chance(habits.bodies);
        let method = if has_body {
            dice.pick(&[Method::Put, Method::Post, Method::Post, Method::Patch, Method::Get])
        } else if dice.chance(habits.heads) {
            Method::Head
        } else {
            let methods = [Method::Get, Method::Get, Method::Get, Method::Delete, Method::Other];
            dice.pick(&methods)
        };
        let old = dice.chance(habits.old);
        let body = has_body.then(|| body(dice, setting, old));
        Self {
            method,
            old,
            keeps: !dice.chance(habits.closes),
            expects: !old
                && body.is_some_and(|(length, _)| length > 0)
                && dice.chance(habits.expects),
            body,
            upgrades: dice.chance(habits.upgrades),
            // Together with the rest of the head it stays below `max_head`.
            filler: if dice.chance(habits.fields) {
                dice.length(setting.max_head - 900)
            } else {
                0
            },
            absolute: dice.chance(habits.upgrades),
            homeless: old && dice.chance(100),
            blank: dice.chance(habits.upgrades),
            own_id: dice.chance(habits.upgrades),
            talk: dice.chance(setting.switches).then(|| Talk::draw(dice, setting)),
            shown: Shown::Nothing,
            forged: "",
            way: None,
        }
    }

    /// A plain one.
    pub(super) const fn plain() -> Self {
        Self {
            method: Method::Get,
            old: false,
            keeps: true,
            body: None,
            expects: false,
            upgrades: false,
            filler: 0,
            absolute: false,
            homeless: false,
            blank: false,
            own_id: false,
            talk: None,
            shown: Shown::Nothing,
            forged: "",
            way: None,
        }
    }

    /// Whether the server is asked to switch, where the group's listener lets it be.
    pub(super) fn offers(&self, group: usize, setting: &Setting) -> bool {
        let asks = self.upgrades || self.talk.is_some();
        !self.old && asks && setting.serves[group] == Serves::Upgrades
    }

    /// The version as `Via` names it.
    pub(super) const fn version(&self) -> &'static str {
        if self.old { "1.0" } else { "1.1" }
    }

    /// Decoded length of its body.
    pub(super) fn length(&self) -> u32 {
        self.body.map_or(0, |(length, _)| length)
    }

    pub(super) const fn is_chunked(&self) -> bool {
        matches!(self.body, Some((_, Coding::Chunks { .. })))
    }

    /// Writes it down. Returns the place where its body begins.
    /// `secured`: by which scheme.
    pub(super) fn write(&self, number: u32, secured: bool, outbox: &mut Outbox) -> u64 {
        self.write_head(number, secured, outbox.bytes());
        let head_end = outbox.end();
        let bytes = outbox.bytes();
        match self.body {
            None => {}
            Some((length, Coding::Length)) => {
                bytes.extend_from_slice(stretch(Key::Request(number), 0, length as usize));
            }
            Some((length, Coding::Chunks { most, odd })) => {
                chunks(Key::Request(number), length, most, odd, bytes);
                if odd {
                    bytes.extend_from_slice(b"X-Checksum: 7\r\n");
                }
                bytes.extend_from_slice(b"\r\n");
            }
        }
        head_end
    }

    fn write_head(&self, number: u32, secured: bool, w: &mut Vec<u8>) {
        if self.blank {
            w.extend_from_slice(b"\r\n");
        }
        let way = self.way.filter(Way::is_trusted);
        let secured = way.and_then(|way| way.proto()).map_or(secured, |proto| proto == "https");
        let origin = match (self.absolute, secured) {
            (false, _) => "",
            (true, false) => "http://world",
            (true, true) => "https://world",
        };
        put(
            w,
            format_args!("{} {origin}/{number} HTTP/{}\r\n", self.method.name(), self.version()),
        );
        if !self.homeless {
            // In absolute-form the target's host counts (RFC 9112 §3.2.2).
            let host = if self.absolute { "elsewhere" } else { "world" };
            put(w, format_args!("Host: {host}\r\n"));
        }
        put(w, format_args!("X-Number: {number}\r\n"));
        self.shown.write(w);
        w.extend_from_slice(self.forged.as_bytes());
        if self.upgrades {
            w.extend_from_slice(
                b"upgrade: websocket\r\nKeep-Alive: 9\r\nX-Mine: 1\r\nTE: trailers\r\n\
                Proxy-Connection: close\r\nForwarded: for=6.6.6.6\r\nContent_Length: 5\r\n",
            );
            if way.is_none() {
                w.extend_from_slice(b"X-Forwarded-For: 6.6.6.6\r\n");
            }
        }
        if let Some(way) = &self.way {
            way.write(w);
        }
        let options = match (self.keeps, self.old) {
            (false, false) => Some("close"),
            (true, true) => Some("keep-alive"),
            _ => None,
        };
        if self.talk.is_some() && !self.upgrades {
            w.extend_from_slice(b"Upgrade: websocket\r\n");
        }
        match (self.upgrades, options) {
            (true, Some(options)) => {
                put(w, format_args!("Connection: {options}, upgrade , x-mine\r\n"));
            }
            (true, None) => w.extend_from_slice(b"Connection: Upgrade,X-Mine\r\n"),
            (false, Some(options)) if self.talk.is_some() => {
                put(w, format_args!("Connection: {options}, upgrade\r\n"));
            }
            (false, None) if self.talk.is_some() => {
                w.extend_from_slice(b"Connection: upgrade\r\n");
            }
            (false, Some(options)) => put(w, format_args!("connection:{options}\r\n")),
            (false, None) => {}
        }
        if self.own_id {
            put(w, format_args!("X-Request-ID: own-{number}\r\n"));
        }
        if self.filler > 0 {
            w.extend_from_slice(b"X-Filler:\t");
            w.resize(w.len() + self.filler as usize, b'f');
            w.extend_from_slice(b" \r\n");
        }
        if self.expects {
            w.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        match self.body {
            None => {}
            Some((length, Coding::Length)) => put(w, format_args!("Content-Length: {length}\r\n")),
            Some(_) => w.extend_from_slice(b"Transfer-Encoding: Chunked\r\n"),
        }
        w.extend_from_slice(b"\r\n");
    }
}

fn body(dice: &mut Dice, setting: &Setting, old: bool) -> (u32, Coding) {
    let habits = &setting.habits;
    let most = if dice.chance(habits.huge) { setting.longest } else { setting.longest.min(2000) };
    let length = dice.length(most);
    if old || !dice.chance(habits.chunks) {
        return (length, Coding::Length);
    }
    let odd = dice.chance(habits.odd);
    // Not more than a few thousand chunks, and not more extensions than are allowed.
    let least = length / 800 + 1;
    (length, Coding::Chunks { most: least.max(dice.pick(&[4000, 1, 9, 300])), odd })
}

/// Writes chunks of a body and the last one, but neither trailers nor the empty line.
pub(super) fn chunks(key: Key, length: u32, most: u32, odd: bool, w: &mut Vec<u8>) {
    let mut at = 0;
    while at < length {
        let count = most.min(length - at);
        if odd {
            put(w, format_args!("00{count:X};a=b ;q=\"x;\\\"\"\r\n"));
        } else {
            put(w, format_args!("{count:x}\r\n"));
        }
        w.extend_from_slice(stretch(key, at as usize, count as usize));
        w.extend_from_slice(b"\r\n");
        at += count;
    }
    w.extend_from_slice(if odd { b"000;last\r\n" } else { b"0\r\n" });
}

/// Writes formatted text behind what is there.
pub(super) fn put(w: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = w.write_fmt(text);
}
