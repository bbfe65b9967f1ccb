//! Accepting: shared listeners, pausing, want of places and descriptors.

use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::AcceptFault;

#[test]
fn options_of_the_listener_are_inherited() {
    let mut bench = Bench::new();
    let (_stream, socket) = bench.client(OWNER);
    let descriptor = bench.driver.table.get(socket).unwrap().descriptor().unwrap();
    assert!(sockopt::tcp_nodelay(descriptor).unwrap());
    assert!(sockopt::socket_keepalive(descriptor).unwrap());
    let flags = rustix::fs::fcntl_getfl(descriptor).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn a_crowd_is_accepted_though_it_comes_at_once() {
    let mut bench = Bench::with(200, listener(), Vec::new());
    let _crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    let mut sockets = std::collections::HashSet::new();
    for _ in 0..200 {
        let Completion::Accepted { socket, .. } = bench.wait() else { panic!("not accepted") };
        assert!(sockets.insert(socket.index));
    }
}

#[test]
fn two_drivers_share_a_listener_and_each_client_is_accepted_once() {
    let shared = listener();
    let address = ip(&shared);
    let mut benches = [shared.clone(), shared].map(|shared| Bench::with(200, shared, Vec::new()));
    let mut clients = Vec::new();
    for n in 0..100u8 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[n]).unwrap();
        clients.push(stream);
    }
    let mut heard = Vec::new();
    while heard.len() < clients.len() {
        for bench in &mut benches {
            bench.driver.poll(Some(Instant(0)));
            while let Some(completion) = bench.driver.next() {
                match completion {
                    Completion::Accepted { socket, .. } => {
                        bench.driver.own(socket, Owner(socket.index));
                        bench.driver.arm(socket);
                    }
                    // Each driver's table gives out its places in order, once.
                    Completion::Readable { owner } => {
                        let socket = bench.driver.table.name(owner.0);
                        heard.extend(bench.receive(socket).1);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    for bench in &mut benches {
        assert_eq!(bench.settle(), []);
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_paused_listener_lets_clients_wait() {
    let mut bench = Bench::new();
    bench.driver.pause(LISTENER);
    bench.driver.pause(LISTENER);
    let _stream = TcpStream::connect(bench.address).unwrap();
    assert_eq!(bench.settle(), []);
    bench.driver.listen(LISTENER);
    bench.driver.listen(LISTENER);
    assert!(matches!(bench.wait(), Completion::Accepted { .. }));
}

#[test]
fn who_waits_already_is_accepted_before_listening_stops() {
    let mut bench = Bench::with(100, listener(), Vec::new());
    let crowd: Vec<_> = (0..80).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    bench.driver.stop_listening(LISTENER);
    assert_eq!(bench.settle().len(), crowd.len());
    TcpStream::connect(bench.address).expect_err("nobody listens any more");
    bench.driver.listen(LISTENER);
    assert_eq!(bench.settle(), []);
}

#[test]
fn a_full_table_pauses_accepting() {
    let mut bench = Bench::with(2, listener(), Vec::new());
    let (_first, socket) = bench.client(Owner(1));
    let (_second, _) = bench.client(Owner(2));
    let _third = TcpStream::connect(bench.address).unwrap();
    let full = Completion::AcceptFailed { listener: LISTENER, fault: AcceptFault::Table };
    assert_eq!(bench.settle(), [full], "told once: it pauses");
    bench.driver.close(socket);
    assert_eq!(bench.settle(), [Completion::Closed { owner: Owner(1) }]);
    bench.driver.listen(LISTENER);
    assert!(matches!(bench.wait(), Completion::Accepted { .. }));
}

#[test]
fn clients_of_a_unix_socket_have_no_address() {
    let path = socket_path("clients.sock");
    let listener = bind(&Address::Unix(path.clone()), BindOptions::default()).unwrap();
    let mut bench = Bench::with(4, listener, Vec::new());
    let mut stream = UnixStream::connect(path).unwrap();
    let Completion::Accepted { socket, peer, .. } = bench.wait() else { panic!("not accepted") };
    assert_eq!(peer, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    bench.driver.own(socket, OWNER);
    stream.write_all(b"hello").unwrap();
    assert_eq!(bench.hear(socket, OWNER).1, b"hello");
    drop(stream);
    assert_eq!(bench.hear(socket, OWNER).0, Received::Ended);
}

#[test]
fn an_ipv4_client_of_a_listener_for_both_families_has_an_ipv4_address() {
    let listener = bind(&":0".parse().unwrap(), BindOptions::default()).unwrap();
    let port = ip(&listener).port();
    let mut bench = Bench::with(4, listener, Vec::new());
    let _stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let Completion::Accepted { peer, .. } = bench.wait() else { panic!("not accepted") };
    assert_eq!(peer, IpAddr::V4(Ipv4Addr::LOCALHOST));
}

/// Set in the process that lowers its own limit of descriptors.
const CHILD: &str = "DRIVER_TEST_DESCRIPTORS";

#[test]
fn want_of_descriptors_pauses_accepting_and_fails_connecting() {
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_descriptors();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::want_of_descriptors_pauses_accepting_and_fails_connecting");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
}

fn run_out_of_descriptors() {
    let servers = vec!["127.0.0.1:1".parse().unwrap()];
    let mut bench = Bench::with(16, listener(), servers);
    let stream = TcpStream::connect(bench.address).unwrap();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    // The listing itself took one; lower numbers may be free.
    let limit = Rlimit { current: Some(used - 1), ..before };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut stuffing = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        stuffing.push(file);
    }
    let wanting = Completion::AcceptFailed { listener: LISTENER, fault: AcceptFault::Descriptors };
    assert_eq!(bench.settle(), [wanting], "told once: it does not spin");
    assert_eq!(bench.driver.connect(ServerId(0), OWNER), Err(ConnectFault::Exhausted));

    stuffing.clear();
    setrlimit(Resource::Nofile, before).unwrap();
    bench.driver.listen(LISTENER);
    assert!(matches!(bench.wait(), Completion::Accepted { .. }));
    drop(stream);
}
