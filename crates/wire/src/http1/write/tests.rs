use super::super::fields::space;
use super::*;
use crate::http1::{HOST_MAX, Limits, parse_request, parse_response};
use core::net::{Ipv4Addr, Ipv6Addr};
use std::format;
use std::string::String;
use std::vec;

const LIMITS: Limits = Limits { target: 8192, fields: 128 };
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const FORWARDING: Forwarding<'_> = Forwarding {
    granted: b"",
    subject: None,
    passes_credentials: true,
    peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    proto: "http",
    believed: Believed::NOTHING,
    default_host: "fallback",
    via: "anteroom",
    persistent: true,
    request_id: None,
    upgrade: None,
    removed: "",
    added: None,
};

fn request(text: &str, forwarding: &Forwarding<'_>, length: Option<u64>) -> String {
    let head = parse_request(text.as_bytes(), &LIMITS, space()).unwrap();
    let mut room = vec![0; text.len() + 1024];
    let mut writer = Writer::new(&mut room);
    write_request(&mut writer, &head, forwarding).unwrap();
    finish_request(&mut writer, length).unwrap();
    String::from_utf8(writer.written().to_vec()).unwrap()
}

#[test]
fn request_in_full() {
    let sent = "POST http://a.example:80/b?c HTTP/1.1\r\naCCept: x\r\nHost: ignored\r\n\
        Connection: close, X-Hop, content-length, host\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\n\
        Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.1.1.1\r\n\
        X_Forwarded_For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
        X-Forwarded-Port: 1\r\nForwarded: for=1.1.1.1\r\nProxy-Authorization: Basic eA==\r\n\
        X-Real-IP: 1.1.1.1\r\nVia: 1.1 first\r\nCookie:a=b\r\ncookie: c \r\n\r\n";
    let canonical = "POST /b?c HTTP/1.1\r\nHost: a.example:80\r\naCCept: x\r\n\
        X-Real-IP: 1.1.1.1\r\nVia: 1.1 first\r\nCookie: a=b\r\ncookie: c\r\n\
        X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: a.example:80\r\n\
        Forwarded: for=192.0.2.1;host=\"a.example:80\";proto=http\r\nVia: 1.1 anteroom\r\n\
        Content-Length: 42\r\n\r\n";
    assert_eq!(request(sent, &FORWARDING, Some(42)), canonical);
}

#[test]
fn old_client_without_host_on_a_unix_socket() {
    let forwarding = Forwarding { peer: None, proto: "https", persistent: false, ..FORWARDING };
    let written = request("GET / HTTP/1.0\r\n\r\n", &forwarding, None);
    let expected = "GET / HTTP/1.1\r\nHost: fallback\r\nX-Forwarded-Proto: https\r\n\
        Forwarded: for=unknown;proto=https\r\nVia: 1.0 anteroom\r\nConnection: close\r\n\r\n";
    assert_eq!(written, expected);
}

/// What only we may write is not passed on, however it is spelled.
#[test]
fn a_field_of_ours_cannot_be_forged() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nX-Client-Subject: CN=me\r\nx_client-SUBJECT: CN=me\r\n\
        X-Client-Subjects: kept\r\nX-Other: CN=me\r\n\r\n";
    let forwarding = Forwarding { removed: "X-Other,X-Client-Subject", ..FORWARDING };
    let written = request(sent, &forwarding, None);
    assert!(!written.contains("CN=me") && written.contains("X-Client-Subjects: kept"), "{written}");
    let added = Some(("X-Client-Subject", "CN=somebody"));
    let written = request(sent, &Forwarding { added, ..forwarding }, None);
    assert!(
        !written.contains("CN=me") && written.contains("\r\nX-Client-Subject: CN=somebody\r\n")
    );
    assert!(may_be_added("X-Client-Subject"));
    for name in ["", "Host", "content-length", "X-Forwarded-For", "a b", "Upgrade"] {
        assert!(!may_be_added(name), "{name}");
    }
}

