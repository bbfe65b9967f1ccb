//! `request = "stream"` through the real binary: bodies that the server meets as they arrive.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use blackbox::client::{get, post, post_chunked};
use blackbox::echo::echo;
use blackbox::proxy::Setup;
use blackbox::random::Random;
use blackbox::servers::{gunicorn, node};
use blackbox::upstream::Upstream;
use blackbox::wait::pause;

const HEAD: &str = "POST /up HTTP/1.1\r\nHost: a\r\n";

fn streaming(upstream: &str) -> Setup {
    Setup::new(upstream).with("--request", "stream")
}

#[test]
fn pieces_reach_the_server_one_by_one() {
    let (tell, told) = channel();
    let upstream = Upstream::raw(move |_, mut reader| {
        let head = reader.request_head()?.expect("a head");
        let _ = tell.send(format!("{:?}", head.get("Content-Length")));
        for _ in 0..5 {
            reader.skip(3)?;
            let _ = tell.send("piece".to_owned());
        }
        reader.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let proxy = streaming(upstream.address()).start();
    let mut client = proxy.client();
    client.send(format!("{HEAD}Content-Length: 15\r\n\r\n"));
    let patience = Duration::from_secs(5);
    assert_eq!(told.recv_timeout(patience).as_deref(), Ok("Some(\"15\")"));
    for _ in 0..5 {
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "not before it was sent");
        client.send("abc");
        assert_eq!(told.recv_timeout(patience).as_deref(), Ok("piece"));
    }
    assert_eq!(client.response().text(), "ok");
    drop(client);
    proxy.finish();
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole() {
    let upstream = echo();
    let proxy = streaming(upstream.address())
        .with("--memory", "1MiB")
        .with("--workers", 1)
        .with("--connections", 4)
        .start();
    let mut random = Random::new(11);
    let mut client = proxy.client();
    // Larger than what an exchange may keep, and than the whole pool.
    for size in [0, 1, 2000, 100_000, 700_000, 5_000_000] {
        let body = random.bytes(size);
        for chunked in [false, true] {
            let sent = if chunked {
                post_chunked("/length", &body, &mut random)
            } else {
                post("/length", &body)
            };
            let mut sender = client.stream().try_clone().expect("a second handle");
            let writer = std::thread::spawn(move || {
                for piece in sent.chunks(70_000) {
                    sender.write_all(piece).expect("the proxy takes it");
                }
            });
            let response = client.response();
            writer.join().expect("all was sent");
            assert!(response.status == 200 && response.body == body, "{size} {chunked}");
        }
    }
    assert!(upstream.requests().iter().all(|request| request.head.get("Expect").is_none()));
    drop(client);
    proxy.finish();
}

#[test]
fn many_at_once_with_clients_that_leave() {
    let upstream = echo();
    let proxy = streaming(upstream.address())
        .with("--memory", "1MiB")
        .with("--workers", 2)
        .with("--connections", 3)
        .start();
    let threads: Vec<_> = (0..24u64)
        .map(|number| {
            let address = proxy.address().to_owned();
            std::thread::spawn(move || {
                let mut random = Random::new(number + 900);
                for _ in 0..12 {
                    let mut client = blackbox::client::Client::new(&address);
                    let length = random.length(120_000);
                    let body = random.bytes(length);
                    let sent = if random.once_in(2) {
                        post_chunked("/length", &body, &mut random)
                    } else {
                        post("/length", &body)
                    };
                    if random.once_in(3) {
                        let cut = random.below(sent.len());
                        let _ = client.send_cut(&sent[..cut], &mut random, 4);
                        if random.once_in(2) {
                            client.reset();
                        }
                        continue;
                    }
                    client.send_cut(&sent, &mut random, 6).expect("the proxy takes it");
                    let response = client.response();
                    assert!(response.status == 200 && response.body == body);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a client");
    }
    assert!(upstream.cut_off() > 0, "some were cut off in front of the server");
    proxy.quiet();
    assert_eq!(proxy.client().get("/length").status, 200);
    proxy.finish();
}

#[test]
fn a_client_that_dawdles_holds_a_lease_for_so_long() {
    let upstream = echo();
    let proxy = streaming(upstream.address())
        .with("--connections", 1)
        .with("--workers", 1)
        .timeout("body_progress", "1s")
        .start();
    let mut dawdler = proxy.client();
    dawdler.send(format!("{HEAD}Content-Length: 9\r\n\r\nabc"));
    pause(100);
    let start = Instant::now();
    assert_eq!(proxy.client().get("/length").status, 200);
    assert!(start.elapsed() > Duration::from_millis(500), "{:?}", start.elapsed());
    let response = dawdler.response();
    assert!(response.status == 408 && response.says_close());
    drop(dawdler);
    proxy.finish();
}

#[test]
fn who_expects_to_be_told_is_told_by_us() {
    let upstream = echo();
    let proxy = streaming(upstream.address()).start();
    let mut client = proxy.client();
    client.send(format!("{HEAD}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"));
    let mut interim = [0; 25];
    std::io::Read::read_exact(client.stream(), &mut interim).expect("100");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
    assert_eq!(upstream.last().head.get("Expect"), None);
    drop(client);
    proxy.finish();
}

/// Node answers `/early` before it reads the body: a client in the middle of a large one gets
/// the answer, not a reset.
#[test]
fn an_early_answer_of_node_reaches_a_client_that_still_sends() {
    let server = node(5000);
    let proxy = streaming(server.address()).start();
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n");
        client.send(vec![b'x'; 20_000]);
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
        assert!(response.says_close());
    }
    assert_eq!(proxy.client().post("/", b"whole").text(), "whole");
    proxy.finish();
}

#[test]
fn gunicorn_takes_streamed_bodies_in_both_framings() {
    let server = gunicorn(true);
    let proxy = streaming(server.address()).with("--connections", 2).start();
    let mut random = Random::new(5);
    let mut client = proxy.client();
    let body = random.bytes(300_000);
    assert!(client.post("/a", &body).body == body);
    let response = client.send(post_chunked("/b", &body, &mut random)).response();
    assert!(response.status == 200 && response.body == body);
    assert_eq!(client.send(get("/c")).response().get("X-Path"), Some("/c?"));
    drop(client);
    proxy.finish();
}
