//! The driver of memory keeps the contract, and the world is as unkind as it says.

use std::time::{Duration, SystemTime};

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use driver::{
    AcceptFault, Completion, ConnectFault, Driver, Owner, PeerFault, Received, Sent, Socket,
};
use pool::{Chain, Fill, Pool, PoolConfig, Rank};

use crate::{BEGINNING, MemoryDriver, Peer, Segments, ServerMode, World, WorldConfig};

const LISTENER: ListenerId = ListenerId(0);
const SERVER: ServerId = ServerId(0);
const OWNER: Owner = Owner(7);

/// A world with one driver that listens, and its pool.
struct Bench {
    world: World,
    driver: MemoryDriver,
    pool: Pool,
}

impl Bench {
    fn new() -> Self {
        Self::with(16, WorldConfig::default())
    }

    fn with(sockets: u32, config: WorldConfig) -> Self {
        let world = World::new(config);
        let mut driver = world.driver(sockets);
        driver.listen(LISTENER);
        Self { world, driver, pool: Pool::new(PoolConfig::new(128, 1)).unwrap() }
    }

    /// All that happened.
    fn settle(&mut self) -> Vec<Completion> {
        self.driver.poll(None);
        std::iter::from_fn(|| self.driver.next()).collect()
    }

    fn client(&mut self) -> (Peer, Socket) {
        let client = self.world.connect(LISTENER);
        self.driver.poll(None);
        let Some(Completion::Accepted { socket, .. }) = self.driver.next() else { panic!() };
        self.driver.own(socket, OWNER);
        (client, socket)
    }

    fn server(&mut self) -> (Peer, Socket) {
        let socket = self.driver.connect(SERVER, OWNER).unwrap();
        assert_eq!(self.settle(), [Completion::Connected { owner: OWNER }]);
        (self.world.accept(SERVER).unwrap(), socket)
    }

    fn receive(&mut self, socket: Socket) -> (Received, Vec<u8>) {
        let mut chain = Chain::new();
        let fill = Fill { fresh: 4, rank: Rank::Client, headroom: 0 };
        let received = self.driver.receive(socket, &mut self.pool, &mut chain, fill, &mut None);
        let bytes = self.pool.peek(&chain).flatten().copied().collect();
        self.pool.release(chain);
        (received, bytes)
    }

    /// Arms, polls, and receives.
    fn hear(&mut self, socket: Socket) -> (Received, Vec<u8>) {
        self.driver.arm(socket);
        self.driver.poll(None);
        assert_eq!(self.driver.next(), Some(Completion::Readable { owner: OWNER }));
        self.receive(socket)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8]) -> Sent {
        let mut chain = Chain::new();
        self.pool.append(&mut chain, bytes, Rank::Send).unwrap();
        let sent = self.driver.send(socket, &self.pool, &self.pool.cursor(&chain), false);
        self.pool.release(chain);
        sent
    }
}

#[test]
fn an_exchange_from_accept_to_close() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    client.write_all(b"ping");
    assert_eq!(bench.hear(socket), (Received::Bytes(4), b"ping".to_vec()));
    assert_eq!(bench.send(socket, b"pong"), Sent::Now(4));
    assert_eq!(client.read(), b"pong");
    assert!(!client.has_ended());
    bench.driver.close(socket);
    assert_eq!(bench.settle(), [Completion::Closed { owner: OWNER }]);
    assert!(client.has_ended() && client.is_closed() && !client.is_reset());
    assert!(bench.world.is_still());
    assert_eq!(bench.world.open_sockets(), 0);
}

#[test]
fn a_driver_knows_only_what_had_happened_when_it_polled() {
    let mut bench = Bench::new();
    let (server, socket) = bench.server();
    server.close();
    assert!(bench.driver.is_quiet(socket), "it has not looked yet");
    assert!(!bench.world.is_still());
    assert_eq!(bench.send(socket, b"lost"), Sent::Now(4), "the network took it");
    let reset = Completion::Failed { owner: OWNER, fault: PeerFault::Reset };
    assert_eq!(bench.settle(), [reset]);
    assert!(!bench.driver.is_quiet(socket));
    assert_eq!(bench.send(socket, b"x"), Sent::Failed(PeerFault::Reset));
    assert_eq!(bench.settle(), []);
}

#[test]
fn the_end_comes_behind_the_bytes_and_leaves_the_other_direction_open() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    client.write_all(b"last");
    client.end();
    assert_eq!(client.write(b"more"), 0);
    assert_eq!(bench.hear(socket), (Received::Bytes(4), b"last".to_vec()));
    assert_eq!(bench.hear(socket).0, Received::Ended);
    assert_eq!(bench.send(socket, b"answer"), Sent::Now(6));
    bench.driver.shutdown(socket);
    assert_eq!(bench.send(socket, b"more"), Sent::Failed(PeerFault::Reset));
    assert!(!client.has_ended(), "not before the bytes are read");
    assert_eq!(client.read(), b"answer");
    assert!(client.has_ended() && !client.is_closed());
}