#[test]
fn what_is_known_of_a_client_is_told_and_what_was_for_us_is_not() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nauthorization: secret\r\n\r\n";
    let written = request(sent, &FORWARDING, None);
    assert!(written.contains("\r\nauthorization: secret\r\n"), "{written}");
    let subject = Some(("X-User", &b"jos\xc3\xa9"[..]));
    let granted = b"X-Role: a\r\nX-Team: b\r\n";
    let forwarding = Forwarding { subject, granted, passes_credentials: false, ..FORWARDING };
    let written = request(sent, &forwarding, None);
    assert!(!written.contains("secret"), "{written}");
    assert!(written.contains("\r\nX-User: jos\u{e9}\r\nX-Role: a\r\nX-Team: b\r\n"), "{written}");
}

#[test]
fn addresses() {
    let table = [
        ("2001:db8::1", "2001:db8::1", "\"[2001:db8::1]\""),
        ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ];
    for (peer, plain, node) in table {
        let forwarding = Forwarding { peer: Some(peer.parse().unwrap()), ..FORWARDING };
        let written = request("GET / HTTP/1.1\r\nHost: h\r\n\r\n", &forwarding, None);
        assert!(written.contains(&format!("\r\nX-Forwarded-For: {plain}\r\n")), "{written}");
        assert!(written.contains(&format!("\r\nForwarded: for={node};host=")), "{written}");
    }
}

/// What a trusted proxy says goes on, from the client it names; what was in front of that does not.
#[test]
fn what_is_believed_is_passed_on() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.7\r\n\
        X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n\r\n";
    let head = parse_request(sent.as_bytes(), &LIMITS, space()).unwrap();
    let trusts = |address: IpAddr| address == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
    let believed = Believed::read(&head.fields, trusts);
    let written = request(sent, &Forwarding { believed, ..FORWARDING }, None);
    let expected = "GET / HTTP/1.1\r\nHost: h\r\n\
        X-Forwarded-For: 198.51.100.7, 10.0.0.9, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: a.example\r\n\
        Forwarded: for=198.51.100.7;host=\"a.example\";proto=https\r\nVia: 1.1 anteroom\r\n\r\n";
    assert_eq!(written, expected);
    let written = request(sent, &Forwarding { believed, peer: None, ..FORWARDING }, None);
    assert!(written.contains("\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.9\r\n"), "{written}");
}

#[test]
fn growth_is_bounded() {
    let host = "h".repeat(HOST_MAX);
    let protocol = "u".repeat(super::super::PROTOCOL_MAX);
    let upgrade = format!("Connection:upgrade\r\nUpgrade:{protocol}\r\n");
    let fields = "a:\r\n".repeat(125);
    let sent = format!("GET / HTTP/1.1\r\nHost:{host}\r\n{fields}{upgrade}\r\n");
    let peer = Ipv6Addr::new(0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777, 0x8888);
    let via = "v".repeat(32);
    let forwarding = Forwarding {
        granted: b"",
        subject: None,
        passes_credentials: true,
        peer: Some(IpAddr::V6(peer)),
        proto: "https",
        believed: Believed::NOTHING,
        default_host: "",
        via: &via,
        persistent: false,
        request_id: Some(&[b'i'; 64]),
        upgrade: Some(protocol.as_bytes()),
        removed: "",
        added: None,
    };
    let grown = request(&sent, &forwarding, Some(u64::MAX)).len() - sent.len();
    assert!(grown < 1024, "{grown}");

    let fallback = "d".repeat(HOST_MAX);
    let forwarding = Forwarding { default_host: &fallback, upgrade: None, ..forwarding };
    let sent = format!("GET / HTTP/1.0\r\na:\r\na:\r\na:\r\n{fields}\r\n");
    let grown = request(&sent, &forwarding, Some(u64::MAX)).len() - sent.len();
    assert!(grown < 1024, "{grown}");
}

#[test]
fn every_room_too_small_is_full() {
    let text = "GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    let head = parse_request(text.as_bytes(), &LIMITS, space()).unwrap();
    let needed = request(text, &FORWARDING, Some(7)).len();
    for size in 0..=needed {
        let mut room = vec![0; size];
        let mut writer = Writer::new(&mut room);
        let done = write_request(&mut writer, &head, &FORWARDING)
            .and_then(|()| finish_request(&mut writer, Some(7)));
        assert_eq!(done.is_ok(), size == needed, "{size}");
    }
}

