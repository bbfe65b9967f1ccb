//! What one address has, counted by two workers at one moment, in every order. loom: a place is found,
//! taken and counted on in few steps.

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use base::sync::explore::Explore;
use base::sync::thread;
use base::time::Instant;

use super::limits::{LimitRules, Limits, Over, Rate};

const RULES: LimitRules = LimitRules {
    connections: None,
    connection_rate: None,
    request_rate: None,
    prefixes: [32, 64],
    // One set.
    addresses: 2,
};
const ONE_A_SECOND: Option<Rate> = Some(Rate { count: 1, period: Duration::from_secs(1) });
const NOW: Instant = Instant(1_000_000_000);

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// What the first of two workers, and the second, is answered that do the same at the same moment.
fn both<R: Send + 'static>(
    limits: &Arc<Limits>,
    ask: impl Fn(&Limits) -> R + Copy + Send + 'static,
) -> [R; 2] {
    let theirs = Arc::clone(limits);
    let other = thread::spawn(move || ask(&theirs));
    let mine = ask(limits);
    [mine, other.join().unwrap()]
}

/// An address that nobody knows comes to both: of one connection that it may have none has two.
#[test]
fn a_new_address_has_no_more_connections_than_it_may() {
    Explore { preemptions: Some(2) }.run(|| {
        let rules = LimitRules { connections: Some(1), ..RULES };
        let limits = Arc::new(Limits::new(rules, 7));
        let entered = both(&limits, |limits| limits.enter(address(1), NOW));
        let let_in = entered.iter().filter(|it| it.is_ok()).count();
        assert_eq!(let_in, 1, "{entered:?}");
        assert_eq!((limits.connections(), limits.figures()), (1, [0, 0]));
        assert_eq!(limits.enter(address(1), NOW), Err(Over::Connections));
        limits.leave(address(1));
        assert_eq!(limits.connections(), 0, "and one leaves");
        assert_eq!(limits.enter(address(1), NOW), Ok(()));
    });
}

/// It comes to three: one of them may find a place that another is about to give back.
#[test]
fn nor_has_one_that_comes_to_three_workers() {
    Explore { preemptions: Some(2) }.run(|| {
        let rules = LimitRules { connections: Some(1), ..RULES };
        let limits = Arc::new(Limits::new(rules, 7));
        let theirs = Arc::clone(&limits);
        let third = thread::spawn(move || theirs.enter(address(1), NOW));
        let [first, second] = both(&limits, |limits| limits.enter(address(1), NOW));
        let entered = [first, second, third.join().unwrap()];
        let let_in = entered.iter().filter(|it| it.is_ok()).count() as u64;
        // Two that claim both places of the set at one moment leave the third none: that is told.
        let [replaced, uncounted] = limits.figures();
        assert_eq!((let_in, replaced), (1 + uncounted, 0), "{entered:?}");
        assert_eq!(limits.connections(), 1);
    });
}

/// Nor does it ask more often than it may.
#[test]
fn a_new_address_asks_no_more_often_than_it_may() {
    Explore { preemptions: Some(2) }.run(|| {
        let limits = Arc::new(Limits::new(LimitRules { request_rate: ONE_A_SECOND, ..RULES }, 7));
        let admitted = both(&limits, |limits| limits.request(address(1), NOW));
        assert_eq!(admitted.iter().filter(|it| **it).count(), 1);
        assert!(!limits.request(address(1), NOW));
    });
}

/// Two connections of it come at one moment, and more rarely than that they may.
#[test]
fn a_new_address_connects_no_more_often_than_it_may() {
    Explore { preemptions: Some(2) }.run(|| {
        let rules = LimitRules { connections: Some(2), connection_rate: ONE_A_SECOND, ..RULES };
        let limits = Arc::new(Limits::new(rules, 7));
        let entered = both(&limits, |limits| limits.enter(address(1), NOW));
        assert_eq!(entered.iter().filter(|it| it.is_ok()).count(), 1, "{entered:?}");
        assert_eq!(limits.connections(), 1, "who is turned away is not counted");
    });
}

/// Each worker has a client of its own address, and there is one place beside those that are quiet.
#[test]
fn addresses_that_come_at_one_moment_do_not_take_from_each_other() {
    Explore { preemptions: Some(2) }.run(|| {
        let rules = LimitRules { connections: Some(1), ..RULES };
        let limits = Arc::new(Limits::new(rules, 7));
        assert_eq!(limits.enter(address(3), NOW), Ok(()));
        limits.leave(address(3));
        let theirs = Arc::clone(&limits);
        let other = thread::spawn(move || theirs.enter(address(2), NOW));
        assert_eq!(limits.enter(address(1), NOW), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        let [replaced, uncounted] = limits.figures();
        assert_eq!(u64::from(limits.connections()) + uncounted, 2, "each is counted, or told of");
        assert!(replaced <= 1);
        for last in [1, 2] {
            limits.leave(address(last));
        }
        assert_eq!(limits.connections(), 0);
    });
}
