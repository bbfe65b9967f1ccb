//! What goes wrong, and whom it harms.

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use sim::{ServerMode, WorldConfig};
use std::time::Duration;
use worker::{CloseReason, Letter, Timeouts};

#[test]
fn deadlines_of_the_client() {
    let mut house = House::new(&Setting::default());
    let (silent, head, body) = (house.client(), house.client(), house.client());
    house.exchange(&head, "GET / HTTP/1.1\r\n");
    house.exchange(&body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123");
    house.pass(Duration::from_secs(29));
    assert_eq!(house.sum(|c| c.clients_active.get()), 2);
    // Progress helps a body, not a head.
    house.exchange(&head, "Host: h\r\n");
    house.exchange(&body, "4");
    house.pass(Duration::from_secs(2));
    assert_eq!(status(&text(&head)), 408);
    assert_eq!(text(&body), "");
    house.pass(Duration::from_secs(30));
    assert_eq!(status(&text(&body)), 408);
    house.pass(Duration::from_hours(1));
    assert!(silent.is_closed());
    assert_eq!(house.closed(CloseReason::Idle), 1);
    house.assert_quiet();
    assert_eq!(house.sum(|c| c.clients.get()), 0);
}

#[test]
fn deadlines_of_the_server() {
    let mut house = House::new(&Setting { connections: 4, ..Setting::default() });
    let (early, late) = (house.client(), house.client());
    house.exchange(&early, GET);
    let first = house.server();
    house.exchange(&late, GET);
    let second = house.server();
    second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    house.pass(Duration::from_secs(61));
    assert_eq!(status(&text(&early)), 504);
    assert!(text(&late).ends_with("half"));
    assert!(late.is_closed(), "a response that stays incomplete is told by the end");
    house.settle();
    assert!(first.is_closed() && second.is_closed());
    house.assert_quiet();
}

/// Of a body that only the connection's end delimits, a cut part must not look like all of it.
#[test]
fn a_cut_response_until_close_ends_with_a_reset() {
    for (request, framing, reset) in [
        ("GET / HTTP/1.0\r\n\r\n", "\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", "Content-Length: 9\r\n\r\n", false),
        (GET, "\r\n", false),
        (GET, "Transfer-Encoding: chunked\r\n\r\n4\r\n", false),
    ] {
        for taken in [true, false] {
            let mut house = House::new(&Setting::default());
            let client = house.client();
            if !taken {
                client.set_window(5);
            }
            house.exchange(&client, request);
            let server = house.server();
            server.write_all(format!("HTTP/1.1 200 OK\r\n{framing}half").as_bytes());
            house.settle();
            assert!(text(&client).ends_with("half") || !taken);
            server.reset();
            house.settle();
            assert!(client.is_closed());
            assert_eq!(client.is_reset(), reset, "{request:?} {framing:?}");
            house.assert_quiet();
        }
    }
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    client.set_window(0);
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(OK);
    house.pass(Duration::from_secs(61));
    assert!(client.is_closed());
    assert_eq!(house.closed(CloseReason::Timeout), 1);
    house.assert_quiet();
}

#[test]
fn a_request_on_a_connection_closed_while_idle_goes_again_only_if_that_is_safe() {
    for (request, safe) in
        [(GET, true), ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", false)]
    {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, GET);
        let server = house.server();
        let _ = text(&server);
        server.write_all(OK);
        house.settle();
        let _ = text(&client);
        // The request is on its way when the server closes.
        client.write_all(request.as_bytes());
        house.settle();
        assert!(!text(&server).is_empty(), "the request was written to the idle connection");
        server.reset();
        house.settle();
        if safe {
            let second = house.server();
            assert!(text(&second).starts_with("GET /a"));
            second.write_all(OK);
            house.settle();
            assert_eq!(status(&text(&client)), 200);
            assert_eq!(house.sum(|c| c.retries.get()), 1);
        } else {
            assert_eq!(status(&text(&client)), 502);
            assert_eq!(house.sum(|c| c.retries.get()), 0);
        }
        house.assert_quiet();
    }
}

#[test]
fn an_idle_connection_that_ended_is_not_used() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    let _ = text(&server);
    server.write_all(OK);
    house.settle();
    let _ = text(&client);
    // Both happen before the worker looks again.
    server.end();
    client.write_all(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    house.settle();
    let second = house.server();
    assert!(text(&second).starts_with("POST /b"), "not a byte was written to the ended one");
    assert_eq!(text(&server), "");
    second.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn nonsense_from_the_server_is_502_and_ends_its_connection() {
    for nonsense in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, GET);
        let server = house.server();
        server.write_all(nonsense.as_bytes());
        house.settle();
        assert_eq!(status(&text(&client)), 502, "{nonsense:?}");
        assert!(server.is_closed());
        assert!(!client.is_closed(), "its request was read well: it may ask again");
        house.assert_quiet();
    }
}

