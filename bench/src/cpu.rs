//! Processor time per request: rounds of the same load on each proxy in turn, the proxy alone
//! on one core, the load and the server on the other.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::address::Address;
use crate::error::{Failure, Outcome, failure};
use crate::machine::{Cores, load};
use crate::process::Process;
use crate::stand::{Proxy, Running, Setup, Stand, upstream};
use crate::statistics::{extremes, median, real};
use crate::table::Table;
use crate::usage::{processor_time, time_of_the_ended};

/// What to measure.
#[derive(Args)]
pub(crate) struct Cpu {
    /// Rounds that count; one more before them does not.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Keep-alive clients.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Upstream connections (anteroom: the most; nginx: those kept).
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How the server is reached.
    #[arg(long, value_enum, default_values_t = [Transport::Tcp, Transport::Unix])]
    transport: Vec<Transport>,
}

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// By TCP over loopback.
    Tcp,
    /// By a Unix socket.
    Unix,
}

/// The core of the proxy, and that of load and server.
const PROXY_CORE: u8 = 0;
const LOAD_CORE: u8 = 1;

/// A proxy that runs, and its rounds that count.
type Contestant = (Proxy, Running, Vec<Round>);

/// The share of all cores' time, in percent, above which other programs spoil a round.
const LOUD: f64 = 8.0;

/// One round of one proxy.
struct Round {
    /// Microseconds of processor time per request.
    cost: f64,
    /// Requests a second.
    rate: f64,
    /// Share of all cores' time that was stolen, in percent.
    stolen: f64,
    /// Share of all cores' time that programs outside this bench used, in percent.
    others: f64,
}

impl Cpu {
    /// Measures these proxies; prints the tables.
    pub(crate) fn run(&self, stand: &Stand, proxies: &[Proxy]) -> Outcome<()> {
        for &transport in &self.transport {
            self.transport(stand, proxies, transport)?;
        }
        Ok(())
    }

    fn transport(&self, stand: &Stand, proxies: &[Proxy], transport: Transport) -> Outcome<()> {
        let server = match transport {
            Transport::Tcp => Address::free()?,
            Transport::Unix => Address::Unix(stand.folder.path("upstream.sock")),
        };
        let behind = upstream(&server, Some(LOAD_CORE))?;
        let setup = Setup {
            upstream: server,
            clients: self.clients + 16,
            connections: self.connections,
            core: Some(PROXY_CORE),
        };
        let mut contest: Vec<Contestant> = Vec::new();
        for &proxy in proxies {
            contest.push((proxy, stand.start(proxy, &setup)?, Vec::new()));
        }
        self.rounds(stand, &behind, &mut contest)?;
        println!("\n{}\nLoad average afterwards: {}.", self.table(&contest, transport), load());
        Ok(())
    }

    /// Lets everybody run in turn until so many rounds count. While there is patience, a round
    /// in which other programs were busy is repeated, whatever it showed.
    fn rounds(&self, stand: &Stand, server: &Process, contest: &mut [Contestant]) -> Outcome<()> {
        let mut number = 0;
        while number <= self.rounds {
            stand.patience.wait_for_quiet()?;
            let mut fresh = Vec::new();
            for (proxy, running, _) in contest.iter() {
                let round = self.round(running, server)?;
                eprintln!(
                    "round {number} {proxy}: {:.2} µs, {:.0}/s, others {:.0} %",
                    round.cost, round.rate, round.others
                );
                fresh.push(round);
            }
            if fresh.iter().any(|round| round.others > LOUD) && !stand.patience.is_over() {
                eprintln!("round {number} is repeated: other programs were busy");
                continue;
            }
            // The first only warms up.
            if number > 0 {
                contest.iter_mut().zip(fresh).for_each(|((.., rounds), round)| rounds.push(round));
            }
            number += 1;
        }
        Ok(())
    }

