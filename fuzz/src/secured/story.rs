//! What a session must make of what its peer says behind the handshake.

use super::end::End;

/// What something that is said means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be said.
    Fine,
    /// The session is over by it, if it was not before.
    Wrong,
    /// Nobody knows.
    Unsure,
}

/// How often in a row something harmless may be said, and how often it is too much.
const FEW: u32 = 32;
const MANY: u32 = 64;
/// The same of alerts that warn.
const WARNINGS: u32 = 4;

/// What was said so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct Story {
    pub(super) is_server: bool,
    pub(super) tls13: bool,
    /// Data up to the first thing that is wrong, or the end.
    sent: Vec<u8>,
    unsure: bool,
    /// Something was wrong; before there was anything unsure.
    wrong: bool,
    surely_wrong: bool,
    closed: bool,
    /// A part of a message was said, and not the rest.
    full: bool,
    /// A record is missing.
    skipped: bool,
    empty: u32,
    keys: u32,
    pub(super) asked_for_keys: u32,
    warnings: u32,
    again: u32,
}

impl Story {
    pub(super) const fn new(is_server: bool, tls13: bool) -> Self {
        Self {
            is_server,
            tls13,
            sent: Vec::new(),
            unsure: false,
            wrong: false,
            surely_wrong: false,
            closed: false,
            full: false,
            skipped: false,
            empty: 0,
            keys: 0,
            asked_for_keys: 0,
            warnings: 0,
            again: 0,
        }
    }

    /// Whether nothing that is said from now on is listened to.
    pub(super) const fn knows_the_end(&self) -> bool {
        self.wrong || self.closed
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Whether nothing but data was said, of late.
    pub(super) const fn is_plain(&self) -> bool {
        !self.unsure && !self.wrong && !self.full && !self.skipped
    }

    /// Something that is not data was said.
    pub(super) fn tell(&mut self, verdict: Verdict) {
        if self.knows_the_end() {
            return;
        }
        let verdict = if self.skipped { Verdict::Wrong } else { verdict };
        match verdict {
            Verdict::Fine => {}
            Verdict::Wrong => {
                self.wrong = true;
                self.surely_wrong = !self.unsure;
            }
            Verdict::Unsure => self.unsure = true,
        }
        self.empty = 0;
    }

    /// Bytes that may be no record, or the beginning of one.
    pub(super) const fn is_garbled(&mut self) {
        self.unsure |= !self.knows_the_end();
    }

    /// As [`Self::tell`], of something that is no part of a message.
    fn tell_between(&mut self, verdict: Verdict) {
        self.tell(if self.full { Verdict::Wrong } else { verdict });
    }

    /// So often in a row.
    const fn often(times: u32, few: u32, many: u32) -> Verdict {
        if times <= few {
            Verdict::Fine
        } else if times <= many {
            Verdict::Unsure
        } else {
            Verdict::Wrong
        }
    }

    pub(super) fn data(&mut self, text: &[u8]) {
        let empty = if text.is_empty() { self.empty + 1 } else { 0 };
        let is_long = text.len() > base::limits::TLS_PLAIN_MAX;
        let verdict = if is_long { Verdict::Wrong } else { Self::often(empty, FEW, MANY) };
        self.tell_between(verdict);
        if !self.knows_the_end() {
            self.sent.extend_from_slice(text);
            self.empty = empty;
            self.keys = 0;
        }
    }

    /// A message that says that new keys come is whole.
    pub(super) fn keys(&mut self, asks: u8) {
        self.keys += 1;
        let verdict = match asks {
            _ if !self.tls13 || asks > 1 => Verdict::Wrong,
            _ => Self::often(self.keys, FEW, MANY),
        };
        self.asked_for_keys += u32::from(asks == 1);
        self.tell(verdict);
        self.full = false;
    }

    /// A part of a message is said.
    pub(super) fn fills(&mut self) {
        self.tell(if self.full { Verdict::Unsure } else { Verdict::Fine });
        self.full = true;
    }

    /// The next record is not what comes next.
    pub(super) const fn skips(&mut self) {
        self.skipped = true;
    }

    /// Somebody would shake hands again, in TLS 1.2.
    pub(super) const fn asks_again(&mut self) -> Verdict {
        self.again += 1;
        if self.again == 1 { Verdict::Fine } else { Verdict::Wrong }
    }

    pub(super) fn alert(&mut self, alert: [u8; 2]) {
        let verdict = match alert {
            [1 | 2, 0] => Verdict::Fine,
            [1, code] if !self.tls13 || code == 90 => {
                self.warnings += 1;
                Self::often(self.warnings, WARNINGS, 2 * WARNINGS)
            }
            [0, 0] => Verdict::Unsure,
            _ => Verdict::Wrong,
        };
        self.tell_between(verdict);
        if !self.knows_the_end() && matches!(alert, [1 | 2, 0]) {
            self.closed = true;
        }
    }

    /// What became of it.
    pub(super) fn judge(&self, end: &End) {
        let heard = end.heard.escape_ascii();
        assert!(self.sent.starts_with(&end.heard), "{heard} is not what was said: {self:?}");
        if !self.unsure || self.surely_wrong {
            assert!(self.sent == end.heard, "{heard} is not all of {self:?}");
            assert_eq!(end.over.is_some(), self.wrong, "{:?} of {self:?}", end.over);
            assert_eq!(end.closed, self.closed, "{self:?}");
        } else if self.wrong {
            assert!(end.over.is_some() || end.closed, "nothing is wrong with {self:?}");
        }
    }
}