#[test]
fn bytes_behind_a_response_end_the_connection_and_reach_nobody() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
    house.settle();
    assert!(text(&client).ends_with("\r\n\r\nok"));
    assert!(!text(&server).is_empty() && server.has_ended());
    house.exchange(&client, GET);
    assert_eq!(text(&server), "", "it is not used again");
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.pass(Duration::from_secs(2));
    assert!(server.is_closed());
    house.assert_quiet();
}

#[test]
fn a_server_that_hangs_is_given_up_after_connect() {
    let mut house = House::new(&Setting::default());
    house.world.set_server(ServerId(0), ServerMode::Hangs);
    let client = house.client();
    house.exchange(&client, GET);
    house.pass(Duration::from_secs(6));
    assert_eq!(status(&text(&client)), 502);
    house.assert_quiet();
}

#[test]
fn a_reset_client_gives_everything_back_wherever_it_was() {
    let parts = ["GET / HTT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", GET];
    for part in parts {
        let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
        let client = house.client();
        house.exchange(&client, part);
        client.reset();
        house.settle();
        house.assert_quiet();
        assert_eq!(house.sum(|c| c.clients.get()), 0);
        let next = house.client();
        house.exchange(&next, GET);
        while let Some(server) = house.world.accept(ServerId(0)) {
            server.write(OK);
            house.settle();
        }
        assert_eq!(status(&text(&next)), 200, "after {part:?}");
        house.assert_quiet();
    }
}

#[test]
fn too_long_in_the_queue_is_503() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let (first, second) = (house.client(), house.client());
    house.exchange(&first, GET);
    house.exchange(&second, GET);
    house.pass(Duration::from_secs(31));
    let refusal = text(&second);
    assert_eq!(status(&refusal), 503);
    assert!(refusal.contains("Retry-After: 1\r\n"), "{refusal}");
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&first)), 200);
    house.assert_quiet();
}

#[test]
fn a_full_queue_is_503_at_once() {
    let setting = Setting { connections: 1, queue_length: 1, ..Setting::default() };
    let mut house = House::new(&setting);
    let clients = [house.client(), house.client(), house.client()];
    for client in &clients {
        house.exchange(client, GET);
    }
    assert_eq!(status(&text(&clients[2])), 503);
    let server = house.server();
    for client in &clients[..2] {
        let _ = text(&server);
        server.write_all(OK);
        house.settle();
        assert_eq!(status(&text(client)), 200);
    }
    house.assert_quiet();
}

#[test]
fn when_the_pool_is_short_the_slowest_request_yields() {
    let setting = Setting { buffers: 8, ..Setting::default() };
    let mut house = House::new(&setting);
    let crowd: Vec<_> = (0..12).map(|_| house.client()).collect();
    for client in &crowd {
        house.exchange(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\nx");
        house.pass(Duration::from_millis(1));
    }
    let normal = house.client();
    house.exchange(&normal, GET);
    house.pass(Duration::from_secs(1));
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&normal)), 200);
    assert!(house.closed(CloseReason::Refused) >= 1, "somebody had to yield");
    assert_eq!(status(&text(&crowd[0])), 408, "the slowest first");
    drop(crowd);
    house.settle();
    house.assert_quiet();
}

#[test]
fn linger_keeps_the_answer_alive() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\n");
    client.write_all(&[b'x'; 5000]);
    house.settle();
    assert_eq!(status(&text(&client)), 400);
    assert!(client.has_ended() && !client.is_reset());
    assert_eq!(house.sum(|c| c.clients_lingering.get()), 1);
    house.pass(Duration::from_secs(6));
    assert!(client.is_closed());
    assert_eq!(house.sum(|c| c.clients.get()), 0);
    house.assert_quiet();
}

