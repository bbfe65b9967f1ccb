//! What access log and metrics cost per request: each proxy with and without, in turn.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::contest::{Contest, Contestant, Done};
use crate::error::{Outcome, While, failure};
use crate::report::{Claim, Report};
use crate::rows::cpu::disturbance;
use crate::rows::{Length, Row, Work, millis};
use crate::stand::{Proxy, Running, Setup, Stand};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// How long after a round the last lines may be on their way: that belongs to their cost.
const FLUSH: u64 = 1200;

/// Measures nginx, HAProxy and anteroom under the usual work, without and with logs.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let work = Work::of(Row::Keepalive).ok_or_else(|| failure("there is no usual work"))?;
    let (server, behind) = work.server(stand)?;
    let plain = work.setup(&server);
    let logging = Setup { logs: true, ..plain.clone() };
    let mut contest = Contest::default();
    for proxy in [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom] {
        contest.add(proxy.to_string(), stand.start(proxy, &plain)?);
        contest.add(logged(proxy), stand.start(proxy, &logging)?);
    }
    contest.hold(stand, length.rounds, &[&behind], &mut |contestant| {
        let done = work.load(contestant, length.seconds)?;
        scrape(&contestant.running)?;
        thread::sleep(millis(FLUSH));
        complete(contestant, &done)?;
        Ok(done)
    })?;
    Ok(report(&contest))
}

fn logged(proxy: Proxy) -> String {
    match proxy {
        Proxy::Anteroom => format!("{proxy} with log and metrics"),
        _ => format!("{proxy} with log"),
    }
}

/// Reads the metrics once, where there are any.
fn scrape(running: &Running) -> Outcome<()> {
    let Some(admin) = running.admin else { return Ok(()) };
    let mut stream = TcpStream::connect(admin).doing("admin")?;
    stream.set_read_timeout(Some(millis(5000)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).doing("metrics")?;
    let whole = text.starts_with("HTTP/1.1 200") && text.contains("anteroom_requests_total");
    if whole { Ok(()) } else { Err(failure(format!("odd metrics: {text}"))) }
}

/// Sees that every request of the round has its line, and empties the log for the next one.
fn complete(contestant: &Contestant, done: &Done) -> Outcome<()> {
    let Some(log) = &contestant.running.log else { return Ok(()) };
    let name = log.display().to_string();
    let lines = fs::read(log).doing(&name)?.lines().count();
    OpenOptions::new().write(true).truncate(true).open(log).doing(&name)?;
    if real(u64::try_from(lines)?) < done.units {
        let label = &contestant.label;
        return Err(failure(format!("{label}: {lines} lines for {:.0} requests", done.units)));
    }
    Ok(())
}

fn report(contest: &Contest) -> Report {
    let mut report = Report::default();
    let ours = Proxy::Anteroom;
    report.claim(Claim {
        what: "CPU per request with access log and metrics, against without".to_owned(),
        limit: 1.05,
        aim: Some(1.03),
        found: contest.ratio(&logged(ours), &ours.to_string()),
    });
    let title = "64 clients, 1 KiB, TCP upstream; logs are JSON into a file";
    let mut table =
        Table::new(&[title, "CPU µs/request", "of the same without", "of nginx with log"]);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for proxy in [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom] {
        let plain = proxy.to_string();
        for label in [plain.clone(), logged(proxy)] {
            table.row(vec![
                label.clone(),
                cell(contest.cost(&label)),
                cell(contest.ratio(&label, &plain)),
                cell(contest.ratio(&label, &logged(Proxy::Nginx))),
            ]);
        }
    }
    report.table(&table);
    report.note("Every request has its line in each log; metrics are read once a round.");
    report.note(&disturbance(contest));
    report
}
