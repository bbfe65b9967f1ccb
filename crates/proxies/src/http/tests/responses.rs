//! What the client gets of a response, however the server's bytes are cut.

use std::format;
use std::vec;
use std::vec::Vec;

use exchange::{Responded, Then};
use pool::Chain;
use wire::http1::Fault;

use super::desk::{Answered, Came, DATE, Desk};
use super::samples::{bytes, chunked, delivered, padding};
use super::source::Source;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const OLD_KEPT: &[u8] = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";

const REUSABLE: Responded = Responded::Whole { reusable: true };
const SPENT: Responded = Responded::Whole { reusable: false };

/// A response and what becomes of it.
struct Sample {
    request: &'static [u8],
    sent: Vec<u8>,
    /// The server closes behind it.
    ends: bool,
    delivered: Vec<u8>,
    end: Responded,
    then: Then,
}

fn samples() -> Vec<Sample> {
    let body = bytes(300);
    let sample = |request, head: &str, sent: &[u8], end, then, delivered| Sample {
        request,
        sent: [head.as_bytes(), sent].concat(),
        ends: false,
        delivered,
        end,
        then,
    };
    let told = "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n";
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n";
    let length = "Content-Length: 300\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    let close = "Connection: close\r\n";
    let plain = |ours| delivered("200 OK", length, ours, &body);
    let chunks = chunked(&body, &[1, 7, 100], ";e", "X: y\r\n");
    let bare = chunked(&body, &[1, 7, 100], "", "X: y\r\n");
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nDate: d\r\n\r\n";
    let hint = b"HTTP/1.1 103 Early Hints\r\nDate: d\r\n\r\n";
    let dated =
        "HTTP/1.1 404 Not Found\r\nDate: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n";
    let until_close = |request, head: &str, delivered| Sample {
        ends: true,
        ..sample(request, head, &body, SPENT, Then::Close, delivered)
    };
    vec![
        sample(GET, told, &body, REUSABLE, Then::Park, plain("")),
        sample(OLD, told, &body, REUSABLE, Then::Close, plain(close)),
        sample(OLD_KEPT, told, &body, REUSABLE, Then::Park, plain("Connection: keep-alive\r\n")),
        sample(
            GET,
            &format!("{early}{told}"),
            &body,
            REUSABLE,
            Then::Park,
            [&hint[..], &plain("")].concat(),
        ),
        sample(OLD, &format!("{early}{told}"), &body, REUSABLE, Then::Close, plain(close)),
        sample(GET, told, &[&body[..], b"x"].concat(), SPENT, Then::Park, plain("")),
        sample(
            GET,
            coded,
            &chunks,
            REUSABLE,
            Then::Park,
            delivered("200 OK", "Trailer: x\r\n", te, &bare),
        ),
        sample(OLD, coded, &chunks, REUSABLE, Then::Close, delivered("200 OK", "", close, &body)),
        sample(
            OLD_KEPT,
            coded,
            &[&chunks[..], b"HTTP/1.1 200 OK\r\n"].concat(),
            SPENT,
            Then::Close,
            delivered("200 OK", "", close, &body),
        ),
        sample(HEAD, told, b"", REUSABLE, Then::Park, delivered("200 OK", length, "", b"")),
        sample(HEAD, told, b"x", SPENT, Then::Park, delivered("200 OK", length, "", b"")),
        sample(HEAD, coded, b"", REUSABLE, Then::Park, delivered("200 OK", "", "", b"")),
        sample(
            GET,
            "HTTP/1.1 204 \r\nContent-Length: 9\r\n\r\n",
            b"",
            SPENT,
            Then::Park,
            delivered("204 ", "", "", b""),
        ),
        sample(
            GET,
            "HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n",
            b"",
            REUSABLE,
            Then::Park,
            delivered("304 ", "Content-Length: 9\r\n", "", b""),
        ),
        sample(
            GET,
            dated,
            b"!",
            SPENT,
            Then::Park,
            b"HTTP/1.1 404 Not Found\r\nDate: x\r\nContent-Length: 1\r\n\r\n!".to_vec(),
        ),
        until_close(OLD, "HTTP/1.0 200 OK\r\n\r\n", delivered("200 OK", "", close, &body)),
        until_close(OLD_KEPT, "HTTP/1.1 200 OK\r\n\r\n", delivered("200 OK", "", close, &body)),
    ]
}

