//! A thousand requests a second, at fixed times, beside a crowd that is parked and beside none:
//! what the crowd costs those who work.

use std::time::Duration;

use crate::address::Address;
use crate::contest::{Contest, Contestant, Done};
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::cpu::{LOAD_CORE, PROXY_CORE, disturbance};
use crate::rows::gunicorn::value;
use crate::rows::parked::{holder, round};
use crate::rows::{Length, millis};
use crate::stand::{Proxy, Setup, Stand, upstream};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// Clients that are parked.
const CROWD: usize = 18_000;
/// Clients that ask, and how often each does in a second.
const ASKING: usize = 50;
const RATE: u32 = 20;
/// Upstream connections (anteroom: the most; nginx: those kept).
const CONNECTIONS: usize = 64;
/// A round is longer than others by this: it holds few requests.
const LONGER: u64 = 2;

/// Measures nginx and anteroom, each with and without a crowd.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let crowd = length.crowd(CROWD);
    let server = Address::free()?;
    let behind = upstream(&server, 1024, Some(LOAD_CORE))?;
    let clients = crowd + ASKING + 16;
    let setup = Setup { core: Some(PROXY_CORE), ..Setup::new(&server, clients, CONNECTIONS) };
    let mut contest = Contest::default();
    let mut crowds = Vec::new();
    for proxy in [Proxy::Nginx, Proxy::Anteroom] {
        contest.add(alone(proxy), stand.start(proxy, &setup)?);
        let running = stand.start(proxy, &setup)?;
        let mut members = holder(running.address, crowd)?;
        round(&mut members, crowd)?;
        crowds.push(members);
        contest.add(beside(proxy, crowd), running);
    }
    let seconds = length.seconds * LONGER;
    contest.hold(stand, length.rounds, &[&behind], &mut |contestant| ask(contestant, seconds))?;
    for members in &mut crowds {
        round(members, crowd)?;
    }
    Ok(report(&contest, crowd))
}

fn alone(proxy: Proxy) -> String {
    format!("{proxy} without a crowd")
}

fn beside(proxy: Proxy, crowd: usize) -> String {
    format!("{proxy} beside {crowd}")
}

fn ask(contestant: &Contestant, seconds: u64) -> Outcome<Done> {
    let address = contestant.running.address;
    let line =
        format!("normal --target {address} --clients {ASKING} --rate {RATE} --seconds {seconds}");
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut asking = Process::role(&words, Some(LOAD_CORE))?;
    let said = asking.line("normal", Duration::from_secs(seconds * 12 + 60))?;
    asking.output(millis(5000))?;
    if value(&said, "errors")? > 0 {
        return Err(failure(format!("{}: {said}", contestant.label)));
    }
    let milliseconds = |key| Ok::<_, crate::error::Failure>(real(value(&said, key)?) / 1e3);
    let latency = Some((milliseconds("p50_us")?, milliseconds("p99_us")?));
    Ok(Done { units: real(value(&said, "requests")?), seconds: real(seconds), latency })
}

fn report(contest: &Contest, crowd: usize) -> Report {
    let mut report = Report::default();
    let (ours, ours_beside) = (alone(Proxy::Anteroom), beside(Proxy::Anteroom, crowd));
    report.claim(Claim {
        what: format!("CPU per request at 1,000/s beside {crowd} parked, against none"),
        limit: 1.05,
        aim: None,
        found: contest.ratio(&ours_beside, &ours),
    });
    let title = "1,000 requests/s, open loop";
    let titles = [title, "CPU µs/request", "of the same without a crowd", "p50 ms", "p99 ms"];
    let mut table = Table::new(&titles);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for proxy in [Proxy::Nginx, Proxy::Anteroom] {
        for label in [alone(proxy), beside(proxy, crowd)] {
            table.row(vec![
                label.clone(),
                cell(contest.cost(&label)),
                cell(contest.ratio(&label, &alone(proxy))),
                cell(contest.latency(&label, false)),
                cell(contest.latency(&label, true)),
            ]);
        }
    }
    report.table(&table);
    report.note("Every parked client was answered again afterwards.");
    report.note(&disturbance(contest));
    report
}
