//! What is HTTP's own on the way of an exchange: interim responses, trailers, bodies without a
//! length, requests that end with us.

use crate::house::{GET, House, OK, Setting, status, text};
use std::time::Duration;
use worker::CloseReason;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nDate: d\r\nLink: </a>\r\n\r\n";

/// Reads until nothing more comes, letting the workers go on in between.
fn all(house: &mut House, client: &sim::Peer) -> String {
    let mut got = String::new();
    loop {
        let more = text(client);
        house.settle();
        if more.is_empty() && client.unread() == 0 {
            return got;
        }
        got.push_str(&more);
    }
}

#[test]
fn a_hint_is_there_before_its_response() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(HINT.as_bytes());
    house.settle();
    assert_eq!(text(&client), HINT);
    // A server that takes its time after a hint is not the client's fault.
    house.pass(Duration::from_secs(50));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

#[test]
fn a_client_slow_to_take_hints_gets_everything_in_order() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    client.set_window(7);
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(HINT.as_bytes());
    house.settle();
    server.write_all(HINT.as_bytes());
    house.settle();
    server.write_all(OK);
    house.settle();
    let got = all(&mut house, &client);
    assert!(got.starts_with(&format!("{HINT}{HINT}HTTP/1.1 200 OK\r\n")), "{got}");
    assert!(got.ends_with("\r\n\r\nok"), "{got}");
    house.assert_quiet();
}

#[test]
fn a_client_that_takes_no_hint_is_given_up() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    client.set_window(0);
    house.exchange(&client, GET);
    let server = house.server();
    for _ in 0..3 {
        server.write_all(HINT.as_bytes());
        house.pass(Duration::from_secs(25));
    }
    assert!(client.is_closed() && server.is_closed());
    assert_eq!(house.sum(|c| c.clients_closed[CloseReason::Timeout as usize].get()), 1);
    house.assert_quiet();
}

/// A server that fails behind a hint: 502, behind what is left of the hint.
#[test]
fn an_answer_of_ours_stands_behind_whole_hints_only() {
    // All of them ended or cut the client before, where it had part of the hint only.
    for window in [0, 10, 1000] {
        for failure in ["reset", "end", "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n"] {
            let mut house = House::new(&Setting::default());
            let client = house.client();
            client.set_window(window);
            house.exchange(&client, GET);
            let server = house.server();
            server.write_all(HINT.as_bytes());
            house.settle();
            match failure {
                "reset" => server.reset(),
                "end" => server.end(),
                malformed => server.write_all(malformed.as_bytes()),
            }
            house.settle();
            assert!(server.is_closed());
            client.set_window(1000);
            house.settle();
            let got = all(&mut house, &client);
            assert_eq!(status(got.strip_prefix(HINT).expect("the hint")), 502, "{got}");
            assert!(!client.has_ended(), "the request was read to its end");
            house.assert_quiet();
        }
    }
}

/// A malformed response that comes together with its hint.
#[test]
fn what_is_wrong_behind_a_hint_is_told_behind_it() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(format!("{HINT}{HINT}no response\r\n\r\n").as_bytes());
    house.settle();
    let got = all(&mut house, &client);
    let answer = got.strip_prefix(&format!("{HINT}{HINT}")).expect("the hints");
    assert_eq!(status(answer), 502, "{got}");
    house.assert_quiet();
}

/// Whoever takes nothing of it is not waited for without end.
#[test]
fn an_answer_of_ours_behind_half_a_hint_has_a_deadline() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    client.set_window(10);
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(HINT.as_bytes());
    house.settle();
    server.reset();
    house.settle();
    assert!(!client.is_closed());
    house.pass(Duration::from_secs(61));
    assert!(client.is_closed());
    house.assert_quiet();
}

#[test]
fn trailers_that_may_pass_do_and_the_others_are_counted() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.write_all(format!("{head}2\r\nok\r\n0\r\nA: b\r\n").as_bytes());
    house.settle();
    assert!(text(&client).ends_with("2\r\nok\r\n0\r\n"), "none before it is known what they are");
    server.write_all(b"Vary: x\r\n\r\n");
    house.settle();
    assert_eq!(text(&client), "A: b\r\n\r\n");
    assert_eq!(house.sum(|c| c.response_trailer_bytes_dropped.get()), 9);
    house.assert_quiet();
}

/// The server's connection ends while the pool is in the hands of slow clients: the responses
/// are completed as those take them, by nothing but their own buffers.
#[test]
fn bodies_without_a_length_are_completed_on_a_short_pool() {
    let body = "x".repeat(3000);
    let setting = Setting { buffers: 16, connections: 4, ..Setting::default() };
    let mut house = House::new(&setting);
    let clients: Vec<_> = (0..4).map(|_| house.client()).collect();
    let mut servers = Vec::new();
    for client in &clients {
        client.set_window(50);
        house.exchange(client, GET);
        let server = house.server();
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        servers.push(server);
        house.settle();
    }
    for server in &servers {
        for piece in body.as_bytes().chunks(1000) {
            server.write_all(piece);
            house.settle();
        }
        server.end();
        house.settle();
    }
    let mut got = vec![String::new(); clients.len()];
    for _ in 0..2000 {
        for (got, client) in got.iter_mut().zip(&clients) {
            got.push_str(&text(client));
        }
        house.settle();
    }
    for (got, client) in got.iter().zip(&clients) {
        assert!(got.ends_with("\r\n0\r\n\r\n"), "{got}");
        assert_eq!(got.bytes().filter(|&byte| byte == b'x').count(), body.len());
        assert!(!client.has_ended(), "it is kept");
    }
    house.assert_quiet();
}

