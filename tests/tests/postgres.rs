//! `PostgreSQL`, passed through: it speaks a protocol of its own, in which either side may be silent for
//! long, much goes both ways, and a second connection cancels what goes on in the first.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use blackbox::folder::Folder;
use blackbox::postgres::{psql, server};
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, Setup};
use blackbox::wait::{eventually, pause};
use rustix::process::Signal;

/// What psql makes of a command, through anteroom.
fn ask(proxy: &Anteroom, command: &str) -> String {
    let mut process = Process::start(psql(proxy.address()).args(["-c", command]));
    let code = process.wait(Duration::from_mins(1)).code();
    eventually("the last of what it wrote", || process.is_heard_out().then_some(()));
    assert_eq!(code, Some(0), "{command}: {}", process.output());
    process.output()
}

/// Tunnels at the moment.
fn pinned(proxy: &Anteroom) -> f64 {
    proxy.figure("anteroom_upstream_connections", &[("state", "pinned")])
}

#[test]
fn psql_does_not_notice() {
    let server = server();
    let proxy = Setup::new(server.address()).flag("--pass").start();
    assert_eq!(ask(&proxy, "select 6 * 7").trim(), "42");

    // Some megabytes in each direction.
    let folder = Folder::new();
    let rows = |number: u32| format!("{number}\t{}\n", "abcdefgh".repeat(20 + number as usize % 9));
    let sent: String = (0..40_000).map(rows).collect();
    assert!(sent.len() > 7 << 20);
    let file = folder.write("sent", &sent);
    let back = folder.file("back");
    ask(&proxy, "create table t (number int, text text)");
    ask(&proxy, &format!("\\copy t from '{file}'"));
    ask(&proxy, &format!("\\copy (select * from t order by number) to '{back}'"));
    assert!(std::fs::read_to_string(&back).expect("a file") == sent, "every row, both ways");
    let rows = ask(&proxy, "select count(*), sum(length(text)) from t");
    assert_eq!(rows.trim().split('|').next(), Some("40000"), "{rows}");

    // What goes on is cancelled over a connection of its own.
    let mut sleeper = Process::start(psql(proxy.address()).args(["-c", "select pg_sleep(50)"]));
    let sleeps = "select count(*) from pg_stat_activity where query = 'select pg_sleep(50)'";
    eventually("it to sleep", || (ask(&proxy, sleeps).trim() == "1").then_some(()));
    let begun = Instant::now();
    sleeper.signal(Signal::INT);
    let code = sleeper.wait(Duration::from_secs(20)).code();
    assert!(code == Some(1) && begun.elapsed() < Duration::from_secs(20));
    eventually("its word", || sleeper.output().contains("canceling statement").then_some(()));

    eventually("every connection to be closed", || (pinned(&proxy) == 0.0).then_some(()));
    proxy.quiet();
    proxy.finish();
}

/// A client that listens says nothing and hears nothing for long: it holds no buffer meanwhile, and hears
/// at once what there is.
#[test]
fn whoever_listens_holds_no_buffer() {
    let server = server();
    let proxy = Setup::new(server.address()).flag("--pass").start();
    let mut listener = Listener::begin(&proxy);
    listener.asks("listen news");
    pause(300);
    assert_eq!(pinned(&proxy).to_string(), "1");
    assert_eq!(proxy.figure("anteroom_buffers", &[("state", "used")]).to_string(), "0");
    ask(&proxy, "notify news, 'it rains'");
    let (kind, body) = listener.hears();
    let text = String::from_utf8_lossy(&body);
    assert!(kind == b'A' && text.contains("news\0it rains\0"), "{text}");
    drop(listener);
    eventually("every connection to be closed", || (pinned(&proxy) == 0.0).then_some(()));
    proxy.finish();
}

/// A client of its protocol that can wait for what it did not ask for, as psql cannot.
struct Listener(TcpStream);

impl Listener {
    fn begin(proxy: &Anteroom) -> Self {
        let mut stream = TcpStream::connect(proxy.address()).expect("anteroom accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
        let settings = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
        let length = u32::try_from(settings.len() + 4).expect("it is short");
        stream.write_all(&[&length.to_be_bytes()[..], settings].concat()).expect("it is taken");
        let mut listener = Self(stream);
        listener.hears_until(b'Z');
        listener
    }

    /// Asks, and hears all of the answer.
    fn asks(&mut self, query: &str) {
        let length = u32::try_from(query.len() + 5).expect("it is short");
        let message = [b"Q", &length.to_be_bytes()[..], query.as_bytes(), b"\0"].concat();
        self.0.write_all(&message).expect("it is taken");
        self.hears_until(b'Z');
    }

    fn hears_until(&mut self, last: u8) {
        loop {
            let (kind, body) = self.hears();
            assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&body));
            if kind == last {
                return;
            }
        }
    }

    /// The next message.
    fn hears(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).expect("a message");
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.0.read_exact(&mut body).expect("all of it");
        (kind, body)
    }
}
