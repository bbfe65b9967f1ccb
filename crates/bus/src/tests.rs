//! What one worker does about what the others have published: each rule of `others` alone.

use base::id::{ExchangeId, ServerId, WorkerId};
use base::limits::SET_ASIDE;
use std::vec::Vec;

use crate::bus::{Bus, Failure};
use crate::decide::Decision;
use crate::others::PATIENCE;
use crate::shared::Want;
use crate::testing::{APP, at, crew, group};

const SERVER: ServerId = ServerId(0);

fn nudge(worker: u32) -> Decision {
    Decision::Nudge { to: WorkerId(worker), group: APP }
}

/// Another worker has waited since then.
fn waits(bus: &Bus, worker: u32, since: u64, stuck: bool) {
    bus.shared.publish(APP, WorkerId(worker), Some(Want { since: at(since), stuck }));
}

fn again(bus: &mut Bus, exchange: u32, now: u64) {
    bus.enqueue(APP, ExchangeId(exchange), at(now), true).unwrap();
}

fn published(bus: &Bus) -> Option<Want> {
    bus.groups[0].published
}

#[test]
fn who_needs_a_connection_opened_for_it_wants_a_permit_while_none_is_to_come_back_here() {
    let [mut other, mut bus] = crew(&[group(0, &[2])]);
    let held = other.is_served(0, at(0));
    let idle = bus.has_idle(at(0));
    again(&mut bus, 0, 1);
    assert_eq!(bus.one(at(1)), Decision::Close { connection: idle });
    assert_eq!(published(&bus), None, "it waits for the end of that one");
    again(&mut bus, 1, 2);
    assert_eq!(bus.all(at(2)), []);
    assert_eq!(published(&bus), Some(Want { since: at(1), stuck: false }));
    // So it is told when one becomes free elsewhere.
    other.release(held, false, at(3));
    other.all(at(3));
    other.closed(held);
    assert_eq!(other.one(at(3)), nudge(1));
}

#[test]
fn who_must_not_open_one_for_a_while_wants_no_permit() {
    let [mut bus, _other] = crew(&[group(0, &[2])]);
    again(&mut bus, 0, 0);
    let refused = bus.opens(at(0));
    bus.connect_failed(refused, Failure::Refused, at(0));
    bus.closed(refused);
    assert_eq!((bus.all(at(1)), published(&bus)), (Vec::new(), None));
    bus.opens(at(0) + SET_ASIDE);
}

#[test]
fn permits_are_left_to_who_waits_clearly_longer_and_can_use_one() {
    for (since, stuck, connections, leaves) in [
        (1, false, 1, true),
        (1, true, 1, false),
        // A millisecond is no difference.
        (9, false, 1, false),
        (20, false, 1, false),
        (20, true, 1, false),
        // There is one for each.
        (1, false, 2, false),
    ] {
        let [mut bus, _other] = crew(&[group(0, &[connections])]);
        waits(&bus, 1, since, stuck);
        bus.wants(0, at(10));
        let told = bus.all(at(10));
        let opens = matches!(told[0], Decision::Open { .. });
        assert_eq!(opens, !leaves, "{since}, {stuck}, {connections}: {told:?}");
        assert!(opens || told == [nudge(1)]);
    }
}

#[test]
fn a_permit_that_was_left_to_others_and_taken_is_left_anew_when_it_comes_back() {
    let [mut bus, _older] = crew(&[group(0, &[1])]);
    waits(&bus, 1, 1, false);
    bus.wants(0, at(10));
    assert_eq!(bus.one(at(10)), nudge(1));
    let taken = bus.shared.permit(SERVER).unwrap();
    assert_eq!(bus.all(at(11)), []);
    drop(taken);
    let later = at(11) + PATIENCE;
    assert_eq!(bus.one(later), nudge(1));
    assert_eq!(bus.all(later), []);
    bus.opens(later + PATIENCE);
}

#[test]
fn who_keeps_an_idle_connection_hears_that_the_last_permit_is_gone_if_somebody_waits() {
    for (connections, somebody, hears) in [(1, true, true), (1, false, false), (2, true, false)] {
        let [mut bus, _keeps, _waits] = crew(&[group(0, &[connections])]);
        bus.shared.idle_changed(SERVER, WorkerId(1), 1);
        if somebody {
            waits(&bus, 2, 20, false);
        }
        bus.wants(0, at(10));
        let told = bus.all(at(10));
        assert!(matches!(told[0], Decision::Open { .. }), "{told:?}");
        assert_eq!(told[1..] == [nudge(1)], hears, "{told:?}");
        assert_eq!(told.len(), 1 + usize::from(hears));
    }
}

#[test]
fn news_of_a_permit_is_passed_on_once_and_only_news() {
    let [mut bus, _other] = crew(&[group(0, &[1])]);
    waits(&bus, 1, 1, false);
    assert_eq!(bus.all(at(2)), [], "nobody said anything");
    bus.nudged(APP);
    assert_eq!(bus.one(at(2)), nudge(1));
    assert_eq!(bus.all(at(2)), []);
}

#[test]
fn who_leaves_a_permit_to_an_older_one_tells_nobody_else_of_it() {
    let [mut bus, _older, _younger] = crew(&[group(0, &[1])]);
    let taken = bus.shared.permit(SERVER);
    waits(&bus, 1, 1, false);
    waits(&bus, 2, 9, false);
    bus.wants(0, at(5));
    assert_eq!(bus.all(at(10)), []);
    drop(taken);
    bus.nudged(APP);
    assert_eq!(bus.one(at(11)), nudge(1));
}

#[test]
fn who_can_use_permits_passes_on_to_the_younger_what_it_heard_and_to_the_oldest_what_it_freed() {
    let [mut older, mut bus, _younger] = crew(&[group(0, &[1, 1])]);
    let held = older.is_served(0, at(0));
    let full = older.server_of(held).unwrap();
    let failing = ServerId(1 - full.0);
    bus.server_failed(failing, at(0), at(0));
    waits(&bus, 0, 1, false);
    waits(&bus, 2, 9, false);
    bus.wants(0, at(5));
    assert_eq!(bus.all(at(5)), [], "one server is full, the other left alone");
    assert_eq!(published(&bus), Some(Want { since: at(5), stuck: false }));
    bus.nudged(APP);
    assert_eq!(bus.one(at(6)), nudge(2));
    bus.groups[0].freed_here();
    assert_eq!(bus.one(at(6)), nudge(0));
    // Who can use none is told of none: it may be the first to hear.
    bus.server_failed(full, at(6), at(6));
    assert_eq!(bus.all(at(6)), []);
    assert_eq!(published(&bus), Some(Want { since: at(5), stuck: true }));
    bus.nudged(APP);
    assert_eq!(bus.one(at(7)), nudge(0));
}

#[test]
fn who_is_asked_for_an_idle_connection_that_it_has_no_more_points_to_another() {
    let [mut bus, _waits, mut keeps] = crew(&[group(0, &[1])]);
    keeps.has_idle(at(0));
    waits(&bus, 1, 1, true);
    bus.nudged(APP);
    assert_eq!(bus.one(at(2)), nudge(2));
    bus.groups[0].freed_here();
    assert_eq!(bus.all(at(2)), [], "it was not asked");
    bus.shared.publish(APP, WorkerId(1), None);
    bus.nudged(APP);
    assert_eq!(bus.all(at(2)), [], "nobody waits");
}
