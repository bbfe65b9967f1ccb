//! What certificate authorities come for is answered by us, and by nobody else (RFC 8555 §8.3).

use std::format;
use std::sync::Arc;
use std::vec::Vec;

use exchange::{Challenges, Then};
use pool::Chain;

use super::desk::{Came, DATE, Desk};
use super::source::Source;

const PATH: &str = "/.well-known/acme-challenge/token";

fn desk() -> Desk {
    let mut desk = Desk::new(16, 512);
    let answer = ("token".into(), (*b"token.print").into());
    desk.rules.challenges = Some(Arc::new(Challenges::new([answer])));
    desk
}

#[test]
fn the_answer_is_ours_and_the_connection_goes_on() {
    let date = str::from_utf8(DATE).unwrap();
    for (method, target, version, body, connection, then) in [
        ("GET", PATH, "1.1", "token.print", "", Then::Park),
        ("HEAD", PATH, "1.1", "", "", Then::Park),
        ("GET", &*format!("http://h{PATH}?x"), "1.1", "token.print", "", Then::Park),
        ("GET", PATH, "1.0", "token.print", "Connection: close\r\n", Then::Close),
    ] {
        let next = "GET / HTTP/1.1\r\n";
        let sent = format!("{method} {target} HTTP/{version}\r\nHost: h\r\n\r\n{next}");
        for piece in [1, 20, 1000] {
            let mut desk = desk();
            let mut exchange = Desk::begin(Chain::new());
            let mut source = Source::pieces(sent.as_bytes(), piece);
            assert_eq!(desk.take_request(&mut exchange, &mut source), Came::Answered);
            assert_eq!((exchange.then, exchange.facts.status), (then, 200));
            let mut delivered = Vec::new();
            desk.deliver(&mut exchange, u32::MAX, &mut delivered);
            let expected = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Length: 11\r\n{connection}\r\n{body}"
            );
            assert_eq!(delivered, expected.as_bytes());
            let mut rest: Vec<u8> = desk.pool.peek(&exchange.rest).collect::<Vec<_>>().concat();
            rest.extend(source.left());
            assert_eq!(rest, next.as_bytes(), "what follows belongs to the next exchange");
            desk.end(exchange);
        }
    }
}

#[test]
fn what_asks_for_anything_else_is_the_servers() {
    for head in [
        "GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /.well-known/acme-challenge/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /.well-known/acme-challenge/token/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /?/.well-known/acme-challenge/token HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /.well-known/acme-challenge/token HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut desk = desk();
        let mut exchange = Desk::begin(Chain::new());
        let came = desk.take_request(&mut exchange, &mut Source::whole(head.as_bytes()));
        assert_eq!(came, Came::Complete, "{head}");
        desk.end(exchange);
    }
}

#[test]
fn it_is_answered_however_short_the_pool_runs() {
    let sent = format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(1200));
    for shortage in 0..32 {
        let mut desk = desk();
        desk.shortage = shortage | shortage << 5 | shortage << 10;
        let mut exchange = Desk::begin(Chain::new());
        let mut source = Source::pieces(sent.as_bytes(), 500);
        assert_eq!(desk.take_request(&mut exchange, &mut source), Came::Answered, "{shortage:b}");
        desk.end(exchange);
    }
}
