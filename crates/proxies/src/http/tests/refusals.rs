//! Our own answers, each as a client reads it.

use std::format;
use std::vec::Vec;

use exchange::{Exchange, Proxy, Refusal, Then};
use pool::{Chain, Rank};
use wire::http1::{Fault, FieldSpace, Limits, ResponseFraming, parse_response};

use super::super::Http;
use super::desk::{Came, Desk};
use super::source::Source;

const LIMITS: Limits = Limits { target: 100, fields: 20 };

/// Refuses, and gives the text that the client gets.
fn refuse(
    desk: &mut Desk,
    exchange: &mut Exchange,
    refusal: Refusal,
    fault: Option<Fault>,
) -> Vec<u8> {
    let _ = exchange.give_up(&mut desk.pool);
    assert!(Http.refuse(exchange, refusal, fault, &mut desk.room(Rank::Send)));
    assert_eq!(exchange.facts.status, refusal.status());
    let mut text = Vec::new();
    desk.deliver(exchange, u32::MAX, &mut text);
    text
}

/// The body of a whole response, or what it says of its length when it answers HEAD.
fn read(text: &[u8], to_head: bool) -> (u16, bool, u64, Vec<u8>) {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut space = FieldSpace::new();
    let head = parse_response(&text[..end], false, &LIMITS, &mut space).unwrap();
    let ResponseFraming::Length(length) = head.framing else { panic!("a refusal has a length") };
    let body = text[end..].to_vec();
    assert!(to_head || body.len() as u64 == length, "{}", text.escape_ascii());
    let says_when = head.fields.named("retry-after").is_some();
    assert_eq!(says_when, matches!(head.status, 429 | 503));
    (head.status, head.persistent, length, body)
}

fn request(desk: &mut Desk, sent: &[u8]) -> Exchange {
    let mut exchange = Desk::begin(Chain::new());
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(sent)), Came::Complete);
    exchange
}

#[test]
fn every_refusal_is_a_whole_response_that_says_what_becomes_of_the_connection() {
    for refusal in Refusal::ALL {
        for draining in [false, true] {
            let mut desk = Desk::new(8, 512);
            let mut exchange = request(&mut desk, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            desk.draining = draining;
            let text = refuse(&mut desk, &mut exchange, refusal, None);
            let (status, persistent, _, body) = read(&text, false);
            let kept = refusal.keeps_framing() && !draining;
            assert_eq!((status, persistent), (refusal.status(), kept), "{refusal:?}");
            let detail = format!("{}\n", refusal.detail());
            assert!(body.ends_with(detail.as_bytes()), "{}", body.escape_ascii());
            let then = match (kept, refusal.keeps_framing()) {
                (true, _) => Then::Park,
                (false, true) => Then::Close,
                (false, false) => Then::Linger,
            };
            assert_eq!(exchange.then, then, "{refusal:?}");
            desk.end(exchange);
        }
    }
}

#[test]
fn every_fault_is_named_in_its_refusal() {
    let faults = [Fault::BareLf, Fault::LengthAndCoding, Fault::CodingUnknown, Fault::HeadTooLarge];
    for fault in faults {
        let mut desk = Desk::new(8, 512);
        let mut exchange = Desk::begin(Chain::new());
        let text = refuse(&mut desk, &mut exchange, Refusal::from(fault), Some(fault));
        let (status, persistent, _, body) = read(&text, false);
        assert_eq!((status, persistent), (fault.status(), false));
        assert!(body.ends_with(format!("{}\n", fault.reason()).as_bytes()));
        desk.end(exchange);
    }
}

#[test]
fn the_answer_to_head_has_no_body() {
    let mut desk = Desk::roomy();
    let mut exchange = request(&mut desk, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let text = refuse(&mut desk, &mut exchange, Refusal::Silent, None);
    let (status, persistent, length, body) = read(&text, true);
    assert!(status == 504 && persistent && length > 0 && body.is_empty());
    desk.end(exchange);

    let sent = b"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999\r\n\r\n";
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent));
    assert_eq!(came, Came::Refused(Refusal::BodyTooLarge, None));
    let text = refuse(&mut desk, &mut exchange, Refusal::BodyTooLarge, None);
    assert!(read(&text, true).3.is_empty(), "{}", text.escape_ascii());
    desk.end(exchange);
}

