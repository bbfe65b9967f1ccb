//! What a peer says behind its handshake, sealed as it should be or not: data, new keys, tickets, alerts,
//! messages in parts, records of types that there are not.

use base::limits::{TLS_OVERHEAD, TLS_PARTS_OWN, TLS_PARTS_SHORT, TLS_PLAIN_MAX};
use tls::Failure;

use super::end::{End, pair};
use super::peer::Peer;
use super::story::{Story, Verdict};
use crate::cuts::Dice;

/// What a sealed record is longer than what is in it, in TLS 1.3: header, type and tag.
const SEALED: usize = 5 + 1 + 16;
/// Types of records.
pub(super) const NO_CIPHER: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;
/// Messages of a handshake.
const HELLO: u8 = 1;
const TICKET: u8 = 4;
const KEYS: u8 = 24;

/// The first byte says who the session is with, the second one of which kind it is and which cipher is
/// spoken, the others what is said behind the handshake.
pub(super) fn check(mode: u8, kind: u8, bytes: &[u8]) {
    let play = Play { is_server: mode & 1 == 0, tls13: !kind.is_multiple_of(3), kind, bytes };
    let together = mode & 2 == 2;
    let whole = play.run(&mut Dice::of(&[]), together, true);
    let cut = play.run(&mut Dice::of(bytes), false, false);
    if !together {
        assert_eq!(cut, whole, "the cuts decide");
    }
}

/// What is said, and to whom.
struct Play<'b> {
    /// Whether the session is a server's.
    is_server: bool,
    tls13: bool,
    kind: u8,
    bytes: &'b [u8],
}

/// What is left of a session.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    over: Option<Failure>,
    closed: bool,
    heard: Vec<u8>,
    alerts: Vec<Vec<u8>>,
}

impl Play<'_> {
    fn run(&self, dice: &mut Dice, together: bool, whole: bool) -> Outcome {
        let pair = pair(self.kind);
        let mut end = if self.is_server { pair.server() } else { pair.fresh_client() };
        let peer = Peer::shake(&mut end, self.is_server, self.tls13, self.kind / 6);
        // Nothing but new keys may come of a client, of a server tickets too.
        end.keeps(if self.is_server { TLS_PARTS_OWN } else { TLS_PARTS_SHORT });
        let mut stage = Stage {
            end,
            peer,
            story: Story::new(self.is_server, self.tls13),
            on_its_way: Vec::new(),
            last: None,
            written: Vec::new(),
            told: Vec::new(),
            closes: false,
            together,
            ended: false,
            answers: Answers::default(),
        };
        let mut tape = Tape(self.bytes);
        while !tape.0.is_empty() {
            stage.act(&mut tape);
            if stage.on_its_way.len() > MOST || stage.ended {
                stage.arrive(dice, together, whole);
            }
            if stage.ended {
                break;
            }
        }
        stage.arrive(dice, together, whole);
        stage.judge()
    }
}

/// Bytes that wait before they arrive, at most.
const MOST: usize = 64 << 10;

/// The bytes of an input, one after the other.
struct Tape<'b>(&'b [u8]);

impl<'b> Tape<'b> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// As many as the next one says, if there are.
    fn text(&mut self) -> &'b [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }
}

/// What was answered.
#[derive(Default)]
struct Answers {
    keys: u32,
    alerts: Vec<Vec<u8>>,
}

struct Stage {
    end: End,
    peer: Peer,
    story: Story,
    on_its_way: Vec<u8>,
    /// The last record that was sealed.
    last: Option<Vec<u8>>,
    /// What the session said, and what the peer understood of it.
    written: Vec<u8>,
    told: Vec<u8>,
    /// The session said that it says nothing more.
    closes: bool,
    /// All records that are there are shown together.
    together: bool,
    /// Bytes came that are no records: nothing is known any more.
    ended: bool,
    answers: Answers,
}

impl Stage {
    /// Something that the peer does, or the session; in the byte's upper half, how often.
    fn act(&mut self, tape: &mut Tape<'_>) {
        let (what, often) = {
            let byte = tape.byte();
            (byte % 16, byte / 16)
        };
        // rustls asserts that nothing is wrong with what comes to who has said that it says nothing more,
        // where it asserts anything.
        if self.closes && (what != 0 || !self.story.is_plain()) {
            return;
        }
        let times = 1 + 5 * u32::from(often);
        match what {
            0 => {
                let text = tape.text();
                (0..times).for_each(|_| self.data(text, 0));
            }
            1 => {
                let long = vec![b'l'; usize::from(tape.byte()) * 66];
                (0..=times / 16).for_each(|_| self.data(&long, 0));
            }
            2 => {
                let (padding, text) = (usize::from(tape.byte()) * 60, tape.text());
                self.data(text, padding);
            }
            3 => {
                let how = tape.byte();
                (0..times).for_each(|_| self.keys(how));
            }
            4 => {
                let (kind, high, low, most) = (tape.byte(), tape.byte(), tape.byte(), tape.byte());
                let length = usize::from(u16::from_be_bytes([high, low]));
                (0..=times / 16).for_each(|_| self.message(kind, length, most));
            }
            5 => {
                let (kind, text) = (tape.byte(), tape.text());
                (0..times).for_each(|_| self.record(kind, text));
            }
            6 => {
                let alert = [tape.byte(), tape.byte()];
                (0..times).for_each(|_| self.alert(alert));
            }
            7 => self.tampered(tape.byte(), tape.byte().max(1)),
            8 => {
                if let Some(last) = &self.last {
                    self.on_its_way.extend_from_slice(last);
                    self.story.tell(Verdict::Wrong);
                }
            }
            9 => {
                // The record that has this number never comes.
                self.peer.seal(DATA, b"missing");
                self.story.skips();
            }
            10 => self.open(tape.byte(), tape.text()),
            11 => {
                self.on_its_way.extend_from_slice(tape.text());
                self.story.is_garbled();
                self.ended = true;
            }
            12 => {
                let text = tape.text();
                self.says(text);
            }
            13 => self.says_the_end(),
            14 => self.part(tape.byte()),
            _ => {
                // What is on its way arrives before more is.
                self.arrive(&mut Dice::of(&[]), false, true);
            }
        }
    }

