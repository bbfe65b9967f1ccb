//! Runs: storms with everything that can go wrong, and crowds that must be served fairly.

use core::cmp::Reverse;
use core::time::Duration;
use std::vec;

use base::id::ServerId;
use base::time::Instant;

use super::{Dice, Event, Faults, MICRO, MILLI, Pace, QUEUE, World};
use crate::group::{GroupConfig, ServerConfig};
use crate::policy::{Balance, HealthPolicy, Policy};

fn group(servers: core::ops::Range<u32>, connections: u32, persistent: bool) -> GroupConfig {
    let servers = servers.map(|id| ServerConfig::new(ServerId(id), connections)).collect();
    let policy = Policy::default();
    GroupConfig { name: "app".into(), servers, queue_length: QUEUE, persistent, policy }
}

fn any_faults(dice: &mut Dice) -> Faults {
    let mut some = |most: u64| if dice.percent(50) { dice.below(most) } else { 0 };
    Faults {
        refused: some(60),
        timed_out: some(10),
        busy: some(30),
        idle_ends: some(60),
        breaks: some(40),
        lost_letters: some(30),
        no_buffers: some(30),
        pins: some(50),
        crashes: some(3),
        withdrawals: some(40),
    }
}

/// Weights, backups, warm connections, ways to choose and to judge, as the dice say.
fn any_policy(dice: &mut Dice, config: &mut GroupConfig) {
    config.policy = Policy {
        balance: if dice.percent(50) { Balance::RoundRobin } else { Balance::LeastLeased },
        health: HealthPolicy {
            max_fails: 1 + dice.number(3),
            fail_timeout: Duration::from_nanos(dice.one_of([20, 200, 1_000]) * MILLI),
            grace: Duration::from_nanos(dice.one_of([0, 30, 1_000]) * MILLI),
        },
        warm: if dice.percent(30) { dice.number(config.servers[0].connections + 1) } else { 0 },
        ..Policy::default()
    };
    let last = config.servers.len() - 1;
    for (place, server) in config.servers.iter_mut().enumerate() {
        server.weight = 1 + dice.number(4);
        server.backup = place > 0 && place == last && dice.percent(30);
    }
}

/// A storm as the seed says, then calm: in the end all is served and nothing is lost.
fn storm(seed: u64) {
    let mut dice = Dice::new(seed);
    let workers = 1 + dice.number(4);
    let servers = 1 + dice.number(3);
    let connections = 1 + dice.number(3);
    let persistent = dice.percent(70);
    let mut configs = vec![group(0..servers, connections, persistent)];
    if dice.percent(30) {
        configs.push(group(servers..servers + 1, connections, true));
    }
    let pinned = dice.number(4);
    for config in &mut configs {
        any_policy(&mut dice, config);
        config.servers.iter_mut().for_each(|server| server.pinned = pinned);
    }
    let pace = Pace {
        connect: dice.one_of([50 * MICRO, 3 * MILLI, 40 * MILLI]),
        lease: dice.one_of([50 * MICRO, 2 * MILLI, 30 * MILLI]),
        letter: dice.one_of([20 * MICRO, MILLI, 8 * MILLI]),
        close: dice.one_of([10 * MICRO, MILLI]),
        exact: false,
    };
    let groups = u32::try_from(configs.len()).unwrap();
    let mut world = World::new(seed, workers, configs, pace);
    world.faults = any_faults(&mut dice);
    let spread = dice.one_of([5 * MILLI, 100 * MILLI, 1_000 * MILLI]);
    for _ in 0..dice.below(150) {
        let worker = dice.number(workers);
        let group = dice.number(groups);
        let at = dice.below(spread);
        world.after(worker, at, Event::Arrives { group });
        if dice.percent(world.faults.crashes) {
            world.after(worker, dice.below(spread), Event::Crash);
        }
    }
    let calm = Instant(world.now.0 + spread + 50 * MILLI);
    while world.events.peek().is_some_and(|Reverse((at, ..))| *at < calm.0) && world.step() {}
    world.faults = Faults::default();
    for _ in 0..100_000 {
        if world.is_at_rest() || !world.step() {
            break;
        }
    }
    assert!(world.is_at_rest(), "no rest");
    // A set-aside's rest, then the queues, one after another over the slowest ways.
    let turn = pace.lease + pace.connect + 2 * pace.letter + pace.close;
    let most = 3_000 * MILLI + u64::from(QUEUE * workers * 2) * turn;
    assert!(world.now.0 < calm.0 + most, "it took {:?}", world.now.since(calm));
    world.check_rest();
}

