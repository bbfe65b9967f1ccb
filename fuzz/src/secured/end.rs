//! One end of a connection: it is shown what came as the worker does it, and what it keeps, says and
//! delivers is looked at each time.

use std::sync::{Arc, LazyLock};

use base::limits::{TLS_FLIGHT_MAX, TLS_PARTS_SHORT, TLS_SERVER_CHAIN};
use tls::{
    Acceptor, AcceptorConfig, Authorities, ClientAuth, Connector, ConnectorConfig, Failure,
    Identity, Output, Record, Session, Tickets, Trust, Versions, next_record,
};

/// The host that the certificate is for.
pub(super) const HOST: &str = "world";

/// Sessions of one kind: which versions there are, and whether clients show certificates.
pub(super) struct Pair {
    acceptor: Acceptor,
    connector: Connector,
}

/// By the number in an input: TLS 1.2 alone, 1.3 alone, both; each without and with certificates of
/// clients.
pub(super) fn pair(kind: u8) -> &'static Pair {
    static PAIRS: LazyLock<[Pair; 6]> =
        LazyLock::new(|| [0, 1, 2, 3, 4, 5].map(|kind| Pair::new(kind % 3, kind >= 3)));
    &PAIRS[usize::from(kind % 6)]
}

/// A certificate with its key, from the same files as the simulator's.
macro_rules! identity {
    ($name:literal) => {{
        let chain = include_bytes!(concat!("../../../crates/sim/keys/", $name, ".pem"));
        let key = include_bytes!(concat!("../../../crates/sim/keys/", $name, ".key"));
        let read = Identity::from_pem(chain, key);
        Arc::new(read.unwrap_or_else(|error| panic!("no certificate: {error}")))
    }};
}

impl Pair {
    fn new(versions: u8, certified: bool) -> Self {
        Self { acceptor: acceptor(versions, certified, None), connector: connector(certified) }
    }

    /// The same of kind `kind`, of its own: it keeps for resumption what it gives and is given.
    pub(super) fn resuming(kind: u8, tickets: Tickets) -> Self {
        let (versions, certified) = (kind % 3, kind % 6 >= 3);
        Self {
            acceptor: acceptor(versions, certified, Some(tickets)),
            connector: connector(certified),
        }
    }

    /// A client of its own: what it is given nobody else has.
    pub(super) fn fresh_client(&self) -> End {
        Self { acceptor: self.acceptor.clone(), connector: connector(self.asks()) }.client()
    }

    /// With other keys of its tickets.
    pub(super) fn renew(&mut self, kind: u8, tickets: Tickets) {
        self.acceptor = acceptor(kind % 3, kind % 6 >= 3, Some(tickets));
    }

    pub(super) fn server(&self) -> End {
        let session = self.acceptor.accept();
        let most = if self.acceptor.asks() { None } else { Some(TLS_PARTS_SHORT) };
        End::new(session.unwrap_or_else(|failure| panic!("no session: {failure}")), most)
    }

    pub(super) fn client(&self) -> End {
        let session = self.connector.connect(HOST);
        End::new(session.unwrap_or_else(|failure| panic!("no session: {failure}")), None)
    }

    /// Whether clients show certificates.
    pub(super) const fn asks(&self) -> bool {
        self.acceptor.asks()
    }
}

fn acceptor(versions: u8, certified: bool, tickets: Option<Tickets>) -> Acceptor {
    static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| identity!("world"));
    let versions = Versions { tls12: versions != 1, tls13: versions != 0 };
    let trusted = Authorities::from_pem(include_bytes!("../../../crates/sim/keys/alice.pem"));
    let trusted = trusted.unwrap_or_else(|error| panic!("nobody is trusted: {error}"));
    let acceptor = Acceptor::new(AcceptorConfig {
        identities: vec![Arc::clone(&IDENTITY)],
        versions,
        alpn: vec![b"http/1.1".to_vec()],
        clients: if certified { ClientAuth::Optional(trusted) } else { ClientAuth::Off },
        tickets,
        ..AcceptorConfig::default()
    });
    acceptor.unwrap_or_else(|error| panic!("no acceptor: {error}"))
}

fn connector(certified: bool) -> Connector {
    static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| identity!("alice"));
    let connector = Connector::new(ConnectorConfig {
        trust: Trust::Anyone,
        max_chain: TLS_SERVER_CHAIN,
        identity: certified.then(|| Arc::clone(&IDENTITY)),
        versions: Versions::default(),
        sni: true,
        alpn: vec![b"http/1.1".to_vec()],
    });
    connector.unwrap_or_else(|_| panic!("no connector"))
}

/// A session, and what became of it.
pub(super) struct End {
    pub(super) session: Session,
    /// The most that it may keep of a message in parts, where that is all that it keeps.
    most: Option<usize>,
    memory: Vec<u8>,
    /// What came and is no whole record yet.
    pub(super) waiting: Vec<u8>,
    pub(super) said: Vec<u8>,
    pub(super) heard: Vec<u8>,
    pub(super) closed: bool,
    pub(super) over: Option<Failure>,
}

impl End {
    const fn new(session: Session, most: Option<usize>) -> Self {
        Self {
            session,
            most,
            memory: Vec::new(),
            waiting: Vec::new(),
            said: Vec::new(),
            heard: Vec::new(),
            closed: false,
            over: None,
        }
    }

