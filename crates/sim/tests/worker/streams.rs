//! Event streams: pinned connections, silent for as long as nothing happens.

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use sim::{Peer, WorldConfig};
use std::time::Duration;
use worker::{CloseReason, Letter, Timeouts};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";
const MINUTE: Duration = Duration::from_mins(1);

/// A client whose event stream has begun, and the server's end of it.
fn stream(house: &mut House) -> (Peer, Peer) {
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    assert!(text(&server).starts_with("GET"));
    server.write_all(format!("{HEAD}{CHUNKED}").as_bytes());
    house.settle();
    let head = text(&client);
    assert!(status(&head) == 200 && head.contains("text/event-stream"), "{head}");
    (client, server)
}

fn event(house: &mut House, (client, server): &(Peer, Peer), data: &str) {
    let event = format!("data: {data}\n\n");
    server.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    house.settle();
    assert!(text(client).contains(&event), "{data}");
}

fn buffers(house: &House) -> u64 {
    house.sum(|c| c.buffers_used.get() + c.buffers_promised.get())
}

#[test]
fn streams_leave_the_lease_to_others_and_hold_no_buffer() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let streams: Vec<_> = (0..8).map(|_| stream(&mut house)).collect();
    assert_eq!(house.world.connections_to(ServerId(0)), 8);
    house.settle();
    assert_eq!(buffers(&house), 0, "silent streams hold nothing");
    // Silence is normal, on both sides.
    for minute in 0..50 {
        house.pass(MINUTE);
        for pair in &streams[..4] {
            event(&mut house, pair, &minute.to_string());
        }
        assert_eq!(buffers(&house), 0);
    }
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    // The others were silent for longer than `idle` in the end.
    house.pass(11 * MINUTE);
    for (number, (client, server)) in streams.iter().enumerate() {
        assert_eq!(client.is_closed() && server.is_closed(), number >= 4, "{number}");
    }
    for (client, _) in &streams {
        client.reset();
    }
    house.assert_quiet();
}

#[test]
fn more_than_may_be_pinned_are_told_so() {
    let mut house = House::new(&Setting { connections: 2, pinned: 2, ..Setting::default() });
    let kept: Vec<_> = (0..2).map(|_| stream(&mut house)).collect();
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(format!("{HEAD}{CHUNKED}5\r\nhello\r\n").as_bytes());
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 503 && answer.contains("Retry-After: 1\r\n"), "{answer}");
    assert!(answer.contains("event streams") && !answer.contains("hello"), "{answer}");
    assert!(server.is_closed(), "a response that is not read");
    assert!(!client.is_closed(), "its request was read");
    let refused = house.sum(|c| c.refusals.iter().map(base::counter::Counter::get).sum());
    assert_eq!(refused, 1);
    // One goes: there is room again.
    kept[0].0.reset();
    house.settle();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(format!("{HEAD}{CHUNKED}").as_bytes());
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    client.reset();
    kept[1].0.reset();
    house.assert_quiet();
}

