//! What `docs/conformance.md` promises, where it takes the real binary or a real server to show it.

use std::io::Write;
use std::time::{Duration, Instant};

use blackbox::folder::Folder;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::nginx;
use blackbox::upstream::{Next, Upstream};

/// Everything a client gets that sends `sent` and ends its direction.
fn answered(proxy: &Anteroom, sent: &str) -> String {
    let mut client = proxy.client();
    client.send(sent).end();
    let got = client.reader().rest().expect("an orderly end");
    String::from_utf8_lossy(&got).into_owned()
}

/// The names of a head's fields, in order and in small letters.
fn names(raw_head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw_head).to_ascii_lowercase();
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, _)| name.to_owned()).collect()
}

/// A server that says the same to everybody.
fn saying(reply: &'static str) -> Upstream {
    Upstream::http(|_, _, stream| {
        stream.write_all(reply.as_bytes())?;
        Ok(Next::Keep)
    })
}

#[test]
fn a_refusal_of_head_has_no_body_whatever_is_wrong() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).timeout("head", "300ms").start();
    for (sent, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("HEAD https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n", 501),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ] {
        let got = answered(&proxy, sent);
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:?}: {got}");
        assert!(got.contains("\r\nContent-Length: ") && got.ends_with("\r\n\r\n"), "{got}");
    }
    let mut late = proxy.client();
    late.send("HEAD / HTTP/1.1\r\nHo");
    let got = String::from_utf8(late.reader().rest().expect("an orderly end")).expect("text");
    assert!(got.starts_with("HTTP/1.1 408 ") && got.ends_with("\r\n\r\n"), "{got}");
    assert_eq!(upstream.count(), 0);
    proxy.finish();
}

#[test]
fn trace_shows_what_its_client_knows_and_carries_nothing() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let trace = "TRACE /way HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n";
    assert_eq!(proxy.client().send(format!("{trace}\r\n")).response().status, 200);
    let seen = upstream.last();
    assert_eq!(seen.head.get("max-forwards"), Some("1"));
    let ours = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via"];
    assert_eq!(names(&seen.raw_head), [&["host", "max-forwards"][..], &ours].concat());
    for framing in ["Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let got = answered(&proxy, &format!("{trace}{framing}"));
        assert!(got.starts_with("HTTP/1.1 400 ") && got.contains("TRACE with a body"), "{got}");
    }
    assert_eq!(upstream.count(), 1);
    proxy.finish();
}

#[test]
fn what_a_hop_names_away_goes_no_further() {
    let upstream = saying(
        "HTTP/1.1 200 OK\r\nVia: 1.1 behind\r\nDate: d\r\nX-Sum: head\r\nX: kept\r\n\
         Connection: via, date, x-sum\r\nTrailer: x-sum, x-time\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;x\r\nok\r\n0\r\nX-Sum: tail\r\nX-Time: 1\r\n\r\n",
    );
    let proxy = Anteroom::before(upstream.address());
    let got = answered(
        &proxy,
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 before\r\nX-Secret: s\r\nCookie: c\r\n\
         Connection: Via , x-secret,,\r\nX: kept\r\n\r\n",
    );
    let (head, body) = got.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "2\r\nok\r\n0\r\n\r\n");
    assert_eq!(names(head.as_bytes()), ["x", "date", "transfer-encoding"]);
    assert!(!head.contains("Date: d\r\n"), "a date of our own: {head}");
    let seen = upstream.last().head;
    assert_eq!(seen.all("via"), ["1.1 anteroom"]);
    assert_eq!((seen.get("x-secret"), seen.get("cookie")), (None, Some("c")));
    assert_eq!(seen.get("x"), Some("kept"));
    proxy.finish();
}

#[test]
fn a_required_upgrade_is_named_and_the_client_may_ask_for_it() {
    let upstream = saying(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: example/2, other\r\n\
         Connection: Upgrade\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.get("upgrade")), (426, Some("example/2, other")));
        assert!(response.head.names("connection", "upgrade") && !response.says_close());
        assert_eq!(upstream.last().head.get("upgrade"), Some("other"));
        assert!(upstream.last().head.names("connection", "upgrade"));
    }
    assert_eq!(upstream.accepted(), 1, "both connections are kept");
    proxy.finish();
}

