//! What the upstream sees of a request, and the client of a response.

use std::io::Write;

use blackbox::client::post_chunked;
use blackbox::message::Request;
use blackbox::proxy::Anteroom;
use blackbox::random::Random;
use blackbox::upstream::{Next, Upstream};

/// Sends bytes through a fresh proxy and gives what the upstream received.
fn seen(bytes: impl AsRef<[u8]>) -> Request {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let response = proxy.client().send(bytes).response();
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
    upstream.last()
}

#[test]
fn chunks_become_an_exact_length() {
    let mut random = Random::new(11);
    for length in [0, 1, 5000] {
        let body = random.bytes(length);
        let request = seen(post_chunked("/up?x=1", &body, &mut random));
        assert_eq!(request.head.start, "POST /up?x=1 HTTP/1.1");
        assert_eq!(request.head.get("content-length"), Some(length.to_string().as_str()));
        assert_eq!(request.head.get("x-trailer"), None);
        assert!(request.body == body);
    }
}

#[test]
fn a_get_has_no_length_and_an_empty_post_has_zero() {
    let get = seen("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(get.head.get("content-length"), None);
    let post = seen("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.head.get("content-length"), Some("0"));
}

#[test]
fn hop_by_hop_fields_end_here() {
    let request = seen(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Mine, keep-alive\r\nX-Mine: secret\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Theirs: kept\r\n\r\n",
    );
    for gone in ["x-mine", "keep-alive", "te", "trailer", "proxy-connection", "upgrade"] {
        assert_eq!(request.head.get(gone), None, "{gone}");
    }
    assert_eq!(request.head.get("x-theirs"), Some("kept"));
    assert!(!request.head.names("connection", "x-mine"));
}

#[test]
fn fields_that_frame_or_route_cannot_be_named_away() {
    let request = seen(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, x-forwarded-for\r\n\
         Content-Length: 3\r\n\r\nabc",
    );
    assert_eq!(request.body, b"abc");
    assert_eq!(request.head.get("host"), Some("a"));
    assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn forwarding_fields_are_ours_alone() {
    let request = seen(
        "GET / HTTP/1.1\r\nHost: shop.example:8443\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\r\n",
    );
    assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(request.head.get("x-forwarded-host"), Some("shop.example:8443"));
    let forwarded = request.head.get("forwarded").expect("a Forwarded field").to_ascii_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    assert!(!forwarded.contains("6.6.6.6"), "{forwarded}");
    assert!(forwarded.contains("host=\"shop.example:8443\""), "a colon needs quotes: {forwarded}");
}

#[test]
fn via_tells_the_way() {
    let first = seen("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let via = first.head.get("via").expect("a Via field");
    assert!(via.starts_with("1.1 "), "{via}");
    let old = seen("GET / HTTP/1.0\r\nHost: a\r\nVia: 1.0 fred\r\n\r\n");
    let all = old.head.all("via").join(", ");
    let hops: Vec<&str> = all.split(", ").collect();
    assert_eq!((hops.len(), hops[0]), (2, "1.0 fred"), "{all}");
    assert!(hops[1].starts_with("1.0 "), "{all}");
}

#[test]
fn an_absolute_target_decides_over_host() {
    let request = seen("GET http://real.example/p?q HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(request.target(), "/p?q");
    assert_eq!(request.head.get("host"), Some("real.example"));
    let bare = seen("GET http://real.example HTTP/1.1\r\nHost: real.example\r\n\r\n");
    assert_eq!(bare.target(), "/");
    let all = seen("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(all.target(), "*");
}

#[test]
fn http_1_0_without_host_gets_one() {
    let request = seen("GET / HTTP/1.0\r\n\r\n");
    assert!(request.head.get("host").is_some_and(|host| !host.is_empty()), "{:?}", request.head);
}

#[test]
fn everything_else_passes_unchanged_and_in_order() {
    let request = seen(
        b"GET /%C3%A4?a=b%20c&d HTTP/1.1\r\nHost: a\r\nCookie: one=1\r\nAccept: */*\r\ncookie: two=2\r\n\
          X-Empty:\r\nX-Raw: caf\xc3\xa9 \xff\r\nX-Padded: \t  inner  space \t\r\nAuthorization: Basic eA==\r\n\r\n",
    );
    assert_eq!(request.target(), "/%C3%A4?a=b%20c&d");
    assert_eq!(request.head.all("cookie"), ["one=1", "two=2"]);
    assert_eq!(request.head.get("x-empty"), Some(""));
    assert_eq!(request.head.get("x-raw"), Some("caf\u{c3}\u{a9} \u{ff}"));
    assert_eq!(request.head.get("x-padded"), Some("inner  space"));
    assert_eq!(request.head.get("authorization"), Some("Basic eA=="));
}

#[test]
fn unknown_methods_pass() {
    let request = seen("BREW /pot HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nmilk");
    assert_eq!((request.method(), request.body.as_slice()), ("BREW", &b"milk"[..]));
}

#[test]
fn heads_cut_anywhere_arrive_whole() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let long = "v".repeat(3000);
    let text = format!("GET /cut HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\nX-Last: end\r\n\r\n");
    let mut client = proxy.client();
    let edges = [1, 2, 3, 17, 18, 19, 1790, 1791, 1792, 1793, 2046, 2047, 2048, 2049];
    for cut in edges.into_iter().chain(text.len() - 5..text.len()) {
        let (one, two) = text.as_bytes().split_at(cut);
        client.send(one);
        blackbox::wait::pause(3);
        assert_eq!(client.send(two).response().status, 200, "cut at {cut}");
        let request = upstream.last();
        assert_eq!(request.head.get("x-long"), Some(long.as_str()), "cut at {cut}");
        assert_eq!(request.head.get("x-last"), Some("end"), "cut at {cut}");
    }
    // And byte by byte.
    for byte in text.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().status, 200);
    proxy.finish();
}

#[test]
fn dropped_trailers_are_counted() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\nX-Sum: 900150983cd24fb0\r\n\r\n";
    assert_eq!(proxy.client().send(text).response().status, 200);
    assert_eq!(upstream.last().head.get("x-sum"), None);
    let metrics = proxy.quiet();
    let counted =
        metrics.names().filter(|name| name.contains("trailer")).map(|n| metrics.sum(n, &[]));
    assert!(counted.sum::<f64>() > 0.0, "no figure of trailers moved");
    proxy.finish();
}

#[test]
fn the_response_loses_only_what_concerns_the_hop() {
    let upstream = Upstream::http(|_, _, stream| {
        stream.write_all(
            b"HTTP/1.1 299 Odd but fine\r\nServer: theirs\r\nSet-Cookie: a=1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
              Keep-Alive: timeout=5\r\nSet-Cookie: b=2\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
        )?;
        Ok(Next::Keep)
    });
    let proxy = Anteroom::before(upstream.address());
    let response = proxy.client().get("/");
    assert_eq!((response.status, response.text().as_str()), (299, "ok"));
    assert!(response.head.start.ends_with("Odd but fine"), "{}", response.head.start);
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((response.get("server"), response.get("x-kept")), (Some("theirs"), Some("yes")));
    assert_eq!((response.get("x-hop"), response.get("keep-alive")), (None, None));
    proxy.finish();
}
