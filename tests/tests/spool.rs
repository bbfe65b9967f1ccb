//! What outgrows the pool goes to disk: every byte of it, without harm to anybody else.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use blackbox::client::Client;
use blackbox::folder::Folder;
use blackbox::large::{
    Content, MIB, Rest, assert_prompt, assert_spool_empty, download, half_an_upload, patient,
    server, spooled, tight, upload, upload_chunked,
};
use blackbox::message::Reader;
use blackbox::proxy::Setup;
use blackbox::tools::{curl, python};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause, within};

fn roomy(upstream: &Upstream) -> Setup {
    let setup = Setup::new(upstream.address()).with("--workers", 1).with("--memory", "16MiB");
    let setup = setup.with("--spool-size", "2GiB").with("--spool-per-exchange", "2GiB");
    setup.with("--spool-per-address", "2GiB").with("--max-body", "2GiB")
}

/// A figure in KiB of what the kernel says of a process.
fn kernel_says(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number")
}

#[test]
fn a_gigabyte_goes_up_and_comes_down_byte_for_byte() {
    // Once is enough of this size.
    let uring = std::env::var("ANTEROOM_IO").is_ok_and(|io| io == "uring");
    let size = if uring { 64 * MIB } else { 1024 * MIB };
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let mut proxy = roomy(&upstream).with("--connections", 1).start();

    upload(&mut patient(&proxy), &content, "/up", size - 1).expect("it is taken");
    within(Duration::from_mins(2), "the upload", || (deeds.right.load(SeqCst) == 1).then_some(()));
    let mut client = patient(&proxy);
    upload_chunked(&mut client, &content, 64 * MIB + 1);
    assert_eq!(client.response().status, 200);
    assert_eq!(deeds.right.load(SeqCst), 2);
    assert_spool_empty(&proxy);

    let mut slow = download(patient(&proxy), size);
    within(Duration::from_mins(2), "the server to be done", || {
        (deeds.written.load(SeqCst) == 3).then_some(())
    });
    // The one connection is free for others while the slow client has most of it before it.
    assert_eq!(patient(&proxy).get("/13").status, 200);
    let spooled = spooled(&proxy);
    assert!(spooled > size - 16 * MIB, "{spooled} bytes in the spool");
    let used = proxy.figure("anteroom_buffers", &[("state", "used")]);
    assert!(used < 300.0, "{used} buffers for one slow client");
    content.check(0, size, &mut slow).expect("all of it");
    drop(slow);
    assert_spool_empty(&proxy);
    let peak = kernel_says(proxy.process().id(), "VmHWM:");
    assert!(peak < 80 * 1024, "{peak} KiB of memory");
    proxy.finish();
}

#[test]
fn many_at_once_mix_nothing_up() {
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let proxy =
        Setup::new(upstream.address()).with("--connections", 3).with("--workers", 2).start();
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (proxy, content, most) = (&proxy, &content, &most);
            scope.spawn(move || {
                let (up, down) = (MIB + 77_777 * number, 12 * MIB - 99_991 * number);
                let mut client = patient(proxy);
                let target = format!("/{down}");
                upload(&mut client, content, &target, up).expect("it is taken");
                // Everybody waits a while, so that the answers must go to disk.
                pause(500);
                most.fetch_max(spooled(proxy), SeqCst);
                let mut reader = Reader::new(client.stream().try_clone().expect("a handle"));
                let head = reader.request_head().expect("a head").expect("a head");
                assert!(head.start.contains(" 200 "), "{}", head.start);
                content.check(0, down, &mut Rest::of(reader)).expect("all of it");
            });
        }
    });
    assert_eq!(deeds.right.load(SeqCst), 16);
    assert!(most.into_inner() > 10 * MIB);
    assert_spool_empty(&proxy);
    proxy.finish();
}

