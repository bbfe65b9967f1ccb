//! Tunnels: an exchange that goes on in a protocol of its own (RFC 9110 §7.8).

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use sim::{Peer, WorldConfig};
use std::time::Duration;
use worker::{CloseReason, Letter, Timeouts};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: k\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";
const MINUTE: Duration = Duration::from_mins(1);

/// A client whose tunnel has begun, and the server's end of it.
fn tunnel(house: &mut House) -> (Peer, Peer) {
    let client = house.client();
    house.exchange(&client, ASK);
    let server = house.server();
    let request = text(&server);
    assert!(request.contains("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"), "{request}");
    server.write_all(SWITCHED.as_bytes());
    house.settle();
    let head = text(&client);
    assert!(status(&head) == 101 && head.contains("Upgrade: websocket\r\n"), "{head}");
    let date = head.lines().find_map(|line| line.strip_prefix("Date: "));
    assert!(date.is_some_and(|date| date.ends_with(" GMT")), "{head}");
    assert!(head.ends_with("\r\n\r\n") && head.contains("Sec-WebSocket-Accept: a\r\n"), "{head}");
    (client, server)
}

/// What is sent from one to the other arrives, and nothing else.
fn say(house: &mut House, from: &Peer, to: &Peer, what: &str) {
    from.write_all(what.as_bytes());
    house.settle();
    assert_eq!(text(to), what);
}

fn buffers(house: &House) -> u64 {
    house.sum(|c| c.buffers_used.get() + c.buffers_promised.get())
}

fn refusals(house: &House) -> u64 {
    house.sum(|c| c.refusals.iter().map(base::counter::Counter::get).sum())
}

fn tunnels(house: &House) -> u64 {
    house.sum(|c| c.exchanges[exchange::Phase::Tunnel as usize].get())
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_holds_nothing_while_it_is_silent() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let pairs: Vec<_> = (0..8).map(|_| tunnel(&mut house)).collect();
    assert_eq!(house.world.connections_to(ServerId(0)), 8, "none keeps the lease from another");
    house.settle();
    assert_eq!((buffers(&house), tunnels(&house)), (0, 8));
    for minute in 0..50 {
        house.pass(MINUTE);
        for (number, (client, server)) in pairs[..4].iter().enumerate() {
            say(&mut house, client, server, &format!("up {minute} {number}"));
            say(&mut house, server, client, &format!("down {minute} {number}"));
        }
        assert_eq!(buffers(&house), 0);
    }
    // The others were silent for longer than `tunnel` in the end.
    house.pass(11 * MINUTE);
    for (number, (client, server)) in pairs.iter().enumerate() {
        assert_eq!(client.is_closed() && server.is_closed(), number >= 4, "{number}");
        assert!(!client.is_reset() && !server.is_reset(), "nothing is missing");
    }
    assert_eq!((house.closed(CloseReason::Idle), tunnels(&house)), (4, 4));
    for (client, _) in &pairs {
        client.reset();
    }
    house.assert_quiet();
    assert_eq!(house.world.connections_to(ServerId(0)), 0);
}

#[test]
fn what_stands_behind_the_101_or_behind_the_request_is_the_tunnels() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, &format!("{ASK}early"));
    let server = house.server();
    let request = text(&server);
    assert!(request.ends_with("\r\n\r\n") && !request.contains("early"), "{request}");
    house.exchange(&client, " birds");
    assert_eq!(text(&server), "", "not a byte before the server has switched");
    server.write_all(format!("{SWITCHED}hello").as_bytes());
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 101 && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(text(&server), "early birds");
    client.reset();
    house.assert_quiet();
}

#[test]
fn hints_go_before_the_101() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, ASK);
    let server = house.server();
    server.write_all(format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{SWITCHED}x").as_bytes());
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 103 && answer.ends_with("\r\n\r\nx"), "{answer}");
    assert!(answer.contains("\r\n\r\nHTTP/1.1 101 "), "{answer}");
    client.reset();
    house.assert_quiet();
}

