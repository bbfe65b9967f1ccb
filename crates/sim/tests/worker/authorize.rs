//! Who may have a request served: the test decides, as others do beside the workers.

use std::sync::Arc;
use std::time::Duration;

use base::counter::Counter;
use exchange::{Asks, Authorization, Phase, Refusal};
use proxies::security::{LimitRules, Limits, Rate};
use worker::{CloseReason, Inquiries, Inquiry, Letter, Timeouts, Verdict, WorkerCounters};

use crate::house::{House, OK, Setting, status, text};

const MINE: &str = "GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Basic bWU6bWluZQ==\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic bWU6bWluZQ==\r\n\
    Content-Length: 4\r\nExpect: 100-continue\r\n\r\n";

fn setting() -> Setting {
    let authorization = Authorization {
        number: 0,
        asks: Asks::Passwords,
        challenge: "Basic realm=\"here\"".into(),
        certificates: None,
        subject_field: Some("X-User".into()),
        passes_credentials: false,
    };
    Setting {
        authorization: Some(Arc::new(authorization)),
        access: Some(16 << 10),
        ..Setting::default()
    }
}

fn inquiries(house: &House) -> &Inquiries {
    house.inquiries.as_deref().expect("somebody decides")
}

/// The question that is put.
#[expect(clippy::unnecessary_box_returns, reason = "it goes round in its box")]
fn asked(house: &House) -> Box<Inquiry> {
    inquiries(house).next().expect("a question is put")
}

/// Lets in whoever asked, for so long.
fn let_in(house: &mut House, mut inquiry: Box<Inquiry>, good_for: Duration) {
    assert!(inquiry.grant.set(b"me"));
    let edition = inquiries(house).edition(0);
    inquiries(house).answer(inquiry, Verdict::LetIn { good_for, edition });
    house.settle();
}

fn refuse(house: &mut House, inquiry: Box<Inquiry>, refusal: Refusal) {
    inquiries(house).answer(inquiry, Verdict::Refused(refusal));
    house.settle();
}

fn phase(house: &House, phase: Phase) -> u64 {
    house.sum(|counters| counters.exchanges[phase as usize].get())
}

fn count(house: &House, counter: fn(&WorkerCounters) -> &Counter) -> u64 {
    house.sum(|counters| counter(counters).get())
}

fn refused(house: &House, refusal: Refusal) -> u64 {
    house.sum(|counters| counters.refusals[refusal as usize].get())
}

/// The users that the access log names.
fn users(house: &mut House) -> Vec<String> {
    let mut users = Vec::new();
    house.logs[0].drain(|record| {
        let (user, _) = record.piece(exchange::Piece::User);
        users.push(String::from_utf8_lossy(user).into_owned());
        let told = format!("{record:?}");
        assert!(!told.contains("bWU6bWluZQ"), "a secret is told: {told}");
        true
    });
    users
}

const NO_TIME: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn nothing_happens_before_the_verdict_and_everything_after_it() {
    let mut house = House::new(&setting());
    let client = house.client();
    house.exchange(&client, MINE);
    assert_eq!((phase(&house, Phase::Authorizing), phase(&house, Phase::Ready)), (1, 0));
    assert_eq!(house.sum(|c| c.buffers_used.get()), 1, "it holds its head alone");
    assert_eq!(text(&client), "");
    let inquiry = asked(&house);
    assert_eq!(inquiry.question(), b"bWU6bWluZQ==");
    let_in(&mut house, inquiry, NO_TIME);
    let server = house.server();
    house.settle();
    let request = text(&server);
    assert!(request.contains("\r\nX-User: me\r\n") && !request.contains("bWU6"), "{request}");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(users(&mut house), ["me"]);
    assert_eq!(inquiries(&house).under_way(), 0);
    house.assert_quiet();
}

#[test]
fn who_is_not_let_in_is_told_and_its_connection_goes_on() {
    let mut house = House::new(&setting());
    let client = house.client();
    // Pipelined: the second has no credentials, the third has them.
    let none = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    house.exchange(&client, &format!("{MINE}{none}{MINE}"));
    let inquiry = asked(&house);
    assert!(inquiries(&house).next().is_none(), "one after the other");
    refuse(&mut house, inquiry, Refusal::BadCredentials);
    let answers = text(&client);
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 2, "{answers}");
    assert_eq!(answers.matches("WWW-Authenticate: Basic realm=\"here\"").count(), 2, "{answers}");
    let inquiry = asked(&house);
    let_in(&mut house, inquiry, NO_TIME);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(refused(&house, Refusal::BadCredentials), 1);
    assert_eq!(refused(&house, Refusal::NoCredentials), 1);
    assert_eq!(users(&mut house), ["", "", "me"]);
    house.assert_quiet();
}

