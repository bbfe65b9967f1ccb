//! Several servers: turns, weights, backups, retries, warm connections, and restarts.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blackbox::folder::Folder;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::free_address;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

fn run(top: &str, servers: impl Display, more: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let folder = Folder::new();
    let file = folder.write(
        "app.toml",
        format!(
            "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n{top}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\n\
             [[upstream]]\nname = \"app\"\nservers = [{servers}]\n{more}\n"
        ),
    );
    // It is read once, before the first client.
    Anteroom::run(&file)
}

/// Their addresses, as a list.
fn all(servers: &[Upstream]) -> String {
    let quoted = servers.iter().map(|server| format!("\"{}\"", server.address()));
    quoted.collect::<Vec<_>>().join(", ")
}

fn weighted(server: &Upstream, more: &str) -> String {
    format!("{{ address = \"{}\", {more} }}", server.address())
}

fn label(server: &Upstream) -> [(&str, &str); 1] {
    [("server", server.address())]
}

#[test]
fn round_robin_is_exact_with_one_worker() {
    let servers = [(); 3].map(|()| Upstream::pages());
    let proxy = run("workers = 1", all(&servers), "balance = \"round-robin\"");
    let mut client = proxy.client();
    for round in 1..=20 {
        for server in &servers {
            assert_eq!(client.get("/").status, 200);
            assert_eq!(server.count(), round);
        }
    }
    proxy.finish();
}

#[test]
fn weights_share_the_work() {
    for balance in ["round-robin", "least-leased"] {
        let servers = [(); 3].map(|()| {
            Upstream::http(|_, _, stream| {
                pause(1);
                respond(stream, 200, b"fine")?;
                Ok(Next::Keep)
            })
        });
        let weights = [4, 2, 1];
        let list: Vec<String> = servers
            .iter()
            .zip(weights)
            .map(|(server, weight)| weighted(server, &format!("weight = {weight}")))
            .collect();
        let proxy = run("workers = 2", list.join(", "), &format!("balance = \"{balance}\""));
        std::thread::scope(|scope| {
            for _ in 0..7 {
                scope.spawn(|| {
                    let mut client = proxy.client();
                    for _ in 0..100 {
                        assert_eq!(client.get("/").status, 200);
                    }
                });
            }
        });
        for (server, weight) in servers.iter().zip(weights) {
            let (got, due) = (server.count(), weight * 100);
            assert!(got.abs_diff(due) <= due / 4 + 10, "{balance}: {got} of {due}");
        }
        proxy.finish();
    }
}

#[test]
fn a_backup_takes_over_and_gives_back() {
    let (mut main, spare) = (Upstream::pages(), Upstream::pages());
    let list = format!("\"{}\", {}", main.address(), weighted(&spare, "backup = true"));
    let proxy = run("workers = 2", list, "");
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((main.count(), spare.count()), (20, 0));
    main.stop();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200, "nobody notices");
    }
    assert_eq!(spare.count(), 50);
    let up = |server: &Upstream| proxy.figure("anteroom_upstream_up", &label(server));
    assert!(up(&main) == 0.0 && (up(&spare) - 1.0).abs() < f64::EPSILON);
    assert!(proxy.ask("/status").text().contains("\"backup\":true"));
    main.resume();
    eventually("the first one to serve again", || {
        let before = main.count();
        assert_eq!(client.get("/").status, 200);
        (main.count() > before).then_some(())
    });
    let before = spare.count();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(spare.count(), before, "it rests again");
    assert!((up(&main) - 1.0).abs() < f64::EPSILON);
    proxy.finish();
}

#[test]
fn a_connection_bound_may_differ_from_server_to_server() {
    let slow = || {
        Upstream::http(|_, _, stream| {
            pause(20);
            respond(stream, 200, b"fine")?;
            Ok(Next::Keep)
        })
    };
    let (small, large) = (slow(), slow());
    let list = format!("{}, \"{}\"", weighted(&small, "connections = 1"), large.address());
    let proxy = run("workers = 2", list, "connections = 4");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..10 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    assert_eq!(small.most_serving(), 1);
    assert!(large.most_serving() == 4 && large.most_open() <= 4);
    proxy.finish();
}

