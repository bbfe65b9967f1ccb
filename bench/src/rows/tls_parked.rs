//! What a parked client costs that speaks TLS: user memory by PSS.

use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::error::Outcome;
use crate::report::{Claim, Report};
use crate::rows::{Length, parked};
use crate::stand::{Proxy, Setup, Stand, role, upstream};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::memory;

/// Clients held.
const CLIENTS: usize = 10_000;
/// Upstream connections.
const CONNECTIONS: usize = 64;
/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(1);

/// Bytes per client in one round.
struct Held {
    /// Against the proxy with a table for one client, and that one.
    alone: f64,
    /// Against itself, idle.
    idle: f64,
}

/// Measures nginx, HAProxy and anteroom in turn.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let clients = length.crowd(CLIENTS);
    let mut kept = [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom].map(|it| (it, Vec::new()));
    for number in 0..length.rounds {
        for turn in 0..kept.len() {
            let (proxy, rounds) = &mut kept[(turn + number) % 3];
            stand.patience.wait_for_quiet()?;
            let held = hold(stand, *proxy, clients)?;
            eprintln!("round {number} {proxy}: {:.0} B of user memory a TLS client", held.alone);
            rounds.push(held);
        }
    }
    let spread = |rounds: &[Held], of: fn(&Held) -> f64| Spread::of(rounds.iter().map(of));
    let mut report = Report::default();
    report.claim(Claim {
        what: format!("user memory per parked TLS client, {clients} on one process, B"),
        limit: 4096.0,
        aim: Some(2560.0),
        found: spread(&kept[2].1, |held| held.alone),
    });
    let mut table = Table::new(&[
        "user memory per parked TLS client, B",
        "against a proxy with one client",
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

/// Holds one client, then all of them, each having asked twice.
fn hold(stand: &Stand, proxy: Proxy, clients: usize) -> Outcome<Held> {
    let [_, one] = grown(stand, proxy, 1)?;
    let [idle, all] = grown(stand, proxy, clients)?;
    let each = |before: u64| {
        let grown = real(all.saturating_sub(before));
        grown / real(u64::try_from(clients).unwrap_or(1))
    };
    Ok(Held { alone: each(one), idle: each(idle) })
}

/// Memory of a proxy before and while it holds so many clients.
fn grown(stand: &Stand, proxy: Proxy, clients: usize) -> Outcome<[u64; 2]> {
    let server = Address::free()?;
    let _server = upstream(&server, 1024, None)?;
    let setup = Setup { secured: true, ..Setup::new(&server, clients, CONNECTIONS) };
    let running = stand.start(proxy, &setup)?;
    let (target, count) = (running.address.to_string(), clients.to_string());
    let processes = running.process.family();
    let before = memory(&processes)?.pss;
    let mut crowd = role(&["hold", "--tls", "--target", &target, "--clients", &count], None)?;
    parked::round(&mut crowd, clients)?;
    parked::round(&mut crowd, clients)?;
    thread::sleep(REST);
    Ok([before, memory(&processes)?.pss])
}