#[test]
fn after_any_storm_all_is_served_and_nothing_is_lost() {
    for seed in 0..20_000 {
        let outcome = std::panic::catch_unwind(|| storm(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

/// Workers that are busy all the time, each with as many requests, until every worker has had its
/// share. Returns the longest wait.
fn crowd(workers: u32, requests: u32, connections: u32, persistent: bool) -> Duration {
    let pace = Pace {
        connect: 100 * MICRO,
        lease: MILLI,
        letter: 50 * MICRO,
        close: 20 * MICRO,
        exact: true,
    };
    let configs = vec![group(0..1, connections, persistent)];
    let mut world = World::new(u64::from(workers), workers, configs, pace);
    world.closed_loop = true;
    for worker in 0..workers {
        for _ in 0..requests {
            world.after(worker, 0, Event::Arrives { group: 0 });
        }
    }
    while world.served < 2_000 {
        assert!(world.step(), "all went to sleep");
    }
    let rounds = world.served / u64::from(workers * requests);
    assert!(rounds > 5, "everybody was served several times");
    let per_lease = (world.now.0 - MILLI) * u64::from(connections) / world.served;
    assert!(per_lease < 2 * MILLI, "{per_lease} ns a lease: it dawdles");
    world.longest_wait
}

#[test]
fn nobody_starves_at_the_bound() {
    for persistent in [true, false] {
        for (workers, requests, connections) in
            [(4, 1, 1), (4, 8, 1), (3, 20, 1), (2, 1, 1), (4, 8, 2), (4, 5, 3)]
        {
            let longest = crowd(workers, requests, connections, persistent);
            // As long as all others' leases take, with what lies between two of them, and a
            // few more that came within the margin.
            let turns = workers * requests / connections + 4;
            let most = Duration::from_nanos(2 * MILLI) * turns;
            assert!(
                longest < most,
                "{longest:?} of {most:?} with {workers} x {requests} on {connections}, {persistent}"
            );
        }
    }
}

#[test]
fn a_connection_stays_where_it_is_while_permits_are_free() {
    let pace =
        Pace { connect: 100 * MICRO, lease: MILLI, letter: 50 * MICRO, close: MICRO, exact: true };
    let mut world = World::new(7, 4, vec![group(0..1, 8, true)], pace);
    world.closed_loop = true;
    for worker in 0..4 {
        world.after(worker, 0, Event::Arrives { group: 0 });
    }
    while world.served < 1_000 {
        assert!(world.step(), "all went to sleep");
    }
    let shares = world.shared.server(ServerId(0));
    assert!(shares.iter().all(|share| share.handed_over.get() == 0 && share.connects.get() == 1));
    assert_eq!(world.nudges, 0);
}

/// A server that is restarted again and again, for less than the grace each time, fails nobody.
#[test]
fn restarts_within_the_grace_fail_nobody() {
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let workers = 1 + dice.number(3);
        let pace = Pace {
            connect: 100 * MICRO,
            lease: MILLI,
            letter: 50 * MICRO,
            close: 20 * MICRO,
            exact: false,
        };
        let mut world = World::new(seed, workers, vec![group(0..1, 8, true)], pace);
        world.closed_loop = true;
        for worker in 0..workers {
            for _ in 0..8 {
                world.after(worker, 0, Event::Arrives { group: 0 });
            }
        }
        for away in [100, 400, 700, 900, 50, 950] {
            let pass = |world: &mut World, millis: u64| {
                let end = world.now + Duration::from_millis(millis);
                while world.now < end {
                    assert!(world.step(), "all went to sleep");
                }
            };
            world.faults = Faults::default();
            pass(&mut world, 300);
            world.faults = Faults { refused: 100, breaks: 100, ..Faults::default() };
            pass(&mut world, away);
            assert_eq!(world.failed, 0, "seed {seed}, away for {away} ms");
        }
    }
}
