//! What happens when clients, buffers or descriptors run out.

use std::time::Duration;

use blackbox::client::{Client, get};
use blackbox::crowd::{Crowd, allow_descriptors};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::upstream::Upstream;
use blackbox::wait::{eventually, pause};

/// A client that has been served and stays.
fn parked(proxy: &Anteroom) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    client
}

fn ten(upstream: &Upstream) -> Setup {
    Setup::new(upstream.address()).with("--max-clients", 10).with("--workers", 1)
}

#[test]
fn beyond_max_clients_one_waits_until_somebody_leaves() {
    let upstream = Upstream::pages();
    let proxy = ten(&upstream).start();
    let mut inside: Vec<Client> = (0..10).map(|_| parked(&proxy)).collect();
    let mut outside = proxy.client();
    outside.send(get("/outside")).patience(Duration::from_millis(400));
    assert!(outside.try_response().is_err(), "served beyond max_clients");
    assert!((proxy.figure("anteroom_clients", &[]) - 10.0).abs() < f64::EPSILON);
    for client in &mut inside {
        assert_eq!(client.get("/inside").status, 200);
    }
    inside.pop();
    outside.patience(Duration::from_secs(10));
    assert_eq!(outside.response().text(), "page /outside");
    proxy.finish();
}

#[test]
fn or_is_told_503() {
    let upstream = Upstream::pages();
    let proxy = ten(&upstream).with("--at-limit", "answer").start();
    let mut inside: Vec<Client> = (0..10).map(|_| parked(&proxy)).collect();
    for _ in 0..5 {
        let mut outside = proxy.client();
        let _ = outside.try_send(get("/outside"));
        let response = outside.try_response().expect("a refused client gets an answer");
        assert_eq!((response.status, response.says_close()), (503, true));
        assert!(response.get("retry-after").is_some());
        assert!(outside.reader().rest().is_ok_and(|more| more.is_empty()));
    }
    assert_eq!(inside[0].get("/inside").status, 200);
    inside.clear();
    eventually("room for another", || {
        let mut client = proxy.client();
        client.try_get("/").ok().filter(|response| response.status == 200)
    });
    proxy.finish();
}

#[test]
fn or_takes_the_place_of_the_client_parked_longest() {
    let upstream = Upstream::pages();
    let proxy = ten(&upstream).flag("--reclaim-parked").start();
    let mut inside: Vec<Client> = (0..10)
        .map(|_| {
            let client = parked(&proxy);
            pause(10);
            client
        })
        .collect();
    // The first has just been active again: the second is parked longest now.
    assert_eq!(inside[0].get("/").status, 200);
    let mut newcomer = proxy.client();
    assert_eq!(newcomer.get("/new").text(), "page /new");
    inside[1].expect_end();
    inside.remove(1);
    for client in &mut inside {
        assert_eq!(client.get("/still").status, 200);
    }
    let reclaimed = proxy.figure("anteroom_clients_closed_total", &[("reason", "reclaimed")]);
    assert!((reclaimed - 1.0).abs() < f64::EPSILON, "{reclaimed} reclaimed");
    proxy.finish();
}

/// Milliseconds of processor time that a process has used.
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted from the one behind the name; 100 ticks a second.
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number of ticks");
    (ticks(11) + ticks(12)) * 10
}

#[test]
fn out_of_descriptors_it_neither_dies_nor_spins() {
    allow_descriptors();
    let upstream = Upstream::pages();
    let mut proxy = Setup::new(upstream.address()).with("--workers", 1).descriptors(400).start();
    let mut inside = vec![parked(&proxy)];
    // More than the process can hold; the kernel accepts the rest into the listener's queue.
    inside.extend((0..500).map(|_| proxy.client()));
    pause(500);
    let before = processor_time(proxy.process().id());
    pause(1000);
    let used = processor_time(proxy.process().id()) - before;
    assert!(used < 400, "{used} ms of processor time in a second of waiting");
    // Upstream and admin connections have descriptors of their own.
    assert_eq!(inside[0].get("/still").status, 200);
    assert_eq!(proxy.ask("/healthz").status, 200);
    inside.truncate(1);
    let mut newcomer = proxy.client();
    assert_eq!(newcomer.get("/afterwards").status, 200);
    proxy.finish();
}

#[test]
fn the_slowest_yield_when_the_pool_runs_short() {
    let upstream = Upstream::pages();
    let setup = Setup::new(upstream.address()).with("--spool", "off").with("--workers", 1);
    let setup = setup.with("--memory", "32KiB");
    let setup = setup.with("--exchange-memory", "16KiB").with("--max-head", "4KiB");
    let proxy = setup.with("--max-target", "1KiB").start();
    let mut slow: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nbeginning");
        pause(5);
    }
    // Forty would need forty buffers of sixteen: still, a newcomer is served soon.
    let start = std::time::Instant::now();
    for number in 0..20 {
        let target = format!("/{number}");
        let mut client = proxy.client();
        let response = client.get(&target);
        assert_eq!((response.status, response.text()), (200, format!("page {target}")));
    }
    assert!(start.elapsed() < Duration::from_secs(12), "20 requests took {:?}", start.elapsed());
    let refusals: Vec<u16> = slow.iter_mut().filter_map(|client| told(client, 50)).collect();
    assert!(!refusals.is_empty(), "nobody yielded");
    assert!(refusals.iter().all(|status| [408, 503].contains(status)), "{refusals:?}");
    assert!(proxy.refused("pressure") >= 1.0);
    drop(slow);
    proxy.finish();
}

/// The status a client was told within some milliseconds.
fn told(client: &mut Client, millis: u64) -> Option<u16> {
    client.patience(Duration::from_millis(millis));
    client.try_response().ok().map(|response| response.status)
}

#[test]
fn a_crowd_of_slow_clients_parks_no_buffers_and_leaves_none_behind() {
    let upstream = Upstream::pages();
    let proxy =
        Setup::new(upstream.address()).with("--workers", 2).with("--connections", 2).start();
    let crowd = Crowd::dribbling(proxy.address(), 1000, Duration::from_millis(5));
    eventually("the crowd to send", || (crowd.sent() > 3000).then_some(()));
    let mut client = proxy.client();
    for number in 0..200 {
        let target = format!("/{number}");
        assert_eq!(client.get(&target).text(), format!("page {target}"));
    }
    assert!(upstream.most_open() <= 2);
    assert!(upstream.requests().iter().all(|request| request.target() != "/slow"));
    assert_eq!(crowd.leave(), 1000, "slow is not wrong");
    proxy.quiet();
    proxy.finish();
}

#[test]
fn parked_clients_hold_no_buffer() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let clients: Vec<Client> = (0..300).map(|_| parked(&proxy)).collect();
    let metrics = proxy.quiet();
    let parked = metrics.sum("anteroom_clients", &[("state", "parked")]);
    assert!((parked - 300.0).abs() < f64::EPSILON, "{parked} parked");
    drop(clients);
    proxy.finish();
}
