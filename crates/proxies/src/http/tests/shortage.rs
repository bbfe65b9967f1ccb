//! A pool that runs short at every step: everything waits, and nothing is lost.

use std::format;
use std::vec::Vec;

use exchange::{Responded, State};
use pool::{Chain, Rank};

use super::desk::{Answered, Came, Desk};
use super::samples::{bytes, canonical, chunked, delivered, padding};
use super::source::Source;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn requests() -> Vec<(Vec<u8>, Vec<u8>)> {
    let body = bytes(1500);
    let long = padding(1500);
    let next = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let told = format!("POST / HTTP/1.1\r\nHost: h\r\n{long}Content-Length: 1500\r\n\r\n");
    let coded = format!("POST / HTTP/1.1\r\nHost: h\r\n{long}Transfer-Encoding: chunked\r\n\r\n");
    let empty = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let chunks = chunked(&body, &[1, 200, 3], ";x", "A: b\r\n");
    std::vec![
        ([GET, next].concat(), canonical("GET", "/", "", None)),
        ([told.as_bytes(), &body, next].concat(), canonical("POST", "/", &long, Some(&body))),
        ([coded.as_bytes(), &chunks, next].concat(), canonical("POST", "/", &long, Some(&body))),
        ([&empty[..], next].concat(), canonical("POST", "/", "", Some(b""))),
    ]
}

#[test]
fn a_request_short_of_buffers_at_any_step_is_the_same() {
    for (index, (sent, expected)) in requests().into_iter().enumerate() {
        let mut waits = 0;
        for buffer_bytes in [512, 2048] {
            for bit in 0..24 {
                for (shortage, piece) in [(1 << bit, 300), (1 << bit, 9000), (u64::MAX, 50 + bit)] {
                    let mut desk = Desk::new(24, buffer_bytes);
                    desk.shortage = shortage;
                    let mut exchange = Desk::begin(Chain::new());
                    let mut source = Source::pieces(&sent, piece);
                    let came = desk.take_request(&mut exchange, &mut source);
                    assert_eq!(came, Came::Complete, "{index} {bit}");
                    desk.relax();
                    let mut rest = std::vec![0; exchange.rest.len() as usize];
                    desk.pool.copy_out(&exchange.rest, &mut rest);
                    rest.extend(source.left());
                    assert!(sent.ends_with(&rest) && rest.starts_with(b"GET /next "), "{index}");
                    desk.begin_lease(&mut exchange, true);
                    assert!(desk.write_all(&mut exchange, 700) == expected, "{index} {bit}");
                    waits += desk.waits;
                    desk.end(exchange);
                }
            }
        }
        assert!(waits > 50, "{index}: the pool was never short");
    }
}

#[test]
fn a_response_short_of_buffers_at_any_step_is_the_same() {
    let body = bytes(3000);
    let long = padding(900);
    let told = format!("HTTP/1.1 200 OK\r\n{long}Content-Length: 3000\r\n\r\n");
    let coded = format!("HTTP/1.1 200 OK\r\n{long}Transfer-Encoding: chunked\r\n\r\n");
    let bare = chunked(&body, &[700, 1], "", "");
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let (length, te) = ("Content-Length: 3000\r\n", "Transfer-Encoding: chunked\r\n");
    let samples = [
        (
            [interim.as_bytes(), told.as_bytes(), &body].concat(),
            delivered("200 OK", &format!("{long}{length}"), "", &body),
        ),
        ([coded.as_bytes(), &bare].concat(), delivered("200 OK", &long, te, &bare)),
    ];
    for (sent, expected) in samples {
        let mut waits = 0;
        for bit in 0..24 {
            for (shortage, piece) in [(1 << bit, 400), (1 << bit, 9000), (u64::MAX, 50 + bit)] {
                let mut desk = Desk::new(16, 512);
                desk.shortage = shortage;
                let (_, answered, exchange) =
                    desk.exchange(GET, Source::pieces(&sent, piece), false);
                let end = Responded::Whole { reusable: true };
                assert_eq!(answered.end, end, "{bit} in pieces of {piece}");
                assert!(answered.delivered == expected, "{bit} in pieces of {piece}");
                waits += desk.waits;
                desk.end(exchange);
            }
        }
        assert!(waits > 50, "the pool was never short");
    }
}

