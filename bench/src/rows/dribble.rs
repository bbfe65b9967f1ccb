//! Memory of clients in the middle of a slow POST, and how many connections they keep busy at
//! the server.

use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::diag::Held;
use crate::error::{Outcome, failure};
use crate::report::{Claim, Report};
use crate::rows::gunicorn::{dribble, others, value};
use crate::rows::watch::Watch;
use crate::rows::{Length, millis};
use crate::stand::{Proxy, Setup, Stand, gunicorn};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::memory;

/// Clients that dribble.
const CROWD: usize = 5_000;
/// Upstream connections (anteroom: the most; nginx: those kept when idle).
const CONNECTIONS: usize = 8;
/// From the crowd's first bytes to when memory is read: all have connected in the first second,
/// sent their head and the first part of their body in the second one, and about 98 requests
/// end in each.
const AHEAD: Duration = Duration::from_secs(8);

/// What one round of one proxy showed.
struct Seen {
    /// User memory per client, B.
    memory: f64,
    /// Connections at the server.
    most: Held,
    /// Requests answered 200.
    answered: f64,
    /// Everything else that became of the requests.
    otherwise: String,
}

/// Measures nginx, HAProxy and anteroom in turn.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let crowd = length.crowd(CROWD);
    let mut all = [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom].map(|proxy| (proxy, Vec::new()));
    let server = Address::free()?;
    let _gunicorn = gunicorn::start(&stand.folder, &server)?;
    for number in 0..length.rounds {
        for turn in 0..all.len() {
            let (proxy, rounds) = &mut all[(turn + number) % 3];
            stand.patience.wait_for_quiet()?;
            let seen = play(stand, *proxy, &server, crowd)?;
            eprintln!(
                "round {number} {proxy}: {:.0} B, {} connections, {:.0} answered, otherwise {}",
                seen.memory, seen.most.open, seen.answered, seen.otherwise
            );
            rounds.push(seen);
        }
    }
    Ok(report(&all, crowd))
}

fn play(stand: &Stand, proxy: Proxy, server: &Address, crowd: usize) -> Outcome<Seen> {
    let setup = Setup::new(server, crowd + 200, CONNECTIONS);
    let running = stand.start(proxy, &setup)?;
    thread::sleep(millis(300));
    let footprint = || Ok::<_, crate::error::Failure>(memory(&running.process.family())?.pss);
    let before = footprint()?;
    let watch = Watch::start(server.port())?;
    let mut slow = dribble(running.address, crowd)?;
    thread::sleep(AHEAD);
    let during = footprint()?;
    slow.tell("stop")?;
    let said = slow.line("slow", Duration::from_secs(20))?;
    let answered = real(value(&said, "200").unwrap_or_default());
    if answered < 1.0 {
        return Err(failure(format!("no slow request was answered behind {proxy}: {said}")));
    }
    let memory = real(during.saturating_sub(before)) / real(u64::try_from(crowd)?);
    Ok(Seen { memory, most: watch.most()?, answered, otherwise: others(&said) })
}

fn report(all: &[(Proxy, Vec<Seen>); 3], crowd: usize) -> Report {
    let mut report = Report::default();
    let title = format!("{crowd} clients in the middle of a 2 KiB POST at 40 B/s");
    let mut table = Table::new(&[
        &title,
        "user memory per client, B",
        "connections at the server at once",
        "answered in a round",
        "otherwise",
    ]);
    for (proxy, rounds) in all {
        let memory = Spread::of(rounds.iter().map(|seen| seen.memory));
        let most =
            rounds.iter().map(|seen| real(u64::try_from(seen.most.open).unwrap_or(u64::MAX)));
        let most = Spread::of(most);
        let answered = Spread::of(rounds.iter().map(|seen| seen.answered));
        let otherwise: Vec<&str> = rounds.iter().map(|seen| seen.otherwise.as_str()).collect();
        let wrong = otherwise.iter().filter(|&&told| told != "none").count();
        if *proxy == Proxy::Anteroom {
            let what = format!("user memory per client, {title}, B");
            report.claim(Claim { what, limit: 3584.0, aim: Some(2662.0), found: memory });
            let what = "rounds in which a slow request failed".to_owned();
            let found = Spread::of([real(u64::try_from(wrong).unwrap_or(u64::MAX))]);
            report.claim(Claim { what, limit: 0.0, aim: None, found });
            let what = format!("upstream connections busy at once, `--connections {CONNECTIONS}`");
            let limit = real(u64::try_from(CONNECTIONS).unwrap_or(u64::MAX));
            report.claim(Claim { what, limit, aim: None, found: most });
        }
        let cell = |spread: Option<Spread>| {
            spread.map_or("–".to_owned(), |spread| format!("{spread:.0}"))
        };
        let otherwise = otherwise.into_iter().find(|&told| told != "none").unwrap_or("none");
        table.row(vec![
            proxy.to_string(),
            cell(memory),
            cell(most),
            cell(answered),
            otherwise.to_owned(),
        ]);
    }
    report.table(&table);
    report
}
