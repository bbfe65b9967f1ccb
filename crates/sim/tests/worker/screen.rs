//! Who may come in.

use std::sync::Arc;

use base::id::{ListenerId, WorkerId};
use exchange::Passing;
use proxies::security::{AccessList, Verdict};
use worker::{AtLimit, CloseReason, Letter, Screening};

use crate::house::{GET, House, OK, Setting, status, text};

/// A list that denies these networks.
fn denying(nets: &[&str]) -> Arc<AccessList> {
    let entry = |net: &&str| (net.parse().expect("a network"), Verdict::Deny);
    let entries: Vec<_> = nets.iter().map(entry).collect();
    Arc::new(AccessList::new(&entries, Verdict::Allow))
}

fn setting(nets: &[&str]) -> Setting {
    Setting {
        screening: Screening { list: Some(denying(nets)), ..Screening::default() },
        ..Setting::default()
    }
}

/// Has this list taken by every worker.
fn take(house: &mut House, nets: &[&str]) {
    let list = denying(nets);
    house.order(|| Letter::List { listener: ListenerId(0), list: Arc::clone(&list) });
}

#[test]
fn who_is_denied_is_reset_before_anything_is_lent() {
    let mut house = House::new(&Setting { access: Some(4096), ..setting(&["10.0.0.0/8"]) });
    let denied = house.world.connect_from(ListenerId(0), [10, 1, 2, 3].into());
    denied.write_all(GET.as_bytes());
    house.settle();
    assert!(denied.is_reset() && text(&denied).is_empty());
    assert_eq!(house.sum(|c| c.clients.get()), 0, "it has no record");
    assert_eq!(house.sum(|c| c.buffers_free_min.get()), 64, "nothing was lent");
    assert_eq!(
        (house.closed(CloseReason::Denied), house.sum(|c| c.clients_accepted.get())),
        (1, 1)
    );
    let lines = house.log(|record| (record.peer, record.status, record.closed));
    assert_eq!(lines, [(Some([10, 1, 2, 3].into()), 0, Some(CloseReason::Denied))]);
    let other = house.client_from("11.1.2.3");
    house.exchange(&other, GET);
    let server = house.server();
    assert!(!text(&server).is_empty());
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&other)), 200);
    house.assert_quiet();
}

#[test]
fn who_is_denied_takes_no_place_even_when_all_are_taken() {
    let mut house = House::new(&Setting {
        max_clients: 1,
        at_limit: AtLimit::Answer,
        ..setting(&["10.0.0.0/8"])
    });
    let here = house.client_from("192.0.2.1");
    let denied = house.client_from("10.0.0.1");
    assert!(denied.is_reset() && !here.is_closed());
    let crowded = house.client_from("192.0.2.2");
    assert_eq!(status(&text(&crowded)), 503);
}

/// A list that changes counts for those who are here, too, whatever they do.
#[test]
fn a_new_list_ends_whom_it_denies() {
    let mut house = House::new(&setting(&[]));
    let parked = house.client_from("10.0.0.1");
    let (asking, waiting) = (house.client_from("10.0.0.2"), house.client_from("10.0.0.3"));
    asking.write_all(b"GET / HT");
    house.exchange(&waiting, GET);
    let server = house.server();
    let other = house.client_from("192.0.2.1");
    house.exchange(&other, GET);
    take(&mut house, &["10.0.0.0/8"]);
    for gone in [&parked, &asking, &waiting] {
        assert!(gone.is_closed());
    }
    assert_eq!(house.closed(CloseReason::Denied), 3);
    assert!(server.is_closed(), "its request is nobody's any more");
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&other)), 200);
    // And back.
    take(&mut house, &[]);
    assert!(!house.client_from("10.0.0.1").is_closed());
    assert_eq!(house.sum(|c| c.clients.get()), 2);
    house.assert_quiet();
}

#[test]
fn who_is_banned_goes_and_comes_back_when_that_is_over() {
    let mut house = House::new(&setting(&["10.0.0.0/8"]));
    let (banned, other) = (house.client_from("192.0.2.1"), house.client_from("192.0.2.2"));
    let bans = denying(&["192.0.2.1/32"]);
    house.order(|| Letter::Bans(Arc::clone(&bans)));
    assert!(banned.is_reset() && !other.is_closed());
    assert!(house.client_from("192.0.2.1").is_reset());
    assert!(house.client_from("10.0.0.1").is_reset(), "the list holds beside it");
    assert_eq!((house.closed(CloseReason::Banned), house.closed(CloseReason::Denied)), (2, 1));
    let bans = denying(&[]);
    house.order(|| Letter::Bans(Arc::clone(&bans)));
    assert!(!house.client_from("192.0.2.1").is_closed());
}

#[test]
fn a_tunnel_is_ended_by_a_new_list_on_both_sides() {
    let mut house = House::new(&Setting { passing: Some(Passing::default()), ..setting(&[]) });
    let client = house.client_from("10.0.0.1");
    let server = house.server();
    house.settle();
    take(&mut house, &["10.0.0.1/32"]);
    assert!(client.is_reset() && server.is_closed());
    assert_eq!(house.closed(CloseReason::Denied), 1);
    house.assert_quiet();
}

/// The judge's seed 2000008698, of the tree at a023870: whoever was cut off by the order to stop was turned
/// away once more by the ban behind it.
#[test]
fn what_is_said_behind_the_order_to_stop_is_not_heard() {
    let mut house = House::new(&Setting { connections: 1, ..setting(&[]) });
    let (served, waits) = (house.client_from("192.0.2.1"), house.client_from("192.0.2.1"));
    house.exchange(&served, GET);
    let server = house.server();
    // It waits for a lease, and does not take at once what it is told instead.
    waits.set_window(0);
    house.exchange(&waits, GET);
    let bans = denying(&["192.0.2.1/32"]);
    assert!(house.office.post(WorkerId(0), Letter::Stop).is_ok());
    house.order(|| Letter::Bans(Arc::clone(&bans)));
    assert!(house.is_over() && server.is_closed());
    assert_eq!(house.closed(CloseReason::Banned), 0);
}
