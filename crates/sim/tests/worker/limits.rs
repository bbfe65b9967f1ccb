//! `max_clients`, drain and stop, several workers and one connection.

use crate::house::{GET, House, OK, Setting, status, text};
use base::id::ServerId;
use base::limits;
use driver::AcceptFault;
use sim::{Peer, Segments, WorldConfig};
use std::time::Duration;
use worker::{AtLimit, CloseReason, Letter};

#[test]
fn at_the_limit_new_clients_wait_until_somebody_leaves() {
    let mut house = House::new(&Setting { max_clients: 3, ..Setting::default() });
    let here: Vec<_> = (0..3).map(|_| house.client()).collect();
    let late = house.client();
    assert_eq!(house.sum(|c| c.clients.get()), 3);
    assert!(!late.is_accepted());
    drop(here);
    house.settle();
    assert!(late.is_accepted());
    assert_eq!(house.sum(|c| c.clients.get()), 1);
}

/// `max_clients` is the process's: one worker may have them all, and a place that frees in one
/// is taken by another.
#[test]
fn the_limit_is_the_processs() {
    let mut house = House::new(&Setting { workers: 2, max_clients: 4, ..Setting::default() });
    let mut here: Vec<_> = (0..4).map(|_| house.client_of(0)).collect();
    assert_eq!(house.counters[0].clients.get(), 4);
    let late = house.client_of(1);
    assert!(!late.is_accepted());
    here.pop();
    house.settle();
    assert!(late.is_accepted());
    assert_eq!(house.sum(|c| c.clients.get()), 4);
}

/// A batch of arrivals does not overshoot the limit.
#[test]
fn a_rush_fills_the_table_exactly() {
    let mut house = House::new(&Setting { max_clients: 5, ..Setting::default() });
    let rush: Vec<_> = (0..40).map(|_| house.world.connect(base::id::ListenerId(0))).collect();
    house.settle();
    assert_eq!(rush.iter().filter(|client| client.is_accepted()).count(), 5);
    assert_eq!(house.sum(|c| c.clients.get()), 5);
}

#[test]
fn at_the_limit_new_clients_are_told_so_if_configured() {
    let setting = Setting { max_clients: 1, at_limit: AtLimit::Answer, ..Setting::default() };
    let mut house = House::new(&setting);
    let here = house.client();
    let late = house.client();
    let refusal = text(&late);
    assert_eq!(status(&refusal), 503);
    assert!(refusal.contains("Retry-After"));
    house.exchange(&here, GET);
    house.server().write_all(OK);
    house.settle();
    assert_eq!(status(&text(&here)), 200, "who is here is not harmed");
}

#[test]
fn at_the_limit_the_client_parked_longest_leaves_if_configured() {
    let setting = Setting { max_clients: 2, reclaim_parked: true, ..Setting::default() };
    let mut house = House::new(&setting);
    let (first, second) = (house.client(), house.client());
    house.pass(Duration::from_secs(1));
    let third = house.client();
    assert!(first.is_closed() && !second.is_closed() && third.is_accepted());
    assert_eq!(house.sum(|c| c.clients_closed[CloseReason::Reclaimed as usize].get()), 1);
}

/// In a burst, clients that had their answer go before those that have not spoken yet.
#[test]
fn newcomers_are_spared_while_others_are_parked() {
    let setting = Setting { max_clients: 4, reclaim_parked: true, ..Setting::default() };
    let mut house = House::new(&setting);
    let new = house.client();
    let served: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &served {
        house.exchange(client, GET);
        if let Some(server) = house.world.accept(base::id::ServerId(0)) {
            server.write_all(OK);
            house.settle();
            let _ = text(client);
            server.close();
            house.settle();
        }
    }
    house.pass(Duration::from_millis(900));
    let burst: Vec<_> = (0..3).map(|_| house.client()).collect();
    assert!(served.iter().all(sim::Peer::is_closed), "they had their turn");
    assert!(!new.is_closed() && burst.iter().all(|client| !client.is_closed()));
    // Nobody else is left: the one that came first goes.
    let last = house.client();
    assert!(new.is_closed() && last.is_accepted());
    assert!(burst.iter().all(|client| !client.is_closed()));
    // Who stays silent for a second is parked like any other.
    house.exchange(&last, GET);
    house.server().write_all(OK);
    house.settle();
    house.pass(Duration::from_secs(1));
    let _more = house.client();
    assert!(burst[0].is_closed() && !last.is_closed());
}

