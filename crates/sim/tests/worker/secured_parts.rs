//! Parts of records: a client that has begun one is not idle any more, and has as long for it as
//! anybody for a head.

use std::time::Duration;

use base::id::ServerId;
use exchange::Refusal;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sim::Peer;
use worker::{CloseReason, LeastRate, Timeouts};

use crate::house::{GET, House, OK, Setting, status, text};
use crate::secured::{End, certificate, is_answered, setting};

const SECOND: Duration = Duration::from_secs(1);

fn logging() -> Setting {
    Setting { access: Some(64 << 10), ..setting() }
}

/// Clients that have had an answer, and one that never asked.
fn parked(house: &mut House) -> [End; 2] {
    let [mut served, new] = [End::client(house), End::client(house)];
    served.say(house, GET);
    is_answered(house, &mut served, "\r\n\r\n");
    house.log(|_| ());
    [served, new]
}

/// Says these bytes one by one, each so long after the last, until the connection ends; how long
/// that took.
fn dribbles(house: &mut House, client: &mut End, bytes: &[u8], each: Duration) -> Option<Duration> {
    let began = house.world.now();
    for &byte in bytes {
        client.peer.write_all(&[byte]);
        house.settle();
        if client.peer.has_ended() || client.peer.unread() > 0 {
            return Some(house.world.now().since(began));
        }
        house.pass(each);
    }
    None
}

fn active(house: &House) -> u64 {
    house.sum(|c| c.clients_active.get())
}

fn buffers(house: &House) -> u64 {
    house.sum(|c| c.buffers_used.get())
}

#[test]
fn a_record_that_does_not_end_is_ended_like_a_slow_head() {
    for which in 0..2 {
        let mut house = House::new(&logging());
        let mut client = parked(&mut house).into_iter().nth(which).unwrap();
        let sealed = client.sealed(GET.as_bytes());
        client.peer.write_all(&sealed[..1]);
        house.settle();
        assert_eq!((active(&house), buffers(&house)), (1, 0), "it is not parked (law 1)");
        let took = dribbles(&mut house, &mut client, &sealed[1..40], SECOND).expect("it is ended");
        assert!((SECOND * 29..SECOND * 32).contains(&took), "{took:?}");
        assert_eq!(status(&client.text(&mut house)), 408);
        assert!(client.closed && client.peer.has_ended());
        assert_eq!(house.sum(|c| c.refusals[Refusal::Slow as usize].get()), 1);
        house.pass(SECOND * 6);
        assert_eq!(house.closed(CloseReason::Refused), 1);
        house.assert_quiet();
        let lines =
            house.log(|line| (line.status, line.refusal, line.received, line.tls.is_some()));
        assert_eq!(lines, [(408, Some(Refusal::Slow), 0, true)]);
    }
}

#[test]
fn silence_within_a_record_has_the_deadline_of_a_head() {
    let mut house = House::new(&logging());
    let mut client = parked(&mut house).into_iter().nth(1).unwrap();
    let sealed = client.sealed(GET.as_bytes());
    client.peer.write_all(&sealed[..10]);
    house.pass(SECOND * 29);
    assert!(!client.peer.has_ended() && client.peer.unread() == 0);
    house.pass(SECOND * 2);
    assert_eq!(status(&client.text(&mut house)), 408);
}

/// The head has as long as it has, however many of its first bytes were but a part of a record.
#[test]
fn a_record_in_time_is_a_request_like_any_other() {
    let mut house = House::new(&logging());
    let [mut served, new] = parked(&mut house);
    let sealed = served.sealed(GET.as_bytes());
    assert_eq!(dribbles(&mut house, &mut served, &sealed[..20], SECOND), None);
    served.peer.write_all(&sealed[20..]);
    is_answered(&mut house, &mut served, "\r\n\r\n");
    house.pass(SECOND * 100);
    assert!(!served.peer.has_ended() && !new.peer.has_ended());
    let mut slow = new;
    let first = slow.sealed(b"GET /a HTTP/1.1\r\nX: ");
    assert_eq!(dribbles(&mut house, &mut slow, &first[..20], SECOND), None);
    slow.peer.write_all(&first[20..]);
    house.pass(SECOND * 9);
    assert!(!slow.peer.has_ended() && slow.peer.unread() == 0);
    house.pass(SECOND * 2);
    assert_eq!(status(&slow.text(&mut house)), 408, "thirty seconds are over");
}

