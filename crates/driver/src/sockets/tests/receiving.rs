//! Arming, receiving, the peer's end.

use std::net::Shutdown;

use super::*;

#[test]
fn what_came_while_nobody_waited_is_remembered() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"early").unwrap();
    assert_eq!(bench.settle(), []);
    bench.driver.arm(socket);
    assert_eq!(bench.driver.next(), Some(Completion::Readable { owner: OWNER }));
    assert_eq!(bench.receive(socket), (Received::Bytes(5), b"early".to_vec()));
}

#[test]
fn one_arming_makes_one_readable() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    bench.driver.arm(socket);
    stream.write_all(b"a").unwrap();
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
    stream.write_all(b"b").unwrap();
    assert_eq!(bench.settle(), []);
}

#[test]
fn nothing_is_told_after_disarming() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"a").unwrap();
    bench.settle();
    bench.driver.arm(socket);
    bench.driver.disarm(socket);
    assert_eq!(bench.settle(), []);
    bench.driver.arm(socket);
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
}

#[test]
fn a_full_receive_leaves_the_socket_readable_and_a_short_one_does_not() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    let text = pattern(3000);
    stream.write_all(&text).unwrap();
    bench.driver.arm(socket);
    bench.wait();
    bench.settle();
    assert_eq!(bench.receive_into(socket, 1), (Received::Bytes(2048), text[..2048].to_vec()));
    bench.driver.arm(socket);
    assert_eq!(bench.driver.next(), Some(Completion::Readable { owner: OWNER }));
    assert_eq!(bench.receive_into(socket, 1), (Received::Bytes(952), text[2048..].to_vec()));
    bench.driver.arm(socket);
    assert_eq!(bench.driver.next(), None);
    assert_eq!(bench.receive(socket).0, Received::Nothing);
}

#[test]
fn many_bytes_come_through_in_order() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    let text = pattern(1 << 20);
    let expected = text.clone();
    let writer = std::thread::spawn(move || stream.write_all(&text));
    assert!(bench.hear_all(socket, OWNER, expected.len()) == expected, "the bytes differ");
    writer.join().unwrap().unwrap();
    bench.pool.assert_whole();
}

#[test]
fn the_end_comes_after_the_bytes() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [], "an end is no failure");
    assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(4), b"last".to_vec()));
    assert_eq!(bench.hear(socket, OWNER).0, Received::Ended);
    assert_eq!(bench.send(socket, b"still"), Sent::Now(5));
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"still");
}

#[test]
fn the_end_comes_when_it_was_waited_for() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    bench.arm_silent(socket, OWNER);
    assert_eq!(bench.settle(), []);
    drop(stream);
    assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
    assert_eq!(bench.receive(socket).0, Received::Ended);
}

#[test]
fn both_ends_closed_are_an_end_and_no_failure() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    bench.driver.shutdown(socket);
    bench.settle();
    drop(stream);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.hear(socket, OWNER).0, Received::Ended);
}

#[test]
fn without_a_buffer_the_data_waits() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"data").unwrap();
    bench.driver.arm(socket);
    bench.wait();
    let mut all = Chain::new();
    while bench.pool.extend(&mut all, Rank::Send, 0) {}
    assert_eq!(bench.receive(socket).0, Received::NoBuffer);
    bench.pool.release(all);
    assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(4), b"data".to_vec()));
}

#[test]
fn a_reset_is_told_once_though_nobody_waits() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    reset(stream);
    assert_eq!(
        bench.settle(),
        [Completion::Failed { owner: OWNER, fault: PeerFault::Reset }],
        "told once"
    );
    assert_eq!(bench.send(socket, b"x"), Sent::Failed(PeerFault::Reset));
    assert_eq!(bench.receive(socket).0, Received::Failed(PeerFault::Reset));
    assert_eq!(bench.settle(), []);
}

#[test]
fn bytes_before_a_reset_are_received_before_it_is_told() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    let text = pattern(5000);
    stream.write_all(&text).unwrap();
    reset(stream);
    let (mut got, mut fault) = (Vec::new(), None);
    while fault.is_none() {
        assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
        match bench.receive_into(socket, 1) {
            (Received::Bytes(_), bytes) => got.extend(bytes),
            (Received::Failed(failed), _) => fault = Some(failed),
            (other, _) => panic!("{other:?}"),
        }
        bench.driver.arm(socket);
    }
    assert_eq!((got, fault), (text, Some(PeerFault::Reset)));
    bench.driver.disarm(socket);
    assert_eq!(bench.settle(), [], "receive has told it");
}

#[test]
fn an_owner_who_stops_receiving_is_told_of_the_reset_behind_the_bytes() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"whole").unwrap();
    reset(stream);
    bench.driver.arm(socket);
    assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
    assert_eq!(bench.receive(socket), (Received::Bytes(5), b"whole".to_vec()));
    assert_eq!(bench.settle(), [Completion::Failed { owner: OWNER, fault: PeerFault::Reset }]);
}

#[test]
fn a_reset_before_the_socket_has_an_owner_is_told_to_the_owner() {
    let mut bench = Bench::new();
    let stream = TcpStream::connect(bench.address).unwrap();
    let Completion::Accepted { socket, .. } = bench.wait() else { panic!("not accepted") };
    reset(stream);
    assert_eq!(bench.settle(), []);
    bench.driver.own(socket, OWNER);
    assert_eq!(bench.settle(), [Completion::Failed { owner: OWNER, fault: PeerFault::Reset }]);
}

#[test]
fn discarding_counts_what_it_forgets() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    assert_eq!(bench.driver.discard(socket), Received::Nothing);
    stream.write_all(&pattern(40_000)).unwrap();
    drop(stream);
    let mut forgotten = 0;
    loop {
        bench.driver.arm(socket);
        assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
        match bench.driver.discard(socket) {
            Received::Bytes(count) => forgotten += count,
            Received::Nothing => {}
            other => break assert_eq!(other, Received::Ended),
        }
    }
    assert_eq!(forgotten, 40_000);
}

#[test]
fn an_end_is_told_behind_bytes_that_nobody_receives() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.await_end(socket);
    stream.write_all(b"next").unwrap();
    assert_eq!(bench.settle(), [], "bytes are no end");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [Completion::Ended { owner: OWNER }]);
    assert_eq!(bench.settle(), [], "once");
    bench.driver.arm(socket);
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
    assert_eq!(bench.receive(socket), (Received::Bytes(4), b"next".to_vec()));
    assert_eq!(bench.receive(socket).0, Received::Ended);
}

#[test]
fn an_end_that_came_before_it_was_awaited_is_told() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    stream.shutdown(Shutdown::Write).unwrap();
    bench.settle();
    bench.driver.await_end(socket);
    assert_eq!(bench.settle(), [Completion::Ended { owner: OWNER }]);
}

#[test]
fn an_end_is_not_told_once_it_is_not_awaited_any_more() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    bench.driver.await_end(socket);
    bench.driver.disarm(socket);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), []);
    bench.driver.await_end(socket);
    bench.driver.arm(socket);
    assert_eq!(bench.settle(), [Completion::Readable { owner: OWNER }]);
}

#[test]
fn a_reset_is_told_to_who_awaits_the_end() {
    let mut bench = Bench::new();
    let (stream, socket) = bench.client(OWNER);
    bench.driver.await_end(socket);
    reset(stream);
    let told = bench.settle();
    assert!(
        told.contains(&Completion::Failed { owner: OWNER, fault: PeerFault::Reset }),
        "{told:?}"
    );
}
