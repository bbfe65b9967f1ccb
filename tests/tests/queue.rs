//! Leases: never more than `connections`, for the whole process; the rest waits its turn.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use blackbox::client::{Client, get};
use blackbox::proxy::Setup;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::pause;

/// `clients` at once, each with `requests` on one connection; every answer must be its own.
fn hammer(address: &str, clients: usize, requests: usize) {
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let address = address.to_owned();
            thread::spawn(move || {
                let mut connection = Client::new(&address);
                for number in 0..requests {
                    let target = format!("/{client}/{number}");
                    let response = connection.get(&target);
                    assert_eq!((response.status, response.text()), (200, target));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a client");
    }
}

fn mirror(next: Next) -> Upstream {
    Upstream::http(move |request, _, stream| {
        respond(stream, 200, request.target().as_bytes())?;
        Ok(next)
    })
}

#[test]
fn one_connection_serves_one_two_and_four_workers() {
    for workers in [1, 2, 4] {
        for next in [Next::Keep, Next::Close] {
            let upstream = mirror(next);
            let setup = Setup::new(upstream.address()).with("--connections", 1);
            let proxy = setup.with("--workers", workers).start();
            hammer(proxy.address(), 24, 25);
            let seen = (upstream.most_open(), upstream.count());
            assert_eq!(seen, (1, 600), "(most open, requests) with {workers} workers, {next:?}");
            proxy.finish();
        }
    }
}

#[test]
fn sixty_four_clients_share_four_connections() {
    let upstream = Upstream::http(|request, _, stream| {
        pause(1);
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 4).with("--workers", 2);
    let proxy = setup.start();
    hammer(proxy.address(), 64, 20);
    assert_eq!((upstream.most_open(), upstream.most_serving()), (4, 4));
    assert_eq!(upstream.accepted(), 4, "kept while the server keeps them");
    proxy.finish();
}

#[test]
fn each_of_two_servers_has_its_own_bound() {
    let (one, two) = (mirror(Next::Keep), mirror(Next::Keep));
    let setup = Setup::new(one.address()).upstream(two.address()).with("--connections", 2);
    let proxy = setup.with("--workers", 2).start();
    hammer(proxy.address(), 32, 40);
    for server in [&one, &two] {
        assert!(server.most_open() <= 2, "{} connections", server.most_open());
        assert!(server.count() > 200, "only {} of 1280 requests", server.count());
    }
    proxy.finish();
}

#[test]
fn a_full_queue_answers_503_and_those_within_are_served_in_order() {
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::http(move |request, _, stream| {
        let _ = gate.lock().map(|gate| gate.recv());
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.with("--queue", 3).start();
    let waiting = |ready: f64| {
        proxy.until("requests to wait", |metrics| {
            let leased = metrics.sum("anteroom_upstream_connections", &[("state", "leased")]);
            let queued = metrics.sum("anteroom_exchanges", &[("state", "ready")]);
            leased > 0.5 && (queued - ready).abs() < f64::EPSILON
        });
    };
    let mut clients = Vec::new();
    for (number, queued) in [0.0, 1.0, 2.0, 3.0].into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(get(&format!("/{number}")));
        clients.push(client);
        waiting(queued);
    }
    let mut late = proxy.client();
    for _ in 0..2 {
        let response = late.get("/late");
        assert_eq!((response.status, response.says_close()), (503, false), "{}", response.text());
        let seconds = response.get("retry-after").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{response:?}");
    }
    assert!((proxy.refused("queue_full") - 2.0).abs() < f64::EPSILON);
    for (number, client) in clients.iter_mut().enumerate() {
        release.send(()).expect("the upstream waits");
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    // There is room again.
    release.send(()).expect("the upstream waits");
    assert_eq!(late.get("/late").status, 200);
    let order: Vec<String> = upstream.requests().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3", "/late"], "first come, first served");
    proxy.finish();
}

#[test]
fn a_client_that_dawdles_over_its_response_holds_no_lease() {
    let body = Arc::new(vec![b'x'; 8_000_000]);
    let shown = Arc::clone(&body);
    let upstream = Upstream::http(move |request, _, stream| {
        let large = request.target() == "/large";
        respond(stream, 200, if large { &shown } else { b"small" })?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    // More than the kernel's socket buffers take, less than an exchange may keep.
    let proxy = setup.with("--exchange-memory", "10MiB").start();
    let mut dawdlers: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for dawdler in &mut dawdlers {
        dawdler.send(get("/large"));
    }
    // They read nothing; everybody else is served at once, over the only connection there is.
    for _ in 0..20 {
        assert_eq!(proxy.client().get("/small").text(), "small");
    }
    for dawdler in &mut dawdlers {
        assert!(dawdler.response().body == *body);
    }
    proxy.finish();
}

#[test]
fn a_client_that_dawdles_over_its_request_holds_no_lease() {
    let upstream = mirror(Next::Keep);
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.start();
    let mut dawdlers: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for dawdler in &mut dawdlers {
        dawdler.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    }
    for number in 0..50 {
        let target = format!("/{number}");
        assert_eq!(proxy.client().get(&target).text(), target);
    }
    assert_eq!(upstream.count(), 50, "only complete requests came");
    for dawdler in &mut dawdlers {
        assert_eq!(dawdler.send("cd").response().text(), "/late");
    }
    assert_eq!(upstream.cut_off(), 0);
    proxy.finish();
}
