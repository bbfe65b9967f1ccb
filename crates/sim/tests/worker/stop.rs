//! What a worker makes of what it hears of behind the order to stop, in the same turn: nothing.
//!
//! The judge's seed 1795719524668001562, as small cases. Who is parked stays so when a worker stops, until
//! its driver is dropped; whatever such a client says begins an exchange that nobody ends any more.

use base::id::{ListenerId, ServerId};
use exchange::Passing;
use sim::Peer;
use worker::Letter;

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{self, End};

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
const HALF: &str = "POST /next HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab";

/// The last turn of the only worker: behind it, it turns no more.
fn stops(house: &mut House) {
    house.order(|| Letter::Stop);
    assert!(house.is_over());
    house.assert_quiet();
}

/// The server answers in the turn in which the worker stops: the client is parked with its answer, and what
/// it has said meanwhile is heard of behind the order. That is for nobody any more.
fn is_not_served(house: &mut House, server: &Peer) {
    server.write_all(OK);
    stops(house);
    assert!(!text(server).contains("/next"), "a request came through");
    assert!(house.world.accept(ServerId(0)).is_none());
}

/// What a client over TCP says while its first request is answered.
fn says(stream: bool, next: &str) {
    let mut house = House::new(&Setting { stream, ..Setting::default() });
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    assert!(text(&server).starts_with("GET /a"));
    house.exchange(&client, next);
    is_not_served(&mut house, &server);
    assert_eq!(status(&text(&client)), 200, "what was under way came to its end before");
}

#[test]
fn a_request_behind_the_order_to_stop_is_not_served() {
    says(false, NEXT);
}

#[test]
fn half_a_head_behind_the_order_to_stop_is_not_read() {
    says(false, "GET /ne");
}

#[test]
fn half_a_body_behind_the_order_to_stop_is_not_collected() {
    says(false, HALF);
}

#[test]
fn a_body_behind_the_order_to_stop_is_not_streamed() {
    says(true, HALF);
}

#[test]
fn a_request_over_tls_behind_the_order_to_stop_is_not_served() {
    let mut house = House::new(&secured::setting());
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    let server = house.server();
    assert!(text(&server).starts_with("GET /a"));
    client.say(&mut house, NEXT);
    is_not_served(&mut house, &server);
    assert_eq!(status(&client.text(&mut house)), 200);
}

#[test]
fn who_comes_behind_the_order_to_stop_is_not_passed_through() {
    let setting = Setting { passing: Some(Passing::default()), ..Setting::default() };
    let mut house = House::new(&setting);
    let _client = house.world.connect(ListenerId(0));
    stops(&mut house);
}
