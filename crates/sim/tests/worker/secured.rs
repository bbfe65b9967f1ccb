//! Secured connections (TLS): to whoever is behind them they look like all others.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::id::ServerId;
use base::limits::TLS_AHEAD_MAX;
use sim::Peer;
use tls::{
    Acceptor, AcceptorConfig, Authorities, Connector, ConnectorConfig, Failure, Identity, Output,
    Record, Session, Tickets, Trust, Versions, next_record,
};
use worker::{CloseReason, TlsPlan};

use crate::house::{GET, House, OK, Setting, status, text};

/// Both ends' certificate, made once: that costs.
static PEMS: LazyLock<(String, String)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("it is well made");
    let names = vec!["a.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .expect("it is well made")
        .self_signed(&key)
        .expect("it is well made");
    (certificate.pem(), key.serialize_pem())
});

/// Both ends' certificate, as PEM.
pub(crate) fn certificate() -> &'static str {
    &PEMS.0
}

pub(crate) fn identity() -> Arc<Identity> {
    Arc::new(Identity::from_pem(PEMS.0.as_bytes(), PEMS.1.as_bytes()).expect("it is well made"))
}

pub(crate) fn acceptor(versions: Versions) -> Acceptor {
    let config = AcceptorConfig {
        identities: vec![identity()],
        versions,
        tickets: Some(Tickets::new().expect("it is well made")),
        ..AcceptorConfig::default()
    };
    Acceptor::new(config).expect("it is well made")
}

pub(crate) fn connector() -> Connector {
    Connector::new(ConnectorConfig {
        trust: Trust::Authorities(
            Authorities::from_pem(PEMS.0.as_bytes()).expect("it is well made"),
        ),
        max_chain: base::limits::TLS_SERVER_CHAIN,
        identity: None,
        versions: Versions::default(),
        sni: true,
        alpn: Vec::new(),
    })
    .expect("it is well made")
}

pub(crate) fn setting() -> Setting {
    speaking(Versions::default())
}

/// The same with more buffers, and a disk.
pub(crate) fn spooling() -> Setting {
    let spool = spool::Limits { size: 64 << 16, per_exchange: 64 << 16, per_address: 64 << 16 };
    Setting { buffers: 256, exchange_memory: 32 << 10, spool: Some(spool), ..setting() }
}

/// Where clients speak TLS of these versions.
pub(crate) fn speaking(versions: Versions) -> Setting {
    let tls = TlsPlan { acceptor: Some(acceptor(versions)), ..TlsPlan::default() };
    Setting { tls, ..Setting::default() }
}

/// One end of a secured connection.
pub(crate) struct End {
    pub(crate) peer: Peer,
    session: Session,
    /// Received and not a whole record yet.
    pub(crate) part: Vec<u8>,
    /// Decrypted and not asked for yet.
    pub(crate) heard: Vec<u8>,
    /// The other end said that it sends nothing more.
    pub(crate) closed: bool,
    pub(crate) failed: Option<Failure>,
}

impl End {
    pub(crate) fn new(peer: Peer, session: Session) -> Self {
        Self { peer, session, part: Vec::new(), heard: Vec::new(), closed: false, failed: None }
    }

    /// A client that has shaken hands.
    pub(crate) fn client(house: &mut House) -> Self {
        let peer = house.client();
        Self::shaken(house, peer)
    }

    /// One that comes from this address.
    pub(crate) fn client_from(house: &mut House, address: &str) -> Self {
        let peer = house.client_from(address);
        Self::shaken(house, peer)
    }

    fn shaken(house: &mut House, peer: Peer) -> Self {
        let mut end = Self::new(peer, connector().connect("a.example").expect("it is well made"));
        let hello = end.hello();
        end.peer.write_all(&hello);
        house.settle();
        end.hear(house);
        assert!(!end.session.is_handshaking(), "{:?}", end.failed);
        end
    }

    /// The server's end of the next new connection, hands shaken.
    pub(crate) fn server(house: &mut House) -> Self {
        let peer = house.server();
        let mut end =
            Self::new(peer, acceptor(Versions::default()).accept().expect("it is well made"));
        end.hear(house);
        assert!(!end.session.is_handshaking(), "{:?}", end.failed);
        end
    }

    fn hello(&mut self) -> Vec<u8> {
        let mut memory = vec![0; 8 << 10];
        let mut output = Output::new(&mut memory);
        self.session.begin(&mut output).expect("it is well made");
        output.bytes().to_vec()
    }

