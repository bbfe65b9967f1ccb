//! `/status`: how a running process fares, as JSON for programs and as a table for people.

use std::fmt::{self, Write};
use std::time::Duration;

use driver::Address;
use exchange::Phase;
use serde::{Deserialize, Serialize};

use crate::cli::Io;
use crate::figures::{Figures, Panel, Spread};
use crate::metrics::CLASSES;
use crate::quantity::{Count, Length, Size, counted};
use crate::settings::Settings;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Where it listens.
    pub(crate) listeners: Vec<String>,
    /// When it began.
    pub(crate) began: tokio::time::Instant,
    /// Its workers.
    pub(crate) workers: u32,
    /// How they drive sockets.
    pub(crate) io: Io,
    /// Most clients at one time.
    pub(crate) max_clients: u32,
    /// Bytes of one buffer.
    pub(crate) buffer_bytes: u32,
}

impl Frame {
    /// The frame of a process that listens there, beginning now.
    pub(crate) fn new(settings: &Settings, listeners: &[Address]) -> Self {
        Self {
            listeners: listeners.iter().map(Address::to_string).collect(),
            began: tokio::time::Instant::now(),
            workers: settings.workers,
            io: settings.io,
            max_clients: settings.max_clients,
            buffer_bytes: settings.pool.buffer_bytes,
        }
    }

    /// The status at this moment.
    pub(crate) fn status(&self, panel: &Panel) -> Status {
        let figures = panel.read();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            state: panel.stage().label().to_owned(),
            uptime_seconds: self.began.elapsed().as_secs(),
            io: self.io.driver().to_owned(),
            workers: self.workers,
            worker_restarts: figures.restarts,
            listeners: self.listeners.clone(),
            clients: self.clients(&figures),
            buffers: self.buffers(&figures),
            spool: SpoolState::of(&figures),
            log_lost: figures.access_dropped + figures.log_unwritten,
            exchanges: Exchanges::of(&figures),
            requests: Requests::of(&figures),
            times_ms: Times::of(&figures),
            servers: figures
                .upstreams
                .iter()
                .map(|server| Server {
                    upstream: server.group.to_string(),
                    address: server.address.to_string(),
                    up: server.up,
                    weight: server.weight,
                    backup: server.backup,
                    connections: server.connections,
                    leased: server.leased,
                    pinned: server.pinned,
                    idle: server.idle,
                    connecting: server.connecting,
                    connects: server.connects,
                    failures: server.failures,
                })
                .collect(),
        }
    }

    fn clients(&self, figures: &Figures) -> Clients {
        Clients {
            max: self.max_clients,
            parked: figures.clients_parked,
            active: figures.clients_active,
            lingering: figures.clients_lingering,
            accepted: figures.clients_accepted,
            closed: figures.clients_closed.iter().sum(),
        }
    }

    fn buffers(&self, figures: &Figures) -> Buffers {
        Buffers {
            bytes: self.buffer_bytes,
            total: figures.buffers,
            used: figures.buffers_used,
            promised: figures.buffers_promised,
            free_min: figures.buffers_free_min,
        }
    }
}

/// The answer of `/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) process: u32,
    /// `starting`, `accepting`, `draining` or `stopping`.
    pub(crate) state: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) io: String,
    pub(crate) workers: u32,
    pub(crate) worker_restarts: u64,
    pub(crate) listeners: Vec<String>,
    pub(crate) clients: Clients,
    pub(crate) buffers: Buffers,
    pub(crate) spool: SpoolState,
    /// Lines of the logs that were lost so far.
    pub(crate) log_lost: u64,
    pub(crate) exchanges: Exchanges,
    pub(crate) requests: Requests,
    pub(crate) times_ms: Times,
    pub(crate) servers: Vec<Server>,
}

/// Clients now and so far.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Clients {
    pub(crate) max: u32,
    pub(crate) parked: u64,
    pub(crate) active: u64,
    pub(crate) lingering: u64,
    pub(crate) accepted: u64,
    pub(crate) closed: u64,
}

/// The pools of all workers together.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Buffers {
    /// Of one buffer.
    pub(crate) bytes: u32,
    pub(crate) total: u64,
    pub(crate) used: u64,
    pub(crate) promised: u64,
    /// Fewest that were ever free.
    pub(crate) free_min: u64,
}

