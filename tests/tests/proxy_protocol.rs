//! The PROXY protocol with real programs: HAProxy and curl say to us whose connection it is, and we
//! say it to nginx.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::servers::{Server, free_address, nginx_with};
use blackbox::tools::run;
use blackbox::upstream::Upstream;
use blackbox::wait::pause;

/// nginx that requires a PROXY header, and answers with the address and the port in it and with
/// what stands in X-Forwarded-For.
fn nginx() -> Server {
    let address = free_address();
    let http = format!(
        "access_log off;\n\
         server {{\n\
           listen {address} proxy_protocol; default_type text/plain;\n\
           return 200 '$proxy_protocol_addr $proxy_protocol_port [$http_x_forwarded_for]';\n\
         }}\n"
    );
    nginx_with(Folder::new(), &address, 1, &http)
}

/// HAProxy that passes connections on to this address with a header of this version.
fn haproxy(to: &str, version: &str) -> Server {
    let folder = Folder::new();
    let address = free_address();
    let configuration = format!(
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
         timeout server 30s\nfrontend front\n  bind {address}\n  default_backend back\n\
         backend back\n  server one {to} {version}\n"
    );
    let path = folder.write("haproxy.cfg", configuration);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", &path]);
    let search = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{search}:/usr/sbin:/sbin"));
    Server::start(&mut command, &address, folder)
}

/// A proxy before this server, with these lines in `[[listen]]` and `[[upstream]]`.
fn proxy(upstream: &str, kind: &str, listen: &str, to: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         proxy = \"{kind}\"\n{listen}\n[[upstream]]\nservers = [\"{upstream}\"]\n{to}\n"
    );
    Anteroom::run(&Folder::new().write("a.toml", content))
}

const TRUSTED: &str = "proxy_protocol = { from = [\"127.0.0.1\"] }";

/// What curl gets from an address of this machine.
fn curl(url: &str, from: &str, more: &[&str]) -> String {
    let line = ["--silent", "--show-error", "--max-time", "20", "--interface", from, url];
    let ran = run("curl", &[&line[..], more].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.output
}

fn closed(proxy: &Anteroom, reason: &str) -> String {
    proxy.figure("anteroom_clients_closed_total", &[("reason", reason)]).to_string()
}

#[test]
fn who_comes_through_haproxy_is_known_to_us_and_to_nginx() {
    let server = nginx();
    for (kind, to) in [
        ("http", "persistent = false\nproxy_protocol = \"v1\""),
        ("http", "persistent = false\nproxy_protocol = \"v2\""),
        ("pass", "proxy_protocol = \"v1\""),
        ("pass", "proxy_protocol = \"v2\""),
    ] {
        let proxy = proxy(server.address(), kind, TRUSTED, to);
        for version in ["send-proxy", "send-proxy-v2"] {
            let front = haproxy(proxy.address(), version);
            let url = format!("http://{}/", front.address());
            for from in ["127.0.0.9", "127.0.0.10"] {
                // Two requests of one connection.
                let said = curl(&url, from, &["--local-port", "45000-45999", &url]);
                let forwarded = if kind == "http" { from } else { "" };
                let words: Vec<&str> = said.split([' ', '[', ']']).collect();
                assert_eq!(words[0], from, "{kind} {to} {version}: {said}");
                let port: u16 = words[1].parse().expect("a port");
                assert!((45_000..46_000).contains(&port), "{kind} {to} {version}: {said}");
                assert_eq!(words[3], forwarded, "{kind} {to} {version}: {said}");
                assert_eq!(said.matches(from).count(), if kind == "http" { 4 } else { 2 });
            }
        }
        proxy.quiet();
        proxy.finish();
    }
}

/// Sends pieces with pauses between them, and reads to the end or the reset.
fn send(address: &str, pieces: &[&[u8]]) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    for piece in pieces {
        stream.write_all(piece)?;
        pause(30);
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn headers_come_in_pieces_and_wrong_ones_end_their_connection_alone() {
    let upstream = Upstream::pages();
    let proxy = proxy(upstream.address(), "http", TRUSTED, "");
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let four = [192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 3, 4];
    let binary = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &four].concat();
    let text = b"PROXY TCP6 2001:db8::7 ::1 5 6\r\n";
    let all = [text.as_slice(), get].concat();
    let with_binary = [&binary[14..], get].concat();
    let pieces: [&[&[u8]]; 5] = [
        &[&all],
        &[text, get],
        &[b"PROXY", b" ", b"TCP6 2001:db8::7 ::1 5 6\r", b"\n", get],
        &[&binary, get],
        &[&binary[..5], &binary[5..14], &with_binary],
    ];
    let mut bystander = TcpStream::connect(proxy.address()).expect("anteroom accepts");
    bystander.write_all(b"PROXY TCP4 192.0.2.99").expect("it is taken");
    for (number, pieces) in pieces.iter().enumerate() {
        let answer = send(proxy.address(), pieces).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{number}: {answer}");
    }
    let requests = upstream.requests();
    let seen = requests.iter().map(|request| format!("{request:?}"));
    for (request, client) in seen.zip([["2001:db8::7"; 3].as_slice(), &["192.0.2.7"; 2]].concat()) {
        assert!(request.contains(client), "{client}: {request}");
    }
    for wrong in
        [get, b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01\x02\x00", b"\r\n\r\n\0\r\nQUIT\n\x31"]
    {
        let error = send(proxy.address(), &[wrong]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{wrong:?}");
    }
    assert_eq!(closed(&proxy, "proxy_header"), "4");
    // curl knows the protocol, and comes from where nobody is trusted, or from where it is.
    let url = format!("http://{}/", proxy.address());
    assert!(!curl(&url, "127.0.0.1", &["--haproxy-protocol"]).is_empty());
    let line =
        ["--silent", "--max-time", "20", "--interface", "127.0.0.2", "--haproxy-protocol", &url];
    assert_ne!(run("curl", &line).code, Some(0));
    assert_eq!(closed(&proxy, "untrusted"), "1");
    // One that was half done all the while goes on where it was.
    bystander.write_all(b" 198.51.100.1 5 6\r\n").expect("it is taken");
    bystander.write_all(get).expect("it is taken");
    let mut answer = String::new();
    bystander.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    proxy.quiet();
    proxy.finish();
}

#[test]
fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_head() {
    let upstream = Upstream::pages();
    let listen = format!("{TRUSTED}\n[timeouts]\nhead = \"300ms\"");
    let proxy = proxy(upstream.address(), "http", &listen, "");
    for said in [&b""[..], b"PROXY TCP4 "] {
        let error = send(proxy.address(), &[said]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(closed(&proxy, "timeout"), "2");
    proxy.quiet();
    proxy.finish();
}
