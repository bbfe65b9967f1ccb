//! The PROXY protocol: whose connection it is, said to us and by us.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::id::{ListenerId, ServerId};
use driver::ConnectFault;
use exchange::{Names, Passing, Refusal};
use proxies::security::{AccessList, Verdict};
use sim::{ServerMode, WorldConfig};
use wire::proxy_protocol::{Version, write_header};
use worker::{Balancers, CloseReason, Letter, Screening};

use crate::house::{GET, House, OK, Setting, status, text};

const BALANCER: &str = "10.0.0.1";
const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n";

fn list(nets: &[&str], verdict: Verdict, otherwise: Verdict) -> AccessList {
    let entries: Vec<_> =
        nets.iter().map(|net| (net.parse().expect("a network"), verdict)).collect();
    AccessList::new(&entries, otherwise)
}

/// From 10.0.0.0/8 headers are required; 203.0.113.0/24 is denied.
fn setting(required: bool) -> Setting {
    let addresses = list(&["10.0.0.0/8"], Verdict::Allow, Verdict::Deny);
    Setting {
        screening: Screening {
            list: Some(Arc::new(list(&["203.0.113.0/24"], Verdict::Deny, Verdict::Allow))),
            balancers: Some(Arc::new(Balancers { addresses, unix: false, required })),
            trusted: None,
        },
        access: Some(16 << 10),
        ..Setting::default()
    }
}

/// Who is named in the access log, and how each ended.
fn logged(house: &mut House) -> Vec<(Option<IpAddr>, Option<CloseReason>)> {
    house.log(|record| (record.peer, record.closed))
}

#[test]
fn the_header_says_who_the_client_is_in_whatever_pieces_it_comes() {
    let client: IpAddr = [192, 0, 2, 7].into();
    for piece in [1, 2, 5, 30, HEADER.len(), HEADER.len() + 3, 1000] {
        let mut house = House::new(&setting(true));
        let peer = house.client_from(BALANCER);
        assert_eq!(house.sum(|c| c.clients_active.get()), 1, "it is not parked");
        let all = format!("{HEADER}{GET}");
        for part in all.as_bytes().chunks(piece) {
            peer.write_all(part);
            house.settle();
        }
        let server = house.server();
        house.settle();
        let request = text(&server);
        assert!(request.contains("Forwarded: for=192.0.2.7;"), "{request}");
        assert!(request.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{request}");
        assert!(!request.contains("10.0.0.1"), "{request}");
        server.write_all(OK);
        house.settle();
        assert_eq!(status(&text(&peer)), 200);
        // It is this client's for as long as it lives: the next request has no header.
        house.exchange(&peer, GET);
        assert!(text(&server).contains("192.0.2.7"));
        server.write_all(OK);
        house.settle();
        assert_eq!(logged(&mut house), [(Some(client), None), (Some(client), None)]);
        house.assert_quiet();
    }
}

#[test]
fn a_header_without_a_client_leaves_the_connection_its_own() {
    let unknown = write_header(Version::V1, None);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for header in [&unknown[..], local] {
        let mut house = House::new(&setting(true));
        let peer = house.client_from(BALANCER);
        peer.write_all(header);
        house.exchange(&peer, GET);
        let server = house.server();
        assert!(text(&server).contains("10.0.0.1"));
        server.write_all(OK);
        house.settle();
        house.assert_quiet();
    }
}

/// The unspecified address is nobody's. It must not pass for a client on a Unix socket, whom no
/// list concerns.
#[test]
fn a_header_that_names_no_address_does_not_evade_the_list() {
    let headers = [
        "PROXY TCP4 0.0.0.0 198.51.100.1 5000 443\r\n",
        "PROXY TCP6 :: ::1 5000 443\r\n",
        "PROXY TCP6 ::ffff:0.0.0.0 ::1 5000 443\r\n",
    ];
    for (header, allowed) in headers.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut setting = setting(true);
        let nets = if allowed { ["192.0.2.0/24", "10.0.0.0/8"] } else { ["192.0.2.0/24"; 2] };
        setting.screening.list = Some(Arc::new(list(&nets, Verdict::Allow, Verdict::Deny)));
        let mut house = House::new(&setting);
        let peer = house.client_from(BALANCER);
        peer.write_all(header.as_bytes());
        house.exchange(&peer, GET);
        if allowed {
            let server = house.server();
            assert!(text(&server).contains("10.0.0.1"), "the connection is its own");
            server.write_all(OK);
            house.settle();
            assert_eq!(logged(&mut house), [(BALANCER.parse().ok(), None)]);
        } else {
            assert!(peer.is_reset(), "{header}");
            assert_eq!(logged(&mut house), [(BALANCER.parse().ok(), Some(CloseReason::Denied))]);
        }
        house.assert_quiet();
    }
}

