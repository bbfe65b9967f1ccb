//! Connections that are passed through the real binary: Redis, TLS by the name in its hello, and
//! servers that speak first, end first or break off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use blackbox::folder::Folder;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::{Server, free_address, redis, secure};
use blackbox::tools::run;
use blackbox::wait::eventually;

fn port(proxy: &Anteroom) -> &str {
    proxy.address().rsplit(':').next().expect("a port")
}

fn cli(proxy: &Anteroom, arguments: &[&str]) -> String {
    let ran = run("redis-cli", &[&["-p", port(proxy)], arguments].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.output);
    ran.output
}

fn client(address: &str) -> TcpStream {
    let client = TcpStream::connect(address).expect("anteroom accepts");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
    client
}

#[test]
fn redis_does_not_notice() {
    let server = redis();
    let proxy = Setup::new(server.address()).flag("--pass").start();
    assert!(cli(&proxy, &["ping"]).contains("PONG"));
    assert!(cli(&proxy, &["set", "key", "value"]).contains("OK"));
    assert!(cli(&proxy, &["get", "key"]).contains("value"));
    assert!(cli(&proxy, &["eval", "return string.rep('x', 30000000)", "0"]).len() > 30_000_000);
    let load = ["-p", port(&proxy), "--csv", "-n", "4000", "-c", "50", "-P", "8", "-d", "300"];
    let ran = run("redis-benchmark", &[&load[..], &["-t", "set,get,lrange_100"]].concat());
    assert!(ran.code == Some(0) && !ran.output.contains("rror"), "{}", ran.output);
    assert!(ran.output.contains("LRANGE_100"), "{}", ran.output);
    assert!(proxy.figure("anteroom_tunnels_total", &[("proxy", "pass")]) >= 100.0);
    proxy.quiet();
    let labels = [("state", "pinned")];
    eventually("every connection to be closed", || {
        (proxy.figure("anteroom_upstream_connections", &labels) == 0.0).then_some(())
    });
    proxy.finish();
}

#[test]
fn a_server_may_speak_first_and_either_side_may_end_first() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(b"220 ready\r\n").expect("it is taken");
            let mut asked = String::new();
            stream.read_to_string(&mut asked).expect("all until the end");
            stream.write_all(asked.to_uppercase().as_bytes()).expect("it is taken");
        }
    });
    let proxy = Setup::new(&address).flag("--pass").start();
    for _ in 0..2 {
        let mut client = client(proxy.address());
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).expect("a greeting, unasked");
        assert_eq!(&greeting, b"220 ready\r\n");
        let long = "abcdefgh".repeat(100_000);
        client.write_all(long.as_bytes()).expect("it is taken");
        client.shutdown(Shutdown::Write).expect("it ends");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the answer, then the end");
        assert!(answer == long.to_uppercase());
    }
    server.join().expect("the server is content");
    proxy.quiet();
    proxy.finish();
}

#[test]
fn without_a_server_the_client_is_reset_and_counted() {
    let proxy = Setup::new(&free_address()).flag("--pass").start();
    let mut client = client(proxy.address());
    let error = client.read(&mut [0; 1]).expect_err("no orderly end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.refused("unreachable").to_string(), "1");
    proxy.quiet();
    proxy.finish();
}

/// A listener that knows two names, and perhaps a server for all others.
fn by_name(one: &Server, two: &Server, other: Option<&str>, more: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let group = |name: &str, address: &str| {
        format!("[[upstream]]\nname = \"{name}\"\nservers = [\"{address}\"]\n")
    };
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n{more}\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         proxy = \"pass\"\n{}sni = {{ \"a.example\" = \"one\", \"*.b.example\" = \"two\" }}\n{}{}{}",
        other.map_or("", |_| "upstream = \"other\"\n"),
        group("one", one.address()),
        group("two", two.address()),
        other.map_or(String::new(), |other| group("other", other)),
    );
    Anteroom::run(&Folder::new().write("a.toml", content))
}

/// What curl gets for a name, if anything.
fn ask(proxy: &Anteroom, name: &str, more: &[&str]) -> Option<String> {
    let resolve = format!("{name}:{}:127.0.0.1", port(proxy));
    let url = format!("https://{name}:{}/", port(proxy));
    let line = ["--insecure", "--silent", "--max-time", "20", "--resolve", &resolve, &url];
    let ran = run("curl", &[&line[..], more].concat());
    (ran.code == Some(0)).then_some(ran.output)
}

#[test]
fn the_name_in_the_hello_leads_to_its_server_and_tls_is_the_servers() {
    let (one, two) = (secure("one"), secure("two"));
    let proxy = by_name(&one, &two, None, "");
    for more in [&[][..], &["--tls-max", "1.2"], &["--no-alpn"]] {
        assert_eq!(ask(&proxy, "a.example", more).as_deref(), Some("one"), "{more:?}");
        assert_eq!(ask(&proxy, "A.Example", more).as_deref(), Some("one"), "{more:?}");
        assert_eq!(ask(&proxy, "x.b.example", more).as_deref(), Some("two"), "{more:?}");
        assert_eq!(ask(&proxy, "x.y.b.example", more).as_deref(), Some("two"), "{more:?}");
    }
    // The certificate is the server's own: nobody has looked inside.
    let connect = ["s_client", "-connect", proxy.address(), "-servername", "x.b.example", "-brief"];
    let shown = std::process::Command::new("openssl")
        .args(connect)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl is installed");
    let shown = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
    assert!(shown.contains("CN = two") || shown.contains("CN=two"), "{shown}");
    // Nobody is there for these.
    assert_eq!(ask(&proxy, "c.example", &[]), None);
    assert_eq!(proxy.refused("misdirected").to_string(), "1");
    let mut plain = client(proxy.address());
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is taken");
    assert!(plain.read(&mut [0; 1]).is_err(), "no orderly end");
    assert_eq!(proxy.refused("malformed").to_string(), "1");
    proxy.quiet();
    proxy.finish();
}

#[test]
fn whom_no_name_leads_elsewhere_gets_the_other_servers() {
    let (one, two, other) = (secure("one"), secure("two"), secure("other"));
    let more = "timeouts = { head = \"300ms\" }";
    let proxy = by_name(&one, &two, Some(other.address()), more);
    assert_eq!(ask(&proxy, "a.example", &[]).as_deref(), Some("one"));
    assert_eq!(ask(&proxy, "c.example", &[]).as_deref(), Some("other"));
    // Half a hello.
    let mut slow = client(proxy.address());
    slow.write_all(&[22, 3, 1, 2, 0, 1]).expect("it is taken");
    assert!(slow.read(&mut [0; 1]).is_err(), "no orderly end");
    assert_eq!(proxy.refused("slow").to_string(), "1");
    proxy.quiet();
    proxy.finish();
}

#[test]
fn who_speaks_no_tls_gets_the_other_servers() {
    let (one, two) = (secure("one"), secure("two"));
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("its address").to_string();
    let proxy = by_name(&one, &two, Some(&address), "");
    let mut plain = client(proxy.address());
    plain.write_all(b"no TLS at all\r\n").expect("it is taken");
    let (mut server, _) = other.accept().expect("a client");
    let mut asked = [0; 15];
    server.read_exact(&mut asked).expect("what the client said");
    assert_eq!(&asked, b"no TLS at all\r\n");
    server.write_all(b"other").expect("it is taken");
    drop(server);
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("the answer, then the end");
    assert_eq!(answer, "other");
    assert_eq!(proxy.refused("malformed").to_string(), "0");
    drop(plain);
    proxy.quiet();
    proxy.finish();
}