#[test]
fn curl_uploads_and_downloads_in_every_way_it_knows() {
    let upstream = Upstream::http(|request, _, stream| {
        respond(stream, 200, &request.body)?;
        Ok(Next::Keep)
    });
    let proxy = Setup::new(upstream.address()).start();
    let folder = Folder::new();
    let body = blackbox::random::Random::new(3).bytes(9_000_001);
    let data = format!("@{}", folder.write("body", &body));
    let url = format!("http://{}/", proxy.address());
    // curl announces such a body and awaits 100 Continue.
    for more in [&[][..], &["--http1.0"], &["--header", "Transfer-Encoding: chunked"]] {
        let arguments = [&["--data-binary", &data, &url][..], more].concat();
        assert!(curl(&arguments) == body, "{more:?}");
    }
    assert!(curl(&["--upload-file", &data[1..], &url]) == body, "PUT");
    assert!(curl(&["--limit-rate", "4M", "--data-binary", &data, &url]) == body, "slowly");
    assert_eq!(upstream.faults(), [] as [&str; 0]);
    assert_spool_empty(&proxy);
    proxy.finish();
}

#[test]
fn a_full_spool_costs_those_who_need_it_and_nobody_else() {
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let proxy = tight(&upstream).start();
    let half = half_an_upload(&proxy, &content, 3 * MIB);
    // An upload is refused; whatever was still on its way does not destroy the answer.
    let mut refused = patient(&proxy);
    let _ = upload(&mut refused, &content, "/up", 3 * MIB);
    let answer = refused.response();
    assert_eq!((answer.status, answer.says_close()), (507, true), "{}", answer.text());
    // A response waits in the pool, and its server with it.
    let mut client = patient(&proxy);
    // Else the kernel takes much of it for the client.
    client.stream().receive_at_most(256 << 10);
    let mut slow = download(client, 32 * MIB);
    pause(700);
    let written = deeds.bytes.load(SeqCst);
    assert!(written < 16 * MIB, "{written} bytes were taken from the server");
    assert_eq!(deeds.written.load(SeqCst), 0);
    let used = proxy.figure("anteroom_buffers", &[("state", "used")]);
    assert!(used < 500.0, "{used} buffers");
    assert_prompt(&proxy);
    // What waits comes to its end.
    content.check(0, 32 * MIB, &mut slow).expect("all of it");
    drop((slow, half, refused));
    assert!(proxy.figure("anteroom_spool_full_total", &[]) > 0.0);
    assert_spool_empty(&proxy);
    proxy.finish();
}

#[test]
fn one_address_does_not_take_all_of_it() {
    let content = Arc::new(Content::new());
    let (upstream, _) = server(&content);
    let proxy = Setup::new(upstream.address())
        .with("--workers", 1)
        .with("--spool-size", "64MiB")
        .with("--spool-per-address", "4MiB")
        .start();
    let half = half_an_upload(&proxy, &content, 3 * MIB);
    let folder = Folder::new();
    let mut body = Vec::new();
    content.write(2 * MIB, |piece| body.write_all(piece)).expect("memory");
    let data = format!("@{}", folder.write("body", &body));
    let url = format!("http://{}/up", proxy.address());
    let code = |from: &str| {
        let arguments = ["--interface", from, "--write-out", "%{http_code}", "--data-binary"];
        let told = curl(&[&arguments[..], &[&data, "--output", "/dev/null", &url]].concat());
        String::from_utf8_lossy(&told).into_owned()
    };
    assert_eq!(code("127.0.0.1"), "507");
    assert_eq!(code("127.0.0.2"), "200");
    assert!(proxy.figure("anteroom_spool_full_total", &[("limit", "per_address")]) > 0.0);
    drop(half);
    assert_spool_empty(&proxy);
    proxy.finish();
}

#[test]
fn what_cannot_fit_is_refused_at_its_head() {
    let content = Arc::new(Content::new());
    let (upstream, _) = server(&content);
    let proxy = tight(&upstream).start();
    let mut client = patient(&proxy);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4194304\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!((answer.status, answer.interim.len()), (413, 0));
    proxy.finish();
}

