mod chains;

use std::sync::Arc;

use super::*;
use crate::identity::tests::pems;
use crate::{
    Acceptor, AcceptorConfig, Authorities, Cipher, ClientAuth, Connector, ConnectorConfig,
    Identity, Record, Tickets, Trust, Versions, next_record,
};

/// Two ends that trust each other.
struct Pair {
    acceptor: Acceptor,
    connector: Connector,
}

const TLS12: Versions = Versions { tls12: true, tls13: false };
const TLS13: Versions = Versions { tls12: false, tls13: true };

impl Pair {
    fn new(change: impl FnOnce(&mut AcceptorConfig, &mut ConnectorConfig)) -> Self {
        let (certificate, key) = pems(&["a.example"]);
        let identity =
            Arc::new(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
        let authorities = Authorities::from_pem(certificate.as_bytes()).unwrap();
        let mut server = AcceptorConfig {
            identities: vec![Arc::clone(&identity)],
            tickets: Some(Tickets::new().unwrap()),
            alpn: vec![b"http/1.1".to_vec()],
            ..AcceptorConfig::default()
        };
        let mut client = ConnectorConfig {
            trust: Trust::Authorities(authorities),
            max_chain: base::limits::TLS_SERVER_CHAIN,
            identity: None,
            versions: Versions::default(),
            sni: true,
            alpn: Vec::new(),
        };
        change(&mut server, &mut client);
        Self {
            acceptor: Acceptor::new(server).unwrap(),
            connector: Connector::new(client).unwrap(),
        }
    }

    fn meet(&self) -> (Session, Session) {
        (self.acceptor.accept().unwrap(), self.connector.connect("a.example").unwrap())
    }
}

/// Shows one end what the other sent, record by record; what it says, and what was delivered.
fn show(to: &mut Session, sent: &[u8]) -> (Vec<u8>, Vec<u8>, Result<Found, Failure>) {
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    let mut memory = vec![0; base::limits::TLS_FLIGHT_MAX];
    let mut found = Found::default();
    let mut rest = sent.to_vec();
    while let Record::Whole(len) = next_record(&rest) {
        let mut output = Output::new(&mut memory);
        let read = to.read(&mut rest[..len], &mut output, |bytes| heard.extend_from_slice(bytes));
        said.extend_from_slice(output.bytes());
        match read {
            Ok(one) => {
                found.bytes += one.bytes;
                found.closed |= one.closed;
            }
            Err(failure) => return (said, heard, Err(failure)),
        }
        rest.drain(..len);
    }
    assert!(rest.is_empty(), "whole records are sent");
    (said, heard, Ok(found))
}

fn hello(client: &mut Session) -> Vec<u8> {
    let mut memory = vec![0; base::limits::TLS_FLIGHT_MAX];
    let mut output = Output::new(&mut memory);
    client.begin(&mut output).unwrap();
    output.bytes().to_vec()
}

/// Lets both speak until neither has anything to say; how it ended for the server, and the client.
fn shake(server: &mut Session, client: &mut Session) -> [Result<(), Failure>; 2] {
    let mut to_server = hello(client);
    let mut ends = [Ok(()), Ok(())];
    while !to_server.is_empty() {
        let (to_client, _, end) = show(server, &to_server);
        ends[0] = ends[0].and(end.map(|_| ()));
        let (answer, _, end) = show(client, &to_client);
        ends[1] = ends[1].and(end.map(|_| ()));
        to_server = if ends[0].is_err() { Vec::new() } else { answer };
    }
    ends
}

fn say(session: &mut Session, bytes: &[u8]) -> Vec<u8> {
    let mut memory = vec![0; 32 << 10];
    let mut output = Output::new(&mut memory);
    session.write(bytes, &mut output).unwrap();
    output.bytes().to_vec()
}

#[test]
fn bytes_come_out_as_they_went_in() {
    for versions in [TLS12, TLS13] {
        let pair = Pair::new(|server, _| server.versions = versions);
        let (mut server, mut client) = pair.meet();
        assert!(server.is_handshaking());
        assert_eq!(shake(&mut server, &mut client), [Ok(()), Ok(())]);
        assert!(!server.is_handshaking() && !client.is_handshaking() && !server.is_resumed());
        let version = if versions == TLS12 { "TLSv1.2" } else { "TLSv1.3" };
        let agreed = server.agreed().unwrap();
        assert_eq!((agreed.version(), Some(agreed)), (version, client.agreed()));
        assert!(Cipher::named(agreed.cipher()).is_some(), "{agreed:?}");
        assert_eq!(Agreed::from_number(agreed.number()), agreed);
        let long: Vec<u8> = (0..=255).cycle().take(base::limits::TLS_PLAIN_MAX).collect();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"x", &long] {
            let sent = say(&mut client, bytes);
            assert!(sent.len() <= bytes.len() + base::limits::TLS_OVERHEAD);
            let (said, heard, found) = show(&mut server, &sent);
            assert!(said.is_empty() && heard == bytes, "{version}");
            assert_eq!(found, Ok(Found { bytes: bytes.len(), closed: false }));
            let sent = say(&mut server, bytes);
            assert_eq!(show(&mut client, &sent).1, bytes);
        }
        let mut memory = [0; 64];
        let mut output = Output::new(&mut memory);
        client.close(&mut output).unwrap();
        assert_eq!(show(&mut server, output.bytes()).2, Ok(Found { bytes: 0, closed: true }));
    }
}