/// The spool; all zeroes where there is none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SpoolState {
    /// In use now.
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
    /// How often it had no room so far.
    pub(crate) full: u64,
    /// Reads and writes that failed so far.
    pub(crate) failures: u64,
}

impl SpoolState {
    fn of(figures: &Figures) -> Self {
        Self {
            bytes: figures.spool_bytes,
            capacity: figures.spool_most,
            full: figures.spool_full.iter().sum(),
            failures: figures.spool_failures,
        }
    }
}

impl fmt::Display for SpoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.capacity == 0 {
            return f.write_str("none");
        }
        write!(
            f,
            "{} of {} used; full {}, {}",
            Size(self.bytes),
            Size(self.capacity),
            counted(self.full, "time"),
            counted(self.failures, "failure")
        )
    }
}

/// Exchanges now, by what they await.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Exchanges {
    pub(crate) arriving: u64,
    #[serde(default)]
    pub(crate) authorizing: u64,
    pub(crate) collecting: u64,
    pub(crate) ready: u64,
    pub(crate) leased: u64,
    pub(crate) pending: u64,
    pub(crate) draining: u64,
    pub(crate) delivering: u64,
    #[serde(default)]
    pub(crate) tunnel: u64,
}

impl Exchanges {
    fn of(figures: &Figures) -> Self {
        let now = |phase: Phase| figures.exchanges[phase as usize];
        Self {
            arriving: now(Phase::Arriving),
            authorizing: now(Phase::Authorizing),
            collecting: now(Phase::Collecting),
            ready: now(Phase::Ready),
            leased: now(Phase::Leased),
            pending: now(Phase::Pending),
            draining: now(Phase::Draining),
            delivering: now(Phase::Delivering),
            tunnel: now(Phase::Tunnel),
        }
    }
}

/// Answers so far.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Requests {
    /// Counts of 1xx to 5xx.
    pub(crate) by_class: [u64; 5],
    /// Answers that were given in the server's stead.
    pub(crate) refused: u64,
    /// Sent again on a fresh connection.
    pub(crate) retries: u64,
}

impl Requests {
    fn of(figures: &Figures) -> Self {
        Self {
            by_class: figures.requests,
            refused: figures.refusals.iter().sum(),
            retries: figures.retries,
        }
    }
}

/// How long things took so far: bounds below which half and 99 of 100 lie, in milliseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) request: Percentiles,
    pub(crate) upstream: Percentiles,
    pub(crate) queue: Percentiles,
}

impl Times {
    fn of(figures: &Figures) -> Self {
        Self {
            request: Percentiles::of(&figures.request_seconds),
            upstream: Percentiles::of(&figures.upstream_seconds),
            queue: Percentiles::of(&figures.queue_seconds),
        }
    }
}

/// Bounds of a histogram's buckets; none if nothing was counted, or it took longer than a minute.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Percentiles {
    fn of(spread: &Spread) -> Self {
        let bound = |percent| Some(spread.percentile(percent)?.as_secs_f64() * 1e3);
        Self { p50: bound(50), p99: bound(99) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bound: Option<f64>| match bound {
            Some(millis) => format!("≤ {}", Length(Duration::from_secs_f64(millis / 1e3))),
            None => "–".to_owned(),
        };
        write!(f, "half {}, 99 % {}", shown(self.p50), shown(self.p99))
    }
}

/// One server and the connections to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Server {
    /// The name of its group.
    pub(crate) upstream: String,
    pub(crate) address: String,
    /// It has not failed since it last proved well.
    pub(crate) up: bool,
    /// Its share of the work.
    pub(crate) weight: u32,
    /// It serves only while all others are down.
    pub(crate) backup: bool,
    /// Most leases at one time.
    pub(crate) connections: u64,
    pub(crate) leased: u64,
    /// By event streams and tunnels; they count against no lease.
    pub(crate) pinned: u64,
    pub(crate) idle: u64,
    pub(crate) connecting: u64,
    /// Opened so far.
    pub(crate) connects: u64,
    /// Attempts that failed so far.
    pub(crate) failures: u64,
}

