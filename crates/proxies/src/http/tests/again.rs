//! A request that meets a connection closed while idle goes again, with the same bytes.

use exchange::{Exchange, Responded};
use pool::Chain;

use super::desk::{Came, Desk};
use super::samples::{bytes, canonical};
use super::source::Source;

fn ready(desk: &mut Desk, method: &str) -> Exchange {
    let head = std::format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n");
    let sent = [head.as_bytes(), &bytes(5000)].concat();
    let mut exchange = Desk::begin(Chain::new());
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(&sent)), Came::Complete);
    exchange
}

#[test]
fn an_idempotent_request_goes_again_byte_for_byte() {
    let expected = canonical("PUT", "/", "", Some(&bytes(5000)));
    for written in [0, 1, 2048, 4000, usize::MAX] {
        let mut desk = Desk::roomy();
        let mut exchange = ready(&mut desk, "PUT");
        desk.begin_lease(&mut exchange, false);
        let (seen, _) = desk.write_some(&mut exchange, written);
        assert_eq!(seen, expected[..seen.len()]);
        assert!(exchange.can_go_again());
        assert!(exchange.goes_again(&mut desk.pool).is_some());
        assert_eq!(desk.pool.promised(), 0, "the lease's promise went back");
        desk.begin_lease(&mut exchange, true);
        assert_eq!(desk.write_all(&mut exchange, 999), expected);
        assert!(!exchange.can_go_again(), "its lease did not say so");
        assert_eq!(exchange.facts.retries, 1);
        desk.end(exchange);
    }
}

#[test]
fn another_request_goes_again_only_unwritten() {
    let expected = canonical("POST", "/", "", Some(&bytes(5000)));
    let mut desk = Desk::roomy();
    let mut exchange = ready(&mut desk, "POST");
    desk.begin_lease(&mut exchange, false);
    assert!(exchange.can_go_again());
    assert!(exchange.goes_again(&mut desk.pool).is_some());
    desk.begin_lease(&mut exchange, true);
    assert_eq!(desk.write_all(&mut exchange, 4000), expected);
    desk.end(exchange);

    let mut exchange = ready(&mut desk, "POST");
    desk.begin_lease(&mut exchange, false);
    desk.write_some(&mut exchange, 1);
    assert!(!exchange.can_go_again());
    desk.write_all(&mut exchange, usize::MAX);
    assert!(!exchange.can_go_again());
    desk.end(exchange);
}

#[test]
fn a_stale_lease_does_not_count_as_going_again() {
    let mut desk = Desk::roomy();
    let mut exchange = ready(&mut desk, "PUT");
    desk.begin_lease(&mut exchange, false);
    assert!(exchange.lease_was_stale(&mut desk.pool).is_some());
    desk.begin_lease(&mut exchange, false);
    desk.write_all(&mut exchange, 4000);
    assert!(exchange.can_go_again());
    desk.end(exchange);
}

#[test]
fn a_request_never_goes_again_once_a_byte_of_a_response_came() {
    for written in [0, 100, usize::MAX] {
        for sent in [&b"H"[..], b"HTTP/1.1 100 Continue\r\n\r\n"] {
            let mut desk = Desk::roomy();
            let mut exchange = ready(&mut desk, "PUT");
            desk.begin_lease(&mut exchange, false);
            desk.write_some(&mut exchange, written);
            let answered = desk.answer(&mut exchange, &mut Source::whole(sent), false, 10);
            assert_eq!(answered.end, Responded::Incomplete);
            assert!(!exchange.can_go_again(), "{written} written");
            desk.end(exchange);
        }
    }
}

#[test]
fn a_kept_request_goes_back_with_the_response_head() {
    let mut desk = Desk::roomy();
    let mut exchange = ready(&mut desk, "PUT");
    desk.begin_lease(&mut exchange, false);
    desk.write_all(&mut exchange, usize::MAX);
    assert!(desk.pool.used() >= 3, "kept");
    let mut sent = Source::whole(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    desk.answer(&mut exchange, &mut sent, false, 0);
    assert!(desk.pool.used() <= 1);
    desk.end(exchange);
}

#[test]
fn what_is_not_kept_goes_back_as_it_is_written() {
    let mut desk = Desk::roomy();
    let mut exchange = ready(&mut desk, "POST");
    let held = desk.pool.used();
    desk.begin_lease(&mut exchange, false);
    desk.write_some(&mut exchange, 4500);
    assert!(desk.pool.used() < held);
    desk.write_all(&mut exchange, usize::MAX);
    assert_eq!(desk.pool.used(), 0);
    desk.end(exchange);
}