#[test]
fn hints_of_any_kind_have_a_date() {
    let upstream = saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 What\r\nX: y\r\nContent-Length: 7\r\n\r\n\
         HTTP/1.1 103 \r\nDate: d\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    );
    let proxy = Anteroom::before(upstream.address());
    let got = answered(&proxy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let heads: Vec<&str> = got.split_terminator("\r\n\r\n").collect();
    assert_eq!(heads.len(), 3, "100 is left out: {got}");
    assert!(heads[0].starts_with("HTTP/1.1 199 What\r\nX: y\r\nDate: "), "{got}");
    assert_eq!(heads[1], "HTTP/1.1 103 \r\nDate: d\r\nLink: </a>");
    assert!(heads[2].starts_with("HTTP/1.1 204 No Content\r\nDate: "), "{got}");
    proxy.finish();
}

#[test]
fn nothing_behind_a_closing_response_is_looked_at() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    for (first, served) in [
        ("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1),
        ("GET /1 HTTP/1.0\r\n\r\n", 1),
        ("GET /1 HTTP/9.9\r\n\r\n", 0),
    ] {
        for behind in ["GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "\0nonsense\r\n\r\n"] {
            upstream.forget();
            let got = answered(&proxy, &format!("{first}{behind}"));
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
            assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
            assert_eq!(upstream.count(), served, "{first}");
        }
    }
    proxy.finish();
}

#[test]
fn a_later_minor_version_is_served_as_ours() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let got = answered(&proxy, "GET /new HTTP/1.7\r\nHost: a\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("page /new"), "{got}");
    assert_eq!(upstream.last().head.start, "GET /new HTTP/1.1");
    proxy.finish();
}

/// nginx evaluates them as if nobody stood between.
#[test]
fn conditions_and_ranges_are_the_servers_matter() {
    let upstream = nginx(b"0123456789");
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let tag = client.get("/file").get("etag").expect("nginx gives a tag").to_owned();
    for (fields, status, body) in [
        (String::new(), 200, "0123456789"),
        (format!("If-None-Match: \"x\", {tag}\r\n"), 304, ""),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200, "0123456789"),
        ("If-Match: \"x\"\r\n".to_owned(), 412, "<html>"),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 412, "<html>"),
        ("Range: bytes=2-4\r\n".to_owned(), 206, "234"),
        ("Range: bytes=-1\r\n".to_owned(), 206, "9"),
        (format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"), 206, "234"),
        ("Range: bytes=2-4\r\nIf-Range: \"x\"\r\n".to_owned(), 200, "0123456789"),
        ("Range: bytes=99-\r\n".to_owned(), 416, "<html>"),
    ] {
        let response =
            client.send(format!("GET /file HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response();
        assert_eq!(response.status, status, "{fields}");
        assert!(response.text().starts_with(body), "{fields}: {}", response.text());
        if status == 206 {
            assert!(response.get("content-range").is_some(), "{response:?}");
        }
    }
    let parts = client.send("GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0,9-9\r\n\r\n");
    let parts = parts.response();
    assert_eq!(parts.status, 206);
    assert!(parts.get("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges")));
    let head = client.send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
    assert_eq!((head.status, head.get("content-length")), (200, Some("10")));
    assert_eq!(client.get("/").status, 200, "the framing was never in doubt");
    proxy.finish();
}

/// Each is the other's server. A request goes round until a bound stops it: that of connections,
/// or that of a head, to which each round adds.
#[test]
fn two_proxies_that_lead_to_each_other_come_to_an_end() {
    for (connections, statuses) in [(4, [503, 503]), (400, [431, 431])] {
        let folder = Folder::new();
        let (one, two) =
            (format!("unix:{}", folder.file("1")), format!("unix:{}", folder.file("2")));
        let start = |listen: &str, upstream: &str| {
            let setup = Setup::new(upstream).listen(listen).with("--connections", connections);
            setup.timeout("queue", "400ms").start()
        };
        let (first, second) = (start(&one, &two), start(&two, &one));
        let begun = Instant::now();
        for expected in statuses {
            assert_eq!(first.client().get("/round").status, expected);
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        for proxy in [first, second] {
            proxy.finish();
        }
    }
}
