//! Deadlines, each for one kind of waiting.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use blackbox::client::{Client, get, post};
use blackbox::proxy::Setup;
use blackbox::random::Random;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::pause;

/// What a client waits for is to come after `soon` and well before the other deadlines.
fn in_time(start: Instant, soon: u64) {
    let took = start.elapsed();
    let earliest = Duration::from_millis(soon).mul_f32(0.8);
    assert!(took >= earliest && took < Duration::from_secs(8), "{took:?} instead of {soon} ms");
}

#[test]
fn a_slow_head_gets_408_however_it_dribbles() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).timeout("head", "500ms").start();
    let start = Instant::now();
    let mut silent = proxy.client();
    silent.send("GET / HTTP/1.1\r\nHo");
    let mut dribbling = proxy.client();
    for byte in "GET / HTTP/1.1\r\nHost: test\r\nX-Long: ".bytes().chain([b'x'; 100]) {
        if dribbling.try_send([byte]).is_err() || start.elapsed() > Duration::from_secs(3) {
            break;
        }
        pause(20);
    }
    for client in [&mut silent, &mut dribbling] {
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (408, true), "{}", response.text());
        client.expect_end();
    }
    in_time(start, 500);
    assert!((proxy.refused("slow") - 2.0).abs() < f64::EPSILON);
    assert_eq!(upstream.count(), 0);
    proxy.finish();
}

#[test]
fn a_body_that_stops_gets_408_and_one_that_goes_on_does_not() {
    let upstream = Upstream::pages();
    let setup = Setup::new(upstream.address()).timeout("head", "500ms");
    let proxy = setup.timeout("body_progress", "500ms").start();
    let start = Instant::now();
    let mut stopped = proxy.client();
    stopped.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let mut steady = proxy.client();
    steady.send("POST /steady HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n");
    for _ in 0..15 {
        steady.send("x");
        pause(80);
    }
    assert!(start.elapsed() > Duration::from_secs(1), "the body took longer than any deadline");
    assert_eq!(steady.response().status, 200);
    let refusal = stopped.response();
    assert_eq!((refusal.status, refusal.says_close()), (408, true));
    stopped.expect_end();
    in_time(start, 500);
    proxy.finish();
}

#[test]
fn an_idle_client_is_closed_without_a_word() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).timeout("idle", "600ms").start();
    let start = Instant::now();
    let mut fresh = proxy.client();
    let mut used = proxy.client();
    assert_eq!(used.get("/").status, 200);
    fresh.expect_end();
    used.expect_end();
    in_time(start, 600);
    let closed = proxy.figure("anteroom_clients_closed_total", &[("reason", "idle")]);
    assert!((closed - 2.0).abs() < f64::EPSILON, "{closed} closed as idle");
    proxy.finish();
}

#[test]
fn an_idle_client_that_comes_back_in_time_stays() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).timeout("idle", "900ms").start();
    let mut client = proxy.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").status, 200);
        pause(250);
    }
    proxy.finish();
}

#[test]
fn a_silent_upstream_gets_504_and_its_connection_is_not_used_again() {
    let upstream = Upstream::http(|request, _, stream| {
        if request.target() == "/silent" {
            pause(1500);
        }
        // Too late for the first client; the next one must not get it.
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.timeout("first_byte", "500ms").start();
    let mut client = proxy.client();
    let start = Instant::now();
    let response = client.get("/silent");
    assert_eq!(response.status, 504, "{}", response.text());
    in_time(start, 500);
    assert!((proxy.refused("silent") - 1.0).abs() < f64::EPSILON);
    // The request was complete: the client's framing is not in doubt.
    assert!(!response.says_close());
    assert_eq!(client.get("/next").text(), "/next");
    assert_eq!(upstream.accepted(), 2);
    proxy.finish();
}

#[test]
fn a_response_that_stops_is_cut_not_completed() {
    let upstream = Upstream::http(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning")?;
        pause(2000);
        stream.write_all(&[b'x'; 91])?;
        Ok(Next::Keep)
    });
    let proxy = Setup::new(upstream.address()).timeout("response", "500ms").start();
    let mut client = proxy.client();
    let start = Instant::now();
    match client.try_get("/") {
        Ok(response) => assert_eq!(response.status, 504, "{}", response.text()),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no end came"),
    }
    in_time(start, 500);
    proxy.finish();
}

#[test]
fn waiting_for_a_lease_ends_with_503() {
    let upstream = Upstream::http(|_, _, stream| {
        pause(1500);
        respond(stream, 200, b"done")?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.timeout("queue", "400ms").start();
    let mut first = proxy.client();
    first.send(get("/first"));
    proxy.until("the first to be leased", |metrics| {
        metrics.sum("anteroom_upstream_connections", &[("state", "leased")]) > 0.0
    });
    let start = Instant::now();
    let mut second = proxy.client();
    let response = second.get("/second");
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.get("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    in_time(start, 400);
    assert!((proxy.refused("queue_timeout") - 1.0).abs() < f64::EPSILON);
    assert_eq!(first.response().text(), "done");
    assert!(upstream.requests().iter().all(|request| request.target() == "/first"));
    proxy.finish();
}

#[test]
fn a_client_that_takes_nothing_is_closed_and_its_buffers_come_back() {
    let body = Random::new(6).bytes(20_000_000);
    let length = body.len();
    let upstream = Upstream::http(move |_, _, stream| {
        respond(stream, 200, &body)?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--workers", 1);
    let proxy = setup.timeout("write_progress", "700ms").start();
    let mut stuck = Client::new_slow(proxy.address());
    stuck.send(get("/large"));
    proxy.until("the stuck client to be closed", |metrics| {
        metrics.sum("anteroom_clients_closed_total", &[("reason", "timeout")]) > 0.0
    });
    // A reader that goes on, however slowly, is not.
    let mut slow = proxy.client();
    slow.send(get("/large"));
    let (mut got, mut piece) = (0, vec![0; 300_000]);
    while got < length {
        let read = slow.stream().read(&mut piece).expect("the response goes on");
        assert!(read > 0, "cut after {got} of {length} bytes");
        got += read;
        if got % 7 == 0 {
            pause(20);
        }
    }
    drop((stuck, slow));
    proxy.finish();
}

#[test]
fn a_late_body_is_not_taken_for_the_next_request() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).timeout("body_progress", "300ms").start();
    let mut client = proxy.client();
    let whole = post("/", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = whole.split_at(whole.len() - 35);
    client.send(head);
    assert_eq!(client.response().status, 408);
    let _ = client.try_send(body);
    client.expect_end();
    assert_eq!(upstream.count(), 0);
    proxy.finish();
}
