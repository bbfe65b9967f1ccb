//! Processor time per request, or per mebibyte: the proxy alone on one core, the load and the
//! server on the other.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use crate::address::Address;
use crate::contest::{Contest, Contestant, Done};
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::{Length, Row};
use crate::stand::{Proxy, Setup, Stand, upstream};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// The core of the proxy.
pub(crate) const PROXY_CORE: u8 = 0;
/// The core of load and server.
pub(crate) const LOAD_CORE: u8 = 1;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Unix,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// One connection each, for all requests.
    Keep,
    /// One connection for each request.
    Fresh,
    /// The same over TLS: nobody resumes a session.
    Handshake,
}

/// A kind of load, and what anteroom's cost under it must be.
pub(crate) struct Work {
    title: &'static str,
    clients: usize,
    /// Upstream connections: the most of anteroom, those that nginx keeps.
    connections: usize,
    /// Whether HAProxy, too, is to queue beyond these.
    capped: bool,
    transport: Transport,
    style: Style,
    /// Whether clients speak TLS.
    secured: bool,
    /// Bytes of a response's body.
    size: usize,
    claims: &'static [Wanted],
}

/// A ratio that must hold: against whom, the most it may be, what it should be.
struct Wanted(Against, f64, Option<f64>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Against {
    Nginx,
    NginxAboveFloor,
    Haproxy,
}

/// Clients of one connection each, small responses by TCP.
const USUAL: Work = Work {
    title: "64 clients, 1 KiB, TCP upstream",
    clients: 64,
    connections: 64,
    capped: false,
    transport: Transport::Tcp,
    style: Style::Keep,
    secured: false,
    size: 1024,
    claims: &[Wanted(Against::Nginx, 0.95, Some(0.8)), Wanted(Against::NginxAboveFloor, 0.7, None)],
};

const UNIX: Work = Work {
    title: "64 clients, 1 KiB, Unix upstream",
    transport: Transport::Unix,
    claims: &[Wanted(Against::Nginx, 0.9, Some(0.75))],
    ..USUAL
};

const THOUSAND: Work = Work {
    title: "1,000 clients on 64 upstream connections, 1 KiB",
    clients: 1000,
    capped: true,
    claims: &[Wanted(Against::Nginx, 0.5, Some(0.35)), Wanted(Against::Haproxy, 0.7, None)],
    ..USUAL
};

const FRESH: Work = Work {
    title: "a new client connection for each request, 64 at once, 1 KiB",
    style: Style::Fresh,
    claims: &[Wanted(Against::Nginx, 0.9, Some(0.7))],
    ..USUAL
};

const MEBIBYTE: Work = Work {
    title: "16 clients, responses of 1 MiB",
    clients: 16,
    connections: 16,
    size: 1 << 20,
    claims: &[Wanted(Against::Nginx, 0.8, Some(0.6))],
    ..USUAL
};

const TLS_KEEPALIVE: Work = Work {
    title: "64 clients over TLS 1.3, 1 KiB, TCP upstream",
    secured: true,
    claims: &[Wanted(Against::Nginx, 1.0, Some(0.85))],
    ..USUAL
};

const TLS_HANDSHAKES: Work = Work {
    title: "a full TLS 1.3 handshake for each request, 64 clients, ECDSA P-256",
    style: Style::Handshake,
    secured: true,
    claims: &[Wanted(Against::Nginx, 1.0, None)],
    ..USUAL
};

impl Work {
    /// The work of a row, if the row is one of these.
    pub(crate) const fn of(row: Row) -> Option<&'static Self> {
        match row {
            Row::Keepalive => Some(&USUAL),
            Row::Unix => Some(&UNIX),
            Row::Thousand => Some(&THOUSAND),
            Row::Fresh => Some(&FRESH),
            Row::Mebibyte => Some(&MEBIBYTE),
            Row::TlsKeepalive => Some(&TLS_KEEPALIVE),
            Row::TlsHandshakes => Some(&TLS_HANDSHAKES),
            _ => None,
        }
    }

    /// How many clients ask at once.
    pub(crate) const fn clients(&self) -> u64 {
        self.clients as u64
    }

    /// How proxies are set up for it, the server being at this address.
    pub(crate) fn setup(&self, server: &Address) -> Setup {
        Setup {
            exchanges: self.clients,
            capped: self.capped,
            core: Some(PROXY_CORE),
            size: self.size,
            secured: self.secured,
            ..Setup::new(server, self.clients + 16, self.connections)
        }
    }

    /// Starts the server.
    pub(crate) fn server(&self, stand: &Stand) -> Outcome<(Address, Process)> {
        let address = match self.transport {
            Transport::Tcp => Address::free()?,
            Transport::Unix => Address::Unix(stand.folder.path("upstream.sock")),
        };
        let process = upstream(&address, self.size, Some(LOAD_CORE))?;
        Ok((address, process))
    }

    /// Measures everybody.
    pub(super) fn measure(&self, stand: &Stand, length: Length) -> Outcome<Report> {
        let (server, behind) = self.server(stand)?;
        let setup = self.setup(&server);
        let mut contest = Contest::default();
        let floor = Proxy::Floor { closes: self.style == Style::Fresh };
        for proxy in [floor, Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom] {
            // What understands nothing speaks no TLS.
            if self.secured && proxy == floor {
                continue;
            }
            contest.add(proxy.to_string(), stand.start(proxy, &setup)?);
        }
        if stand.other.is_some() {
            contest.add(Proxy::Other.to_string(), stand.start(Proxy::Other, &setup)?);
        }
        for (label, setup) in self.others(&setup) {
            contest.add(label, stand.start(Proxy::Nginx, &setup)?);
        }
        contest.hold(stand, length.rounds, &[&behind], &mut |contestant| {
            self.load(contestant, length.seconds)
        })?;
        Ok(self.report(&contest))
    }

    /// nginx in other ways than the one compared with: allowed to keep a connection for every
    /// client, so that it need not open any, which is not the same work; and with its default
    /// buffers for large responses.
    fn others(&self, setup: &Setup) -> Vec<(String, Setup)> {
        let mut others = Vec::new();
        if self.capped {
            let setup = Setup { connections: self.clients, ..setup.clone() };
            others.push((format!("nginx, {} kept", self.clients), setup));
        }
        if self.size >= 1 << 20 {
            let setup = Setup { size: 0, ..setup.clone() };
            others.push(("nginx, default buffers".to_owned(), setup));
        }
        others
    }

    /// Lets the clients ask one contestant for so many seconds.
    pub(super) fn load(&self, contestant: &Contestant, seconds: u64) -> Outcome<Done> {
        let address = contestant.running.address;
        let requests = match self.style {
            Style::Keep if self.secured => wrk(self.clients, seconds, ("https", address), &[])?,
            Style::Keep => wrk(self.clients, seconds, ("http", address), &[])?,
            Style::Handshake => {
                let closes = ["-H", "Connection: close"];
                wrk(self.clients, seconds, ("https", address), &closes)?
            }
            Style::Fresh => {
                let line = format!(
                    "fresh --target {address} --clients {} --milliseconds {}",
                    self.clients,
                    seconds * 1000
                );
                let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let mut process = Process::role(&words, Some(LOAD_CORE))?;
                let patience = Duration::from_secs(seconds + 15);
                let answered = process.line("fresh requests=", patience)?.parse()?;
                process.output(patience)?;
                real(answered)
            }
        };
        let mebibytes = real(u64::try_from(self.size)?) / f64::from(1 << 20);
        let units = if self.size >= 1 << 20 { requests * mebibytes } else { requests };
        Ok(Done { units, seconds: real(seconds), latency: None })
    }

    /// Lets the clients send so many requests, all of which must be answered.
    pub(crate) fn ask(&self, target: SocketAddrV4, requests: u64) -> Outcome<()> {
        let patience = Duration::from_mins(10);
        match self.style {
            Style::Keep | Style::Handshake => {
                let scheme = if self.secured { "https" } else { "http" };
                let line =
                    format!("--h1 -t1 -c{} -n{requests} {scheme}://{target}/load", self.clients);
                let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let load = Process::start(Path::new("h2load"), &words, Some(LOAD_CORE))?;
                let report = load.output(patience)?;
                if !report.contains(&format!(" {requests} succeeded")) {
                    return Err(failure(format!("h2load saw errors:\n{report}")));
                }
            }
            Style::Fresh => {
                let line = format!("fresh --target {target} --clients {}", self.clients);
                let line = format!("{line} --requests {requests}");
                let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let load = Process::role(&words, Some(LOAD_CORE))?;
                let report = load.output(patience)?;
                if !report.contains(&format!("fresh requests={requests}")) {
                    return Err(failure(report));
                }
            }
        }
        Ok(())
    }

    fn unit(&self) -> &'static str {
        if self.size >= 1 << 20 { "MiB" } else { "request" }
    }

    fn report(&self, contest: &Contest) -> Report {
        let (ours, nginx, floor) = ("anteroom", "nginx", "floor");
        let mut report = Report::default();
        for &Wanted(against, limit, aim) in self.claims {
            let (found, whom) = match against {
                Against::Nginx => (contest.ratio(ours, nginx), "nginx's"),
                Against::Haproxy => (contest.ratio(ours, "haproxy"), "HAProxy's"),
                Against::NginxAboveFloor => {
                    (contest.ratio_above(ours, nginx, floor), "nginx's, both above the floor")
                }
            };
            let what = format!("{}: CPU per {} against {whom}", self.title, self.unit());
            report.claim(Claim { what, limit, aim, found });
        }
        report.table(&table(contest, self.title, self.unit(), floor));
        if let Some(ratio) = contest.ratio(ours, &Proxy::Other.to_string()) {
            report.note(&format!("CPU of anteroom against its other build: {ratio:.3}."));
        }
        report.note(&disturbance(contest));
        report
    }
}

