//! What a parked client costs: user memory by PSS, kernel memory by slab objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::Length;
use crate::slab::{Growth, Slabs};
use crate::stand::{Proxy, Running, Setup, Stand, role, tcp, upstream};
use crate::statistics::{Spread, real};
use crate::table::Table;
use crate::usage::{Memory, memory};

/// Clients held.
const CLIENTS: usize = 18_000;
/// Clients that exchange at the same time while the crowd comes in.
const BATCH: usize = 64;
/// Upstream connections (anteroom: the most; nginx: those kept).
const CONNECTIONS: usize = 64;
/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(1);

/// One proxy and what its rounds showed.
struct Kept {
    proxy: Proxy,
    rounds: Vec<Held>,
}

/// Bytes per client in one round.
struct Held {
    /// After one request each, against a table for one client.
    once: f64,
    /// After two requests each.
    twice: f64,
    /// The same, of memory no file stands behind.
    anonymous: f64,
    /// The same, against the idle proxy with its full table.
    against_idle: f64,
    /// The kernel's objects of both ends.
    kernel: Objects,
    /// Whether every client was answered once more after memory had been read.
    all_answered: bool,
}

/// Measures nginx and anteroom in turn.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let crowd = Crowd { clients: length.crowd(CLIENTS) };
    let mut kept = [Proxy::Nginx, Proxy::Anteroom].map(|proxy| Kept { proxy, rounds: Vec::new() });
    let mut pairs = Vec::new();
    for number in 0..length.rounds {
        pairs.push(crowd.pair()?);
        for turn in 0..kept.len() {
            let kept = &mut kept[(turn + number) % 2];
            stand.patience.wait_for_quiet()?;
            let held = crowd.hold(stand, kept.proxy)?;
            eprintln!(
                "round {number} {}: {:.0} B of user memory, {:.0} B of the kernel's, both ends",
                kept.proxy,
                held.twice,
                bytes(&held.kernel)
            );
            kept.rounds.push(held);
        }
    }
    Ok(report(&kept, &pairs, crowd.clients))
}

fn report([nginx, ours]: &[Kept; 2], pairs: &[Objects], clients: usize) -> Report {
    let mut report = Report::default();
    let over = |kept: &Kept, of: fn(&Held) -> f64| Spread::of(kept.rounds.iter().map(of));
    for (when, of) in
        [("one request", (|held| held.once) as fn(&Held) -> f64), ("two", |held| held.twice)]
    {
        report.claim(Claim {
            what: format!(
                "user memory per parked client after {when}, {clients} on one process, B"
            ),
            limit: 128.0,
            aim: Some(64.0),
            found: over(ours, of),
        });
    }
    let pairs_of_rounds = ours.rounds.iter().zip(&nginx.rounds);
    report.claim(Claim {
        what: "kernel memory per parked client beyond nginx's, B".to_owned(),
        limit: 0.0,
        aim: None,
        found: Spread::of(pairs_of_rounds.map(|(ours, nginx)| beyond(&ours.kernel, &nginx.kernel))),
    });
    report.table(&user_table([nginx, ours]));
    report.table(&kernel_table([nginx, ours], pairs));
    report.note(&held_note([nginx, ours]));
    report
}

/// The kernel's objects per client by their cache: size and count.
type Objects = BTreeMap<String, (u64, f64)>;

/// Bytes of these objects.
fn bytes(objects: &Objects) -> f64 {
    objects.values().map(|&(size, count)| real(size) * count).sum()
}

/// How many bytes of objects one has beyond the other. A difference of less than a fortieth of
/// an object per client is no client's: others open files and start programs meanwhile.
fn beyond(one: &Objects, other: &Objects) -> f64 {
    const STEPS: f64 = 20.0;
    let count = |objects: &Objects, cache| objects.get(cache).map_or(0.0, |&(_, count)| count);
    let caches = one.iter().chain(other.iter().filter(|(cache, _)| !one.contains_key(*cache)));
    let differences = caches.map(|(cache, &(size, _))| {
        let difference = count(one, cache) - count(other, cache);
        real(size) * (difference * STEPS).round() / STEPS
    });
    // Adding zero makes of -0 what people write.
    differences.sum::<f64>() + 0.0
}

/// The clients of one round.
struct Crowd {
    clients: usize,
}

