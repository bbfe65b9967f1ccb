//! A disk that fails, is slow or never answers, behind what was put there.

use crate::house::{GET, House, OK, Setting, status, text};
use crate::spool::{body_of, bytes, post, push, read, setting, unread_download, write};
use base::id::ServerId;
use exchange::Phase;
use sim::{DiskMode, Peer, ServerMode};
use std::time::Duration;
use worker::CloseReason;

#[test]
fn a_disk_that_cannot_write_costs_the_request_that_needs_it_and_nothing_else() {
    let mut house = House::new(&setting());
    house.world.set_disk(DiskMode::WritesFail);
    let (client, other) = (house.client(), house.client());
    push(&mut house, &client, &post(&bytes(600_000)));
    assert_eq!(status(&text(&client)), 507);
    drop(client);
    assert!(house.sum(|c| c.spool_failures.get()) > 0);
    house.exchange(&other, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&other)), 200);
    // For a while nothing is put there; then it is tried again.
    house.world.set_disk(DiskMode::Well);
    house.pass(Duration::from_secs(11));
    let client = house.client();
    let body = bytes(200_000);
    write(&mut house, &client, &post(&body));
    let seen = read(&mut house, &server);
    assert!(seen.ends_with(&body[199_000..]));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn a_disk_that_cannot_read_ends_the_response_that_needs_it() {
    let mut house = House::new(&setting());
    let (client, _server) = unread_download(&mut house, &bytes(500_000));
    house.world.set_disk(DiskMode::ReadsFail);
    client.set_window(1 << 20);
    house.settle();
    assert!(client.is_closed());
    assert_eq!(house.sum(|c| c.clients_closed[CloseReason::Spool as usize].get()), 1);
    house.assert_quiet();
}

#[test]
fn a_slow_disk_slows_what_needs_it_down_and_loses_nothing() {
    let mut house = House::new(&setting());
    house.world.set_disk(DiskMode::Slow(Duration::from_millis(20)));
    let (client, other) = (house.client(), house.client());
    let body = bytes(1_500_000);
    let sent = post(&body);
    let mut taken = 0;
    let mut server = None;
    let mut seen = Vec::new();
    for _ in 0..2000 {
        taken += client.write(&sent[taken..]);
        house.pass(Duration::from_millis(5));
        server = server.or_else(|| house.world.accept(ServerId(0)));
        seen.extend(server.as_ref().map(Peer::read).unwrap_or_default());
    }
    assert!(body_of(&seen) == body, "{} bytes of {}", seen.len(), body.len());
    server.expect("it was served").write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    drop(other);
    house.assert_quiet();
}

#[test]
fn a_disk_that_never_answers_keeps_nobody_for_ever() {
    let mut house = House::new(&setting());
    let (reader, _server) = unread_download(&mut house, &bytes(500_000));
    house.world.set_disk(DiskMode::Stuck);
    reader.set_window(1 << 20);
    let writer = house.client();
    push(&mut house, &writer, &post(&bytes(3_000_000)));
    house.pass(Duration::from_secs(200));
    assert!(reader.is_closed());
    assert_eq!(status(&text(&writer)), 503);
    drop(writer);
    house.world.set_disk(DiskMode::Well);
    house.pass(Duration::from_secs(6));
    house.assert_quiet();
}

/// A disk that is busy for a moment is no reason to end anybody: memory comes back with the next
/// errand that is done.
#[test]
fn slow_requests_wait_for_a_busy_disk() {
    let mut house = House::new(&Setting { buffers: 48, exchange_memory: 8 << 10, ..setting() });
    house.world.set_disk(DiskMode::Slow(Duration::from_millis(60)));
    let body = bytes(5000);
    let slow: Vec<_> = (0..60).map(|_| house.client()).collect();
    for client in &slow {
        client.write_all(&post(&body)[..1500]);
    }
    house.settle();
    for _ in 0..50 {
        house.pass(Duration::from_millis(20));
    }
    assert!(house.sum(|c| c.spooled_for_others.get()) > 16);
    for client in &slow {
        let told = text(client);
        assert_eq!(told, "", "nobody is at fault");
    }
    drop(slow);
    house.pass(Duration::from_secs(10));
    house.assert_quiet();
}

/// The server takes what the disk gives, however long all of it lasts.
#[test]
fn a_request_that_comes_slowly_from_disk_is_not_the_servers_fault() {
    let mut house = House::new(&setting());
    let client = house.client();
    let body = bytes(500_000);
    let sent = post(&body);
    write(&mut house, &client, &sent[..sent.len() - 1]);
    house.world.set_disk(DiskMode::Slow(Duration::from_secs(20)));
    write(&mut house, &client, &sent[sent.len() - 1..]);
    let server = house.server();
    let mut seen = Vec::new();
    for _ in 0..30 {
        house.pass(Duration::from_secs(10));
        seen.extend(server.read());
        if seen.len() > body.len() {
            break;
        }
    }
    assert!(body_of(&seen) == body, "{} bytes of {}", seen.len(), body.len());
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

/// A request that waited for a buffer, and was completed when the disk took what it held, stayed in that
/// queue, and was granted one that it had no use for.
#[test]
fn what_the_disk_completes_waits_for_no_buffer() {
    let exchange_memory = 6 << 10;
    let mut house = House::new(&Setting { buffers: 8, exchange_memory, ..setting() });
    house.world.set_disk_room(1);
    house.world.set_disk(DiskMode::Slow(Duration::from_millis(150)));
    house.world.set_server(ServerId(0), ServerMode::Hangs);
    let ready = |house: &House| house.sum(|c| c.exchanges[Phase::Ready as usize].get());
    // Its beginning goes to the disk, which then has as much to do as it may have.
    let poster = house.client();
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    house.exchange(&poster, &format!("{head}1000\r\n{}\r\n", "b".repeat(0x1000)));
    house.exchange(&poster, "5\r\nhello\r\n");
    // Of two more, which hold the rest, one needs a buffer, and is to be finished first.
    let crowd = [house.client(), house.client()];
    let long = |length: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(length));
    house.exchange(&crowd[0], &long(1000));
    house.exchange(&crowd[1], &long(5500));
    house.exchange(&crowd[0], &"x".repeat(3000));
    // Its end shares a buffer with what comes behind, and needs one to be parted from that.
    house.exchange(&poster, "1\r\nb\r\n0\r\n\r\nGET /next");
    house.pass(Duration::from_millis(120));
    assert_eq!((ready(&house), house.workers[0].waits_for_disk()), (0, 1));
    house.pass(Duration::from_millis(50));
    assert_eq!((ready(&house), house.workers[0].waits_for_disk()), (1, 0));
    // What they give back is for those who wait.
    for one in crowd {
        one.reset();
    }
    house.settle();
    assert_eq!(ready(&house), 1);
    poster.reset();
    house.pass(Duration::from_secs(40));
    house.assert_quiet();
}
