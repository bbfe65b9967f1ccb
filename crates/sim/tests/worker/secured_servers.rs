//! Secured connections to servers.

use std::time::Duration;

use base::id::ServerId;
use tls::{Authorities, Connector, ConnectorConfig, Failure, Trust, Versions};
use worker::ServerTls;

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{End, acceptor, connector, setting};

pub(crate) fn to_servers() -> Setting {
    let server = ServerTls { connector: connector(), name: "a.example".into() };
    Setting { secured_servers: vec![Some(server)], connections: 1, ..Setting::default() }
}

/// RFC 9112 §9.8, to both sides.
#[test]
fn who_ends_a_connection_says_so_first() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.say(&mut house, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&client.text(&mut house)), 200);
    assert!(client.closed && client.peer.has_ended());

    let mut house = House::new(&Setting { persistent: false, ..to_servers() });
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::server(&mut house);
    server.text(&mut house);
    let answer = server.sealed(OK);
    server.peer.write_all(&answer);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.pass(Duration::from_secs(5));
    server.hear(&mut house);
    assert!(server.closed && server.peer.has_ended());
}

#[test]
fn a_server_is_asked_over_tls() {
    let mut house = House::new(&to_servers());
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::server(&mut house);
    for turn in 0..3 {
        let request = server.text(&mut house);
        assert!(request.starts_with("GET /a HTTP/1.1\r\n"), "{request}");
        let answer = server.sealed(OK);
        server.peer.write_all(&answer);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        house.assert_quiet();
        if turn < 2 {
            house.exchange(&client, GET);
        }
    }
    assert_eq!(house.world.most_connections_to(ServerId(0)), 1, "tickets are no unasked words");
}

#[test]
fn a_server_whose_certificate_is_not_believed_is_not_asked() {
    let mut setting = to_servers();
    let other = rcgen::CertificateParams::new(vec!["a.example".to_owned()]);
    let key = rcgen::KeyPair::generate().unwrap();
    let other = other.unwrap().self_signed(&key).unwrap().pem();
    let config = ConnectorConfig {
        trust: Trust::Authorities(Authorities::from_pem(other.as_bytes()).unwrap()),
        identity: None,
        versions: Versions::default(),
        sni: true,
        alpn: Vec::new(),
    };
    let connector = Connector::new(config).unwrap();
    setting.secured_servers = vec![Some(ServerTls { connector, name: "a.example".into() })];
    let mut house = House::new(&setting);
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::new(house.server(), acceptor(Versions::default()).accept().unwrap());
    server.hear(&mut house);
    assert_eq!(server.failed, Some(Failure::Alert));
    assert!(server.heard.is_empty(), "not a byte of the request");
    house.pass(Duration::from_secs(40));
    assert_eq!(status(&text(&client)), 502);
    let failed = house.sum(|c| c.tls_server_failures[Failure::Certificate as usize].get());
    assert!(failed > 0);
    house.assert_quiet();
}

/// A response that ends where the connection ends is whole only if the server says so (RFC 9112 §8).
#[test]
fn a_response_that_is_cut_is_not_passed_off_as_whole() {
    for says_goodbye in [false, true] {
        let mut house = House::new(&to_servers());
        let client = house.client();
        house.exchange(&client, GET);
        let mut server = End::server(&mut house);
        server.text(&mut house);
        server.say(&mut house, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
        if says_goodbye {
            server.goodbye(&mut house);
        }
        server.peer.end();
        house.settle();
        let response = text(&client);
        assert_eq!(response.ends_with("0\r\n\r\n"), says_goodbye, "{response}");
        house.pass(Duration::from_secs(5));
        house.assert_quiet();
    }
}

/// A server that answers early and closes over what it did not read resets: its answer came first.
#[test]
fn an_early_answer_before_a_reset_is_passed_on() {
    let mut house = House::new(&Setting { stream: true, ..to_servers() });
    let client = house.client();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    client.write_all(head.as_bytes());
    client.write_all(&[b'x'; 1000]);
    house.settle();
    let mut server = End::server(&mut house);
    assert!(server.text(&mut house).starts_with("POST / "));
    let answer = server.sealed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    server.peer.write_all(&answer);
    server.peer.close();
    house.settle();
    assert_eq!(status(&text(&client)), 401);
    client.reset();
    house.pass(Duration::from_secs(5));
    house.assert_quiet();
}
