//! What is known of one secured connection, beside the driver's record and the worker's.

use base::id::{ListenerId, ServerId};
use driver::{Owner, Socket};
use exchange::TlsFacts;
use pool::{Chain, Pool, Rank};
use tls::{Failure, Session};

use super::part::Part;
use super::places::Side;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// A client that came in there.
    Client(ListenerId),
    /// That server.
    Server(ServerId),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It awaits the peer's next message.
    Handshake,
    /// Bytes go both ways.
    Open,
    /// The peer said that it sends nothing more.
    PeerClosed,
    /// It is over for a fault, which the peer was told, or which it told by leaving.
    Broken,
    /// It is over because the transport broke.
    Lost,
}

/// What the worker waits to be told of what it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// Nothing.
    Nothing,
    /// That the transport has all that is unsent, and `bytes` of the worker's own with it: of those that
    /// count as taken already there are none.
    Room { bytes: u32 },
}

/// Whether it waits for a place for plaintext ahead of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not.
    NotAwaited,
    /// There was none for it; it will, if it is to be told of what comes.
    Wanted,
    /// It stands in line.
    InLine,
}

/// A secured connection.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: Socket,
    pub(super) party: Party,
    /// The worker's name of it.
    pub(super) owner: Owner,
    pub(super) stage: Stage,
    /// From the first byte on: who says nothing costs no session.
    pub(super) session: Option<Box<Session>>,
    /// What was encrypted and the transport did not take.
    pub(super) unsent: Unsent,
    /// What the worker waits to be told of that.
    pub(super) awaits: Awaits,
    /// We said that nothing more will come.
    pub(super) said_goodbye: bool,
    /// Our direction ends behind what is unsent.
    pub(super) ends: bool,
    /// What has come of a record that is not whole.
    pub(super) part: Part,
    /// Plaintext for which there was no buffer, and how much of it was taken.
    pub(super) ahead: Option<Box<(Vec<u8>, usize)>>,
    pub(super) place: Place,
    /// Its plaintext is to be told of.
    pub(super) told_ready: bool,
    /// The worker knows that nothing more comes.
    pub(super) end_told: bool,
    /// Why it is over, if it failed.
    pub(super) failure: Option<Failure>,
    /// The peer failed while data was exchanged, and was told so by an alert.
    pub(super) told_alert: bool,
}

impl Slot {
    pub(super) const fn new(socket: Socket, party: Party) -> Self {
        Self {
            socket,
            party,
            owner: Owner(u32::MAX),
            stage: Stage::Handshake,
            session: None,
            unsent: Unsent { chain: Chain::new(), aside: Vec::new() },
            awaits: Awaits::Nothing,
            said_goodbye: false,
            ends: false,
            part: Part::NONE,
            ahead: None,
            place: Place::NotAwaited,
            told_ready: false,
            end_told: false,
            failure: None,
            told_alert: false,
        }
    }

    /// The worker waits until all that is unsent was taken, `more` bytes of its own with it.
    pub(super) const fn await_room(&mut self, more: u32) {
        let bytes = self.bytes_awaited();
        self.awaits = Awaits::Room { bytes: bytes + more };
    }

    /// Bytes of the worker's own that it waits to be told of.
    pub(super) const fn bytes_awaited(&self) -> u32 {
        match self.awaits {
            Awaits::Nothing => 0,
            Awaits::Room { bytes } => bytes,
        }
    }

    pub(super) const fn side(&self) -> Side {
        if self.is_client() { Side::Clients } else { Side::Servers }
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self.party, Party::Client(_))
    }

    /// Whether nothing can be sent any more.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Broken | Stage::Lost)
    }

    /// Whether nothing more comes of the peer.
    pub(super) const fn has_ended(&self) -> bool {
        !matches!(self.stage, Stage::Handshake | Stage::Open)
    }

    /// Whether there is something to tell of which the driver does not know: plaintext, or an end.
    pub(super) const fn has_something(&self) -> bool {
        self.ahead.is_some() || (self.has_ended() && !self.end_told)
    }

    pub(super) fn facts(&self) -> TlsFacts<'_> {
        let session = self.session.as_deref();
        let shown = session.is_some_and(Session::has_certificate);
        TlsFacts { shown, subject: session.and_then(Session::subject) }
    }
}

/// Records that the transport did not take, in their order: first what is in buffers, then what is
/// aside, in memory of its own, because no buffer could be had.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    chain: Chain,
    aside: Vec<u8>,
}

impl Unsent {
    pub(super) const fn is_empty(&self) -> bool {
        self.chain.is_empty() && self.aside.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.chain.len() as usize + self.aside.len()
    }

    pub(super) const fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(super) const fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    pub(super) fn aside(&self) -> &[u8] {
        &self.aside
    }

    /// Keeps bytes in buffers if there are some.
    pub(super) fn keep(&mut self, bytes: &[u8], pool: &mut Pool) {
        let in_order = self.aside.is_empty();
        if !in_order || pool.append(&mut self.chain, bytes, Rank::Send).is_err() {
            self.keep_aside(bytes);
        }
    }

    pub(super) fn keep_aside(&mut self, bytes: &[u8]) {
        self.aside.extend_from_slice(bytes);
    }

    /// The transport took the first `n` bytes of what is aside.
    pub(super) fn sent_aside(&mut self, n: usize) {
        self.aside.drain(..n);
        if self.aside.is_empty() {
            self.aside = Vec::new();
        }
    }

    /// Takes all of it out of buffers.
    pub(super) fn take(&mut self, pool: &mut Pool) -> Vec<u8> {
        let held = pool.cursor(&self.chain);
        let mut bytes = vec![0; held.left() as usize];
        pool.copy_from(&held, &mut bytes);
        pool.clear(&mut self.chain);
        bytes.append(&mut self.aside);
        bytes
    }

    pub(super) fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.chain);
        self.aside = Vec::new();
    }
}