    /// What it is told if it goes on asking, however little it takes at a time.
    pub(crate) fn sips(&mut self, house: &mut House) -> String {
        (0..40).map(|_| self.text(house)).collect()
    }

    /// Hears and answers until the other end has nothing more to say.
    pub(crate) fn hear(&mut self, house: &mut House) {
        loop {
            self.part.extend(self.peer.read());
            let mut memory = vec![0; 64 << 10];
            let mut moved = false;
            while let Record::Whole(len) = next_record(&self.part) {
                let mut output = Output::new(&mut memory);
                let heard = &mut self.heard;
                let read = self.session.read(&mut self.part[..len], &mut output, |bytes| {
                    heard.extend_from_slice(bytes);
                });
                self.part.drain(..len);
                self.peer.write_all(output.bytes());
                moved = true;
                match read {
                    Ok(found) => self.closed |= found.closed,
                    Err(failure) => {
                        self.failed = Some(failure);
                        return;
                    }
                }
            }
            house.settle();
            if !moved && self.peer.unread() == 0 {
                return;
            }
        }
    }

    pub(crate) fn sealed(&mut self, text: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; text.len() + (8 << 10)];
        let mut output = Output::new(&mut memory);
        for record in text.chunks(16 << 10) {
            self.session.write(record, &mut output).expect("it is well made");
        }
        output.bytes().to_vec()
    }

    pub(crate) fn say(&mut self, house: &mut House, text: &str) {
        let sealed = self.sealed(text.as_bytes());
        self.peer.write_all(&sealed);
        house.settle();
    }

    pub(crate) fn text(&mut self, house: &mut House) -> String {
        self.hear(house);
        String::from_utf8(std::mem::take(&mut self.heard)).expect("it is well made")
    }

    /// What says that nothing more will be sent.
    fn farewell(&mut self) -> Vec<u8> {
        let mut memory = vec![0; 64];
        let mut output = Output::new(&mut memory);
        self.session.close(&mut output).expect("it is well made");
        output.bytes().to_vec()
    }

    pub(crate) fn goodbye(&mut self, house: &mut House) {
        let farewell = self.farewell();
        self.peer.write_all(&farewell);
        house.settle();
    }
}

/// The server gets a request that ends so, and answers.
pub(crate) fn is_answered(house: &mut House, client: &mut End, end: &str) {
    let server = house.server();
    assert!(text(&server).ends_with(end));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(house)), 200);
    house.assert_quiet();
}

/// The transport of the only client ends, too, and nothing of it is left.
fn leaves_nothing(house: &mut House, client: &End) {
    client.peer.end();
    house.settle();
    house.assert_quiet();
    assert_eq!(house.sum(|c| c.clients.get()), 0);
}

/// A client's first words.
pub(crate) fn hello() -> Vec<u8> {
    let session = connector().connect("a.example").expect("it is well made");
    let mut memory = vec![0; 8 << 10];
    let mut output = Output::new(&mut memory);
    let mut session = session;
    session.begin(&mut output).expect("it is well made");
    output.bytes().to_vec()
}

pub(crate) fn failures(house: &House, failure: Failure) -> u64 {
    house.sum(|c| c.tls_failures[failure as usize].get())
}

#[test]
fn a_request_comes_in_and_its_response_goes_out() {
    for versions in [Versions { tls12: true, tls13: false }, Versions { tls12: false, tls13: true }]
    {
        let mut house = House::new(&speaking(versions));
        let mut client = End::client(&mut house);
        assert_eq!(house.sum(|c| c.tls_handshakes.get()), 1);
        house.assert_quiet();
        let mut server = None;
        for _ in 0..3 {
            client.say(&mut house, GET);
            let server = server.get_or_insert_with(|| house.server());
            let request = text(server);
            assert!(request.starts_with("GET /a HTTP/1.1\r\nHost: h\r\n"), "{request}");
            assert!(request.contains("X-Forwarded-Proto: https\r\n"), "{request}");
            server.write_all(OK);
            house.settle();
            let response = client.text(&mut house);
            assert!(status(&response) == 200 && response.ends_with("\r\n\r\nok"), "{response}");
            house.assert_quiet();
        }
        client.goodbye(&mut house);
        client.hear(&mut house);
        assert!(client.closed, "its goodbye is answered");
        assert_eq!(house.sum(|c| c.tls_sessions.get()), 0);
        assert_eq!(house.closed(CloseReason::Client), 1);
    }
}

