//! Requests that the server is shown as they arrive (`request = "stream"`).

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use sim::{Peer, WorldConfig};
use std::time::Duration;
use worker::{CloseReason, Letter};

const LENGTH: &str = "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: ";
const CHUNKED: &str = "POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

fn streaming() -> Setting {
    Setting { stream: true, ..Setting::default() }
}

/// A client that has sent the head of an upload and some of its body, and the server that met it.
fn upload(house: &mut House, length: u32, first: &str) -> (Peer, Peer) {
    let client = house.client();
    house.exchange(&client, &format!("{LENGTH}{length}\r\n\r\n{first}"));
    let server = house.server();
    let head = text(&server);
    assert!(head.starts_with("POST /up ") && head.ends_with(&format!("\r\n\r\n{first}")), "{head}");
    (client, server)
}

#[test]
fn the_server_meets_a_body_as_it_arrives() {
    let mut house = House::new(&streaming());
    let (client, server) = upload(&mut house, 9, "abc");
    for piece in ["d", "ef", "ghi"] {
        house.exchange(&client, piece);
        assert_eq!(text(&server), piece);
        house.pass(Duration::from_secs(29));
    }
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.exchange(&client, CHUNKED);
    assert!(text(&server).ends_with("Transfer-Encoding: chunked\r\n\r\n"), "the same connection");
    house.exchange(&client, "3;x=y\r\nab");
    assert_eq!(text(&server), "3\r\nab");
    house.exchange(&client, &format!("c\r\n0\r\nT: r\r\n\r\n{GET}"));
    assert_eq!(text(&server), "c\r\n0\r\n\r\n");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert!(text(&server).starts_with("GET /a"), "the pipelined one");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(house.world.most_connections_to(ServerId(0)), 1);
    assert!(house.sum(|c| c.trailer_bytes_dropped.get()) > 0);
    house.assert_quiet();
}

#[test]
fn a_large_body_goes_through_a_small_window_at_the_servers_pace() {
    let world = WorldConfig { pipe_bytes: 4096, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..streaming() });
    let (client, server) = upload(&mut house, 500_000, "");
    let mut left = 500_000;
    let mut got = 0;
    let most = house.sum(|c| c.buffers.get()) / 2 + 4;
    for round in 0.. {
        assert!(round < 100_000, "it stands still at {got}");
        left -= client.write(&vec![b'x'; left]);
        house.settle();
        assert!(house.sum(|c| c.buffers_used.get()) <= most);
        // The server takes its time.
        if round % 5 == 0 {
            got += server.read_some(3000).len();
            if got == 500_000 {
                break;
            }
        }
    }
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn what_arrives_while_it_waits_for_a_lease_goes_with_it() {
    let mut house = House::new(&Setting { connections: 1, ..streaming() });
    let first = house.client();
    house.exchange(&first, GET);
    let server = house.server();
    let _ = text(&server);
    let client = house.client();
    house.exchange(&client, &format!("{LENGTH}6\r\n\r\nab"));
    house.exchange(&client, "cd");
    assert_eq!(text(&server), "");
    server.write_all(OK);
    house.settle();
    assert!(text(&server).ends_with("\r\n\r\nabcd"));
    house.exchange(&client, "ef");
    assert_eq!(text(&server), "ef");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    first.close();
    house.assert_quiet();
}

#[test]
fn a_client_that_dawdles_is_told_so_and_the_lease_ends() {
    let mut house = House::new(&streaming());
    let (client, server) = upload(&mut house, 9, "abc");
    house.pass(Duration::from_secs(29));
    house.exchange(&client, "d");
    house.pass(Duration::from_secs(29));
    assert!(!server.is_closed(), "it moves");
    house.pass(Duration::from_secs(2));
    let answer = text(&client);
    assert!(status(&answer) == 408 && answer.contains("Connection: close"), "{answer}");
    assert!(server.is_closed());
    client.close();
    house.assert_quiet();
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let world = WorldConfig { pipe_bytes: 1000, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..streaming() });
    let client = house.client();
    house.exchange(&client, &format!("{LENGTH}100000\r\n\r\n"));
    let server = house.server();
    for _ in 0..200 {
        client.write(&[b'x'; 1000]);
        house.settle();
    }
    house.pass(Duration::from_secs(61));
    assert_eq!(status(&text(&client)), 504);
    assert!(server.is_closed());
    client.close();
    house.assert_quiet();
}

/// The server took all that came before the last piece, so that nothing was awaited of it.
#[test]
fn a_server_that_does_not_take_the_last_piece_is_given_up() {
    let world = WorldConfig { pipe_bytes: 4096, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..streaming() });
    let (client, server) = upload(&mut house, 4500, "");
    house.exchange(&client, &"x".repeat(1000));
    house.exchange(&client, &"x".repeat(3500));
    assert_eq!(server.unread(), 4096, "some of the last piece is not taken");
    client.end();
    house.pass(Duration::from_secs(61));
    assert_eq!(status(&text(&client)), 504);
    assert!(server.is_closed());
    client.close();
    house.assert_quiet();
}

