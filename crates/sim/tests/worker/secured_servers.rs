//! Secured connections to servers.

use std::time::Duration;

use base::id::ServerId;
use base::limits::TLS_AHEAD_MAX;
use sim::Peer;
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
        max_chain: base::limits::TLS_SERVER_CHAIN,
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

/// What is decrypted before there are buffers for it is bounded, whichever side it comes from (law 3): of
/// servers with long records no more go ahead than may, and the others' stay with the kernel.
#[test]
fn servers_count_among_those_who_are_ahead_of_their_buffers() {
    const STREAMS: usize = 40;
    let (buffers, pinned) = (64, 40);
    let mut house = House::new(&Setting { buffers, pinned, pinned_free: pinned, ..to_servers() });
    let mut streams: Vec<_> = (0..STREAMS).map(|_| stream(&mut house)).collect();
    let event = "y".repeat(16_000);
    for (client, server) in &mut streams {
        client.set_window(0);
        let record = server.sealed(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        server.peer.write_all(&record);
    }
    house.settle();
    let unread = streams.iter().filter(|(_, server)| server.peer.unreceived() > 0).count();
    let with_buffers = usize::try_from(buffers).unwrap() * 2048 / event.len();
    let most = usize::try_from(TLS_AHEAD_MAX).unwrap() + with_buffers;
    assert!(unread > 0 && STREAMS - unread <= most, "{} were read", STREAMS - unread);
    // They go on one after another.
    let mut got = vec![0; STREAMS];
    for _ in 0..200 {
        for (got, (client, _)) in got.iter_mut().zip(&streams) {
            client.set_window(64 << 10);
            *got += text(client).matches('y').count();
        }
        house.settle();
    }
    assert!(got.iter().all(|&got| got == event.len()), "{got:?}");
    for (client, _) in &streams {
        client.reset();
    }
    house.assert_quiet();
}

/// A client whose event stream has begun, and its server's end.
fn stream(house: &mut House) -> (Peer, End) {
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::server(house);
    server.text(house);
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = server.sealed(head.as_bytes());
    server.peer.write_all(&head);
    house.settle();
    assert!(text(&client).contains("text/event-stream"));
    (client, server)
}