#[test]
fn a_session_is_resumed_by_its_ticket_whoever_accepts_it() {
    for versions in [TLS12, TLS13] {
        let tickets = Tickets::new().unwrap();
        let first = Pair::new(|server, _| {
            (server.versions, server.tickets) = (versions, Some(tickets.clone()));
        });
        let (mut server, mut client) = first.meet();
        shake(&mut server, &mut client)[0].unwrap();
        let (mut server, mut client) = first.meet();
        shake(&mut server, &mut client)[0].unwrap();
        assert!(server.is_resumed() && client.is_resumed(), "{versions:?}");
        let without = Pair::new(|server, _| (server.versions, server.tickets) = (versions, None));
        for _ in 0..2 {
            let (mut server, mut client) = without.meet();
            shake(&mut server, &mut client)[0].unwrap();
            assert!(!server.is_resumed());
        }
    }
}

#[test]
fn who_does_not_fit_is_told_by_an_alert() {
    let met = |change: fn(&mut AcceptorConfig, &mut ConnectorConfig)| {
        let (mut server, mut client) = Pair::new(change).meet();
        shake(&mut server, &mut client)
    };
    let ends = met(|server, client| (server.versions, client.versions) = (TLS13, TLS12));
    assert_eq!(ends, [Err(Failure::Version), Err(Failure::Alert)]);
    let ends = met(|_, client| client.alpn = vec![b"h2".to_vec()]);
    assert_eq!(ends, [Err(Failure::Alpn), Err(Failure::Alert)]);
    let ends = met(|server, _| server.unknown_name = crate::UnknownName::Refuse);
    assert_eq!(ends, [Ok(()), Ok(())]);
    let ends = met(|server, client| {
        server.ciphers = vec![Cipher::named("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256").unwrap()];
        (server.versions, client.versions) = (TLS12, TLS13);
    });
    assert_eq!(ends[1], Err(Failure::Alert));
    let ends = met(|_, client| {
        let other = pems(&["a.example"]).0;
        client.trust = Trust::Authorities(Authorities::from_pem(other.as_bytes()).unwrap());
    });
    assert_eq!(ends, [Err(Failure::Alert), Err(Failure::Certificate)]);
    let ends = met(|_, client| client.trust = Trust::Anyone);
    assert_eq!(ends, [Ok(()), Ok(())]);
}

#[test]
fn of_suites_that_were_named_the_first_is_preferred() {
    let orders = [
        (TLS13, ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]),
        (
            TLS12,
            ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        ),
    ];
    for (versions, [one, other]) in orders {
        for names in [[one, other], [other, one]] {
            let (mut server, mut client) = Pair::new(|server, client| {
                server.ciphers = names.iter().map(|name| Cipher::named(name).unwrap()).collect();
                // It prefers the longer keys.
                client.versions = versions;
            })
            .meet();
            assert_eq!(shake(&mut server, &mut client), [Ok(()), Ok(())]);
            assert_eq!(server.agreed().unwrap().cipher(), names[0]);
        }
    }
}

