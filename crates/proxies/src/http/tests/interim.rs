//! Interim responses: passed on in order and at once, and never in the response's way.

use std::format;
use std::string::String;
use std::vec::Vec;

use exchange::{Exchange, Mishap, Outcome, Phase, Proxy, Refusal, Responded, State, outcome};
use pool::{Chain, Rank};

use super::super::Http;
use super::desk::{Came, DATE, Desk};
use super::samples::{bytes, delivered, padding};
use super::source::Source;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nDate: d\r\nLink: </a>\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
const REUSABLE: Responded = Responded::Whole { reusable: true };

fn ok() -> Vec<u8> {
    delivered("200 OK", "Content-Length: 2\r\n", "", b"ab")
}

fn leased(desk: &mut Desk, request: &[u8], written: usize) -> Exchange {
    let mut exchange = Desk::begin(Chain::new());
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(request)), Came::Complete);
    desk.begin_lease(&mut exchange, true);
    desk.write_some(&mut exchange, written);
    exchange
}

#[test]
fn a_hint_arrives_before_its_response_does() {
    for written in [5, usize::MAX] {
        let mut desk = Desk::roomy();
        let mut exchange = leased(&mut desk, GET, written);
        let mut source = Source::pieces(HINT.as_bytes(), 10);
        let answered = desk.answer(&mut exchange, &mut source, false, u32::MAX);
        assert_eq!((answered.end, answered.text()), (Responded::Incomplete, HINT.into()));
        assert!(exchange.lease().unwrap().promise.is_some(), "its buffer is promised again");
        assert_eq!(desk.pool.used(), u32::from(written == 5), "but for the request's");
        assert!(!exchange.can_go_again() && !exchange.has_begun_to_deliver());
        if written == 5 {
            desk.write_all(&mut exchange, usize::MAX);
        }
        let answered = desk.answer(&mut exchange, &mut Source::whole(OK), false, u32::MAX);
        assert_eq!((answered.end, answered.delivered), (REUSABLE, ok()));
        desk.end(exchange);
    }
}

#[test]
fn hints_that_the_client_has_not_taken_come_first() {
    let second = "HTTP/1.1 102 Processing\r\nDate: d\r\n\r\n";
    let sent = [HINT.as_bytes(), b"HTTP/1.1 100 Continue\r\n\r\n", second.as_bytes(), OK].concat();
    let expected = [HINT.as_bytes(), second.as_bytes(), &ok()].concat();
    for piece in [1, 20, 41, 1000] {
        for takes in [0, 1, 1000] {
            let mut desk = Desk::roomy();
            let mut exchange = leased(&mut desk, GET, usize::MAX);
            let mut source = Source::pieces(&sent, piece);
            let answered = desk.answer(&mut exchange, &mut source, false, takes);
            assert_eq!((answered.end, &answered.delivered), (REUSABLE, &expected));
            desk.end(exchange);
        }
    }
}

#[test]
fn fields_of_the_connection_are_taken_out_of_a_hint() {
    let sent = "HTTP/1.1 103 \r\nConnection: x, close\r\nX: 1\r\nlink:a\r\ndate:d\r\nContent-Length: 3\r\n\r\n";
    let mut desk = Desk::roomy();
    let mut exchange = leased(&mut desk, GET, usize::MAX);
    let mut source = Source::whole(sent.as_bytes());
    let answered = desk.answer(&mut exchange, &mut source, false, 10);
    assert_eq!(answered.text(), "HTTP/1.1 103 \r\nlink: a\r\ndate: d\r\n\r\n");
    desk.end(exchange);
}

#[test]
fn a_hint_without_a_date_is_given_one() {
    let mut desk = Desk::roomy();
    let mut exchange = leased(&mut desk, GET, usize::MAX);
    let mut source = Source::whole(b"HTTP/1.1 199 x\r\nA: b\r\nContent-Length: 3\r\n\r\n");
    let answered = desk.answer(&mut exchange, &mut source, false, 10);
    let date = str::from_utf8(DATE).unwrap();
    assert_eq!(answered.text(), format!("HTTP/1.1 199 x\r\nA: b\r\nDate: {date}\r\n\r\n"));
    desk.end(exchange);
}

#[test]
fn continue_and_old_clients_are_left_out() {
    let waits = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
    let old = b"GET / HTTP/1.0\r\n\r\n";
    for (request, interim) in [
        (GET, "HTTP/1.1 100 Continue\r\n\r\n"),
        (waits, "HTTP/1.1 100 Continue\r\n\r\n"),
        (old, HINT),
    ] {
        let mut desk = Desk::roomy();
        let mut exchange = leased(&mut desk, request, usize::MAX);
        let mut source = Source::whole(interim.as_bytes());
        let answered = desk.answer(&mut exchange, &mut source, false, 10);
        assert_eq!((answered.end, answered.text()), (Responded::Incomplete, String::new()));
        desk.end(exchange);
    }
}