#[test]
fn retries_stay_within_their_budget_when_every_connection_is_killed() {
    let killers = [(); 2].map(|()| Upstream::http(|_, _, _| Ok(Next::Reset)));
    // Set aside for a moment only, so that requests do reach them.
    let more = "health = { fail_timeout = \"1ms\" }\nretries = { attempts = 5, budget = \"10%\" }";
    let proxy = run("workers = 2", all(&killers), more);
    let requests = 2_000;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..requests / 8 {
                    assert_eq!(client.get("/").status, 502);
                }
            });
        }
    });
    let sent: usize = killers.iter().map(Upstream::count).sum();
    let retries = proxy.figure("anteroom_retries_total", &[]);
    let refused = proxy.figure("anteroom_retries_refused_total", &[("upstream", "app")]);
    // A tenth, and ten a second for ten seconds.
    assert!(retries <= 200.0 + 100.0, "{retries} retries");
    assert!(retries >= 100.0 && refused > 1_000.0, "{retries} retries, {refused} refused");
    assert!(sent <= requests + 300, "{sent} were sent");
    proxy.finish();
}

#[test]
fn an_idempotent_request_survives_a_server_that_breaks_fresh_connections() {
    let (killer, good) = (Upstream::http(|_, _, _| Ok(Next::Reset)), Upstream::pages());
    let proxy = Setup::new(killer.address()).upstream(good.address()).with("--workers", 1).start();
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
        pause(5);
    }
    assert!(killer.count() >= 2, "it was tried again and again: {}", killer.count());
    proxy.finish();
}

#[test]
fn a_server_that_is_restarted_under_load_costs_no_request() {
    let mut upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, over) = (proxy.client(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let status = client.get("/").status;
                    failed.extend((status != 200).then_some(status));
                }
                failed
            })
        })
        .collect();
    for away in [100, 400, 700] {
        pause(300);
        upstream.stop();
        pause(away);
        upstream.resume();
    }
    pause(500);
    over.store(true, Ordering::SeqCst);
    for client in clients {
        let failed = client.join().expect("a client that did not panic");
        assert!(failed.is_empty(), "{failed:?}");
    }
    proxy.finish();
}

#[test]
fn a_server_that_is_gone_is_502_after_the_grace_and_then_at_once() {
    let proxy = Anteroom::before(&free_address());
    let mut client = proxy.client();
    let mut timed = || {
        let start = Instant::now();
        assert_eq!(client.get("/").status, 502);
        start.elapsed()
    };
    let first = timed();
    assert!((900..2_500).contains(&first.as_millis()), "{first:?}");
    // One in so many is the next probe, which is answered at once here.
    for _ in 0..100 {
        let later = timed();
        assert!(later < Duration::from_millis(500), "{later:?}");
        pause(20);
    }
    proxy.finish();
}

#[test]
fn warm_connections_are_opened_at_start_and_again() {
    let upstream = Upstream::pages();
    let proxy = run("workers = 2", format!("\"{}\"", upstream.address()), "warm = 3");
    eventually("three connections before any request", || (upstream.open() == 3).then_some(()));
    let idle = [("state", "idle")];
    proxy.until("them to be idle", |metrics| {
        (metrics.sum("anteroom_upstream_connections", &idle) - 3.0).abs() < f64::EPSILON
    });
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(upstream.accepted(), 3, "a request needs no other");
    upstream.hang_up();
    eventually("them to be back", || {
        (upstream.open() == 3 && upstream.accepted() >= 6).then_some(())
    });
    assert_eq!(upstream.most_open(), 3);
    proxy.finish();
}
