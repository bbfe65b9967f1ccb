//! Peers that break the rules of TLS: what they send harms nobody, and takes no more memory than there
//! is for it (law 3).

use std::time::Duration;

use base::limits::{TLS_PARTS_ALL, TLS_PARTS_SHORT, TLS_UNSIGNED_ALL};
use tls::{
    Acceptor, AcceptorConfig, Authorities, ClientAuth, Connector, ConnectorConfig, Failure, Output,
    Trust, Versions,
};
use worker::TlsPlan;

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{End, certificate, failures, identity, is_answered, setting};
use crate::secured_servers::to_servers;

fn server_failures(house: &House, failure: Failure) -> u64 {
    house.sum(|c| c.tls_server_failures[failure as usize].get())
}

/// Records of a type or version that nobody speaks, though their seals are whole, are read by nobody,
/// and neither are those behind them.
#[test]
fn what_is_no_record_delivers_nothing() {
    for (at, byte) in [(0, 24), (1, 0xfe), (1, 0)] {
        for buffers in [8, 64] {
            let setting =
                Setting { buffers, exchange_memory: 6 << 10, connections: 1, ..setting() };
            let mut house = House::new(&setting);
            let mut client = End::client(&mut house);
            let mut sealed = client.sealed(&[b'x'; 16_000]);
            sealed[at] = byte;
            for _ in 0..3 {
                sealed.extend(client.sealed(GET.as_bytes()));
            }
            client.peer.write_all(&sealed);
            house.settle();
            client.hear(&mut house);
            assert_eq!(client.failed, Some(Failure::Alert), "decode_error");
            assert!(client.heard.is_empty(), "nothing was asked");
            assert_eq!(failures(&house, Failure::Protocol), 1);
            client.peer.reset();
            house.settle();
            house.assert_quiet();
            assert_eq!(house.sum(|c| c.clients.get()), 0);
        }
    }
}

/// The same in a handshake: what stands behind the record is not read.
#[test]
fn what_is_no_record_ends_a_handshake() {
    let mut house = House::new(&setting());
    let client = house.client();
    client.write_all(&[24, 3, 3, 0, 1, 0, 22, 3, 3]);
    house.settle();
    assert_eq!(client.read(), [21, 3, 3, 0, 2, 2, 50], "decode_error");
    assert_eq!(failures(&house, Failure::Protocol), 1);
}

/// Strangers that begin long messages and do not end them hold what is set aside for that, together.
#[test]
fn messages_in_parts_are_kept_as_far_as_memory_is_set_aside() {
    let mut house = House::new(&Setting { max_clients: 300, buffers: 1024, ..setting() });
    let kept = |house: &House| usize::try_from(house.sum(|c| c.tls_parts_bytes.get())).unwrap();
    let mut message = vec![0; TLS_PARTS_SHORT - 2500];
    message[..4].copy_from_slice(&[1, 0, 0xff, 0xff]);
    let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
    let hello = [&[22, 3, 1, high, low][..], &message].concat();
    let strangers = 2 * TLS_PARTS_ALL / hello.len();
    let strangers: Vec<_> = (0..strangers)
        .map(|_| {
            let stranger = house.client();
            stranger.write_all(&hello);
            house.settle();
            assert!(kept(&house) <= TLS_PARTS_ALL);
            stranger
        })
        .collect();
    assert!(kept(&house) > TLS_PARTS_ALL - hello.len());
    let refused = strangers.iter().filter(|it| it.read() == [21, 3, 3, 0, 2, 2, 50]).count();
    assert!(refused > 0 && refused < strangers.len());
    assert_eq!(failures(&house, Failure::TooLarge), refused as u64);
    // Who sends whole messages is not concerned.
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    is_answered(&mut house, &mut client, "\r\n\r\n");
    // A longer message than any hello is refused, whoever else is there.
    let kept_one = strangers.iter().find(|it| !it.has_ended()).unwrap();
    kept_one.write_all(&hello);
    house.settle();
    assert_eq!(kept_one.read(), [21, 3, 3, 0, 2, 2, 50]);
    house.pass(Duration::from_secs(20));
    assert_eq!(kept(&house), 0, "each had its time");
}

/// Strangers that are asked for a certificate and say nothing more: what was said is kept until they do, with
/// all of a long hello, and there is so much memory for that.
#[test]
fn handshakes_that_nobody_signs_are_kept_as_far_as_memory_is_set_aside() {
    let trusts = Authorities::from_pem(certificate().as_bytes()).unwrap();
    let acceptor = Acceptor::new(AcceptorConfig {
        identities: vec![identity()],
        clients: ClientAuth::Optional(trusts.clone()),
        ..AcceptorConfig::default()
    });
    let tls = TlsPlan { acceptor: Some(acceptor.unwrap()), ..TlsPlan::default() };
    let mut house =
        House::new(&Setting { max_clients: 300, buffers: 4096, tls, ..Setting::default() });
    let kept = |house: &House| usize::try_from(house.sum(|c| c.tls_parts_bytes.get())).unwrap();
    let connector = Connector::new(ConnectorConfig {
        trust: Trust::Authorities(trusts),
        max_chain: base::limits::TLS_SERVER_CHAIN,
        identity: None,
        versions: Versions::default(),
        sni: true,
        alpn: (1..60).map(|n| vec![n; 200]).collect(),
    });
    let connector = connector.unwrap();
    let strangers: Vec<_> = (0..280)
        .map(|_| {
            let mut memory = vec![0; 32 << 10];
            let mut output = Output::new(&mut memory);
            connector.connect("a.example").unwrap().begin(&mut output).unwrap();
            let stranger = house.client();
            stranger.write_all(output.bytes());
            house.settle();
            assert!(kept(&house) <= TLS_UNSIGNED_ALL);
            stranger
        })
        .collect();
    assert!(kept(&house) > TLS_UNSIGNED_ALL - (32 << 10));
    let refused = failures(&house, Failure::TooLarge);
    let told = strangers.iter().filter(|it| !it.read().is_empty() && it.has_ended()).count();
    assert!(refused > 0 && told as u64 == refused && told < strangers.len(), "{refused}, {told}");
    // Who is brief is not concerned.
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    is_answered(&mut house, &mut client, "\r\n\r\n");
    house.pass(Duration::from_secs(20));
    assert_eq!(kept(&house), 0, "each had its time");
}

/// A server that breaks a rule while nobody asks it anything is found out before it is asked.
#[test]
fn an_idle_server_that_breaks_a_rule_is_not_asked() {
    for (what, failed) in [(&[24, 3, 3, 0, 1, 0][..], 1), (&[23, 3, 3, 0, 60, 0], 0)] {
        let mut house = House::new(&to_servers());
        let client = house.client();
        house.exchange(&client, GET);
        let mut server = End::server(&mut house);
        server.text(&mut house);
        let answer = server.sealed(OK);
        server.peer.write_all(&answer);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        server.peer.write_all(what);
        if failed > 0 {
            house.settle();
        }
        house.exchange(&client, GET);
        let mut other = End::server(&mut house);
        assert!(other.text(&mut house).starts_with("GET "), "{what:?}");
        let answer = other.sealed(OK);
        other.peer.write_all(&answer);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        assert_eq!(server_failures(&house, Failure::Protocol), failed);
        assert_eq!(house.sum(|c| c.retries.get()), 0, "it was known in time");
    }
}
