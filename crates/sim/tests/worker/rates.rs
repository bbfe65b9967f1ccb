//! What one address may have, and how slow a client may be.

use std::sync::Arc;
use std::time::Duration;

use exchange::{Passing, Refusal};
use proxies::security::{LimitRules, Limits, Rate};
use sim::Peer;
use worker::{CloseReason, LeastRate, Letter};

use crate::house::{GET, House, OK, Setting, status, text};

const FREE: LimitRules = LimitRules {
    connections: None,
    connection_rate: None,
    request_rate: None,
    prefixes: [32, 64],
    addresses: 1024,
};

fn setting(rules: LimitRules) -> Setting {
    let limits = Some(Arc::new(Limits::new(rules, 7)));
    Setting { limits, access: Some(16 << 10), ..Setting::default() }
}

fn per_second(count: u32) -> Rate {
    Rate { count, period: Duration::from_secs(1) }
}

fn answer(house: &mut House) {
    let server = house.server();
    server.write_all(OK);
    server.end();
    house.settle();
}

#[test]
fn connections_of_an_address_are_bounded_and_free_again_however_they_end() {
    let mut house = House::new(&Setting {
        persistent: false,
        workers: 2,
        ..setting(LimitRules { connections: Some(3), ..FREE })
    });
    for round in 0..3 {
        let here: Vec<Peer> = (0..3).map(|_| house.client_from("10.0.0.1")).collect();
        assert!(house.client_from("10.0.0.1").is_reset());
        assert!(!house.client_from("10.0.0.2").is_closed(), "another one's are its own");
        assert!(here.iter().all(|client| !client.is_closed()));
        // Each leaves in its own way: parked, in the middle, refused.
        here[0].end();
        house.exchange(&here[1], "GET / HT");
        here[1].reset();
        house.exchange(&here[2], "nonsense\r\n\r\n");
        assert_eq!(status(&text(&here[2])), 400);
        house.settle();
        assert_eq!(house.closed(CloseReason::AddressLimit), round + 1);
    }
    house.assert_quiet();
}

/// Of IPv6 a /64 is one address.
#[test]
fn networks_of_ipv6_are_one_address_and_tunnels_are_connections() {
    let mut house = House::new(&Setting {
        passing: Some(Passing::default()),
        ..setting(LimitRules { connections: Some(1), ..FREE })
    });
    let client = house.client_from("2001:db8::1");
    let server = house.server();
    house.settle();
    assert!(house.client_from("2001:db8::2").is_reset());
    assert!(!house.client_from("2001:db8:0:1::1").is_closed());
    server.reset();
    house.settle();
    assert!(client.is_closed());
    assert!(!house.client_from("2001:db8::2").is_closed());
}

#[test]
fn who_connects_too_often_is_reset_and_logged() {
    let mut house =
        House::new(&setting(LimitRules { connection_rate: Some(per_second(2)), ..FREE }));
    for _ in 0..2 {
        house.client_from("10.0.0.1").end();
    }
    assert!(house.client_from("10.0.0.1").is_reset());
    assert!(!house.client_from("10.0.0.2").is_closed());
    house.pass(Duration::from_millis(500));
    assert!(!house.client_from("10.0.0.1").is_closed());
    assert_eq!(house.closed(CloseReason::Rate), 1);
    let lines = house.log(|record| (record.peer, record.closed));
    assert_eq!(lines, [(Some([10, 0, 0, 1].into()), Some(CloseReason::Rate))]);
}

