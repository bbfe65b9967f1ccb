//! Clients that have just come: what they sent is tried for before they are watched.

use super::*;
use crate::sockets::Flags;

impl Bench {
    fn is_unwatched(&mut self, socket: Socket) -> bool {
        self.driver.table.get(socket).is_some_and(|entry| entry.flags.any(Flags::UNWATCHED))
    }
}

#[test]
fn one_that_asks_at_once_and_is_answered_is_never_watched() {
    let mut bench = Bench::new();
    let mut stream = TcpStream::connect(bench.address).unwrap();
    stream.write_all(b"ask").unwrap();
    let Completion::Accepted { socket, .. } = bench.wait() else { panic!("not accepted") };
    bench.driver.own(socket, OWNER);
    assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(3), b"ask".to_vec()));
    assert_eq!(bench.is_unwatched(socket), UnderTest::GUESSES);
    assert_eq!(bench.send(socket, b"answer"), Sent::Now(6));
    assert!(!bench.driver.has_unread(socket), "nothing is known of more");
    assert_eq!(bench.is_unwatched(socket), UnderTest::GUESSES);
    bench.driver.close(socket);
    assert_eq!(bench.wait(), Completion::Closed { owner: OWNER });
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn what_it_sends_later_is_told() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.arm_silent(socket, OWNER);
    assert!(!bench.is_unwatched(socket));
    stream.write_all(b"late").unwrap();
    assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
    assert_eq!(bench.receive(socket), (Received::Bytes(4), b"late".to_vec()));
}

#[test]
fn its_second_request_is_told() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    for word in [b"one", b"two"] {
        stream.write_all(word).unwrap();
        assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(3), word.to_vec()));
    }
    assert!(!bench.is_unwatched(socket));
}

#[test]
fn whether_it_sent_more_the_kernel_is_asked() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"ask").unwrap();
    bench.hear(socket, OWNER);
    assert!(bench.driver.is_quiet(socket));
    stream.write_all(b"more").unwrap();
    if !UnderTest::GUESSES {
        bench.settle();
    }
    assert!(!bench.driver.is_quiet(socket));
}

#[test]
fn its_reset_is_told_within_the_time_it_may_go_unwatched() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"ask").unwrap();
    bench.hear(socket, OWNER);
    let began = bench.driver.clock.elapsed();
    reset(stream);
    let fault = PeerFault::Reset;
    assert_eq!(bench.wait(), Completion::Failed { owner: OWNER, fault });
    assert!(bench.driver.clock.elapsed().since(began) < PATIENCE / 2);
    assert!(!bench.is_unwatched(socket));
}

#[test]
fn room_it_makes_is_told() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"ask").unwrap();
    bench.hear(socket, OWNER);
    let piece = vec![b'x'; 64 << 10];
    while bench.send(socket, &piece) != Sent::Later {}
    assert!(!bench.is_unwatched(socket));
    let reader = std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    assert_eq!(bench.wait(), Completion::Sent { owner: OWNER, bytes: 0 });
    bench.driver.close(socket);
    assert_eq!(bench.wait(), Completion::Closed { owner: OWNER });
    reader.join().unwrap().unwrap();
}

#[test]
fn no_buffer_is_waited_for_upon_a_guess() {
    let mut bench = Bench::new();
    let mut taken = Chain::new();
    let all = vec![b'x'; bench.pool.grantable(Rank::Send) as usize * 2048];
    bench.pool.append(&mut taken, &all, Rank::Send).unwrap();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    if UnderTest::GUESSES {
        assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
        assert_eq!(bench.receive(socket).0, Received::Nothing);
        bench.driver.arm(socket);
    }
    assert_eq!(bench.settle(), []);
    stream.write_all(b"ask").unwrap();
    assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
    assert_eq!(bench.receive(socket).0, Received::NoBuffer);
    bench.pool.release(taken);
    assert_eq!(bench.receive(socket), (Received::Bytes(3), b"ask".to_vec()));
}
