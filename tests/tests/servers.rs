//! Real servers behind, real clients before: nginx, gunicorn, Node; curl, wrk, h2load, Python.

use blackbox::client::{post, post_chunked};
use blackbox::echo::echo;
use blackbox::folder::Folder;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::random::Random;
use blackbox::servers::{gunicorn, nginx, node};
use blackbox::tools::{curl, h2load, python, wrk};
use blackbox::upstream::Upstream;

#[test]
fn nginx_behind_curl_before() {
    let file = Random::new(20).bytes(1_000_000);
    let server = nginx(&file);
    let proxy = Anteroom::before(server.address());
    let url = |path: &str| format!("http://{}{path}", proxy.address());
    assert_eq!(curl(&[&url("/")]), b"hello, world\n");
    assert!(curl(&[&url("/file")]) == file);
    assert!(curl(&["--http1.0", &url("/file")]) == file);
    assert!(curl(&["--range", "1000-1999", &url("/file")]) == file[1000..2000]);
    assert!(curl(&["--head", &url("/file")]).starts_with(b"HTTP/1.1 200"));
    // Several requests on one connection: curl says which of them opened one.
    let format = ["--write-out", "%{http_code} %{num_connects};", "--output", "/dev/null"];
    let urls = [url("/none"), url("/"), url("/file"), url("/missing")];
    let mut arguments: Vec<&str> = Vec::new();
    for url in &urls {
        arguments.extend(format);
        arguments.push(url);
    }
    let said = String::from_utf8_lossy(&curl(&arguments)).into_owned();
    let seen: Vec<&str> = said.split_terminator(';').collect();
    assert!(["204 1", "200 0", "200 0", "404 0"].iter().all(|each| seen.contains(each)), "{said}");
    proxy.finish();
}

#[test]
fn curl_uploads_in_every_way() {
    let upstream = echo();
    let proxy = Anteroom::before(upstream.address());
    let folder = Folder::new();
    let body = Random::new(21).bytes(180_000);
    let data = format!("@{}", folder.write("body", &body));
    let url = format!("http://{}/length", proxy.address());
    let ways: [&[&str]; 4] = [
        &[],
        &["--header", "Transfer-Encoding: chunked"],
        &["--header", "Expect: 100-continue"],
        &["--http1.0"],
    ];
    for way in ways {
        let echoed = curl(&[way, &["--data-binary", &data, &url]].concat());
        assert!(echoed == body, "{way:?}: {} bytes came back", echoed.len());
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
    proxy.finish();
}

#[test]
fn curl_over_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.file("in");
    let server = nginx(b"");
    let proxy = Setup::new(server.address()).listen(&format!("unix:{path}")).start();
    assert_eq!(curl(&["--unix-socket", &path, "http://any.example/"]), b"hello, world\n");
    proxy.finish();
}

#[test]
fn wrk_and_h2load_find_no_error() {
    let server = nginx(&Random::new(22).bytes(20_000));
    let proxy = Setup::new(server.address()).with("--workers", 2).start();
    for (target, connections) in [("/", 64), ("/file", 64), ("/none", 8)] {
        let load = wrk(proxy.address(), target, connections, 2);
        assert_eq!((load.refused, load.broken), (0, 0), "{target}: {load:?}");
        assert!(load.requests > 500, "{target}: {load:?}");
    }
    // One thousand clients on the default eight connections.
    blackbox::crowd::allow_descriptors();
    let (succeeded, failed) = h2load(proxy.address(), "/", 10_000, 1000);
    assert_eq!((succeeded, failed), (10_000, 0));
    let metrics = proxy.quiet();
    let connections = metrics.sum("anteroom_upstream_connections", &[]);
    assert!(connections <= 8.0, "{connections} connections to the server");
    proxy.finish();
}