/// A client that can say what no session of ours does.
struct Renewing {
    peer: Peer,
    session: rustls::ClientConnection,
}

impl Renewing {
    fn client(house: &mut House) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(certificate().as_bytes()).expect("it is well made"))
            .expect("it is well made");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it is well made")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "a.example".try_into().expect("it is well made");
        let session = rustls::ClientConnection::new(std::sync::Arc::new(config), name)
            .expect("it is well made");
        let mut client = Self { peer: house.client(), session };
        while client.session.is_handshaking() {
            client.says(house);
            client.hears();
        }
        client.says(house);
        client.hears();
        client
    }

    fn hears(&mut self) {
        let came = self.peer.read();
        self.session.read_tls(&mut &came[..]).expect("it is well made");
        self.session.process_new_packets().expect("it is well made");
    }

    /// The record that tells of new keys (RFC 8446 §4.6.3).
    fn renewal(&mut self) -> Vec<u8> {
        self.session.refresh_traffic_keys().expect("it is well made");
        let mut record = Vec::new();
        self.session.write_tls(&mut record).expect("it is well made");
        assert!(
            matches!(tls::next_record(&record), tls::Record::Whole(all) if all == record.len())
        );
        record
    }

    fn asks(&mut self, house: &mut House) {
        std::io::Write::write_all(&mut self.session.writer(), GET.as_bytes())
            .expect("it is well made");
        self.says(house);
    }

    fn says(&mut self, house: &mut House) {
        let mut said = Vec::new();
        self.session.write_tls(&mut said).expect("it is well made");
        self.peer.write_all(&said);
        house.settle();
    }
}

/// Whoever says things that are nothing to us is as idle as whoever says nothing.
#[test]
fn records_without_data_renew_nothing() {
    let timeouts = Timeouts { idle: SECOND * 60, ..Timeouts::default() };
    for asks in [false, true] {
        let mut house = House::new(&Setting { timeouts, ..logging() });
        let mut client = Renewing::client(&mut house);
        if asks {
            client.asks(&mut house);
            house.server().write_all(OK);
            house.settle();
            client.hears();
        }
        let began = house.world.now();
        while !client.peer.has_ended() {
            house.pass(SECOND * 5);
            let renewal = client.renewal();
            client.peer.write_all(&renewal);
            house.assert_quiet();
        }
        let took = house.world.now().since(began);
        assert!((SECOND * 55..SECOND * 66).contains(&took), "{asks}: {took:?}");
        assert_eq!(house.closed(CloseReason::Idle), 1);
    }
}

/// One that comes in parts begins something: a request must follow within the time of a head.
#[test]
fn a_renewal_in_parts_begins_a_request() {
    for follows in [false, true] {
        let mut house = House::new(&logging());
        let mut client = Renewing::client(&mut house);
        let renewal = client.renewal();
        client.peer.write_all(&renewal[..7]);
        house.pass(SECOND);
        client.peer.write_all(&renewal[7..]);
        house.pass(SECOND);
        assert_eq!((active(&house), buffers(&house)), (1, 0));
        if follows {
            client.asks(&mut house);
            assert!(text(&house.server()).starts_with("GET /a "));
        }
        house.pass(SECOND * 29);
        assert_eq!(house.sum(|c| c.refusals[Refusal::Slow as usize].get()), u64::from(!follows));
        house.order(|| worker::Letter::Stop);
    }
}