#[test]
fn a_client_says_who_it_is() {
    let (certificate, key) = pems(&["someone"]);
    let own = Arc::new(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
    let trusted = Authorities::from_pem(certificate.as_bytes()).unwrap();
    for (auth, shows, expected) in [
        (ClientAuth::Required(trusted.clone()), true, Ok(true)),
        (ClientAuth::Required(trusted.clone()), false, Err(Failure::Certificate)),
        (ClientAuth::Optional(trusted.clone()), true, Ok(true)),
        (ClientAuth::Optional(trusted), false, Ok(false)),
        (ClientAuth::Off, true, Ok(false)),
    ] {
        let pair = Pair::new(|server, client| {
            server.clients = auth.clone();
            client.identity = shows.then(|| Arc::clone(&own));
        });
        let (mut server, mut client) = pair.meet();
        let ends = shake(&mut server, &mut client);
        server.identify();
        let subject = server.subject().map(str::to_owned);
        assert_eq!(ends[0].map(|()| subject.is_some()), expected, "{auth:?} {shows}");
        if subject.is_some() {
            assert_eq!(subject.as_deref(), Some("CN=rcgen self signed cert"));
        }
    }
}

#[test]
fn a_certificate_is_one_though_it_names_nobody() {
    let long = "a".repeat(base::limits::TLS_SUBJECT_MAX);
    for name in ["", &long] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["me.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let certificate = params.self_signed(&key).unwrap().pem();
        let own = Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes());
        let (own, trusted) =
            (Arc::new(own.unwrap()), Authorities::from_pem(certificate.as_bytes()));
        let pair = Pair::new(|server, client| {
            server.clients = ClientAuth::Required(trusted.unwrap());
            client.identity = Some(own);
        });
        let (mut server, mut client) = pair.meet();
        assert_eq!(shake(&mut server, &mut client), [Ok(()), Ok(())]);
        assert!(!server.has_certificate(), "it is looked up once");
        server.identify();
        assert_eq!((server.has_certificate(), server.subject()), (true, None), "{name}");
    }
}