#[test]
fn gunicorn_gets_whole_requests() {
    for unix in [true, false] {
        let server = gunicorn(unix);
        // Sync workers close after each response, and serve one connection each.
        let proxy = Setup::new(server.address()).with("--connections", 2).start();
        let mut random = Random::new(23);
        let mut client = proxy.client();
        for number in 0..60 {
            let length = random.length(60_000);
            let body = random.bytes(length);
            let target = format!("/path?number={number}");
            let bytes = if number % 2 == 0 {
                post(&target, &body)
            } else {
                post_chunked(&target, &body, &mut random)
            };
            client.send_cut(&bytes, &mut random, 5).expect("the proxy takes the request");
            let response = client.response();
            assert_eq!((response.status, response.get("x-path")), (200, Some(target.as_str())));
            assert_eq!(response.get("x-forwarded-seen"), Some("127.0.0.1"));
            assert!(response.body == body, "request {number}");
            assert!(!response.says_close(), "the server's habits are not the client's");
        }
        proxy.finish();
    }
}

#[test]
fn python_reads_what_gunicorn_says() {
    let server = gunicorn(true);
    let proxy = Setup::new(server.address()).with("--connections", 2).start();
    let script = "
import http.client, os, sys, threading
host, port = sys.argv[1].split(':')
done = []
def client(number):
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    for size in (0, 1, 1000, 50000, 200000):
        body = os.urandom(size)
        for headers, data in (({}, body), ({'Transfer-Encoding': 'chunked'}, iter([body[:size // 3], body[size // 3:]] if size > 2 else [body]))):
            connection.request('POST', '/p', body=data, headers=headers, encode_chunked=bool(headers))
            response = connection.getresponse()
            got = response.read()
            assert response.status == 200 and got == body, (response.status, size, len(got))
            done.append(size)
threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(done))
";
    assert_eq!(python(script, &[proxy.address()]).trim(), "80");
    proxy.finish();
}

#[test]
fn node_streams_answers_early_and_closes_idle_connections() {
    let server = node(150);
    let proxy = Setup::new(server.address()).with("--connections", 2).start();
    let mut client = proxy.client();
    let mut random = Random::new(24);
    for number in 0..30 {
        let length = random.length(100_000);
        let body = random.bytes(length);
        let response = client.send(post_chunked("/echo", &body, &mut random)).response();
        assert_eq!(response.status, 200);
        assert_eq!(response.get("x-length"), Some(length.to_string().as_str()), "an exact length");
        assert!(response.body == body, "request {number}");
        let early = client.post("/early", &body);
        assert_eq!((early.status, early.text().as_str()), (403, "no"));
        if number % 5 == 0 {
            // Long enough for Node to close its idle connections.
            blackbox::wait::pause(250);
        }
    }
    proxy.finish();
}

#[test]
fn wrk_with_a_new_connection_each_time() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let url = format!("http://{}/", proxy.address());
    let arguments = ["-t1", "-c16", "-d2s", "-H", "Connection: close", &url];
    let ran = blackbox::tools::run("wrk", &arguments);
    let load = blackbox::tools::read_wrk(&ran.output);
    assert_eq!(load.refused, 0, "{load:?}");
    assert!(load.requests > 300, "{load:?}");
    let closed = proxy.quiet().sum("anteroom_clients_closed_total", &[]);
    assert!(closed > 300.0, "{closed} closed");
    proxy.finish();
}

#[test]
fn two_busy_workers_are_never_overrun() {
    let server = gunicorn(true);
    let proxy = Setup::new(server.address()).with("--connections", 2).with("--workers", 2).start();
    // Each answer takes 20 ms: two workers give at most 100 a second, and sixty clients wait.
    let load = wrk(proxy.address(), "/busy", 60, 3);
    assert_eq!((load.refused, load.broken), (0, 0), "{load:?}");
    assert!(load.requests > 60, "{load:?}");
    let metrics = proxy.quiet();
    let waited = metrics.sum("anteroom_queue_seconds_sum", &[]);
    assert!(waited > 10.0, "sixty clients waited only {waited} s in all");
    proxy.finish();
}