/// Where nobody is parked, `at_limit` says what new clients meet; there are never more.
#[test]
fn with_nobody_to_reclaim_new_clients_meet_what_the_limit_says() {
    for at_limit in [AtLimit::Pause, AtLimit::Answer] {
        let setting =
            Setting { max_clients: 2, reclaim_parked: true, at_limit, ..Setting::default() };
        let mut house = House::new(&setting);
        let active: Vec<_> = (0..2).map(|_| house.client()).collect();
        for client in &active {
            house.exchange(client, GET);
        }
        let servers = [house.server(), house.server()];
        let late: Vec<_> = (0..3).map(|_| house.client()).collect();
        assert_eq!(house.sum(|c| c.clients.get() - c.clients_leaving.get()), 2, "{at_limit:?}");
        assert!(active.iter().all(|client| !client.has_ended()));
        let waits = at_limit == AtLimit::Pause;
        for client in &late {
            assert_eq!(client.is_accepted(), !waits);
            assert!(waits || status(&text(client)) == 503);
        }
        // Whoever had its answer makes way, and then each of those who waited for the next.
        servers[0].write_all(OK);
        house.settle();
        assert_eq!(active.iter().filter(|client| client.is_closed()).count(), usize::from(waits));
        assert_eq!(house.closed(CloseReason::Reclaimed), if waits { 3 } else { 0 });
        assert!(late.iter().all(Peer::is_accepted));
        assert_eq!(house.sum(|c| c.clients.get() - c.clients_leaving.get()), 2);
        house.order(|| Letter::Stop);
    }
}

/// Another worker's parked clients are its own to close; places are everybody's.
#[test]
fn a_worker_without_parked_clients_lets_others_accept() {
    let setting =
        Setting { workers: 2, max_clients: 2, reclaim_parked: true, ..Setting::default() };
    let mut house = House::new(&setting);
    let (busy, parked) = (house.client_of(0), house.client_of(1));
    house.exchange(&busy, GET);
    let late = house.client_of(0);
    assert!(late.is_accepted() && parked.is_closed() && !busy.has_ended());
    assert_eq!(house.counters[1].clients_closed[CloseReason::Reclaimed as usize].get(), 1);
    house.order(|| Letter::Stop);
}

/// Connections that say nothing hold no place for ever where hands are shaken first, either.
#[test]
fn whoever_shakes_hands_for_longest_is_reclaimed_like_a_silent_one() {
    let setting = Setting { max_clients: 3, reclaim_parked: true, ..crate::secured::setting() };
    let mut house = House::new(&setting);
    let served = crate::secured::End::client(&mut house);
    let silent = house.client();
    house.pass(Duration::from_millis(500));
    let half = house.client();
    half.write_all(&crate::secured::hello()[..50]);
    // The newcomers are spared while there is another.
    house.pass(Duration::from_millis(400));
    let third = house.client();
    assert!(served.peer.is_closed() || silent.is_closed());
    house.pass(Duration::from_secs(2));
    let fourth = house.client();
    assert!(silent.is_closed() && !half.has_ended(), "the longest first");
    let fifth = house.client();
    assert!(half.is_closed() && !third.has_ended() && !fourth.has_ended() && fifth.is_accepted());
    assert_eq!(house.closed(CloseReason::Reclaimed), 3);
    assert_eq!(house.sum(|c| c.clients.get()), 3);
}

#[test]
fn accepting_goes_on_after_the_system_ran_out_of_descriptors() {
    let mut house = House::new(&Setting::default());
    house.world.fail_accept(base::id::ListenerId(0), AcceptFault::Descriptors);
    let client = house.client();
    assert!(!client.is_accepted());
    house.pass(Duration::from_millis(200));
    assert!(client.is_accepted());
}

#[test]
fn a_drain_finishes_what_is_under_way_and_loses_nothing() {
    let mut house = House::new(&Setting::default());
    let (parked, busy, back) = (house.client(), house.client(), house.client());
    house.exchange(&busy, GET);
    let server = house.server();
    let _ = text(&server);
    house.order(|| Letter::Drain);
    // A client that had just sent its next request is served.
    house.exchange(&back, GET);
    let second = house.server();
    second.write_all(OK);
    house.settle();
    let last = text(&back);
    assert_eq!(status(&last), 200);
    assert!(last.contains("Connection: close"), "{last}");
    house.pass(Duration::from_secs(2));
    assert!(parked.is_closed());
    assert!(!house.is_over(), "one is still under way");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&busy)), 200);
    drop((busy, back));
    house.settle();
    assert!(house.is_over());
}