/// A part of a record counts as far as it may be data; so does the whole, once.
#[test]
fn a_record_that_dribbles_is_ended_long_before_its_deadline() {
    let least_rate = Some(LeastRate { bytes: 100, over: SECOND * 5 });
    let mut house = House::new(&Setting { least_rate, ..logging() });
    let mut client = parked(&mut house).into_iter().next().unwrap();
    let sealed = client.sealed("GET /a HTTP/1.1\r\nX: ".repeat(100).as_bytes());
    let took = dribbles(&mut house, &mut client, &sealed[..40], SECOND).expect("it is ended");
    assert!((SECOND * 5..SECOND * 11).contains(&took), "{took:?}");
    assert_eq!(status(&client.text(&mut house)), 408);
    // One that is fast enough takes its time, in one record or in many.
    for record in [200, 4000] {
        let mut house = House::new(&Setting { least_rate, ..logging() });
        let mut client = parked(&mut house).into_iter().next().unwrap();
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3800\r\n\r\n";
        let request = format!("{head}{}", "b".repeat(3800));
        let sealed: Vec<u8> =
            request.as_bytes().chunks(record).flat_map(|part| client.sealed(part)).collect();
        for piece in sealed.chunks(160) {
            client.peer.write_all(piece);
            house.pass(SECOND);
        }
        is_answered(&mut house, &mut client, "bbb");
    }
}

/// Between two pieces of a body there is the time that there is, and a part of a record is a piece.
#[test]
fn a_body_in_one_slow_record_comes_through() {
    for (stream, pauses) in [(false, 2), (true, 2), (false, 7), (true, 7)] {
        let timeouts = Timeouts { body_progress: 5 * SECOND, ..Timeouts::default() };
        let mut house = House::new(&Setting { stream, timeouts, ..logging() });
        let mut client = parked(&mut house).into_iter().next().unwrap();
        client.say(&mut house, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3800\r\n\r\n");
        let sealed = client.sealed("b".repeat(3800).as_bytes());
        for piece in sealed.chunks(160) {
            house.pass(SECOND * pauses);
            if client.peer.unread() > 0 {
                break;
            }
            client.peer.write_all(piece);
            house.settle();
        }
        if pauses < 5 {
            is_answered(&mut house, &mut client, "bbb");
        } else {
            assert_eq!(status(&client.text(&mut house)), 408, "{stream}");
            house.order(|| worker::Letter::Stop);
        }
    }
}

/// What follows a handshake or a request at once, and is no whole record, begins the next request.
#[test]
fn a_part_that_was_there_before_has_a_deadline_too() {
    let mut house = House::new(&logging());
    let [mut served, _new] = parked(&mut house);
    let mut both = served.sealed(GET.as_bytes());
    both.extend_from_slice(&served.sealed(GET.as_bytes())[..10]);
    served.peer.write_all(&both);
    house.settle();
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&served.text(&mut house)), 200);
    assert_eq!((active(&house), buffers(&house)), (1, 0));
    house.pass(SECOND * 31);
    assert_eq!(status(&served.text(&mut house)), 408);
    house.pass(SECOND * 6);
    house.assert_quiet();
}

#[test]
fn who_leaves_within_a_record_has_left_in_the_middle() {
    for resets in [false, true] {
        let mut house = House::new(&logging());
        let mut client = parked(&mut house).into_iter().next().unwrap();
        let sealed = client.sealed(GET.as_bytes());
        client.peer.write_all(&sealed[..30]);
        house.settle();
        if resets {
            client.peer.reset();
        } else {
            client.peer.end();
        }
        house.settle();
        assert_eq!(house.closed(CloseReason::Aborted), 1);
        let lines = house.log(|line| (line.status, line.closed));
        assert_eq!(lines, [(499, Some(CloseReason::Aborted))]);
        house.assert_quiet();
    }
}