#[test]
fn who_was_let_in_is_known_until_its_time_is_over_or_something_changes() {
    let mut house = House::new(&Setting { persistent: false, ..setting() });
    let client = house.client();
    let served = |house: &mut House| {
        house.settle();
        let server = house.server();
        server.write_all(OK);
        server.end();
        house.settle();
        status(&text(&client))
    };
    house.exchange(&client, MINE);
    let inquiry = asked(&house);
    let_in(&mut house, inquiry, MINUTE);
    assert_eq!(served(&mut house), 200);
    house.exchange(&client, MINE);
    assert_eq!(served(&mut house), 200, "nobody is asked");
    assert_eq!(count(&house, |c| &c.authorizations_remembered), 1);
    for change in [false, true] {
        if change {
            inquiries(&house).changed(0);
        } else {
            house.pass(MINUTE);
        }
        house.exchange(&client, MINE);
        let inquiry = asked(&house);
        let_in(&mut house, inquiry, MINUTE);
        assert_eq!(served(&mut house), 200);
    }
    assert_eq!(count(&house, |c| &c.authorizations_asked), 3);
    house.assert_quiet();
}

/// What was found by the old edition is not remembered as the new one's.
#[test]
fn a_verdict_from_before_a_change_serves_its_own_request_alone() {
    let mut house = House::new(&setting());
    let client = house.client();
    house.exchange(&client, MINE);
    let mut inquiry = asked(&house);
    let edition = inquiries(&house).edition(0);
    inquiries(&house).changed(0);
    assert!(inquiry.grant.set(b"me"));
    inquiries(&house).answer(inquiry, Verdict::LetIn { good_for: MINUTE, edition });
    house.settle();
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.exchange(&client, MINE);
    let inquiry = asked(&house);
    refuse(&mut house, inquiry, Refusal::BadCredentials);
    assert_eq!(status(&text(&client)), 401);
    house.assert_quiet();
}

#[test]
fn a_verdict_that_does_not_come_is_not_waited_for() {
    let timeouts = Timeouts { authorize: Duration::from_secs(2), ..Timeouts::default() };
    let mut house = House::new(&Setting { timeouts, ..setting() });
    let client = house.client();
    house.exchange(&client, MINE);
    house.pass(Duration::from_secs(3));
    let answer = text(&client);
    assert!(answer.contains("503 ") && answer.contains("Retry-After: 1"), "{answer}");
    assert_eq!(refused(&house, Refusal::AuthorizerFailed), 1);
    // It comes late, for another question of the same exchange's number.
    let late = asked(&house);
    house.exchange(&client, MINE);
    let_in(&mut house, late, NO_TIME);
    assert_eq!(phase(&house, Phase::Authorizing), 1, "it is not its own");
    let inquiry = asked(&house);
    refuse(&mut house, inquiry, Refusal::Forbidden);
    assert_eq!(status(&text(&client)), 403);
    assert_eq!(inquiries(&house).under_way(), 0);
    house.assert_quiet();
}

#[test]
fn questions_are_bounded_and_the_next_is_told_so() {
    let mut house = House::new(&Setting { questions: 2, ..setting() });
    let clients: Vec<_> = (0..3).map(|_| house.client()).collect();
    for client in &clients {
        house.exchange(client, MINE);
    }
    assert_eq!(status(&text(&clients[2])), 503);
    assert_eq!(refused(&house, Refusal::AuthorizerFull), 1);
    // Whoever has no credentials needs no place.
    house.exchange(&clients[2], "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&text(&clients[2])), 401);
    for _ in 0..2 {
        let inquiry = asked(&house);
        refuse(&mut house, inquiry, Refusal::BadCredentials);
    }
    house.exchange(&clients[2], MINE);
    let inquiry = asked(&house);
    refuse(&mut house, inquiry, Refusal::BadCredentials);
    assert_eq!(status(&text(&clients[2])), 401);
    house.assert_quiet();
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    let mut house = House::new(&setting());
    let client = house.client();
    house.exchange(&client, MINE);
    client.reset();
    house.settle();
    house.assert_quiet();
    assert_eq!(house.closed(CloseReason::Aborted), 1);
    let inquiry = asked(&house);
    let_in(&mut house, inquiry, MINUTE);
    assert_eq!(inquiries(&house).under_way(), 0);
    // One that ends its direction has asked all the same.
    let client = house.client();
    client.write_all(MINE.as_bytes());
    client.end();
    house.settle();
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200, "it is known from the one that left");
    house.assert_quiet();
}

