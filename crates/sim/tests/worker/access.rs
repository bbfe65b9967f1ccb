//! What the access log is told, in each way an exchange can end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, UNIX_EPOCH};

use base::id::{ListenerId, ServerId};
use exchange::{ErrorPages, PageType, Passing, Piece, Refusal};
use sim::{BEGINNING, Peer};
use worker::{AccessRecord, CloseReason, Letter};

use crate::house::{GET, House, LINE, OK, Setting, status, text};

/// A record, with the pieces of its head as one line.
#[derive(Clone, Debug)]
struct Told {
    line: String,
    status: u16,
    received: u64,
    sent: u64,
    /// Milliseconds: the request, the queue, the leases.
    times: [u128; 3],
    server: Option<ServerId>,
    reused: bool,
    retries: u8,
    refusal: Option<Refusal>,
    closed: Option<CloseReason>,
    id: String,
    detail: String,
    at: Duration,
    peer: Option<IpAddr>,
    listener: ListenerId,
}

impl From<&AccessRecord<'_>> for Told {
    fn from(record: &AccessRecord<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pieces = Piece::ALL.map(|piece| text(record.piece(piece).0));
        let times = [record.request_time, record.queue_time, record.upstream_time];
        Self {
            line: pieces.join(" ").trim_end().to_owned(),
            status: record.status,
            received: record.received,
            sent: record.sent,
            times: times.map(|time| time.as_millis()),
            server: record.server,
            reused: record.reused,
            retries: record.retries,
            refusal: record.refusal,
            closed: record.closed,
            id: text(record.request_id),
            detail: text(record.detail),
            at: record.time.duration_since(UNIX_EPOCH + BEGINNING).unwrap_or_default(),
            peer: record.peer,
            listener: record.listener,
        }
    }
}

fn logged() -> Setting {
    Setting { access: Some(64 << 10), ..Setting::default() }
}

/// Everything told since the last look.
fn told(house: &mut House) -> Vec<Told> {
    house.log(|record| Told::from(record))
}

