//! slowhttptest in all its modes, while somebody else is served; and what one address may have.

use std::time::{Duration, Instant};

use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::Anteroom;
use blackbox::servers::{Server, nginx};
use blackbox::tools::run;
use blackbox::wait::{eventually, pause};

/// How long an attack lasts.
const SECONDS: u64 = 8;
/// Its connections: more than nginx has workers, and than requests the server gets at one time.
const CONNECTIONS: &str = "200";

fn proxy(server: &Server, more: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\nmemory = \"16MiB\"\n{more}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\n[[upstream]]\nservers = [\"{}\"]\n",
        server.address()
    );
    Anteroom::run(&Folder::new().write("a.toml", content))
}

/// Begins an attack; its own probes say whether the service was there.
fn attack(proxy: &Anteroom, mode: &str, target: &str) -> Process {
    let url = format!("http://{}{target}", proxy.address());
    let mut command = std::process::Command::new("slowhttptest");
    command.args(mode.split_whitespace()).args(["-c", CONNECTIONS, "-r", "200", "-u", &url]);
    command.args(["-l", &SECONDS.to_string(), "-p", "3"]);
    Process::start(&mut command)
}

#[test]
fn others_are_served_while_clients_are_slow_in_every_way_there_is() {
    let server = nginx(&vec![b'x'; 256 << 10]);
    for (mode, target, slow) in [
        ("-H -i 1 -x 8", "/", true),
        ("-B -i 1 -x 8 -s 8192", "/", true),
        ("-R -a 5 -b 3000", "/file", false),
        ("-X -w 512 -y 1024 -n 2 -z 32 -k 3", "/file", false),
    ] {
        let proxy = proxy(&server, "limits = { least_rate = \"100B\", least_rate_over = \"2s\" }");
        let mut attack = attack(&proxy, mode, target);
        let began = Instant::now();
        let mut times = Vec::new();
        let mut client = proxy.client();
        while began.elapsed() < Duration::from_secs(SECONDS) {
            let asked = Instant::now();
            assert_eq!(client.get("/").status, 200, "{mode}");
            times.push(asked.elapsed());
            pause(20);
        }
        attack.wait(Duration::from_mins(1));
        // What it wrote last may still be on its way to us.
        let said = eventually("its verdict", || {
            Some(attack.output()).filter(|said| said.contains("service available:"))
        });
        let mut verdicts = said.lines().filter(|line| line.contains("service available:"));
        assert!(verdicts.all(|line| line.contains("YES")), "{mode}: {said}");
        times.sort();
        let p99 = times[times.len() * 99 / 100 - 1];
        assert!(times.len() > 50 && p99 < Duration::from_secs(1), "{mode}: p99 {p99:?}");
        let refused = proxy.refused("slow");
        assert_eq!(refused >= 50.0, slow, "{mode}: {refused} of {CONNECTIONS} were told 408");
        proxy.quiet();
        proxy.finish();
    }
}

/// What curl is told from this address: the status, or nothing if it was reset.
fn ask(proxy: &Anteroom, from: &str) -> Option<String> {
    let url = format!("http://{}/", proxy.address());
    let line = ["--silent", "--max-time", "20", "--interface", from, "-o", "/dev/null"];
    let ran = run("curl", &[&line[..], &["-w", "%{http_code}", &url]].concat());
    (ran.code == Some(0)).then_some(ran.output)
}

fn closed(proxy: &Anteroom, reason: &str) -> f64 {
    proxy.figure("anteroom_clients_closed_total", &[("reason", reason)])
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let server = nginx(b"");
    let limits = "limits = { connections = 20, request_rate = \"30/h\" }";
    let proxy = proxy(&server, limits);
    let mut attack = attack(&proxy, "-H -i 2", "/");
    eventually("the attack to meet its limit", || {
        (closed(&proxy, "address_limit") > 50.0).then_some(())
    });
    assert!(proxy.figure("anteroom_clients", &[("state", "active")]) <= 20.0);
    for _ in 0..30 {
        assert_eq!(ask(&proxy, "127.0.0.2").as_deref(), Some("200"));
    }
    // It is told to come later; the next one is not.
    assert_eq!(ask(&proxy, "127.0.0.2").as_deref(), Some("429"));
    assert_eq!(ask(&proxy, "127.0.0.3").as_deref(), Some("200"));
    assert_eq!(proxy.refused("rate").to_string(), "1");
    attack.wait(Duration::from_mins(1));
    eventually("its connections to be free again", || ask(&proxy, "127.0.0.1"));
    proxy.quiet();
    proxy.finish();
}

#[test]
fn who_connects_too_often_is_reset() {
    let server = nginx(b"");
    let proxy = proxy(&server, "limits = { connection_rate = \"10/m\" }");
    let served = |from: &str| (0..15).filter(|_| ask(&proxy, from).is_some()).count();
    assert_eq!((served("127.0.0.2"), served("127.0.0.3")), (10, 10));
    assert_eq!(closed(&proxy, "rate").to_string(), "10");
    proxy.quiet();
    proxy.finish();
}