/// A hint that the client has taken half of does not hide that nothing is switched.
#[test]
fn a_refused_switch_behind_half_a_hint_is_told() {
    let mut house = House::new(&Setting { pinned: 0, ..Setting::default() });
    let client = house.client();
    client.set_window(10);
    house.exchange(&client, ASK);
    let server = house.server();
    server.write_all(format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{SWITCHED}x").as_bytes());
    house.settle();
    client.set_window(1000);
    let mut answer = text(&client);
    house.settle();
    answer += &text(&client);
    assert!(status(&answer) == 103 && answer.contains("\r\n\r\nHTTP/1.1 503 "), "{answer}");
    house.assert_quiet();
}

/// Who has ended may be gone for good, and a server that does not notice would keep its place.
#[test]
fn half_of_a_tunnel_may_not_be_silent_for_long() {
    for client_first in [true, false] {
        let mut house = House::new(&Setting::default());
        let (client, server) = tunnel(&mut house);
        let (first, second) = if client_first { (&client, &server) } else { (&server, &client) };
        first.end();
        house.settle();
        assert!(second.has_ended());
        // Whoever still speaks is heard.
        for number in 0..5 {
            house.pass(Duration::from_secs(50));
            say(&mut house, second, first, &number.to_string());
        }
        house.pass(Duration::from_secs(59));
        assert_eq!(tunnels(&house), 1);
        house.pass(Duration::from_secs(2));
        assert_eq!((house.closed(CloseReason::Idle), tunnels(&house)), (1, 0));
        assert!(first.has_ended() && !first.is_reset(), "it has all that was said");
        house.assert_quiet();
        assert_eq!(house.world.connections_to(ServerId(0)), 0);
    }
}

#[test]
fn an_end_is_passed_on_and_the_other_direction_goes_on() {
    for client_first in [true, false] {
        let mut house = House::new(&Setting::default());
        let (client, server) = tunnel(&mut house);
        let (first, second) = if client_first { (&client, &server) } else { (&server, &client) };
        first.write_all(b"last words");
        first.end();
        house.settle();
        assert_eq!(text(second), "last words");
        assert!(second.has_ended() && !second.is_closed(), "the end follows the last byte");
        for number in 0..3 {
            say(&mut house, second, first, &format!("still here {number}"));
        }
        assert_eq!(tunnels(&house), 1);
        second.write_all(b"bye");
        second.end();
        house.settle();
        assert_eq!(text(first), "bye");
        assert!(first.has_ended() && !first.is_reset() && !second.is_reset());
        assert_eq!((house.closed(CloseReason::Done), tunnels(&house)), (1, 0));
        house.assert_quiet();
        assert_eq!(house.world.connections_to(ServerId(0)), 0);
    }
}

#[test]
fn a_failure_of_one_end_resets_the_other() {
    for by_client in [true, false] {
        let mut house = House::new(&Setting::default());
        let (client, server) = tunnel(&mut house);
        let (broken, other) = if by_client { (&client, &server) } else { (&server, &client) };
        broken.reset();
        house.settle();
        assert!(other.is_reset(), "by the client: {by_client}");
        let reason = if by_client { CloseReason::Aborted } else { CloseReason::Upstream };
        assert_eq!(house.closed(reason), 1);
        house.assert_quiet();
        assert_eq!(house.world.connections_to(ServerId(0)), 0);
    }
}

#[test]
fn a_receiver_that_takes_nothing_holds_the_sender_back() {
    for down in [true, false] {
        let world = WorldConfig { pipe_bytes: 4096, ..WorldConfig::default() };
        let mut house = House::new(&Setting { world, buffers: 256, ..Setting::default() });
        let (client, server) = tunnel(&mut house);
        let (from, to) = if down { (&server, &client) } else { (&client, &server) };
        let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let mut sent = 0;
        loop {
            let written = from.write(&bytes[sent..]);
            sent += written;
            house.settle();
            if written == 0 {
                break;
            }
        }
        let most = u64::from(base::limits::TUNNEL_BUFFERS);
        assert!(buffers(&house) <= most && sent < 128 << 10, "{} {sent}", buffers(&house));
        // The other direction is not kept from going on.
        say(&mut house, to, from, "meanwhile");
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            got.extend(to.read());
            sent += from.write(&bytes[sent..]);
            house.settle();
        }
        assert!(got == bytes, "every byte, in order");
        assert_eq!(buffers(&house), 0);
        client.reset();
        house.assert_quiet();
    }
}