    fn round(&self, running: &Running, server: &Process) -> Outcome<Round> {
        let processes = running.process.family();
        let known = || Ok::<_, Failure>(processor_time(&server.family())? + time_of_the_ended()?);
        let (cores, helpers, before) = (Cores::now()?, known()?, processor_time(&processes)?);
        let requests = self.load(running)?;
        let used = processor_time(&processes)? - before;
        let share = Cores::now()?.since(cores, used + known()? - helpers);
        let rate = requests / real(self.seconds);
        Ok(Round { cost: used * 1e6 / requests, rate, stolen: share.stolen, others: share.others })
    }

    /// Lets wrk ask; the number of requests answered.
    fn load(&self, running: &Running) -> Outcome<f64> {
        let line = format!(
            "-t1 -c{} -d{}s http://{}/kibibyte",
            self.clients, self.seconds, running.address
        );
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let wrk = Process::start(Path::new("wrk"), &arguments, Some(LOAD_CORE))?;
        requests(&wrk.output(Duration::from_secs(self.seconds + 15))?)
    }

    fn table(&self, contest: &[Contestant], transport: Transport) -> Table {
        let title = format!(
            "{} clients, 1 KiB, {transport:?} upstream, {} rounds of {} s",
            self.clients, self.rounds, self.seconds
        );
        let mut table = Table::new(&[
            &title,
            "CPU µs/request, median",
            "least to most",
            "ratio to nginx, paired median",
            "the same above the floor",
            "requests/s",
            "stolen, at most %",
            "other programs, at most %",
        ]);
        let rounds_of = |wanted| {
            let found = contest.iter().find(|(proxy, ..)| *proxy == wanted);
            found.map_or(&[][..], |(.., rounds)| rounds.as_slice())
        };
        let (nginx, floor) = (rounds_of(Proxy::Nginx), rounds_of(Proxy::Floor));
        for (proxy, _, rounds) in contest {
            let costs: Vec<f64> = rounds.iter().map(|round| round.cost).collect();
            let rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
            let stolen: Vec<f64> = rounds.iter().map(|round| round.stolen).collect();
            let others: Vec<f64> = rounds.iter().map(|round| round.others).collect();
            let (least, most) = extremes(&costs);
            table.row(vec![
                proxy.to_string(),
                format!("{:.2}", median(&costs)),
                format!("{least:.2} to {most:.2}"),
                ratio(rounds, nginx),
                ratio_above(rounds, nginx, floor),
                format!("{:.0}", median(&rates)),
                format!("{:.1}", extremes(&stolen).1),
                format!("{:.0}", extremes(&others).1),
            ]);
        }
        table
    }
}

/// The median of each round's ratio; a dash where there is nothing to compare.
fn ratio(ours: &[Round], theirs: &[Round]) -> String {
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.cost / theirs.cost);
    shown(&ratios.collect::<Vec<f64>>())
}

/// The same of what each costs above the floor of its round.
fn ratio_above(ours: &[Round], theirs: &[Round], floor: &[Round]) -> String {
    let rounds = ours.iter().zip(theirs).zip(floor);
    let ratios =
        rounds.map(|((ours, theirs), floor)| (ours.cost - floor.cost) / (theirs.cost - floor.cost));
    shown(&ratios.collect::<Vec<f64>>())
}

fn shown(ratios: &[f64]) -> String {
    if ratios.is_empty() { "-".to_owned() } else { format!("{:.3}", median(ratios)) }
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
    fn ratios_are_paired() {
        let rounds =
            |costs: [f64; 3]| costs.map(|cost| Round { cost, rate: 1.0, stolen: 0.0, others: 0.0 });
        let (ours, theirs) = (rounds([1.0, 20.0, 3.0]), rounds([2.0, 40.0, 4.0]));
        assert_eq!(ratio(&ours, &theirs), "0.500");
        assert_eq!(ratio_above(&ours, &theirs, &rounds([0.5, 0.0, 2.0])), "0.500");
        assert_eq!(ratio(&ours, &[]), "-");
    }
}
