//! Which connections stay open, and where one response ends and the next begins.

use std::io::Write;

use blackbox::client::get;
use blackbox::echo::echo;
use blackbox::message::Framing;
use blackbox::proxy::Anteroom;
use blackbox::random::Random;
use blackbox::upstream::{Next, Upstream};

#[test]
fn http_1_1_stays_open_until_told() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for page in ["/1", "/2", "/3"] {
        let response = client.get(page);
        assert_eq!((response.status, response.text()), (200, format!("page {page}")));
        assert!(!response.says_close(), "{response:?}");
    }
    let last = client.send("GET /4 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").response();
    assert!(last.says_close(), "{last:?}");
    client.expect_end();
    proxy.finish();
}

#[test]
fn http_1_0_closes_unless_told() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let response = client.send("GET /1 HTTP/1.0\r\nHost: test\r\n\r\n").response();
    assert_eq!(response.text(), "page /1");
    assert_eq!(response.get("transfer-encoding"), None);
    client.expect_end();

    let mut client = proxy.client();
    for _ in 0..2 {
        let text = "GET /2 HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n";
        let response = client.send(text).response();
        assert_eq!((response.text().as_str(), response.framing), ("page /2", Framing::Length));
        assert!(response.head.names("connection", "keep-alive"), "{response:?}");
    }
    proxy.finish();
}

#[test]
fn chunks_are_decoded_for_http_1_0() {
    let upstream = echo();
    let proxy = Anteroom::before(upstream.address());
    let body = Random::new(3).bytes(30_000);
    let mut client = proxy.client();
    let head = format!("POST /chunked HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head).send(&body);
    let response = client.response();
    assert_eq!(response.get("transfer-encoding"), None);
    assert!(response.body == body);
    client.expect_end();
    proxy.finish();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = echo();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let mut random = Random::new(4);
    let mut all = Vec::new();
    let bodies: Vec<Vec<u8>> = (0..40).map(|_| random.bytes(random.clone().length(6000))).collect();
    for (number, body) in bodies.iter().enumerate() {
        if number % 3 == 0 {
            all.extend(blackbox::client::post_chunked("/length", body, &mut random));
        } else {
            all.extend(blackbox::client::post("/length", body));
        }
    }
    let mut writer = client.stream().try_clone().expect("a second handle");
    let pieces: Vec<Vec<u8>> = random.cut(&all, 60).into_iter().map(<[u8]>::to_vec).collect();
    let sender = std::thread::spawn(move || {
        for piece in pieces {
            writer.write_all(&piece).expect("the proxy takes pipelined requests");
        }
    });
    for (number, body) in bodies.iter().enumerate() {
        let response = client.response();
        assert_eq!(response.status, 200, "response {number}: {}", response.text());
        assert!(response.body == *body, "response {number} is not its request's");
    }
    sender.join().expect("everything was sent");
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

#[test]
fn pipelined_requests_in_one_segment_reach_the_upstream_one_by_one() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let requests: String = (0..50).map(|number| get(&format!("/{number}"))).collect();
    client.send(requests);
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("page /{number}"));
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
    assert_eq!(upstream.most_serving(), 1);
    proxy.finish();
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.send("\r\n").get("/x").status, 200);
    }
    proxy.finish();
}

/// An upstream whose target says what it answers.
fn statuses() -> Upstream {
    Upstream::http(|request, _, stream| {
        let answer: &[u8] = match (request.method(), request.target()) {
            ("HEAD", "/chunked") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n",
            (_, "/204") => b"HTTP/1.1 204 No Content\r\nX-Kept: yes\r\n\r\n",
            (_, "/304") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"b\"\r\n\r\n",
            (_, "/103") => {
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            }
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        stream.write_all(answer)?;
        Ok(Next::Keep)
    })
}

#[test]
fn responses_without_bodies_end_with_their_head() {
    let upstream = statuses();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        let head = client.send("HEAD /x HTTP/1.1\r\nHost: test\r\n\r\n").response_to("HEAD");
        assert_eq!((head.get("content-length"), head.get("etag")), (Some("1234"), Some("\"a\"")));
        client.send("HEAD /chunked HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status, 200);
        let none = client.get("/204");
        assert_eq!(
            (none.status, none.get("content-length"), none.get("x-kept")),
            (204, None, Some("yes"))
        );
        assert_eq!(none.get("transfer-encoding"), None);
        let unchanged = client.get("/304");
        assert_eq!((unchanged.status, unchanged.get("etag")), (304, Some("\"b\"")));
        let empty = client.get("/");
        assert_eq!((empty.status, empty.framing, empty.body.len()), (200, Framing::Length, 0));
    }
    // All of it on one connection to the upstream: its framing was never in doubt.
    assert_eq!(upstream.accepted(), 1);
    proxy.finish();
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let upstream = statuses();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/103");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    assert_eq!(client.get("/").status, 200);
    proxy.finish();
}

#[test]
fn who_expects_100_is_told_to_go_on() {
    let upstream = echo();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for body in [&b"first"[..], b"second"] {
        client.send(format!(
            "POST /length HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        // Nothing of the body is sent before the go-ahead.
        let head = client.reader().request_head().expect("an interim response");
        let start = head.map(|head| head.start).unwrap_or_default();
        assert!(start.starts_with("HTTP/1.1 100"), "{start:?}");
        assert_eq!(client.send(body).response().body, body);
    }
    assert_eq!(upstream.last().head.get("expect"), None, "we answered it already");
    proxy.finish();
}

#[test]
fn a_client_may_end_its_direction_after_its_request() {
    let upstream = Upstream::http(|_, _, stream| {
        blackbox::wait::pause(150);
        blackbox::upstream::respond(stream, 200, b"late")?;
        Ok(Next::Keep)
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let response = client.send(get("/")).end().response();
    assert_eq!((response.status, response.text().as_str()), (200, "late"));
    client.expect_end();
    proxy.finish();
}