    fn send(&mut self, kind: u8, content: &[u8]) {
        let record = self.peer.seal(kind, content);
        self.on_its_way.extend_from_slice(&record);
        self.last = Some(record);
    }

    /// Data, behind which stand as many zeros before it is sealed, where there is such a thing.
    fn data(&mut self, text: &[u8], padding: usize) {
        self.story.data(text);
        if padding == 0 || !self.story.tls13 {
            return self.send(DATA, text);
        }
        // The type that is sealed behind it is one more zero.
        let mut padded = text.to_vec();
        padded.push(DATA);
        padded.resize(text.len() + padding, 0);
        self.send(0, &padded);
    }

    /// New keys; `how`: whether others are asked for, and whether it is said in two parts, between which
    /// the session says something.
    fn keys(&mut self, how: u8) {
        let (asks, cut, between) = (how % 4, usize::from(how / 4 % 5), how & 128 == 128);
        let whole = [KEYS, 0, 0, 1, asks];
        if cut == 0 {
            if self.story.is_full() {
                self.story.tell(Verdict::Unsure);
            }
            self.story.keys(asks);
            self.send(HANDSHAKE, &whole);
        } else {
            let (first, rest) = whole.split_at(cut);
            self.story.fills();
            self.send(HANDSHAKE, first);
            if between {
                self.says(b"between");
            }
            self.story.keys(asks);
            self.send(HANDSHAKE, rest);
        }
        if self.story.tls13 {
            self.peer.renew();
        }
    }

    /// A message of so many bytes, in records of so many; some mean something.
    fn message(&mut self, kind: u8, length: usize, most: u8) {
        let body = match kind {
            // Of TLS 1.3, with an extension less than there may be.
            TICKET => ticket(length.max(1)),
            HELLO if length.is_multiple_of(2) => hello(),
            _ => vec![kind; length],
        };
        let [_, head @ ..] = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        let whole = [&[kind][..], &head, &body].concat();
        let most = if most == 0 { TLS_PLAIN_MAX } else { usize::from(most) * 64 };
        let parts = whole.len().div_ceil(most);
        let raw = whole.len() + parts * TLS_OVERHEAD;
        // At least that, before the last of them.
        let kept = (parts - 1) * (most + SEALED);
        let verdict = match kind {
            _ if self.story.is_full() => Verdict::Unsure,
            TICKET if self.story.tls13 && !self.story.is_server => {
                if raw <= TLS_PARTS_SHORT {
                    Verdict::Fine
                } else if kept > TLS_PARTS_SHORT && !self.together {
                    // Shown one record at a time, it is seen to be too long before it is whole.
                    Verdict::Wrong
                } else {
                    Verdict::Unsure
                }
            }
            0 | HELLO if !self.story.tls13 => {
                let meant = if self.story.is_server { kind == HELLO } else { kind == 0 };
                let is_one = if kind == HELLO { body == hello() } else { body.is_empty() };
                match (meant, is_one) {
                    (true, true) if raw <= TLS_PARTS_OWN => self.story.asks_again(),
                    (true, _) => Verdict::Unsure,
                    (false, _) => Verdict::Wrong,
                }
            }
            KEYS => Verdict::Unsure,
            _ => Verdict::Wrong,
        };
        self.story.tell(verdict);
        for part in whole.chunks(most) {
            self.send(HANDSHAKE, part);
        }
    }

    /// A record of any type with anything in it.
    fn record(&mut self, kind: u8, text: &[u8]) {
        match kind {
            DATA => self.story.data(text),
            ALERT | HANDSHAKE => self.story.tell(Verdict::Unsure),
            // Zeros are no type, so what stands before them is one.
            0 if self.story.tls13 => self.story.tell(Verdict::Unsure),
            _ => self.story.tell(Verdict::Wrong),
        }
        self.send(kind, text);
    }

    fn alert(&mut self, alert: [u8; 2]) {
        self.story.alert(alert);
        self.send(ALERT, &alert);
    }

