//! Whose session failed, and how: a line of the access log for each, and no secret in it.

use std::net::IpAddr;
use std::time::Duration;

use tls::Failure;
use worker::{CloseReason, Letter, Timeouts};

use crate::house::{GET, House, Setting};
use crate::secured::{End, failures, hello, setting};

const ADDRESS: &str = "192.0.2.7";

fn logging() -> Setting {
    Setting { access: Some(64 << 10), ..setting() }
}

/// What is told of those who came from there: status, reason, detail.
fn lines(house: &mut House) -> Vec<(u16, Option<CloseReason>, String)> {
    house.log(|line| {
        assert_eq!(line.peer, ADDRESS.parse::<IpAddr>().ok());
        assert!(line.text.is_empty(), "nothing it sent is told");
        (line.status, line.closed, String::from_utf8_lossy(line.detail).into_owned())
    })
}

fn told(detail: &str) -> [(u16, Option<CloseReason>, String); 1] {
    [(0, Some(CloseReason::Tls), detail.to_owned())]
}

#[test]
fn a_handshake_that_fails_has_a_line() {
    let garbage: [(&[u8], &str); 3] = [
        (b"\x16\x02nonsense", "protocol"),
        (GET.as_bytes(), "plain_http"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "protocol"),
    ];
    for (bytes, label) in garbage {
        let mut house = House::new(&logging());
        let client = house.client_from(ADDRESS);
        client.write_all(bytes);
        house.settle();
        assert_eq!(lines(&mut house), told(label), "{}", bytes.escape_ascii());
        assert_eq!(house.closed(CloseReason::Tls), 1);
        house.pass(Duration::from_secs(6));
        assert!(lines(&mut house).is_empty(), "one is enough");
    }
}

/// Late, or left: both are of those who have said something. Who said nothing was idle, or has gone.
#[test]
fn who_leaves_or_dawdles_counts_if_it_has_spoken() {
    let hello = hello();
    for (said, waits, resets) in [
        (0, false, false),
        (0, false, true),
        (0, true, false),
        (1, false, false),
        (100, false, false),
        (100, false, true),
        (100, true, false),
    ] {
        let mut house = House::new(&logging());
        let client = house.client_from(ADDRESS);
        client.write_all(&hello[..said]);
        house.settle();
        match (waits, resets) {
            (true, _) => house.pass(Duration::from_secs(11)),
            (_, true) => client.reset(),
            _ => client.end(),
        }
        house.settle();
        let (late, left) = (failures(&house, Failure::Late), failures(&house, Failure::Left));
        let spoke = said > 0;
        assert_eq!((late, left), (u64::from(spoke && waits), u64::from(spoke && !waits)));
        let closed = house.closed(CloseReason::Tls);
        assert_eq!(closed, u64::from(spoke), "{said} {waits} {resets}");
        if spoke {
            assert_eq!(lines(&mut house), told(if waits { "late" } else { "left" }));
        } else {
            assert_eq!(lines(&mut house), []);
            let idle = house.closed(CloseReason::Idle);
            assert_eq!(idle, u64::from(waits), "{said} {waits} {resets}");
        }
    }
}

/// A drain shortens what clients have for their handshakes, and lengthens it for nobody.
#[test]
fn who_dawdles_in_a_drain_has_no_more_time() {
    let timeouts = Timeouts { handshake: Duration::from_millis(20), ..Timeouts::default() };
    let mut house = House::new(&Setting { timeouts, ..logging() });
    let client = house.client_from(ADDRESS);
    client.write_all(&hello()[..100]);
    house.settle();
    house.order(|| Letter::Drain);
    house.pass(Duration::from_millis(30));
    assert!(client.has_ended() || client.is_reset(), "its time was over");
}

/// A session that fails when it is open: between requests, and in the middle of one.
#[test]
fn a_session_that_fails_has_a_line() {
    for begun in [&b""[..], b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"] {
        let mut house = House::new(&logging());
        let mut client = End::client_from(&mut house, ADDRESS);
        let mut sealed = client.sealed(begun);
        let mut tampered = client.sealed(GET.as_bytes());
        *tampered.last_mut().unwrap() ^= 1;
        if !begun.is_empty() {
            client.peer.write_all(&sealed);
            house.settle();
        }
        sealed.clear();
        client.peer.write_all(&tampered);
        house.settle();
        let lines = house.log(|line| {
            let detail = String::from_utf8_lossy(line.detail).into_owned();
            (line.status, line.closed, detail, line.received)
        });
        let received = begun.len() as u64;
        let closed = Some(CloseReason::Tls);
        assert_eq!(lines, [(0, closed, "decrypt".to_owned(), received)]);
        assert_eq!(house.closed(CloseReason::Tls), 1);
        house.pass(Duration::from_secs(6));
        house.assert_quiet();
    }
}
