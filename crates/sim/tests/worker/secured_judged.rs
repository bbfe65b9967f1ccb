//! What the judge found of secured connections, each as a small case of its own.

use std::time::Duration;

use sim::{DiskMode, ServerMode};
use tls::Versions;
use worker::Timeouts;

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{End, acceptor, is_answered, setting, spooling};

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// Of what goes to the spool because a client is slow, a part is encrypted already, and waits for
/// room: it is not sent a second time, nor missed.
#[test]
fn what_is_encrypted_already_does_not_go_to_the_spool() {
    let mut house = House::new(&spooling());
    let mut client = End::client(&mut house);
    client.peer.set_window(100);
    client.say(&mut house, GET);
    let server = house.server();
    text(&server);
    let body = (0..60_000).map(|number| format!("{number:04},")).collect::<Vec<_>>().concat();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sent = 0;
    while sent < answer.len() {
        sent += server.write(&answer.as_bytes()[sent..]);
        house.settle();
    }
    assert!(house.sum(|c| c.spooled.get()) > 0, "it was too much for the pool");
    client.peer.set_window(64 << 10);
    let mut got = String::new();
    for _ in 0..400 {
        got += &client.text(&mut house);
    }
    assert_eq!(got.len(), answer.len() + "Date: Sun, 01 Nov 2026 00:00:00 GMT\r\n".len());
    assert!(got.ends_with(&body));
    house.assert_quiet();
}

/// A response that only the end of its connection ends is whole when that end is said.
#[test]
fn the_last_word_comes_though_the_last_byte_left_no_room_for_it() {
    for window in (40..400).step_by(3) {
        let mut house = House::new(&setting());
        let mut client = End::client(&mut house);
        client.peer.set_window(window);
        client.say(&mut house, "GET / HTTP/1.0\r\n\r\n");
        let server = house.server();
        text(&server);
        server.write_all(OK);
        let got = client.sips(&mut house);
        assert!(got.ends_with("\r\n\r\nok"), "{window}: {got}");
        assert!(client.closed, "{window}: it is not told that this was all");
    }
}

/// It comes though the client has ended its own direction, and waits for the answer alone: in TLS 1.2,
/// too, where we might say nothing more (RFC 5246 §7.2.1).
#[test]
fn the_last_word_comes_though_its_client_has_said_its_own() {
    let [tls12, tls13] = [(true, false), (false, true)]
        .map(|(tls12, tls13)| crate::secured::speaking(tls::Versions { tls12, tls13 }));
    for setting in [tls12, tls13] {
        for window in (40..400).step_by(3) {
            let mut house = House::new(&setting);
            let mut client = End::client(&mut house);
            client.peer.set_window(window);
            client.say(&mut house, "GET / HTTP/1.0\r\n\r\n");
            client.goodbye(&mut house);
            client.peer.end();
            let server = house.server();
            text(&server);
            server.write_all(OK);
            house.settle();
            let got = client.sips(&mut house);
            assert!(got.ends_with("\r\n\r\nok"), "{window}: {got}");
            assert!(client.closed, "{window}: it is not told that this was all");
            assert_eq!(house.sum(|c| c.clients.get()), 0, "{window}: and nobody waits longer");
        }
    }
}

/// The same of a tunnel, whose ends end one after the other.
#[test]
fn the_last_word_of_a_tunnel_comes_behind_its_last_byte() {
    for window in (40..400).step_by(3) {
        let mut house = House::new(&setting());
        let mut client = End::client(&mut house);
        client.say(&mut house, UPGRADE);
        let server = house.server();
        text(&server);
        server.write_all(SWITCHED.as_bytes());
        house.settle();
        assert_eq!(status(&client.text(&mut house)), 101);
        client.peer.set_window(window);
        server.write_all(b"the last of it");
        server.end();
        house.settle();
        client.goodbye(&mut house);
        client.peer.end();
        house.settle();
        let got = client.sips(&mut house);
        assert_eq!(got, "the last of it", "{window}");
        assert!(client.closed, "{window}: it is not told that this was all");
        house.assert_quiet();
    }
}

/// And to its server.
#[test]
fn the_last_word_of_a_tunnel_comes_to_its_server_too() {
    for window in (40..400).step_by(3) {
        let mut house = House::new(&crate::secured_servers::to_servers());
        let client = house.client();
        house.exchange(&client, UPGRADE);
        let mut server = End::server(&mut house);
        server.text(&mut house);
        server.say(&mut house, SWITCHED);
        assert_eq!(status(&text(&client)), 101);
        server.peer.set_window(window);
        client.write_all(b"the last of it");
        client.end();
        house.settle();
        server.goodbye(&mut house);
        server.peer.end();
        house.settle();
        let got = server.sips(&mut house);
        assert_eq!(got, "the last of it", "{window}");
        assert!(server.closed, "{window}: it is not told that this was all");
        assert_eq!(house.world.connections_to(base::id::ServerId(0)), 0, "{window}");
        house.assert_quiet();
    }
}

