//! Two real buses, each a round at the same time: what one does must be seen by one of them, so
//! that the request is served once their letters have arrived.

use alloc::vec::Vec;

use base::id::{ConnectionId, ExchangeId, WorkerId};
use base::sync::explore::Explore;
use base::sync::thread;

use crate::bus::Bus;
use crate::decide::Decision;
use crate::group::GroupConfig;
use crate::testing::{APP, at, crew, group};

/// What a worker does in its round, with a connection that it has from the beginning.
type Round = fn(&mut Bus, ConnectionId);

/// A worker after a round: its bus, and what it has to say to the other.
struct After {
    bus: Bus,
    says: Vec<Decision>,
    leased: bool,
}

fn decide(mut bus: Bus, leased: bool) -> After {
    let mut after = Vec::new();
    let mut served = leased;
    while let Some(decision) = bus.decide(at(2), true) {
        match decision {
            Decision::Lease { .. } => served = true,
            Decision::Open { connection, .. } => bus.connected(connection, at(2)),
            Decision::Close { connection } => bus.closed(connection),
            Decision::HandOver { .. } | Decision::Nudge { .. } => after.push(decision),
            Decision::Fail { .. } => panic!("nothing failed"),
        }
    }
    After { bus, says: after, leased: served }
}

/// Carries letters to and fro until nobody has any.
fn correspond(mut workers: [After; 2], letters_arrive: bool) -> bool {
    for _ in 0..8 {
        let mut told = [false; 2];
        for from in [0, 1] {
            for decision in core::mem::take(&mut workers[from].says) {
                let travelling = match decision {
                    Decision::HandOver { connection, .. } => {
                        workers[from].bus.hand_over(connection)
                    }
                    _ => None,
                };
                let to = &mut workers[1 - from].bus;
                if let Some(travelling) = travelling {
                    assert!(to.adopt(travelling, at(2)).is_ok());
                } else if letters_arrive {
                    to.nudged(APP);
                } else {
                    continue;
                }
                told[1 - from] = true;
            }
        }
        // Who is told nothing sleeps.
        let [one, other] = workers;
        let again = |After { bus, leased, .. }| decide(bus, leased);
        workers =
            [if told[0] { again(one) } else { one }, if told[1] { again(other) } else { other }];
    }
    workers.iter().any(|worker| worker.leased)
}

/// The first worker's request arrives while the second does `what` to the only connection.
fn request_meets(what: Round, persistent: bool, letters_arrive: bool) {
    Explore { preemptions: Some(4) }.run(move || {
        let config = GroupConfig { persistent, ..group(0, &[1]) };
        let [mut bus, mut other] = crew(&[config]);
        bus.look_again = core::time::Duration::MAX;
        let connection = other.is_served(9, at(0));
        let there = thread::spawn(move || {
            what(&mut other, connection);
            decide(other, false)
        });
        bus.wants(0, at(1));
        let here = decide(bus, false);
        let there = there.join().unwrap();
        assert!(correspond([here, there], letters_arrive), "nobody serves the request");
    });
}

fn is_released(bus: &mut Bus, connection: ConnectionId) {
    bus.release(connection, true, at(2));
}

fn is_closed(bus: &mut Bus, connection: ConnectionId) {
    bus.release(connection, false, at(2));
    while let Some(decision) = bus.decide(at(2), true) {
        assert_eq!(decision, Decision::Close { connection });
    }
    bus.closed(connection);
}

#[test]
fn a_request_meets_a_connection_that_is_released() {
    request_meets(is_released, true, true);
}

#[test]
fn a_request_meets_a_permit_that_goes_back() {
    request_meets(is_closed, false, true);
}

/// The other worker ends instead, with what it held.
#[test]
fn a_request_meets_a_worker_that_is_lost() {
    Explore { preemptions: Some(4) }.run(|| {
        let configs = [group(0, &[1])];
        let [mut bus, mut other] = crew(&configs);
        other.is_served(9, at(0));
        let there = thread::spawn(move || {
            let shared = alloc::sync::Arc::clone(&other.shared);
            drop(other);
            // Its successor greets those who wait.
            let next = Bus::new(shared, WorkerId(1), &[group(0, &[1])], 64);
            decide(next, false)
        });
        bus.wants(0, at(1));
        let here = decide(bus, false);
        let there = there.join().unwrap();
        assert!(correspond([here, there], true), "nobody serves the request");
    });
}

/// Where the letters are lost, some order of the two leaves the request alone.
#[test]
#[should_panic(expected = "nobody serves the request")]
fn without_letters_it_would_wait_for_ever() {
    request_meets(is_released, true, false);
}

#[test]
#[should_panic(expected = "nobody serves the request")]
fn a_worker_that_is_lost_unsaid_would_leave_it_waiting() {
    Explore { preemptions: Some(4) }.run(|| {
        let [mut bus, mut other] = crew(&[group(0, &[1])]);
        other.is_served(9, at(0));
        let there = thread::spawn(move || drop(other));
        bus.wants(0, at(1));
        let After { leased, .. } = decide(bus, false);
        there.join().unwrap();
        assert!(leased, "nobody serves the request");
    });
}

/// Requests of both for the only connection that idles: one is served, the other is next.
#[test]
fn one_connection_serves_two_requests_in_turn() {
    Explore { preemptions: Some(4) }.run(|| {
        let [mut bus, mut other] = crew(&[group(0, &[1])]);
        let connection = other.is_served(9, at(0));
        other.release(connection, true, at(0));
        let there = thread::spawn(move || {
            other.enqueue(crate::testing::APP, ExchangeId(1), at(1), false).unwrap();
            decide(other, false)
        });
        bus.wants(0, at(1));
        let here = decide(bus, false);
        let there = there.join().unwrap();
        assert!(correspond([here, there], true), "nobody serves the request");
    });
}