/// Clients in the middle of a small POST, and how many were told 408 or 503 while others, who
/// are quick, were served.
fn refused_of_the_slow(spool: &str) -> usize {
    let upstream = Upstream::pages();
    let setup = Setup::new(upstream.address()).with("--memory", "64KiB").with("--workers", 1);
    let setup = setup.with("--exchange-memory", "16KiB").with("--max-head", "4KiB");
    let proxy = setup.with("--max-target", "1KiB").with("--spool", spool).start();
    let beginning =
        [&b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"[..], &[7; 900]];
    let mut slow: Vec<Client> = (0..150).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send(beginning.concat());
    }
    for number in 0..20 {
        assert_eq!(proxy.client().get(&format!("/{number}")).status, 200);
    }
    pause(1500);
    let mut refused = 0;
    for client in &mut slow {
        if client.stream().has_news() {
            assert!([408, 503].contains(&client.response().status));
            refused += 1;
        } else {
            client.send([7; 4100]);
            assert_eq!(client.response().status, 200);
        }
    }
    assert!(upstream.requests().iter().all(|request| request.body.iter().all(|&byte| byte == 7)));
    drop(slow);
    assert_spool_empty(&proxy);
    proxy.finish();
    refused
}

#[test]
fn slow_clients_go_to_disk_when_buffers_are_short_and_are_refused_only_without() {
    assert_eq!(refused_of_the_slow("/var/tmp"), 0);
    assert!(refused_of_the_slow("off") > 50);
}

#[test]
fn a_drain_lets_what_lies_in_the_spool_come_to_its_end() {
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let mut proxy = roomy(&upstream).start();
    let mut half = half_an_upload(&proxy, &content, 3 * MIB);
    let mut slow = download(patient(&proxy), 32 * MIB);
    eventually("the server to be done", || (deeds.written.load(SeqCst) == 1).then_some(()));
    proxy.terminate();
    pause(200);
    assert!(proxy.process().ended().is_none(), "two are still here");
    content.check(0, 32 * MIB, &mut slow).expect("all of it");
    let mut at = 3 * MIB;
    while at < 3 * MIB + 100_000 {
        let piece = content.from(at);
        let most = usize::try_from(3 * MIB + 100_000 - at).unwrap();
        half.send(&piece[..piece.len().min(most)]);
        at += piece.len() as u64;
    }
    assert_eq!(half.response().status, 200);
    assert_eq!(deeds.right.load(SeqCst), 1);
    drop((half, slow));
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn a_stop_does_not_wait_for_what_lies_in_the_spool() {
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let mut proxy = roomy(&upstream).start();
    let half = half_an_upload(&proxy, &content, 3 * MIB);
    let slow = download(patient(&proxy), 32 * MIB);
    eventually("the server to be done", || (deeds.written.load(SeqCst) == 1).then_some(()));
    proxy.terminate();
    pause(100);
    proxy.terminate();
    let status = proxy.wait(Duration::from_secs(5));
    assert!(!proxy.process().output().contains("panicked"), "{}", proxy.process().output());
    assert_eq!(status.code(), Some(0));
    drop((half, slow));
}

/// A server that reads as slowly as it likes is given what lies on disk at its own pace.
#[test]
fn gunicorn_is_given_what_lies_on_disk() {
    let server = blackbox::servers::gunicorn(true);
    let proxy = Setup::new(server.address()).with("--connections", 2).start();
    let script = "
import sys, hashlib, http.client, os, threading
host, failed = sys.argv[1], []
def one(size):
    body = os.urandom(size)
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request('POST', '/echo', body)
    answer = connection.getresponse()
    if answer.status != 200 or answer.read() != body:
        failed.append((size, answer.status))
threads = [threading.Thread(target=one, args=(1000000 * n + n,)) for n in range(1, 9)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failed)
";
    assert_eq!(python(script, &[proxy.address()]).trim(), "[]");
    assert_spool_empty(&proxy);
    proxy.finish();
}