    /// A record of which a byte is another one.
    fn tampered(&mut self, place: u8, by: u8) {
        let mut record = self.peer.seal(DATA, b"tampered");
        let body = record.len() - 5;
        record[5 + usize::from(place) % body] ^= by;
        self.story.tell(Verdict::Wrong);
        self.on_its_way.extend_from_slice(&record);
    }

    /// A record in the clear.
    fn open(&mut self, kind: u8, text: &[u8]) {
        let [high, low] = u16::try_from(text.len()).unwrap_or(0).to_be_bytes();
        let verdict =
            if matches!(kind, NO_CIPHER | ALERT) { Verdict::Unsure } else { Verdict::Wrong };
        self.story.tell(verdict);
        self.on_its_way.extend_from_slice(&[kind, 3, 3, high, low]);
        self.on_its_way.extend_from_slice(text);
    }

    /// A part of a message, of which the rest may never come.
    fn part(&mut self, length: u8) {
        let kind = if self.story.is_server { KEYS } else { TICKET };
        let length = length % 16;
        let part = [&[kind, 0, 0, length + 1][..], &vec![0; usize::from(length)]].concat();
        self.story.fills();
        self.send(HANDSHAKE, &part);
    }

    /// The session says something, behind what it has heard.
    fn says(&mut self, text: &[u8]) {
        self.arrive(&mut Dice::of(&[]), false, true);
        if self.end.over.is_some() || self.closes {
            return;
        }
        self.end.say(Some(text));
        let said = std::mem::take(&mut self.end.said);
        assert!(said.len() <= text.len() + TLS_OVERHEAD + 32, "{} of {}", said.len(), text.len());
        self.written.extend_from_slice(text);
        self.understand(&said, 1);
    }

    fn says_the_end(&mut self) {
        self.arrive(&mut Dice::of(&[]), false, true);
        if self.end.over.is_some() || self.closes {
            return;
        }
        self.end.say(None);
        let said = std::mem::take(&mut self.end.said);
        self.understand(&said, 1);
        self.closes = true;
        assert_eq!(self.answers.alerts.pop(), Some(vec![1, 0]), "the end is not told");
    }

    fn arrive(&mut self, dice: &mut Dice, together: bool, whole: bool) {
        let came = std::mem::take(&mut self.on_its_way);
        let mut rest = &came[..];
        while !rest.is_empty() {
            let most = [1, 40, 2000][dice.below(3)];
            let most = if whole { rest.len() } else { 1 + dice.below(most) };
            let (piece, after) = rest.split_at(most.min(rest.len()));
            self.end.receive(piece, together);
            rest = after;
        }
        let said = std::mem::take(&mut self.end.said);
        self.understand(&said, 0);
    }

    /// What the session said is what its keys make, and no more than it should be: of new keys it tells
    /// once for everything that it says itself, however often it is asked.
    fn understand(&mut self, said: &[u8], most: u32) {
        let mut keys = 0;
        for (kind, content) in self.peer.open(said) {
            match kind {
                DATA if most > 0 => self.told.extend_from_slice(&content),
                ALERT => self.answers.alerts.push(content),
                HANDSHAKE if self.story.tls13 => {
                    assert_eq!(content, [KEYS, 0, 0, 1, 0]);
                    keys += 1;
                }
                kind => panic!("a record of type {kind}: {content:?}"),
            }
        }
        // Before an alert it tells of them, too.
        let most = most.max(u32::from(self.end.over.is_some() || self.story.knows_the_end()));
        assert!(keys <= most, "{keys} times new keys at once");
        self.answers.keys += keys;
    }

    fn judge(self) -> Outcome {
        let Self { end, story, answers, .. } = self;
        assert_eq!(self.told, self.written, "another thing is understood than was said");
        let asked = story.asked_for_keys;
        assert!(answers.keys <= asked, "{} answers to {asked} requests", answers.keys);
        // Beside the last one, there is the answer to who would shake hands again.
        assert!(answers.alerts.len() <= 2, "{:?}", answers.alerts);
        story.judge(&end);
        if end.over == Some(Failure::Decrypt) {
            assert_eq!(answers.alerts.last(), Some(&vec![2, 20]), "bad_record_mac is not said");
        }
        Outcome { over: end.over, closed: end.closed, heard: end.heard, alerts: answers.alerts }
    }
}

/// A ticket of TLS 1.3 of so many bytes.
fn ticket(length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut all = vec![0, 0, 14, 16, 1, 2, 3, 4, 1, 7, high, low];
    all.resize(all.len() + length, b't');
    all.extend_from_slice(&[0, 0]);
    all
}

/// The whole message, around that for a ticket.
pub(super) fn message_of_ticket(bytes: &[u8]) -> Vec<u8> {
    let mut body = ticket(bytes.len().clamp(1, 4 << 10));
    let length = body.len();
    for (byte, given) in body[12..length - 2].iter_mut().zip(bytes) {
        *byte = *given;
    }
    let [_, head @ ..] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [&[TICKET][..], &head, &body].concat()
}

/// The shortest hello of TLS 1.2.
fn hello() -> Vec<u8> {
    let mut all = vec![3, 3];
    all.resize(2 + 32, b'r');
    all.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]);
    all
}