#[test]
fn an_authority_alone_is_shown_the_answer_to_its_challenge() {
    let (certificate, key) = pems(&["a.example"]);
    let answer = Arc::new(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
    let met = |offered: &[&[u8]], challenges: Vec<Arc<Identity>>, trusts_answer: bool| {
        let (mut server, mut client) = Pair::new(|server, client| {
            server.challenges = challenges;
            client.alpn = offered.iter().map(|name| name.to_vec()).collect();
            if trusts_answer {
                let authorities = Authorities::from_pem(certificate.as_bytes()).unwrap();
                client.trust = Trust::Authorities(authorities);
            }
        })
        .meet();
        shake(&mut server, &mut client)
    };
    let there = || vec![Arc::clone(&answer)];
    let fine = [Ok(()), Ok(())];
    assert_eq!(met(&[b"acme-tls/1"], there(), true), fine);
    assert_eq!(met(&[b"http/1.1"], there(), false), fine);
    assert_eq!(met(&[b"acme-tls/1", b"http/1.1"], there(), false), fine, "no authority");
    assert_eq!(met(&[], there(), false), fine);
    assert_eq!(met(&[b"acme-tls/1"], Vec::new(), true)[0], Err(Failure::Name));
}

#[test]
fn without_a_certificate_everybody_is_refused() {
    let (mut server, mut client) = Pair::new(|server, _| server.identities.clear()).meet();
    assert_eq!(shake(&mut server, &mut client), [Err(Failure::Name), Err(Failure::Alert)]);
}

/// Cuts a handshake record into records of one byte each.
fn in_parts(record: &[u8]) -> Vec<u8> {
    let (head, body) = record.split_at(5);
    body.iter().flat_map(|byte| [head[0], head[1], head[2], 0, 1, *byte]).collect()
}

#[test]
fn a_message_in_parts_is_kept_until_it_is_whole_and_no_longer() {
    let (mut server, mut client) = Pair::new(|_, _| ()).meet();
    let hello = hello(&mut client);
    let parts = in_parts(&hello);
    let (said, _, found) = show(&mut server, &parts[..600]);
    assert!(said.is_empty() && found.is_ok() && server.parts() > 0);
    let (said, _, found) = show(&mut server, &parts[600..]);
    assert!(!said.is_empty() && found.is_ok());
    assert_eq!(server.parts(), 0);
    let (answer, _, found) = show(&mut client, &said);
    found.unwrap();
    show(&mut server, &answer).2.unwrap();
    assert!(!server.is_handshaking());
}

#[test]
fn a_record_that_was_changed_ends_the_session() {
    let (mut server, mut client) = Pair::new(|_, _| ()).meet();
    shake(&mut server, &mut client)[0].unwrap();
    let mut sent = say(&mut client, b"GET / HTTP/1.1\r\n\r\n");
    sent[9] ^= 1;
    let (said, heard, end) = show(&mut server, &sent);
    assert_eq!((heard.len(), end), (0, Err(Failure::Decrypt)));
    assert_eq!(show(&mut client, &said).2, Err(Failure::Alert), "bad_record_mac");
    let (said, _, end) = show(&mut server, &[22, 3, 3, 0, 1, 0]);
    assert!(said.is_empty() && end.is_err(), "it stays over");
}

/// What is no TLS is answered with an alert, and nothing a peer sends makes more of it.
#[test]
fn garbage_is_refused() {
    for garbage in [&[22, 3, 1, 0, 4, 99, 0, 0, 0][..], &[23, 3, 3, 0, 1, 0]] {
        let (mut server, _) = Pair::new(|_, _| ()).meet();
        let mut memory = [0; 256];
        let mut output = Output::new(&mut memory);
        let end = server.read(&mut garbage.to_vec(), &mut output, |_| panic!("nothing to deliver"));
        assert_eq!(end, Err(Failure::Protocol), "{garbage:?}");
        assert_eq!(output.bytes().first(), Some(&21), "an alert for {garbage:?}");
    }
}

/// A record that rustls would open, and that is none to us: its sender hears so, and nothing of it is
/// delivered.
#[test]
fn what_is_no_record_ends_the_session_and_is_told() {
    for versions in [TLS12, TLS13] {
        let (mut server, mut client) = Pair::new(|server, _| server.versions = versions).meet();
        shake(&mut server, &mut client)[0].unwrap();
        let mut sent = say(&mut client, b"GET / HTTP/1.1\r\n\r\n");
        sent[0] = 24;
        assert_eq!(next_record(&sent), Record::Bad);
        let mut memory = [0; 256];
        let mut output = Output::new(&mut memory);
        assert_eq!(server.refuse(Failure::Protocol, &mut output), Failure::Protocol);
        let alert = output.bytes().to_vec();
        assert_eq!(show(&mut client, &alert).2, Err(Failure::Alert), "decode_error");
        let mut output = Output::new(&mut memory);
        assert_eq!(server.refuse(Failure::TooLarge, &mut output), Failure::Protocol, "it is over");
        assert!(output.is_empty());
        sent[0] = 23;
        assert_eq!(show(&mut server, &sent).2, Err(Failure::Protocol));
    }
}

/// The beginning of a handshake message of 65,535 bytes, `len` of them, in plain records: so many that it is
/// not whole before there is too much of it.
fn beginning(kind: u8, len: usize) -> Vec<u8> {
    let mut message = vec![7; len];
    message[..4].copy_from_slice(&[kind, 0, 0xff, 0xff]);
    let records = message.chunks(1000).map(|content| {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[22, 3, 3, high, low][..], content].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_message_is_kept_as_far_as_its_kind_needs() {
    let trusts = Authorities::from_pem(pems(&["someone"]).0.as_bytes()).unwrap();
    for (clients, most) in
        [(ClientAuth::Off, TLS_PARTS_SHORT), (ClientAuth::Optional(trusts), TLS_PARTS_MAX)]
    {
        let fits = beginning(1, most / 1010 * 1000);
        let (mut server, _) = Pair::new(|server, _| server.clients = clients).meet();
        assert_eq!(show(&mut server, &fits).2, Ok(Found::default()));
        assert_eq!(server.parts(), fits.len());
        let rest = vec![7; most - fits.len()];
        let [high, low] = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let (said, _, end) = show(&mut server, &[&[22, 3, 3, high, low][..], &rest].concat());
        assert_eq!(end, Err(Failure::TooLarge));
        assert_eq!(said, [21, 3, 3, 0, 2, 2, 50], "decode_error");
        assert_eq!(server.parts(), 0);
    }
    let (_, mut client) = Pair::new(|_, _| ()).meet();
    hello(&mut client);
    let (said, _, end) = show(&mut client, &beginning(2, 65_500));
    assert!(end == Err(Failure::TooLarge) && said.ends_with(&[2, 50]), "{said:?}");
}

/// rustls keeps what was said until a client that is asked for a certificate has signed it. That counts, as
/// far as there is no room for it where its chain will be.
#[test]
fn what_a_client_has_not_signed_counts() {
    let (certificate, _) = pems(&["someone"]);
    for (versions, protocols) in [(TLS12, 0), (TLS12, 60), (TLS13, 0), (TLS13, 60)] {
        for asks in [true, false] {
            let trusts = Authorities::from_pem(certificate.as_bytes()).unwrap();
            let pair = Pair::new(|server, client| {
                (server.versions, server.alpn) = (versions, Vec::new());
                if asks {
                    server.clients = ClientAuth::Optional(trusts);
                }
                client.alpn = (0..protocols).map(|n| vec![n + 1; 200]).collect();
            });
            let (mut server, mut client) = pair.meet();
            let mut sent = hello(&mut client);
            let mut memory = vec![0; base::limits::TLS_FLIGHT_MAX];
            let mut output = Output::new(&mut memory);
            let whole = sent.len();
            let kept = allocation_counter::measure(|| {
                server.read(&mut sent, &mut output, |_| ()).unwrap();
            });
            let (both, room) = (whole + output.len(), base::limits::TLS_CLIENT_CHAIN as usize);
            let counted = if asks { (2 * both).saturating_sub(room) } else { 0 };
            assert_eq!(server.parts(), counted);
            // What every session takes is counted elsewhere, as is the room for a chain.
            let most = server.parts() + if asks { room } else { 1000 };
            assert!(kept.bytes_current <= i64::try_from(most).unwrap(), "{kept:?}");
            let said = output.bytes().to_vec();
            let (answer, _, _) = show(&mut client, &said);
            show(&mut server, &answer).2.unwrap();
            assert!(!server.is_handshaking());
            assert_eq!(server.parts(), 0);
        }
    }
}

/// Seals handshake messages with the keys of a client whose session is open.
struct Forger {
    key: aws_lc_rs::aead::LessSafeKey,
    iv: rustls::crypto::cipher::Iv,
    number: u64,
}

impl Forger {
    /// A client that has shaken hands with `server`.
    fn meet(server: &mut Session, trusts: &Authorities) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(&trusts.0))
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        let name = "a.example".try_into().unwrap();
        let connection = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
        let mut client = Session::client(connection, base::limits::TLS_SERVER_CHAIN, false);
        shake(server, &mut client)[0].unwrap();
        let End::Client(connection) = client.end else { unreachable!() };
        let (number, secrets) = connection.dangerous_into_kernel_connection().unwrap().0.tx;
        let rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite was chosen")
        };
        let algorithm = &aws_lc_rs::aead::AES_256_GCM;
        let key = aws_lc_rs::aead::UnboundKey::new(algorithm, key.as_ref()).unwrap();
        Self { key: aws_lc_rs::aead::LessSafeKey::new(key), iv, number }
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = rustls::crypto::cipher::Nonce::new(&self.iv, self.number).0;
        self.number += 1;
        let mut sealed = [content, &[22]].concat();
        let [high, low] = u16::try_from(sealed.len() + 16).unwrap().to_be_bytes();
        let head = [23, 3, 3, high, low];
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(head));
        self.key.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        [&head[..], &sealed].concat()
    }
}

