//! Byte-exact echo: random bodies in every framing, cut at random points, many at a time.

use std::thread;

use blackbox::client::{Client, post, post_chunked};
use blackbox::echo::{echo, echo_at};
use blackbox::folder::Folder;
use blackbox::message::{Framing, Response};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::random::Random;

/// How one client of a storm behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// Requests it makes.
    requests: usize,
    /// Largest body, bytes.
    body: usize,
    /// Whether anteroom may refuse for want of memory (408, 413, 503).
    scarce: bool,
}

/// Sends random bodies and compares what comes back; gives the number of echoes.
fn converse(address: &str, mut random: Random, manner: Manner) -> usize {
    let mut client = Client::new(address);
    let mut echoes = 0;
    for number in 0..manner.requests {
        let length = random.length(manner.body);
        let body = random.bytes(length);
        let target = ["/length", "/chunked", "/close"][random.below(3)];
        let bytes = if random.once_in(2) {
            post(target, &body)
        } else {
            post_chunked(target, &body, &mut random)
        };
        let pieces = 1 + random.below(9);
        let sent = client.send_cut(&bytes, &mut random, pieces);
        let response = match client.try_response() {
            Ok(response) => response,
            // A refusal closes with input unread: under load its text may be lost to a reset.
            Err(_) if manner.scarce => {
                client = Client::new(address);
                continue;
            }
            Err(error) => panic!("request {number} ({target}, {length} bytes): {error}, {sent:?}"),
        };
        if manner.scarce && matches!(response.status, 408 | 413 | 503) {
            client = Client::new(address);
            continue;
        }
        check(&response, &body, &format!("request {number} ({target}, {length} bytes)"));
        echoes += 1;
        if response.says_close() || response.framing == Framing::Close {
            client = Client::new(address);
        }
    }
    echoes
}

fn check(response: &Response, body: &[u8], what: &str) {
    assert_eq!(response.status, 200, "{what}: {}", response.text());
    let differs = response.body.iter().zip(body).position(|(got, sent)| got != sent);
    let lengths = (response.body.len(), body.len());
    assert!(response.body == body, "{what}: (got, sent) {lengths:?}, first difference {differs:?}");
}

/// `clients` at a time, each with its own randomness.
fn storm(address: &str, clients: u64, manner: Manner) -> usize {
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let (address, random) = (address.to_owned(), Random::new(number + 1));
            thread::spawn(move || converse(&address, random, manner))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("a client of the storm")).sum()
}

#[test]
fn two_hundred_clients_get_their_own_bytes_back() {
    let upstream = echo();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let manner = Manner { requests: 12, body: 200_000, scarce: false };
    assert_eq!(storm(proxy.address(), 200, manner), 200 * 12);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    assert_eq!(upstream.count(), 200 * 12);
    assert!(upstream.most_open() <= 8, "{} connections", upstream.most_open());
    proxy.finish();
}

#[test]
fn so_they_do_over_unix_sockets() {
    let folder = Folder::new();
    let upstream = echo_at(&format!("unix:{}", folder.file("up.sock")));
    let listen = format!("unix:{}", folder.file("in.sock"));
    let proxy = Setup::new(upstream.address()).listen(&listen).start();
    let manner = Manner { requests: 20, body: 100_000, scarce: false };
    assert_eq!(storm(proxy.address(), 20, manner), 20 * 20);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

/// A pool of 16 buffers of 2 KiB.
fn sixteen_buffers(upstream: &str) -> Anteroom {
    let setup = Setup::new(upstream).with("--memory", "32KiB").with("--workers", 1);
    setup
        .with("--exchange-memory", "16KiB")
        .with("--max-head", "4KiB")
        .with("--max-target", "1KiB")
        .start()
}

#[test]
fn sixteen_buffers_suffice_for_a_few() {
    let upstream = echo();
    let proxy = sixteen_buffers(upstream.address());
    // 2 × (2,000 bytes with head and chunk framing: 2 buffers) leaves room for output.
    let manner = Manner { requests: 200, body: 2000, scarce: false };
    assert_eq!(storm(proxy.address(), 2, manner), 400);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

#[test]
fn sixteen_buffers_serve_many_in_part_and_none_wrongly() {
    let upstream = echo();
    let proxy = sixteen_buffers(upstream.address());
    let manner = Manner { requests: 20, body: 12_000, scarce: true };
    let echoes = storm(proxy.address(), 60, manner);
    assert!(echoes > 60, "only {echoes} of 1200 requests were served");
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.quiet();
    // Afterwards the pool is as good as new.
    let body = Random::new(99).bytes(8000);
    check(&proxy.client().post("/length", &body), &body, "after the storm");
    proxy.finish();
}

#[test]
fn large_responses_reach_slow_readers_through_a_small_pool() {
    let upstream = echo();
    let proxy = sixteen_buffers(upstream.address());
    let body = Random::new(5).bytes(10_000);
    for _ in 0..20 {
        let mut client = Client::new_slow(proxy.address());
        client.send(post("/chunked", &body));
        blackbox::wait::pause(10);
        check(&client.response(), &body, "a slow reader");
    }
    proxy.finish();
}