/// Neither a handshake nor half a record takes a buffer: what is not whole stays with the kernel.
#[test]
fn what_comes_byte_by_byte_holds_nothing() {
    let mut house = House::new(&setting());
    let peer = house.client();
    let mut client = End::new(peer, connector().connect("a.example").unwrap());
    let hello = client.hello();
    for byte in hello {
        client.peer.write_all(&[byte]);
        house.assert_quiet();
    }
    client.hear(&mut house);
    assert!(!client.session.is_handshaking());
    let body = "b".repeat(20_000);
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n{body}");
    let sealed = client.sealed(request.as_bytes());
    for (at, byte) in sealed.iter().enumerate() {
        client.peer.write_all(&[*byte]);
        house.settle();
        if at < 16_000 {
            assert_eq!(house.sum(|c| c.buffers_used.get()), 0, "buffers are lent");
        }
    }
    is_answered(&mut house, &mut client, &body);
}

/// A record is longer than the pool: it goes on all the same, piece by piece.
#[test]
fn a_pool_of_eight_buffers_is_enough() {
    let mut house = House::new(&Setting {
        buffers: 8,
        exchange_memory: 6 << 10,
        connections: 1,
        ..Setting { stream: true, ..setting() }
    });
    let mut client = End::client(&mut house);
    let body = "b".repeat(50_000);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n";
    client.say(&mut house, &format!("{head}{body}"));
    let server = house.server();
    let mut request = String::new();
    for _ in 0..200 {
        request += &text(&server);
        house.pass(Duration::from_millis(100));
    }
    assert!(request.ends_with(&body), "{} bytes came", request.len());
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{body}");
    let (mut sent, mut got) = (0, String::new());
    for _ in 0..400 {
        sent += server.write(&answer.as_bytes()[sent..]);
        house.settle();
        got += &client.text(&mut house);
    }
    assert!(got.ends_with(&body), "{} bytes came", got.len());
    house.assert_quiet();
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.peer.set_window(100);
    let body = (0..9000).map(|number| format!("{number:04},")).collect::<Vec<_>>().concat();
    client.say(&mut house, GET);
    let server = house.server();
    text(&server);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    server.write_all(answer.as_bytes());
    house.settle();
    let mut got = String::new();
    for _ in 0..4000 {
        got += &client.text(&mut house);
        if got.ends_with(&body) {
            break;
        }
    }
    assert!(got.ends_with(&body), "{} bytes came", got.len());
    house.assert_quiet();
    client.say(&mut house, GET);
    assert!(text(&server).starts_with("GET"), "and may ask again");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(&mut house)), 200);
}

#[test]
fn pipelined_requests_in_one_record_are_answered_in_order() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    let ask = |number| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
    let asks = (0..5).map(ask).collect::<Vec<_>>().concat();
    client.say(&mut house, &asks);
    let server = house.server();
    let mut got = String::new();
    for number in 0..5 {
        let request = text(&server);
        assert!(request.starts_with(&format!("GET /{number} ")), "{request}");
        server
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}").as_bytes());
        house.settle();
        got += &client.text(&mut house);
    }
    let bodies: Vec<&str> = got.split("\r\n\r\n").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    house.assert_quiet();
}

#[test]
fn a_handshake_that_does_not_end_has_a_deadline() {
    let mut house = House::new(&setting());
    let silent = house.client();
    let peer = house.client();
    let mut slow = End::new(peer, connector().connect("a.example").unwrap());
    let hello = slow.hello();
    slow.peer.write_all(&hello[..100]);
    house.pass(Duration::from_secs(9));
    assert!(!silent.has_ended() && !slow.peer.has_ended());
    house.pass(Duration::from_secs(2));
    // The silent one was idle.
    assert_eq!(failures(&house, Failure::Late), 1);
    assert!(silent.is_closed() && slow.peer.is_closed());
    assert_eq!((house.closed(CloseReason::Tls), house.closed(CloseReason::Idle)), (1, 1));
    // Whoever ends it in time may be idle for longer.
    let client = End::client(&mut house);
    house.pass(Duration::from_mins(5));
    assert!(!client.peer.has_ended());
}

