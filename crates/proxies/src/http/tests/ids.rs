//! Request IDs, and the operator's own error pages.

use std::format;
use std::string::String;
use std::vec::Vec;

use exchange::{Exchange, PageType, Proxy, Refusal, RequestId};
use pool::{Chain, Rank};

use super::super::Http;
use super::desk::{Came, Desk};
use super::source::Source;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Request-Id: theirs\r\n\r\n";

fn ids(message: &[u8]) -> Vec<String> {
    let text = String::from_utf8(message.to_vec()).unwrap().to_ascii_lowercase();
    let lines = text.lines().filter_map(|line| line.strip_prefix("x-request-id: "));
    lines.map(String::from).collect()
}

fn served(desk: &mut Desk, fields: &str) -> (Vec<String>, Vec<String>) {
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let (seen, answered, exchange) = desk.exchange(request.as_bytes(), Source::whole(OK), false);
    desk.end(exchange);
    (ids(&seen), ids(&answered.delivered))
}

#[test]
fn a_sane_id_is_passed_on_both_ways() {
    let mut desk = Desk::roomy();
    desk.rules.request_ids = true;
    let (seen, answered) = served(&mut desk, "x-request-ID: a1b2-c3\r\n");
    assert_eq!((seen, answered), (std::vec!["a1b2-c3".into()], std::vec!["a1b2-c3".into()]));
}

#[test]
fn any_other_is_replaced_by_a_new_one() {
    let mut desk = Desk::roomy();
    desk.rules.request_ids = true;
    let long = format!("X-Request-ID: {}\r\n", "a".repeat(65));
    let mut made = Vec::new();
    for fields in [
        "",
        "X-Request-ID:\r\n",
        "X-Request-ID: a b\r\n",
        "X-Request-ID: <script>\r\n",
        "X-Request-ID: a\r\nX-Request-ID: b\r\n",
        "X-Request-ID: a\r\nX_Request_ID: a\r\n",
        &long,
    ] {
        let (seen, answered) = served(&mut desk, fields);
        assert_eq!(seen, answered, "{fields:?}");
        assert_eq!((seen.len(), seen[0].len()), (1, 32), "{fields:?}");
        assert!(!made.contains(&seen[0]));
        made.extend(seen);
    }
}

#[test]
fn without_ids_the_field_is_of_no_concern() {
    let (seen, answered) = served(&mut Desk::roomy(), "X-Request-ID: a b\r\n");
    assert_eq!((seen, answered), (std::vec!["a b".into()], std::vec!["theirs".into()]));
    assert!(served(&mut Desk::roomy(), "").0.is_empty());
}

#[test]
fn a_request_that_goes_again_keeps_its_id() {
    let mut desk = Desk::roomy();
    desk.rules.request_ids = true;
    let mut exchange = Desk::begin(Chain::new());
    let mut source = Source::whole(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(desk.take_request(&mut exchange, &mut source), Came::Complete);
    desk.begin_lease(&mut exchange, false);
    let first = ids(&desk.write_all(&mut exchange, usize::MAX));
    assert!(exchange.goes_again(&mut desk.pool).is_some());
    desk.begin_lease(&mut exchange, true);
    assert_eq!(ids(&desk.write_all(&mut exchange, usize::MAX)), first);
    assert_eq!(exchange.request_id.get(), Some(first[0].as_bytes()));
    desk.end(exchange);
}

fn refused(desk: &mut Desk, exchange: &mut Exchange, refusal: Refusal) -> String {
    assert!(Http.refuse(exchange, refusal, None, &mut desk.room(Rank::Send)));
    let mut text = Vec::new();
    desk.deliver(exchange, u32::MAX, &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_refusal_names_the_request_it_answers() {
    let mut desk = Desk::roomy();
    desk.rules.request_ids = true;
    let mut exchange = Desk::begin(Chain::new());
    let sent = b"OPTIONS / HTTP/1.1\r\nHost: h\r\nX-Request-ID: me\r\n\r\n";
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(sent)), Came::Complete);
    let text = refused(&mut desk, &mut exchange, Refusal::Silent);
    assert_eq!(ids(text.as_bytes()), ["me"]);
    desk.end(exchange);
    // Nothing is known of a request whose head never came.
    let mut exchange = Desk::begin(Chain::new());
    let text = refused(&mut desk, &mut exchange, Refusal::Slow);
    assert!(ids(text.as_bytes()).is_empty() && exchange.request_id == RequestId::NONE);
    desk.end(exchange);
}

#[test]
fn a_page_stands_in_for_our_two_lines() {
    let page = "<html>\u{e4}</html>\n".repeat(200);
    let mut desk = Desk::roomy();
    desk.rules.error_pages.set(502, PageType::Html, page.as_bytes()).unwrap();
    let mut exchange = Desk::begin(Chain::new());
    let text = refused(&mut desk, &mut exchange, Refusal::BadResponse);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && body == page);
    assert!(head.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", page.len())));
    desk.end(exchange);
    let mut exchange = Desk::begin(Chain::new());
    let text = refused(&mut desk, &mut exchange, Refusal::Silent);
    assert!(text.ends_with("504 Gateway Timeout\nthe server did not answer in time\n"), "{text}");
    desk.end(exchange);
}

#[test]
fn a_page_for_which_the_pool_is_too_short_gives_way_to_two_lines() {
    let mut desk = Desk::new(8, 512);
    desk.rules.error_pages.set(408, PageType::Plain, &[b'x'; 3000]).unwrap();
    desk.hoard_all_but(1);
    let mut exchange = Desk::begin(Chain::new());
    let text = refused(&mut desk, &mut exchange, Refusal::Slow);
    assert!(text.ends_with("408 Request Timeout\nthe request did not arrive in time\n"), "{text}");
    desk.end(exchange);
}
