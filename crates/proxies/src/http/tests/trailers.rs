//! Trailers of responses: what may be passed on is, and nothing before it is known.

use std::format;
use std::string::String;
use std::vec::Vec;

use exchange::Responded;
use wire::http1::Fault;

use super::desk::Desk;
use super::samples::{bytes, chunked, delivered};
use super::source::Source;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const TE: &str = "Transfer-Encoding: chunked\r\n";
const REUSABLE: Responded = Responded::Whole { reusable: true };

/// Sections, what of them is passed on, and how many bytes are not.
fn sections() -> [(&'static str, &'static str, u32); 6] {
    [
        ("", "", 0),
        ("A:b\r\nETag: \"x\"\r\n", "A:b\r\nETag: \"x\"\r\n", 0),
        ("A: b\r\nContent-Length: 9\r\nC:\r\n", "A: b\r\nC:\r\n", 19),
        ("Transfer-Encoding: chunked\r\n", "", 28),
        ("host: x\r\nSet-Cookie: a=b\r\n", "", 26),
        ("Connection: close\r\nX: 1\r\n", "X: 1\r\n", 19),
    ]
}

#[test]
fn what_may_be_passed_on_is_wherever_it_is_cut() {
    let body = bytes(40);
    for (section, passed, dropped) in sections() {
        let coded = chunked(&body, &[30, 10], "", section);
        let sent = [HEAD.as_bytes(), &coded].concat();
        let expected = delivered("200 OK", "", TE, &chunked(&body, &[30, 10], "", passed));
        for at in 0..=sent.len() {
            for piece in [at, 1] {
                let mut desk = Desk::new(16, 512);
                let source = match piece {
                    1 => Source::pieces(&sent, 1),
                    at => Source::cut(&sent, &[at]),
                };
                let (_, answered, exchange) = desk.exchange(GET, source, false);
                assert_eq!(answered.end, REUSABLE);
                assert_eq!(answered.delivered, expected, "{section:?} cut at {at}");
                assert_eq!(exchange.facts.response_trailer_bytes, dropped, "{section:?}");
                desk.end(exchange);
            }
        }
    }
}

#[test]
fn an_old_client_gets_none() {
    for (section, ..) in sections() {
        let sent = [HEAD.as_bytes(), &chunked(b"abc", &[3], "", section)].concat();
        let mut desk = Desk::roomy();
        let (_, answered, exchange) = desk.exchange(OLD, Source::pieces(&sent, 9), false);
        let expected = delivered("200 OK", "", "Connection: close\r\n", b"abc");
        assert_eq!((answered.delivered, answered.end), (expected, REUSABLE));
        assert_eq!(exchange.facts.response_trailer_bytes as usize, section.len());
        desk.end(exchange);
    }
}

/// What the server names in `Connection` may be a trailer, too: then all are left out.
#[test]
fn what_connection_names_does_not_come_as_a_trailer() {
    for (named, passed) in
        [("a", false), ("close, A", false), ("keep-alive, close, te", true), ("vary", true)]
    {
        let head =
            HEAD.replace("\r\n\r\n", &format!("\r\nConnection: {named}\r\nTrailer: a\r\n\r\n"));
        let sent = [head.as_bytes(), &chunked(b"abc", &[2], "", "A: b\r\nC: d\r\n")].concat();
        let (announced, section) =
            if passed { ("Trailer: a\r\n", "A: b\r\nC: d\r\n") } else { ("", "") };
        let expected = delivered("200 OK", announced, TE, &chunked(b"abc", &[2], "", section));
        for piece in [1, 9, 1000] {
            let mut desk = Desk::roomy();
            let (_, answered, exchange) = desk.exchange(GET, Source::pieces(&sent, piece), false);
            assert_eq!(answered.delivered, expected, "{named}");
            let dropped = exchange.facts.response_trailer_bytes;
            assert_eq!(dropped, if passed { 0 } else { 12 }, "{named}");
            desk.end(exchange);
        }
    }
}

/// A client that takes every byte at once, and a section that turns out to be none.
#[test]
fn nothing_of_a_broken_section_reaches_the_client() {
    let table = [
        ("A: b\r\nC d\r\n", Fault::BadTrailer),
        ("A: b\r\n\rx", Fault::BareCr),
        ("A: b\nC: d\r\n", Fault::BareLf),
    ];
    for (section, fault) in table {
        let sent = format!("{HEAD}3\r\nabc\r\n0\r\n{section}");
        for piece in 1..30 {
            let mut desk = Desk::new(16, 512);
            let source = Source::pieces(sent.as_bytes(), piece);
            let (_, answered, exchange) = desk.exchange(GET, source, false);
            assert_eq!(answered.end, Responded::Broken(fault), "{section:?}");
            assert!(!answered.text().contains("A:"), "{}", answered.text());
            desk.end(exchange);
        }
    }
    let large = format!("{HEAD}0\r\nA: {}\r\n", "a".repeat(8 << 10));
    let mut desk = Desk::new(64, 512);
    let (_, answered, exchange) = desk.exchange(GET, Source::pieces(large.as_bytes(), 999), false);
    assert_eq!(answered.end, Responded::Broken(Fault::TrailerTooLarge));
    assert!(!answered.text().contains("A:"));
    desk.end(exchange);
}

#[test]
fn a_large_section_is_sifted_in_the_buffers_it_has() {
    let keep = "K: kkkkkkkkkkkkkkkkkkkk\r\n";
    let drop = "Vary: ddddddddddddddddd\r\n";
    for (section, passed) in [
        (keep.repeat(300), keep.repeat(300)),
        (drop.repeat(300), String::new()),
        ((String::from(keep) + drop).repeat(150), keep.repeat(150)),
        (String::from(drop) + &keep.repeat(300), keep.repeat(300)),
    ] {
        for body in [0, 1, 400, 900] {
            let body = bytes(body);
            let sent = [HEAD.as_bytes(), &chunked(&body, &[500], "", &section)].concat();
            let expected = delivered("200 OK", "", TE, &chunked(&body, &[500], "", &passed));
            for shortage in [0, u64::MAX, 0x5555] {
                let mut desk = Desk::new(32, 512);
                desk.shortage = shortage;
                let (_, answered, exchange) = desk.exchange(GET, Source::pieces(&sent, 600), false);
                assert_eq!(answered.end, REUSABLE);
                assert!(answered.delivered == expected, "{}", answered.text());
                desk.end(exchange);
            }
        }
    }
}

#[test]
fn bytes_behind_a_section_spend_the_connection() {
    let sent = format!("{HEAD}0\r\nA: b\r\nVary: x\r\n\r\nHTTP/1.1 200 OK\r\n");
    let mut desk = Desk::roomy();
    let (_, answered, exchange) = desk.exchange(GET, Source::whole(sent.as_bytes()), false);
    let expected: Vec<u8> = delivered("200 OK", "", TE, b"0\r\nA: b\r\n\r\n");
    assert_eq!(answered.delivered, expected);
    assert_eq!(answered.end, Responded::Whole { reusable: false });
    desk.end(exchange);
}
