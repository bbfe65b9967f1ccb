//! A connection as those see it who play: bytes that are said and heard, in the clear or over TLS. There a
//! real session of rustls' seals what is said, a record for each time, and nothing is lost that the
//! network does not hold yet.

use std::sync::{Arc, LazyLock};

use base::limits::{TLS_FLIGHT_MAX, TLS_PLAIN_MAX, TLS_RECORD_MAX, TLS_SERVER_CHAIN};
use sim::Peer;
use tls::{
    Acceptor, AcceptorConfig, Authorities, Connector, ConnectorConfig, Failure, Identity, Output,
    Record, Session, Trust, Versions, next_record,
};

/// The host that the certificate is for.
pub(super) const HOST: &str = "world";

/// Bytes of a handshake's flight, with room to spare.
const FLIGHT: usize = 8 << 10;

/// What sessions are made from, at both ends.
pub(super) struct Keys {
    pub(super) acceptor: Acceptor,
    pub(super) connector: Connector,
}

/// By version.
pub(super) fn keys(tls13: bool) -> &'static Keys {
    static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| [false, true].map(Keys::new));
    &KEYS[usize::from(tls13)]
}

impl Keys {
    fn new(tls13: bool) -> Self {
        let certificate = include_bytes!("../../../crates/sim/keys/world.pem");
        let key = include_bytes!("../../../crates/sim/keys/world.key");
        let versions = Versions { tls12: !tls13, tls13 };
        let identity = Identity::from_pem(certificate, key).map(Arc::new);
        let trusted = Authorities::from_pem(certificate);
        let acceptor = Acceptor::new(AcceptorConfig {
            identities: vec![identity.unwrap_or_else(|error| panic!("no certificate: {error}"))],
            versions,
            ..AcceptorConfig::default()
        });
        let connector = Connector::new(ConnectorConfig {
            trust: Trust::Authorities(trusted.unwrap_or_else(|error| panic!("nobody: {error}"))),
            max_chain: TLS_SERVER_CHAIN,
            identity: None,
            versions,
            sni: true,
            alpn: Vec::new(),
        });
        Self {
            acceptor: acceptor.unwrap_or_else(|error| panic!("no acceptor: {error}")),
            connector: connector.unwrap_or_else(|_| panic!("no connector")),
        }
    }
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Not,
    /// Behind all that is to be said, with a word of it.
    Politely,
    /// Behind what is pending, where that word is.
    Told,
    /// It did.
    Done,
}

struct Secured {
    session: Session,
    /// What is to be sealed when hands are shaken: a record each.
    unsealed: Vec<Vec<u8>>,
    /// What the network does not hold yet, and how much the other side had taken when it held no more.
    pending: Vec<u8>,
    full_at: Option<usize>,
    /// What came and is no whole record yet.
    part: Vec<u8>,
    heard: Vec<u8>,
    ends: Ends,
    /// The other side said that it says nothing more.
    closed: bool,
    failed: Option<Failure>,
    /// Bytes were put between the records.
    spoiled: bool,
}

/// The connection.
pub(super) struct Channel {
    peer: Peer,
    secured: Option<Box<Secured>>,
}

impl Channel {
    /// That of a client.
    pub(super) fn calls(peer: Peer, keys: Option<&Keys>) -> Self {
        let session = keys.map(|keys| keys.connector.connect(HOST));
        let mut channel = Self::new(peer, session);
        if let Some(secured) = &mut channel.secured {
            secured.answers(Session::begin);
        }
        channel.pump();
        channel
    }

    /// That of a server.
    pub(super) fn answers(peer: Peer, keys: Option<&Keys>) -> Self {
        Self::new(peer, keys.map(|keys| keys.acceptor.accept()))
    }

    fn new(peer: Peer, session: Option<Result<Session, Failure>>) -> Self {
        if session.is_some() {
            // A kernel holds at least one record, and a flight of a handshake.
            peer.hold(TLS_RECORD_MAX + FLIGHT);
        }
        let secured = session.map(|session| {
            Box::new(Secured {
                session: session.unwrap_or_else(|failure| panic!("no session: {failure}")),
                unsealed: Vec::new(),
                pending: Vec::new(),
                full_at: None,
                part: Vec::new(),
                heard: Vec::new(),
                ends: Ends::Not,
                closed: false,
                failed: None,
                spoiled: false,
            })
        });
        Self { peer, secured }
    }

