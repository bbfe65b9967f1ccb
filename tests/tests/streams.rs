//! Event streams through the real binary: each event at once, thousands that are silent, clients
//! that leave, a drain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use blackbox::client::{Client, get};
use blackbox::crowd::allow_descriptors;
use blackbox::message::Reader;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::node_with;
use blackbox::stream::Stream;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause, within};

const TYPE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

/// A server that begins an event stream for each request and hands its end over; `/page` is
/// answered and its connection kept.
struct Events {
    address: String,
    begun: Receiver<TcpStream>,
}

impl Events {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let (begin, begun) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let begin = begin.clone();
                let _ = stream.set_nodelay(true);
                // A thread only until the stream has begun.
                std::thread::spawn(move || {
                    if let Some(stream) = begin_stream(stream) {
                        let _ = begin.send(stream);
                    }
                });
            }
        });
        Self { address, begun }
    }

    /// The server's end of the next stream.
    fn next(&self) -> TcpStream {
        self.begun.recv_timeout(Duration::from_secs(15)).expect("a stream begins")
    }
}

/// Reads requests until one wants a stream.
fn begin_stream(mut stream: TcpStream) -> Option<TcpStream> {
    loop {
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        let page = line.starts_with("GET /page ");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        }
        if page {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").ok()?;
            continue;
        }
        stream.write_all(format!("{TYPE}{CHUNKED}").as_bytes()).ok()?;
        return Some(stream);
    }
}

fn send_event(server: &mut TcpStream, text: &str) {
    let event = format!("data: {text}\n\n");
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    server.write_all(chunk.as_bytes()).expect("the proxy reads");
}

