//! The life of an exchange, from a parked client to a parked client.

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use sim::WorldConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use worker::Letter;

#[test]
fn a_request_goes_in_complete_and_comes_back_whole() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    assert_eq!(house.sum(|c| c.clients.get()), 1);
    house.exchange(&client, "GET /a HTTP/1.1\r\nHo");
    assert!(house.world.accept(ServerId(0)).is_none(), "half a head is nobody's business");
    house.exchange(&client, "st: h\r\nConnection: x\r\nX: 1\r\n\r\n");
    let server = house.server();
    let request = text(&server);
    assert!(request.starts_with("GET /a HTTP/1.1\r\nHost: h\r\n"), "{request}");
    assert!(!request.contains("X: 1") && request.contains("Via: 1.1 anteroom"), "{request}");
    server.write_all(OK);
    house.settle();
    let response = text(&client);
    assert_eq!(status(&response), 200);
    assert!(response.ends_with("\r\n\r\nok"), "{response}");
    house.assert_quiet();
    assert_eq!(house.sum(|c| c.clients.get()), 1, "the client is parked");
    // Again over the same two connections.
    house.exchange(&client, GET);
    assert!(text(&server).starts_with("GET /a"));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(house.world.most_connections_to(base::id::ServerId(0)), 1);
    house.assert_quiet();
}

#[test]
fn a_slow_body_is_collected_before_the_server_hears_of_it() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: r\r\n".bytes() {
        client.write_all(&[byte]);
        house.pass(Duration::from_secs(1));
        assert_eq!(house.world.connections_to(base::id::ServerId(0)), 0);
    }
    house.exchange(&client, "\r\n");
    let server = house.server();
    let request = text(&server);
    assert!(request.contains("Content-Length: 6\r\n") && request.ends_with("\r\n\r\nhello!"));
    assert!(!request.contains("chunked") && !request.contains("T: r"), "{request}");
    assert!(house.sum(|c| c.trailer_bytes_dropped.get()) > 0);
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    house.settle();
    assert_eq!(status(&text(&client)), 204);
    house.assert_quiet();
}

#[test]
fn the_lease_ends_with_the_responses_last_byte_not_with_the_clients() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let (slow, quick) = (house.client(), house.client());
    slow.set_window(10);
    house.exchange(&slow, GET);
    let server = house.server();
    assert!(text(&server).starts_with("GET"));
    let body = "x".repeat(20_000);
    server.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{body}").as_bytes());
    house.settle();
    house.exchange(&quick, GET);
    assert!(text(&server).starts_with("GET"), "the one connection is free for the next");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&quick)), 200);
    let mut got = String::new();
    while !got.ends_with(&body) && !slow.has_ended() {
        got.push_str(&text(&slow));
        house.settle();
    }
    assert!(got.ends_with(&body));
    house.assert_quiet();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    let post = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let get = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    house.exchange(&client, &format!("{post}{get}{last}"));
    let server = house.server();
    for path in ["/1", "/2", "/3"] {
        let request = text(&server);
        assert!(request.contains(path), "{request}");
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}");
        server.write_all(reply.as_bytes());
        house.settle();
    }
    let all = text(&client);
    let at = |path: &str| all.find(path).unwrap_or_else(|| panic!("{path} is missing: {all}"));
    assert!(at("/1") < at("/2") && at("/2") < at("/3"));
    assert!(client.has_ended());
    house.assert_quiet();
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    client.write_all(GET.as_bytes());
    client.end();
    house.settle();
    let server = house.server();
    assert!(text(&server).starts_with("GET"));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert!(client.has_ended());
    house.assert_quiet();
    assert_eq!(house.sum(|c| c.clients.get()), 0);
}

#[test]
fn a_response_until_close_ends_an_old_clients_connection_and_no_other() {
    for (request, kept) in [(GET, true), ("GET /a HTTP/1.0\r\n\r\n", false)] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, request);
        let server = house.server();
        let _ = text(&server);
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it");
        server.end();
        house.settle();
        let response = text(&client);
        let body = if kept { "9\r\nall of it\r\n0\r\n\r\n" } else { "all of it" };
        assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
        assert_eq!(client.has_ended(), !kept);
        house.assert_quiet();
    }
}

#[test]
fn an_early_answer_stops_the_upload() {
    let world = WorldConfig { pipe_bytes: 4_096, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..Setting::default() });
    let client = house.client();
    house.exchange(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n");
    let mut left = 50_000;
    while left > 0 {
        left -= client.write(&vec![b'x'; left]);
        house.settle();
    }
    let server = house.server();
    server.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    house.settle();
    assert_eq!(status(&text(&client)), 413);
    assert!(server.is_closed(), "a half-written request leaves its connection unusable");
    assert!(!client.is_closed(), "the client's request was whole");
    house.assert_quiet();
}

/// A server that says `Connection: close` has room for the next connection only when it has
/// closed this one: until then it is not opened.
#[test]
fn the_next_connection_waits_until_the_server_closed_the_last_one() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let (first, second) = (house.client(), house.client());
    house.exchange(&first, GET);
    house.exchange(&second, GET);
    let server = house.server();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    house.settle();
    assert_eq!(status(&text(&first)), 200);
    assert!(house.world.accept(ServerId(0)).is_none());
    assert!(!text(&server).is_empty() && server.has_ended(), "it is told that we are done");
    server.close();
    house.settle();
    let next = house.server();
    next.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&second)), 200);
    // One that does not close is not waited for for ever.
    house.exchange(&first, GET);
    next.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    house.exchange(&second, GET);
    house.pass(Duration::from_secs(2));
    assert!(next.is_closed());
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&second)), 200);
    house.assert_quiet();
}

/// Law 6: a connection that came from another worker parts with its server as one of ours does,
/// though it never carried a request here.
#[test]
fn a_connection_that_came_from_another_worker_parts_with_its_server() {
    let mut house = House::new(&Setting { workers: 2, connections: 1, ..Setting::default() });
    let first = house.client_of(0);
    house.exchange(&first, GET);
    let server = house.server();
    assert!(!text(&server).is_empty());
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&first)), 200);
    let second = house.client_of(1);
    second.write_all(GET.as_bytes());
    // The second worker asks for the connection, and its client is gone before that arrives.
    house.workers[1].turn();
    second.reset();
    house.settle();
    assert!(house.world.accept(ServerId(0)).is_none());
    assert_eq!(text(&server), "");
    let addresses: Arc<[SocketAddr]> = [([192, 0, 2, 9], 80).into()].into();
    house.order(|| Letter::Addresses { server: ServerId(0), addresses: addresses.clone() });
    house.settle();
    assert!(server.has_ended() && !server.is_closed(), "the server's own end is awaited");
    server.end();
    house.settle();
    assert!(server.is_closed());
}
