//! What goes again on a fresh connection, and what must not.

use std::io::Write;

use blackbox::client::post;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::pause;

/// Serves the first request of each connection; meets the second with an end instead of an
/// answer, as a server does that closes an idle connection at the wrong moment.
fn one_each() -> Upstream {
    Upstream::http(|request, place, stream| {
        if place.on_connection > 0 {
            return Ok(Next::Close);
        }
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    })
}

fn single(upstream: &Upstream) -> Anteroom {
    Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1).start()
}

#[test]
fn idempotent_requests_go_again() {
    let upstream = one_each();
    let proxy = single(&upstream);
    let mut client = proxy.client();
    assert_eq!(client.get("/first").text(), "/first");
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let target = format!("/{method}");
        client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
        assert_eq!(client.response().text(), target);
        let last = upstream.last();
        assert_eq!((last.method(), last.body.as_slice()), (method, &b"abc"[..]));
    }
    // One that was served at once, four that went twice.
    assert_eq!(upstream.count(), 1 + 4 * 2);
    assert_eq!(upstream.most_open(), 1);
    proxy.finish();
}

#[test]
fn a_large_body_is_kept_until_the_answer_begins() {
    let upstream = one_each();
    let proxy = single(&upstream);
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    let body = blackbox::random::Random::new(12).bytes(150_000);
    let head = format!("PUT /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(client.send(head).send(&body).response().status, 200);
    assert!(upstream.last().body == body);
    proxy.finish();
}

#[test]
fn a_post_whose_bytes_were_written_gets_502() {
    let upstream = one_each();
    let proxy = single(&upstream);
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    let response = client.post("/order", b"one pizza");
    assert_eq!((response.status, response.says_close()), (502, false), "{}", response.text());
    let orders = upstream.requests().iter().filter(|request| request.method() == "POST").count();
    assert_eq!(orders, 1, "nobody ordered twice");
    assert_eq!(client.post("/order", b"one pizza").status, 200);
    proxy.finish();
}

#[test]
fn a_connection_closed_while_idle_costs_nobody_anything() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let mut client = proxy.client();
    for _ in 0..20 {
        // Not idempotent, and yet safe: not a byte was written to the dead connection.
        assert_eq!(client.send(post("/", b"x")).response().status, 200);
        upstream.hang_up();
        pause(30);
    }
    assert_eq!(upstream.count(), 20);
    proxy.finish();
}

#[test]
fn going_again_has_an_end() {
    let upstream = Upstream::http(|_, _, _| Ok(Next::Close));
    let proxy = single(&upstream);
    let response = proxy.client().get("/");
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(upstream.count() <= 4, "asked {} times", upstream.count());
    proxy.finish();
}

#[test]
fn nothing_goes_again_once_the_answer_began() {
    let upstream = Upstream::http(|_, place, stream| {
        if place.on_connection == 0 {
            respond(stream, 200, b"first")?;
            return Ok(Next::Keep);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
        Ok(Next::Reset)
    });
    let proxy = single(&upstream);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    let response = client.get("/cut");
    assert_eq!(response.status, 502, "{}", response.text());
    assert_eq!(upstream.count(), 2);
    proxy.finish();
}

#[test]
fn servers_that_close_after_each_response_lose_nothing() {
    let upstream = Upstream::http(|request, _, stream| {
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Close)
    });
    let proxy = single(&upstream);
    let mut client = proxy.client();
    for number in 0..100 {
        let target = format!("/{number}");
        let response = client.get(&target);
        assert_eq!((response.status, response.text()), (200, target));
    }
    proxy.finish();
}

#[test]
fn not_persistent_means_one_connection_each() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).flag("--not-persistent").start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(upstream.accepted(), 10);
    let told = upstream.requests().iter().filter(|r| r.head.names("connection", "close")).count();
    assert_eq!(told, 10, "the server is told that the connection ends");
    proxy.finish();
}