/// Who has shaken hands may have new keys, and keeps nothing long in the memory of whoever parks it.
#[test]
fn behind_the_handshake_next_to_nothing_is_kept() {
    let (certificate, key) = pems(&["a.example"]);
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let trusts = Authorities::from_pem(certificate.as_bytes()).unwrap();
    let config =
        AcceptorConfig { identities: vec![Arc::new(identity)], ..AcceptorConfig::default() };
    let acceptor = Acceptor::new(config).unwrap();
    let mut server = acceptor.accept().unwrap();
    let mut client = Forger::meet(&mut server, &trusts);
    // key_update, update_not_requested: each of its bytes a record.
    for byte in [24, 0, 0, 1, 0] {
        assert!(server.parts() <= TLS_PARTS_OWN);
        show(&mut server, &client.seal(&[byte])).2.unwrap();
    }
    assert_eq!(server.parts(), 0);
    let mut server = acceptor.accept().unwrap();
    let mut client = Forger::meet(&mut server, &trusts);
    let (said, _, end) =
        show(&mut server, &client.seal(&[&[24, 0, 0xff, 0xff][..], &[7; 5000]].concat()));
    assert_eq!((end, server.parts()), (Err(Failure::TooLarge), 0));
    assert!(said.len() > 20 && said[0] == 23, "a sealed alert: {said:?}");
}

