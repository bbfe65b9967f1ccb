//! What stands before the first byte.

use std::io::Read;
use std::net::Shutdown;

use super::*;
use crate::{Peeked, Then};

const OTHER: Owner = Owner(78);

fn peek(bench: &mut Bench, socket: Socket) -> (Peeked, Vec<u8>) {
    let mut space = [0; 16];
    let peeked = bench.driver.peek(socket, &mut space);
    (peeked, space[..peeked.count].to_vec())
}

fn bytes(count: usize) -> Peeked {
    Peeked { count, then: Then::More }
}

#[test]
fn what_is_looked_at_stays_and_each_piece_is_told() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    for (piece, seen) in [("HE", "HE"), ("A", "HEA"), ("D!body", "HEAD!body")] {
        stream.write_all(piece.as_bytes()).unwrap();
        assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }], "{piece}");
        assert_eq!(peek(&mut bench, socket), (bytes(seen.len()), seen.into()));
        bench.driver.arm(socket);
        assert_eq!(bench.driver.next(), None, "nothing more came");
    }
    bench.driver.skip(socket, 5, false);
    bench.driver.arm(socket);
    assert_eq!(bench.driver.next(), Some(Completion::Readable { owner: OWNER }));
    assert_eq!(bench.receive(socket), (Received::Bytes(4), b"body".to_vec()));
    bench.driver.arm(socket);
    assert_eq!(bench.driver.next(), None);
    stream.write_all(b"more").unwrap();
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
    assert_eq!(bench.receive(socket), (Received::Bytes(4), b"more".to_vec()));
}

/// The kernel counts what was taken of a piece until all of it is, so that a window may stay shut.
#[test]
fn what_is_left_until_it_is_whole_does_not_keep_the_rest_away() {
    const RECORD: usize = 16_406;
    const RECORDS: usize = 1_000;
    for _ in 0..4 {
        let mut bench = Bench::new();
        let (mut stream, socket) = bench.client(OWNER);
        let sender = std::thread::spawn(move || {
            let record = vec![b'x'; RECORD];
            (0..RECORDS).for_each(|_| stream.write_all(&record).unwrap());
        });
        let mut space = vec![0; 4 * RECORD];
        let mut taken = 0;
        while taken < RECORD * RECORDS {
            bench.driver.arm(socket);
            assert_eq!(bench.wait(), Completion::Readable { owner: OWNER }, "{taken} were taken");
            let count = bench.driver.peek(socket, &mut space).count;
            let whole = count - count % RECORD;
            bench.driver.skip(socket, whole, count < space.len());
            bench.driver.make_room(socket);
            taken += whole;
        }
        sender.join().unwrap();
    }
}

/// Whoever finds a connection not quiet looks what it is, and is shown it.
#[test]
fn what_is_not_quiet_can_be_looked_at() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    // On loopback what was written has arrived.
    stream.write_all(b"HE").unwrap();
    assert!(!bench.driver.is_quiet(socket));
    assert_eq!(peek(&mut bench, socket), (bytes(2), b"HE".to_vec()));
}

#[test]
fn an_end_and_a_reset_are_seen_behind_what_was_looked_at() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    stream.write_all(b"HE").unwrap();
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
    assert_eq!(peek(&mut bench, socket).0, bytes(2));
    bench.driver.arm(socket);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
    assert_eq!(peek(&mut bench, socket).0, Peeked { count: 2, then: Then::Ended });
    let (stream, silent) = bench.client(OTHER);
    bench.driver.arm(silent);
    drop(stream);
    assert_eq!(bench.settle(), [Completion::Readable { owner: OTHER }]);
    assert_eq!(peek(&mut bench, silent).0, Peeked::nothing(Then::Ended));
    let (mut stream, socket) = bench.client(OTHER);
    bench.driver.arm(socket);
    stream.write_all(b"HE").unwrap();
    assert_eq!(bench.settle(), [Completion::Readable { owner: OTHER }]);
    bench.driver.arm(socket);
    reset(stream);
    bench.settle();
    // What came before it is there, and the last of it.
    let broken = Then::Failed(PeerFault::Reset);
    assert_eq!(peek(&mut bench, socket).0, Peeked { count: 2, then: broken });
    bench.driver.skip(socket, 2, false);
    assert_eq!(peek(&mut bench, socket).0, Peeked::nothing(broken));
}

#[test]
fn a_header_goes_before_everything_and_both_ends_are_known() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    let ends = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
    assert_eq!(bench.driver.ends(socket), Some(ends));
    assert!(bench.driver.introduce(socket, b"HEADER", true));
    assert_eq!(bench.driver.send_text(socket, b" text"), 5);
    let mut read = [0; 11];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"HEADER text");
    bench.driver.close(socket);
    assert!(!bench.driver.introduce(socket, b"HEADER", false));
    assert_eq!(bench.driver.ends(socket), None);
}
