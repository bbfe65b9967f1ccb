//! Everything at once: servers and clients that misbehave at random, and odd but legal answers.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use blackbox::client::{Client, get, post, post_chunked};
use blackbox::echo::{answer, echo};
use blackbox::message::{Framing, Request};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::random::Random;
use blackbox::stream::Stream;
use blackbox::upstream::{Next, Place, Upstream, respond};
use blackbox::wait::pause;

/// Echoes most bodies; now and then breaks off, cuts, talks nonsense, says too much or resets.
fn moody(request: &Request, place: Place, stream: &mut Stream) -> io::Result<Next> {
    let mut random = Random::new(place.number as u64 + 5000);
    let length = request.body.len();
    match random.below(14) {
        0 => Ok(Next::Close),
        1 => Ok(Next::Reset),
        2 => stream.write_all(b"\x00nonsense\r\n\r\n").map(|()| Next::Close),
        3 => {
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length + 9).as_bytes(),
            )?;
            stream.write_all(&request.body)?;
            Ok(if random.once_in(2) { Next::Close } else { Next::Reset })
        }
        // In one piece: what comes later, no proxy can tell from the next request's answer.
        4 if length < 1000 => {
            let mut bytes =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            bytes.extend_from_slice(&request.body);
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
            stream.write_all(&bytes).map(|()| Next::Keep)
        }
        5 => {
            let cut = random.below(length + 1);
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n")
                    .as_bytes(),
            )?;
            stream.write_all(&request.body[..cut]).map(|()| Next::Close)
        }
        6 => {
            pause(5);
            answer(request, place, stream)
        }
        _ => answer(request, place, stream),
    }
}

/// Talks to a moody server: (echoes, refusals and breaks). Whatever comes whole must be right.
fn endure(address: &str, mut random: Random) -> (usize, usize) {
    let mut client = Client::new(address);
    let (mut echoes, mut others) = (0, 0);
    for _ in 0..60 {
        let length = 1 + random.length(30_000);
        let body = random.bytes(length);
        let target = ["/length", "/chunked", "/close"][random.below(3)];
        let bytes = match random.below(2) {
            0 => post(target, &body),
            _ => post_chunked(target, &body, &mut random),
        };
        let pieces = 1 + random.below(5);
        // The connection may be cut by a response that could not be completed.
        let _ = client.send_cut(&bytes, &mut random, pieces);
        if random.once_in(15) {
            std::mem::replace(&mut client, Client::new(address)).reset();
            continue;
        }
        match client.try_response() {
            Ok(response) if response.status == 200 => {
                let (got, wanted) = (response.body.len(), body.len());
                assert!(
                    response.body == body,
                    "not this request's answer: {got} of {wanted} bytes"
                );
                echoes += 1;
                if response.says_close() || response.framing == Framing::Close {
                    client = Client::new(address);
                }
            }
            Ok(response) => {
                assert_eq!(response.status, 502, "{}", response.text());
                assert!(!response.says_close(), "the client's framing was never in doubt");
                others += 1;
            }
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "neither an answer nor an end");
                assert_ne!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                others += 1;
                client = Client::new(address);
            }
        }
    }
    (echoes, others)
}

#[test]
fn moody_servers_and_clients_mix_nothing_up() {
    for (workers, connections) in [(1, 1), (2, 4), (4, 2)] {
        let upstream = Upstream::http(moody);
        let setup = Setup::new(upstream.address()).with("--workers", workers);
        let proxy = setup.with("--connections", connections).start();
        let threads: Vec<_> = (0..24)
            .map(|number| {
                let address = proxy.address().to_owned();
                thread::spawn(move || endure(&address, Random::new(number + 300)))
            })
            .collect();
        let sums: Vec<(usize, usize)> =
            threads.into_iter().map(|t| t.join().expect("a client")).collect();
        let echoes: usize = sums.iter().map(|sum| sum.0).sum();
        let others: usize = sums.iter().map(|sum| sum.1).sum();
        assert!(echoes > 600 && others > 100, "{echoes} echoes, {others} others: too tame");
        assert_eq!(upstream.faults(), Vec::<String>::new());
        assert!(upstream.most_open() <= connections, "{} connections", upstream.most_open());
        proxy.finish();
    }
}

