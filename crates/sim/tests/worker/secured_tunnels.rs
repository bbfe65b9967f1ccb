//! How a tunnel ends whose client speaks TLS.

use sim::Peer;
use worker::CloseReason;

use crate::house::{House, status, text};
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
        house.pass(std::time::Duration::from_secs(6));
        house.assert_quiet();
    }
}