/// What was asked is known as soon as the method has come.
#[test]
fn nor_has_it_when_the_head_is_malformed_or_not_all_there() {
    let long = format!("HEAD /{}", "a".repeat(9000));
    let table = [
        ("HEAD / HTTP/1.1\r\n\r\n", Refusal::Malformed),
        ("\r\n\r\nHEAD / HTTP/1.1\r\nHost : h\r\n\r\n", Refusal::Malformed),
        ("HEAD / HTTP/2.0\r\n\r\n", Refusal::Version),
        (&long, Refusal::TargetTooLong),
        ("HEAD / HTTP/1.1\r\nHo", Refusal::Slow),
        ("HEAD ", Refusal::Stopping),
    ];
    for (sent, refusal) in table {
        for piece in [1, 1000] {
            for (sent, is_head) in [(sent.into(), true), (sent.replacen("HEAD", "GET", 1), false)] {
                let mut desk = Desk::roomy();
                let mut exchange = Desk::begin(Chain::new());
                let mut source = Source::pieces(sent.as_bytes(), piece);
                let came = desk.take_request(&mut exchange, &mut source);
                let late = matches!(refusal, Refusal::Slow | Refusal::Stopping);
                assert!(late || matches!(came, Came::Refused(of, _) if of == refusal), "{came:?}");
                assert!(Http.refuse(&mut exchange, refusal, None, &mut desk.room(Rank::Send)));
                let mut text = Vec::new();
                desk.deliver(&mut exchange, u32::MAX, &mut text);
                let (status, _, length, body) = read(&text, is_head);
                assert_eq!((status, body.is_empty()), (refusal.status(), is_head), "{sent}");
                assert!(length > 0);
                desk.end(exchange);
            }
        }
    }
}

#[test]
fn an_old_client_is_told_that_it_is_kept() {
    let mut desk = Desk::roomy();
    let mut exchange = request(&mut desk, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let text = refuse(&mut desk, &mut exchange, Refusal::QueueFull, None);
    assert!(text.windows(24).any(|part| part == b"Connection: keep-alive\r\n"));
    assert_eq!(exchange.then, Then::Park);
    desk.end(exchange);
}

#[test]
fn what_was_pipelined_stays_with_the_connection() {
    let mut desk = Desk::roomy();
    let sent = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut exchange = request(&mut desk, sent);
    refuse(&mut desk, &mut exchange, Refusal::QueueTimeout, None);
    assert_eq!(desk.pool.peek(&exchange.rest).next(), Some(&sent[27..]));
    desk.end(exchange);
}

#[test]
fn without_a_buffer_a_refusal_fails_and_everything_is_given_up() {
    let mut desk = Desk::new(8, 512);
    let mut exchange = Desk::begin(Chain::new());
    desk.hoard_all();
    let refused = Http.refuse(&mut exchange, Refusal::Slow, None, &mut desk.room(Rank::Send));
    assert!(!refused && exchange.phase().is_none());
    desk.end(exchange);
}

#[test]
fn a_refusal_lives_on_what_the_request_gives_back() {
    let mut desk = Desk::new(8, 512);
    let mut exchange = Desk::begin(Chain::new());
    let sent = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(sent)), Came::Hungry);
    desk.hoard_all();
    let refused = Http.refuse(&mut exchange, Refusal::Slow, None, &mut desk.room(Rank::Send));
    assert!(refused);
    desk.end(exchange);
}

/// A request line may have as many bytes as the bound says, be it cut before its last byte.
#[test]
fn how_long_a_request_line_may_be_does_not_depend_on_cuts() {
    for (length, held) in [(104, true), (105, false)] {
        let method = "M".repeat(length - 40 - " / HTTP/1.1".len() + 1);
        let target = format!("/{}", "a".repeat(39));
        let sent = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(sent.find('\r'), Some(length));
        for piece in 1..sent.len() {
            let mut desk = Desk::roomy();
            desk.rules.max_target = 40;
            let mut exchange = Desk::begin(Chain::new());
            let came =
                desk.take_request(&mut exchange, &mut Source::pieces(sent.as_bytes(), piece));
            assert_eq!(came == Came::Complete, held, "{length} by {piece}: {came:?}");
            desk.end(exchange);
        }
    }
}
