//! Parked clients beyond what one process may open: several processes that listen at one
//! address (`--reuse-port`), and as many that hold the clients.

use std::fs;

use crate::address::Address;
use crate::error::{Outcome, While, failure};
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::Length;
use crate::rows::parked::{answered, holder_from, round};
use crate::slab::{Growth, Slabs};
use crate::stand::{Proxy, Running, Setup, Stand, tcp, upstream};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::{Memory, memory};

/// Clients for each process on average. The kernel spreads them by their addresses, not evenly.
const SHARE: usize = 17_000;
/// The most clients of one process: the rest of its 20,000 descriptors is for everything else.
const MOST: usize = 18_500;
/// Upstream connections of each process.
const CONNECTIONS: usize = 8;
/// What must stay available while the crowd grows.
const SPARE_KIB: u64 = 1 << 20;

/// What one crowd showed.
struct Seen {
    processes: usize,
    /// Clients that were held at once.
    held: usize,
    /// Of these, the ones that were answered again at last.
    again: usize,
    /// User memory of each process beyond that of one with a table for one client, B.
    user: Vec<f64>,
    /// The kernel's objects of both ends, B.
    kernel: f64,
}

/// Holds so many clients, once.
pub(super) fn measure(stand: &Stand, length: Length, clients: usize) -> Outcome<Report> {
    let clients = length.crowd(clients);
    stand.patience.wait_for_quiet()?;
    Ok(report(&hold(stand, clients)?, clients))
}

fn hold(stand: &Stand, clients: usize) -> Outcome<Seen> {
    let processes = clients.div_ceil(SHARE).max(2);
    let server = Address::free()?;
    let _server = upstream(&server, 1024, None)?;
    let single = single(stand, &server)?;
    let shared = Address::free()?;
    let setup = Setup { shared: Some(shared.clone()), ..Setup::new(&server, MOST, CONNECTIONS) };
    let (before, slabs) = (available()?, Slabs::now()?);
    let mut proxies: Vec<Running> = Vec::new();
    for _ in 0..processes {
        proxies.push(stand.start(Proxy::Anteroom, &setup)?);
    }
    let mut crowds: Vec<(Process, usize)> = Vec::new();
    for number in 0..processes {
        let share = clients / processes + usize::from(number < clients % processes);
        if available()? < SPARE_KIB + each_kib(before, clients_of(&crowds))? * u64::try_from(share)?
        {
            eprintln!("the machine's memory ends here");
            break;
        }
        let net = u8::try_from(number + 1).doing("more networks than 127.0.0.0/16 has")?;
        let mut crowd = holder_from(tcp(&shared)?, share, net)?;
        round(&mut crowd, share)?;
        crowds.push((crowd, share));
        eprintln!("{} clients are held", clients_of(&crowds));
    }
    let kernel = Slabs::now()?.since(&slabs).iter().map(Growth::bytes).sum();
    let mut user = Vec::with_capacity(proxies.len());
    for proxy in &proxies {
        let anonymous = memory(&proxy.process.family())?.anonymous;
        user.push(real(anonymous) - real(single.anonymous));
    }
    let mut again = 0;
    for (crowd, _) in &mut crowds {
        again += answered(crowd)?;
    }
    Ok(Seen { processes, held: clients_of(&crowds), again, user, kernel })
}

fn clients_of(crowds: &[(Process, usize)]) -> usize {
    crowds.iter().map(|(_, share)| share).sum()
}

/// What a client takes of the machine, rounded up; a guess before there are any.
fn each_kib(before: u64, clients: usize) -> Outcome<u64> {
    const GUESS: u64 = 10;
    match u64::try_from(clients)? {
        0 => Ok(GUESS),
        clients => Ok(before.saturating_sub(available()?) / clients + 1),
    }
}

/// One with a table for one client, after two requests of that client.
fn single(stand: &Stand, server: &Address) -> Outcome<Memory> {
    let running = stand.start(Proxy::Anteroom, &Setup::new(server, 1, CONNECTIONS))?;
    let mut one = holder_from(running.address, 1, 0)?;
    round(&mut one, 1)?;
    round(&mut one, 1)?;
    memory(&running.process.family())
}

/// Memory that programs could still get, KiB.
fn available() -> Outcome<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).doing(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| failure("no MemAvailable in /proc/meminfo"))
}

fn report(seen: &Seen, clients: usize) -> Report {
    let mut report = Report::default();
    let count = |count: usize| real(u64::try_from(count).unwrap_or(u64::MAX));
    let missing = count(clients.saturating_sub(seen.held));
    report.claim(Claim {
        what: format!("of {clients} clients, those that could not be held at once"),
        limit: 0.0,
        aim: None,
        found: Spread::of([missing]),
    });
    report.claim(Claim {
        what: "held clients that were not answered again".to_owned(),
        limit: 0.0,
        aim: None,
        found: Spread::of([count(seen.held - seen.again)]),
    });
    let user = seen.user.iter().sum::<f64>() / count(seen.held).max(1.0);
    report.claim(Claim {
        what: "user memory per client (anonymous, all processes), B".to_owned(),
        limit: 128.0,
        aim: Some(64.0),
        found: Spread::of([user]),
    });
    let mut table = Table::new(&[
        "parked clients",
        "processes",
        "answered again",
        "user memory per client, B",
        "of each process, KiB",
        "kernel memory per client, both ends, B",
    ]);
    table.row(vec![
        seen.held.to_string(),
        seen.processes.to_string(),
        seen.again.to_string(),
        format!("{user:.0}"),
        Spread::of(seen.user.iter().map(|bytes| bytes / 1024.0))
            .map_or("–".to_owned(), |spread| format!("{spread:.0}")),
        format!("{:.0}", seen.kernel / count(seen.held).max(1.0)),
    ]);
    report.table(&table);
    report.note("One run.");
    report
}