#[test]
fn a_client_that_leaves_in_its_handshake_harms_nobody() {
    let mut house = House::new(&setting());
    let mut other = End::client(&mut house);
    for (sent, resets) in [(0, false), (0, true), (3, false), (100, false), (100, true)] {
        let peer = house.client();
        let mut client = End::new(peer, connector().connect("a.example").unwrap());
        let hello = client.hello();
        client.peer.write_all(&hello[..sent]);
        house.settle();
        if resets {
            client.peer.reset();
        } else {
            client.peer.end();
        }
        house.settle();
        assert_eq!(house.sum(|c| c.clients.get()), 1, "{sent} {resets}");
    }
    other.say(&mut house, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&other.text(&mut house)), 200);
    house.assert_quiet();
}

#[test]
fn what_is_no_tls_is_told_so() {
    let mut house = House::new(&setting());
    let plain = house.client();
    house.exchange(&plain, GET);
    let answer = text(&plain);
    assert!(status(&answer) == 400 && answer.contains("plain HTTP request"), "{answer}");
    assert!(plain.has_ended());
    let length = answer.split_once("\r\n\r\n").unwrap().1.len();
    assert!(answer.contains(&format!("Content-Length: {length}\r\n")), "{answer}");
    let garbage = house.client();
    garbage.write_all(b"\x16\x02nonsense");
    house.settle();
    let alert = garbage.read();
    assert_eq!((alert.first(), alert.len()), (Some(&21), 7), "{alert:?}");
    assert!(garbage.has_ended());
    assert_eq!(failures(&house, Failure::PlainHttp), 1);
    assert_eq!(failures(&house, Failure::Protocol), 1);
    drop((plain, garbage));
    house.pass(Duration::from_secs(6));
    assert_eq!(house.sum(|c| c.tls_sessions.get()), 0);
}

#[test]
fn a_record_that_was_tampered_with_ends_its_connection_alone() {
    let mut house = House::new(&setting());
    let (mut victim, mut other) = (End::client(&mut house), End::client(&mut house));
    let mut sealed = victim.sealed(GET.as_bytes());
    *sealed.last_mut().unwrap() ^= 1;
    victim.peer.write_all(&sealed);
    house.settle();
    victim.hear(&mut house);
    assert_eq!(victim.failed, Some(Failure::Alert), "bad_record_mac");
    assert!(victim.peer.has_ended());
    assert_eq!(failures(&house, Failure::Decrypt), 1);
    other.say(&mut house, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&other.text(&mut house)), 200);
    house.assert_quiet();
}

/// RFC 9112 §9.8: a request that is cut is none, however it was cut.
#[test]
fn a_request_that_is_cut_off_never_reaches_the_server() {
    for says_goodbye in [false, true] {
        let mut house = House::new(&setting());
        let mut client = End::client(&mut house);
        client.say(&mut house, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
        if says_goodbye {
            client.goodbye(&mut house);
        }
        client.peer.end();
        house.settle();
        assert_eq!(house.world.connections_to(ServerId(0)), 0);
        assert_eq!(house.closed(CloseReason::Aborted), 1);
        house.assert_quiet();
    }
}

/// RFC 9110 §7.4: what is no `https` is not for secured connections.
#[test]
fn a_target_whose_scheme_is_not_the_connections_is_misdirected() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.say(&mut house, "GET https://h/a HTTP/1.1\r\nHost: h\r\n\r\n");
    let server = house.server();
    assert!(text(&server).starts_with("GET /a HTTP/1.1\r\nHost: h\r\n"));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(&mut house)), 200);
    client.say(&mut house, "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&client.text(&mut house)), 421);
    assert!(text(&server).is_empty());
}

/// The client has asked and says that it will ask nothing more: it is answered all the same.
#[test]
fn a_client_that_has_said_its_last_is_answered() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    client.goodbye(&mut house);
    client.peer.end();
    house.settle();
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(&mut house)), 200);
    assert!(client.closed, "behind the answer comes our goodbye");
    house.assert_quiet();
}

/// Some peers keep the transport open until they hear our last word: theirs counts, though it came
/// together with what they had to say.
#[test]
fn a_last_word_counts_without_the_end_of_the_transport() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    let both = [client.sealed(GET.as_bytes()), client.farewell()].concat();
    client.peer.write_all(&both);
    house.settle();
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(&mut house)), 200);
    assert!(client.closed && client.peer.has_ended(), "it is not parked");
    leaves_nothing(&mut house, &client);
}