/// What was decrypted and not asked for is of no interest when the connection lingers, and keeps
/// nobody busy.
#[test]
fn what_is_ahead_keeps_nobody_busy_who_lingers() {
    let mut house = House::new(&Setting { buffers: 8, exchange_memory: 4 << 10, ..setting() });
    let mut client = End::client(&mut house);
    let body = "b".repeat(40_000);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n";
    client.say(&mut house, &format!("{head}{body}"));
    assert_eq!(status(&client.text(&mut house)), 413);
    house.assert_quiet();
}

/// A record may bring more than a request may keep in the pool: where bodies are streamed it goes on
/// all the same.
#[test]
fn a_body_that_is_streamed_may_be_there_at_once() {
    let exchange_memory = 6 << 10;
    let mut house = House::new(&Setting { exchange_memory, stream: true, ..setting() });
    let mut client = End::client(&mut house);
    let body = "b".repeat(9000);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n";
    client.say(&mut house, &format!("{head}{body}"));
    is_answered(&mut house, &mut client, &body);
}

/// A client that takes a little all the time is slow, and not stalled: each piece that it takes
/// counts, however much was encrypted at once.
#[test]
fn whoever_takes_a_little_all_the_time_is_not_cut_off() {
    let mut house = House::new(&setting());
    let mut client = End::client(&mut house);
    client.peer.set_window(500);
    client.say(&mut house, GET);
    let server = house.server();
    text(&server);
    let body = "b".repeat(9000);
    server.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{body}").as_bytes());
    house.settle();
    for _ in 0..30 {
        house.pass(Duration::from_secs(40));
        client.part.extend(client.peer.read());
        house.settle();
    }
    assert!(client.text(&mut house).ends_with(&body));
    house.assert_quiet();
}

/// What of a request is encrypted may be on its way, in part or whole, though the worker was not told so
/// yet: what must not be sent twice is not.
#[test]
fn a_request_that_is_on_its_way_over_tls_does_not_go_again() {
    let mut house = House::new(&crate::secured_servers::to_servers());
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::server(&mut house);
    server.text(&mut house);
    server.say(&mut house, std::str::from_utf8(OK).unwrap());
    assert_eq!(status(&text(&client)), 200);
    let body = "b".repeat(9000);
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n{body}");
    server.peer.set_window(300);
    house.exchange(&client, &post);
    assert!(server.peer.unread() > 0, "a part of a record came");
    server.peer.reset();
    house.settle();
    assert_eq!(status(&text(&client)), 502);
    assert!(house.world.accept(base::id::ServerId(0)).is_none(), "nobody is asked again");
    house.assert_quiet();
}

/// A server that answers before it has read everything is parted from as any other, though some of the
/// request waits for room.
#[test]
fn a_server_that_answers_early_over_tls_is_parted_from() {
    let mut house = House::new(&Setting { stream: true, ..crate::secured_servers::to_servers() });
    let client = house.client();
    house.exchange(&client, GET);
    let mut server = End::server(&mut house);
    server.text(&mut house);
    server.say(&mut house, std::str::from_utf8(OK).unwrap());
    assert_eq!(status(&text(&client)), 200);
    server.peer.set_window(300);
    let body = "b".repeat(2000);
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n{body}");
    house.exchange(&client, &post);
    assert!(server.peer.unread() > 0, "a part of a record came");
    server.say(&mut house, std::str::from_utf8(OK).unwrap());
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(house.world.connections_to(base::id::ServerId(0)), 1, "its end is awaited");
    let got = server.sips(&mut house);
    assert!(got.ends_with(&body) && server.closed, "it has the rest, and our last word");
    server.peer.end();
    house.settle();
    assert_eq!(house.world.connections_to(base::id::ServerId(0)), 0);
}

/// A connection to a server may be handed to another worker while the last of its handshake still waits
/// for room: that goes along, and the server can read what comes behind it (seed 3674).
#[test]
fn what_a_handshake_still_has_to_say_goes_along() {
    let mut house = House::new(&Setting { workers: 2, ..crate::secured_servers::to_servers() });
    let [one, other] = [house.client_of(0), house.client_of(1)];
    house.exchange(&one, GET);
    let mut server = End::new(house.server(), acceptor(Versions::default()).accept().unwrap());
    house.exchange(&other, GET);
    one.reset();
    house.settle();
    // It answers the hello, and takes nothing of what comes behind that.
    server.peer.set_window(0);
    server.hear(&mut house);
    let sessions = |house: &House| [0, 1].map(|worker| house.counters[worker].tls_sessions.get());
    assert_eq!(sessions(&house), [0, 1], "it is the other worker's");
    server.peer.set_window(64 << 10);
    house.settle();
    assert!(server.text(&mut house).starts_with("GET /a "), "{:?}", server.failed);
    server.say(&mut house, std::str::from_utf8(OK).unwrap());
    assert_eq!(status(&text(&other)), 200);
    house.assert_quiet();
}