fn response(text: &str, to_head: bool, connection: ConnectionField, body: Sent) -> String {
    let head = parse_response(text.as_bytes(), to_head, &LIMITS, space()).unwrap();
    let delivery =
        Delivery { date: DATE, connection, body, trailers: false, request_id: None, upgrade: None };
    response_by(&head, &delivery)
}

fn response_by(head: &ResponseHead<'_>, delivery: &Delivery<'_>) -> String {
    let mut room = vec![0; 1024];
    let mut writer = Writer::new(&mut room);
    write_response(&mut writer, head, delivery).unwrap();
    String::from_utf8(writer.written().to_vec()).unwrap()
}

#[test]
fn response_in_full() {
    let sent = "HTTP/1.0 299 Quite Fine\r\nServer:x\r\nContent-Length: 5\r\n\
        Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: 1\r\nUpgrade: h2c\r\n\
        Trailer: a\r\nProxy-Authenticate: Basic\r\nVia: 1.1 b\r\nForwarded: for=c\r\n\
        Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let canonical = "HTTP/1.1 299 Quite Fine\r\nServer: x\r\nContent-Length: 5\r\nVia: 1.1 b\r\n\
        Forwarded: for=c\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(response(sent, false, ConnectionField::None, Sent::AsIs), canonical);
}

#[test]
fn a_length_is_written_without_zeros_before_it() {
    for (came, written) in [("0005", "5"), ("000", "0"), ("0", "0"), ("10", "10")] {
        let sent = format!("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: {came}\r\n\r\n");
        let canonical = response(&sent, false, ConnectionField::None, Sent::AsIs);
        assert!(canonical.contains(&format!("\r\nContent-Length: {written}\r\n")), "{canonical}");
    }
}

#[test]
fn date_of_the_upstream_is_kept() {
    let sent = "HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(response(sent, false, ConnectionField::None, Sent::AsIs), sent);
}

#[test]
fn bodies_and_connections() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let close = "Connection: close\r\n";
    let table = [
        (
            200,
            chunked,
            false,
            ConnectionField::None,
            Sent::Chunked,
            "Transfer-Encoding: chunked\r\n",
        ),
        (200, "", false, ConnectionField::Close, Sent::UntilClose, close),
        (200, chunked, false, ConnectionField::Close, Sent::UntilClose, close),
        (
            200,
            length,
            false,
            ConnectionField::KeepAlive,
            Sent::AsIs,
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
        ),
        (200, length, true, ConnectionField::None, Sent::AsIs, length),
        (200, chunked, true, ConnectionField::None, Sent::AsIs, ""),
        (304, length, false, ConnectionField::None, Sent::AsIs, length),
        (204, length, false, ConnectionField::None, Sent::AsIs, ""),
        (204, chunked, false, ConnectionField::None, Sent::AsIs, ""),
        (304, chunked, false, ConnectionField::None, Sent::AsIs, ""),
        (103, chunked, false, ConnectionField::None, Sent::AsIs, ""),
    ];
    for (status, sent, to_head, connection, body, expected) in table {
        let text = format!("HTTP/1.1 {status} x\r\nDate: d\r\n{sent}\r\n");
        let written = response(&text, to_head, connection, body);
        assert_eq!(
            written,
            format!("HTTP/1.1 {status} x\r\nDate: d\r\n{expected}\r\n"),
            "{text:?}"
        );
    }
}

