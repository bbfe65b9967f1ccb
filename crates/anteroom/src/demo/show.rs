//! The live figures of the demo: refreshed in place on a terminal, one line at a time elsewhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use driver::Address;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::crowd::Crowd;
use super::server::Seen;
use super::{CONNECTIONS, NORMAL};
use crate::figures::{Panel, Stage};
use crate::quantity::{Count, Length, Size, counted};

/// How often figures are refreshed on a terminal, and written elsewhere.
const REFRESH: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(1);
/// How soon the end of the process is noticed.
const GLANCE: Duration = Duration::from_millis(50);
/// Latencies older than this are forgotten.
const WINDOW: Duration = Duration::from_secs(10);

/// What the demo shows, and where it looks.
pub(super) struct Show {
    pub(super) proxy: Address,
    pub(super) admin: Address,
    /// Slow clients asked for.
    pub(super) crowd_size: u32,
    pub(super) panel: Arc<Panel>,
    pub(super) seen: Arc<Seen>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) latencies: Latencies,
}

/// The figures at one moment.
#[derive(Clone, Debug, PartialEq)]
struct Moment {
    clients: u64,
    slow: u64,
    server_now: u64,
    server_most: u64,
    buffers_used: u64,
    buffers: u64,
    finished: u64,
    slow_finished: u64,
    lost: u64,
    /// Median and 99th percentile of normal clients.
    normal: Option<[Duration; 2]>,
    memory: Option<u64>,
}

impl Show {
    /// Says what runs and how to try it.
    pub(super) fn introduce(&self) {
        let (_, proxy) = reach(&self.proxy);
        let (_, admin) = reach(&self.admin);
        let mut text = format!(
            "anteroom demo: a server of its own, which is shown at most {CONNECTIONS} connections, \
             and the proxy before it.\n  proxy    {proxy}/\n  figures  {admin}/\n"
        );
        if self.crowd_size > 0 {
            let crowd = Count(u64::from(self.crowd_size));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  crowd    {crowd} slow clients, 40 bytes a second each, and {NORMAL} normal ones"
            );
        } else {
            text.push_str(&self.suggestions());
        }
        text.push_str("Ctrl-C ends it.\n\n");
        put(&text);
    }

    /// What to try without a crowd.
    fn suggestions(&self) -> String {
        let (option, proxy) = reach(&self.proxy);
        let curl = format!("curl{option}");
        format!(
            "Try it:\n  {curl} '{proxy}/slow?ms=500'\n  {curl} -d hello {proxy}/echo\n  \
             {curl} -N {proxy}/stream\n  {curl} -o /dev/null '{proxy}/bytes?n=1048576'\n  \
             anteroom status --admin {}\n",
            self.admin
        )
    }

    /// Shows figures until the process begins to end; then the crowd leaves.
    pub(super) async fn run(mut self) -> Self {
        if std::io::stdout().is_terminal() {
            self.refresh_in_place().await;
        } else {
            self.write_lines().await;
        }
        self.crowd.leave();
        self
    }

    async fn refresh_in_place(&mut self) {
        let began = Instant::now();
        let mut lines = 0;
        while self.serves_for(REFRESH).await {
            let table = self.table(&self.look(), began.elapsed());
            let up = if lines > 0 { format!("\x1b[{lines}A\x1b[J") } else { String::new() };
            put(&format!("{up}{table}"));
            lines = table.lines().count();
        }
    }

    /// Without a crowd, only what is new.
    async fn write_lines(&mut self) {
        let began = Instant::now();
        let mut last = None;
        while self.serves_for(LINE).await {
            let moment = self.look();
            let news = Moment { memory: None, ..moment.clone() };
            if self.crowd_size > 0 || last.as_ref() != Some(&news) {
                put(&line(&moment, began.elapsed()));
            }
            last = Some(news);
        }
    }

    /// Waits; false as soon as the process has begun to end.
    async fn serves_for(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        while Instant::now() < until {
            if self.panel.stage() >= Stage::Draining {
                return false;
            }
            sleep(GLANCE).await;
        }
        self.latencies.collect();
        self.panel.stage() < Stage::Draining
    }

    fn look(&self) -> Moment {
        let figures = self.panel.read();
        Moment {
            clients: figures.clients_active + figures.clients_parked,
            slow: self.crowd.slow_here(),
            server_now: self.seen.now(),
            server_most: self.seen.most(),
            buffers_used: figures.buffers_used,
            buffers: figures.buffers,
            finished: figures.requests.iter().sum(),
            slow_finished: self.crowd.slow_done(),
            lost: self.crowd.lost(),
            normal: self.latencies.percentiles([50, 99]),
            memory: memory(),
        }
    }

    fn table(&self, now: &Moment, passed: Duration) -> String {
        let crowded = self.crowd_size > 0;
        let mut rows = Rows(format!("running for {} s; Ctrl-C ends it\n", passed.as_secs()));
        let clients = Count(now.clients);
        if crowded {
            rows.add("clients held", format_args!("{clients}, {} of them slow", Count(now.slow)));
        } else {
            rows.add("clients held", clients);
        }
        let most = Count(now.server_most);
        let sees = counted(now.server_now, "connection");
        rows.add("server sees", format_args!("{sees} now, at most {most} so far"));
        let buffers = Count(now.buffers);
        rows.add("buffers used", format_args!("{} of {buffers}", Count(now.buffers_used)));
        rows.add("requests done", Count(now.finished));
        if crowded {
            rows.add("  by slow clients", Count(now.slow_finished));
            rows.add("normal clients", normal_words(now.normal));
        }
        if let Some(bytes) = now.memory {
            let whose = if crowded { "proxy, server and crowd" } else { "proxy and server" };
            rows.add("memory", format_args!("{} for {whose} together", Size(bytes)));
        }
        if now.lost > 0 {
            rows.add("lost", counted(now.lost, "connection"));
        }
        rows.0
    }

    /// Says what it came to, and what to try next.
    pub(super) fn farewell(&self) {
        let now = self.look();
        let held = if self.crowd_size > 0 {
            format!(
                " to {} slow clients and {NORMAL} normal ones",
                Count(u64::from(self.crowd_size))
            )
        } else {
            String::new()
        };
        put(&format!(
            "\nIt is over. The server saw {} at most, and gave {} answers{held}.\nNext:\n{}  \
             anteroom proxy --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000   (a server of \
             yours)\n",
            counted(now.server_most, "connection"),
            Count(now.finished),
            if self.crowd_size > 0 { "" } else { "  anteroom demo --crowd 1000\n" },
        ));
    }
}

