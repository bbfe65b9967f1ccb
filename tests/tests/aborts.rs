//! Clients that leave at every stage: what they held comes back, and nobody else notices.

use std::io::Write;

use blackbox::client::{Client, get, post};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::random::Random;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

/// `/slow` takes a quarter of a second, `/large` is 300 KB, everything else is its own path.
fn server() -> Upstream {
    Upstream::http(|request, _, stream| {
        match request.target() {
            "/slow" => {
                pause(250);
                respond(stream, 200, b"slow")?;
            }
            "/large" => respond(stream, 200, &vec![b'x'; 300_000])?,
            "/stream" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for _ in 0..10 {
                    stream.write_all(b"5\r\nhello\r\n")?;
                    pause(20);
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            target => respond(stream, 200, target.as_bytes())?,
        }
        Ok(Next::Keep)
    })
}

/// Where in its exchange a client leaves.
const STAGES: [(&str, &[u8], u64); 12] = [
    ("without a word", b"", 0),
    ("after one byte", b"G", 0),
    ("within the head", b"GET / HTTP/1.1\r\nHost: a\r\nX-Lo", 0),
    ("before the head's last byte", b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0),
    ("before the body", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n", 2),
    ("within the body", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\nabc", 2),
    (
        "within a chunk",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        2,
    ),
    (
        "before the last chunk",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        2,
    ),
    ("while it is served", b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 30),
    ("within a large response", b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", 5),
    ("within a slow response", b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", 60),
    ("with a second request begun", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /two HT", 5),
];

#[test]
fn at_every_stage_in_both_ways() {
    let upstream = server();
    let proxy =
        Setup::new(upstream.address()).with("--workers", 1).with("--connections", 2).start();
    let mut bystander = proxy.client();
    for (stage, bytes, wait) in STAGES {
        for reset in [false, true] {
            let mut client = Client::new_slow(proxy.address());
            client.send(bytes);
            pause(wait);
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let response = bystander.get("/bystander");
            assert_eq!((response.status, response.text().as_str()), (200, "/bystander"), "{stage}");
        }
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
    drop(bystander);
    nobody_left(&proxy);
    proxy.finish();
}

/// No client is left on the books once all have gone.
fn nobody_left(proxy: &Anteroom) {
    proxy.quiet();
    proxy.until("all clients to be gone", |metrics| metrics.sum("anteroom_clients", &[]) == 0.0);
}

#[test]
fn a_reset_while_waiting_for_a_lease_gives_up_the_place() {
    let upstream = server();
    let proxy =
        Setup::new(upstream.address()).with("--workers", 1).with("--connections", 1).start();
    let mut first = proxy.client();
    first.send(get("/slow"));
    pause(50);
    let mut waiting: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send(get("/abandoned"));
    }
    proxy.until("them to wait", |m| m.sum("anteroom_exchanges", &[("state", "ready")]) > 19.0);
    waiting.into_iter().for_each(Client::reset);
    assert_eq!(first.response().text(), "slow");
    nobody_left_but_one(&proxy);
    let reached = upstream.requests().iter().filter(|r| r.target() == "/abandoned").count();
    assert!(reached <= 1, "{reached} abandoned requests reached the upstream");
    proxy.finish();
}

fn nobody_left_but_one(proxy: &Anteroom) {
    proxy.quiet();
    proxy.until("one client to be left", |m| (m.sum("anteroom_clients", &[]) - 1.0).abs() < 0.5);
}

#[test]
fn a_reset_while_served_frees_the_lease_for_others() {
    let upstream = Upstream::http(|request, _, stream| {
        if request.target() == "/for-ever" {
            pause(3000);
        }
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    });
    let proxy =
        Setup::new(upstream.address()).with("--workers", 1).with("--connections", 1).start();
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send(get("/for-ever"));
        eventually("the request to be served", || {
            upstream.requests().iter().any(|r| r.target() == "/for-ever").then_some(())
        });
        client.reset();
        let start = std::time::Instant::now();
        assert_eq!(proxy.client().get("/next").text(), "/next");
        let took = start.elapsed();
        assert!(took.as_millis() < 2500, "the lease was held for {took:?}");
        upstream.forget();
    }
    proxy.finish();
}

#[test]
fn a_storm_of_aborts_leaves_everything_free() {
    let upstream = server();
    let proxy =
        Setup::new(upstream.address()).with("--workers", 2).with("--connections", 4).start();
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let address = proxy.address().to_owned();
            std::thread::spawn(move || abort_often(&address, Random::new(number + 50)))
        })
        .collect();
    let mut bystander = proxy.client();
    for number in 0..60 {
        let target = format!("/{number}");
        assert_eq!(bystander.get(&target).text(), target);
        pause(10);
    }
    for thread in threads {
        thread.join().expect("an aborting client");
    }
    drop(bystander);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    nobody_left(&proxy);
    proxy.finish();
}

/// A hundred requests, each cut at a random byte, some behind whole ones.
fn abort_often(address: &str, mut random: Random) {
    for _ in 0..100 {
        let mut bytes = if random.once_in(2) { get("/whole").into_bytes() } else { Vec::new() };
        let length = random.length(20_000);
        bytes.extend(match random.below(3) {
            0 => post("/p", &random.bytes(length)),
            1 => get("/large").into_bytes(),
            _ => blackbox::client::post_chunked("/c", &vec![7; length], &mut random.clone()),
        });
        let cut = random.below(bytes.len() + 1);
        let Ok(mut client) = Client::try_new(address) else { continue };
        let pieces = 1 + random.below(4);
        // The proxy may have refused already: what counts is what is left afterwards.
        let _ = client.send_cut(&bytes[..cut], &mut random, pieces);
        if random.once_in(3) {
            std::thread::sleep(std::time::Duration::from_millis(random.number() % 4));
        }
        if random.once_in(2) {
            client.reset();
        }
    }
}