/// Hints that a client does not take have a deadline, whatever begins behind them.
#[test]
fn a_client_that_takes_no_hints_holds_no_lease_for_ever() {
    for malformed in [false, true] {
        let mut house = House::new(&streaming());
        let client = house.client();
        house.exchange(&client, &format!("{CHUNKED}3\r\nabc\r\n"));
        let server = house.server();
        let _ = text(&server);
        client.set_window(10);
        server.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        house.settle();
        if malformed {
            house.exchange(&client, "zz\r\n");
        } else {
            server.write_all(OK);
            house.settle();
        }
        house.pass(Duration::from_secs(61));
        assert!(client.is_closed(), "malformed: {malformed}");
        let told = text(&client);
        assert!(!told[..10.min(told.len())].contains("400"), "{told}");
        client.close();
        house.assert_quiet();
    }
}

#[test]
fn a_client_that_leaves_within_its_body_takes_the_servers_connection_along() {
    for reset in [false, true] {
        for leased in [false, true] {
            let mut house = House::new(&Setting { connections: 1, ..streaming() });
            let first = house.client();
            let mut busy = None;
            if !leased {
                house.exchange(&first, GET);
                busy = Some(house.server());
            }
            let client = house.client();
            house.exchange(&client, &format!("{LENGTH}9\r\n\r\nabc"));
            let server = leased.then(|| house.server());
            if reset {
                client.reset();
            } else {
                client.end();
            }
            house.settle();
            assert_eq!(house.closed(CloseReason::Aborted), 1);
            assert!(server.is_none_or(|server| server.is_closed()), "half a request");
            if let Some(busy) = busy {
                let _ = text(&busy);
                busy.write_all(OK);
                house.settle();
                assert_eq!(text(&busy), "", "it stands in the queue no more");
                first.close();
            }
            house.assert_quiet();
        }
    }
}

/// gunicorn, for one, takes an orderly end within a body for the body's end.
#[test]
fn a_server_left_with_part_of_a_request_is_told_by_a_reset() {
    let world = WorldConfig { pipe_bytes: 1000, ..WorldConfig::default() };
    for (setting, sent) in [
        (streaming(), "abc".to_owned()),
        (Setting { world, ..Setting::default() }, "x".repeat(3000)),
    ] {
        let mut house = House::new(&setting);
        let client = house.client();
        for piece in format!("{LENGTH}3000\r\n\r\n{sent}").as_bytes().chunks(500) {
            client.write_all(piece);
            house.settle();
        }
        let server = house.server();
        client.reset();
        house.settle();
        assert!(server.is_reset(), "{} bytes of the body came", sent.len());
        house.assert_quiet();
    }
    let mut house = House::new(&streaming());
    let (client, server) = upload(&mut house, 9, "abc");
    house.exchange(&client, "defghi");
    client.reset();
    house.settle();
    assert!(server.is_closed() && !server.is_reset(), "a whole request is no part of one");
    house.assert_quiet();
}

#[test]
fn an_early_answer_stops_the_upload_and_ends_both_connections() {
    let mut house = House::new(&streaming());
    let (client, server) = upload(&mut house, 100_000, "abc");
    server.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 401 && answer.ends_with("\r\n\r\nno"), "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    // What still comes is discarded, so that no reset destroys the answer.
    for _ in 0..5 {
        house.exchange(&client, &"x".repeat(5000));
        assert!(!client.is_reset() && client.unreceived() == 0);
    }
    assert!(server.has_ended(), "it is not used again");
    client.close();
    house.pass(Duration::from_secs(2));
    assert_eq!(house.closed(CloseReason::Done), 1);
    house.assert_quiet();
}

/// What a server answers before it breaks is still passed on.
#[test]
fn an_answer_before_a_break_reaches_the_client() {
    let mut house = House::new(&streaming());
    let (client, server) = upload(&mut house, 100_000, "abc");
    server.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    server.reset();
    client.write_all(&[b'x'; 5000]);
    house.settle();
    assert_eq!(status(&text(&client)), 413);
    client.close();
    house.assert_quiet();
}