#[test]
fn disarmed_nothing_is_told_and_armed_late_nothing_is_lost() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    client.write_all(b"early");
    assert_eq!(bench.settle(), []);
    bench.driver.arm(socket);
    bench.driver.disarm(socket);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.hear(socket).1, b"early");
    assert_eq!(bench.receive(socket).0, Received::Nothing);
}

#[test]
fn bytes_before_a_reset_come_before_it_and_it_is_told_once() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    client.write_all(b"whole request");
    client.reset();
    assert_eq!(bench.hear(socket).1, b"whole request");
    let reset = Completion::Failed { owner: OWNER, fault: PeerFault::Reset };
    assert_eq!(bench.settle(), [reset], "it received no further");

    let (client, socket) = bench.client();
    client.write_all(b"half");
    client.vanish();
    assert_eq!(bench.hear(socket).1, b"half");
    assert_eq!(bench.hear(socket).0, Received::Failed(PeerFault::Lost));
    assert_eq!(bench.settle(), [], "the receive told it");
}

#[test]
fn a_closed_window_makes_a_send_wait_for_room() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    client.set_window(3);
    assert_eq!(bench.send(socket, b"abcdef"), Sent::Now(3));
    assert_eq!(bench.send(socket, b"def"), Sent::Later);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.driver.send_text(socket, b"x"), 0, "and it leaves the wait as it is");
    assert_eq!(client.read_some(2), b"ab");
    assert_eq!(bench.send(socket, b"def"), Sent::Later, "it has not looked yet");
    assert_eq!(bench.settle(), [Completion::Sent { owner: OWNER, bytes: 0 }]);
    assert_eq!(bench.send(socket, b"def"), Sent::Now(2));
    assert_eq!(client.read(), b"cde");
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.driver.send_text(socket, b"ok"), 2);
}

#[test]
fn closing_over_unread_bytes_destroys_the_answer() {
    let mut bench = Bench::new();
    let (client, socket) = bench.client();
    assert_eq!(bench.send(socket, b"413"), Sent::Now(3));
    client.write_all(b"unread body");
    bench.driver.close(socket);
    assert!(client.is_reset());
    assert_eq!(client.read(), b"");
    assert_eq!(bench.settle(), [Completion::Closed { owner: OWNER }]);

    let (client, socket) = bench.client();
    assert_eq!(bench.send(socket, b"413"), Sent::Now(3));
    bench.driver.close(socket);
    assert!(!client.is_reset());
    client.write_all(b"late");
    assert!(client.is_reset(), "what comes after the close resets, too");
}

#[test]
fn cut_segments_carry_all_bytes_in_order() {
    let segments = Segments::Random { seed: 9, most: 50 };
    let mut bench = Bench::with(16, WorldConfig { segments, ..WorldConfig::default() });
    let (client, socket) = bench.client();
    let text: Vec<u8> = (0..5000u32).flat_map(u32::to_be_bytes).take(5000).collect();
    client.write_all(&text);
    let mut got = Vec::new();
    while got.len() < text.len() {
        let (received, bytes) = bench.hear(socket);
        assert!(matches!(received, Received::Bytes(1..=50)), "{received:?}");
        got.extend(bytes);
    }
    assert_eq!(got, text);
    let mut sent = 0;
    while sent < text.len() {
        match bench.send(socket, &text[sent..]) {
            Sent::Now(count) => sent += count as usize,
            Sent::Later => {
                assert_eq!(bench.settle(), [Completion::Sent { owner: OWNER, bytes: 0 }]);
            }
            Sent::Failed(fault) => panic!("{fault:?}"),
        }
    }
    assert_eq!(client.read(), text);
}

#[test]
fn servers_accept_refuse_hang_and_are_busy_as_they_are_told() {
    let mut bench = Bench::new();
    let (_server, first) = bench.server();
    assert_eq!(bench.world.connections_to(SERVER), 1);

    bench.world.set_server(SERVER, ServerMode::Fails(ConnectFault::Refused));
    let socket = bench.driver.connect(SERVER, Owner(2)).unwrap();
    let failed = Completion::ConnectFailed { owner: Owner(2), fault: ConnectFault::Refused };
    assert_eq!(bench.settle(), [failed]);
    bench.driver.close(socket);
    assert_eq!(bench.settle(), [Completion::Closed { owner: Owner(2) }]);

    bench.world.set_server(SERVER, ServerMode::FailsAtOnce(ConnectFault::Busy));
    assert_eq!(bench.driver.connect(SERVER, Owner(3)), Err(ConnectFault::Busy));

    bench.world.set_server(SERVER, ServerMode::Hangs);
    let socket = bench.driver.connect(SERVER, Owner(4)).unwrap();
    assert_eq!(bench.send(socket, b"x"), Sent::Later);
    assert_eq!(bench.settle(), []);
    bench.driver.close(socket);
    bench.driver.close(first);
    assert_eq!(bench.settle().len(), 2);
    assert_eq!(
        (bench.world.connections_to(SERVER), bench.world.most_connections_to(SERVER)),
        (0, 1)
    );
}

