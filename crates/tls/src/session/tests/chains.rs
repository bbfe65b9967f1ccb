//! Certificate chains that are as long as they may be, and longer.

use allocation_counter::measure;
use base::limits::{
    TLS_CERTIFICATE_OVERHEAD, TLS_CLIENT_CHAIN, TLS_CLIENT_CHAIN_RANGE, TLS_FLIGHT_MAX,
    TLS_SERVER_CHAIN, TLS_SERVER_CHAIN_RANGE,
};

use super::*;

/// Somebody whose certificates are whatever a test wants of them.
struct Someone {
    certificate: String,
    key: String,
    /// Bytes that the certificate counts for.
    bytes: usize,
}

impl Someone {
    fn new(names: &[&str]) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Self {
            bytes: certificate.der().len() + TLS_CERTIFICATE_OVERHEAD,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn trusted(&self) -> Authorities {
        Authorities::from_pem(self.certificate.as_bytes()).unwrap()
    }

    /// The certificate, and behind it what is none, of so many bytes each.
    fn with(&self, junk: &[usize]) -> Arc<Identity> {
        let mut chain = self.certificate.clone();
        for bytes in junk {
            chain += "-----BEGIN CERTIFICATE-----\n";
            chain += &"AAAA".repeat(bytes / 3);
            chain += ["", "AA==", "AAA="][bytes % 3];
            chain += "\n-----END CERTIFICATE-----\n";
        }
        Arc::new(Identity::from_pem(chain.as_bytes(), self.key.as_bytes()).unwrap())
    }

    /// A chain of two that counts for as many bytes.
    fn of(&self, bytes: usize) -> Arc<Identity> {
        self.with(&[bytes - self.bytes - TLS_CERTIFICATE_OVERHEAD])
    }
}

/// Two ends, of which the client shows that.
fn shown_by_client(
    who: &Someone,
    shown: &Arc<Identity>,
    change: impl FnOnce(&mut AcceptorConfig, &mut ConnectorConfig),
) -> Pair {
    Pair::new(|server, client| {
        server.clients = ClientAuth::Required(who.trusted());
        client.identity = Some(Arc::clone(shown));
        change(server, client);
    })
}

/// Two ends, of which the server shows that.
fn shown_by_server(
    who: &Someone,
    shown: &Arc<Identity>,
    change: impl FnOnce(&mut AcceptorConfig, &mut ConnectorConfig),
) -> Pair {
    Pair::new(|server, client| {
        server.identities = vec![Arc::clone(shown)];
        client.trust = Trust::Authorities(who.trusted());
        change(server, client);
    })
}

fn shaken(pair: &Pair) -> [Result<(), Failure>; 2] {
    let (mut server, mut client) = pair.meet();
    shake(&mut server, &mut client)
}

const FINE: [Result<(), Failure>; 2] = [Ok(()), Ok(())];

#[test]
fn a_clients_chain_may_be_as_long_as_it_says_and_no_longer() {
    let who = Someone::new(&["someone"]);
    let refused = [Err(Failure::TooLarge), Err(Failure::Alert)];
    for versions in [TLS12, TLS13] {
        let met = |shown: &Arc<Identity>, max: u32| {
            shaken(&shown_by_client(&who, shown, |server, _| {
                (server.versions, server.max_client_chain) = (versions, max);
            }))
        };
        let [least, most] = TLS_CLIENT_CHAIN_RANGE;
        for max in [least, TLS_CLIENT_CHAIN, most] {
            assert_eq!(met(&who.of(max as usize), max), FINE, "{versions:?} {max}");
            assert_eq!(met(&who.of(max as usize + 1), max), refused, "{versions:?} {max}");
        }
        // They are few bytes, and much memory.
        let most = (TLS_CLIENT_CHAIN as usize - who.bytes) / (TLS_CERTIFICATE_OVERHEAD + 1);
        assert_eq!(met(&who.with(&vec![1; most]), TLS_CLIENT_CHAIN), FINE);
        assert_eq!(met(&who.with(&vec![1; most + 1]), TLS_CLIENT_CHAIN), refused);
        assert_eq!(met(&who.with(&[1; 2000]), TLS_CLIENT_CHAIN), refused);
    }
}

#[test]
fn a_servers_chain_may_be_as_long_as_it_says_and_no_longer() {
    let who = Someone::new(&["a.example"]);
    let refused = [Err(Failure::Alert), Err(Failure::TooLarge)];
    for (versions, anyone) in [(TLS12, true), (TLS12, false), (TLS13, true), (TLS13, false)] {
        let met = |shown: &Arc<Identity>, max: u32| {
            shaken(&shown_by_server(&who, shown, |server, client| {
                (server.versions, client.max_chain) = (versions, max);
                if anyone {
                    client.trust = Trust::Anyone;
                }
            }))
        };
        let [least, most] = TLS_SERVER_CHAIN_RANGE;
        for max in [least, TLS_SERVER_CHAIN, most] {
            assert_eq!(met(&who.of(max as usize), max), FINE, "{versions:?} {anyone} {max}");
            assert_eq!(met(&who.of(max as usize + 1), max), refused, "{versions:?} {anyone} {max}");
        }
        assert_eq!(met(&who.with(&[1; 2000]), TLS_SERVER_CHAIN), refused);
    }
}

/// `certificate_unknown` (RFC 8446 §6.2), in plain sight with TLS 1.2. A stranger's chain is not looked at
/// if it is too long.
#[test]
fn the_alert_says_that_the_certificate_will_not_do() {
    let (who, other) = (Someone::new(&["someone"]), Someone::new(&["another"]));
    for (bytes, failure, alert) in [
        (TLS_CLIENT_CHAIN + 1, Failure::TooLarge, 46),
        (TLS_CLIENT_CHAIN, Failure::Certificate, 51),
    ] {
        let shown = other.of(bytes as usize);
        let pair = shown_by_client(&who, &shown, |server, _| server.versions = TLS12);
        let (mut server, mut client) = pair.meet();
        let said = show(&mut server, &hello(&mut client)).0;
        let answer = show(&mut client, &said).0;
        let (said, _, end) = show(&mut server, &answer);
        assert_eq!((end, &said[..]), (Err(failure), &[21, 3, 3, 0, 2, 2, alert][..]));
    }
}

/// What rustls itself finds too long is called so, too: a message beyond 64 KiB, in few records.
#[test]
fn a_chain_that_no_message_may_have_is_too_large() {
    let who = Someone::new(&["someone"]);
    let shown = who.with(&[70_000]);
    for versions in [TLS12, TLS13] {
        let pair = shown_by_client(&who, &shown, |server, _| server.versions = versions);
        assert_eq!(shaken(&pair)[0], Err(Failure::TooLarge), "{versions:?}");
    }
}

/// The longest that can be configured comes back in a ticket.
#[test]
fn a_session_with_the_longest_chain_is_resumed() {
    let who = Someone::new(&["someone"]);
    let most = TLS_CLIENT_CHAIN_RANGE[1];
    for versions in [TLS12, TLS13] {
        for bytes in [TLS_CLIENT_CHAIN, most] {
            let shown = who.of(bytes as usize);
            let pair = shown_by_client(&who, &shown, |server, _| {
                (server.versions, server.max_client_chain) = (versions, most);
            });
            for resumed in [false, true, true] {
                let (mut server, mut client) = pair.meet();
                assert_eq!(shake(&mut server, &mut client), FINE, "{versions:?} {bytes} {resumed}");
                assert_eq!((server.is_resumed(), client.is_resumed()), (resumed, resumed));
                server.identify();
                assert!(server.has_certificate(), "its ticket tells who it is");
            }
        }
    }
}

/// Bytes that the server's session keeps, or the client's.
fn kept(pair: &Pair, of_server: bool) -> u64 {
    let (mut server, mut client) = pair.meet();
    let mut bytes = 0;
    let mut to_server = hello(&mut client);
    while !to_server.is_empty() {
        let mut to_client = Vec::with_capacity(TLS_FLIGHT_MAX);
        bytes += taken(&mut server, &to_server, &mut to_client) * i64::from(of_server);
        to_server = Vec::with_capacity(TLS_FLIGHT_MAX);
        bytes += taken(&mut client, &to_client, &mut to_server) * i64::from(!of_server);
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    u64::try_from(bytes).unwrap_or_default()
}

/// Shows `to` what was sent; what it has beyond what it had before.
fn taken(to: &mut Session, sent: &[u8], said: &mut Vec<u8>) -> i64 {
    let mut rest = sent.to_vec();
    let mut memory = vec![0; TLS_FLIGHT_MAX];
    let mut at = 0;
    let used = measure(|| {
        while let Record::Whole(len) = next_record(&rest[at..]) {
            let mut output = Output::new(&mut memory);
            to.read(&mut rest[at..at + len], &mut output, |_| ()).unwrap();
            said.extend_from_slice(output.bytes());
            at += len;
        }
    });
    used.bytes_current
}

/// What counts is what there is: a session with a chain has no more than that beyond one without.
#[test]
fn a_chain_takes_no_more_than_it_counts_for() {
    let who = Someone::new(&["a.example"]);
    let most = TLS_CLIENT_CHAIN as usize;
    let tiny = (most - who.bytes) / (TLS_CERTIFICATE_OVERHEAD + 1);
    let chains = [vec![], vec![most - who.bytes - TLS_CERTIFICATE_OVERHEAD], vec![1; tiny]];
    for versions in [TLS12, TLS13] {
        let without = kept(&Pair::new(|server, _| server.versions = versions), true);
        for junk in &chains {
            let counted =
                who.bytes + junk.iter().map(|n| n + TLS_CERTIFICATE_OVERHEAD).sum::<usize>();
            let shown = who.with(junk);
            let pair = shown_by_client(&who, &shown, |server, _| server.versions = versions);
            let more = kept(&pair, true).saturating_sub(without);
            assert!(more <= counted as u64, "{versions:?}: {more} of {counted} {}", junk.len());
        }
    }
}

/// However many servers there are, and however often one comes to them.
#[test]
fn what_is_kept_for_resumption_is_bounded() {
    let names: Vec<String> = (0..12).map(|n| format!("s{n}.example")).collect();
    let who = Someone::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let shown = who.of(TLS_SERVER_CHAIN as usize);
    let pair = shown_by_server(&who, &shown, |_, _| ());
    let mut bytes = 0;
    for name in names.iter().flat_map(|name| [name; 7]) {
        let mut server = pair.acceptor.accept().unwrap();
        let mut to_server = Vec::with_capacity(TLS_FLIGHT_MAX);
        let mut client = None;
        let mut memory = vec![0; TLS_FLIGHT_MAX];
        bytes += measure(|| {
            let mut output = Output::new(&mut memory);
            let client = client.insert(pair.connector.connect(name).unwrap());
            client.begin(&mut output).unwrap();
            to_server.extend_from_slice(output.bytes());
        })
        .bytes_current;
        let mut client = client.unwrap();
        while !to_server.is_empty() {
            let to_client = show(&mut server, &to_server).0;
            to_server = Vec::with_capacity(TLS_FLIGHT_MAX);
            bytes += taken(&mut client, &to_client, &mut to_server);
        }
        assert!(!client.is_handshaking());
        bytes += measure(|| drop(client)).bytes_current;
    }
    let bytes = usize::try_from(bytes).unwrap();
    // Eight servers, and of each eight sessions.
    assert!(bytes > 63 * TLS_SERVER_CHAIN as usize, "{bytes}");
    assert!(bytes < Connector::resumption_bytes(TLS_SERVER_CHAIN), "{bytes}");
}
