//! Closing, and names that have become stale.

use super::*;

#[test]
fn a_closed_sockets_name_reaches_nobody_else() {
    let mut bench = Bench::with(1, listener(), Vec::new());
    let (_first, old) = bench.client(Owner(1));
    bench.driver.arm(old);
    bench.driver.close(old);
    bench.driver.close(old);
    assert_eq!(bench.settle(), [Completion::Closed { owner: Owner(1) }]);

    let (mut stream, new) = bench.client(Owner(2));
    assert_eq!(new.index, old.index, "the place is used again");
    stream.write_all(b"for the new one").unwrap();
    bench.settle();
    bench.driver.own(old, Owner(3));
    bench.driver.arm(old);
    bench.driver.disarm(old);
    bench.driver.shutdown(old);
    bench.driver.close(old);
    assert!(!bench.driver.is_quiet(old));
    assert!(bench.driver.detach(old).is_none());
    assert_eq!(bench.driver.send_text(old, b"x"), 0);
    assert_eq!(bench.send(old, b"x"), Sent::Failed(PeerFault::Reset));
    assert_eq!(bench.receive(old).0, Received::Failed(PeerFault::Reset));
    assert_eq!(bench.driver.discard(old), Received::Failed(PeerFault::Reset));
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.hear(new, Owner(2)).1, b"for the new one");
    assert_eq!(bench.send(new, b"intact"), Sent::Now(6));
}

#[test]
fn the_place_is_kept_until_closed_was_told() {
    let server = listener();
    let servers = vec![server.local_address().clone()];
    let mut bench = Bench::with(1, listener(), servers);
    let (_stream, socket) = bench.client(OWNER);
    bench.driver.close(socket);
    let full = bench.driver.connect(ServerId(0), Owner(2));
    assert_eq!(full, Err(ConnectFault::Exhausted));
    assert_eq!(bench.wait(), Completion::Closed { owner: OWNER });
    assert!(bench.driver.connect(ServerId(0), Owner(2)).is_ok());
}

#[test]
fn what_was_queued_before_a_close_is_not_told_after_it() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    bench.driver.arm(socket);
    stream.write_all(b"x").unwrap();
    reset(stream);
    bench.driver.poll(None);
    bench.driver.close(socket);
    assert_eq!(bench.settle(), [Completion::Closed { owner: OWNER }]);
}

#[test]
fn a_socket_without_an_owner_goes_without_a_word() {
    let mut bench = Bench::with(1, listener(), Vec::new());
    let _stream = TcpStream::connect(bench.address).unwrap();
    let Completion::Accepted { socket, .. } = bench.wait() else { panic!("not accepted") };
    assert_eq!(bench.driver.send_text(socket, b"no"), 2);
    bench.driver.close(socket);
    assert_eq!(bench.settle(), []);
    bench.client(OWNER);
}

#[test]
fn a_reset_is_no_orderly_end() {
    use std::io::Read;
    for abortive in [false, true] {
        let mut bench = Bench::new();
        let (mut stream, socket) = bench.client(OWNER);
        assert_eq!(bench.send(socket, b"half"), Sent::Now(4));
        let mut half = [0; 4];
        stream.read_exact(&mut half).unwrap();
        if abortive {
            bench.driver.reset(socket);
        } else {
            bench.driver.close(socket);
        }
        assert_eq!(bench.settle(), [Completion::Closed { owner: OWNER }]);
        let end = stream.read(&mut half).map_err(|error| error.kind());
        let expected = if abortive { Err(std::io::ErrorKind::ConnectionReset) } else { Ok(0) };
        assert_eq!(end, expected);
    }
}
