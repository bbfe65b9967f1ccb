//! Opening connections to servers.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::*;

const SERVER: ServerId = ServerId(0);

fn bench_for(server: Address) -> Bench {
    Bench::with(16, listener(), vec![server])
}

#[test]
fn a_connection_over_tcp_carries_bytes_both_ways() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = bench_for(Address::Ip(server.local_addr().unwrap()));
    let socket = bench.driver.connect(SERVER, OWNER).unwrap();
    assert_eq!(bench.wait(), Completion::Connected { owner: OWNER });
    let (mut stream, _) = server.accept().unwrap();
    assert_eq!(bench.send(socket, b"request"), Sent::Now(7));
    let mut request = [0; 7];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"request");
    stream.write_all(b"answer").unwrap();
    assert_eq!(bench.hear(socket, OWNER).1, b"answer");
    let entry = bench.driver.table.get(socket).unwrap();
    assert!(sockopt::tcp_nodelay(entry.descriptor().unwrap()).unwrap());
    assert!(sockopt::socket_keepalive(entry.descriptor().unwrap()).unwrap());
}

#[test]
fn a_connection_over_a_unix_socket_carries_bytes_both_ways() {
    let path = socket_path("server.sock");
    let server = UnixListener::bind(&path).unwrap();
    let mut bench = bench_for(Address::Unix(path));
    let socket = bench.driver.connect(SERVER, OWNER).unwrap();
    assert_eq!(bench.settle(), [Completion::Connected { owner: OWNER }]);
    let (mut stream, _) = server.accept().unwrap();
    assert_eq!(bench.send(socket, b"request"), Sent::Now(7));
    let mut request = [0; 7];
    stream.read_exact(&mut request).unwrap();
    stream.write_all(b"answer").unwrap();
    drop(stream);
    assert_eq!(bench.hear(socket, OWNER).1, b"answer");
    assert_eq!(bench.hear(socket, OWNER).0, Received::Ended);
}

#[test]
fn a_unix_server_that_closes_over_unread_bytes_resets_behind_its_answer() {
    let path = socket_path("rude.sock");
    let server = UnixListener::bind(&path).unwrap();
    let mut bench = bench_for(Address::Unix(path));
    let socket = bench.driver.connect(SERVER, OWNER).unwrap();
    bench.driver.arm(socket);
    assert_eq!(bench.wait(), Completion::Connected { owner: OWNER });
    let (mut stream, _) = server.accept().unwrap();
    assert_eq!(bench.send(socket, b"never read"), Sent::Now(10));
    stream.write_all(b"answer").unwrap();
    drop(stream);
    assert_eq!(bench.wait(), Completion::Readable { owner: OWNER });
    assert_eq!(bench.receive(socket), (Received::Bytes(6), b"answer".to_vec()));
    assert_eq!(bench.hear(socket, OWNER).0, Received::Failed(PeerFault::Reset));
    assert_eq!(bench.settle(), []);
}