#[test]
fn buffers_of_every_size_carry_the_same_bytes() {
    let upstream = echo();
    for size in ["512", "1KiB", "4KiB", "32KiB"] {
        let setup = Setup::new(upstream.address()).with("--buffer", size).with("--memory", "8MiB");
        let proxy = setup.with("--workers", 1).start();
        let mut random = Random::new(31);
        let mut client = proxy.client();
        for number in 0..60 {
            let length = random.length(100_000);
            let body = random.bytes(length);
            let target = ["/length", "/chunked"][number % 2];
            let bytes = post_chunked(target, &body, &mut random);
            client.send_cut(&bytes, &mut random, 6).expect("the proxy takes the request");
            let response = client.response();
            assert_eq!(response.status, 200, "buffers of {size}: {}", response.text());
            assert!(response.body == body, "buffers of {size}, request {number}, {length} bytes");
        }
        proxy.finish();
    }
}

#[test]
fn large_downloads_pass_whole_through_little_memory() {
    let body = Arc::new(Random::new(32).bytes(20_000_000));
    let shown = Arc::clone(&body);
    let upstream = Upstream::http(move |request, place, stream| {
        if request.target() == "/chunked" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let mut random = Random::new(place.number as u64);
            for piece in random.cut(&shown, 500) {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                stream.write_all(piece)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        } else {
            respond(stream, 200, &shown)?;
        }
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--memory", "1MiB").with("--workers", 1);
    let proxy = setup.with("--exchange-memory", "64KiB").start();
    let threads: Vec<_> = (0..6)
        .map(|number| {
            let (address, body) = (proxy.address().to_owned(), Arc::clone(&body));
            thread::spawn(move || {
                let mut client = Client::new(&address);
                for target in ["/length", "/chunked"] {
                    if number % 2 == 0 {
                        client.send(get(target));
                        pause(100);
                        assert!(client.response().body == *body, "{target}");
                    } else {
                        assert!(client.get(target).body == *body, "{target}");
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a download");
    }
    proxy.finish();
}

#[test]
fn a_response_byte_by_byte_arrives_as_it_comes() {
    let upstream = Upstream::http(|_, _, stream| {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n\
                     3\r\nabc\r\n5;e=\"f\"\r\ndefgh\r\n0\r\nTrailer: t\r\n\r\n";
        for byte in text {
            stream.write_all(&[*byte])?;
            thread::sleep(std::time::Duration::from_micros(300));
        }
        Ok(Next::Keep)
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..5 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.get("x")), ("abcdefgh", Some("y")));
    }
    assert_eq!(upstream.accepted(), 1);
    proxy.finish();
}

#[test]
fn the_beginning_of_a_long_response_does_not_wait_for_its_end() {
    let upstream = Upstream::http(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        pause(1500);
        stream.write_all(b"later")?;
        Ok(Next::Keep)
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    let start = std::time::Instant::now();
    client.send(get("/"));
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        let mut piece = [0; 1000];
        let read = client.stream().read(&mut piece).expect("the beginning");
        assert!(read > 0, "ended early: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..read]);
    }
    let took = start.elapsed();
    assert!(took.as_millis() < 1200, "the beginning took {took:?}");
    let mut rest = [0; 5];
    client.stream().read_exact(&mut rest).expect("the rest");
    assert_eq!(&rest, b"later");
    proxy.finish();
}

/// Legal or half-legal answers that a careless proxy stumbles over.
fn odd(request: &Request, place: Place, stream: &mut Stream) -> io::Result<Next> {
    match request.target() {
        "/cookies" => {
            let cookies = format!("Set-Cookie: {}\r\n", "c".repeat(700)).repeat(25);
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 2\r\n\r\nok").as_bytes(),
            )?;
        }
        "/no-reason" => stream.write_all(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")?,
        "/old" => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")?;
            return Ok(Next::Close);
        }
        "/old-length" => {
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            return Ok(Next::Close);
        }
        "/continue" => {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")?;
            respond(stream, 200, b"ok")?;
        }
        // HEAD answered with a body: those bytes are nobody's response.
        "/head" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?,
        "/204" => stream.write_all(b"HTTP/1.1 204 None\r\nContent-Length: 4\r\n\r\nevil")?,
        _ => return answer(request, place, stream),
    }
    Ok(Next::Keep)
}

#[test]
fn odd_answers_pass_and_confuse_nobody() {
    let upstream = Upstream::http(odd);
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let cookies = client.get("/cookies");
        assert_eq!((cookies.status, cookies.head.all("set-cookie").len()), (200, 25));
        assert_eq!(client.get("/no-reason").text(), "ok");
        // Without a length it may cost the client its connection, if it is told so.
        let old = client.get("/old");
        assert_eq!(old.text(), "until the end");
        if old.says_close() {
            client = proxy.client();
        }
        assert_eq!(client.get("/old-length").text(), "ok");
        assert_eq!(client.get("/continue").text(), "ok");
        let head = client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
        assert_eq!((head.status, head.get("content-length")), (200, Some("4")));
        assert_eq!(client.post("/length", b"mine").text(), "mine");
        let none = client.get("/204");
        assert_eq!((none.status, none.get("transfer-encoding")), (204, None));
        assert_eq!(client.post("/length", b"mine again").text(), "mine again");
    }
    proxy.finish();
}

#[test]
fn pipelining_clients_that_vanish_leave_nothing_behind() {
    let upstream = echo();
    let proxy =
        Setup::new(upstream.address()).with("--connections", 2).with("--workers", 2).start();
    let mut random = Random::new(33);
    for round in 0..60 {
        let mut client = Client::new_slow(proxy.address());
        let many: Vec<u8> =
            (0..30).flat_map(|_| post("/length", &random.clone().bytes(3000))).collect();
        let cut = random.below(many.len());
        let _ = client.try_send(&many[..cut]);
        if round % 3 == 0 {
            pause(3);
        }
        if round % 2 == 0 {
            client.reset();
        }
    }
    proxy.quiet();
    proxy.until("all clients to be gone", |metrics| metrics.sum("anteroom_clients", &[]) == 0.0);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

#[test]
fn four_workers_with_tiny_pools_keep_going() {
    let upstream = echo();
    let setup = Setup::new(upstream.address()).with("--workers", 4).with("--memory", "128KiB");
    let setup = setup.with("--connections", 2).with("--exchange-memory", "16KiB");
    let proxy = setup.with("--max-head", "4KiB").with("--max-target", "1KiB").start();
    let threads: Vec<_> = (0..40)
        .map(|number| {
            let address = proxy.address().to_owned();
            thread::spawn(move || {
                let mut random = Random::new(number + 700);
                let mut echoes = 0;
                for _ in 0..15 {
                    let length = random.length(8000);
                    let body = random.bytes(length);
                    let mut client = Client::new(&address);
                    let _ = client.send_cut(&post("/chunked", &body), &mut random, 4);
                    match client.try_response() {
                        Ok(response) if response.status == 200 => {
                            assert!(response.body == body);
                            echoes += 1;
                        }
                        Ok(response) => {
                            assert!([408, 503].contains(&response.status), "{}", response.status);
                        }
                        Err(error) => assert_ne!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                }
                echoes
            })
        })
        .collect();
    let echoes: usize = threads.into_iter().map(|t| t.join().expect("a client")).sum();
    assert!(echoes > 100, "only {echoes} of 600 were served");
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.quiet();
    assert_eq!(proxy.client().post("/length", b"afterwards").text(), "afterwards");
    proxy.finish();
}
