//! Listeners and upstreams of every kind.

use blackbox::client::Client;
use blackbox::folder::Folder;
use blackbox::message::Response;
use blackbox::proxy::Setup;
use blackbox::upstream::{Next, Upstream, respond};

fn page(client: &mut Client, target: &str) -> Response {
    let response = client.get(target);
    assert_eq!((response.status, response.text()), (200, format!("page {target}")));
    response
}

#[test]
fn a_unix_socket_before_a_unix_socket() {
    let folder = Folder::new();
    let upstream =
        Upstream::http_at(&format!("unix:{}", folder.file("up")), |request, _, stream| {
            respond(stream, 200, format!("page {}", request.target()).as_bytes())?;
            Ok(Next::Keep)
        });
    let listen = format!("unix:{}", folder.file("in"));
    let proxy = Setup::new(upstream.address()).listen(&listen).start();
    assert_eq!(proxy.addresses(), [listen.as_str()]);
    page(&mut proxy.client(), "/unix");
    // Nobody has an address here, and none is made up.
    let forwarded = upstream.last().head.get("forwarded").unwrap_or_default().to_ascii_lowercase();
    assert!(forwarded.contains("for=unknown") || forwarded.contains("for=unix"), "{forwarded}");
    proxy.finish();
    // The place is free for the next one.
    let proxy = Setup::new(upstream.address()).listen(&listen).start();
    page(&mut proxy.client(), "/again");
    proxy.finish();
}

#[test]
fn a_socket_left_by_a_dead_process_is_taken_over() {
    let folder = Folder::new();
    let upstream = Upstream::pages();
    let listen = format!("unix:{}", folder.file("in"));
    let mut proxy = Setup::new(upstream.address()).listen(&listen).start();
    proxy.process().signal(rustix::process::Signal::KILL);
    proxy.wait(std::time::Duration::from_secs(5));
    let proxy = Setup::new(upstream.address()).listen(&listen).start();
    page(&mut proxy.client(), "/");
    proxy.finish();
}

#[test]
fn ipv6() {
    let upstream = Upstream::http_at("[::1]:0", |_, _, stream| {
        respond(stream, 200, b"page /six")?;
        Ok(Next::Keep)
    });
    let proxy = Setup::new(upstream.address()).listen("[::1]:0").start();
    assert!(proxy.address().starts_with("[::1]:"), "{}", proxy.address());
    page(&mut proxy.client(), "/six");
    let head = upstream.last().head;
    assert_eq!(head.get("x-forwarded-for"), Some("::1"));
    let forwarded = head.get("forwarded").unwrap_or_default();
    assert!(forwarded.contains("\"[::1]\""), "RFC 7239 §6 wants quotes and brackets: {forwarded}");
    proxy.finish();
}

/// Who names no host is told to the server by the address it came to, with the port the kernel chose.
#[test]
fn whose_port_was_chosen_is_told_by_that() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).listen("127.0.0.1:0").start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.last().head.get("host"), Some(proxy.address()));
    proxy.finish();
}

#[test]
fn several_listeners_serve_one_group() {
    let folder = Folder::new();
    let upstream = Upstream::pages();
    let unix = format!("unix:{}", folder.file("in"));
    let setup = Setup::new(upstream.address()).listen("127.0.0.1:0").listen("[::1]:0");
    let proxy = setup.listen(&unix).with("--connections", 1).start();
    assert_eq!(proxy.addresses().len(), 3, "{:?}", proxy.addresses());
    for address in proxy.addresses() {
        page(&mut Client::new(address), "/x");
    }
    assert_eq!(upstream.accepted(), 1, "one group, one connection");
    proxy.finish();
}

#[test]
fn a_bare_port_is_every_address() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).listen(":0").start();
    let port = proxy.address().rsplit(':').next().expect("a port").to_owned();
    for host in ["127.0.0.1", "[::1]", "127.9.9.9"] {
        page(&mut Client::new(&format!("{host}:{port}")), "/any");
    }
    let seen = upstream.last().head.get("x-forwarded-for").map(str::to_owned);
    assert_eq!(seen.as_deref(), Some("127.0.0.1"), "an IPv4 client has an IPv4 address");
    proxy.finish();
}

#[test]
fn two_servers_share_the_work() {
    let (one, two) = (Upstream::pages(), Upstream::pages());
    let proxy = Setup::new(one.address()).upstream(two.address()).with("--workers", 1).start();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let mut client = proxy.client();
            std::thread::spawn(move || (0..50).for_each(|_| drop(page(&mut client, "/shared"))))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a client");
    }
    let counts = [one.count(), two.count()];
    assert_eq!(counts.iter().sum::<usize>(), 400);
    assert!(counts.iter().all(|count| *count >= 50), "{counts:?}");
    proxy.finish();
}