#[test]
fn nobody_listening_is_a_refusal() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bench = bench_for(Address::Ip(closed));
    let refused = match bench.driver.connect(SERVER, OWNER) {
        Err(fault) => fault,
        Ok(socket) => {
            let told = bench.wait();
            bench.driver.close(socket);
            assert_eq!(bench.settle(), [Completion::Closed { owner: OWNER }]);
            match told {
                Completion::ConnectFailed { owner: OWNER, fault } => fault,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(refused, ConnectFault::Refused);
}

#[test]
fn a_missing_or_forsaken_unix_socket_is_a_refusal() {
    let path = socket_path("missing.sock");
    let mut bench = bench_for(Address::Unix(path.clone()));
    assert_eq!(bench.driver.connect(SERVER, OWNER), Err(ConnectFault::Refused));
    drop(UnixListener::bind(path).unwrap());
    assert_eq!(bench.driver.connect(SERVER, OWNER), Err(ConnectFault::Refused));
    assert_eq!(bench.settle(), []);
}

#[test]
fn a_unix_server_with_a_full_backlog_is_busy() {
    let path = socket_path("busy.sock");
    let server = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&server, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&server, 0).unwrap();
    let mut bench = bench_for(Address::Unix(path));
    assert!(bench.driver.connect(SERVER, OWNER).is_ok());
    assert_eq!(bench.driver.connect(SERVER, OWNER), Err(ConnectFault::Busy));
    let _served = rustix::net::accept(&server).unwrap();
    assert!(bench.driver.connect(SERVER, OWNER).is_ok());
}

#[test]
fn a_server_nobody_named_is_a_refusal() {
    let mut bench = Bench::new();
    assert_eq!(bench.driver.connect(ServerId(3), OWNER), Err(ConnectFault::Refused));
}

#[test]
fn errors_are_told_apart_by_whose_want_they_are() {
    for (error, fault) in [
        (Errno::CONNREFUSED, ConnectFault::Refused),
        (Errno::ACCESS, ConnectFault::Refused),
        (Errno::NETUNREACH, ConnectFault::Refused),
        (Errno::HOSTUNREACH, ConnectFault::Refused),
        (Errno::TIMEDOUT, ConnectFault::TimedOut),
        (Errno::AGAIN, ConnectFault::Busy),
        (Errno::MFILE, ConnectFault::Exhausted),
        (Errno::ADDRNOTAVAIL, ConnectFault::Exhausted),
        (Errno::NOBUFS, ConnectFault::Exhausted),
    ] {
        assert_eq!(connect::fault_of(error), fault, "{error}");
    }
}

#[test]
fn a_connection_to_oneself_is_seen() {
    let own = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&own, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&own).unwrap()).unwrap();
    rustix::net::connect(&own, &address).expect("TCP opens a connection to itself");
    assert!(connect::is_own_end(&own, &[server_at(address)]));
    let other = SocketAddr::from(([127, 0, 0, 1], 1));
    assert!(!connect::is_own_end(&own, &[server_at(other)]));
}

fn server_at(address: SocketAddr) -> Server {
    Server::new(&[Address::Ip(address)]).unwrap()
}

#[test]
fn the_addresses_of_a_server_take_turns_and_change() {
    let servers = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses: Vec<_> = servers.iter().map(|it| it.local_addr().unwrap()).collect();
    let mut bench = bench_for(Address::Ip(addresses[0]));
    let reached = |bench: &mut Bench| {
        let socket = bench.driver.connect(SERVER, OWNER).unwrap();
        assert_eq!(bench.wait(), Completion::Connected { owner: OWNER });
        let entry = bench.driver.table.get(socket).unwrap();
        let peer = rustix::net::getpeername(entry.descriptor().unwrap()).unwrap().unwrap();
        (socket, SocketAddr::try_from(peer).unwrap())
    };
    let (first, at) = reached(&mut bench);
    assert_eq!(at, addresses[0]);
    assert!(bench.driver.is_listed(first, SERVER));
    bench.driver.set_addresses(SERVER, &addresses[1..]);
    assert!(!bench.driver.is_listed(first, SERVER));
    let turns: Vec<_> = (0..4).map(|_| reached(&mut bench)).collect();
    for (place, (socket, at)) in turns.into_iter().enumerate() {
        assert_eq!(at, addresses[1 + place % 2]);
        assert!(bench.driver.is_listed(socket, SERVER));
    }
    let many: Vec<SocketAddr> = (1..100).map(|port| ([127, 0, 0, 1], port).into()).collect();
    bench.driver.set_addresses(SERVER, &many);
    bench.driver.set_addresses(SERVER, &[]);
    assert!(bench.driver.connect(SERVER, OWNER).is_err(), "there is nowhere to go");
}

#[test]
fn a_unix_server_stays_where_it_is() {
    let path = socket_path("stays.sock");
    let _server = UnixListener::bind(&path).unwrap();
    let mut bench = bench_for(Address::Unix(path));
    let socket = bench.driver.connect(SERVER, OWNER).unwrap();
    assert!(bench.driver.is_listed(socket, SERVER));
}