/// Behind a full spool a response that its client does not take stalls. When the pool is short, what of it
/// is encrypted counts as taken: then there is room for more of it, and its server does not wait until
/// its client takes something (seed 3300000885).
#[test]
fn a_response_beside_a_full_spool_goes_on_by_what_is_encrypted() {
    let two = 2 << 16;
    let spool = spool::Limits { size: two, per_exchange: two, per_address: two };
    let exchange_memory = 16 << 10;
    let full = Setting { buffers: 48, exchange_memory, spool: Some(spool), ..setting() };
    let mut house = House::new(&full);
    // All there is on the disk is taken.
    let mut hogs = [End::client(&mut house), End::client(&mut house)];
    for hog in &mut hogs {
        hog.say(&mut house, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
        for _ in 0..6 {
            hog.say(&mut house, &"b".repeat(4000));
        }
    }
    assert_eq!(house.spool.as_ref().map(|spool| spool.held()), Some(2));
    // It takes nothing: the beginning of its response is encrypted, and waits for room.
    let mut client = End::client(&mut house);
    client.peer.set_window(0);
    client.say(&mut house, GET);
    let server = house.server();
    text(&server);
    let body = "b".repeat(40_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n{body}");
    for piece in [0..12_000, 12_000..18_000, 18_000..30_000, 30_000..answer.len()] {
        server.write_all(answer[piece].as_bytes());
        house.settle();
    }
    let left = answer.len() - 30_000;
    assert_eq!(server.unreceived(), left, "it is behind by too much");
    // It takes the first record: the next is encrypted, and waits.
    client.peer.set_window(12_500);
    house.settle();
    assert_eq!(server.unreceived(), left, "it still is");
    house.pass(Duration::from_millis(200));
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(7000));
    let mut crowd: Vec<_> = (0..12).map(|_| End::client(&mut house)).collect();
    for other in &mut crowd {
        other.say(&mut house, &long);
    }
    house.pass(Duration::from_millis(150));
    for other in &crowd {
        other.peer.reset();
    }
    house.settle();
    assert_eq!(server.unreceived(), 0, "it goes on");
    client.peer.set_window(64 << 10);
    assert!(client.sips(&mut house).ends_with(&body));
    for hog in &hogs {
        hog.peer.reset();
    }
    house.assert_quiet();
}

/// A body that waits until less is ahead of its buffers goes to the disk meanwhile, because the pool is
/// short. When the disk has done that, nobody reads on before: its client is not slow (seed 3400005286).
#[test]
fn who_waits_for_a_place_is_not_slow_when_the_disk_is_done() {
    let second = Duration::from_secs(1);
    let long = 50 * second;
    let timeouts =
        Timeouts { body_progress: second, head: long, queue: long, ..spooling().timeouts };
    let small = Setting { buffers: 8, exchange_memory: 4 << 10, connections: 1, ..spooling() };
    let mut house = House::new(&Setting { timeouts, ..small });
    house.world.set_disk_room(1);
    house.world.set_disk(DiskMode::Slow(Duration::from_millis(900)));
    house.world.set_server(base::id::ServerId(0), ServerMode::Hangs);
    let mut hog = End::client(&mut house);
    hog.say(&mut house, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    let mut client = End::client(&mut house);
    client.say(&mut house, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n");
    client.say(&mut house, &"x".repeat(300));
    // The disk has as much to do as it may have.
    for _ in 0..4 {
        hog.say(&mut house, &"b".repeat(2000));
    }
    // As many are ahead of their buffers as may be, and wait for more.
    let head = "h".repeat(6000);
    let body = "b".repeat(9500);
    let ask =
        format!("POST / HTTP/1.1\r\nHost: h\r\nX: {head}\r\nContent-Length: 9500\r\n\r\n{body}");
    let mut crowd: Vec<_> = (0..4).map(|_| End::client(&mut house)).collect();
    for other in &mut crowd {
        other.say(&mut house, &ask);
    }
    client.say(&mut house, &"x".repeat(16_000));
    for _ in 0..30 {
        house.pass(second / 10);
        let waits = client.peer.unreceived() > 0;
        assert_eq!((waits, client.text(&mut house).as_str()), (true, ""));
    }
    house.order(|| worker::Letter::Stop);
}