#[test]
fn a_response_is_the_same_wherever_it_is_cut() {
    for (index, sample) in samples().into_iter().enumerate() {
        let expected = Answered { delivered: sample.delivered, end: sample.end };
        for at in 0..=sample.sent.len() {
            let mut desk = Desk::new(64, 2048);
            let source = Source::cut(&sample.sent, &[at]);
            let (_, answered, exchange) = desk.exchange(sample.request, source, sample.ends);
            // A byte too many may come after the response was whole: then the driver finds it.
            let cut_off = at >= sample.sent.len() - 20 && answered.end == REUSABLE;
            if cut_off {
                assert_eq!(answered.delivered, expected.delivered, "{index} cut at {at}");
            } else {
                assert_eq!(answered, expected, "{index} cut at {at}");
            }
            assert_eq!(exchange.then, sample.then, "{index} cut at {at}");
            desk.end(exchange);
        }
        for (buffers, buffer_bytes, piece) in [(8, 512, 1), (8, 512, 100), (16, 512, 1000)] {
            let mut desk = Desk::new(buffers, buffer_bytes);
            let source = Source::pieces(&sample.sent, piece);
            let (_, answered, exchange) = desk.exchange(sample.request, source, sample.ends);
            assert_eq!(answered.delivered, expected.delivered, "{index} in pieces of {piece}");
            desk.end(exchange);
        }
    }
}

#[test]
fn bytes_behind_a_response_never_reach_the_client() {
    for sample in samples().into_iter().filter(|sample| sample.end == SPENT && !sample.ends) {
        let mut desk = Desk::roomy();
        let source = Source::whole(&sample.sent);
        let (_, answered, exchange) = desk.exchange(sample.request, source, false);
        assert_eq!(answered, Answered { delivered: sample.delivered, end: SPENT });
        desk.end(exchange);
    }
}

#[test]
fn a_response_larger_than_the_pool_flows_through_it() {
    let body = bytes(200_000);
    let told = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bare = chunked(&body, &[3000, 1, 17], "", "");
    let te = "Transfer-Encoding: chunked\r\n";
    let length = "Content-Length: 200000\r\n";
    let framings = [
        ([told.as_bytes(), &body].concat(), delivered("200 OK", length, "", &body)),
        ([coded, &bare[..]].concat(), delivered("200 OK", "", te, &bare)),
    ];
    for (sent, expected) in framings {
        for (buffers, buffer_bytes) in [(8, 512), (8, 2048), (64, 2048)] {
            let mut desk = Desk::new(buffers, buffer_bytes);
            let (_, answered, exchange) = desk.exchange(GET, Source::pieces(&sent, 1448), false);
            assert!(answered.delivered == expected && answered.end == REUSABLE);
            desk.end(exchange);
        }
    }
}

#[test]
fn heads_longer_than_a_buffer_are_rewritten() {
    for length in [200, 250, 300, 480, 512, 600, 1700, 1800, 2048, 9000, 32_000] {
        let fields = padding(length);
        let sent = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 1\r\n\r\nx");
        let expected = delivered("200 OK", &(fields + "Content-Length: 1\r\n"), "", b"x");
        for buffer_bytes in [512, 2048] {
            // Not a buffer more than the received head needs, but the two of one receive.
            let buffers = u32::try_from(sent.len() + 256).unwrap() / buffer_bytes + 2;
            let mut desk = Desk::new(buffers.max(8), buffer_bytes);
            let source = Source::pieces(sent.as_bytes(), 333);
            let (_, answered, exchange) = desk.exchange(GET, source, false);
            assert_eq!(answered, Answered { delivered: expected.clone(), end: REUSABLE });
            desk.end(exchange);
        }
    }
}

#[test]
fn a_head_beyond_max_head_is_no_response_wherever_it_is_cut() {
    let head = |length: usize| format!("HTTP/1.1 204 \r\n{}\r\n", padding(length));
    let frame = head(0).len();
    let hint = "HTTP/1.1 103 \r\nA: bbbbbbbbbbbbbbbb\r\n\r\n".repeat(2000);
    let table = [
        (head((32 << 10) - frame), REUSABLE),
        (head((32 << 10) + 1 - frame), Responded::Broken(Fault::HeadTooLarge)),
        // Interim heads count: a server cannot keep a lease with them for ever.
        (hint, Responded::Broken(Fault::HeadTooLarge)),
    ];
    for (sent, end) in table {
        for piece in [100, 5000, 100_000] {
            let mut desk = Desk::new(16, 32 << 10);
            let (_, answered, exchange) =
                desk.exchange(GET, Source::pieces(sent.as_bytes(), piece), false);
            assert_eq!(answered.end, end, "pieces of {piece}");
            desk.end(exchange);
        }
    }
}