impl Crowd {
    fn hold(&self, stand: &Stand, proxy: Proxy) -> Outcome<Held> {
        let server = Address::free()?;
        let _server = upstream(&server, 1024, None)?;
        let single = {
            let running = stand.start(proxy, &Setup::new(&server, 1, CONNECTIONS))?;
            let mut one = holder(running.address, 1)?;
            round(&mut one, 1)?;
            round(&mut one, 1)?;
            thread::sleep(REST);
            memory(&running.process.family())?
        };
        let running = stand.start(proxy, &Setup::new(&server, self.clients, CONNECTIONS))?;
        {
            let mut few = holder(running.address, BATCH)?;
            round(&mut few, BATCH)?;
            round(&mut few, BATCH)?;
        }
        let mut crowd = holder(running.address, self.clients)?;
        self.moments(&running, &mut crowd, single)
    }

    /// Reads memory before the crowd comes and after each of its requests.
    fn moments(&self, running: &Running, crowd: &mut Process, single: Memory) -> Outcome<Held> {
        let processes = running.process.family();
        let (idle, before) = (memory(&processes)?, Slabs::now()?);
        round(crowd, self.clients)?;
        thread::sleep(REST);
        let once = memory(&processes)?;
        round(crowd, self.clients)?;
        thread::sleep(REST);
        let (twice, kernel) = (memory(&processes)?, Slabs::now()?.since(&before));
        let all_answered = answered(crowd)? == self.clients;
        let grown = |after: u64, before: u64| self.each(after.cast_signed() - before.cast_signed());
        Ok(Held {
            once: grown(once.pss, single.pss),
            twice: grown(twice.pss, single.pss),
            anonymous: grown(twice.anonymous, single.anonymous),
            against_idle: grown(twice.pss, idle.pss),
            kernel: self.objects(&kernel),
            all_answered,
        })
    }

    /// The kernel's growth for as many pairs of plain sockets that nobody watches, after two
    /// requests each.
    fn pair(&self) -> Outcome<Objects> {
        let server = Address::free()?;
        let (listen, clients) = (server.to_string(), self.clients.to_string());
        let _bare = role(&["bare", "--listen", &listen, "--clients", &clients], None)?;
        let mut crowd = holder(tcp(&server)?, self.clients)?;
        let before = Slabs::now()?;
        round(&mut crowd, self.clients)?;
        round(&mut crowd, self.clients)?;
        thread::sleep(REST);
        Ok(self.objects(&Slabs::now()?.since(&before)))
    }

    /// Bytes for each client.
    fn each(&self, bytes: i64) -> f64 {
        let amount = real(bytes.unsigned_abs()) / real(u64::try_from(self.clients).unwrap_or(1));
        if bytes < 0 { -amount } else { amount }
    }

    fn objects(&self, growth: &[Growth]) -> Objects {
        let each = |grown: &Growth| (grown.size, self.each(grown.objects));
        growth.iter().map(|grown| (grown.cache.clone(), each(grown))).collect()
    }
}

/// Starts a crowd that connects when it is told `round`, and stays.
pub(super) fn holder(target: SocketAddrV4, clients: usize) -> Outcome<Process> {
    holder_from(target, clients, 0)
}

/// The same of a crowd with addresses in 127.0.NET.0/24 of its own.
pub(super) fn holder_from(target: SocketAddrV4, clients: usize, net: u8) -> Outcome<Process> {
    let (target, clients, batch) = (target.to_string(), clients.to_string(), BATCH.to_string());
    let net = net.to_string();
    let line =
        ["hold", "--target", &target, "--clients", &clients, "--batch", &batch, "--net", &net];
    role(&line, None)
}

/// How many of a crowd were answered in one more round.
pub(super) fn answered(crowd: &mut Process) -> Outcome<usize> {
    crowd.tell("round")?;
    Ok(crowd.line("round", Duration::from_mins(2))?.parse()?)
}

/// A round in which everybody must be answered.
pub(super) fn round(crowd: &mut Process, clients: usize) -> Outcome<()> {
    match answered(crowd)? {
        all if all == clients => Ok(()),
        some => Err(failure(format!("only {some} of {clients} clients were answered"))),
    }
}