#[test]
fn what_waits_for_its_header_holds_nothing_and_not_for_ever() {
    let mut house = House::new(&setting(true));
    let (silent, slow, gone, ended) = (
        house.client_from(BALANCER),
        house.client_from(BALANCER),
        house.client_from(BALANCER),
        house.client_from(BALANCER),
    );
    slow.write_all(b"PROXY TCP4 192.0.2.7");
    gone.write_all(b"PROXY");
    ended.write_all(b"PROXY TC");
    house.settle();
    ended.end();
    gone.reset();
    house.settle();
    assert!(ended.is_closed() && house.closed(CloseReason::ProxyHeader) == 1);
    assert_eq!(house.closed(CloseReason::Client), 1);
    assert_eq!(house.sum(|c| c.buffers_free_min.get()), 64, "nothing was lent");
    house.pass(Duration::from_secs(20));
    slow.write_all(b" 198");
    house.pass(Duration::from_secs(9));
    assert!(!silent.is_closed() && !slow.is_closed());
    house.pass(Duration::from_secs(2));
    assert!(silent.is_reset() && slow.is_reset(), "a piece wins no time");
    assert_eq!(house.closed(CloseReason::Timeout), 2);
    let reasons: Vec<_> = logged(&mut house).into_iter().map(|(_, closed)| closed).collect();
    let late = Some(CloseReason::Timeout);
    assert_eq!(reasons, [Some(CloseReason::ProxyHeader), late, late]);
    house.assert_quiet();
}

#[test]
fn what_is_malformed_or_comes_from_a_stranger_ends_that_connection_alone() {
    let mut house = House::new(&setting(true));
    let bystander = house.client_from(BALANCER);
    bystander.write_all(HEADER.as_bytes());
    let malformed = house.client_from(BALANCER);
    house.exchange(&malformed, GET);
    assert!(malformed.is_reset() && text(&malformed).is_empty());
    let stranger = house.client_from("198.51.100.9");
    assert!(stranger.is_reset(), "though it said nothing");
    let denied = house.client_from(BALANCER);
    denied.write_all(b"PROXY TCP4 203.0.113.5 198.51.100.1 5000 443\r\n");
    house.exchange(&denied, GET);
    assert!(denied.is_reset());
    for reason in [CloseReason::ProxyHeader, CloseReason::Untrusted, CloseReason::Denied] {
        assert_eq!(house.closed(reason), 1, "{reason:?}");
    }
    let lines = logged(&mut house);
    assert_eq!(
        lines,
        [
            (BALANCER.parse().ok(), Some(CloseReason::ProxyHeader)),
            (Some([198, 51, 100, 9].into()), Some(CloseReason::Untrusted)),
            (Some([203, 0, 113, 5].into()), Some(CloseReason::Denied)),
        ]
    );
    house.exchange(&bystander, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&bystander)), 200);
    house.assert_quiet();
}

#[test]
fn strangers_may_be_served_under_their_own_address() {
    let mut house = House::new(&setting(false));
    let stranger = house.client_from("198.51.100.9");
    house.exchange(&stranger, GET);
    let server = house.server();
    assert!(text(&server).contains("198.51.100.9"));
    server.write_all(OK);
    house.settle();
    // A header of theirs is no header.
    let liar = house.client_from("198.51.100.10");
    house.exchange(&liar, &format!("{HEADER}{GET}"));
    assert_eq!(status(&text(&liar)), 400);
    assert!(house.client_from("203.0.113.5").is_reset());
    house.assert_quiet();
}

/// A new list does not judge a balancer by its own address, and judges its clients by theirs.
#[test]
fn a_new_list_counts_for_whom_the_header_names() {
    let mut house = House::new(&setting(true));
    let (waiting, named) = (house.client_from(BALANCER), house.client_from(BALANCER));
    named.write_all(HEADER.as_bytes());
    house.settle();
    let list = Arc::new(list(&["192.0.2.0/24", "10.0.0.0/8"], Verdict::Deny, Verdict::Allow));
    house.order(|| Letter::List { listener: ListenerId(0), list: Arc::clone(&list) });
    assert!(named.is_reset() && !waiting.is_closed());
    waiting.write_all(b"PROXY TCP4 198.51.100.77 198.51.100.1 5000 443\r\n");
    house.settle();
    assert!(!waiting.is_closed());
    house.order(|| Letter::Drain);
    house.pass(Duration::from_secs(40));
    assert!(house.is_over());
}

#[test]
fn a_drain_waits_for_a_header_no_longer_than_its_time() {
    let mut house = House::new(&setting(true));
    let waiting = house.client_from(BALANCER);
    house.order(|| Letter::Drain);
    house.pass(Duration::from_secs(40));
    assert!(waiting.is_closed() && house.is_over());
}

/// What the server is told in front of what the client sends.
fn introducing(version: Version, persistent: bool) -> Setting {
    Setting { introduces: Some(version), persistent, ..Setting::default() }
}