/// Of no concern to a gateway: conditions, ranges, credentials, what is negotiated and cached; in
/// their order, repeated or not, whatever the method.
#[test]
fn what_is_for_the_two_ends_passes_as_it_came() {
    let fields = "If-Match: \"a\"\r\nIf-None-Match: W/\"b\", *\r\nRange: bytes=5-,-9\r\n\
        If-Range: \"c\"\r\nIf-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n\
        If-Unmodified-Since: never\r\nAuthorization: Basic eA==\r\nCookie: a\r\nX: 1\r\n\
        Content-Range: bytes 1-2/3\r\nContent-Encoding: x-gzip\r\nContent-Location: /l\r\n\
        Accept-Encoding: , gzip;q=0.0001,\r\nCookie: b\r\nCache-Control: no-transform\r\n\
        Referer: /r#f\r\nUser-Agent: (\\)) \"\r\nX: 2\r\nDate: then\r\nx: 3\r\n";
    for method in ["GET", "OPTIONS", "BREW"] {
        let written =
            request(&format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), &FORWARDING, None);
        let start = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}X-Forwarded-For: ");
        assert!(written.starts_with(&start), "{written}");
    }
    let fields = "Date: then\r\nServer: s\r\nAllow: GET, BREW\r\nVary: *, a\r\nETag: W/\"b\"\r\n\
        WWW-Authenticate: Basic realm=\"a, b\", X c=d\r\nSet-Cookie: a\r\nX: 1\r\n\
        WWW-Authenticate: Y\r\nLocation: /l#f\r\nContent-Range: bytes */3\r\n\
        Accept-Ranges: none\r\nCache-Control: no-transform\r\nSet-Cookie: b\r\n\
        Last-Modified: tomorrow\r\nRetry-After: soon\r\nx: 2\r\nContent-Length: 0\r\n";
    for status in [200, 206, 299, 307, 401, 405, 416, 599] {
        let sent = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        assert_eq!(response(&sent, false, ConnectionField::None, Sent::AsIs), sent);
    }
}

/// What is named is for the next hop only, whatever it is; what frames and routes is never
/// passed on as it came, so that it is not missed.
#[test]
fn connection_names_away_what_would_be_passed_on() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 before\r\nDate: d\r\nX-Request-ID: i\r\n\
        Max-Forwards: 3\r\nX-Accel-Buffering: no\r\nCookie: c\r\nX: 1\r\n\
        Connection: via, DATE,x-request-id , max-forwards,\r\n\
        Connection: x-accel-buffering,host,,cookie, content-length\r\n\r\n";
    let written = request(sent, &FORWARDING, Some(0));
    let canonical = "GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\n\
        X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\
        Forwarded: for=192.0.2.1;host=\"h\";proto=http\r\nVia: 1.1 anteroom\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(written, canonical);
    // A count that was begun goes on.
    let counted =
        "OPTIONS / HTTP/1.1\r\nHost: h\r\nConnection: max-forwards\r\nMax-Forwards: 3\r\n\r\n";
    assert!(request(counted, &FORWARDING, None).contains("\r\nMax-Forwards: 2\r\n"));

    let sent = "HTTP/1.1 200 OK\r\nVia: 1.1 b\r\nDate: d\r\nForwarded: for=c\r\nHost: h\r\n\
        X-Forwarded-For: c\r\nExpect: e\r\nMax-Forwards: 1\r\nX-Request-ID: i\r\nX: 1\r\n\
        Trailer: x\r\nContent-Length: 5\r\nServer: s\r\n\
        Connection: via, date, forwarded, host, x-forwarded-for, expect, max-forwards\r\n\
        Connection: x-request-id, trailer, content-length, server\r\n\r\n";
    let head = parse_response(sent.as_bytes(), false, &LIMITS, space()).unwrap();
    let delivery = Delivery {
        date: DATE,
        connection: ConnectionField::None,
        body: Sent::AsIs,
        trailers: true,
        request_id: None,
        upgrade: None,
    };
    let canonical = "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 5\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(response_by(&head, &delivery), canonical);
}

/// Nothing is switched through us, but 426 without `Upgrade` would say nothing.
#[test]
fn a_required_upgrade_is_named() {
    let sent = "HTTP/1.1 426 x\r\nDate: d\r\nConnection: upgrade, close\r\nUpgrade: a/1, b\r\n\
        X: 1\r\nUpgrade: c\r\nContent-Length: 0\r\n\r\n";
    let fields = "Date: d\r\nUpgrade: a/1, b\r\nX: 1\r\nUpgrade: c\r\nContent-Length: 0\r\n\
        Connection: upgrade\r\n";
    for (connection, ours) in
        [(ConnectionField::None, ""), (ConnectionField::Close, "Connection: close\r\n")]
    {
        let expected = format!("HTTP/1.1 426 x\r\n{fields}{ours}\r\n");
        assert_eq!(response(sent, false, connection, Sent::AsIs), expected);
    }
    let other = response(&sent.replace("426", "400"), false, ConnectionField::None, Sent::AsIs);
    assert!(!other.to_ascii_lowercase().contains("upgrade"), "{other}");
    let silent = "HTTP/1.1 426 x\r\nDate: d\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(response(silent, false, ConnectionField::None, Sent::AsIs), silent);
}