/// Law 5: the buffer promised with the lease is enough, whoever else holds the pool.
#[test]
fn a_short_pool_leaves_hints_out_whole() {
    let body = bytes(3000);
    let head = format!("{HINT}{HINT}HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
    let sent = [head.as_bytes(), &body].concat();
    let expected = delivered("200 OK", "Content-Length: 3000\r\n", "", &body);
    for piece in [HINT.len(), 30, 2 * HINT.len(), 5000] {
        let mut desk = Desk::new(8, 512);
        let mut exchange = leased(&mut desk, GET, usize::MAX);
        let mut others = Chain::new();
        while desk.pool.extend(&mut others, Rank::Send, 0) {}
        let mut source = Source::pieces(&sent, piece);
        let answered = desk.answer(&mut exchange, &mut source, false, u32::MAX);
        assert_eq!(answered.end, REUSABLE);
        let text = &answered.delivered[..];
        let text = text.strip_prefix(HINT.as_bytes()).unwrap_or(text);
        let text = text.strip_prefix(HINT.as_bytes()).unwrap_or(text);
        assert!(text == expected, "pieces of {piece}: {}", answered.text());
        desk.pool.release(others);
        desk.end(exchange);
    }
}

/// An answer of ours stands behind what the client has not taken of hints, be it in the middle of one.
#[test]
fn an_answer_of_ours_never_stands_in_a_hint() {
    for taken in [0, 5, 60, u32::MAX] {
        let mut desk = Desk::roomy();
        let mut exchange = leased(&mut desk, GET, usize::MAX);
        assert!(!exchange.has_begun_to_deliver());
        let hints = HINT.repeat(2);
        let early = desk.answer_slowly(&mut exchange, &mut Source::whole(hints.as_bytes()));
        assert!(early.is_empty() && matches!(exchange.state, State::Pending { .. }));
        let mut delivered = Vec::new();
        desk.deliver(&mut exchange, taken, &mut delivered);
        assert_eq!(exchange.has_begun_to_deliver(), delivered.len() < hints.len());
        assert!(exchange.give_up_but_hints(&mut desk.pool).is_some());
        assert!(Http.refuse(&mut exchange, Refusal::BadResponse, None, &mut desk.room(Rank::Send)));
        desk.deliver(&mut exchange, u32::MAX, &mut delivered);
        let answer = delivered.strip_prefix(hints.as_bytes()).expect("all of the hints");
        assert!(answer.starts_with(b"HTTP/1.1 502 "), "{}", answer.escape_ascii());
        desk.end(exchange);
    }
}

/// Where there is no buffer for the answer, what is left of the hints stays, so that nobody answers
/// over it.
#[test]
fn without_a_buffer_the_rest_of_a_hint_stays() {
    let mut refused = 0;
    for length in (1000..3000).step_by(50) {
        let mut desk = Desk::roomy();
        let mut exchange = leased(&mut desk, GET, usize::MAX);
        let hint = format!("HTTP/1.1 103 \r\nDate: d\r\n{}\r\n", padding(length));
        desk.answer_slowly(&mut exchange, &mut Source::whole(hint.as_bytes()));
        assert!(exchange.give_up_but_hints(&mut desk.pool).is_some());
        desk.hoard_all();
        let room = &mut desk.room(Rank::Send);
        let answered = Http.refuse(&mut exchange, Refusal::BadResponse, None, room);
        assert!(exchange.has_begun_to_deliver());
        let mut delivered = Vec::new();
        desk.deliver(&mut exchange, u32::MAX, &mut delivered);
        let behind = delivered.strip_prefix(hint.as_bytes()).expect("all of the hint");
        // What fits behind it needs no buffer.
        assert_eq!(behind.starts_with(b"HTTP/1.1 502 "), answered);
        refused += usize::from(!answered);
        desk.relax();
        desk.end(exchange);
    }
    assert!(refused > 0, "it never fits");
}

#[test]
fn a_client_that_takes_no_hints_is_closed() {
    for phase in [Phase::Leased, Phase::Pending] {
        assert_eq!(outcome(phase, Mishap::ClientSlow), Outcome::Close);
    }
}

/// What a server may send before its response is bounded, so that neither the lease nor the pool
/// is held with hints for ever.
#[test]
fn hints_are_bounded_by_max_head() {
    let fields = padding(9000);
    let hint = format!("HTTP/1.1 103 \r\nDate: d\r\n{fields}\r\n");
    let mut desk = Desk::roomy();
    let mut exchange = leased(&mut desk, GET, usize::MAX);
    let mut source = Source::pieces(hint.repeat(10).as_bytes(), 1000);
    let answered = desk.answer(&mut exchange, &mut source, false, u32::MAX);
    let fault = wire::http1::Fault::HeadTooLarge;
    assert_eq!(answered.end, Responded::Broken(fault));
    assert_eq!(answered.text(), hint.repeat(3));
    desk.end(exchange);
}