#[test]
fn who_takes_nothing_for_too_long_loses_the_tunnel() {
    for down in [true, false] {
        let world = WorldConfig { pipe_bytes: 4096, ..WorldConfig::default() };
        let mut house = House::new(&Setting { world, ..Setting::default() });
        let (client, server) = tunnel(&mut house);
        let (from, to) = if down { (&server, &client) } else { (&client, &server) };
        // Whatever the sender says, and whatever the other direction does.
        for _ in 0..2 {
            while from.write(&[b'x'; 8192]) > 0 {
                house.settle();
            }
            house.pass(Duration::from_secs(29));
            say(&mut house, to, from, "alive");
        }
        assert_eq!(tunnels(&house), 1);
        house.pass(Duration::from_secs(3));
        assert_eq!(tunnels(&house), 0);
        assert!(from.is_reset() && to.is_reset(), "something is missing");
        let reason = if down { CloseReason::Timeout } else { CloseReason::Upstream };
        assert_eq!(house.closed(reason), 1);
        house.assert_quiet();
    }
}

#[test]
fn more_than_may_be_pinned_are_told_so_and_nothing_is_switched() {
    let mut house = House::new(&Setting { pinned: 2, ..Setting::default() });
    let kept: Vec<_> = (0..2).map(|_| tunnel(&mut house)).collect();
    let client = house.client();
    house.exchange(&client, ASK);
    let server = house.server();
    server.write_all(format!("{SWITCHED}hello").as_bytes());
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 503 && !answer.contains("hello"), "{answer}");
    assert!(server.is_closed() && !client.is_closed());
    assert_eq!(refusals(&house), 1);
    kept[0].0.reset();
    house.settle();
    house.exchange(&client, ASK);
    let server = house.server();
    server.write_all(SWITCHED.as_bytes());
    house.settle();
    assert_eq!(status(&text(&client)), 101);
    client.reset();
    kept[1].0.reset();
    house.assert_quiet();
}

#[test]
fn every_other_answer_is_an_ordinary_one() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, ASK);
    let server = house.server();
    for answer in [
        "HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert!(text(&server).contains("Upgrade: websocket\r\n"));
        server.write_all(answer.as_bytes());
        house.settle();
        let got = text(&client);
        // A 426 means nothing without it.
        let named = got.to_lowercase().contains("upgrade:");
        assert_eq!(named, status(answer) == 426, "{got}");
        assert_eq!(status(&got), status(answer));
        house.exchange(&client, ASK);
    }
    assert_eq!(house.world.connections_to(ServerId(0)), 1, "the connection goes on");
    assert_eq!(tunnels(&house), 0);
    client.reset();
    house.assert_quiet();
}

#[test]
fn bytes_behind_a_request_that_is_not_switched_are_the_next_request() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, &format!("{ASK}{GET}"));
    let server = house.server();
    text(&server);
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert!(text(&server).starts_with("GET /a "));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_101_that_was_not_asked_for_is_502() {
    let other = SWITCHED.replace("websocket", "other");
    for (ask, answer) in [
        (GET, SWITCHED),
        (ASK, other.as_str()),
        (ASK, "HTTP/1.1 101 x\r\n\r\n"),
        (&ASK.replace("HTTP/1.1", "HTTP/1.0"), SWITCHED),
        (&ASK.replace("websocket", "h2c"), &SWITCHED.replace("websocket", "h2c")),
        (&ASK.replace("Connection: Upgrade\r\n", ""), SWITCHED),
    ] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, ask);
        let server = house.server();
        server.write_all(answer.as_bytes());
        house.settle();
        assert_eq!(status(&text(&client)), 502, "{ask} {answer}");
        assert!(server.is_closed());
        assert_eq!(tunnels(&house), 0);
        client.reset();
        house.assert_quiet();
    }
}

