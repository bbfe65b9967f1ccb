//! What is sent over TLS and finds no room, in every state that the worker may be in meanwhile: who
//! waits for what is in `secured/slot.rs` (`Awaits`).

use std::time::Duration;

use base::id::ServerId;
use worker::CloseReason;

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{End, setting, spooling};
use crate::secured_servers::to_servers;

/// So many bytes are read at a time by who is slow.
const SIP: usize = 100;

/// A client that takes a little at a time, and the server that was asked.
fn slow_client(house: &mut House, request: &str) -> (End, sim::Peer) {
    let mut client = End::client(house);
    client.peer.set_window(SIP);
    client.say(house, request);
    let server = house.server();
    text(&server);
    (client, server)
}

/// Reads until nothing more comes.
fn drink(house: &mut House, client: &mut End) -> String {
    let mut got = String::new();
    while client.peer.unread() > 0 {
        client.part.extend(client.peer.read());
        house.settle();
    }
    got += &client.text(house);
    got
}

fn answer(length: usize) -> (Vec<u8>, String) {
    let body = "b".repeat(length);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nDate: x\r\n\r\n");
    ([head.as_bytes(), body.as_bytes()].concat(), body)
}

/// `Nothing`: what the transport takes at once is over at once.
#[test]
fn who_takes_everything_is_parked_at_once() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.say(&mut house, GET);
    let (answer, body) = answer(9000);
    house.server().write_all(&answer);
    house.assert_quiet();
    assert!(client.text(&mut house).ends_with(&body));
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), answer.len() as u64);
}

/// `Room { bytes }`: nothing counts as taken before the last byte of it was, and then all of it does.
#[test]
fn what_waits_for_room_is_told_when_all_of_it_was_taken() {
    let mut house = House::new(&setting());
    let (mut client, server) = slow_client(&mut house, GET);
    let (answer, body) = answer(3000);
    server.write_all(&answer);
    house.settle();
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), 0);
    for _ in 0..5 {
        client.part.extend(client.peer.read());
        house.settle();
        assert_eq!(house.sum(|c| c.clients_active.get()), 1, "it is not parked before");
    }
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), 0);
    assert!(drink(&mut house, &mut client).ends_with(&body));
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), answer.len() as u64);
    house.assert_quiet();
}

/// `Room { bytes: 0 }`: what counts as taken, because the rest went to the spool, counts once.
#[test]
fn what_was_counted_as_taken_is_not_told_again() {
    let mut house = House::new(&spooling());
    let (mut client, server) = slow_client(&mut house, GET);
    let (answer, body) = answer(200_000);
    let mut sent = 0;
    while sent < answer.len() {
        sent += server.write(&answer[sent..]);
        house.settle();
    }
    assert!(house.sum(|c| c.spooled.get()) > 0, "it was too much for the pool");
    let counted = house.sum(|c| c.client_bytes_out.get());
    assert!(counted > 0, "a record waits for room and counts as taken");
    assert!(drink(&mut house, &mut client).ends_with(&body));
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), answer.len() as u64);
    house.assert_quiet();
}

/// The worker has nothing more to send, and a part of what it sent waits (`Room { bytes: 0 }` of
/// `await_rest`): the exchange is not over before that was taken.
#[test]
fn an_exchange_is_over_when_its_last_byte_was_taken() {
    let spool = spool::Limits { size: 64 << 16, per_exchange: 64 << 16, per_address: 64 << 16 };
    let mut house = House::new(&Setting { buffers: 8, spool: Some(spool), ..setting() });
    let (mut client, server) = slow_client(&mut house, GET);
    let (answer, body) = answer(2000);
    server.write_all(&answer);
    house.settle();
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), 0);
    // Somebody waits for a buffer: what the slow one holds is to go to the spool, and what is encrypted
    // already counts as taken.
    let mut others: Vec<End> = (0..4).map(|_| End::client(&mut house)).collect();
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(4000));
    for other in &mut others {
        other.say(&mut house, &long);
    }
    house.pass(Duration::from_millis(300));
    assert!(house.sum(|c| c.client_bytes_out.get()) >= answer.len() as u64);
    client.part.extend(client.peer.read());
    house.settle();
    for other in &others {
        other.peer.reset();
    }
    house.settle();
    assert_eq!(house.sum(|c| c.clients_active.get()), 1, "a part waits for room");
    assert!(drink(&mut house, &mut client).ends_with(&body));
    house.assert_quiet();
}

