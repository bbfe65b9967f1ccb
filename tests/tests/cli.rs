//! The command line: what it says, and with which code it ends.

use std::time::Duration;

use rustix::process::Signal;

use blackbox::client::Client;
use blackbox::metrics::Metrics;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, Setup, command};
use blackbox::servers::free_address;
use blackbox::upstream::Upstream;

/// Runs it to its end: the code and what it said.
fn ran(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process::start(&mut command(arguments));
    let code = process.wait(Duration::from_secs(10)).code();
    blackbox::wait::pause(50);
    (code, process.output())
}

#[test]
fn a_wrong_line_ends_with_2_and_says_what_is_wrong() {
    let upstream = ["--upstream", "127.0.0.1:1"];
    let listen = ["--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&["proxy"], &listen[..], &upstream[..], more].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "Usage"),
        (vec!["prox"], "prox"),
        (vec!["proxy"], "--listen"),
        (vec!["proxy", "--listen", "127.0.0.1:0"], "--upstream"),
        (with(&["--conections", "1"]), "--conections"),
        (with(&["--connections", "0"]), "connections"),
        (with(&["--connections", "many"]), "many"),
        (with(&["--memory", "1KiB"]), "memory"),
        (with(&["--memory", "lots"]), "lots"),
        (with(&["--workers", "0"]), "workers"),
        (with(&["--max-clients", "0"]), "clients"),
        (with(&["--io", "telepathy"]), "telepathy"),
        (with(&["--timeout", "head"]), "head"),
        (with(&["--timeout", "tail=1s"]), "tail"),
        (with(&["--timeout", "head=soon"]), "soon"),
        (vec!["proxy", "--listen", "nowhere", "--upstream", "127.0.0.1:1"], "nowhere"),
        (vec!["proxy", "--listen", "127.0.0.1:99999", "--upstream", "127.0.0.1:1"], "99999"),
        (vec!["proxy", "--listen", "127.0.0.1:0", "--upstream", "unix:"], "unix:"),
    ];
    let mut failures = Vec::new();
    for (arguments, names) in cases {
        let (code, said) = ran(&arguments);
        if code != Some(2) || !said.to_lowercase().contains(&names.to_lowercase()) {
            failures.push(format!("{arguments:?}: {code:?}, {said}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn help_and_version_end_with_0() {
    let (code, said) = ran(&["--help"]);
    assert_eq!(code, Some(0), "{said}");
    for subcommand in ["demo", "proxy", "status"] {
        assert!(said.contains(subcommand), "{subcommand} is not in: {said}");
    }
    let (code, said) = ran(&["--version"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("anteroom "), "{said}");
    let (code, said) = ran(&["proxy", "--help"]);
    assert_eq!(code, Some(0), "{said}");
    for flag in [
        "--listen",
        "--upstream",
        "--connections",
        "--memory",
        "--max-clients",
        "--workers",
        "--admin",
    ] {
        assert!(said.contains(flag), "{flag} is not in: {said}");
    }
}

#[test]
fn a_taken_address_ends_with_1() {
    let holder = Upstream::pages();
    let (code, said) = ran(&["proxy", "--listen", holder.address(), "--upstream", "127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(holder.address()), "it names the address: {said}");
    let lost = ["proxy", "--listen", "unix:/nowhere/at/all.sock", "--upstream", "127.0.0.1:1"];
    assert_eq!(ran(&lost).0, Some(1));
}

#[test]
fn status_tells_of_a_running_one() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    assert_eq!(proxy.client().get("/").status, 200);
    let (code, said) = ran(&["status", "--admin", proxy.admin()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("client") && said.contains("buffer"), "{said}");
    proxy.finish();
    let (code, said) = ran(&["status", "--admin", &free_address()]);
    assert_eq!(code, Some(1), "{said}");
}

fn scrape(admin: &str) -> Metrics {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let response = Client::new(admin).send(request).response();
    assert_eq!(response.status, 200, "{}", response.text());
    Metrics::parse(&response.text())
}

#[test]
fn the_demo_shows_itself() {
    let (listen, admin) = (free_address(), free_address());
    let mut demo = Process::start(&mut command(&["demo", "--listen", &listen, "--admin", &admin]));
    let ready = demo.line("anteroom ready: ");
    assert!(ready.contains(&listen), "{ready}");
    let mut client = Client::new(&listen);
    let page = client.get("/");
    assert_eq!(page.status, 200);
    assert!(!page.body.is_empty());
    assert!(scrape(&admin).has("anteroom_clients", &[]));
    drop(client);
    demo.signal(Signal::TERM);
    assert_eq!(demo.wait(Duration::from_secs(15)).code(), Some(0), "{}", demo.output());
}

#[test]
fn the_demo_brings_a_crowd() {
    blackbox::crowd::allow_descriptors();
    let (listen, admin) = (free_address(), free_address());
    let arguments = ["demo", "--listen", &listen, "--admin", &admin, "--crowd", "300"];
    let mut demo = Process::start(&mut command(&arguments));
    demo.line("anteroom ready: ");
    let figures = || scrape(&admin);
    blackbox::wait::eventually("the crowd to come", || {
        (figures().sum("anteroom_clients", &[]) >= 300.0).then_some(())
    });
    // The embedded upstream has two connections, whatever the crowd does.
    for _ in 0..5 {
        let connections = figures().sum("anteroom_upstream_connections", &[]);
        assert!(connections <= 2.0, "{connections} connections to the upstream");
        assert_eq!(Client::new(&listen).get("/").status, 200);
    }
    demo.signal(Signal::TERM);
    assert_eq!(demo.wait(Duration::from_secs(15)).code(), Some(0), "{}", demo.output());
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let upstream = Upstream::pages();
    let proxy = Setup::new(upstream.address()).with("--workers", 2).start();
    let metrics = proxy.metrics();
    let buffers = metrics.sum("anteroom_buffers", &[]);
    let bytes = metrics.sum("anteroom_buffer_bytes", &[]);
    assert!((bytes - 2048.0).abs() < f64::EPSILON, "{bytes} bytes a buffer");
    let memory = f64::from(64 << 20);
    assert!((buffers * bytes - memory).abs() < memory / 50.0, "{buffers} buffers of {bytes}");
    proxy.finish();
}
