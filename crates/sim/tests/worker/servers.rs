//! Servers that fail, are several, come back, and are held warm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::id::ServerId;
use base::limits::{RETRY_FLOOR, RETRY_WINDOW_SECONDS, UNREACHABLE_GRACE};
use bus::{Policy, RetryPolicy};
use sim::{ServerMode, WorldConfig};
use worker::Letter;

use crate::house::{GET, House, OK, Setting, status, text};

const REFUSES: ServerMode = ServerMode::Fails(driver::ConnectFault::Refused);

/// So many servers behind one worker.
fn behind(servers: u32, policy: Policy) -> House {
    let world = WorldConfig { servers, ..WorldConfig::default() };
    House::new(&Setting { world, policy, ..Setting::default() })
}

#[test]
fn a_server_that_refuses_is_502_after_the_grace_then_at_once_and_service_when_it_is_back() {
    let mut house = behind(1, Policy::default());
    house.world.set_server(ServerId(0), REFUSES);
    let client = house.client();
    house.exchange(&client, GET);
    house.pass(UNREACHABLE_GRACE.mul_f32(0.99));
    assert_eq!(text(&client), "", "it may be back any moment");
    house.pass(UNREACHABLE_GRACE.mul_f32(0.02));
    assert_eq!(status(&text(&client)), 502);
    house.exchange(&client, GET);
    assert_eq!(status(&text(&client)), 502, "it is known to be gone");
    house.world.set_server(ServerId(0), ServerMode::Accepts);
    house.pass(Duration::from_secs(2));
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn a_server_that_is_restarted_fails_nobody() {
    let mut house = behind(1, Policy::default());
    house.world.set_server(ServerId(0), REFUSES);
    let clients: Vec<_> = (0..20).map(|_| house.client()).collect();
    for client in &clients {
        house.exchange(client, GET);
        house.pass(Duration::from_millis(30));
    }
    house.world.set_server(ServerId(0), ServerMode::Accepts);
    for _ in 0..100 {
        house.pass(Duration::from_millis(20));
        while let Some(server) = house.world.accept(ServerId(0)) {
            server.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            server.end();
            house.settle();
        }
    }
    for client in &clients {
        assert_eq!(status(&text(client)), 200);
    }
    house.assert_quiet();
}

#[test]
fn an_idempotent_request_goes_to_another_server_when_its_fresh_connection_breaks() {
    for (request, safe) in
        [(GET, true), ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", false)]
    {
        let mut house = behind(2, Policy::default());
        let client = house.client();
        house.exchange(&client, request);
        let server = house.server();
        assert!(!text(&server).is_empty());
        server.reset();
        house.settle();
        if safe {
            let other = house.world.accept(ServerId(1)).expect("it goes to the other one");
            assert!(text(&other).starts_with("GET /a"));
            other.write_all(OK);
            house.settle();
            assert_eq!(status(&text(&client)), 200);
            assert_eq!(house.sum(|c| c.retries.get()), 1);
        } else {
            assert_eq!(status(&text(&client)), 502);
        }
        house.assert_quiet();
    }
}

#[test]
fn attempts_have_an_end() {
    for attempts in 1..5 {
        let retries = RetryPolicy { attempts, ..RetryPolicy::default() };
        let mut house = behind(2, Policy { retries, ..Policy::default() });
        let client = house.client();
        house.exchange(&client, GET);
        let mut sent = 0;
        for _ in 0..100 {
            house.pass(Duration::from_millis(20));
            for server in [ServerId(0), ServerId(1)] {
                while let Some(server) = house.world.accept(server) {
                    sent += u32::from(!text(&server).is_empty());
                    server.reset();
                    house.settle();
                }
            }
        }
        assert_eq!(sent, attempts);
        assert_eq!(status(&text(&client)), 502);
        house.assert_quiet();
    }
}

#[test]
fn retries_end_with_their_budget() {
    let retries = RetryPolicy { attempts: 2, budget: 0 };
    let mut house = behind(2, Policy { retries, ..Policy::default() });
    let floor = u64::from(RETRY_FLOOR * RETRY_WINDOW_SECONDS);
    for _ in 0..floor + 20 {
        let client = house.client();
        house.exchange(&client, GET);
        for _ in 0..2 {
            for server in [ServerId(0), ServerId(1)] {
                while let Some(server) = house.world.accept(server) {
                    server.reset();
                    house.settle();
                }
            }
        }
        client.end();
        house.pass(Duration::from_millis(60));
        // Both are set aside now and then: the world goes on without it.
        let _ = text(&client);
    }
    let retries = house.sum(|c| c.retries.get());
    assert!(retries <= floor && retries > floor / 2, "{retries} of {floor}");
}

#[test]
fn warm_connections_are_there_before_anybody_asks_and_after_they_ended() {
    let mut house = behind(1, Policy { warm: 2, ..Policy::default() });
    assert_eq!(house.world.connections_to(ServerId(0)), 2);
    let (one, two) = (house.server(), house.server());
    one.end();
    two.reset();
    house.pass(Duration::from_secs(2));
    assert_eq!(house.world.connections_to(ServerId(0)), 2);
    let client = house.client();
    house.exchange(&client, GET);
    let fresh = [house.server(), house.server()];
    let server = fresh.iter().find(|server| !text(server).is_empty()).expect("the request");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    assert_eq!(house.world.most_connections_to(ServerId(0)), 2);
    house.assert_quiet();
}

#[test]
fn a_name_that_leads_elsewhere_ends_what_is_idle_and_what_is_leased_when_it_is_done() {
    let mut house = behind(1, Policy::default());
    let addresses = |last: u8| -> Arc<[SocketAddr]> { [([10, 0, 0, last], 80).into()].into() };
    let tell = |house: &mut House, last| {
        let letter = || Letter::Addresses { server: ServerId(0), addresses: addresses(last) };
        house.order(letter);
    };
    tell(&mut house, 1);
    let (one, two) = (house.client(), house.client());
    house.exchange(&one, GET);
    let first = house.server();
    house.exchange(&two, GET);
    let second = house.server();
    assert!(!text(&first).is_empty() && !text(&second).is_empty());
    first.write_all(OK);
    house.settle();
    // The same again changes nothing.
    tell(&mut house, 1);
    assert!(!first.has_ended() && !second.has_ended());
    tell(&mut house, 2);
    assert!(first.has_ended(), "it was idle");
    assert!(!second.has_ended(), "it is leased");
    let (head, body) = OK.split_at(20);
    second.write_all(head);
    house.settle();
    second.write_all(body);
    house.settle();
    assert_eq!(status(&text(&two)), 200);
    assert!(second.has_ended());
    house.pass(Duration::from_secs(2));
    house.exchange(&two, GET);
    let third = house.server();
    assert!(!text(&third).is_empty());
    third.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&two)), 200);
    assert!(!third.has_ended(), "it leads where it should");
    house.assert_quiet();
}