/// The one record told since the last look.
fn one(house: &mut House) -> Told {
    let mut all = told(house);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_request_is_told_once_with_its_times_bytes_and_server() {
    let mut house = House::new(&logged());
    let client = house.client();
    let request = "GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\nCookie: secret\r\n\r\n";
    house.exchange(&client, &request[..20]);
    house.pass(Duration::from_millis(500));
    house.exchange(&client, &request[20..]);
    let server = house.server();
    house.pass(Duration::from_millis(250));
    assert!(told(&mut house).is_empty(), "it is not over");
    server.write_all(OK);
    house.settle();
    let answer = text(&client);
    let first = one(&mut house);
    assert_eq!(first.line, "GET /a h u");
    assert_eq!((first.status, first.refusal, first.closed), (200, None, None));
    assert_eq!((first.received, first.sent), (request.len() as u64, answer.len() as u64));
    assert_eq!(first.times, [750, 0, 250]);
    assert_eq!((first.server, first.reused, first.retries), (Some(ServerId(0)), false, 0));
    assert_eq!(first.peer, Some(Ipv4Addr::new(192, 0, 2, 1).into()));
    assert_eq!((first.listener, first.at), (ListenerId(0), Duration::from_millis(750)));
    assert_eq!((first.id.as_str(), first.detail.as_str()), ("", ""));
    house.exchange(&client, GET);
    server.write_all(OK);
    house.settle();
    let second = one(&mut house);
    assert!(second.reused, "the server's connection was kept");
    assert_eq!(second.received, GET.len() as u64);
    assert_eq!(second.line, "GET /a h");
}

#[test]
fn nothing_is_told_of_a_client_that_says_nothing_and_nothing_without_a_log() {
    let first_byte = Passing { first_byte: true, names: None };
    for passing in [None, Some(first_byte)] {
        let mut house = House::new(&Setting { passing, ..logged() });
        let client = house.client();
        client.end();
        house.settle();
        assert!(client.is_closed() && told(&mut house).is_empty());
    }
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert!(house.logs.is_empty() && house.sum(|c| c.access_dropped.get()) == 0);
}

#[test]
fn waiting_for_a_server_is_told_apart_from_its_work() {
    let mut house = House::new(&Setting { connections: 1, ..logged() });
    let (first, second) = (house.client(), house.client());
    house.exchange(&first, GET);
    let server = house.server();
    house.exchange(&second, GET);
    house.pass(Duration::from_millis(100));
    server.write_all(OK);
    house.pass(Duration::from_millis(40));
    server.write_all(OK);
    house.settle();
    let all = told(&mut house);
    assert_eq!(all[0].times, [100, 0, 100]);
    assert_eq!(all[1].times, [140, 100, 40]);
}

#[test]
fn pipelined_requests_are_told_one_by_one_with_their_own_bytes() {
    let mut house = House::new(&logged());
    let client = house.client();
    let other = "HEAD /longer HTTP/1.1\r\nHost: h\r\n\r\n";
    let post =
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    house.exchange(&client, &format!("{GET}{other}{post}{GET}"));
    let server = house.server();
    for answer in [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", OK, OK] {
        server.write_all(answer);
        house.settle();
    }
    let sent = text(&client).len() as u64;
    let all = told(&mut house);
    let lines: Vec<&str> = all.iter().map(|told| told.line.as_str()).collect();
    assert_eq!(lines, ["GET /a h", "HEAD /longer h", "POST /p h", "GET /a h"]);
    let received: Vec<u64> = all.iter().map(|told| told.received).collect();
    let expected = [GET, other, post, GET].map(|request| request.len() as u64);
    assert_eq!(received, expected);
    assert_eq!(all.iter().map(|told| told.sent).sum::<u64>(), sent);
    assert!(all.iter().all(|told| told.status == 200 && told.closed.is_none()));
}

#[test]
fn what_comes_before_the_final_answer_counts_as_sent() {
    let mut house = House::new(&logged());
    let client = house.client();
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    house.exchange(&client, head);
    house.exchange(&client, "ab");
    let server = house.server();
    server.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    house.settle();
    server.write_all(OK);
    house.settle();
    let answer = text(&client);
    assert!(answer.starts_with("HTTP/1.1 100 ") && answer.contains("103 Early Hints"), "{answer}");
    let told = one(&mut house);
    assert_eq!((told.status, told.sent), (200, answer.len() as u64));
    assert_eq!(told.received, head.len() as u64 + 2);
}

#[test]
fn a_request_that_goes_again_is_told_once() {
    let mut house = House::new(&logged());
    let client = house.client();
    house.exchange(&client, GET);
    let stale = house.server();
    stale.write_all(OK);
    house.settle();
    told(&mut house);
    house.exchange(&client, GET);
    stale.reset();
    let fresh = house.server();
    house.pass(Duration::from_millis(30));
    fresh.write_all(OK);
    house.settle();
    let told = one(&mut house);
    assert_eq!((told.status, told.retries, told.reused), (200, 1, false));
    assert_eq!(told.times, [30, 0, 30]);
}

#[test]
fn refusals_are_told_with_their_reason_and_what_is_known_of_the_head() {
    let mut house = House::new(&logged());
    let client = house.client();
    house.exchange(&client, "GET /x HTTP/1.1\r\nHost : h\r\n\r\n");
    let malformed = one(&mut house);
    assert_eq!((malformed.status, malformed.refusal), (400, Some(Refusal::Malformed)));
    assert_eq!(malformed.line, "GET /x");
    assert!(malformed.detail.contains("colon"), "{}", malformed.detail);
    assert_eq!(malformed.sent, text(&client).len() as u64);
    let client = house.client();
    house.exchange(&client, "GET /slow HTTP/1.1\r\nHo");
    house.pass(Duration::from_secs(31));
    let slow = one(&mut house);
    assert_eq!((slow.status, slow.refusal), (408, Some(Refusal::Slow)));
    assert_eq!((slow.line.as_str(), slow.times[0]), ("GET /slow", 30_000));
    let client = house.client();
    house.exchange(&client, "POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n");
    let big = one(&mut house);
    assert_eq!((big.status, big.refusal), (413, Some(Refusal::BodyTooLarge)));
    assert_eq!((big.line.as_str(), big.server), ("POST /big h", None));
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    house.pass(Duration::from_secs(61));
    let silent = one(&mut house);
    assert_eq!((silent.status, silent.refusal), (504, Some(Refusal::Silent)));
    assert_eq!((silent.server, silent.times[2]), (Some(ServerId(0)), 60_000));
    drop((client, server));
}

#[test]
fn who_leaves_before_an_answer_is_told_as_499() {
    let mut house = House::new(&logged());
    let (early, waiting, reading) = (house.client(), house.client(), house.client());
    house.exchange(&early, "GET /early HTTP/1.1\r\n");
    early.end();
    house.settle();
    let told = one(&mut house);
    assert_eq!((told.status, told.closed), (499, Some(CloseReason::Aborted)));
    assert_eq!((told.received, told.sent), (21, 0));
    house.exchange(&waiting, GET);
    let server = house.server();
    house.pass(Duration::from_millis(20));
    waiting.reset();
    house.settle();
    let told = one(&mut house);
    assert_eq!((told.status, told.closed), (499, Some(CloseReason::Aborted)));
    assert_eq!((told.line.as_str(), told.times[2]), ("GET /a h", 20));
    drop(server);
    // Who leaves within an answer has its status.
    house.exchange(&reading, GET);
    let server = house.server();
    server.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhalf");
    house.settle();
    reading.reset();
    house.settle();
    let told = one(&mut house);
    assert_eq!((told.status, told.closed), (201, Some(CloseReason::Aborted)));
    house.assert_quiet();
}

#[test]
fn a_server_that_breaks_off_and_a_stop_are_told() {
    let mut house = House::new(&logged());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    house.settle();
    server.close();
    house.settle();
    let broken = one(&mut house);
    assert_eq!((broken.status, broken.closed), (200, Some(CloseReason::Upstream)));
    let (client, collecting) = (house.client(), house.client());
    house.exchange(&client, GET);
    house.exchange(&collecting, "GET /half HTTP/1.1\r\nHost: ");
    house.order(|| Letter::Drain);
    house.order(|| Letter::Stop);
    let all = told(&mut house);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|told| (told.status, told.closed) == (0, Some(CloseReason::Drain))));
    assert!(house.is_over() && house.logs.iter_mut().all(|log| !log.is_over()));
    house.workers.clear();
    assert!(house.logs.iter_mut().all(|log| log.is_over()), "the worker is gone, all is read");
}