#[test]
fn a_drain_has_an_end() {
    let mut house = House::new(&Setting { connections: 1, ..Setting::default() });
    let (busy, queued) = (house.client(), house.client());
    house.exchange(&busy, GET);
    house.exchange(&queued, GET);
    house.order(|| Letter::Drain);
    house.pass(Duration::from_secs(29));
    assert!(!house.is_over());
    house.pass(Duration::from_secs(2));
    assert!(house.is_over());
}

#[test]
fn stop_gives_everything_back_at_once() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    house.order(|| Letter::Stop);
    assert!(house.is_over());
}

/// Four workers share one connection: everybody is served, nobody sees two.
#[test]
fn one_connection_serves_the_clients_of_all_workers() {
    let setting = Setting { workers: 4, connections: 1, ..Setting::default() };
    let mut house = House::new(&setting);
    let clients: Vec<_> = (0..16).map(|n| house.client_of(n % 4)).collect();
    let with_clients = house.counters.iter().filter(|c| c.clients.get() > 0).count();
    assert_eq!(with_clients, 4, "the clients are spread over workers");
    for _ in 0..3 {
        for client in &clients {
            client.write_all(GET.as_bytes());
        }
        let mut servers = Vec::new();
        let mut answered = 0;
        for _ in 0..2_000 {
            house.settle();
            servers.extend(house.world.accept(ServerId(0)));
            for server in &servers {
                if text(server).contains("\r\n\r\n") {
                    server.write(OK);
                }
            }
            answered += clients.iter().filter(|client| text(client).ends_with("ok")).count();
            if answered == clients.len() {
                break;
            }
            house.pass(Duration::from_millis(1));
        }
        assert_eq!(answered, clients.len());
        assert_eq!(house.world.most_connections_to(ServerId(0)), 1);
    }
    house.assert_quiet();
}

/// Every cut of the network gives the same bytes.
#[test]
fn bodies_survive_any_segments() {
    for seed in 0..40u64 {
        let world = WorldConfig {
            segments: Segments::Random { seed, most: [1, 7, 100, 3000][(seed % 4) as usize] },
            ..WorldConfig::default()
        };
        let setting = Setting { world, buffers: 16, ..Setting::default() };
        let mut house = House::new(&setting);
        let client = house.client();
        let body: String = ('a'..='z').cycle().take(6_000).collect();
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6000\r\n\r\n";
        house.exchange(&client, &format!("{head}{body}"));
        let server = house.server();
        let mut request = text(&server);
        for _ in 0..20_000 {
            if request.ends_with(&body) {
                break;
            }
            house.settle();
            request.push_str(&text(&server));
        }
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "seed {seed}");
        let reply = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1770;e=1\r\n{body}\r\n0\r\n\r\n"
        );
        server.write_all(reply.as_bytes());
        let mut response = String::new();
        for _ in 0..20_000 {
            house.settle();
            response.push_str(&text(&client));
            if response.ends_with("0\r\n\r\n") {
                break;
            }
        }
        assert!(response.contains(&format!("\r\n1770\r\n{body}\r\n0\r\n\r\n")), "seed {seed}");
        house.assert_quiet();
    }
}

/// The judge's seed 2000011703, of the tree at a023870: what was said behind the longest request there may be
/// had no buffer left, as the request held all that are lent to requests, and waited for itself.
#[test]
fn the_longest_request_leaves_a_buffer_for_what_stands_behind_it() {
    let buffers = 8;
    let lent = buffers - 2;
    for first in [1, 600, 1500, 1900, 2000, 2040] {
        let exchange_memory = (lent - limits::BESIDE_ONE_EXCHANGE) * 2048;
        let mut house =
            House::new(&Setting { buffers, exchange_memory, spool: None, ..Setting::default() });
        let client = house.client();
        // With what we say in its head it is nearly as long as may be.
        let length = exchange_memory as usize - 300;
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let body = "x".repeat(length);
        house.exchange(&client, &format!("{head}{}", &body[..first]));
        house.exchange(&client, &format!("{}GET", &body[first..]));
        let server = house.server();
        house.settle();
        assert!(text(&server).ends_with("xxx"), "{first}");
        server.write_all(OK);
        house.settle();
        assert_eq!(status(&text(&client)), 200, "{first}");
        drop(client);
        house.settle();
        house.assert_quiet();
    }
}
