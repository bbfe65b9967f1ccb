//! The end: what has begun is finished, nothing is lost, and a second signal means now.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use blackbox::client::{Client, get};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::tools::{read_wrk, wrk_start};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

/// Every answer takes as long as its target says, in milliseconds.
fn slow() -> Upstream {
    Upstream::http(|request, _, stream| {
        let millis = request.target().trim_start_matches('/').parse().unwrap_or(0);
        pause(millis);
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    })
}

fn leased(proxy: &Anteroom) {
    proxy.until("a request to be served", |metrics| {
        metrics.sum("anteroom_upstream_connections", &[("state", "leased")]) > 0.0
    });
}

#[test]
fn both_signals_let_begun_requests_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = slow();
        let mut proxy = Anteroom::before(upstream.address());
        let mut served = proxy.client();
        served.send(get("/1000"));
        let mut begun = proxy.client();
        begun.send("POST /begun HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
        leased(&proxy);
        let address = proxy.address().to_owned();
        proxy.process().signal(signal);
        eventually("the listener to close", || Client::try_new(&address).err());
        assert!(proxy.process().ended().is_none(), "ended with requests on their way");
        let response = begun.send("cd").response();
        assert_eq!((response.status, response.says_close()), (200, true));
        let response = served.response();
        assert_eq!((response.text().as_str(), response.says_close()), ("/1000", true));
        served.expect_end();
        assert_eq!(proxy.wait(Duration::from_secs(8)).code(), Some(0));
    }
}

#[test]
fn parked_clients_are_closed() {
    let upstream = slow();
    let mut proxy = Anteroom::before(upstream.address());
    let mut clients: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/0").status, 200);
    }
    let start = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?} for nothing", start.elapsed());
    clients.iter_mut().for_each(Client::expect_end);
}

/// Requests in a loop on one connection until the proxy says that it closes. Gives the number
/// of answers; a request without one is a loss.
fn until_closed(address: &str, stop: &AtomicBool) -> usize {
    let mut client = Client::new(address);
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let response = client.get("/1");
        assert_eq!((response.status, response.text().as_str()), (200, "/1"));
        answers += 1;
        if response.says_close() {
            client.expect_end();
            return answers;
        }
    }
    panic!("the drain never reached a busy client")
}

#[test]
fn under_load_nothing_is_lost() {
    for workers in [1, 2] {
        let upstream = slow();
        let mut proxy = Setup::new(upstream.address()).with("--workers", workers).start();
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..32)
            .map(|_| {
                let (address, stop) = (proxy.address().to_owned(), Arc::clone(&stop));
                std::thread::spawn(move || until_closed(&address, &stop))
            })
            .collect();
        pause(700);
        proxy.terminate();
        let status = proxy.wait(Duration::from_secs(15));
        pause(200);
        stop.store(true, Ordering::Relaxed);
        let answers: usize = threads.into_iter().map(|t| t.join().expect("nothing is lost")).sum();
        assert_eq!(status.code(), Some(0));
        assert!(answers > 500, "only {answers} answers: that was no load");
        assert_eq!(answers, upstream.count(), "every request was answered once");
    }
}

#[test]
fn wrk_gets_whole_answers_to_the_end() {
    let upstream = Upstream::pages();
    let mut proxy = Anteroom::before(upstream.address());
    let mut wrk = wrk_start(proxy.address(), "/", 32, 3);
    pause(1000);
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
    wrk.wait(Duration::from_secs(15));
    pause(50);
    let load = read_wrk(&wrk.output());
    assert_eq!(load.refused, 0, "{load:?}");
    assert!(load.requests > 100, "{load:?}");
}

/// Signals of later versions, or of the shell that started it, cost nobody a request.
#[test]
fn other_signals_say_what_they_do_not_do_and_end_nothing() {
    let upstream = slow();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    client.send(get("/500"));
    leased(&proxy);
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR2, "SIGUSR2")] {
        proxy.signal(signal);
        eventually("a word about it", || proxy.output().contains(name).then_some(()));
    }
    assert_eq!(client.response().status, 200);
    proxy.finish();
}

#[test]
fn a_second_signal_ends_at_once() {
    let upstream = slow();
    let mut proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    client.send(get("/10000"));
    leased(&proxy);
    proxy.terminate();
    pause(300);
    assert!(proxy.process().ended().is_none(), "the first signal waits for the request");
    let start = Instant::now();
    proxy.terminate();
    let status = proxy.wait(Duration::from_secs(4));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(status.code().is_some(), "it ends by itself: {status}");
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 503),
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "no end came"),
    }
}

#[test]
fn a_drain_does_not_last_for_ever() {
    let upstream = slow();
    let mut proxy = Setup::new(upstream.address()).timeout("drain", "700ms").start();
    let mut stuck = proxy.client();
    stuck.send(get("/10000"));
    let mut unfinished = proxy.client();
    unfinished.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    leased(&proxy);
    let start = Instant::now();
    proxy.terminate();
    proxy.wait(Duration::from_secs(6));
    assert!(start.elapsed() > Duration::from_millis(500), "ended after {:?}", start.elapsed());
}

#[test]
fn the_admin_endpoint_drains_too() {
    let upstream = slow();
    let mut proxy = Anteroom::before(upstream.address());
    assert_eq!(proxy.ask("/readyz").status, 200);
    let mut client = proxy.client();
    client.send(get("/1500"));
    leased(&proxy);
    let ordered = proxy.order("/drain");
    assert!((200..300).contains(&ordered.status), "{}: {}", ordered.status, ordered.text());
    let address = proxy.address().to_owned();
    eventually("the listener to close", || Client::try_new(&address).err());
    assert_eq!(proxy.ask("/readyz").status, 503, "no more requests here, please");
    assert_eq!(proxy.ask("/healthz").status, 200, "but it is well");
    assert_eq!(client.response().text(), "/1500");
    assert_eq!(proxy.wait(Duration::from_secs(8)).code(), Some(0));
}