#[test]
fn a_client_that_asks_first_is_told_when_the_lease_begins() {
    let mut house = House::new(&Setting { connections: 1, ..streaming() });
    let first = house.client();
    house.exchange(&first, GET);
    let server = house.server();
    let _ = text(&server);
    let client = house.client();
    house.exchange(&client, &format!("{LENGTH}3\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(text(&client), "", "nobody wants the body yet");
    server.write_all(OK);
    house.settle();
    assert_eq!(text(&client), "HTTP/1.1 100 Continue\r\n\r\n");
    let head = text(&server);
    assert!(head.starts_with("POST") && !head.contains("Expect"), "{head}");
    house.exchange(&client, "abc");
    assert_eq!(text(&server), "abc");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    first.close();
    house.assert_quiet();
}

/// Seed 2542 of the judge: behind half a `100 Continue` stood the server's response, as if it were
/// the rest of it.
#[test]
fn nothing_stands_behind_half_an_advice() {
    for stream in [false, true] {
        let mut house = House::new(&Setting { stream, ..Setting::default() });
        let client = house.client();
        client.set_window(20);
        house.exchange(&client, &format!("{LENGTH}3\r\nExpect: 100-continue\r\n\r\n"));
        client.set_window(1000);
        house.exchange(&client, "abc");
        if let Some(server) = house.world.accept(ServerId(0)) {
            server.write(OK);
        }
        house.settle();
        let told = text(&client);
        assert!("HTTP/1.1 100 Continue\r\n\r\n".starts_with(&told), "{told}");
        assert!(client.is_closed(), "streamed: {stream}");
        assert_eq!(house.sum(|c| c.clients_closed[CloseReason::Aborted as usize].get()), 1);
        house.assert_quiet();
        // One that takes nothing at the moment is told nothing, and served.
        let client = house.client();
        client.set_window(0);
        house.exchange(&client, &format!("{LENGTH}3\r\nExpect: 100-continue\r\n\r\n"));
        client.set_window(1000);
        house.exchange(&client, "abc");
        house.server().write_all(OK);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
    }
}

#[test]
fn it_is_not_sent_again_once_a_byte_was_written() {
    let mut house = House::new(&streaming());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    let _ = text(&server);
    server.write_all(OK);
    house.settle();
    let _ = text(&client);
    // An idempotent one on a connection used before: complete, it would go again.
    house.exchange(&client, "PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    assert!(text(&server).starts_with("PUT /p"));
    server.reset();
    house.settle();
    let answer = text(&client);
    assert!(status(&answer) == 502 && answer.contains("Connection: close"), "{answer}");
    assert_eq!(house.sum(|c| c.retries.get()), 0);
    client.close();
    house.assert_quiet();
}

#[test]
fn a_refusal_of_the_queue_ends_the_clients_connection() {
    let setting = Setting { connections: 1, queue_length: 1, ..streaming() };
    let mut house = House::new(&setting);
    let (first, second) = (house.client(), house.client());
    house.exchange(&first, GET);
    house.exchange(&second, GET);
    let (queued, refused) = (house.client(), house.client());
    house.exchange(&refused, &format!("{LENGTH}9\r\n\r\nabc"));
    let answer = text(&refused);
    assert!(status(&answer) == 503 && answer.contains("Connection: close"), "{answer}");
    second.reset();
    house.settle();
    house.exchange(&queued, &format!("{LENGTH}9\r\n\r\nabc"));
    house.pass(Duration::from_secs(31));
    let answer = text(&queued);
    assert!(status(&answer) == 503 && answer.contains("Connection: close"), "{answer}");
    for client in [first, queued, refused] {
        client.reset();
    }
    house.assert_quiet();
}

/// Law 5: whoever holds the pool, an upload with a lease goes on, if only buffer by buffer.
#[test]
fn an_upload_with_a_lease_goes_on_while_others_hold_the_pool() {
    let setting = Setting { buffers: 16, connections: 2, ..streaming() };
    let mut house = House::new(&setting);
    let (client, server) = upload(&mut house, 50_000, "");
    // Others wait for the second connection with all they may have.
    let slow = house.client();
    slow.set_window(0);
    house.exchange(&slow, GET);
    let hoarder = house.server();
    hoarder.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while hoarder.write(&[b'o'; 5000]) > 0 {
        house.settle();
    }
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let waiting = house.client();
            let body = "y".repeat(3000);
            house.exchange(&waiting, &format!("{LENGTH}4000\r\n\r\n{body}"));
            waiting
        })
        .collect();
    let mut got = 0;
    for _ in 0..100 {
        client.write(&[b'x'; 500]);
        house.settle();
        got += server.read().len();
    }
    assert_eq!(got, 50_000);
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    slow.reset();
    waiting.iter().for_each(Peer::reset);
    house.assert_quiet();
}

#[test]
fn a_drain_lets_an_upload_end_and_a_stop_does_not() {
    for stop in [false, true] {
        let mut house = House::new(&streaming());
        let (client, server) = upload(&mut house, 6, "abc");
        house.order(|| Letter::Drain);
        if stop {
            house.order(|| Letter::Stop);
        } else {
            house.exchange(&client, "def");
            assert_eq!(text(&server), "def");
            server.write_all(OK);
            house.settle();
            assert_eq!(status(&text(&client)), 200);
            assert!(client.has_ended());
            house.pass(Duration::from_secs(2));
        }
        assert!(house.is_over());
    }
}

/// A client that sends on, byte by byte, does not make a server move that takes nothing.
#[test]
fn a_dribbling_client_does_not_extend_a_servers_deadline() {
    let world = WorldConfig { pipe_bytes: 1000, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..streaming() });
    let client = house.client();
    house.exchange(&client, &format!("{LENGTH}100000\r\n\r\n"));
    let server = house.server();
    for _ in 0..5 {
        client.write(&[b'x'; 1000]);
        house.settle();
    }
    for _ in 0..6 {
        house.pass(Duration::from_secs(9));
        client.write(b"x");
        house.settle();
    }
    assert!(!server.is_closed());
    house.pass(Duration::from_secs(7));
    assert_eq!(status(&text(&client)), 504);
    assert!(server.is_closed());
    client.close();
    house.assert_quiet();
}
