//! Servers that are names: looked up at start and again on their TTL.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::Duration;

use blackbox::dns::Dns;
use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, command};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A server that says where it is, slowly where it is asked to.
fn named(address: &str, name: &'static str) -> Upstream {
    Upstream::http_at(address, move |request, _, stream| {
        if request.target() == "/slow" {
            pause(2_500);
        }
        respond(stream, 200, name.as_bytes())?;
        Ok(Next::Keep)
    })
}

/// Two servers at two addresses and one port.
fn pair() -> (Upstream, Upstream, String) {
    eventually("a port free at both addresses", || {
        let one = named(&format!("{ONE}:0"), "one");
        let port = one.address().rsplit_once(':')?.1.to_owned();
        let free = std::net::TcpListener::bind(format!("{TWO}:{port}"));
        drop(free.ok()?);
        let two = named(&format!("{TWO}:{port}"), "two");
        Some((one, two, port))
    })
}

fn config(dns: &str, servers: impl Display, more: &str) -> String {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\n\
         resolver = {{ servers = [\"{dns}\"], timeout = \"500ms\" }}\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\n\
         [[upstream]]\nservers = [{servers}]\n{more}\n"
    )
}

fn run(dns: &Dns, servers: impl Display, more: &str) -> (Anteroom, Folder) {
    let folder = Folder::new();
    let file = folder.write("app.toml", config(dns.address(), servers, more));
    (Anteroom::run(&file), folder)
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_and_who_is_served_finishes() {
    let (one, two, port) = pair();
    let dns = Dns::new();
    dns.tell("app.test", &[ONE], 1);
    let (mut proxy, _folder) = run(&dns, format!("\"app.test:{port}\""), "connections = 4");
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one");
    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the slow one to be under way", || (one.count() == 2).then_some(()));
    dns.tell("app.test", &[TWO], 1);
    eventually("new requests to go to the new address", || {
        (client.get("/").text() == "two").then_some(())
    });
    let said = format!("app.test:{port} is at {TWO}:{port} now");
    eventually("a word about it", || proxy.process().output().contains(&said).then_some(()));
    // What was leased finished on the old one, and then nothing is left there.
    assert_eq!(slow.response().text(), "one");
    eventually("the old connections to be closed", || (one.open() == 0).then_some(()));
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").text(), "two");
    }
    // It is one server, known by its name.
    let label = format!("app.test:{port}");
    let metrics = proxy.metrics();
    assert!(metrics.has("anteroom_upstream_up", &[("server", &label)]));
    assert!(two.count() > 10);
    proxy.finish();
}

#[test]
fn addresses_take_turns_within_one_bound() {
    let (one, two, port) = pair();
    let dns = Dns::new();
    dns.tell("app.test", &[ONE, TWO], 60);
    // A connection for each request, so that each takes its turn.
    let more = "connections = 3\npersistent = false";
    let (proxy, _folder) = run(&dns, format!("\"app.test:{port}\""), more);
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    for _ in 0..10 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
    assert_eq!(one.count() + two.count(), 120);
    assert!(one.count() >= 40 && two.count() >= 40, "{} and {}", one.count(), two.count());
    assert!(one.most_open() + two.most_open() <= 6 && one.most_serving() <= 3);
    proxy.finish();
}

#[test]
fn one_dead_address_of_several_costs_no_request() {
    let (one, mut two, port) = pair();
    two.stop();
    let dns = Dns::new();
    dns.tell("app.test", &[ONE, TWO], 60);
    let more = "persistent = false";
    let (proxy, _folder) = run(&dns, format!("\"app.test:{port}\""), more);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "one");
    }
    assert_eq!(one.count(), 50);
    proxy.finish();
}

#[test]
fn when_it_cannot_be_looked_up_the_old_addresses_hold_and_it_is_said_once() {
    let (one, _two, port) = pair();
    let dns = Dns::new();
    dns.tell("app.test", &[ONE], 1);
    let (mut proxy, _folder) = run(&dns, format!("\"app.test:{port}\""), "");
    assert_eq!(proxy.client().get("/").text(), "one");
    dns.fail("app.test");
    proxy.process().line("anteroom: warning: app.test:");
    let asked = dns.questions();
    eventually("another question", || (dns.questions() > asked + 2).then_some(()));
    assert_eq!(proxy.client().get("/").text(), "one");
    assert_eq!(proxy.process().output().matches("cannot be looked up").count(), 1);
    dns.tell("app.test", &[ONE], 1);
    proxy.process().line(&format!("anteroom: app.test:{port} can be looked up again"));
    assert_eq!(one.count(), 2);
    proxy.finish();
}

#[test]
fn a_ttl_is_respected_within_its_bounds() {
    let (_one, _two, port) = pair();
    let dns = Dns::new();
    dns.tell("long.test", &[ONE], 3600);
    let (proxy, _folder) = run(&dns, format!("\"long.test:{port}\""), "");
    let asked = dns.questions();
    pause(2_500);
    assert_eq!(dns.questions(), asked, "an hour is not over");
    proxy.finish();
    dns.tell("short.test", &[ONE], 0);
    let (proxy, _folder) = run(&dns, format!("\"short.test:{port}\""), "");
    let asked = dns.questions();
    pause(2_500);
    let more = dns.questions() - asked;
    assert!((1..=4).contains(&more), "once a second, not all the time: {more}");
    proxy.finish();
}

#[test]
fn a_name_that_nobody_knows_is_an_error_with_its_place() {
    let dns = Dns::new();
    let folder = Folder::new();
    let said = |content: String| {
        let file = folder.write("app.toml", content);
        let mut process = Process::start(&mut command(&["run", &file]));
        let code = process.wait(Duration::from_secs(10)).code();
        pause(50);
        (code, process.output())
    };
    let (code, text) = said(config(dns.address(), "\"nobody.test:80\"", ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("app.toml:9:12: error: servers nobody.test:80: no such host"), "{text}");
    // Nobody listens there.
    let (code, text) = said(config("127.0.0.1:9", "\"nobody.test:80\"", ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("the name servers do not answer"), "{text}");
}

#[test]
fn a_proxy_does_not_serve_itself_whatever_the_texts() {
    let dns = Dns::new();
    dns.tell("me.test", &[Ipv4Addr::LOCALHOST], 60);
    let folder = Folder::new();
    for server in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "me.test:8080", ":8080"] {
        let content = config(dns.address(), format!("\"{server}\""), "");
        let file =
            folder.write("app.toml", content.replace("127.0.0.1:0\"\nproxy", ":8080\"\nproxy"));
        let mut process = Process::start(&mut command(&["check", &file]));
        let code = process.wait(Duration::from_secs(10)).code();
        pause(50);
        let text = process.output();
        assert!(code == Some(2) && text.contains("the proxy would serve itself"), "{text}");
    }
}
