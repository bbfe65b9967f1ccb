//! What an idle WebSocket tunnel costs: user memory by PSS.

use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::error::Outcome;
use crate::report::{Claim, Report};
use crate::rows::{Length, parked};
use crate::stand::{Kind, Proxy, Setup, Stand, role};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::memory;

/// Tunnels held.
const TUNNELS: usize = 5000;
/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(1);

/// Bytes per tunnel in one round.
struct Held {
    /// Against the proxy with a table for one tunnel, and that one.
    alone: f64,
    /// Against itself, idle.
    idle: f64,
}

/// Measures nginx, HAProxy and anteroom in turn.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let tunnels = length.crowd(TUNNELS);
    let mut kept = [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom].map(|it| (it, Vec::new()));
    for number in 0..length.rounds {
        for turn in 0..kept.len() {
            let (proxy, rounds) = &mut kept[(turn + number) % 3];
            stand.patience.wait_for_quiet()?;
            let held = hold(stand, *proxy, tunnels)?;
            eprintln!("round {number} {proxy}: {:.0} B of user memory a tunnel", held.alone);
            rounds.push(held);
        }
    }
    let spread = |rounds: &[Held], of: fn(&Held) -> f64| Spread::of(rounds.iter().map(of));
    let mut report = Report::default();
    report.claim(Claim {
        what: format!("user memory per idle WebSocket tunnel, {tunnels} on one process, B"),
        limit: 400.0,
        aim: Some(200.0),
        found: spread(&kept[2].1, |held| held.alone),
    });
    let mut table = Table::new(&[
        "user memory per idle tunnel, B",
        "against a proxy with one tunnel",
        "against its own idle state",
    ]);
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

/// Holds one tunnel, then all of them, each having carried two frames both ways.
fn hold(stand: &Stand, proxy: Proxy, tunnels: usize) -> Outcome<Held> {
    let [_, one] = grown(stand, proxy, 1)?;
    let [idle, all] = grown(stand, proxy, tunnels)?;
    let each = |before: u64| {
        let grown = real(all.saturating_sub(before));
        grown / real(u64::try_from(tunnels).unwrap_or(1))
    };
    Ok(Held { alone: each(one), idle: each(idle) })
}

/// Memory of a proxy before and while it holds so many tunnels.
fn grown(stand: &Stand, proxy: Proxy, tunnels: usize) -> Outcome<[u64; 2]> {
    let server = Address::free()?;
    let (listen, count) = (server.to_string(), tunnels.to_string());
    let _server = role(&["switch", "--listen", &listen, "--clients", &count], None)?;
    let setup =
        Setup { kind: Kind::Tunnels, exchanges: tunnels, ..Setup::new(&server, tunnels + 16, 8) };
    let running = stand.start(proxy, &setup)?;
    let target = running.address.to_string();
    let processes = running.process.family();
    let before = memory(&processes)?.pss;
    let mut crowd = role(&["talk", "--target", &target, "--clients", &count], None)?;
    parked::round(&mut crowd, tunnels)?;
    thread::sleep(REST);
    Ok([before, memory(&processes)?.pss])
}
