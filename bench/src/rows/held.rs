//! What each of many that rest costs a proxy: user memory by PSS.

use std::thread;
use std::time::Duration;

use crate::error::Outcome;
use crate::report::{Claim, Report};
use crate::rows::{Length, parked};
use crate::stand::{Proxy, Setup, Stand, role};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::memory;

/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(1);

/// What is held, and what it may cost.
pub(super) struct Kind {
    /// One of them, as the report calls it.
    pub(super) one: &'static str,
    /// How many are held.
    pub(super) count: usize,
    /// Bytes of each: at most, and aimed at.
    pub(super) limit: f64,
    pub(super) aim: f64,
    /// The role that holds them, before its target and their number.
    pub(super) holder: &'static [&'static str],
    /// How often each is heard of before it rests.
    pub(super) rounds: usize,
}

/// Bytes of each in one round.
struct Held {
    /// Against the proxy with a table for one, and that one.
    alone: f64,
    /// Against itself, idle.
    idle: f64,
}

/// Measures nginx, HAProxy and anteroom in turn. `behind` starts the server for so many, and says how
/// the proxy before it is set up.
pub(super) fn measure<Server>(
    stand: &Stand,
    length: Length,
    kind: &Kind,
    behind: fn(usize) -> Outcome<(Server, Setup)>,
) -> Outcome<Report> {
    let (count, one) = (length.crowd(kind.count), kind.one);
    let mut kept = [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom].map(|it| (it, Vec::new()));
    let grown = |proxy, count| grown(stand, proxy, kind, count, behind(count)?);
    for number in 0..length.rounds {
        for turn in 0..kept.len() {
            let (proxy, rounds) = &mut kept[(turn + number) % 3];
            stand.patience.wait_for_quiet()?;
            let [_, single] = grown(*proxy, 1)?;
            let [idle, all] = grown(*proxy, count)?;
            let each =
                |before: u64| (real(all) - real(before)) / real(u64::try_from(count).unwrap_or(1));
            let held = Held { alone: each(single), idle: each(idle) };
            eprintln!("round {number} {proxy}: {:.0} B of user memory a {one}", held.alone);
            rounds.push(held);
        }
    }
    let spread = |rounds: &[Held], of: fn(&Held) -> f64| Spread::of(rounds.iter().map(of));
    let mut report = Report::default();
    report.claim(Claim {
        what: format!("user memory per {one}, {count} on one process, B"),
        limit: kind.limit,
        aim: Some(kind.aim),
        found: spread(&kept[2].1, |held| held.alone),
    });
    let what = format!("user memory per {one}, B");
    let mut table =
        Table::new(&[&what, "against a proxy with one of them", "against its own idle state"]);
    let cell =
        |found: Option<Spread>| found.map_or("–".to_owned(), |found| format!("{found:.0}"));
    for (proxy, rounds) in &kept {
        table.row(vec![
            proxy.to_string(),
            cell(spread(rounds, |held| held.alone)),
            cell(spread(rounds, |held| held.idle)),
        ]);
    }
    report.table(&table);
    Ok(report)
}

/// Memory of a proxy before and while it holds so many.
fn grown<Server>(
    stand: &Stand,
    proxy: Proxy,
    kind: &Kind,
    count: usize,
    (_server, setup): (Server, Setup),
) -> Outcome<[u64; 2]> {
    let running = stand.start(proxy, &setup)?;
    let (target, clients) = (running.address.to_string(), count.to_string());
    let processes = running.process.family();
    let before = memory(&processes)?.pss;
    let ends = ["--target", &target, "--clients", &clients];
    let mut crowd = role(&[kind.holder, &ends].concat(), None)?;
    for _ in 0..kind.rounds {
        parked::round(&mut crowd, count)?;
    }
    thread::sleep(REST);
    Ok([before, memory(&processes)?.pss])
}
