//! Servers that refuse, die, come back, answer early, too much, too little or garbage.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use blackbox::client::{get, post};
use blackbox::message::Reader;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::free_address;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

#[test]
fn nobody_there_gets_502_and_the_client_stays() {
    let nowhere = free_address();
    let proxy = Anteroom::before(&nowhere);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status, response.says_close()), (502, false), "{}", response.text());
        assert!(!response.body.is_empty() && response.body.len() < 500);
    }
    assert!((proxy.refused("unreachable") - 3.0).abs() < f64::EPSILON);
    proxy.finish();
}

/// An upstream that answers each connection's first request with these bytes and closes.
fn answering(bytes: &'static [u8]) -> Upstream {
    Upstream::http(move |_, _, stream| {
        stream.write_all(bytes)?;
        Ok(Next::Close)
    })
}

#[test]
fn garbage_gets_502() {
    let cases: [(&str, &[u8]); 15] = [
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("noise", b"\x00\x01\x02\xff\xfe\r\n\r\n"),
        ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("a status of two digits", b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"),
        ("a status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
        ("HTTP/2", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "length and chunks",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        ),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        ("a folded field", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
        ("a space before the colon", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n"),
        (
            "a switch nobody asked for",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        ("an unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
        ("nothing", b""),
    ];
    let mut failures = Vec::new();
    for (what, bytes) in cases {
        let upstream = answering(bytes);
        let proxy = Anteroom::before(upstream.address());
        // POST: it must not go again.
        let mut client = proxy.client();
        match client.try_send(post("/", b"x")).and_then(|()| client.try_response()) {
            Ok(response) if response.status == 502 => {}
            Ok(response) => failures.push(format!("{what}: {}", response.status)),
            Err(error) => failures.push(format!("{what}: {error}")),
        }
        drop(client);
        let counted = proxy.refused("bad_response");
        if (counted - 1.0).abs() > f64::EPSILON {
            failures.push(format!("{what}: anteroom_refusals_total{{bad_response}} {counted}"));
        }
        if upstream.count() != 1 {
            failures.push(format!("{what}: sent {} times", upstream.count()));
        }
        proxy.finish();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_head_without_end_gets_502() {
    let upstream = Upstream::http(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        for number in 0..20_000 {
            stream.write_all(format!("X-{number}: and so on\r\n").as_bytes())?;
        }
        Ok(Next::Close)
    });
    let proxy = Anteroom::before(upstream.address());
    assert_eq!(proxy.client().post("/", b"x").status, 502);
    proxy.finish();
}

#[test]
fn a_truncated_body_is_never_passed_off_as_whole() {
    let cases: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\nmore\r\n0\r\n\r\n",
    ];
    for bytes in cases {
        let upstream = answering(bytes);
        let proxy = Anteroom::before(upstream.address());
        for request in [get("/"), "GET / HTTP/1.0\r\n\r\n".to_owned()] {
            let old = request.contains("1.0");
            let mut client = proxy.client();
            client.send(request);
            match client.try_response() {
                Ok(response) if response.status == 502 => {}
                // To HTTP/1.0 a body's end is the connection's: only a reset would tell, and a
                // decoded chunked body has no length to compare with.
                Ok(response) if old && response.get("content-length").is_none() => {}
                Ok(response) => {
                    panic!("{}: {:?} passed as whole", response.status, response.text())
                }
                Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "no end came"),
            }
        }
        proxy.finish();
    }
}

/// Of a body that only the end delimits, half must not look like all of it.
#[test]
fn a_body_until_close_that_is_cut_ends_with_a_reset() {
    let upstream = Upstream::http(|request, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome of it")?;
        pause(100);
        Ok(if request.target() == "/cut" { Next::Reset } else { Next::Close })
    });
    let proxy = Anteroom::before(upstream.address());
    for (target, cut) in [("/cut", true), ("/whole", false)] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let mut got = Vec::new();
        let end = client.stream().read_to_end(&mut got).map_err(|error| error.kind());
        assert!(got.ends_with(b"\r\n\r\nsome of it"), "{}", String::from_utf8_lossy(&got));
        assert_eq!(end.err(), cut.then_some(ErrorKind::ConnectionReset), "{target}");
    }
    proxy.finish();
}

#[test]
fn an_early_answer_reaches_the_client() {
    let upstream = Upstream::raw(|_, mut reader: Reader| {
        // Answers when it has seen the head, with the body on its way.
        reader.request_head()?;
        reader.stream().write_all(
            b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch",
        )?;
        pause(300);
        Ok(())
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.post("/", &vec![b'x'; 200_000]);
        // Whoever closes with input unread may destroy its own answer: then it is a broken server.
        assert!([413, 502].contains(&response.status), "{}: {}", response.status, response.text());
        assert!(!response.says_close());
    }
    proxy.finish();
}

#[test]
fn an_early_answer_of_a_server_that_reads_on_is_passed() {
    let upstream = Upstream::raw(|_, mut reader: Reader| {
        // Answers each head at once, reads the body behind it, and goes on.
        while reader.request_head()?.is_some() {
            reader.stream().write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")?;
            pause(20);
            reader.skip(200_000)?;
        }
        Ok(())
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.post("/", &vec![b'x'; 200_000]);
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
    }
    proxy.finish();
}

#[test]
fn bytes_beyond_a_response_close_that_connection() {
    let upstream = Upstream::http(|request, _, stream| {
        let target = request.target();
        let one = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        stream.write_all(
            format!("{one}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").as_bytes(),
        )?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.start();
    let mut client = proxy.client();
    for number in 0..20 {
        let target = format!("/{number}");
        assert_eq!(client.get(&target).text(), target);
    }
    assert_eq!(upstream.accepted(), 20, "each response spoiled its connection");
    proxy.finish();
}

#[test]
fn bytes_on_an_idle_connection_are_nobodys_answer() {
    let upstream = Upstream::http(|request, place, stream| {
        respond(stream, 200, request.target().as_bytes())?;
        if place.on_connection == 0 {
            pause(100);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
        }
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--workers", 1);
    let proxy = setup.start();
    for number in 0..5 {
        let target = format!("/{number}");
        assert_eq!(proxy.client().get(&target).text(), target);
        pause(250);
    }
    proxy.finish();
}

#[test]
fn a_server_that_dies_and_comes_back_is_used_again() {
    let mut upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/alive").status, 200);
        upstream.stop();
        assert_eq!(client.get("/dead").status, 502);
        upstream.resume();
        eventually("the server to be used again", || {
            (client.get("/again").status == 200).then_some(())
        });
    }
    proxy.finish();
}

#[test]
fn a_server_that_dies_under_load_harms_only_what_it_had() {
    let mut upstream = Upstream::http(|request, _, stream| {
        pause(2);
        respond(stream, 200, request.target().as_bytes())?;
        Ok(Next::Keep)
    });
    let proxy = Anteroom::before(upstream.address());
    let address = proxy.address().to_owned();
    let start = Instant::now();
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut client = blackbox::client::Client::new(&address);
                let (mut served, mut failed) = (0, 0);
                while start.elapsed() < Duration::from_secs(4) {
                    let target = format!("/{number}/{served}");
                    // The client's own connection survives whatever the server does.
                    let response = client.get(&target);
                    match response.status {
                        200 => {
                            assert_eq!(response.text(), target);
                            served += 1;
                        }
                        502 | 503 => failed += 1,
                        other => panic!("{other}: {}", response.text()),
                    }
                    pause(1);
                }
                (served, failed)
            })
        })
        .collect();
    pause(500);
    upstream.stop();
    // Longer than the grace in which a restart costs nothing.
    pause(1300);
    upstream.resume();
    let sums: Vec<(i32, i32)> = threads.into_iter().map(|t| t.join().expect("a client")).collect();
    assert!(sums.iter().all(|(served, _)| *served > 20), "(served, failed): {sums:?}");
    assert!(sums.iter().any(|(_, failed)| *failed > 0), "its death went unnoticed: {sums:?}");
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

#[test]
fn of_two_servers_the_living_one_serves() {
    let mut one = Upstream::pages();
    let two = Upstream::pages();
    let proxy = Setup::new(one.address()).upstream(two.address()).start();
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    // All at once, so that a server with less to do is there to be chosen.
    let mut round = |times: usize| -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..times {
            for client in &mut clients {
                client.send(get("/"));
            }
            statuses.extend(clients.iter_mut().map(|client| client.response().status));
        }
        statuses
    };
    assert!(round(5).iter().all(|status| *status == 200));
    one.stop();
    let statuses = round(20);
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 155, "only {served} of 160 were served by the living server");
    one.resume();
    let before = one.count();
    eventually("the first server to be used again", || {
        round(2);
        (one.count() > before).then_some(())
    });
    proxy.finish();
}