#[test]
fn interim_responses_get_nothing_added_but_a_date() {
    let sent = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
    let written = response(sent, false, ConnectionField::None, Sent::AsIs);
    let expected = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(written, expected);
}

#[test]
fn an_empty_host_becomes_the_default_one() {
    let written = request("GET / HTTP/1.1\r\nHost:\r\n\r\n", &FORWARDING, None);
    assert!(written.starts_with("GET / HTTP/1.1\r\nHost: fallback\r\nX-Forwarded-For: "));
    assert!(!written.contains("X-Forwarded-Host"), "{written}");
}

#[test]
fn max_forwards_counts_down_for_options_and_trace_only() {
    let table = [
        ("OPTIONS", "max-forwards:\t 010", "Max-Forwards: 9"),
        ("TRACE", "Max-Forwards: 1", "Max-Forwards: 0"),
        ("GET", "Max-forwards: 10", "Max-forwards: 10"),
    ];
    for (method, sent, expected) in table {
        let text = format!("{method} / HTTP/1.1\r\nHost: h\r\n{sent}\r\nA: b\r\n\r\n");
        let written = request(&text, &FORWARDING, None);
        let start = format!("{method} / HTTP/1.1\r\nHost: h\r\n{expected}\r\nA: b\r\n");
        assert!(written.starts_with(&start), "{written}");
    }
}

/// A word for the proxy in a response; a client's means nothing.
#[test]
fn buffering_is_for_the_proxy_to_know() {
    let told = "HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nContent-Length: 0\r\n\r\n";
    let got = response(told, false, ConnectionField::None, Sent::AsIs);
    assert!(!got.to_ascii_lowercase().contains("accel"), "{got}");
    let asked = "GET / HTTP/1.1\r\nHost: h\r\nX-Accel-Buffering: no\r\n\r\n";
    assert!(request(asked, &FORWARDING, None).contains("X-Accel-Buffering: no\r\n"));
}

#[test]
fn a_request_id_replaces_what_came() {
    let sent = "GET / HTTP/1.1\r\nx-request-id: a\r\nHost: h\r\nX_Request_ID: b\r\n\r\n";
    let written = request(sent, &FORWARDING, None);
    assert!(written.contains("\r\nx-request-id: a\r\nX_Request_ID: b\r\n"), "{written}");
    let forwarding = Forwarding { request_id: Some(b"mine"), ..FORWARDING };
    let written = request(sent, &forwarding, None);
    assert!(written.ends_with("Via: 1.1 anteroom\r\nX-Request-ID: mine\r\n\r\n"), "{written}");
    assert_eq!(written.to_ascii_lowercase().matches("request").count(), 1, "{written}");

    let text = "HTTP/1.1 204 No\r\nDate: d\r\nX-Request-Id: theirs\r\n\r\n";
    let head = parse_response(text.as_bytes(), false, &LIMITS, space()).unwrap();
    let delivery = Delivery {
        date: DATE,
        connection: ConnectionField::None,
        body: Sent::AsIs,
        trailers: false,
        request_id: None,
        upgrade: None,
    };
    assert_eq!(response_by(&head, &delivery), text);
    let delivery = Delivery { request_id: Some(b"mine"), ..delivery };
    let expected = "HTTP/1.1 204 No\r\nDate: d\r\nX-Request-ID: mine\r\n\r\n";
    assert_eq!(response_by(&head, &delivery), expected);
}

#[test]
fn trailers_are_announced_when_they_follow() {
    let text = "HTTP/1.1 200 OK\r\nDate: d\r\nTrailer: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = parse_response(text.as_bytes(), false, &LIMITS, space()).unwrap();
    for trailers in [true, false] {
        let delivery = Delivery {
            date: DATE,
            connection: ConnectionField::None,
            body: Sent::Chunked,
            trailers,
            request_id: None,
            upgrade: None,
        };
        let expected = if trailers { text.into() } else { text.replace("Trailer: a\r\n", "") };
        assert_eq!(response_by(&head, &delivery), expected);
    }
}