#[test]
fn each_request_is_introduced_on_a_connection_of_its_own() {
    for version in [Version::V1, Version::V2] {
        let mut house = House::new(&introducing(version, false));
        for address in ["192.0.2.1", "2001:db8::1"] {
            let client = house.client_from(address);
            let address: IpAddr = address.parse().expect("an address");
            for _ in 0..2 {
                house.exchange(&client, GET);
                let server = house.server();
                let own = "198.51.100.1:80".parse().expect("an address");
                let header = write_header(version, Some([(address, 40_000).into(), own]));
                let told = server.read();
                assert!(told.starts_with(&header), "{:?}", String::from_utf8_lossy(&told));
                assert!(told[header.len()..].starts_with(b"GET /a HTTP/1.1\r\n"));
                server.write_all(OK);
                server.end();
                house.settle();
                assert_eq!(status(&text(&client)), 200);
            }
        }
        house.assert_quiet();
    }
}

/// A request that goes again is introduced again.
#[test]
fn a_second_attempt_is_introduced_too() {
    let world = WorldConfig { servers: 2, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..introducing(Version::V1, false) });
    let client = house.client();
    house.exchange(&client, GET);
    let both = [ServerId(0), ServerId(1)];
    let accept = |house: &House| both.into_iter().find_map(|server| house.world.accept(server));
    let broken = accept(&house).expect("a connection to a server");
    assert!(text(&broken).starts_with("PROXY "));
    broken.reset();
    house.settle();
    let server = accept(&house).expect("a connection to the other one");
    let told = text(&server);
    assert!(told.starts_with("PROXY ") && told.contains("\r\nGET /a "), "{told}");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn a_tunnel_is_introduced_once_before_the_first_byte_of_either() {
    let passing = |first_byte| Some(Passing { first_byte, names: None::<Names> });
    for first_byte in [false, true] {
        let setting = Setting { passing: passing(first_byte), ..introducing(Version::V1, true) };
        let mut house = House::new(&setting);
        let client = house.client_from("192.0.2.1");
        if first_byte {
            client.write_all(b"hello");
        }
        let server = house.server();
        house.settle();
        let header = "PROXY TCP4 192.0.2.1 198.51.100.1 40000 80\r\n";
        let told = if first_byte { format!("{header}hello") } else { header.to_owned() };
        assert_eq!(text(&server), told);
        client.write_all(b"more");
        house.settle();
        assert_eq!(text(&server), "more");
        client.end();
        server.end();
        house.settle();
        house.assert_quiet();
    }
}

/// Through us whole: from the header that came to the header that goes.
#[test]
fn who_was_introduced_to_us_is_introduced_by_us() {
    let screening = setting(true).screening;
    let mut house = House::new(&Setting {
        screening,
        passing: Some(Passing::default()),
        ..introducing(Version::V2, true)
    });
    let client = house.client_from(BALANCER);
    client.write_all(HEADER.as_bytes());
    client.write_all(b"\x16\x03\x01");
    let server = house.server();
    house.settle();
    let ends = ["192.0.2.7:5000", "198.51.100.1:80"].map(|end| end.parse().expect("an address"));
    let header = write_header(Version::V2, Some(ends));
    assert_eq!(server.read(), [&header[..], b"\x16\x03\x01"].concat());
    client.reset();
    house.settle();
    house.assert_quiet();
}

#[test]
fn a_client_whose_server_is_not_there_is_reset_as_others_are() {
    let setting = Setting { passing: Some(Passing::default()), ..introducing(Version::V1, true) };
    let mut house = House::new(&setting);
    house.world.set_server(ServerId(0), ServerMode::Fails(ConnectFault::Refused));
    let client = house.client();
    house.pass(Duration::from_secs(3));
    assert!(client.is_reset());
    assert_eq!(house.sum(|c| c.refusals[Refusal::Unreachable as usize].get()), 1);
    house.assert_quiet();
}

/// One that cannot be told whose it is was never pinned, nor a stream that ends, nor work for a
/// client.
#[test]
fn a_connection_that_cannot_be_introduced_ends_its_client_alone() {
    for (pipe_bytes, reached) in [(16, false), (64 << 10, true)] {
        let world = WorldConfig { pipe_bytes, ..WorldConfig::default() };
        let passing = Some(Passing::default());
        let mut house = House::new(&Setting { world, passing, ..introducing(Version::V1, true) });
        let client = house.client();
        house.settle();
        assert_eq!(client.is_reset(), !reached);
        let refused = house.sum(|c| c.refusals[Refusal::Unreachable as usize].get());
        assert_eq!(refused, u64::from(!reached));
        client.reset();
        house.assert_quiet();
        assert_eq!(house.counters[0].upstream_seconds.buckets().iter().sum::<u64>(), 0);
    }
}