#[test]
fn a_full_ring_drops_records_whole_and_counts_them() {
    let mut house = House::new(&Setting { access: Some(1024), ..logged() });
    for _ in 0..20 {
        let client = house.client();
        house.exchange(&client, "GET / HTTP/1.1\r\nHost : h\r\n\r\n");
    }
    let dropped = house.sum(|c| c.access_dropped.get());
    let seen = told(&mut house);
    assert!(dropped > 10 && seen.len() > 2, "{dropped}");
    assert_eq!(seen.len() as u64 + dropped, 20);
    assert!(seen.iter().all(|told| told.line == "GET /"), "{seen:?}");
    let client = house.client();
    house.exchange(&client, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(one(&mut house).status, 200, "there is room again");
}

/// Writes all of it, as the window allows.
fn write(house: &mut House, peer: &Peer, mut bytes: &[u8]) {
    for _ in 0..10_000 {
        bytes = &bytes[peer.write(bytes)..];
        house.settle();
        if bytes.is_empty() {
            return;
        }
    }
    panic!("{} bytes are not taken", bytes.len());
}

#[test]
fn what_goes_through_the_spool_counts_like_the_rest() {
    let limits = spool::Limits { size: 8 << 20, per_exchange: 4 << 20, per_address: 8 << 20 };
    let mut house = House::new(&Setting {
        buffers: 256,
        exchange_memory: 32 << 10,
        spool: Some(limits),
        ..logged()
    });
    let client = house.client();
    let head = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n";
    write(&mut house, &client, head.as_bytes());
    write(&mut house, &client, &vec![b'x'; 200_000]);
    let server = house.server();
    let mut seen = 0;
    while seen < 200_000 {
        seen += server.read().len();
        house.settle();
    }
    write(&mut house, &server, b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    write(&mut house, &server, &vec![b'y'; 300_000]);
    assert!(house.sum(|c| c.spooled.get()) >= 2, "both went there");
    assert!(told(&mut house).is_empty(), "the client has not taken it");
    let mut taken = 0;
    for _ in 0..1000 {
        taken += client.read().len() as u64;
        house.settle();
    }
    let told = one(&mut house);
    assert_eq!((told.status, told.closed), (200, None));
    assert_eq!((told.received, told.sent), (head.len() as u64 + 200_000, taken));
    assert!(taken > 300_000);
    house.assert_quiet();
}

#[test]
fn long_heads_are_cut_to_the_note() {
    let mut house = House::new(&logged());
    let client = house.client();
    let long = "x".repeat(900);
    house.exchange(
        &client,
        &format!("GET /{long} HTTP/1.1\r\nHost: h\r\nUser-Agent: {long}\r\n\r\n"),
    );
    house.server().write_all(OK);
    house.settle();
    let mut seen = 0;
    house.logs[0].drain(|record| {
        let (target, target_cut) = record.piece(Piece::Target);
        let (agent, agent_cut) = record.piece(Piece::UserAgent);
        assert!(target_cut && agent_cut && !record.piece(Piece::Host).1);
        assert_eq!(
            (target.len() + agent.len() + 4, agent.len()),
            (LINE as usize, LINE as usize * 3 / 16)
        );
        seen += 1;
        true
    });
    assert_eq!(seen, 1);
}

#[test]
fn the_request_id_reaches_server_client_and_log() {
    let mut house = House::new(&Setting { request_ids: true, workers: 2, ..logged() });
    let mut ids = Vec::new();
    for worker in 0..2 {
        let client = house.client_of(worker);
        house.exchange(&client, GET);
        let server = house.server();
        let seen = id_in(&text(&server));
        server.write_all(OK);
        server.end();
        house.settle();
        let told = one(&mut house);
        assert_eq!((told.id.as_str(), told.id.len()), (seen.as_str(), 32));
        assert_eq!(id_in(&text(&client)), seen);
        ids.push(seen);
    }
    assert_ne!(ids[0], ids[1], "each worker has a seed of its own");
    let client = house.client();
    house.exchange(&client, "GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine-1\r\n\r\n");
    house.server().write_all(OK);
    house.settle();
    assert_eq!((one(&mut house).id.as_str(), id_in(&text(&client)).as_str()), ("mine-1", "mine-1"));
}

#[test]
fn refusals_wear_the_operators_page() {
    let mut error_pages = ErrorPages::default();
    error_pages.set(400, PageType::Html, b"<h1>what?</h1>").unwrap();
    let mut house = House::new(&Setting { error_pages, ..logged() });
    let client = house.client();
    house.exchange(&client, "GET / HTTP/1.1\r\n\r\n");
    let answer = text(&client);
    assert!(answer.contains("text/html") && answer.ends_with("<h1>what?</h1>"), "{answer}");
    assert_eq!(one(&mut house).sent, answer.len() as u64);
}

fn id_in(message: &str) -> String {
    let lines = message.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
    found.next().map_or_else(|| panic!("no ID in {message}"), |(_, id)| id.to_owned())
}
