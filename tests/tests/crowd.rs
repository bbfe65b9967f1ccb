//! The main job: gunicorn with two sync workers stays fast while thousands of clients dribble
//! their requests in.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use blackbox::client::Client;
use blackbox::crowd::{Crowd, allow_descriptors};
use blackbox::message::Reader;
use blackbox::proxy::Setup;
use blackbox::servers::gunicorn;
use blackbox::stream::Stream;
use blackbox::upstream::Upstream;

const CROWD: u32 = 3000;
const NORMAL: usize = 20;
const REQUESTS: usize = 25;

/// Passes bytes on to a server and counts the connections meanwhile.
fn counting(server: &str) -> Upstream {
    let server = server.to_owned();
    Upstream::raw(move |_, reader: Reader| {
        let near = reader.into_stream();
        let far = Stream::connect(&server)?;
        for stream in [&near, &far] {
            stream.set_timeout(Duration::from_mins(1))?;
        }
        let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
        thread::spawn(move || io::copy(&mut from, &mut to));
        let (mut from, mut to) = (far, near);
        let back = io::copy(&mut from, &mut to);
        from.shutdown(Shutdown::Both);
        back.map(drop)
    })
}

/// How long each of the requests of `NORMAL` clients took, in order of length.
fn normal(address: &str) -> Vec<Duration> {
    let threads: Vec<_> = (0..NORMAL)
        .map(|_| {
            let address = address.to_owned();
            thread::spawn(move || {
                let mut client = Client::new(&address);
                let body = vec![b'n'; 2000];
                let mut took = Vec::new();
                for _ in 0..REQUESTS {
                    let start = Instant::now();
                    let response = client.post("/normal", &body);
                    took.push(start.elapsed());
                    assert_eq!(response.status, 200, "{}", response.text());
                    assert!(response.body == body);
                    blackbox::wait::pause(10);
                }
                took
            })
        })
        .collect();
    let mut all: Vec<Duration> =
        threads.into_iter().flat_map(|t| t.join().expect("a client")).collect();
    all.sort_unstable();
    all
}

#[test]
fn two_sync_workers_stay_fast_behind_it() {
    allow_descriptors();
    let server = gunicorn(true);
    let counter = counting(server.address());
    let setup = Setup::new(counter.address()).with("--connections", 2).with("--workers", 1);
    let proxy = setup.timeout("head", "2m").timeout("body_progress", "2m").start();
    let alone = normal(proxy.address());
    let crowd = Crowd::dribbling(proxy.address(), CROWD as usize, Duration::from_millis(100));
    let beside = normal(proxy.address());
    let here = proxy.figure("anteroom_clients", &[]);
    assert!(here >= f64::from(CROWD), "only {here} clients");
    assert!(crowd.sent() > CROWD as usize, "the crowd sends nothing");
    let slow = alone.len() * 99 / 100;
    println!(
        "p99 of {} normal requests: {:?} alone, {:?} beside {CROWD} slow clients; \
         gunicorn never saw more than {} connections",
        alone.len(),
        alone[slow],
        beside[slow],
        counter.most_open(),
    );
    // Without anteroom two slow clients are enough to stop both workers for good.
    assert!(beside[slow] < Duration::from_secs(2), "p99 {:?}", beside[slow]);
    let most = counter.most_open();
    assert!(most <= 2, "{most} connections");
    assert_eq!(crowd.leave(), CROWD as usize, "slow is not wrong");
    proxy.finish();
}

#[test]
fn without_it_two_slow_clients_stop_two_sync_workers() {
    // The yardstick of the test above: if this fails, that one shows nothing.
    let server = gunicorn(true);
    let crowd = Crowd::dribbling(server.address(), 4, Duration::from_millis(200));
    blackbox::wait::pause(500);
    let mut client = Client::new(server.address());
    client.send(blackbox::client::get("/normal")).patience(Duration::from_secs(2));
    assert!(client.try_response().is_err(), "gunicorn's sync workers were not stopped");
    crowd.leave();
}