#[test]
fn what_is_no_response_is_told_as_such() {
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        ("SSH-2.0-x\r\n".into(), false, Fault::BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), false, Fault::BadStatusLine),
        ("HTTP/1.1 200 OK\n\n".into(), false, Fault::BareLf),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), false, Fault::UnaskedSwitch),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n".into(), false, Fault::LengthDiffers),
        ("HTTP/1.1 200 OK\r\nA: b".into(), true, Fault::HeadNotWhole),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), true, Fault::HeadNotWhole),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na".into(), true, Fault::BodyNotWhole),
        (format!("{coded}1\r\na\r\n"), true, Fault::BodyNotWhole),
        (format!("{coded}1\r\nab"), false, Fault::ChunkEnd),
        (format!("{coded}zz\r\n"), false, Fault::ChunkSize),
    ];
    for (sent, ends, fault) in table {
        for at in 0..=sent.len() {
            let mut desk = Desk::new(16, 512);
            let source = Source::cut(sent.as_bytes(), &[at]);
            let (_, answered, exchange) = desk.exchange(GET, source, ends);
            assert_eq!(answered.end, Responded::Broken(fault), "{sent:?} at {at}");
            desk.end(exchange);
        }
    }
}

#[test]
fn a_draining_worker_says_that_it_closes() {
    let sent = Source::whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut desk = Desk::roomy();
    desk.draining = true;
    let (_, answered, exchange) = desk.exchange(GET, sent, false);
    let expected = delivered("200 OK", "Content-Length: 0\r\n", "Connection: close\r\n", b"");
    assert_eq!((answered.delivered, exchange.then), (expected, Then::Close));
    desk.end(exchange);
}

#[test]
fn an_early_response_ends_the_request_and_its_connection() {
    let body = bytes(5000);
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n";
    let request = [&head[..], &body].concat();
    let sent = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    for written in [0, 1, 3000] {
        let mut desk = Desk::roomy();
        let mut exchange = Desk::begin(Chain::new());
        let came = desk.take_request(&mut exchange, &mut Source::whole(&request));
        assert_eq!(came, Came::Complete);
        desk.begin_lease(&mut exchange, true);
        let (_, done) = desk.write_some(&mut exchange, written);
        assert!(!done);
        let answered = desk.answer(&mut exchange, &mut Source::pieces(sent, 20), false, 10);
        let expected = delivered("403 Forbidden", "Content-Length: 2\r\n", "", b"no");
        assert_eq!(answered, Answered { delivered: expected, end: SPENT });
        assert_eq!(exchange.then, Then::Park, "the request was read to its end");
        desk.end(exchange);
    }
}

#[test]
fn an_early_head_may_be_completed_after_the_request_is() {
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    desk.take_request(&mut exchange, &mut Source::whole(GET));
    desk.begin_lease(&mut exchange, false);
    desk.write_some(&mut exchange, 3);
    let mut early = Source::whole(b"HTTP/1.1 200 OK\r\nCont");
    let answered = desk.answer(&mut exchange, &mut early, false, 10);
    assert_eq!(answered, Answered { delivered: vec![], end: Responded::Incomplete });
    desk.write_all(&mut exchange, 10);
    let mut late = Source::whole(b"ent-Length: 1\r\n\r\nx");
    let answered = desk.answer(&mut exchange, &mut late, false, 10);
    let expected = delivered("200 OK", "Content-Length: 1\r\n", "", b"x");
    assert_eq!(answered, Answered { delivered: expected, end: REUSABLE });
    desk.end(exchange);
}

#[test]
fn a_response_without_a_date_is_given_one() {
    let sent = Source::whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut desk = Desk::roomy();
    let (_, answered, exchange) = desk.exchange(GET, sent, false);
    assert!(answered.text().contains(str::from_utf8(DATE).unwrap()));
    desk.end(exchange);
}