fn user_table(all: [&Kept; 2]) -> Table {
    let mut table = Table::new(&[
        "user memory per parked client, B",
        "after 1 request",
        "after 2",
        "after 2, anonymous memory only",
        "after 2, against its own idle state",
    ]);
    for Kept { proxy, rounds } in all {
        let cell = |of: fn(&Held) -> f64| cell(Spread::of(rounds.iter().map(of)), 0);
        table.row(vec![
            proxy.to_string(),
            cell(|held| held.once),
            cell(|held| held.twice),
            cell(|held| held.anonymous),
            cell(|held| held.against_idle),
        ]);
    }
    table
}

/// Objects of each cache per client, of a pair of plain sockets and of a client of each proxy,
/// where the median is at least a fiftieth of an object for one of them.
fn kernel_table(all: [&Kept; 2], pairs: &[Objects]) -> Table {
    const LEAST: f64 = 0.02;
    let mut columns: Vec<(String, Vec<&Objects>)> =
        vec![("a pair of plain sockets".to_owned(), pairs.iter().collect())];
    for Kept { proxy, rounds } in all {
        columns.push((proxy.to_string(), rounds.iter().map(|held| &held.kernel).collect()));
    }
    let mut titles = vec!["kernel objects per client, both ends", "B each"];
    titles.extend(columns.iter().map(|(name, _)| name.as_str()));
    let mut table = Table::new(&titles);
    for (size, cache) in caches(&columns).into_iter().rev() {
        let spreads: Vec<Option<Spread>> = columns
            .iter()
            .map(|(_, rounds)| {
                let count = |objects: &&Objects| objects.get(cache).map_or(0.0, |entry| entry.1);
                Spread::of(rounds.iter().map(count))
            })
            .collect();
        if spreads.iter().flatten().any(|spread| spread.median.abs() >= LEAST) {
            let cells = spreads.iter().map(|&spread| cell(spread, 3));
            table.row([cache.clone(), size.to_string()].into_iter().chain(cells).collect());
        }
    }
    let sums = columns
        .iter()
        .map(|(_, rounds)| cell(Spread::of(rounds.iter().map(|objects| bytes(objects))), 0));
    table.row(["all, B".to_owned(), "–".to_owned()].into_iter().chain(sums).collect());
    table
}

/// Every cache by the size of its objects, smallest first.
fn caches<'a>(columns: &[(String, Vec<&'a Objects>)]) -> BTreeSet<(u64, &'a String)> {
    let objects = columns.iter().flat_map(|(_, rounds)| rounds.iter().copied());
    objects.flatten().map(|(cache, &(size, _))| (size, cache)).collect()
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("–".to_owned(), |spread| format!("{spread:.digits$}"))
}

fn held_note(all: [&Kept; 2]) -> String {
    let lost = all.iter().flat_map(|kept| &kept.rounds).filter(|held| !held.all_answered).count();
    match lost {
        0 => "All clients of every round were answered once more after memory had been read."
            .to_owned(),
        some => format!("**In {some} rounds not every client was answered again.**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(entries: &[(&str, u64, f64)]) -> Objects {
        entries.iter().map(|&(cache, size, count)| (cache.to_owned(), (size, count))).collect()
    }

    #[test]
    fn whole_objects_count_and_the_noise_of_others_does_not() {
        let nginx = objects(&[("TCP", 2368, 2.0), ("filp", 192, 1.98), ("epi", 128, 1.0)]);
        let ours = objects(&[("TCP", 2368, 2.001), ("filp", 192, 2.0)]);
        assert!((beyond(&ours, &nginx) + 128.0).abs() < 1e-9);
        assert!((beyond(&nginx, &ours) - 128.0).abs() < 1e-9);
        assert_eq!(beyond(&ours, &ours).to_string(), "0");
        assert!((bytes(&ours) - (2368.0 * 2.001 + 384.0)).abs() < 1e-9);
    }

    #[test]
    fn the_table_shows_what_clients_use() {
        let held = |kernel| Held {
            once: 1.0,
            twice: 2.0,
            anonymous: 2.0,
            against_idle: 1.0,
            kernel,
            all_answered: true,
        };
        let kernel = objects(&[("TCP", 2368, 2.0), ("files_cache", 704, 0.001)]);
        let kept = |proxy| Kept { proxy, rounds: vec![held(kernel.clone())] };
        let (nginx, ours) = (kept(Proxy::Nginx), kept(Proxy::Anteroom));
        let text = kernel_table([&nginx, &ours], std::slice::from_ref(&kernel)).to_string();
        assert!(text.contains("2.000 (2.000–2.000)") && !text.contains("files_cache"), "{text}");
    }
}
