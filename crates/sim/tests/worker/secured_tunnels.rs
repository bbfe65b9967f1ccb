//! How a tunnel ends whose client speaks TLS.

use std::time::Duration;

use sim::Peer;
use worker::{CloseReason, Timeouts};

use crate::house::{House, Setting, status, text};
use crate::secured::{End, setting};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

fn tunnel(house: &mut House) -> (End, Peer) {
    let mut client = End::client(house);
    client.say(house, ASK);
    let server = house.server();
    text(&server);
    server.write_all(SWITCHED);
    house.settle();
    assert_eq!(status(&client.text(house)), 101);
    (client, server)
}

/// An end is an end, with `close_notify` and without: many clients never say it, and what is in the
/// tunnel says itself when it is whole.
#[test]
fn an_end_of_the_transport_is_passed_on_as_an_end() {
    for says in [false, true] {
        let mut house = House::new(&setting());
        let (mut client, server) = tunnel(&mut house);
        client.say(&mut house, "the last");
        if says {
            client.goodbye(&mut house);
        }
        client.peer.end();
        house.settle();
        assert_eq!(text(&server), "the last");
        assert!(server.has_ended() && !server.is_reset(), "{says}");
        server.write_all(b"the answer");
        server.end();
        house.settle();
        assert_eq!(client.text(&mut house), "the answer", "the other direction goes on");
        assert!(client.closed && !client.peer.is_reset());
        assert_eq!(house.closed(CloseReason::Done), 1);
        house.assert_quiet();
    }
}

/// What breaks TLS is no end, though what came before it is passed on.
#[test]
fn a_session_that_fails_is_passed_on_as_a_break() {
    for before in ["", "the last"] {
        let mut house = House::new(&setting());
        let (mut client, server) = tunnel(&mut house);
        let mut sealed = if before.is_empty() { vec![] } else { client.sealed(before.as_bytes()) };
        sealed.extend(client.sealed(b"tampered with"));
        *sealed.last_mut().unwrap() ^= 1;
        client.peer.write_all(&sealed);
        house.settle();
        assert!(server.is_reset(), "{before}");
        house.pass(Duration::from_secs(6));
        house.assert_quiet();
    }
}

/// A tunnel whose client has sent a long record while as many are ahead of their buffers as may be, with
/// those that are, and the server's end.
fn waits_for_a_place(house: &mut House) -> (Vec<End>, End, Peer) {
    let (mut client, server) = tunnel(house);
    let body = "b".repeat(16_000);
    let ask = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16000\r\n\r\n{body}");
    let mut crowd: Vec<_> = (0..20).map(|_| End::client(house)).collect();
    for other in &mut crowd {
        let sealed = other.sealed(ask.as_bytes());
        other.peer.write_all(&sealed);
        house.settle();
    }
    let sealed = client.sealed(&[b't'; 16_000]);
    client.peer.write_all(&sealed);
    house.settle();
    assert!(text(&server).len() < 16_000, "it waits");
    (crowd, client, server)
}

fn small(timeouts: Timeouts) -> Setting {
    Setting {
        buffers: 10,
        exchange_memory: 2 << 10,
        connections: 1,
        stream: true,
        timeouts,
        ..setting()
    }
}

/// Half of a tunnel may wait until less is ahead of its buffers. When the other half ends, it goes on.
#[test]
fn half_a_tunnel_keeps_its_place() {
    let mut house = House::new(&small(Timeouts::default()));
    let (crowd, client, server) = waits_for_a_place(&mut house);
    let mut heard = text(&server).len();
    server.end();
    house.settle();
    for other in &crowd {
        other.peer.reset();
    }
    for _ in 0..20 {
        house.pass(Duration::from_millis(50));
        heard += text(&server).len();
    }
    assert!(heard > 15_000, "{heard} came");
    client.peer.reset();
    house.settle();
    house.assert_quiet();
}

/// One that is silent because its bytes wait so is cut: its other end must not take that for an orderly end.
#[test]
fn a_tunnel_whose_bytes_wait_is_not_ended_in_order() {
    let second = Duration::from_secs(1);
    let mut house = House::new(&small(Timeouts { tunnel: second, ..Timeouts::default() }));
    let (crowd, client, server) = waits_for_a_place(&mut house);
    house.pass(2 * second);
    assert!(server.is_reset());
    for other in crowd.iter().chain([&client]) {
        other.peer.reset();
    }
    house.pass(40 * second);
    house.assert_quiet();
}
