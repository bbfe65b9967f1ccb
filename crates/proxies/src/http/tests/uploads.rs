//! What the server sees of a request that it is shown as it arrives.

use std::string::String;
use std::vec::Vec;

use exchange::{Collected, Exchange, Next, Proxy, Refusal, State, Then};
use pool::{Chain, Fill, Rank};
use wire::http1::Fault;

use super::desk::{Came, Desk};
use super::samples::{bytes, chunked};
use super::source::Source;
use crate::http::Http;

const LENGTH: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

fn streaming() -> Desk {
    let mut desk = Desk::roomy();
    desk.rules.stream = Some(1 << 20);
    desk.rules.max_body = 4096;
    desk
}

/// Takes the head, begins a lease and passes on what comes; what the server saw.
fn pass_on(desk: &mut Desk, exchange: &mut Exchange, source: &mut Source) -> (Vec<u8>, Came) {
    match desk.take_request(exchange, source) {
        Came::Complete => {}
        other => return (Vec::new(), other),
    }
    desk.begin_lease(exchange, false);
    // From now on others hold all the rest.
    desk.hoard_all();
    let mut seen = Vec::new();
    loop {
        while matches!(exchange.state, State::Leased { .. })
            && exchange.next_unsent(&desk.pool) != Next::Nothing
        {
            seen.extend(desk.write_some(exchange, 700).0);
        }
        if exchange.uploads() && source.is_dry() {
            return (seen, Came::Hungry);
        }
        let Some((chain, upload)) = exchange.upload_chain() else {
            return (seen, Came::Complete);
        };
        let goes_on = upload.promise.is_some() || desk.pool.room(chain) > 0;
        assert!(goes_on, "the upload can go on whoever holds the pool");
        let fresh = if desk.pool.room(chain) > 0 { 0 } else { 2 };
        let fill = Fill { fresh, rank: Rank::Client, headroom: 0 };
        let filled = desk
            .pool
            .fill::<()>(chain, fill, &mut upload.promise, |spaces| Ok(source.read(spaces)));
        let fresh = u32::try_from(filled.unwrap()).unwrap();
        match Http.collect(exchange, fresh, &mut desk.room(Rank::Client)) {
            Collected::Incomplete { .. } | Collected::Complete => {}
            Collected::Refused(refusal, fault) => return (seen, Came::Refused(refusal, fault)),
            other => panic!("{other:?}"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_body_keeps_its_length_and_is_larger_than_what_an_exchange_may_keep() {
    let body = bytes(30_000);
    let sent = [std::format!("{LENGTH}30000\r\n\r\n").as_bytes(), &body].concat();
    for piece in [1, 13, 1000, 5000, 100_000] {
        let mut desk = streaming();
        let mut exchange = Desk::begin(Chain::new());
        let (seen, came) = pass_on(&mut desk, &mut exchange, &mut Source::pieces(&sent, piece));
        assert_eq!(came, Came::Complete);
        let (head, rest) = seen.split_at(seen.len() - body.len());
        assert!(text(head).contains("Content-Length: 30000\r\n"), "{}", text(head));
        assert!(head.ends_with(b"\r\n\r\n") && rest == body);
        assert!(matches!(exchange.state, State::Pending { .. }) && exchange.upload.is_none());
        assert!(!exchange.can_go_again(), "it is not kept");
        desk.end(exchange);
    }
}

#[test]
fn chunks_go_on_as_chunks_without_extensions_and_trailers() {
    let sent = [CHUNKED, "3;x=\"y\"\r\nabc\r\n0010\r\n0123456789abcdef\r\n0;z\r\nA: b\r\n\r\n"];
    let sent = [sent.concat().as_bytes(), b"GET /2"].concat();
    for piece in 1..sent.len() {
        let mut desk = streaming();
        let mut exchange = Desk::begin(Chain::new());
        let mut source = Source::pieces(&sent, piece);
        let (seen, came) = pass_on(&mut desk, &mut exchange, &mut source);
        assert_eq!(came, Came::Complete);
        let seen = text(&seen);
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with("\r\nTransfer-Encoding: chunked"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(body, "3\r\nabc\r\n010\r\n0123456789abcdef\r\n0\r\n\r\n");
        assert_eq!(exchange.facts.trailer_bytes, 6);
        let mut behind = std::vec![0; exchange.rest.len() as usize];
        desk.pool.copy_out(&exchange.rest, &mut behind);
        if exchange.facts.persistent {
            assert_eq!([&behind[..], source.left()].concat(), b"GET /2"[..].to_vec());
        } else {
            // No buffer to part them with: the client hears that its connection ends.
            assert!(behind.is_empty() && b"GET /2".ends_with(source.left()));
        }
        desk.end(exchange);
    }
}

#[test]
fn a_request_that_is_there_at_once_is_like_any_other() {
    let mut desk = streaming();
    let mut exchange = Desk::begin(Chain::new());
    let sent = std::format!("{LENGTH}3\r\n\r\nabcGET");
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
    assert_eq!((came, exchange.rest.len()), (Came::Complete, 3));
    assert!(exchange.upload.is_none());
    desk.end(exchange);
    let mut exchange = Desk::begin(Chain::new());
    let sent = [CHUNKED.as_bytes(), &chunked(b"abc", &[2], "", "")].concat();
    let came = desk.take_request(&mut exchange, &mut Source::whole(&sent));
    assert!(came == Came::Complete && exchange.upload.is_none());
    desk.end(exchange);
}

#[test]
fn what_is_wrong_with_a_body_is_found_on_the_way() {
    for (sent, refusal, fault) in [
        ("3\r\nabcd", Refusal::Malformed, Some(Fault::ChunkEnd)),
        ("ffff\r\n", Refusal::BodyTooLarge, None),
        ("5\r\nhello\r\n5000\r\n", Refusal::BodyTooLarge, None),
        ("0\r\nA : b\r\n", Refusal::Malformed, Some(Fault::BadTrailer)),
    ] {
        let mut desk = streaming();
        desk.rules.stream = Some(10_000);
        let mut exchange = Desk::begin(Chain::new());
        let sent = [CHUNKED, sent].concat();
        let mut source = Source::cut(sent.as_bytes(), &[CHUNKED.len()]);
        let (_, came) = pass_on(&mut desk, &mut exchange, &mut source);
        assert_eq!(came, Came::Refused(refusal, fault), "{sent}");
        desk.end(exchange);
    }
    let mut desk = streaming();
    desk.rules.stream = Some(10);
    let mut exchange = Desk::begin(Chain::new());
    let sent = std::format!("{LENGTH}11\r\n\r\n");
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
    assert_eq!(came, Came::Refused(Refusal::BodyTooLarge, None));
    desk.end(exchange);
}

/// The rest of the body is not read: whatever is answered, the client's connection ends with it.
#[test]
fn an_early_answer_ends_the_clients_connection() {
    for own in [false, true] {
        let mut desk = streaming();
        let mut exchange = Desk::begin(Chain::new());
        let sent = std::format!("{LENGTH}5000\r\n\r\nabc");
        let mut source = Source::whole(sent.as_bytes());
        assert_eq!(pass_on(&mut desk, &mut exchange, &mut source).1, Came::Hungry);
        let mut got = Vec::new();
        if own {
            assert!(exchange.give_up(&mut desk.pool).is_some());
            let mut room = desk.room(Rank::Send);
            assert!(Http.refuse(&mut exchange, Refusal::BadResponse, None, &mut room));
            desk.deliver(&mut exchange, u32::MAX, &mut got);
        } else {
            let answer = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
            got = desk.answer(&mut exchange, &mut Source::whole(answer), false, 100).delivered;
        }
        assert!(text(&got).contains("Connection: close\r\n"), "{}", text(&got));
        assert_eq!(exchange.then, Then::Linger);
        desk.end(exchange);
    }
}
