//! What bad input gets: a status, a short body, a counter that moves, a closed connection where
//! the framing is in doubt; and nobody else notices.

use blackbox::client::Client;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::upstream::Upstream;

/// One piece of bad input: what it is, its bytes, the status, the reason it is counted under.
type Case<'c> = (&'c str, Vec<u8>, u16, &'static str);

/// Sends each to the same proxy on a client of its own, while a parked client looks on.
fn refuse(proxy: &Anteroom, upstream: &Upstream, cases: &[Case]) {
    let mut bystander = proxy.client();
    assert_eq!(bystander.get("/before").status, 200);
    upstream.forget();
    let mut failures = Vec::new();
    for (what, bytes, status, reason) in cases {
        let before = proxy.refused(reason);
        if let Err(wrong) = meets(&mut proxy.client(), bytes, *status) {
            failures.push(format!("{what}: {wrong}"));
            continue;
        }
        let moved = proxy.refused(reason) - before;
        if (moved - 1.0).abs() > f64::EPSILON {
            failures.push(format!("{what}: anteroom_refusals_total{{{reason}}} moved by {moved}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert_eq!(upstream.count(), 0, "bad input reached the upstream: {:?}", upstream.requests());
    assert_eq!(bystander.get("/after").status, 200);
}

/// The client gets this status, a short body that says why, and is closed.
fn meets(client: &mut Client, bytes: &[u8], status: u16) -> Result<(), String> {
    client.try_send(bytes).map_err(|error| format!("not taken: {error}"))?;
    let response = client.try_response().map_err(|error| format!("no response: {error}"))?;
    if response.status != status {
        return Err(format!("{} instead of {status}: {}", response.status, response.text()));
    }
    if response.body.is_empty() || response.body.len() > 500 {
        return Err(format!("a body of {} bytes", response.body.len()));
    }
    if !response.says_close() {
        return Err("does not say that it closes".to_owned());
    }
    match client.reader().rest() {
        Ok(more) if more.is_empty() => Ok(()),
        Ok(more) => Err(format!("{} more bytes", more.len())),
        Err(error) => Err(format!("not closed in order: {error}")),
    }
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

#[test]
fn malformed_heads_get_400() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let heads: [(&str, &[u8]); 33] = [
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("a NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("a bell", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x07b\r\n\r\n"),
        ("bare LF in the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("bare LF in a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        ("bare LF all over", b"GET / HTTP/1.1\nHost: a\n\n"),
        ("bare CR in a field", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
        ("tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n"),
        ("a folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
        ("a folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
        ("no field name", b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
        ("a field name that is no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n"),
        ("a field name beyond ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: z\r\n\r\n"),
        ("no host", b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a host with a user", b"GET / HTTP/1.1\r\nHost: me@a\r\n\r\n"),
        ("a host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("a list of hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("four words", b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        ("no version", b"GET /\r\nHost: a\r\n\r\n"),
        ("another protocol", b"GET / HTTX/1.1\r\nHost: a\r\n\r\n"),
        ("a version in small letters", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
        ("a method that is no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target without slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target with a fragment", b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a star for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target beyond ASCII", b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    let cases: Vec<Case> =
        heads.into_iter().map(|(what, bytes)| (what, bytes.to_vec(), 400, "malformed")).collect();
    refuse(&proxy, &upstream, &cases);
    let metrics = proxy.quiet();
    let answered = metrics.sum("anteroom_requests_total", &[("code", "4xx")]);
    assert!(answered >= 33.0, "anteroom_requests_total{{code=4xx}} {answered}");
    proxy.finish();
}

#[test]
fn ambiguous_lengths_get_400() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let fields = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 3 3",
        "Content-Length: 0x3",
        "Content-Length: 3.0",
        "Content-Length: \"3\"",
        "Content-Length:",
        "Content-Length: three",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: ,",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chun ked",
    ];
    let mut cases: Vec<Case> =
        fields.into_iter().map(|field| (field, post(field, "abc"), 400, "malformed")).collect();
    let old =
        b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    cases.push(("chunks in HTTP/1.0", old.to_vec(), 400, "malformed"));
    refuse(&proxy, &upstream, &cases);
    proxy.finish();
}

#[test]
fn bad_chunks_get_400() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let bodies = [
        "g\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabcX0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a=\x01\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
        "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
        "3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    ];
    let mut cases: Vec<Case> =
        bodies.into_iter().map(|body| (body, chunked(body), 400, "malformed")).collect();
    let endless = format!("3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(100_000));
    cases.push(("an extension without end", chunked(&endless), 400, "malformed"));
    refuse(&proxy, &upstream, &cases);
    proxy.finish();
}

#[test]
fn other_versions_get_505() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let case = |what, bytes: &[u8]| -> Case { (what, bytes.to_vec(), 505, "version") };
    let cases = [
        case("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        case("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        case("HTTP/3.1", b"GET / HTTP/3.1\r\nHost: a\r\n\r\n"),
        case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    refuse(&proxy, &upstream, &cases);
    proxy.finish();
}

#[test]
fn what_we_do_not_do_gets_501() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let case = |what, bytes: &[u8]| -> Case { (what, bytes.to_vec(), 501, "unsupported") };
    let cases = [
        case("CONNECT", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
        case("gzip, chunked", &post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
        case("an unknown coding", &post("Transfer-Encoding: x, chunked", "0\r\n\r\n")),
    ];
    refuse(&proxy, &upstream, &cases);
    proxy.finish();
}

#[test]
fn what_is_too_large_gets_413_414_431() {
    let upstream = Upstream::pages();
    let setup =
        Setup::new(upstream.address()).with("--max-head", "8KiB").with("--max-target", "1KiB");
    let proxy = setup.with("--max-body", "10000").start();
    let head = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    let many = "X: y\r\n".repeat(300);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let cases: [Case; 7] = [
        ("a target of 1025", head(&format!("/{}", "x".repeat(1024)), ""), 414, "target_too_long"),
        (
            "a target without end",
            format!("GET /{}", "x".repeat(9000)).into_bytes(),
            414,
            "target_too_long",
        ),
        (
            "a field of 9000",
            head("/", &format!("X: {}\r\n", "y".repeat(9000))),
            431,
            "head_too_large",
        ),
        (
            "a head without end",
            format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(20_000)).into_bytes(),
            431,
            "head_too_large",
        ),
        ("300 fields", head("/", &many), 431, "head_too_large"),
        ("a length of 10001", post("Content-Length: 10001", ""), 413, "body_too_large"),
        ("chunks of 12288", chunked(&chunk.repeat(3)), 413, "body_too_large"),
    ];
    refuse(&proxy, &upstream, &cases);

    // What just fits is served.
    let mut client = proxy.client();
    assert_eq!(client.send(head(&format!("/{}", "x".repeat(1023)), "")).response().status, 200);
    let fits = post("Content-Length: 10000", &"x".repeat(10_000));
    assert_eq!(client.send(fits).response().status, 200);
    let fits = head("/", &format!("X: {}\r\n", "y".repeat(8000)));
    assert_eq!(client.send(fits).response().status, 200);
    proxy.finish();
}

#[test]
fn without_a_spool_a_body_beyond_the_exchange_memory_gets_413() {
    let upstream = Upstream::pages();
    let setup = Setup::new(upstream.address()).with("--spool", "off");
    let proxy = setup.with("--exchange-memory", "128KiB").start();
    let length = post("Content-Length: 400000", "");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let cases: [Case; 2] = [
        ("a length beyond it", length, 413, "body_too_large"),
        ("chunks beyond it", chunked(&chunk.repeat(12)), 413, "body_too_large"),
    ];
    refuse(&proxy, &upstream, &cases);
    proxy.finish();
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--max-body", "1000").start();
    // The answer must not be destroyed by a reset: closing lingers.
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send(post("Content-Length: 40000", ""));
        let mut taken = 0;
        while taken < 40_000 && client.try_send([b'x'; 1000]).is_ok() {
            taken += 1000;
        }
        let response = client.try_response().expect("the refusal arrives all the same");
        assert_eq!(response.status, 413);
    }
    proxy.finish();
}

#[test]
fn a_bad_request_behind_good_ones_spoils_none_of_them() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let good = blackbox::client::get("/good");
    client.send(format!("{good}{good}GET / HTTP/1.1\r\nno colon\r\n\r\n{good}"));
    assert_eq!(client.response().text(), "page /good");
    assert_eq!(client.response().text(), "page /good");
    let refusal = client.response();
    assert_eq!((refusal.status, refusal.says_close()), (400, true));
    client.expect_end();
    assert_eq!(upstream.count(), 2, "nothing behind the bad one is believed");
    proxy.finish();
}