/// More clients than may have a record decrypted ahead, each with one that is longer than the pool.
#[test]
fn a_crowd_of_long_records_goes_through_a_small_pool() {
    let mut house = House::new(&Setting {
        buffers: 16,
        exchange_memory: 6 << 10,
        connections: 4,
        ..Setting { stream: true, ..setting() }
    });
    let body = "b".repeat(40_000);
    let ask = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n{body}");
    let mut clients: Vec<_> = (0..30).map(|_| End::client(&mut house)).collect();
    for client in &mut clients {
        let sealed = client.sealed(ask.as_bytes());
        client.peer.write_all(&sealed);
    }
    house.settle();
    let (mut servers, mut answered) = (Vec::new(), 0);
    // A few for anybody, and as many as half the pool has room for (law 3).
    let places = u64::from(worker::ahead_places(16, 2048));
    assert_eq!(places, u64::from(TLS_AHEAD_MAX) + 1);
    let ahead = |house: &House| house.sum(|c| c.tls_ahead.get());
    assert!(ahead(&house) > 0);
    for _ in 0..600 {
        assert!(ahead(&house) <= places, "{} are ahead", ahead(&house));
        servers.extend(house.world.accept(ServerId(0)).map(|server| (server, String::new())));
        for (server, request) in &mut servers {
            *request += &text(server);
            if request.ends_with(&body) {
                request.clear();
                server.write_all(OK);
                answered += 1;
            }
        }
        house.pass(Duration::from_millis(50));
    }
    let heard = clients.iter_mut().map(|client| client.text(&mut house));
    let answers = heard.filter(|heard| heard.contains(" 200 ")).count();
    assert_eq!(answers, answered);
    assert!(answered >= 4, "{answered} came through; who waits too long is refused");
    for client in &clients {
        client.peer.reset();
    }
    house.pass(Duration::from_secs(40));
    assert_eq!(ahead(&house), 0);
    house.assert_quiet();
}

#[test]
fn the_log_says_what_was_agreed_on() {
    let mut house = House::new(&Setting { access: Some(16 << 10), ..setting() });
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    house.server().write_all(OK);
    house.settle();
    let mut agreed = Vec::new();
    house.logs[0].drain(|record| {
        agreed.extend(record.tls);
        true
    });
    assert_eq!(agreed.len(), 1);
    assert_eq!(Some(agreed[0]), client.session.agreed());
    assert_eq!(agreed[0].version(), "TLSv1.3");
}

/// What goes wrong after the handshake is told, too, though more of the client is on its way, which a
/// close would answer with a reset.
#[test]
fn whoever_fails_while_data_is_exchanged_hears_why() {
    for begun in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut house = House::new(&setting());
        let mut client = End::client(&mut house);
        client.say(&mut house, begun);
        client.peer.write_all(&[23, 3, 3, 0, 20]);
        client.peer.write_all(&[7; 20]);
        house.settle();
        client.peer.write_all(&[8; 1000]);
        house.settle();
        assert!(!client.peer.is_reset(), "an alert may be on its way");
        client.hear(&mut house);
        assert!(client.failed.is_some() && client.peer.has_ended(), "it heard an alert");
        leaves_nothing(&mut house, &client);
    }
}

#[test]
fn however_it_is_cut_the_bytes_are_the_same() {
    let mut random = 7_u32;
    for most in [3, 700, 3000, 20_000] {
        let mut house = House::new(&setting());
        let mut client = End::client(&mut house);
        let body = "r".repeat(40_000);
        let ask = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n{body}");
        let sealed = client.sealed(ask.as_bytes());
        let mut rest = &sealed[..];
        while !rest.is_empty() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (piece, later) = rest.split_at(rest.len().min(1 + (random >> 8) as usize % most));
            client.peer.write_all(piece);
            house.settle();
            rest = later;
        }
        let server = house.server();
        let mut request = String::new();
        for _ in 0..4000 {
            request += &text(&server);
            if request.ends_with(&body) {
                break;
            }
            house.settle();
        }
        assert!(request.ends_with(&body), "{} bytes came", request.len());
        server.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n{body}").as_bytes(),
        );
        house.settle();
        let mut response = String::new();
        for _ in 0..4000 {
            response += &client.text(&mut house);
            if response.ends_with(&body) {
                break;
            }
        }
        assert!(response.ends_with(&body), "{} bytes came", response.len());
        house.assert_quiet();
    }
}
