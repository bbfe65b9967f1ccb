//! The forms of a request target and what is said of its way: absolute-form, asterisk,
//! `Max-Forwards`.

use std::format;
use std::string::String;
use std::vec::Vec;

use exchange::{Refusal, State, Then};
use pool::Chain;
use wire::http1::{Fault, MAX_FIELDS};

use super::desk::{Came, DATE, Desk};
use super::samples::canonical;
use super::source::Source;

fn came(sent: &str) -> Came {
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
    desk.end(exchange);
    came
}

fn seen(sent: &str) -> Vec<u8> {
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
    assert_eq!(came, Came::Complete, "{sent:?}");
    desk.begin_lease(&mut exchange, true);
    let seen = desk.write_all(&mut exchange, usize::MAX);
    desk.end(exchange);
    seen
}

#[test]
fn every_form_becomes_what_an_origin_server_expects() {
    let table = [
        ("GET /a?b HTTP/1.1\r\nHost: h", "GET", "/a?b"),
        ("GET http://h/a?b HTTP/1.1\r\nHost: other", "GET", "/a?b"),
        ("GET HTTP://h HTTP/1.1\r\nHost: other", "GET", "/"),
        ("GET http://h?b HTTP/1.1\r\nHost:", "GET", "/?b"),
        ("OPTIONS * HTTP/1.1\r\nHost: h", "OPTIONS", "*"),
        ("OPTIONS http://h HTTP/1.1\r\nHost: x", "OPTIONS", "*"),
        ("OPTIONS http://h/ HTTP/1.1\r\nHost: x", "OPTIONS", "/"),
    ];
    for (start, method, target) in table {
        let sent = format!("{start}\r\n\r\n");
        assert_eq!(seen(&sent), canonical(method, target, "", None), "{sent:?}");
    }
}

#[test]
fn what_is_for_nobody_here_is_refused() {
    let table = [
        ("GET https://h/ HTTP/1.1\r\nHost: h", 421, Fault::SchemeMisdirected),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h", 400, Fault::BadTarget),
        ("GET * HTTP/1.1\r\nHost: h", 400, Fault::BadTarget),
        ("GET h:80 HTTP/1.1\r\nHost: h", 400, Fault::BadTarget),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h:80", 501, Fault::ConnectNotSupported),
        ("GET http:///a HTTP/1.1\r\nHost: h", 400, Fault::HostInvalid),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h", 400, Fault::HostInvalid),
        ("GET http://h/ HTTP/1.1", 400, Fault::HostMissing),
        ("GET / HTTP/1.1\r\nHost: :80", 400, Fault::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a b", 400, Fault::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a", 400, Fault::HostRepeated),
        ("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0", 501, Fault::TraceNotSupported),
        ("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: a", 400, Fault::MaxForwardsInvalid),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0, 1", 400, Fault::MaxForwardsInvalid),
        ("TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 1", 400, Fault::TraceWithBody),
        ("TRACE / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked", 400, Fault::TraceWithBody),
    ];
    for (start, status, fault) in table {
        let refusal = Refusal::from(fault);
        assert_eq!(refusal.status(), status);
        assert_eq!(
            came(&format!("{start}\r\n\r\n")),
            Came::Refused(refusal, Some(fault)),
            "{start}"
        );
    }
}

#[test]
fn trace_without_a_body_passes() {
    for (fields, body) in [("", None), ("Content-Length: 0\r\n", Some(&b""[..]))] {
        let sent = format!("TRACE / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(seen(&sent), canonical("TRACE", "/", "", body));
    }
}

/// Somebody may lead our requests back to us: each round adds a line to `Via`, and a head has
/// only so many.
#[test]
fn a_request_that_comes_back_to_us_is_refused_in_the_end() {
    let mut sent = String::from("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut rounds = 0;
    let end = loop {
        let mut desk = Desk::roomy();
        let mut exchange = Desk::begin(Chain::new());
        let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
        if came != Came::Complete {
            desk.end(exchange);
            break came;
        }
        desk.begin_lease(&mut exchange, true);
        sent = String::from_utf8(desk.write_all(&mut exchange, usize::MAX)).unwrap();
        desk.end(exchange);
        rounds += 1;
        assert_eq!(sent.matches("Via: 1.1 anteroom\r\n").count(), rounds);
    };
    assert_eq!(end, Came::Refused(Refusal::HeadTooLarge, Some(Fault::TooManyFields)));
    assert!(rounds <= MAX_FIELDS, "{rounds}");
}

#[test]
fn a_host_that_says_nothing_is_the_default_one() {
    let seen = seen("GET /a HTTP/1.1\r\nHost: \r\n\r\n");
    assert!(seen.starts_with(b"GET /a HTTP/1.1\r\nHost: fallback\r\n"));
}

#[test]
fn max_forwards_is_counted_down() {
    let passed = |method: &str, sent: &str| {
        seen(&format!("{method} / HTTP/1.1\r\nHost: h\r\nMax-Forwards: {sent}\r\n\r\n"))
    };
    for (method, sent, left) in
        [("OPTIONS", "2", "1"), ("TRACE", "1", "0"), ("GET", "0", "0"), ("GET", "x", "x")]
    {
        let field = format!("Max-Forwards: {left}\r\n");
        assert_eq!(passed(method, sent), canonical(method, "/", &field, None));
    }
}

#[test]
fn options_that_may_go_no_further_is_answered_by_us() {
    let date = str::from_utf8(DATE).unwrap();
    let bodies = [
        ("", ""),
        ("Content-Length: 3\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nA: b\r\n\r\n"),
    ];
    for (version, connection, then) in
        [("1.1", "", Then::Park), ("1.0", "Connection: close\r\n", Then::Close)]
    {
        for (framing, body) in bodies {
            if version == "1.0" && framing.starts_with('T') {
                continue;
            }
            let next = "GET / HTTP/1.1\r\n";
            let sent = format!(
                "OPTIONS * HTTP/{version}\r\nHost: h\r\nMax-Forwards: 0\r\n{framing}\r\n{body}{next}"
            );
            for piece in [1, 20, 1000] {
                let mut desk = Desk::new(16, 512);
                let mut exchange = Desk::begin(Chain::new());
                let mut source = Source::pieces(sent.as_bytes(), piece);
                assert_eq!(desk.take_request(&mut exchange, &mut source), Came::Answered);
                assert!(matches!(exchange.state, State::Delivering { .. }));
                assert_eq!((exchange.then, exchange.facts.status), (then, 200));
                let mut delivered = Vec::new();
                desk.deliver(&mut exchange, u32::MAX, &mut delivered);
                let expected = format!(
                    "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n{connection}\r\n"
                );
                assert_eq!(delivered, expected.as_bytes());
                let mut rest: Vec<u8> = desk.pool.peek(&exchange.rest).collect::<Vec<_>>().concat();
                rest.extend(source.left());
                assert_eq!(rest, next.as_bytes(), "what follows belongs to the next exchange");
                desk.end(exchange);
            }
        }
    }
}
