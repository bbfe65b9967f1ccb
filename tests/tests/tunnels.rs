//! Tunnels through the real binary: WebSocket clients and servers that others wrote, thousands that
//! are silent, slow readers, ends and resets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use blackbox::client::Client;
use blackbox::crowd::allow_descriptors;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::{gunicorn, node_with, venv, websockets};
use blackbox::tools::run;
use blackbox::wait::{eventually, pause};

const ASK: &str = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// A server that switches to `echo` whatever it is asked, and hands its end over.
struct Switch {
    address: String,
    begun: Receiver<TcpStream>,
}

impl Switch {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let (begin, begun) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_err() {
                        break;
                    }
                    head.extend(byte);
                }
                if stream.write_all(SWITCHED).is_ok() {
                    let _ = begin.send(stream);
                }
            }
        });
        Self { address, begun }
    }

    fn next(&self) -> TcpStream {
        self.begun.recv_timeout(Duration::from_secs(15)).expect("a tunnel begins")
    }

    /// A client's end and a server's.
    fn tunnel(&self, proxy: &Anteroom) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(proxy.address()).expect("anteroom accepts");
        client.set_nodelay(true).expect("it is a socket");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
        client.write_all(ASK.as_bytes()).expect("it is taken");
        let server = self.next();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        (client, server)
    }
}

fn say(mut from: &TcpStream, mut to: &TcpStream, what: &[u8]) {
    from.write_all(what).expect("it is taken");
    let mut got = vec![0; what.len()];
    to.read_exact(&mut got).expect("it arrives");
    assert_eq!(got, what);
}

fn tunnels(proxy: &Anteroom) -> f64 {
    proxy.figure("anteroom_exchanges", &[("state", "tunnel")])
}

fn lent(proxy: &Anteroom) -> f64 {
    proxy.figure("anteroom_buffers", &[("state", "used")])
}

/// Memory of the process that nobody else has.
fn private_bytes(proxy: &mut Anteroom) -> f64 {
    let path = format!("/proc/{}/smaps_rollup", proxy.process().id());
    let text = std::fs::read_to_string(path).expect("the process lives");
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).expect("its figure");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kilobytes.expect("a number") * 1024.0
}

/// What a WebSocket client does: messages of many sizes at once on many connections, both ways;
/// a flood that it reads slowly; the closing handshake.
const CLIENT: &str = "
import asyncio, hashlib, sys
from websockets.asyncio.client import connect
base = 'ws://' + sys.argv[1]
async def talk(number):
    async with connect(base + '/chat', max_size=None, ping_interval=None) as ws:
        assert ws.response.headers['Upgrade'].lower() == 'websocket'
        await (await ws.ping())
        for size in (0, 1, 125, 126, 2047, 2048, 65535, 65536, 300000):
            message = hashlib.sha256(b'%d %d' % (number, size)).digest() * (size // 32 + 1)
            await ws.send(message[:size])
            assert await ws.recv() == message[:size], size
        for words in ('one', 'two', 'three'):
            await ws.send(words)
        for words in ('one', 'two', 'three'):
            assert await ws.recv() == words
    assert ws.close_code == 1000, ws.close_code
async def flood():
    async with connect(base + '/count/2000', max_size=None, ping_interval=None) as ws:
        for number in range(2000):
            message = await ws.recv()
            assert int(message[:8]) == number and len(message) == 4008
            if number % 100 == 0:
                await asyncio.sleep(0.01)
        await ws.wait_closed()
        assert ws.close_code == 1000, ws.close_code
async def main():
    await asyncio.gather(flood(), *(talk(number) for number in range(40)))
    print('all is well')
asyncio.run(main())
";

#[test]
fn a_websocket_client_and_a_websocket_server_that_others_wrote() {
    let server = websockets();
    let proxy = Setup::new(server.address()).with("--connections", 2).start();
    let script = server.folder().write("client.py", CLIENT);
    let python = venv("python");
    let ran = run(&python.to_string_lossy(), &[&script, proxy.address()]);
    assert!(ran.code == Some(0) && ran.output.contains("all is well"), "{}", ran.output);
    assert_eq!(proxy.figure("anteroom_tunnels_total", &[("proxy", "http")]).to_string(), "41");
    assert_eq!(proxy.figure("anteroom_requests_total", &[("code", "1xx")]).to_string(), "41");
    proxy.quiet();
    proxy.finish();
}

/// Node hands the upgrade over as a raw socket, with what came behind the head; it answers in one
/// piece with what it has to say first.
const NODE: &str = "
const http = require('http');
const server = http.createServer((request, response) => response.end('page'));
server.on('upgrade', (request, socket, head) => {
  socket.write('HTTP/1.1 101 S\\r\\nUpgrade: ' + request.headers.upgrade + '\\r\\nConnection: Upgrade\\r\\n\\r\\nwelcome');
  socket.write(head);
  socket.pipe(socket);
});
const [host, port] = process.argv[2].split(':');
server.listen(Number(port), host);
";

#[test]
fn node_is_upgraded_and_its_first_words_arrive_with_the_head() {
    let server = node_with(NODE, &[]);
    let proxy = Anteroom::before(server.address());
    assert_eq!(proxy.client().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "page");
    let mut client = Client::new(proxy.address());
    client.send(format!("{ASK}early"));
    let mut got = Vec::new();
    while !got.ends_with(b"welcomeearly") {
        let mut bytes = [0; 512];
        let read = client.stream().read(&mut bytes).expect("an answer");
        assert!(read > 0, "{}", got.escape_ascii());
        got.extend(&bytes[..read]);
    }
    assert!(got.starts_with(b"HTTP/1.1 101 S\r\n"), "{}", got.escape_ascii());
    client.send("more");
    let mut more = [0; 4];
    client.stream().read_exact(&mut more).expect("an echo");
    assert_eq!(&more, b"more");
    client.end();
    let mut rest = Vec::new();
    client.stream().read_to_end(&mut rest).expect("the other end");
    assert!(rest.is_empty());
    proxy.quiet();
    proxy.finish();
}

#[test]
fn a_server_that_knows_no_upgrade_answers_as_ever() {
    let server = gunicorn(false);
    let proxy = Anteroom::before(server.address());
    let mut client = Client::new(proxy.address());
    for _ in 0..3 {
        client.send(ASK);
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(response.get("upgrade").is_none());
    }
    proxy.quiet();
    proxy.finish();
}

#[test]
fn thousands_of_silent_tunnels_cost_little_and_no_buffer() {
    const COUNT: u16 = 2000;
    allow_descriptors();
    let server = Switch::new();
    let mut proxy =
        Setup::new(&server.address).with("--workers", 1).with("--memory", "8MiB").start();
    let first = server.tunnel(&proxy);
    say(&first.0, &first.1, b"warm");
    let before = private_bytes(&mut proxy);
    let all: Vec<_> = (0..COUNT).map(|_| server.tunnel(&proxy)).collect();
    eventually("every buffer to be free", || (lent(&proxy) == 0.0).then_some(()));
    let each = (private_bytes(&mut proxy) - before) / f64::from(COUNT);
    // The record of an exchange, some 400 bytes more, is not kept.
    assert!(each < 400.0, "{each} bytes of user memory a tunnel");
    assert_eq!(tunnels(&proxy).to_string(), (COUNT + 1).to_string());
    for (client, server) in all.iter().step_by(7) {
        say(client, server, b"up");
        say(server, client, b"down");
    }
    eventually("every buffer to be free", || (lent(&proxy) == 0.0).then_some(()));
    drop(all);
    drop(first);
    proxy.quiet();
    proxy.finish();
}

#[test]
fn slow_readers_hold_the_sender_back_and_miss_nothing() {
    for down in [true, false] {
        let server = Switch::new();
        let proxy = Setup::new(&server.address).with("--workers", 1).start();
        let (client, server) = server.tunnel(&proxy);
        let (mut from, mut to) = if down { (server, client) } else { (client, server) };
        let bytes: Vec<u8> = (0..6_000_000u32).flat_map(u32::to_le_bytes).collect();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || {
            from.write_all(&sent).expect("it is taken in the end");
            from.shutdown(Shutdown::Write).expect("it ends");
            from
        });
        pause(500);
        // What one direction of a tunnel may hold.
        assert!(lent(&proxy) <= 32.0, "{}", lent(&proxy));
        let mut got = Vec::new();
        let mut piece = vec![0; 50_000];
        loop {
            let read = to.read(&mut piece).expect("bytes, then the end");
            if read == 0 {
                break;
            }
            got.extend_from_slice(&piece[..read]);
            if got.len() % 7 == 0 {
                pause(1);
            }
        }
        assert!(got == bytes, "every byte, in order, then the end");
        // The other direction is open still.
        let from = sender.join().expect("the sender is done");
        say(&to, &from, b"got it");
        drop((from, to));
        proxy.quiet();
        proxy.finish();
    }
}