/// The status as a table for a terminal.
pub(crate) fn table(status: &Status) -> String {
    let mut rows = Rows(String::new());
    let up = Length(Duration::from_secs(status.uptime_seconds.max(1)));
    rows.add(
        "anteroom",
        format_args!(
            "{} {} for {up}, process {}, {} on {}",
            status.version,
            status.state,
            status.process,
            counted(u64::from(status.workers), "worker"),
            status.io
        ),
    );
    if status.worker_restarts > 0 {
        let restarts = counted(status.worker_restarts, "time");
        rows.add("", format_args!("a worker failed and was started anew {restarts}"));
    }
    rows.add("listening", format_args!("{}", status.listeners.join("  ")));
    let clients = &status.clients;
    rows.add(
        "clients",
        format_args!(
            "{} here: {} active, {} parked; at most {}; {} accepted so far",
            Count(clients.active + clients.parked),
            Count(clients.active),
            Count(clients.parked),
            Count(u64::from(clients.max)),
            Count(clients.accepted)
        ),
    );
    let buffers = &status.buffers;
    rows.add(
        "buffers",
        format_args!(
            "{} of {} used, {} each; never fewer than {} free",
            Count(buffers.used),
            Count(buffers.total),
            Size(u64::from(buffers.bytes)),
            Count(buffers.free_min)
        ),
    );
    rows.add("spool", format_args!("{}", status.spool));
    if status.log_lost > 0 {
        let lost = counted(status.log_lost, "line");
        rows.add("logs", format_args!("{lost} lost"));
    }
    add_exchanges(&mut rows, &status.exchanges);
    add_requests(&mut rows, status);
    for server in &status.servers {
        rows.add("server", server);
    }
    rows.0
}

fn add_exchanges(rows: &mut Rows, now: &Exchanges) {
    rows.add(
        "exchanges",
        format_args!(
            "{} arriving, {} ready, {} with the server, {} delivering; {}",
            Count(now.arriving + now.collecting),
            Count(now.ready),
            Count(now.leased + now.pending + now.draining),
            Count(now.delivering),
            counted(now.tunnel, "tunnel")
        ),
    );
}

fn add_requests(rows: &mut Rows, status: &Status) {
    let requests = &status.requests;
    let classes = CLASSES.into_iter().zip(requests.by_class).filter(|(_, count)| *count > 0);
    let answered: Vec<String> =
        classes.map(|(class, count)| format!("{} with {class}", Count(count))).collect();
    let answered = if answered.is_empty() { "none yet".to_owned() } else { answered.join(", ") };
    rows.add(
        "answered",
        format_args!(
            "{answered}; {} by anteroom itself, {}",
            Count(requests.refused),
            counted(requests.retries, "retry")
        ),
    );
    rows.add("requests", format_args!("took {}", status.times_ms.request));
    rows.add("server time", format_args!("took {}", status.times_ms.upstream));
    rows.add("queueing", format_args!("took {}", status.times_ms.queue));
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}: {}{}{} leased, {} idle, {} connecting, at most {}; {} pinned; {} opened, {} \
             failed",
            self.address,
            self.upstream,
            if self.up { "up, " } else { "down, " },
            self.role(),
            self.leased,
            self.idle,
            self.connecting,
            self.connections,
            Count(self.pinned),
            Count(self.connects),
            Count(self.failures)
        )
    }
}

impl Server {
    /// What sets it apart from the others of its group.
    fn role(&self) -> String {
        match (self.backup, self.weight) {
            (true, 1) => "backup, ".to_owned(),
            (true, weight) => format!("backup of weight {weight}, "),
            (false, 1) => String::new(),
            (false, weight) => format!("weight {weight}, "),
        }
    }
}

/// Lines with a name in front.
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, text: impl fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<12} {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Stage;
    use crate::figures::tests::panel;

    #[tokio::test]
    async fn the_status_survives_its_way_as_json_and_reads_as_a_table() {
        let (settings, workers, panel) = panel();
        workers[0].clients.set(1200);
        workers[0].clients_active.set(1000);
        workers[1].requests[1].add(7);
        workers[1].request_seconds.observe(Duration::from_millis(2));
        panel.enter(Stage::Accepting);
        panel.restarted();
        let frame = Frame::new(&settings, &["127.0.0.1:8080".parse().unwrap()]);
        let status = frame.status(&panel);
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        let table = table(&status);
        for part in [
            "accepting",
            "2 workers",
            "started anew 1 time",
            "127.0.0.1:8080",
            "1,200 here: 1,000 active, 200 parked; at most 100",
            "7 with 2xx",
            "half ≤ 2.5ms",
            "127.0.0.1:9000 of upstream: up, 0 leased",
            "at most 8; 0 pinned;",
            "spool        none",
        ] {
            assert!(table.contains(part), "no `{part}` in\n{table}");
        }
    }
}
