//! Responses that end with their connection: an HTTP/1.1 client gets them in chunks and is kept.

use std::format;
use std::vec::Vec;

use exchange::{Exchange, Responded, State, Then};
use pool::{Chain, Rank};

use super::desk::{Came, Desk};
use super::samples::{bytes, delivered, parted, unchunked};
use super::source::Source;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.0 200 OK\r\nServer: s\r\n\r\n";
const ENDED: Responded = Responded::Whole { reusable: false };

fn sent(body: &[u8]) -> Vec<u8> {
    [HEAD, body].concat()
}

/// Checks a whole delivery by a reader of chunks that is not ours.
fn check(got: &[u8], body: &[u8], what: &str) {
    let (head, coded) = parted(got);
    let expected = delivered("200 OK", "Server: s\r\n", "Transfer-Encoding: chunked\r\n", b"");
    assert_eq!(head, expected, "{what}");
    let (data, trailers, behind) = unchunked(&coded);
    assert!(data == body, "{what}: {} bytes for {}", data.len(), body.len());
    assert!(trailers.is_empty() && behind.is_empty(), "{what}");
}

fn pending(desk: &mut Desk) -> Exchange {
    let mut exchange = Desk::begin(Chain::new());
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(GET)), Came::Complete);
    desk.begin_lease(&mut exchange, true);
    desk.write_all(&mut exchange, usize::MAX);
    exchange
}

#[test]
fn the_body_is_the_same_wherever_it_is_cut_and_the_client_is_kept() {
    let body = bytes(300);
    let sent = sent(&body);
    for at in 0..=sent.len() {
        let mut desk = Desk::new(16, 512);
        let (_, answered, exchange) = desk.exchange(GET, Source::cut(&sent, &[at]), true);
        assert_eq!((answered.end, exchange.then), (ENDED, Then::Park));
        check(&answered.delivered, &body, &format!("cut at {at}"));
        desk.end(exchange);
    }
}

#[test]
fn bodies_of_every_size_in_pieces_of_every_size() {
    for length in [0, 1, 9, 10, 15, 16, 255, 256, 511, 512, 513, 5000, 100_000] {
        let body = bytes(length);
        for piece in [1, 5, 100, 512, 3000, 70_000] {
            if length / piece > 10_000 {
                continue;
            }
            for (buffers, buffer_bytes) in [(8, 512), (64, 2048)] {
                let mut desk = Desk::new(buffers, buffer_bytes);
                let source = Source::pieces(&sent(&body), piece);
                let (_, answered, exchange) = desk.exchange(GET, source, true);
                assert_eq!(answered.end, ENDED);
                check(&answered.delivered, &body, &format!("{length} by {piece}"));
                desk.end(exchange);
            }
        }
    }
}

#[test]
fn an_empty_body_is_the_last_chunk_alone() {
    let mut desk = Desk::roomy();
    let (_, answered, exchange) = desk.exchange(GET, Source::whole(HEAD), true);
    assert!(answered.delivered.ends_with(b"chunked\r\n\r\n0\r\n\r\n"), "{}", answered.text());
    desk.end(exchange);
}

#[test]
fn a_draining_worker_still_ends_the_body_by_its_last_chunk() {
    let mut desk = Desk::roomy();
    desk.draining = true;
    let (_, answered, exchange) = desk.exchange(GET, Source::whole(&sent(b"abc")), true);
    let ours = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let expected = delivered("200 OK", "Server: s\r\n", ours, b"3\r\nabc\r\n0\r\n\r\n");
    assert_eq!((answered.delivered, exchange.then), (expected, Then::Close));
    desk.end(exchange);
}

/// A server that drips and a client that takes nothing: the buffers stay filled.
#[test]
fn small_receives_do_not_fill_the_pool_with_empty_buffers() {
    let body = bytes(6000);
    let mut desk = Desk::new(256, 512);
    let mut exchange = pending(&mut desk);
    let mut source = Source::pieces(&sent(&body), 7);
    assert!(desk.answer_slowly(&mut exchange, &mut source).is_empty());
    let framed = exchange.output().unwrap().len();
    assert!(framed > 10_000, "five bytes of framing for seven of the body: {framed}");
    assert!(desk.pool.used() <= framed.div_ceil(512 - 12) + 1, "{} buffers", desk.pool.used());
    desk.end(exchange);
}

/// Law 5: an exchange that holds a lease can always finish, whoever else holds the pool.
#[test]
fn the_promised_buffer_is_enough_to_finish() {
    for length in [0, 1, 400, 6000] {
        let body = bytes(length);
        let mut desk = Desk::new(8, 512);
        let mut exchange = pending(&mut desk);
        let mut others = Chain::new();
        while desk.pool.extend(&mut others, Rank::Send, 0) {}
        let mut source = Source::pieces(&sent(&body), 100);
        let answered = desk.answer(&mut exchange, &mut source, true, u32::MAX);
        assert_eq!(answered.end, ENDED);
        check(&answered.delivered, &body, &format!("{length}"));
        desk.pool.release(others);
        desk.end(exchange);
    }
}

/// The last chunk may be the one that finds no room: then it waits, and is not forgotten.
#[test]
fn the_last_chunk_may_starve() {
    let mut waits = 0;
    for length in 100..400 {
        let body = bytes(length);
        let mut desk = Desk::new(24, 512);
        let mut exchange = pending(&mut desk);
        let mut source = Source::whole(&sent(&body));
        let mut early = desk.answer_slowly(&mut exchange, &mut source);
        let before = desk.waits;
        desk.hoard_all();
        let answered = desk.answer(&mut exchange, &mut source, true, 0);
        assert_eq!(answered.end, ENDED);
        early.extend(answered.delivered);
        check(&early, &body, &format!("{length}"));
        waits += desk.waits - before;
        desk.end(exchange);
    }
    assert!(waits > 0 && waits < 300, "{waits}");
}

#[test]
fn an_abandoned_body_gives_everything_back() {
    let mut desk = Desk::new(16, 512);
    let mut exchange = pending(&mut desk);
    let mut source = Source::pieces(&sent(&bytes(900)), 400);
    let taken = desk.answer_slowly(&mut exchange, &mut source);
    assert!(taken.is_empty() && desk.pool.used() > 1);
    assert!(matches!(exchange.state, State::Draining { .. }));
    desk.end(exchange);
}