/// A response that is there at once needs no connection for long, whatever it calls itself.
#[test]
fn a_response_that_is_whole_at_once_is_not_pinned() {
    let mut house = House::new(&Setting { pinned: 0, ..Setting::default() });
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    for (head, sent) in [
        ("Content-Length: 9\r\n\r\ndata: a\n\n", "data: a\n\n"),
        ("Content-Length: 0\r\n\r\n", "\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "0\r\n\r\n"),
    ] {
        server.write_all(format!("{HEAD}{head}").as_bytes());
        house.settle();
        let answer = text(&client);
        assert!(status(&answer) == 200 && answer.ends_with(sent), "{answer}");
        house.exchange(&client, GET);
    }
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_client_that_leaves_a_silent_stream_frees_it_at_once() {
    for reset in [false, true] {
        for early in ["", GET, "half a requ"] {
            let mut house = House::new(&Setting::default());
            let (client, server) = stream(&mut house);
            if !early.is_empty() {
                house.exchange(&client, early);
            }
            assert!(!server.is_closed());
            if reset {
                client.reset();
            } else {
                client.end();
            }
            house.settle();
            assert!(server.is_closed(), "{reset} {early:?}");
            assert_eq!(house.closed(CloseReason::Aborted), 1);
            house.assert_quiet();
            drop(client);
        }
    }
}

#[test]
fn what_a_client_sends_during_its_stream_waits_with_the_kernel() {
    let mut house = House::new(&Setting::default());
    let pair = stream(&mut house);
    house.exchange(&pair.0, &GET.repeat(20));
    assert_eq!(buffers(&house), 0);
    assert!(pair.0.unreceived() > 0);
    house.pass(MINUTE);
    event(&mut house, &pair, "still here");
    // The stream ends in order: then they are served, on the same connections.
    let (client, server) = pair;
    server.write_all(b"0\r\n\r\n");
    house.settle();
    assert_eq!(text(&client), "0\r\n\r\n");
    for _ in 0..20 {
        assert!(text(&server).starts_with("GET"));
        server.write_all(OK);
        house.settle();
    }
    assert_eq!(text(&client).matches("HTTP/1.1 200 OK").count(), 20);
    assert_eq!(house.world.most_connections_to(ServerId(0)), 1);
    house.assert_quiet();
}

/// What came in one piece with the request of the stream stands in a buffer, which goes first
/// when buffers are short.
#[test]
fn a_pipelining_client_of_a_stream_yields_when_buffers_are_short() {
    let mut house = House::new(&Setting { buffers: 16, connections: 8, ..Setting::default() });
    let mut streams = Vec::new();
    for _ in 0..11 {
        let client = house.client();
        house.exchange(&client, &GET.repeat(2));
        let server = house.server();
        server.write_all(format!("{HEAD}{CHUNKED}").as_bytes());
        house.settle();
        streams.push((client, server));
    }
    let client = house.client();
    let body = "x".repeat(6000);
    house.exchange(
        &client,
        &format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6000\r\n\r\n{body}"),
    );
    house.pass(Duration::from_secs(2));
    assert!(house.closed(CloseReason::Pressure) > 0);
    assert!(text(&house.server()).ends_with(&body));
    client.reset();
    for (client, _) in &streams {
        client.reset();
    }
    house.assert_quiet();
}

#[test]
fn an_event_is_passed_on_when_the_pool_is_short_for_a_while() {
    let setting = Setting { buffers: 16, connections: 2, ..Setting::default() };
    let mut house = House::new(&setting);
    let pair = stream(&mut house);
    // Two responses whose clients take nothing, and requests on their way, hold the pool.
    let mut holders = Vec::new();
    for _ in 0..2 {
        let client = house.client();
        client.set_window(0);
        house.exchange(&client, GET);
        let server = house.server();
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while server.write(&[b'o'; 5000]) > 0 {
            house.settle();
        }
        holders.push((client, server));
    }
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let client = house.client();
            house.exchange(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
            client
        })
        .collect();
    pair.1.write_all(b"3\r\nabc\r\n");
    house.pass(Duration::from_secs(1));
    assert_eq!(text(&pair.0), "3\r\nabc\r\n");
    for (client, _) in &holders {
        client.reset();
    }
    uploads.iter().for_each(Peer::reset);
    pair.0.reset();
    house.assert_quiet();
}

#[test]
fn a_client_that_takes_no_event_is_given_up() {
    let mut house = House::new(&Setting::default());
    let pair = stream(&mut house);
    pair.0.set_window(0);
    pair.1.write_all(b"3\r\nabc\r\n");
    house.pass(Duration::from_secs(61));
    assert!(pair.0.is_closed() && pair.1.is_closed());
    assert_eq!(house.closed(CloseReason::Timeout), 1);
    house.assert_quiet();
}

#[test]
fn a_drain_ends_silent_streams_and_lets_others_flow() {
    let timeouts = Timeouts { drain: MINUTE, ..Timeouts::default() };
    let mut house = House::new(&Setting { timeouts, ..Setting::default() });
    let (silent, flowing) = (stream(&mut house), stream(&mut house));
    house.order(|| Letter::Drain);
    for second in 0..20 {
        event(&mut house, &flowing, &second.to_string());
        house.pass(Duration::from_secs(1));
        assert_eq!(silent.0.is_closed(), second >= 4, "{second}");
    }
    assert!(silent.1.is_closed());
    flowing.1.write_all(b"0\r\n\r\n");
    house.settle();
    assert!(text(&flowing.0).ends_with("0\r\n\r\n"));
    house.pass(Duration::from_secs(2));
    assert!(flowing.0.has_ended());
    assert!(house.is_over());
    assert_eq!(house.closed(CloseReason::Drain), 2, "the silent one, and the other when it parked");
}

#[test]
fn every_framing_passes_events_on_in_the_same_turn() {
    for (request, framing) in [
        (GET, CHUNKED),
        (GET, "\r\n"),
        (GET, "Content-Length: 100000\r\n\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", CHUNKED),
    ] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, request);
        let server = house.server();
        server.write_all(format!("{HEAD}X-Accel-Buffering: no\r\n{framing}").as_bytes());
        house.settle();
        let head = text(&client);
        assert!(status(&head) == 200 && !head.contains("X-Accel"), "{head}");
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            if framing == CHUNKED {
                server.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            } else {
                server.write_all(event.as_bytes());
            }
            // One round: what came in goes out.
            house.workers[0].turn();
            assert!(text(&client).contains(&event), "{framing:?} {number}");
            house.settle();
            assert_eq!(buffers(&house), 0, "{framing:?}");
        }
        client.reset();
        house.assert_quiet();
    }
}