#[test]
fn another_version_of_http_is_never_asked_for() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n\
               Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    house.exchange(&client, ask);
    let server = house.server();
    let request = text(&server).to_lowercase();
    for gone in ["upgrade", "h2c", "http2-settings", "connection"] {
        assert!(!request.contains(gone), "{gone}: {request}");
    }
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_body_beside_upgrade_comes_first() {
    for stream in [false, true] {
        let mut house = House::new(&Setting { stream, ..Setting::default() });
        let client = house.client();
        let ask = ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n");
        house.exchange(&client, &format!("{ask}bo"));
        if stream {
            // A server that switches before it has the body is wrong.
            let server = house.server();
            server.write_all(SWITCHED.as_bytes());
            house.settle();
            assert_eq!(status(&text(&client)), 502);
            client.reset();
            house.assert_quiet();
            continue;
        }
        house.exchange(&client, "dytunnel");
        let server = house.server();
        let request = text(&server);
        assert!(request.ends_with("\r\n\r\nbody"), "{request}");
        server.write_all(SWITCHED.as_bytes());
        house.settle();
        assert_eq!(status(&text(&client)), 101);
        assert_eq!(text(&server), "tunnel");
        client.reset();
        house.assert_quiet();
    }
}

#[test]
fn a_drain_ends_silent_tunnels_soon_and_the_others_at_its_end() {
    let timeouts = Timeouts { drain: Duration::from_secs(30), ..Timeouts::default() };
    let mut house = House::new(&Setting { timeouts, ..Setting::default() });
    let silent = tunnel(&mut house);
    let flowing = tunnel(&mut house);
    house.order(|| Letter::Drain);
    for second in 0..20 {
        house.pass(Duration::from_secs(1));
        say(&mut house, &flowing.1, &flowing.0, &second.to_string());
        let grace = (second + 1) * 1000 >= base::limits::STREAM_GRACE.as_millis();
        assert_eq!(silent.0.is_closed() && silent.1.is_closed(), grace, "{second}");
    }
    assert!(!silent.0.is_reset() && !silent.1.is_reset());
    house.pass(Duration::from_secs(11));
    assert!(house.is_over());
    assert!(flowing.0.is_closed() && flowing.1.is_closed());
    assert_eq!(house.closed(CloseReason::Drain), 2);
}

#[test]
fn tunnels_that_nobody_empties_lose_their_buffers_to_those_who_need_them() {
    let world = WorldConfig { pipe_bytes: 2048, ..WorldConfig::default() };
    let setting = Setting { world, buffers: 48, max_clients: 64, pinned: 40, ..Setting::default() };
    let mut house = House::new(&Setting { pinned_free: 40, ..setting });
    let pairs: Vec<_> = (0..32).map(|_| tunnel(&mut house)).collect();
    // Half of them stuffed in one direction, half in the other.
    for round in 0..40 {
        for (number, (client, server)) in pairs.iter().enumerate() {
            let from = if number % 2 == 0 { client } else { server };
            from.write(&[u8::try_from(round).expect("few rounds"); 2048]);
        }
        house.settle();
    }
    assert!(buffers(&house) > 24, "{}", buffers(&house));
    // An ordinary exchange is served all the same, within moments.
    let client = house.client();
    house.exchange(&client, GET);
    house.pass(Duration::from_millis(500));
    let server = house.server();
    server.write_all(OK);
    house.pass(Duration::from_millis(500));
    assert_eq!(status(&text(&client)), 200);
    client.reset();
    for (client, _) in &pairs {
        client.reset();
    }
    house.assert_quiet();
}

