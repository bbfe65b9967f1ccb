//! What only a ring can get wrong: queues that are too short, and what it keeps open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use super::ring::Lengths;
use super::tests::{Bench, epoch, ip, listener};
use super::{Uring, UringDriver};
use crate::sockets::{SocketConfig, Waker};
use crate::{Completion, Driver, Owner, Received};

/// A bench whose ring has queues that everything overflows.
fn narrow_bench(sockets: u32) -> (Bench, SocketAddr) {
    let listener = listener();
    let address = ip(&listener);
    let waker = Arc::new(Waker::new().unwrap());
    let lengths = Lengths { submissions: 2, completions: 4 };
    let watcher = Uring::new(Arc::clone(&waker), lengths).unwrap();
    let (listeners, servers) = (vec![listener], Vec::new());
    let config = SocketConfig { sockets, listeners, servers, epoch: epoch(), waker };
    (Bench::over(UringDriver::with(watcher, config).unwrap(), address), address)
}

#[test]
fn queues_that_overflow_lose_nothing() {
    let (mut bench, _) = narrow_bench(128);
    let mut clients: Vec<_> = (0..100).map(|n| bench.client(Owner(n))).collect();
    for round in 0..5u8 {
        for (n, (stream, socket)) in (0u8..).zip(&mut clients) {
            bench.driver.arm(*socket);
            stream.write_all(&[n, round]).unwrap();
        }
        let mut readable: Vec<u32> = (0..clients.len())
            .map(|_| match bench.wait() {
                Completion::Readable { owner } => owner.0,
                other => panic!("{other:?}"),
            })
            .collect();
        readable.sort_unstable();
        assert!(readable.iter().copied().eq(0..100), "round {round}: {readable:?}");
        for (n, (_, socket)) in (0u8..).zip(&clients) {
            let heard = bench.receive(*socket);
            assert_eq!(heard, (Received::Bytes(2), vec![n, round]));
        }
    }
    for (_, socket) in &clients {
        bench.driver.close(*socket);
    }
    for _ in 0..clients.len() {
        assert!(matches!(bench.wait(), Completion::Closed { .. }));
    }
    for (stream, _) in &mut clients {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_driver_that_goes_takes_its_connections_and_its_share_of_the_listener_along() {
    let (mut bench, address) = narrow_bench(32);
    let mut clients: Vec<_> = (0..20).map(|n| bench.client(Owner(n))).collect();
    drop(bench);
    TcpListener::bind(address).expect("nobody listens there any more");
    for (stream, _) in &mut clients {
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).expect("at its end already"), 0);
    }
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn a_connection_closed_while_its_event_is_under_way_is_closed_all_the_same() {
    let (mut bench, _) = narrow_bench(8);
    for n in 0..200 {
        let (mut stream, socket) = bench.client(Owner(n));
        // The poll's event is in the kernel's hands when the cancelling comes.
        stream.write_all(b"x").unwrap();
        bench.driver.close(socket);
        assert_eq!(bench.wait(), Completion::Closed { owner: Owner(n) });
        // Unread bytes make the end a reset.
        assert!(stream.read(&mut [0; 1]).is_err());
    }
}