#[test]
fn a_body_is_advised_and_read_only_of_who_is_let_in() {
    for stream in [false, true] {
        let mut house = House::new(&Setting { stream, ..setting() });
        let client = house.client();
        house.exchange(&client, POST);
        assert_eq!(text(&client), "", "the verdict comes first");
        let inquiry = asked(&house);
        let_in(&mut house, inquiry, NO_TIME);
        let _server = stream.then(|| house.server());
        house.settle();
        assert_eq!(text(&client), "HTTP/1.1 100 Continue\r\n\r\n");
        client.reset();
        house.settle();
        let other = house.client();
        house.exchange(&other, POST);
        let inquiry = asked(&house);
        refuse(&mut house, inquiry, Refusal::BadCredentials);
        let answer = text(&other);
        assert!(answer.contains("401 ") && answer.contains("Connection: close"), "{answer}");
        assert_eq!(phase(&house, Phase::Collecting), 0);
        other.write_all(b"late");
        other.end();
        house.settle();
        assert_eq!(house.closed(CloseReason::Refused), 1);
        house.assert_quiet();
    }
}

#[test]
fn who_asks_too_often_is_not_asked_about() {
    let rate = Some(Rate { count: 2, period: Duration::from_secs(1) });
    let rules = LimitRules {
        connections: None,
        connection_rate: None,
        request_rate: rate,
        prefixes: [32, 64],
        addresses: 64,
    };
    let limits = Some(Arc::new(Limits::new(rules, 7)));
    let mut house = House::new(&Setting { limits, ..setting() });
    let client = house.client();
    for _ in 0..2 {
        house.exchange(&client, MINE);
        let inquiry = asked(&house);
        refuse(&mut house, inquiry, Refusal::BadCredentials);
        assert_eq!(status(&text(&client)), 401);
    }
    house.exchange(&client, MINE);
    assert_eq!(status(&text(&client)), 429);
    assert!(inquiries(&house).next().is_none());
    // Without credentials, too.
    house.exchange(&client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&text(&client)), 429);
    // Whoever is let in counts once.
    house.pass(Duration::from_secs(5));
    house.exchange(&client, MINE);
    let inquiry = asked(&house);
    let_in(&mut house, inquiry, MINUTE);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.exchange(&client, MINE);
    assert_eq!(phase(&house, Phase::Pending), 1, "it is the second");
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_drain_waits_for_verdicts_and_a_stop_does_not() {
    for stops in [false, true] {
        let mut house = House::new(&setting());
        let client = house.client();
        house.exchange(&client, MINE);
        house.order(|| if stops { Letter::Stop } else { Letter::Drain });
        let inquiry = asked(&house);
        if stops {
            assert!(house.is_over() && client.is_closed());
            inquiries(&house).answer(inquiry, Verdict::Refused(Refusal::Forbidden));
            continue;
        }
        let_in(&mut house, inquiry, NO_TIME);
        house.server().write_all(OK);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        house.pass(Duration::from_secs(2));
        assert!(house.is_over());
    }
}

/// A pool in which nothing is free delays who is let in, and loses nothing.
#[test]
fn a_short_pool_delays_who_is_let_in() {
    let mut house =
        House::new(&Setting { buffers: 8, max_clients: 32, persistent: false, ..setting() });
    let long = format!("X: {}\r\n\r\n", "a".repeat(1900));
    let sent = MINE.replace("\r\n\r\n", &format!("\r\n{long}"));
    let clients: Vec<_> = (0..6).map(|_| house.client()).collect();
    for client in &clients {
        house.exchange(client, &sent);
    }
    for _ in 0..20 {
        while let Some(inquiry) = inquiries(&house).next() {
            let_in(&mut house, inquiry, NO_TIME);
        }
        house.pass(Duration::from_millis(10));
        while let Some(server) = house.world.accept(base::id::ServerId(0)) {
            server.write_all(OK);
            server.end();
            house.settle();
        }
    }
    for client in &clients {
        assert_eq!(status(&text(client)), 200);
    }
    assert_eq!(inquiries(&house).under_way(), 0);
    house.assert_quiet();
}