/// Whatever comes together with an end: it is none of the session's, and no fault of its own.
#[test]
fn what_comes_behind_an_end_is_not_kept() {
    for versions in [TLS12, TLS13] {
        let pair = Pair::new(|server, _| server.versions = versions);
        let (mut server, mut client) = pair.meet();
        assert_eq!(shake(&mut server, &mut client), [Ok(()), Ok(())]);
        let mut memory = [0; 64];
        let mut output = Output::new(&mut memory);
        client.close(&mut output).unwrap();
        let mut together = output.bytes().to_vec();
        for _ in 0..20 {
            together.extend_from_slice(&[&[23, 3, 3, 4, 0][..], &[7; 1024]].concat());
        }
        let mut output = Output::new(&mut memory);
        let read = server.read(&mut together, &mut output, |_| panic!("it is heard"));
        assert_eq!(read, Ok(Found { bytes: 0, closed: true }), "{versions:?}");
        assert_eq!((server.parts(), output.bytes()), (0, &[][..]));
    }
}

/// What a parked client costs: law 3 has it counted.
#[test]
fn a_session_at_rest_is_small() {
    for (versions, most) in [(TLS12, 2600), (TLS13, 2600)] {
        let pair =
            Pair::new(|server, client| (server.versions, client.versions) = (versions, versions));
        let mut kept = Vec::with_capacity(64);
        let mut bytes = 0;
        for _ in 0..3 {
            let mut client = pair.connector.connect("a.example").unwrap();
            let mut server = None;
            let mut to_server = hello(&mut client);
            let mut sum = 0;
            while !to_server.is_empty() {
                let mut to_client = Vec::with_capacity(16 << 10);
                let mut memory = vec![0; 64 << 10];
                let mut input = to_server.clone();
                sum += allocation_counter::measure(|| {
                    let server =
                        server.get_or_insert_with(|| Box::new(pair.acceptor.accept().unwrap()));
                    let mut at = 0;
                    while let Record::Whole(len) = next_record(&input[at..]) {
                        let mut output = Output::new(&mut memory);
                        server.read(&mut input[at..at + len], &mut output, |_| ()).unwrap();
                        to_client.extend_from_slice(output.bytes());
                        at += len;
                    }
                })
                .bytes_current;
                to_server = show(&mut client, &to_client).0;
            }
            bytes = sum;
            kept.push(server);
        }
        assert!(bytes < most, "{versions:?}: {bytes} bytes");
    }
}