#[test]
fn who_asks_too_often_is_told_so_and_kept_if_the_request_is_whole() {
    let rules = LimitRules { request_rate: Some(per_second(2)), ..FREE };
    let mut house = House::new(&Setting { persistent: false, ..setting(rules) });
    let client = house.client_from("10.0.0.1");
    for _ in 0..2 {
        house.exchange(&client, GET);
        answer(&mut house);
        assert_eq!(status(&text(&client)), 200);
    }
    house.exchange(&client, GET);
    let told = text(&client);
    assert_eq!(status(&told), 429);
    assert!(told.contains("Retry-After: 1\r\n") && !told.contains("Connection: close"), "{told}");
    // Other connections of it ask as little, and other addresses ask what they like.
    let second = house.client_from("10.0.0.1");
    house.exchange(&second, GET);
    assert_eq!(status(&text(&second)), 429);
    let other = house.client_from("10.0.0.2");
    house.exchange(&other, GET);
    answer(&mut house);
    assert_eq!(status(&text(&other)), 200);
    // What of a body is still to come is not waited for.
    let post = house.client_from("10.0.0.1");
    house.exchange(&post, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\nab");
    let told = text(&post);
    assert!(status(&told) == 429 && told.contains("Connection: close"), "{told}");
    house.pass(Duration::from_secs(1));
    house.exchange(&client, GET);
    answer(&mut house);
    assert_eq!(status(&text(&client)), 200, "its connection was kept");
    assert_eq!(house.sum(|c| c.refusals[Refusal::Rate as usize].get()), 3);
    // Pipelined ones count each.
    house.pass(Duration::from_secs(2));
    house.exchange(&client, &GET.repeat(4));
    answer(&mut house);
    answer(&mut house);
    let told = text(&client);
    assert_eq!((told.matches(" 200 ").count(), told.matches(" 429 ").count()), (2, 2), "{told}");
    house.assert_quiet();
}

#[test]
fn a_worker_that_is_gone_holds_nobodys_places() {
    let setting = setting(LimitRules { connections: Some(1), ..FREE });
    let limits = setting.limits.clone().expect("there are limits");
    let mut house = House::new(&setting);
    let parked = house.client_from("10.0.0.1");
    house.order(|| Letter::Stop);
    drop(house);
    assert!(parked.is_closed());
    assert_eq!(limits.enter([10, 0, 0, 1].into(), base::time::Instant(0)), Ok(()));
}

fn least(bytes: u32) -> Setting {
    let least_rate = Some(LeastRate { bytes, over: Duration::from_secs(5) });
    Setting { least_rate, ..Setting::default() }
}

/// Sends some bytes every so often, until they are answered; how long that took, and the status.
fn dribble(
    house: &mut House,
    client: &Peer,
    each: Duration,
    bytes: usize,
) -> Option<(Duration, u16)> {
    let began = house.world.now();
    for _ in 0..200 {
        client.write_all(&vec![b'x'; bytes]);
        house.settle();
        let answer = text(client);
        if !answer.is_empty() {
            return Some((house.world.now().since(began), status(&answer)));
        }
        house.pass(each);
    }
    None
}

#[test]
fn heads_and_bodies_that_dribble_are_ended_long_before_their_deadlines() {
    let second = Duration::from_secs(1);
    let start = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\n";
    for begun in ["GET /a HTTP/1.1\r\nX: ", start] {
        let mut house = House::new(&least(100));
        let client = house.client();
        house.exchange(&client, begun);
        // What came fast at first is no credit for the second look.
        let (took, told) = dribble(&mut house, &client, second, 20).expect("it is ended");
        assert!((Duration::from_secs(5)..=Duration::from_secs(11)).contains(&took), "{took:?}");
        assert_eq!(told, 408);
        house.pass(Duration::from_secs(10));
        house.assert_quiet();
    }
    // One that is fast enough takes its time.
    let mut house = House::new(&least(100));
    let client = house.client();
    house.exchange(&client, start);
    assert_eq!(dribble(&mut house, &client, second, 110), None);
    assert!(!client.is_closed());
    house.order(|| Letter::Stop);
}

/// A client does nothing wrong while nobody receives from it.
#[test]
fn waiting_for_a_buffer_is_not_slowness() {
    let mut house = House::new(&Setting { buffers: 8, exchange_memory: 8 << 10, ..least(1000) });
    let clients: Vec<Peer> = (0..12).map(|_| house.client()).collect();
    for client in &clients {
        client.write_all(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 6000\r\n\r\n");
        client.write_all(&[b'x'; 6000]);
    }
    house.settle();
    house.pass(Duration::from_secs(20));
    let slow = house.sum(|c| c.refusals[Refusal::Slow as usize].get());
    assert_eq!(slow, 0, "what is there was sent at once");
    house.order(|| Letter::Stop);
}