/// Law 5: what a client takes becomes the buffer that its own response waits for, whoever else
/// waits, and whoever holds the rest of the pool for however long.
#[test]
fn a_response_goes_on_in_the_buffers_its_client_empties() {
    let mut house = House::new(&Setting { buffers: 16, ..Setting::default() });
    let (ours, other) = (house.client(), house.client());
    for client in [&ours, &other] {
        client.set_window(0);
        house.exchange(client, GET);
    }
    let (server, hoarder) = (house.server(), house.server());
    server.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(500)).as_bytes());
    house.settle();
    let mut uploads = Vec::new();
    for _ in 0..16 {
        let upload = house.client();
        house.exchange(&upload, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
        uploads.push(upload);
    }
    hoarder.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while hoarder.write(&[b'o'; 5000]) > 0 {
        house.settle();
    }
    server.write_all(&[b'x'; 3000]);
    house.settle();
    assert!(server.unreceived() > 0, "there is no buffer left");
    ours.set_window(100_000);
    house.settle();
    server.end();
    house.settle();
    let got = all(&mut house, &ours);
    assert_eq!(got.bytes().filter(|&byte| byte == b'x').count(), 3500);
    assert!(got.ends_with("\r\n0\r\n\r\n"), "{got}");
    uploads.into_iter().for_each(sim::Peer::close);
    ours.close();
    other.reset();
    house.assert_quiet();
}

/// What is held back until it is known is not what the client is behind by.
#[test]
fn trailers_may_be_longer_than_what_a_client_may_be_behind_by() {
    let setting = Setting { buffers: 32, connections: 8, ..Setting::default() };
    let mut house = House::new(&setting);
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.write_all(format!("{head}2\r\nok\r\n0\r\n").as_bytes());
    house.settle();
    let trailers = format!("T: {}\r\n", "t".repeat(995)).repeat(8);
    for piece in trailers.as_bytes().chunks(500) {
        server.write_all(piece);
        house.settle();
    }
    server.write_all(b"\r\n");
    house.settle();
    let got = all(&mut house, &client);
    assert!(got.ends_with(&format!("2\r\nok\r\n0\r\n{trailers}\r\n")), "{got}");
    house.assert_quiet();
}

#[test]
fn options_that_may_go_no_further_never_reach_the_server() {
    let mut house = House::new(&Setting::default());
    let client = house.client();
    let options = "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n";
    // Pipelined behind it: the next one does reach it.
    house.exchange(&client, &format!("{options}{GET}"));
    let server = house.server();
    assert!(text(&server).starts_with("GET /a"));
    let answer = text(&client);
    assert!(status(&answer) == 200 && answer.ends_with("Content-Length: 0\r\n\r\n"), "{answer}");
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.assert_quiet();
}

/// Whatever ends the connection behind a response, what was pipelined is not looked at: neither a
/// request nor nonsense.
#[test]
fn nothing_behind_a_closing_response_is_served() {
    for (first, reply) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", Some(OK)),
        ("GET /a HTTP/1.0\r\n\r\n", Some(OK)),
        ("GET /a HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Some(OK)),
        ("GET /a HTTP/2.0\r\nHost: h\r\n\r\n", None),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n", None),
    ] {
        for behind in [GET, "nonsense\r\n\r\n"] {
            let mut house = House::new(&Setting::default());
            let client = house.client();
            house.exchange(&client, &format!("{first}{behind}"));
            if let Some(reply) = reply {
                let server = house.server();
                assert_eq!(text(&server).matches("Via").count(), 1, "{first}");
                server.write_all(reply);
                house.settle();
                assert_eq!(text(&server), "", "{first}");
            }
            assert!(house.world.accept(base::id::ServerId(0)).is_none(), "{first}");
            let got = text(&client);
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
            assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
            assert!(client.has_ended(), "{first}");
            client.close();
            house.pass(Duration::from_secs(6));
            house.assert_quiet();
        }
    }
}

/// Whoever asks for a head gets no more, though nothing else of the head could be read or came.
#[test]
fn a_refusal_of_a_malformed_head_request_has_no_body() {
    for (sent, code) in [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n", 413),
        ("\r\nHEAD / HTTP/1.1\r\nHo", 408),
    ] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, sent);
        house.pass(Duration::from_secs(if code == 408 { 31 } else { 0 }));
        let got = text(&client);
        assert_eq!(status(&got), code);
        assert!(got.contains("\r\nContent-Length: ") && got.ends_with("\r\n\r\n"), "{got}");
        client.close();
        house.pass(Duration::from_secs(6));
        house.assert_quiet();
    }
}

/// A body that must not be there may come later all the same: it must answer nobody else.
#[test]
fn what_a_bodiless_response_tells_of_a_body_is_believed() {
    for (head, ends) in [
        ("204 No Content\r\nContent-Length: 9", true),
        ("204 No Content\r\nTransfer-Encoding: chunked", true),
        ("304 Not Modified\r\nTransfer-Encoding: chunked", true),
        ("204 No Content\r\nContent-Length: 0", false),
        ("304 Not Modified\r\nContent-Length: 9", false),
    ] {
        let mut house = House::new(&Setting::default());
        let client = house.client();
        house.exchange(&client, GET);
        let server = house.server();
        let _ = text(&server);
        server.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
        house.settle();
        assert_eq!(status(&text(&client)).to_string(), head[..3]);
        assert_eq!(server.has_ended(), ends, "{head}");
        house.exchange(&client, GET);
        let next = if ends { house.server() } else { server };
        next.write_all(OK);
        house.settle();
        assert_eq!(status(&text(&client)), 200);
        client.close();
        house.pass(Duration::from_secs(2));
        house.assert_quiet();
    }
}