/// Reads until `wanted` stands at the end of what came.
fn read_to(client: &mut Client, wanted: &str) -> String {
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    while !got.ends_with(wanted.as_bytes()) {
        let bytes = client.stream().read(&mut piece).expect("what is wanted comes");
        assert!(bytes > 0, "an end instead of {wanted:?}: {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&piece[..bytes]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

fn pinned(proxy: &Anteroom) -> f64 {
    proxy.figure("anteroom_upstream_connections", &[("state", "pinned")])
}

/// Pages of the process alone, in bytes.
fn pss(proxy: &mut Anteroom) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", proxy.process().id());
    let text = std::fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("its size");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

/// How long each of 50 events took from the server's write to the client's read.
fn latencies(framing: &'static str, request: &str) -> Vec<Duration> {
    let (tell, told) = channel();
    let upstream = Upstream::raw(move |_, mut reader: Reader| {
        let _ = reader.request_head()?;
        let stream = reader.stream();
        stream.write_all(format!("{TYPE}X-Accel-Buffering: no\r\n{framing}").as_bytes())?;
        for number in 0..50 {
            pause(4);
            let event = format!("data: {number:03}\n\n");
            let event = match framing {
                CHUNKED => format!("{:x}\r\n{event}\r\n", event.len()),
                _ => event,
            };
            let _ = tell.send(Instant::now());
            stream.write_all(event.as_bytes())?;
        }
        Ok(())
    });
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    client.send(request);
    let mut took = Vec::new();
    let mut got = String::new();
    let mut piece = [0; 4096];
    for number in 0..50 {
        let wanted = format!("data: {number:03}\n\n");
        while !got.contains(&wanted) {
            let bytes = client.stream().read(&mut piece).expect("an event");
            assert!(bytes > 0, "the end at event {number}");
            got.push_str(&String::from_utf8_lossy(&piece[..bytes]));
        }
        took.push(told.recv().expect("it was sent").elapsed());
    }
    assert!(!got.contains("X-Accel"), "{got}");
    took.sort_unstable();
    drop(client);
    proxy.finish();
    took
}

#[test]
fn each_event_is_passed_on_at_once() {
    for (what, framing, request) in [
        ("in chunks", CHUNKED, get("/")),
        ("until close", "\r\n", get("/")),
        ("with a length", "Content-Length: 100000\r\n\r\n", get("/")),
        ("until close, HTTP/1.0", "\r\n", "GET / HTTP/1.0\r\n\r\n".to_owned()),
    ] {
        let took = latencies(framing, &request);
        println!("events {what}: half within {:?}, all within {:?}", took[25], took[49]);
        // Waiting for more to come would cost 40 ms (delayed acknowledgements) or 200 ms (corks).
        assert!(took[25] < Duration::from_millis(20), "{what}: {took:?}");
    }
}

const STREAMS: u32 = 5000;

#[test]
fn thousands_of_silent_streams_hold_no_buffer() {
    allow_descriptors();
    let events = Events::new();
    let setup = Setup::new(&events.address).with("--connections", 4).with("--workers", 2);
    let mut proxy = setup.start();
    assert_eq!(proxy.client().get("/page").text(), "page");
    let before = pss(&mut proxy);
    let mut streams: Vec<(Client, TcpStream)> = Vec::new();
    for _ in 0..STREAMS {
        let mut client = proxy.client();
        client.send(get("/events"));
        let server = events.next();
        streams.push((client, server));
    }
    for (client, _) in &mut streams {
        read_to(client, "\r\n\r\n");
    }
    let metrics = proxy.until("all to be pinned", |metrics| {
        let pinned = metrics.sum("anteroom_upstream_connections", &[("state", "pinned")]);
        pinned >= f64::from(STREAMS)
    });
    for (name, labels) in [
        ("anteroom_buffers", &[("state", "used")][..]),
        ("anteroom_buffers_promised", &[]),
        ("anteroom_upstream_connections", &[("state", "leased")]),
    ] {
        assert!(metrics.sum(name, labels) == 0.0, "{name}: {}", metrics.sum(name, labels));
    }
    let each = pss(&mut proxy).saturating_sub(before) / u64::from(STREAMS);
    println!("{STREAMS} silent streams: {each} bytes of memory each");
    assert!(each < 1500, "{each} bytes a silent stream");
    // They leave the leases to others, and an event reaches each.
    assert_eq!(proxy.client().get("/page").text(), "page");
    let start = Instant::now();
    for (number, (_, server)) in streams.iter_mut().enumerate() {
        send_event(server, &number.to_string());
    }
    for (number, (client, _)) in streams.iter_mut().enumerate() {
        let got = read_to(client, "\n\n\r\n");
        assert!(got.contains(&format!("data: {number}\n\n")), "{got}");
    }
    println!("an event to each of them: {:?}", start.elapsed());
    // Half of them go: their connections go at once, the others stay.
    let (gone, stay): (Vec<_>, Vec<_>) =
        streams.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let servers: Vec<TcpStream> = gone.into_iter().map(|(_, (_, server))| server).collect();
    let start = Instant::now();
    for mut server in servers {
        let _ = server.set_read_timeout(Some(Duration::from_secs(10)));
        assert_eq!(server.read(&mut [0; 8]).ok(), Some(0), "the proxy ends it");
    }
    println!("half of them left: noticed within {:?}", start.elapsed());
    assert!((pinned(&proxy) - f64::from(STREAMS / 2)).abs() < 0.5, "{}", pinned(&proxy));
    // A drain ends them when they were silent for a while.
    proxy.terminate();
    let status = proxy.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0));
    drop(stay);
}

#[test]
fn a_client_that_leaves_takes_its_stream_along() {
    let events = Events::new();
    let proxy = Setup::new(&events.address).with("--connections", 1).start();
    for (early, reset) in
        [("", false), ("", true), ("GET /next HTTP/1.1\r\nHost: a\r\n\r\n", false), ("GE", true)]
    {
        let mut client = proxy.client();
        client.send(get("/events"));
        let mut server = events.next();
        read_to(&mut client, "\r\n\r\n");
        client.send(early);
        pause(50);
        assert!(pinned(&proxy) > 0.5, "it runs on");
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        server.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out is set");
        let start = Instant::now();
        let end = server.read(&mut [0; 8]);
        assert!(matches!(end, Ok(0)), "{early:?} {reset}: {end:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "noticed at once");
        proxy.until("the connection to be free", |metrics| {
            metrics.sum("anteroom_upstream_connections", &[("state", "pinned")]) == 0.0
        });
    }
    proxy.finish();
}

#[test]
fn what_is_pipelined_behind_a_stream_is_served_after_it() {
    let events = Events::new();
    let proxy = Setup::new(&events.address).with("--connections", 1).start();
    let mut client = proxy.client();
    client.send(get("/events"));
    let mut server = events.next();
    read_to(&mut client, "\r\n\r\n");
    client.send(get("/page").repeat(100));
    pause(100);
    send_event(&mut server, "one");
    read_to(&mut client, "data: one\n\n\r\n");
    server.write_all(b"0\r\n\r\n").expect("the end");
    read_to(&mut client, "0\r\n\r\n");
    std::thread::spawn(move || begin_stream(server));
    for _ in 0..100 {
        assert_eq!(client.response().text(), "page");
    }
    drop(client);
    proxy.finish();
}

#[test]
fn more_streams_than_may_be_are_told_so() {
    let events = Events::new();
    let setup = Setup::new(&events.address).with("--pinned", 2).with("--workers", 2);
    let proxy = setup.start();
    let streams: Vec<_> = (0..2)
        .map(|_| {
            let mut client = proxy.client();
            client.send(get("/events"));
            let server = events.next();
            read_to(&mut client, "\r\n\r\n");
            (client, server)
        })
        .collect();
    let mut third = proxy.client();
    let response = third.get("/events");
    let _refused = events.next();
    assert_eq!((response.status, response.get("Retry-After")), (503, Some("1")));
    assert!(proxy.refused("pinned_full") > 0.5);
    assert_eq!(third.get("/page").text(), "page", "nothing else is");
    drop(streams);
    within(Duration::from_secs(5), "room for a stream", || {
        third.send(get("/events"));
        let _server = events.next();
        let mut head = [0; 12];
        third.stream().read_exact(&mut head).expect("an answer");
        if &head == b"HTTP/1.1 200" {
            return Some(());
        }
        read_to(&mut third, "running\n");
        None
    });
    drop(third);
    proxy.finish();
}

#[test]
fn a_drain_lets_a_stream_that_flows_come_to_its_end() {
    let events = Events::new();
    let mut proxy = Anteroom::before(&events.address);
    let begin = |proxy: &Anteroom| {
        let mut client = proxy.client();
        client.send(get("/events"));
        let server = events.next();
        read_to(&mut client, "\r\n\r\n");
        (client, server)
    };
    let (mut silent, _kept) = begin(&proxy);
    let (mut flowing, mut server) = begin(&proxy);
    proxy.terminate();
    let start = Instant::now();
    let mut silent_ended = None;
    for number in 0..14 {
        pause(500);
        send_event(&mut server, &number.to_string());
        read_to(&mut flowing, &format!("data: {number}\n\n\r\n"));
        if silent_ended.is_none() && silent.stream().peer_ended() {
            silent_ended = Some(start.elapsed());
        }
    }
    let silent_ended = silent_ended.expect("the silent one ends");
    assert!(silent_ended > Duration::from_secs(4), "{silent_ended:?}");
    silent.expect_end();
    server.write_all(b"0\r\n\r\n").expect("the end");
    read_to(&mut flowing, "0\r\n\r\n");
    assert_eq!(proxy.wait(Duration::from_secs(5)).code(), Some(0));
}

const EVENTS: &str = r"
let open = 0;
const [host, port] = process.argv[2].split(':');
require('http').createServer((request, response) => {
    if (request.url === '/open') return response.end(String(open));
    open += 1;
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    let number = 0;
    const timer = setInterval(() => {
        response.write(`data: ${number}\n\n`);
        number += 1;
        if (number === 5) response.end();
    }, 20);
    response.on('close', () => { open -= 1; clearInterval(timer); });
}).listen(Number(port), host);
";

/// Node as the server: its streams, ended by it or by the client.
#[test]
fn streams_of_node() {
    let server = node_with(EVENTS, &[]);
    let proxy = Setup::new(server.address()).with("--connections", 2).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        let events = "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n";
        assert_eq!(response.text(), events);
    }
    for _ in 0..5 {
        let mut leaver = proxy.client();
        leaver.send(get("/"));
        read_to(&mut leaver, "\n\n\r\n");
    }
    eventually("node to know that they left", || (client.get("/open").text() == "0").then_some(()));
    drop(client);
    proxy.finish();
}

/// The yardstick: without a bound of their own, streams would take every connection.
#[test]
fn a_long_response_that_is_no_event_stream_holds_its_lease() {
    let upstream = Upstream::http(|request, _, stream| {
        if request.target() == "/long" {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{CHUNKED}").as_bytes())?;
            pause(1500);
            stream.write_all(b"0\r\n\r\n")?;
            return Ok(Next::Keep);
        }
        respond(stream, 200, b"page")?;
        Ok(Next::Keep)
    });
    let proxy = Setup::new(upstream.address()).with("--connections", 1).start();
    let mut long = Client::new(proxy.address());
    long.send(get("/long"));
    pause(200);
    let start = Instant::now();
    assert_eq!(proxy.client().get("/").text(), "page");
    assert!(start.elapsed() > Duration::from_millis(500), "{:?}", start.elapsed());
    let _: &mut Stream = long.stream();
    assert_eq!(long.response().status, 200);
    proxy.finish();
}