#[test]
fn accepting_fails_pauses_and_stops() {
    let mut bench = Bench::with(1, WorldConfig::default());
    bench.world.fail_accept(LISTENER, AcceptFault::Descriptors);
    let first = bench.world.connect(LISTENER);
    let failed = |fault| [Completion::AcceptFailed { listener: LISTENER, fault }];
    assert_eq!(bench.settle(), failed(AcceptFault::Descriptors));
    assert_eq!(bench.settle(), [], "it pauses");
    bench.driver.listen(LISTENER);
    assert!(matches!(bench.settle()[..], [Completion::Accepted { .. }]));
    assert!(first.is_accepted());

    let second = bench.world.connect(LISTENER);
    assert_eq!(bench.settle(), failed(AcceptFault::Table));
    bench.driver.stop_listening(LISTENER);
    assert!(second.is_reset(), "nobody will accept it any more");
    assert!(bench.world.connect(LISTENER).is_reset());
    bench.driver.listen(LISTENER);
    assert_eq!(bench.settle().len(), 1, "the failure of stopping, nothing else");
}

#[test]
fn a_connection_moves_between_workers_of_one_world() {
    let mut bench = Bench::new();
    let mut other = Bench {
        driver: bench.world.driver(16),
        world: bench.world.clone(),
        pool: Pool::new(PoolConfig::new(128, 1)).unwrap(),
    };
    let (server, socket) = bench.server();
    let detached = bench.driver.detach(socket).unwrap();
    server.write_all(b"between");
    assert_eq!(bench.settle(), []);
    let moved = other.driver.attach(detached, OWNER).unwrap();
    assert_eq!(other.hear(moved).1, b"between");
    assert_eq!(bench.send(socket, b"x"), Sent::Failed(PeerFault::Reset), "its name is stale");
    assert_eq!(other.send(moved, b"here"), Sent::Now(4));
    assert_eq!(server.read(), b"here");

    drop(other.driver.detach(moved));
    assert!(server.has_ended(), "dropped on the way is closed");
    assert_eq!(other.settle(), []);
    assert_eq!(bench.world.open_sockets(), 0);
    assert_eq!(bench.world.connections_to(SERVER), 0);
}

#[test]
fn wakers_work_from_other_threads() {
    let mut bench = Bench::new();
    let waker = bench.driver.waker();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    assert!(!bench.world.is_still());
    assert_eq!(bench.settle(), [Completion::Woken]);
    assert!(bench.world.is_still());
}

#[test]
fn time_moves_only_when_the_test_moves_it_and_is_seen_at_the_poll() {
    let mut bench = Bench::new();
    let until = Instant::default() + Duration::from_secs(5);
    bench.driver.poll(Some(until));
    assert_eq!(bench.driver.now(), Instant::default());
    assert_eq!(bench.world.next_deadline(), Some(until));
    assert!(bench.world.advance_to_deadline());
    assert!(!bench.world.advance_to_deadline());
    bench.world.advance(Duration::from_secs(1));
    assert_eq!(bench.driver.now(), Instant::default());
    bench.driver.poll(None);
    assert_eq!(bench.driver.now().since(Instant::default()), Duration::from_secs(6));
    let wall = SystemTime::UNIX_EPOCH + BEGINNING + Duration::from_secs(6);
    assert_eq!(bench.driver.wall(), wall);
}

#[test]
fn a_place_is_used_again_under_a_new_name() {
    let mut bench = Bench::with(1, WorldConfig::default());
    let (_first, old) = bench.client();
    bench.driver.close(old);
    let waiting = bench.world.connect(LISTENER);
    bench.driver.poll(None);
    assert!(!waiting.is_accepted(), "Closed was not taken out yet");
    assert_eq!(bench.driver.next(), Some(Completion::Closed { owner: OWNER }));
    bench.settle();
    bench.driver.listen(LISTENER);
    let [Completion::Accepted { socket: new, .. }] = bench.settle()[..] else { panic!() };
    assert_eq!((new.index, new.generation), (old.index, old.generation + 1));
    bench.driver.close(old);
    assert!(bench.driver.detach(old).is_none());
    assert_eq!(bench.send(new, b"intact"), Sent::Now(6));
    bench.driver.close(new);
    assert_eq!(bench.settle(), [], "nobody owned it");
    assert_eq!(bench.world.open_sockets(), 0);
}