/// The end of a chunked request takes up to two buffers, for what is behind it and for its
/// length: each may be the one that lacks.
#[test]
fn a_chunked_request_may_starve_twice_at_its_end() {
    let next = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut waits = [0; 8];
    for length in 300..812 {
        let fields = padding(length);
        let head =
            format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}Transfer-Encoding: chunked\r\n\r\n3");
        let expected = canonical("POST", "/", &fields, Some(b"abc"));
        for (spare, waits) in waits.iter_mut().enumerate() {
            let mut desk = Desk::new(24, 512);
            let mut exchange = Desk::begin(Chain::new());
            let came = desk.take_request(&mut exchange, &mut Source::whole(head.as_bytes()));
            assert_eq!(came, Came::Hungry);
            desk.hoard_all_but(spare);
            let end = [&b"\r\nabc\r\n0\r\n\r\n"[..], next].concat();
            let mut source = Source::whole(&end);
            assert_eq!(desk.take_request(&mut exchange, &mut source), Came::Complete);
            let mut behind = desk.pool.peek(&exchange.rest).collect::<Vec<_>>().concat();
            behind.extend(source.left());
            assert_eq!(behind, next);
            desk.begin_lease(&mut exchange, true);
            assert!(desk.write_all(&mut exchange, 700) == expected, "{length} {spare}");
            *waits += desk.waits;
            desk.end(exchange);
        }
    }
    assert!(waits[3] > 0 && waits[3] < 512, "{waits:?}");
}

/// A request whose head takes most of the pool: rewriting it must not need a second room of the
/// same size, for which a waiter would be granted one buffer over and over.
#[test]
fn a_long_head_is_rewritten_in_the_room_it_has() {
    let body = b"abc";
    for (framing, sent) in [
        ("Content-Length: 3\r\n", &b"abc"[..]),
        ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ] {
        for length in (2000..5200).step_by(100) {
            let fields = padding(length);
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}{framing}\r\n");
            let mut desk = Desk::new(16, 512);
            let mut exchange = Desk::begin(Chain::new());
            let mut source = Source::pieces(&[head.as_bytes(), sent].concat(), 444);
            let came = desk.take_request(&mut exchange, &mut source);
            assert_eq!(came, Came::Complete, "{framing:?} {length}");
            desk.begin_lease(&mut exchange, true);
            let expected = canonical("POST", "/", &fields, Some(body));
            assert!(desk.write_all(&mut exchange, 700) == expected, "{framing:?} {length}");
            desk.end(exchange);
        }
    }
}

/// Law 5: an exchange that holds a lease can always finish, whoever else holds the pool.
#[test]
fn the_promised_buffer_is_enough_to_finish() {
    let body = bytes(6000);
    for interim in ["", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let head = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n\r\n");
        let sent = [head.as_bytes(), &body].concat();
        let mut cuts: Vec<usize> = (0..sent.len()).step_by(100).collect();
        cuts.push(interim.len());
        let mut desk = Desk::new(8, 512);
        let mut exchange = Desk::begin(Chain::new());
        desk.take_request(&mut exchange, &mut Source::whole(GET));
        desk.begin_lease(&mut exchange, true);
        desk.write_all(&mut exchange, usize::MAX);
        let mut others = Chain::new();
        while desk.pool.extend(&mut others, Rank::Send, 0) {}
        let mut source = Source::cut(&sent, &cuts);
        let answered = desk.answer(&mut exchange, &mut source, false, u32::MAX);
        let expected = delivered("200 OK", "Content-Length: 6000\r\n", "", &body);
        assert_eq!(answered.end, Responded::Whole { reusable: true });
        assert!(answered.delivered == expected);
        desk.pool.release(others);
        desk.end(exchange);
    }
}

#[test]
fn an_interim_head_leaves_the_promise_it_was_received_into() {
    let mut desk = Desk::new(8, 512);
    let mut exchange = Desk::begin(Chain::new());
    desk.take_request(&mut exchange, &mut Source::whole(GET));
    desk.begin_lease(&mut exchange, true);
    desk.write_all(&mut exchange, usize::MAX);
    let mut interim = Source::whole(b"HTTP/1.1 100 Continue\r\n\r\n");
    let answered = desk.answer(&mut exchange, &mut interim, false, 1);
    assert_eq!(answered, Answered { delivered: Vec::new(), end: Responded::Incomplete });
    assert!(matches!(&exchange.state, State::Pending { lease, .. } if lease.promise.is_some()));
    desk.end(exchange);
}