/// Where descriptors are short, a pinned connection takes the place of a client.
#[test]
fn streams_beyond_the_spare_descriptors_take_places() {
    let setting = Setting { max_clients: 5, pinned_free: 1, ..Setting::default() };
    let mut house = House::new(&setting);
    let streams: Vec<_> = (0..3).map(|_| stream(&mut house)).collect();
    let late = house.client();
    assert!(!late.is_accepted(), "3 clients and 2 connections");
    streams[0].0.reset();
    house.settle();
    assert!(late.is_accepted());
    house.exchange(&late, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&late)), 200);
    late.reset();
    for (client, _) in &streams {
        client.reset();
    }
    house.assert_quiet();
}

/// A hint went before it, in part: nothing can be told any more.
#[test]
fn a_refused_stream_behind_half_a_hint_is_cut() {
    let world = WorldConfig { servers: 1, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, pinned: 0, ..Setting::default() });
    let client = house.client();
    client.set_window(10);
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    house.settle();
    server.write_all(format!("{HEAD}{CHUNKED}").as_bytes());
    house.settle();
    assert!(client.is_closed() && server.is_closed());
    house.assert_quiet();
}

/// Requests that block each other for want of buffers: one of them yields, whatever streams there
/// are, as those free nothing.
#[test]
fn silent_streams_do_not_hide_that_requests_block_each_other() {
    let mut house = House::new(&Setting { buffers: 16, ..Setting::default() });
    let pair = stream(&mut house);
    let uploads: Vec<_> = (0..3)
        .map(|_| {
            let client = house.client();
            let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n";
            house.exchange(&client, &format!("{head}{}", "x".repeat(9_000)));
            client
        })
        .collect();
    for client in &uploads {
        client.write_all(&[b'x'; 11_000]);
    }
    let mut answered = 0;
    for _ in 0..200 {
        house.pass(Duration::from_millis(50));
        while let Some(server) = house.world.accept(ServerId(0)) {
            server.write_all(OK);
            house.settle();
            server.close();
        }
        answered = uploads.iter().filter(|client| client.unread() > 0).count();
    }
    assert_eq!(answered, uploads.len(), "within ten seconds, long before `queue` is over");
    assert!(!pair.1.is_closed());
    for client in uploads {
        client.reset();
    }
    pair.0.reset();
    house.assert_quiet();
}

/// A stream behind a slow client holds no lease that others wait for.
#[test]
fn a_stream_that_stalls_is_not_given_up_for_others() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let pair = stream(&mut house);
    pair.0.set_window(0);
    for _ in 0..200 {
        pair.1.write(format!("400\r\n{}\r\n", "e".repeat(0x400)).as_bytes());
        house.settle();
    }
    let (busy, waiting) = (house.client(), house.client());
    house.exchange(&busy, GET);
    house.exchange(&waiting, GET);
    house.pass(Duration::from_secs(10));
    assert!(!pair.0.is_closed());
    for client in [&busy, &waiting, &pair.0] {
        client.reset();
    }
    house.assert_quiet();
}

/// As a lease, it ended when it was pinned: hours of silence are no answer's time.
#[test]
fn a_stream_counts_as_a_lease_up_to_its_head() {
    let mut house = House::new(&Setting::default());
    let pair = stream(&mut house);
    house.pass(MINUTE);
    pair.1.write_all(b"0\r\n\r\n");
    house.settle();
    assert_eq!(house.counters[0].upstream_seconds.buckets().iter().sum::<u64>(), 1);
    assert!(house.counters[0].upstream_seconds.sum_seconds() < 1.0);
    pair.0.close();
    house.assert_quiet();
}

#[test]
fn a_parked_client_gives_its_place_to_a_stream_if_it_may() {
    for reclaim_parked in [false, true] {
        let setting =
            Setting { max_clients: 4, pinned_free: 0, reclaim_parked, ..Setting::default() };
        let mut house = House::new(&setting);
        let parked = house.client();
        let first = stream(&mut house);
        let second = house.client();
        house.exchange(&second, GET);
        let server = house.server();
        server.write_all(format!("{HEAD}{CHUNKED}").as_bytes());
        house.settle();
        assert_eq!(status(&text(&second)), if reclaim_parked { 200 } else { 503 });
        assert_eq!(parked.is_closed(), reclaim_parked);
        for client in [&first.0, &second, &parked] {
            client.reset();
        }
        house.assert_quiet();
    }
}