    /// From now on it may keep no more of a message in parts.
    pub(super) const fn keeps(&mut self, most: usize) {
        self.most = Some(most);
    }

    /// Bytes come; the session is shown the records that are whole, each of them alone, or all that
    /// there are together. Whoever has closed or failed is not listened to any more.
    pub(super) fn receive(&mut self, piece: &[u8], together: bool) {
        if self.closed || self.over.is_some() {
            return;
        }
        self.waiting.extend_from_slice(piece);
        let mut taken = 0;
        while self.over.is_none() && !self.closed {
            let (records, bad) = records(&self.waiting[taken..], together);
            if records > 0 {
                let mut shown = self.waiting[taken..taken + records].to_vec();
                taken += records;
                self.show(&mut shown);
            } else if bad {
                self.refuse();
            } else {
                break;
            }
        }
        self.waiting.drain(..taken);
    }

    fn show(&mut self, records: &mut [u8]) {
        self.memory.resize(TLS_FLIGHT_MAX, 0);
        let mut output = Output::new(&mut self.memory);
        let before = self.heard.len();
        let heard = &mut self.heard;
        let read = self.session.read(records, &mut output, |bytes| heard.extend_from_slice(bytes));
        self.said.extend_from_slice(output.bytes());
        match read {
            Ok(found) => {
                assert_eq!(found.bytes, self.heard.len() - before, "what is counted is delivered");
                self.closed = found.closed;
                let most = self.most.unwrap_or(usize::MAX);
                assert!(self.session.parts() <= most, "{} bytes are kept", self.session.parts());
            }
            Err(failure) => self.fails(failure, false),
        }
    }

    fn refuse(&mut self) {
        self.memory.resize(TLS_FLIGHT_MAX, 0);
        let mut output = Output::new(&mut self.memory);
        let failure = self.session.refuse(Failure::Protocol, &mut output);
        assert_eq!(failure, Failure::Protocol, "it was over before");
        self.said.extend_from_slice(output.bytes());
        self.fails(failure, true);
    }

    /// It is over: the last thing said is an alert where one is due, nothing is kept, and nothing more is said or read.
    fn fails(&mut self, failure: Failure, refused: bool) {
        self.over = Some(failure);
        // rustls ends some sessions without one: of messages that are too large by their first bytes, and of
        // records between the parts of a message.
        let due = matches!(
            failure,
            Failure::Version
                | Failure::Cipher
                | Failure::Alpn
                | Failure::Certificate
                | Failure::Decrypt
        );
        if due || refused {
            let said = self.said.escape_ascii();
            assert!(ends_with_alert(&self.said), "{failure} without an alert: {said}");
        }
        assert_eq!(self.session.parts(), 0, "something is kept of what is over");
        let mut output = Output::new(&mut self.memory);
        let again = self.session.read(&mut [23, 3, 3, 0, 1, 0], &mut output, |_| panic!("heard"));
        assert_eq!(again, Err(failure));
        assert_eq!(self.session.refuse(Failure::TooLarge, &mut output), failure);
        assert!(self.session.write(b"x", &mut output).is_err());
        assert!(output.is_empty(), "something is said behind the alert");
    }

    /// Says something, or that nothing more will be said.
    pub(super) fn say(&mut self, bytes: Option<&[u8]>) {
        self.memory.resize(TLS_FLIGHT_MAX, 0);
        let mut output = Output::new(&mut self.memory);
        let said = match bytes {
            Some(bytes) => self.session.write(bytes, &mut output),
            None => self.session.close(&mut output),
        };
        assert_eq!(said, Ok(()), "a session after its handshake speaks");
        self.said.extend_from_slice(output.bytes());
    }

    /// Begins as a client does.
    pub(super) fn begin(&mut self) {
        self.memory.resize(TLS_FLIGHT_MAX, 0);
        let mut output = Output::new(&mut self.memory);
        assert_eq!(self.session.begin(&mut output), Ok(()), "a client begins");
        self.said.extend_from_slice(output.bytes());
    }

    /// The code of the alert that was said last, if it was said in the clear.
    pub(super) fn alert(&self) -> Option<u8> {
        match *self.said.as_slice() {
            [.., 21, 3, _, 0, 2, 2, code] => Some(code),
            _ => None,
        }
    }
}

/// How many bytes the next record has, or all that are whole, and whether what follows is none.
fn records(bytes: &[u8], together: bool) -> (usize, bool) {
    let mut whole = 0;
    loop {
        match next_record(&bytes[whole..]) {
            Record::Whole(length) => whole += length,
            Record::Part => return (whole, false),
            Record::Bad => return (whole, true),
        }
        if !together {
            return (whole, false);
        }
    }
}

/// Each record's first byte, and its bytes; told by the lengths alone.
pub(super) fn split(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(*high) << 8 | usize::from(*low);
        assert!(length <= rest.len(), "half a record is said");
        all.push((*kind, &rest[..length]));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a record is said");
    all
}

/// In the clear a fatal alert has two bytes; with keys, what each version adds to them.
fn ends_with_alert(said: &[u8]) -> bool {
    match split(said).last() {
        Some((21, [2, _])) => true,
        Some((21, sealed)) => matches!(sealed.len(), 18 | 26),
        Some((23, sealed)) => sealed.len() == 2 + 1 + 16,
        _ => false,
    }
}