#[test]
fn a_body_larger_than_an_exchange_may_keep_is_413() {
    let setting = Setting { timeouts: Timeouts::default(), ..Setting::default() };
    let mut house = House::new(&setting);
    let client = house.client();
    house.exchange(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n");
    assert_eq!(status(&text(&client)), 413);
    let chunked = house.client();
    house.exchange(&chunked, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    house.exchange(&chunked, "10000\r\n");
    for _ in 0..16 {
        chunked.write(&[b'x'; 4096]);
        house.settle();
    }
    house.exchange(&chunked, "\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(status(&text(&chunked)), 413);
    house.assert_quiet();
}

/// Every refusal begins the next request; none of them may deepen the call before it.
#[test]
fn thousands_of_pipelined_refusals_do_not_exhaust_the_stack() {
    let world = WorldConfig { pipe_bytes: 1 << 20, ..WorldConfig::default() };
    let setting = Setting { world, queue_length: 0, buffers: 64, ..Setting::default() };
    let mut house = House::new(&setting);
    let client = house.client();
    let request = "GET / HTTP/1.1\r\nHost:\r\n\r\n";
    house.exchange(&client, &request.repeat(3_000));
    let answers = text(&client);
    assert_eq!(answers.matches("HTTP/1.1 503").count(), 3_000);
    assert!(!client.is_closed());
    house.assert_quiet();
}

/// What a server answers to a request for `length` bytes.
fn large(length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; length]].concat()
}

#[test]
fn clients_that_take_nothing_do_not_hold_the_pool_through_their_leases() {
    let world = WorldConfig { pipe_bytes: 8 << 10, ..WorldConfig::default() };
    let setting = Setting { world, buffers: 32, connections: 8, ..Setting::default() };
    let mut house = House::new(&setting);
    let idle: Vec<_> = (0..6).map(|_| house.client()).collect();
    let mut servers = Vec::new();
    for client in &idle {
        client.set_window(0);
        house.exchange(client, GET);
        let server = house.server();
        let answer = large(100_000);
        let mut sent = 0;
        for _ in 0..40 {
            sent += server.write(&answer[sent..]);
            house.settle();
        }
        servers.push(server);
    }
    let normal = house.client();
    house.exchange(&normal, GET);
    house.pass(Duration::from_secs(1));
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&normal)), 200);
    house.order(|| Letter::Stop);
}

#[test]
fn a_client_that_takes_nothing_does_not_hold_a_lease_that_others_wait_for() {
    let world = WorldConfig { pipe_bytes: 8 << 10, ..WorldConfig::default() };
    let setting = Setting { world, connections: 1, ..Setting::default() };
    let mut house = House::new(&setting);
    let (idle, next) = (house.client(), house.client());
    idle.set_window(0);
    house.exchange(&idle, GET);
    let server = house.server();
    let answer = large(200_000);
    let mut sent = 0;
    for _ in 0..40 {
        sent += server.write(&answer[sent..]);
        house.settle();
    }
    house.pass(Duration::from_secs(10));
    assert!(!idle.is_closed(), "nobody waits for its connection");
    house.exchange(&next, GET);
    house.pass(Duration::from_secs(3));
    assert!(idle.is_closed());
    assert_eq!(house.closed(CloseReason::Stalled), 1);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&next)), 200);
    house.assert_quiet();
}

/// Uploads that come faster than they fit become complete one after another; none is told that
/// it was slow.
#[test]
fn honest_uploads_that_do_not_fit_at_once_wait_for_each_other() {
    let setting = Setting { buffers: 64, connections: 1, ..Setting::default() };
    let mut house = House::new(&setting);
    let clients: Vec<_> = (0..20).map(|_| house.client()).collect();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n";
    for client in &clients {
        client.write_all(head.as_bytes());
        client.write_all(&vec![b'x'; 40_000]);
    }
    let mut servers = Vec::new();
    let mut answers = vec![String::new(); clients.len()];
    let mut taken = 0;
    for _ in 0..3_000 {
        house.pass(Duration::from_millis(2));
        servers.extend(house.world.accept(ServerId(0)));
        for server in &servers {
            taken += text(server).matches('x').count();
            while taken >= 40_000 {
                taken -= 40_000;
                server.write(OK);
            }
        }
        for (answer, client) in answers.iter_mut().zip(&clients) {
            answer.push_str(&text(client));
        }
    }
    let slow = answers.iter().filter(|answer| status(answer) != 200).count();
    assert!(slow <= 2, "{slow} of 20 were refused");
    house.assert_quiet();
}

#[test]
fn lingering_clients_take_no_place_of_others() {
    let mut house = House::new(&Setting { max_clients: 2, ..Setting::default() });
    let bad: Vec<_> = (0..6).map(|_| house.world.connect(base::id::ListenerId(0))).collect();
    for client in &bad {
        client.write(b"BAD\r\n\r\n");
    }
    let good = house.client();
    house.pass(Duration::from_millis(10));
    house.exchange(&good, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&good)), 200);
    drop(bad);
}