/// The figures on one line, for where nothing can be refreshed.
fn line(now: &Moment, passed: Duration) -> String {
    let mut line = format!(
        "{:>4} s  clients {} ({} slow)  server sees {}, at most {}  buffers {}/{}  done {}",
        passed.as_secs(),
        now.clients,
        now.slow,
        now.server_now,
        now.server_most,
        now.buffers_used,
        now.buffers,
        now.finished,
    );
    if let Some([median, p99]) = now.normal {
        let _ = write!(line, "  normal median {} p99 {}", Length(median), Length(p99));
    }
    if let Some(bytes) = now.memory {
        let _ = write!(line, "  memory {}", Size(bytes));
    }
    if now.lost > 0 {
        let _ = write!(line, "  lost {}", now.lost);
    }
    line + "\n"
}

/// What reaches an address with curl: an option, if one is needed, and the URL to begin with.
fn reach(address: &Address) -> (String, String) {
    match address {
        Address::Ip(ip) if ip.ip().is_unspecified() => {
            (String::new(), format!("http://127.0.0.1:{}", ip.port()))
        }
        Address::Ip(ip) => (String::new(), format!("http://{ip}")),
        Address::Unix(path) => {
            (format!(" --unix-socket {}", path.display()), "http://localhost".to_owned())
        }
    }
}

/// Lines with a name in front.
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "  {name:<18} {value}");
    }
}

fn normal_words(normal: Option<[Duration; 2]>) -> String {
    match normal {
        Some([median, p99]) => {
            format!("answered in {} (median), {} (99th of 100)", Length(median), Length(p99))
        }
        None => "not answered lately".to_owned(),
    }
}

/// What the process has in memory now, bytes.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// A terminal that went away is no reason to stop.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How long normal clients waited lately.
pub(super) struct Latencies {
    source: UnboundedReceiver<Duration>,
    recent: VecDeque<(Instant, Duration)>,
}

impl Latencies {
    pub(super) const fn new(source: UnboundedReceiver<Duration>) -> Self {
        Self { source, recent: VecDeque::new() }
    }

    /// Takes what came in, and forgets what is old.
    fn collect(&mut self) {
        let now = Instant::now();
        while let Ok(latency) = self.source.try_recv() {
            self.recent.push_back((now, latency));
        }
        while self.recent.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.recent.pop_front();
        }
    }

    fn percentiles<const N: usize>(&self, percents: [usize; N]) -> Option<[Duration; N]> {
        let mut sorted: Vec<Duration> = self.recent.iter().map(|(_, latency)| *latency).collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(percents.map(|percent| sorted[(last * percent).div_ceil(100)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn percentiles_are_those_of_what_came_in() {
        let (send, source) = unbounded_channel();
        let mut latencies = Latencies::new(source);
        assert_eq!(latencies.percentiles([50, 99]), None);
        for millis in (0..=100).rev() {
            send.send(Duration::from_millis(millis)).unwrap();
        }
        latencies.collect();
        let expected = [50, 99].map(Duration::from_millis);
        assert_eq!(latencies.percentiles([50, 99]), Some(expected));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