#[test]
fn a_reset_of_one_end_is_one_of_the_other() {
    for by_client in [true, false] {
        let server = Switch::new();
        let proxy = Anteroom::before(&server.address);
        let (client, server) = server.tunnel(&proxy);
        let (broken, mut other) = if by_client { (client, server) } else { (server, client) };
        rustix::net::sockopt::set_socket_linger(&broken, Some(Duration::ZERO)).expect("a socket");
        drop(broken);
        let error = other.read(&mut [0; 16]).expect_err("no orderly end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        proxy.quiet();
        let reason = if by_client { "aborted" } else { "upstream" };
        assert_eq!(
            proxy.figure("anteroom_clients_closed_total", &[("reason", reason)]).to_string(),
            "1"
        );
        proxy.finish();
    }
}

#[test]
fn silence_ends_a_tunnel_and_a_drain_does() {
    let server = Switch::new();
    let proxy = Setup::new(&server.address).timeout("tunnel", "300ms").start();
    let (mut client, mut end) = server.tunnel(&proxy);
    assert_eq!(client.read(&mut [0; 16]).expect("an orderly end"), 0);
    assert_eq!(end.read(&mut [0; 16]).expect("an orderly end"), 0);
    proxy.quiet();
    assert_eq!(
        proxy.figure("anteroom_clients_closed_total", &[("reason", "idle")]).to_string(),
        "1"
    );
    proxy.finish();

    let mut proxy = Setup::new(&server.address).timeout("drain", "1s").start();
    let (client, mut end) = server.tunnel(&proxy);
    proxy.terminate();
    say(&client, &end, b"still there");
    assert_eq!(end.read(&mut [0; 16]).expect("an orderly end"), 0);
    assert!(proxy.wait(Duration::from_secs(10)).success());
}

#[test]
fn beyond_pinned_a_client_is_told_so() {
    let server = Switch::new();
    let proxy = Setup::new(&server.address).with("--pinned", 1).start();
    let kept = server.tunnel(&proxy);
    let mut client = Client::new(proxy.address());
    client.send(ASK);
    let response = client.response();
    assert_eq!(response.status, 503);
    assert_eq!(proxy.refused("pinned_full").to_string(), "1");
    say(&kept.0, &kept.1, b"undisturbed");
    drop(kept);
    drop(client);
    proxy.quiet();
    proxy.finish();
}