#[test]
fn a_client_that_leaves_before_the_101_leaves_nothing_behind() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, ASK);
    let server = house.server();
    client.reset();
    house.settle();
    server.write_all(SWITCHED.as_bytes());
    house.assert_quiet();
    assert_eq!(house.world.connections_to(ServerId(0)), 0);
    assert_eq!(tunnels(&house), 0);
}

#[test]
fn a_tunnel_has_one_line_in_the_log() {
    let mut house = House::new(&Setting { access: Some(64 << 10), ..Setting::default() });
    let (client, server) = tunnel(&mut house);
    say(&mut house, &client, &server, "12345");
    say(&mut house, &server, &client, "123");
    house.pass(MINUTE);
    client.end();
    server.end();
    house.settle();
    let lines = house.log(|record| {
        let (method, _) = record.piece(exchange::Piece::Method);
        let seconds = record.request_time.as_secs();
        assert!(record.upstream_time < Duration::from_secs(1), "until the 101");
        assert!(record.sent > 3 && record.server == Some(ServerId(0)));
        (record.status, method.to_vec(), record.received, seconds, record.closed)
    });
    let received = ASK.len() as u64 + 5;
    assert_eq!(lines, [(101, b"GET".to_vec(), received, 60, None)]);
    house.assert_quiet();
    // One that breaks says why.
    let (client, _server) = tunnel(&mut house);
    client.reset();
    house.settle();
    let reasons = house.log(|record| (record.status, record.closed));
    assert_eq!(reasons, [(101, Some(CloseReason::Aborted))]);
}

/// Seed 3172 of the judge: a tunnel that waited for a buffer for longer than it may be silent was
/// ended in order, as if its server had all that the client had sent.
#[test]
fn who_waits_for_a_buffer_too_long_is_told_that_something_is_missing() {
    let timeouts = Timeouts { tunnel: Duration::from_millis(50), ..Timeouts::default() };
    let mut house = House::new(&Setting { buffers: 12, timeouts, ..Setting::default() });
    let (client, server) = tunnel(&mut house);
    let others: Vec<_> = (0..6).map(|_| tunnel(&mut house)).collect();
    for (client, server) in &others {
        client.set_window(0);
        server.write(&vec![b'x'; 20_000]);
        house.settle();
    }
    client.write_all(b"said in time");
    house.settle();
    assert_eq!(text(&server), "", "there is no buffer for it");
    house.pass(Duration::from_millis(60));
    assert!(server.is_reset(), "the server has not all of it");
    drop(others);
    house.assert_quiet();
}

/// Seed 200015 of the judge: what a client says early stands behind its streamed request; where no
/// buffer parted the two it was dropped, and the tunnel began without it.
#[test]
fn no_tunnel_begins_where_its_first_words_were_dropped() {
    let mut house = House::new(&Setting { buffers: 12, stream: true, ..Setting::default() });
    let others: Vec<_> = (0..6).map(|_| tunnel(&mut house)).collect();
    let client = house.client();
    let ask = ASK.replace("Host: h\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n");
    house.exchange(&client, &format!("{ask}1\r\na\r\n"));
    let server = house.server();
    for (client, server) in &others {
        client.set_window(0);
        server.write(&vec![b'x'; 20_000]);
        house.settle();
    }
    house.exchange(&client, "0\r\n\r\nearly birds");
    assert!(text(&server).ends_with("\r\n1\r\na\r\n0\r\n\r\n"));
    server.write_all(SWITCHED.as_bytes());
    house.settle();
    let answer = text(&client);
    assert_eq!((status(&answer), text(&server).as_str()), (502, ""), "{answer}");
    for (client, server) in others {
        server.reset();
        client.reset();
    }
    client.reset();
    house.assert_quiet();
}
