//! Two real ends, and what somebody between them does to what the client says.

use super::end::{End, Pair, split};
use crate::cuts::Dice;

/// What becomes of one of a client's records on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Passed,
    /// A byte behind its header is another one.
    Changed {
        place: usize,
        by: u8,
    },
    Repeated,
    LeftOut,
}

/// The way from a client to a server.
pub(super) struct Way {
    pub(super) deed: Deed,
    /// To which record.
    which: usize,
    /// How many bytes a record of a message in the clear has at most.
    most: Option<usize>,
    /// Whether what comes is encrypted: a record is whole then, or none.
    sealed: bool,
    passed: usize,
    /// Whether it was done, and to a record that means something in each version.
    touched: bool,
    done: bool,
}

impl Way {
    /// As an input says: what is done, to which record, at which place, with what, and how many bytes a
    /// record has.
    pub(super) fn new([what, which, place, by, most]: [u8; 5]) -> Self {
        let deed = match what % 4 {
            0 => Deed::Passed,
            1 => Deed::Changed { place: place.into(), by: by.max(1) },
            2 => Deed::Repeated,
            _ => Deed::LeftOut,
        };
        Self {
            deed,
            which: which.into(),
            most: (most > 0).then(|| usize::from(most)),
            sealed: false,
            passed: 0,
            touched: false,
            done: false,
        }
    }

    /// What comes out of what a client said.
    fn through(&mut self, said: &[u8]) -> Vec<u8> {
        let mut through = Vec::new();
        for (kind, body) in split(said) {
            self.sealed |= kind == 20;
            let most = self.most.filter(|_| kind == 22 && !self.sealed).unwrap_or(usize::MAX);
            for part in body.chunks(most.max(1)) {
                let mut record = vec![kind, 3, 3];
                record.extend(u16::try_from(part.len()).unwrap_or(0).to_be_bytes());
                record.extend_from_slice(part);
                self.pass(kind, record, &mut through);
            }
        }
        through
    }

    fn pass(&mut self, kind: u8, mut record: Vec<u8>, through: &mut Vec<u8>) {
        let meant = self.passed == self.which && self.deed != Deed::Passed;
        self.passed += 1;
        if meant {
            self.touched = true;
            // In TLS 1.3 change_cipher_spec means nothing.
            self.done = kind != 20;
            match self.deed {
                Deed::Changed { place, by } => {
                    let body = record.len() - 5;
                    record[5 + place % body] ^= by;
                }
                Deed::Repeated => through.extend_from_slice(&record),
                Deed::LeftOut => return,
                Deed::Passed => {}
            }
        }
        through.extend_from_slice(&record);
    }
}

/// Two real ends meet. What is heard is what was said, from its beginning; all of it, unless somebody did
/// something to it, and then never to its end.
pub(super) fn meet(
    pair: &Pair,
    way: &mut Way,
    text: &[u8],
    dice: &mut Dice,
    together: bool,
) -> (End, End) {
    let (mut server, mut client) = (pair.server(), pair.client());
    client.begin();
    while !client.said.is_empty() {
        let said = std::mem::take(&mut client.said);
        arrive(&mut server, &way.through(&said), dice, together);
        let answer = std::mem::take(&mut server.said);
        client.receive(&answer, together);
    }
    let shaken = !client.session.is_handshaking() && client.over.is_none() && !client.closed;
    if shaken {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            client.say(Some(line));
        }
        client.say(None);
        let said = std::mem::take(&mut client.said);
        arrive(&mut server, &way.through(&said), dice, together);
    }
    assert!(text.starts_with(&server.heard), "another thing is heard than was said");
    // Nobody listens behind the end.
    way.done &= way.deed != Deed::Repeated || way.which + 1 < way.passed || !shaken;
    let complete = server.over.is_none() && server.closed && server.heard == text;
    if way.done {
        assert!(!complete, "{:?} is not seen", way.deed);
    } else if !way.touched || complete {
        let why = (server.over, client.over, server.heard.len(), text.len());
        assert!(complete && shaken, "{why:?}");
        server.session.identify();
        assert_eq!(server.session.has_certificate(), pair.asks());
        let subject = pair.asks().then_some("CN=alice");
        assert_eq!(server.session.subject(), subject);
        assert_eq!(server.session.agreed(), client.session.agreed());
    }
    (server, client)
}

/// The bytes come in pieces.
fn arrive(server: &mut End, bytes: &[u8], dice: &mut Dice, together: bool) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = [1, 40, 2000][dice.below(3)];
        let (piece, after) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        server.receive(piece, together);
        rest = after;
    }
}