    /// Says as much as is taken; over TLS, that is all.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(secured) = &mut self.secured else { return self.peer.write(bytes) };
        if self.peer.is_reset() || secured.failed.is_some() || secured.ends != Ends::Not {
            return 0;
        }
        secured.unsealed.extend(bytes.chunks(TLS_PLAIN_MAX).map(<[u8]>::to_vec));
        self.pump();
        bytes.len()
    }

    /// Puts bytes between two records; in the clear they are said. How many of them are.
    pub(super) fn write_between(&mut self, bytes: &[u8]) -> usize {
        let Some(secured) = &mut self.secured else { return self.peer.write(bytes) };
        secured.spoiled = true;
        secured.pending.extend_from_slice(bytes);
        self.pump();
        0
    }

    /// Does what there is to do without anybody's asking: shakes hands, and sends what is to be sent.
    /// Whether it did something.
    pub(super) fn pump(&mut self) -> bool {
        let Some(secured) = &mut self.secured else { return false };
        let mut acted = false;
        if secured.session.is_handshaking() && secured.failed.is_none() {
            let came = self.peer.read();
            acted |= !came.is_empty();
            secured.understand(&came);
        }
        if !secured.session.is_handshaking() && secured.failed.is_none() {
            for bytes in std::mem::take(&mut secured.unsealed) {
                secured.answers(|session, output| session.write(&bytes, output));
            }
            if secured.ends == Ends::Politely {
                secured.answers(Session::close);
                secured.ends = Ends::Told;
            }
        }
        if !secured.pending.is_empty() && secured.full_at != Some(self.peer.taken()) {
            let written = self.peer.write(&secured.pending);
            secured.pending.drain(..written);
            secured.full_at = (!secured.pending.is_empty()).then(|| self.peer.taken());
            acted |= written > 0;
        }
        let is_due = secured.ends == Ends::Told
            || secured.ends == Ends::Politely && secured.failed.is_some();
        if is_due && secured.pending.is_empty() {
            secured.ends = Ends::Done;
            self.peer.end();
            acted = true;
        }
        acted
    }

    pub(super) fn read(&mut self) -> Vec<u8> {
        self.read_some(usize::MAX)
    }

    /// Reads so many bytes from the network, and what they come to.
    pub(super) fn read_some(&mut self, most: usize) -> Vec<u8> {
        let came = self.peer.read_some(most);
        let Some(secured) = &mut self.secured else { return came };
        secured.understand(&came);
        self.pump();
        self.secured.as_mut().map(|it| std::mem::take(&mut it.heard)).unwrap_or_default()
    }

    /// Ends its direction, with a word of that if it is `polite`, as everybody is in the clear. Whether
    /// what was said is whole by that.
    pub(super) fn end(&mut self, polite: bool) -> bool {
        match &mut self.secured {
            Some(secured) if polite && secured.ends == Ends::Not => {
                secured.ends = Ends::Politely;
                self.pump();
                true
            }
            Some(secured) if secured.ends == Ends::Not => {
                secured.ends = Ends::Done;
                self.peer.end();
                false
            }
            Some(_) => polite,
            None => {
                self.peer.end();
                true
            }
        }
    }

    pub(super) fn reset(&self) {
        self.peer.reset();
    }

    pub(super) fn set_window(&self, bytes: usize) {
        self.peer.set_window(bytes);
    }

    pub(super) const fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// Whether the other side said all that it had to say: over TLS it has said so, too, as otherwise
    /// nobody knows (RFC 8446 §6.1).
    pub(super) fn has_ended(&self) -> bool {
        match &self.secured {
            Some(secured) => secured.closed,
            None => self.peer.has_ended(),
        }
    }

    /// Whether nothing more comes, with or without a word.
    pub(super) fn is_over(&self) -> bool {
        let failed = self.secured.as_ref().is_some_and(|it| it.failed.is_some());
        failed || self.has_ended() || self.peer.has_ended() || self.peer.is_reset()
    }

    /// Whether bytes were put between its records.
    pub(super) fn is_spoiled(&self) -> bool {
        self.secured.as_ref().is_some_and(|it| it.spoiled)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.peer.is_reset()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }
}

impl Secured {
    /// Puts behind what is pending what the session has to say.
    fn answers(&mut self, acts: impl FnOnce(&mut Session, &mut Output<'_>) -> Result<(), Failure>) {
        let mut memory = vec![0; TLS_FLIGHT_MAX];
        let mut output = Output::new(&mut memory);
        if let Err(failure) = acts(&mut self.session, &mut output) {
            self.failed.get_or_insert(failure);
        }
        self.pending.extend_from_slice(output.bytes());
    }

    fn understand(&mut self, came: &[u8]) {
        self.part.extend_from_slice(came);
        while self.failed.is_none() && !self.closed {
            let whole = match next_record(&self.part) {
                Record::Whole(whole) => whole,
                Record::Part => return,
                Record::Bad => panic!("no record: {}", self.part.escape_ascii()),
            };
            let mut record: Vec<u8> = self.part.drain(..whole).collect();
            let (mut heard, mut closed) = (Vec::new(), false);
            self.answers(|session, output| {
                let read = session.read(&mut record, output, |it| heard.extend_from_slice(it));
                closed = read?.closed;
                Ok(())
            });
            self.heard.append(&mut heard);
            self.closed |= closed;
        }
        // Nobody says anything wrong to who did nothing wrong.
        assert!(self.failed.is_none() || self.spoiled, "the session fails: {:?}", self.failed);
    }
}
