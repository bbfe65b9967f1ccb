//! A driver against real sockets of this machine. The module is there once for each driver; its
//! parent names the one under test.

mod closing;
mod connecting;
mod listening;
mod moving;
mod newcomers;
mod preface;
mod receiving;
mod sending;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use std::sync::Arc;
use std::time::SystemTime;

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use pool::{Chain, Cursor, Fill, Pool, PoolConfig, Rank};
use rustix::net::sockopt;

use super::UnderTest;
use crate::sockets::{Server, SocketConfig, Waker, connect};
use crate::{
    Address, BindOptions, Completion, ConnectFault, Driver, Listener, Owner, PeerFault, Received,
    Sent, Socket, Wake, bind,
};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to look for what must not come.
const GRACE: Duration = Duration::from_millis(30);

const LISTENER: ListenerId = ListenerId(0);
const OWNER: Owner = Owner(77);

/// A driver, its pool, and its listener 0 on a port of its own.
pub(super) struct Bench {
    pub(super) driver: UnderTest,
    pool: Pool,
    address: SocketAddr,
}

pub(super) fn listener() -> Listener {
    bind(&"127.0.0.1:0".parse().unwrap(), BindOptions::default()).unwrap()
}

pub(super) fn ip(listener: &Listener) -> SocketAddr {
    match listener.local_address() {
        Address::Ip(address) => *address,
        Address::Unix(path) => panic!("{} is no IP address", path.display()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of the driver, which owns the clock")]
pub(super) fn epoch() -> std::time::Instant {
    std::time::Instant::now()
}

/// A path of one test alone.
fn socket_path(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("driver-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    let _ = std::fs::remove_file(&path);
    path
}

impl Bench {
    fn new() -> Self {
        Self::with(16, listener(), Vec::new())
    }

    fn with(sockets: u32, listener: Listener, servers: Vec<Address>) -> Self {
        let address = match listener.local_address() {
            Address::Ip(address) => *address,
            Address::Unix(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let config = SocketConfig {
            sockets,
            listeners: vec![listener],
            servers: servers.into_iter().map(|address| vec![address]).collect(),
            epoch: epoch(),
            waker: Arc::new(Waker::new().unwrap()),
        };
        Self::over(UnderTest::new(config).unwrap(), address)
    }

    /// A driver whose listener 0 has that address.
    pub(super) fn over(mut driver: UnderTest, address: SocketAddr) -> Self {
        driver.listen(LISTENER);
        Self { driver, pool: Pool::new(PoolConfig::new(1024, 1)).unwrap(), address }
    }

    /// The next thing that happens, which must be soon.
    pub(super) fn wait(&mut self) -> Completion {
        let deadline = self.driver.clock.elapsed() + PATIENCE;
        while self.driver.clock.elapsed() < deadline {
            if let Some(completion) = self.driver.next() {
                return completion;
            }
            self.driver.poll(Some(deadline));
        }
        panic!("nothing happened");
    }

    /// All that happens within a moment.
    pub(super) fn settle(&mut self) -> Vec<Completion> {
        let end = self.driver.clock.elapsed() + GRACE;
        let mut happened = Vec::new();
        while self.driver.clock.elapsed() < end {
            happened.extend(std::iter::from_fn(|| self.driver.next()));
            self.driver.poll(Some(end));
        }
        happened.extend(std::iter::from_fn(|| self.driver.next()));
        happened
    }

    /// A client and the socket it was accepted as, owned by `owner`.
    pub(super) fn client(&mut self, owner: Owner) -> (TcpStream, Socket) {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let Completion::Accepted { listener: LISTENER, socket, peer } = self.wait() else {
            panic!("not accepted");
        };
        assert_eq!(peer, IpAddr::V4(Ipv4Addr::LOCALHOST));
        self.driver.own(socket, owner);
        (stream, socket)
    }

    /// Receives once into `fresh` buffers.
    fn receive_into(&mut self, socket: Socket, fresh: u16) -> (Received, Vec<u8>) {
        let mut chain = Chain::new();
        let fill = Fill { fresh, rank: Rank::Client, headroom: 0 };
        let received = self.driver.receive(socket, &mut self.pool, &mut chain, fill, &mut None);
        let bytes = self.pool.peek(&chain).flatten().copied().collect();
        self.pool.release(chain);
        (received, bytes)
    }

    pub(super) fn receive(&mut self, socket: Socket) -> (Received, Vec<u8>) {
        self.receive_into(socket, 8)
    }

    /// Arms for a client that has sent nothing, past the guess that it might have.
    fn arm_silent(&mut self, socket: Socket, owner: Owner) {
        self.driver.arm(socket);
        if UnderTest::GUESSES {
            assert_eq!(self.settle(), [Completion::Readable { owner }]);
            assert_eq!(self.receive(socket), (Received::Nothing, Vec::new()));
            self.driver.arm(socket);
        }
    }

    /// Arms, waits for the `Readable` and receives.
    pub(super) fn hear(&mut self, socket: Socket, owner: Owner) -> (Received, Vec<u8>) {
        self.driver.arm(socket);
        assert_eq!(self.wait(), Completion::Readable { owner });
        self.receive(socket)
    }

    /// Receives `count` bytes in as many pieces as they come.
    fn hear_all(&mut self, socket: Socket, owner: Owner, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.hear(socket, owner) {
                (Received::Bytes(_), bytes) => all.extend(bytes),
                (Received::Nothing, _) => {}
                (other, _) => panic!("{other:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// Sends as much of `bytes` as is taken at once.
    pub(super) fn send(&mut self, socket: Socket, bytes: &[u8]) -> Sent {
        let mut chain = Chain::new();
        self.pool.append(&mut chain, bytes, Rank::Send).unwrap();
        let sent = self.driver.send(socket, &self.pool, &self.pool.cursor(&chain), false);
        self.pool.release(chain);
        sent
    }
}

/// Resets the connection.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Bytes that show it when some are lost, doubled or swapped.
fn pattern(count: usize) -> Vec<u8> {
    (0u64..).flat_map(|n| (n * 0x9e37_79b9).to_be_bytes()).take(count).collect()
}

#[test]
fn waits_until_the_moment_given_and_not_at_all_while_something_is_queued() {
    let mut bench = Bench::new();
    let until = bench.driver.clock.elapsed() + Duration::from_millis(20);
    bench.driver.poll(Some(until));
    assert!(bench.driver.now() >= until);

    bench.driver.waker().wake();
    bench.driver.poll(None);
    bench.driver.poll(None);
    assert_eq!(bench.driver.next(), Some(Completion::Woken));
    assert_eq!(bench.driver.next(), None);
    bench.driver.poll(Some(Instant(0)));
}

#[test]
fn another_thread_wakes_it_and_several_calls_make_one_waking() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let waker = bench.driver.waker();
        let caller = std::thread::spawn(move || (0..100).for_each(|_| waker.wake()));
        assert_eq!(bench.wait(), Completion::Woken);
        caller.join().unwrap();
        bench.settle();
        bench.driver.waker().wake();
        bench.driver.waker().wake();
        assert_eq!(bench.settle(), [Completion::Woken]);
    }
}

#[test]
fn a_call_that_a_driver_did_not_live_to_see_reaches_its_successor() {
    let waker = Arc::new(Waker::new().unwrap());
    let start = || {
        let (listeners, servers) = (Vec::new(), Vec::new());
        let waker = waker.clone();
        UnderTest::new(SocketConfig { sockets: 1, listeners, servers, epoch: epoch(), waker })
    };
    let first = start().unwrap();
    waker.wake();
    drop(first);
    let mut second = start().unwrap();
    second.poll(Some(second.clock.elapsed() + PATIENCE));
    assert_eq!(second.next(), Some(Completion::Woken));
    waker.wake();
    second.poll(Some(second.clock.elapsed() + PATIENCE));
    assert_eq!(second.next(), Some(Completion::Woken));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of the driver, which owns the clock")]
fn the_calendar_is_the_systems() {
    let mut bench = Bench::new();
    bench.driver.poll(Some(Instant(0)));
    let wall = bench.driver.wall();
    let system = SystemTime::now();
    let apart = system.duration_since(wall).unwrap_or_else(|error| error.duration());
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    assert_eq!(bench.driver.wall(), wall, "the same until the next poll");
}

#[test]
fn an_exchange_from_accept_to_close() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"ping").unwrap();
    assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(4), b"ping".to_vec()));
    assert_eq!(bench.send(socket, b"pong"), Sent::Now(4));
    bench.driver.close(socket);
    assert_eq!(bench.wait(), Completion::Closed { owner: OWNER });
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert_eq!(answer, b"pong");
    bench.pool.assert_whole();
}
