//! Connections that move between workers, and idle ones tested before use.

use std::net::TcpListener;

use super::*;

/// Two workers, and a connection of the first one to a server, with the server's end of it.
fn pair() -> (Bench, Bench, Socket, TcpStream) {
    let (first, socket, stream) = connected();
    (first, Bench::new(), socket, stream)
}

/// A worker, and a connection of it to a server, with the server's end of it.
fn connected() -> (Bench, Socket, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Ip(server.local_addr().unwrap());
    let mut first = Bench::with(16, listener(), vec![address]);
    let socket = first.driver.connect(ServerId(0), OWNER).unwrap();
    assert_eq!(first.wait(), Completion::Connected { owner: OWNER });
    let (stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (first, socket, stream)
}

#[test]
fn a_connection_goes_on_in_another_worker() {
    let (mut first, socket, mut stream) = connected();
    let detached = first.driver.detach(socket).unwrap();
    stream.write_all(b"between").unwrap();
    let moved = std::thread::spawn(move || {
        let mut second = Bench::new();
        let socket = second.driver.attach(detached, Owner(5)).unwrap();
        let heard = second.hear(socket, Owner(5));
        assert_eq!(second.send(socket, b"heard"), Sent::Now(5));
        heard
    });
    assert_eq!(moved.join().unwrap(), (Received::Bytes(7), b"between".to_vec()));
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(first.settle(), [], "no completion follows");
    assert_eq!(first.send(socket, b"x"), Sent::Failed(PeerFault::Reset), "its name is stale");
}

#[test]
fn a_detached_place_is_free_again() {
    let (mut first, socket, _stream) = connected();
    let used = first.driver.table.get(socket).map(|_| socket.index);
    drop(first.driver.detach(socket));
    assert_eq!(first.settle(), []);
    let (_client, next) = first.client(OWNER);
    assert_eq!(Some(next.index), used);
}

#[test]
fn a_full_table_takes_nobody_over() {
    let (mut first, socket, mut stream) = connected();
    let mut small = Bench::with(1, listener(), Vec::new());
    let (_client, _) = small.client(Owner(1));
    let detached = first.driver.detach(socket).unwrap();
    assert_eq!(small.driver.attach(detached, Owner(2)), Err(ConnectFault::Exhausted));
    let end = std::io::Read::read(&mut stream, &mut [0; 1]);
    assert_eq!(end.unwrap(), 0, "it was closed");
}

#[test]
fn an_idle_connection_is_quiet_until_something_arrives() {
    for end in [false, true] {
        let (mut first, socket, mut stream) = connected();
        first.settle();
        assert!(first.driver.is_quiet(socket));
        if end {
            drop(stream);
        } else {
            stream.write_all(b"x").unwrap();
        }
        assert_eq!(first.settle(), [], "nobody waits");
        assert!(!first.driver.is_quiet(socket));
    }
}

#[test]
fn a_connection_taken_over_is_asked_for_before_the_first_event() {
    let (mut first, mut second, socket, stream) = pair();
    let detached = first.driver.detach(socket).unwrap();
    let socket = second.driver.attach(detached, OWNER).unwrap();
    assert!(second.driver.is_quiet(socket));
    let detached = second.driver.detach(socket).unwrap();
    drop(stream);
    let socket = first.driver.attach(detached, OWNER).unwrap();
    assert!(!first.driver.is_quiet(socket), "it ended on the way");
}