/// A small pool and a crowd with whole records longer than what it has left: some are ahead of their
/// buffers, the others wait for that. Servers take so many bytes of a request in each hundredth of a second.
fn a_crowd_with_long_records(
    exchange_memory: u32,
    queue: Duration,
    takes: usize,
    hundredths: usize,
) -> Vec<String> {
    let timeouts = Timeouts { head: SECOND, queue, ..Timeouts::default() };
    let least_rate = Some(LeastRate { bytes: 1000, over: SECOND / 2 });
    let small = Setting { buffers: 12, exchange_memory, connections: 4, timeouts, ..setting() };
    let mut house = House::new(&Setting { stream: true, least_rate, ..small });
    let body = "b".repeat(16_000);
    let ask = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16000\r\n\r\n{body}");
    let mut clients: Vec<_> = (0..50).map(|_| End::client(&mut house)).collect();
    for client in &mut clients {
        let sealed = client.sealed(ask.as_bytes());
        client.peer.write_all(&sealed);
    }
    let mut servers = Vec::new();
    for _ in 0..hundredths {
        house.pass(SECOND / 100);
        servers.extend(house.world.accept(ServerId(0)).map(|server| (server, String::new())));
        for (server, taken) in &mut servers {
            server.set_window(2000);
            *taken += &String::from_utf8(server.read_some(takes)).expect("it is text");
            if taken.ends_with(&body) {
                taken.clear();
                server.write_all(OK);
            }
        }
    }
    let told = clients.iter_mut().map(|client| client.text(&mut house)).collect();
    for client in &clients {
        client.peer.reset();
    }
    house.pass(40 * SECOND);
    house.assert_quiet();
    told
}

/// Whole records that wait for us are nobody's slowness: who sent them is served in its turn. Nobody stands
/// before the one that all others give way to.
#[test]
fn who_waits_for_a_place_is_not_slow() {
    for exchange_memory in [4 << 10, 16 << 10] {
        let told = a_crowd_with_long_records(exchange_memory, 50 * SECOND, 1500, 2000);
        let served = told.iter().filter(|told| told.contains(" 200 ")).count();
        assert_eq!(served, 50, "{told:?}");
    }
}

/// Nor does anybody wait longer for a place than for a buffer, however often it waits for one after the other.
#[test]
fn who_waits_for_a_place_too_long_is_refused_as_without_buffers() {
    let told = a_crowd_with_long_records(4 << 10, 3 * SECOND, 100, 500);
    let are = |status: &str| told.iter().filter(|told| told.contains(status)).count();
    let (served, refused) = (are(" 200 "), are(" 503 "));
    let in_turn = told.iter().filter(|told| told.is_empty()).count();
    assert!(refused > 20 && in_turn < 12, "{refused} are refused, {in_turn} still wait");
    assert_eq!(served + refused + in_turn, 50, "nobody was slow: {told:?}");
}

/// A streamed body of which the server has everything waits for a place as long as it takes: its client is
/// not slow meanwhile.
#[test]
fn a_streamed_body_that_waits_for_a_place_is_not_slow() {
    let timeouts = Timeouts { body_progress: SECOND, queue: 50 * SECOND, ..Timeouts::default() };
    let mut house = House::new(&Setting {
        buffers: 10,
        exchange_memory: 2 << 10,
        connections: 2,
        stream: true,
        timeouts,
        ..setting()
    });
    let mut client = End::client(&mut house);
    client.say(&mut house, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 32000\r\n\r\n");
    let server = house.server();
    text(&server);
    let body = "b".repeat(16_000);
    let ask = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16000\r\n\r\n{body}");
    let mut crowd: Vec<_> = (0..20).map(|_| End::client(&mut house)).collect();
    for other in &mut crowd {
        let sealed = other.sealed(ask.as_bytes());
        other.peer.write_all(&sealed);
        house.settle();
    }
    let sealed = client.sealed(&[b'x'; 16_000]);
    client.peer.write_all(&sealed);
    house.pass(4 * SECOND);
    assert_eq!((text(&server).len(), client.text(&mut house).as_str()), (0, ""), "it waits");
    for other in &crowd {
        other.peer.reset();
    }
    house.pass(SECOND / 2);
    assert!(text(&server).len() >= 16_000, "and goes on");
    client.peer.reset();
    house.pass(60 * SECOND);
    house.assert_quiet();
}