/// Whoever takes a little is told so, and no more: it is slow, and not stalled.
#[test]
fn who_takes_nothing_at_all_is_cut_off() {
    for takes in [true, false] {
        let mut house = House::new(&setting());
        let (mut client, server) = slow_client(&mut house, GET);
        server.write_all(&answer(3000).0);
        house.settle();
        for _ in 0..5 {
            house.pass(Duration::from_secs(40));
            if takes {
                client.part.extend(client.peer.read());
            }
        }
        assert_eq!(
            house.closed(CloseReason::Stalled) + house.closed(CloseReason::Timeout) > 0,
            !takes
        );
        drop(client);
        house.pass(Duration::from_secs(5));
        house.assert_quiet();
    }
}

/// What the transport breaks over is told to who awaits room, and gives back what was kept.
#[test]
fn a_transport_that_breaks_is_told_to_who_awaits_room() {
    let mut house = House::new(&setting());
    let (client, server) = slow_client(&mut house, GET);
    server.write_all(&answer(3000).0);
    house.settle();
    assert!(house.sum(|c| c.buffers_used.get()) > 0);
    client.peer.reset();
    house.assert_quiet();
    assert_eq!(house.closed(CloseReason::Aborted), 1);
}

/// Who ended our direction awaits nothing: the last word, and the end, come behind what is unsent.
#[test]
fn our_direction_ends_behind_what_is_unsent() {
    let mut house = House::new(&setting());
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let (mut client, server) = slow_client(&mut house, ask);
    let (answer, body) = answer(50);
    server.write_all(&answer);
    house.settle();
    assert!(!client.peer.is_ended(), "nothing ends before its last byte");
    assert!(drink(&mut house, &mut client).ends_with(&body));
    assert!(client.closed && client.peer.has_ended());
    house.assert_quiet();
}

/// A pool of which nothing is free keeps no record: a short one waits aside, and is sent.
#[test]
fn where_there_is_no_buffer_a_short_record_waits_aside() {
    let mut house = House::new(&Setting { buffers: 8, exchange_memory: 6 << 10, ..setting() });
    let (mut client, server) = slow_client(&mut house, GET);
    let (answer, body) = answer(20_000);
    let (mut sent, mut got) = (0, String::new());
    for _ in 0..2000 {
        sent += server.write(&answer[sent..]);
        house.settle();
        got += &drink(&mut house, &mut client);
    }
    assert!(got.ends_with(&body), "{} bytes came", got.len());
    assert_eq!(house.sum(|c| c.client_bytes_out.get()), answer.len() as u64);
    assert_eq!(house.world.connections_to(ServerId(0)), 1);
    client.say(&mut house, GET);
    assert!(text(&server).starts_with("GET"));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&drink(&mut house, &mut client)), 200);
}

/// A server that has ended its direction is waited for as long as our last word finds no room there; if
/// its connection breaks meanwhile, that is the end of it.
#[test]
fn a_server_that_breaks_before_our_last_word_is_waited_for_no_longer() {
    for breaks in [true, false] {
        let mut house = House::new(&Setting { persistent: false, ..to_servers() });
        let client = house.client();
        house.exchange(&client, GET);
        let mut server = End::server(&mut house);
        server.text(&mut house);
        server.peer.set_window(3);
        let answer = server.sealed(OK);
        server.peer.write_all(&answer);
        server.goodbye(&mut house);
        server.peer.end();
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        assert_eq!(house.world.connections_to(ServerId(0)), 1, "a part of our last word waits");
        if breaks {
            server.peer.reset();
            house.settle();
        } else {
            assert_eq!(server.sips(&mut house), "");
            assert!(server.closed, "it is told that this was all");
        }
        assert_eq!(house.world.connections_to(ServerId(0)), 0, "{breaks}");
        house.assert_quiet();
    }
}