/// What everybody's work cost, each beside nginx's of the same round.
fn table(contest: &Contest, title: &str, unit: &str, floor: &str) -> Table {
    let cost = format!("CPU µs/{unit}");
    let rate = if unit == "MiB" { "MiB/s" } else { "requests/s" };
    let mut table = Table::new(&[title, &cost, "of nginx's", "of nginx's above the floor", rate]);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for label in contest.labels() {
        let above = contest.ratio_above(label, "nginx", floor);
        let rate = contest.rate(label);
        table.row(vec![
            label.to_owned(),
            cell(contest.cost(label)),
            cell(contest.ratio(label, "nginx")),
            cell(above.filter(|_| label != floor)),
            rate.map_or("–".to_owned(), |rate| format!("{rate:.0}")),
        ]);
    }
    table
}

/// How much of the machine others used.
pub(super) fn disturbance(contest: &Contest) -> String {
    let most = contest.disturbance();
    format!(
        "Beside any round, at most {:.1} % of the cores' time was stolen, and other programs used \
         at most {:.0} %.",
        most.stolen, most.others
    )
}

/// Lets wrk ask for so many seconds; the number of requests answered.
pub(super) fn wrk(
    clients: usize,
    seconds: u64,
    (scheme, target): (&str, SocketAddrV4),
    more: &[&str],
) -> Outcome<f64> {
    let line = format!("-t1 -c{clients} -d{seconds}s {scheme}://{target}/load");
    let words = more.iter().copied().chain(line.split_whitespace());
    let arguments: Vec<String> = words.map(str::to_owned).collect();
    let wrk = Process::start(Path::new("wrk"), &arguments, Some(LOAD_CORE))?;
    requests(&wrk.output(Duration::from_secs(seconds + 15))?)
}

/// The number of requests in wrk's report, if every one was answered as it should be.
fn requests(report: &str) -> Outcome<f64> {
    if report.contains("Non-2xx") || report.contains("Socket errors") {
        return Err(failure(format!("wrk saw errors:\n{report}")));
    }
    let line = report.lines().find(|line| line.contains(" requests in "));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number
        .filter(|&number| number > 0)
        .map(real)
        .ok_or_else(|| failure(format!("no requests in wrk's report:\n{report}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let report = "Running 3s test\n  61234 requests in 3.00s, 72MB read\nRequests/sec: 20411\n";
        assert!((requests(report).unwrap() - 61234.0).abs() < 1e-9);
        assert!(requests(&format!("{report}  Non-2xx or 3xx responses: 4\n")).is_err());
        assert!(requests("  0 requests in 3.00s").is_err());
    }

    #[test]
    fn mebibytes_are_the_unit_of_large_responses_only() {
        assert_eq!((USUAL.unit(), MEBIBYTE.unit()), ("request", "MiB"));
        assert!(Work::of(Row::Parked).is_none());
    }
}
