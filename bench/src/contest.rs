//! Rounds of the same work on each contestant in turn, so that whatever the machine does
//! meanwhile falls on all of them alike; figures are compared within a round only.

use crate::error::{Failure, Outcome};
use crate::machine::{Cores, Share};
use crate::process::Process;
use crate::stand::{Running, Stand};
use crate::statistics::Spread;
use crate::usage::{processor_time, time_of_the_ended};

/// A proxy that runs, and its rounds that count.
pub(crate) struct Contestant {
    /// What the tables call it.
    pub(crate) label: String,
    /// The proxy.
    pub(crate) running: Running,
    rounds: Vec<Round>,
}

/// What a load found: units of work that were done, and how long they took.
pub(crate) struct Done {
    /// Requests, or mebibytes.
    pub(crate) units: f64,
    /// Seconds it lasted.
    pub(crate) seconds: f64,
    /// Median and 99th percentile in milliseconds, where the load has a schedule.
    pub(crate) latency: Option<(f64, f64)>,
}

/// One round of one contestant.
#[derive(Clone, Copy)]
struct Round {
    /// Microseconds of processor time per unit.
    cost: f64,
    /// Units a second.
    rate: f64,
    latency: Option<(f64, f64)>,
    share: Share,
}

/// All contestants of one comparison.
#[derive(Default)]
pub(crate) struct Contest {
    contestants: Vec<Contestant>,
}

/// The share of all cores' time, in percent, above which other programs spoil a round.
const LOUD: f64 = 8.0;

impl Contest {
    /// Adds a proxy that runs.
    pub(crate) fn add(&mut self, label: impl Into<String>, running: Running) {
        self.contestants.push(Contestant { label: label.into(), running, rounds: Vec::new() });
    }

    /// Lets everybody work in turn, whoever was first being last in the next round, until so
    /// many rounds count; one more before them only warms up. While there is patience, a round
    /// beside which other programs were busy is repeated, whatever it showed. `helpers` are the
    /// processes whose time belongs to the measurement, beside the proxies and what the load
    /// starts and ends.
    pub(crate) fn hold(
        &mut self,
        stand: &Stand,
        rounds: usize,
        helpers: &[&Process],
        load: &mut dyn FnMut(&Contestant) -> Outcome<Done>,
    ) -> Outcome<()> {
        let mut number = 0;
        while number <= rounds {
            stand.patience.wait_for_quiet()?;
            let fresh = self.round(number, helpers, load)?;
            let loud = fresh.iter().any(|(_, round)| round.share.others > LOUD);
            if loud && !stand.patience.is_over() {
                eprintln!("round {number} is repeated: other programs were busy");
                continue;
            }
            if number > 0 {
                for (place, round) in fresh {
                    self.contestants[place].rounds.push(round);
                }
            }
            number += 1;
        }
        Ok(())
    }

    fn round(
        &self,
        number: usize,
        helpers: &[&Process],
        load: &mut dyn FnMut(&Contestant) -> Outcome<Done>,
    ) -> Outcome<Vec<(usize, Round)>> {
        let everybody = self.contestants.len();
        let mut fresh = Vec::with_capacity(everybody);
        for turn in 0..everybody {
            let place = (turn + number) % everybody;
            let contestant = &self.contestants[place];
            let round = measure(contestant, helpers, load)?;
            let Round { cost, rate, share, .. } = round;
            eprintln!(
                "round {number} {}: {cost:.2} µs, {rate:.0}/s, others {:.0} %, stolen {:.1} %",
                contestant.label, share.others, share.stolen
            );
            fresh.push((place, round));
        }
        Ok(fresh)
    }

    fn rounds(&self, label: &str) -> &[Round] {
        let found = self.contestants.iter().find(|contestant| contestant.label == label);
        found.map_or(&[], |contestant| contestant.rounds.as_slice())
    }

    /// Everybody's name, in the order they were added.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.contestants.iter().map(|contestant| contestant.label.as_str())
    }

    /// Microseconds of processor time per unit.
    pub(crate) fn cost(&self, label: &str) -> Option<Spread> {
        Spread::of(self.rounds(label).iter().map(|round| round.cost))
    }

    /// Units a second.
    pub(crate) fn rate(&self, label: &str) -> Option<Spread> {
        Spread::of(self.rounds(label).iter().map(|round| round.rate))
    }

    /// Each round's latency in milliseconds: the median, or the 99th percentile.
    pub(crate) fn latency(&self, label: &str, p99: bool) -> Option<Spread> {
        let latencies = self.rounds(label).iter().filter_map(|round| round.latency);
        Spread::of(latencies.map(|(half, most)| if p99 { most } else { half }))
    }

    /// Each round's cost of one over its cost of another.
    pub(crate) fn ratio(&self, one: &str, other: &str) -> Option<Spread> {
        let pairs = self.rounds(one).iter().zip(self.rounds(other));
        Spread::of(pairs.map(|(one, other)| one.cost / other.cost))
    }

    /// The same of what each costs above a third in the same round.
    pub(crate) fn ratio_above(&self, one: &str, other: &str, floor: &str) -> Option<Spread> {
        let pairs = self.rounds(one).iter().zip(self.rounds(other)).zip(self.rounds(floor));
        Spread::of(
            pairs.map(|((one, other), floor)| (one.cost - floor.cost) / (other.cost - floor.cost)),
        )
    }

    /// The most that was stolen, and the most that other programs used, in percent of all cores'
    /// time, beside any round that counts.
    pub(crate) fn disturbance(&self) -> Share {
        let rounds = self.contestants.iter().flat_map(|contestant| &contestant.rounds);
        rounds.fold(Share { stolen: 0.0, others: 0.0 }, |most, round| Share {
            stolen: most.stolen.max(round.share.stolen),
            others: most.others.max(round.share.others),
        })
    }
}

fn measure(
    contestant: &Contestant,
    helpers: &[&Process],
    load: &mut dyn FnMut(&Contestant) -> Outcome<Done>,
) -> Outcome<Round> {
    let processes = contestant.running.process.family();
    let known = || {
        let mut seconds = time_of_the_ended()?;
        for helper in helpers {
            seconds += processor_time(&helper.family())?;
        }
        Ok::<_, Failure>(seconds)
    };
    let (cores, others, before) = (Cores::now()?, known()?, processor_time(&processes)?);
    let done = load(contestant)?;
    let used = processor_time(&processes)? - before;
    let share = Cores::now()?.since(cores, used + known()? - others);
    let (cost, rate) = (used * 1e6 / done.units, done.units / done.seconds);
    Ok(Round { cost, rate, latency: done.latency, share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::path::Path;

    fn contestant(label: &str, costs: &[f64]) -> Contestant {
        let process = Process::start(Path::new("cat"), &[], None).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let share = Share { stolen: 0.0, others: 0.0 };
        let round = |&cost: &f64| Round { cost, rate: 1.0, latency: None, share };
        let rounds = costs.iter().map(round).collect();
        let running = Running { process, address, log: None, admin: None };
        Contestant { label: label.to_owned(), running, rounds }
    }

    #[test]
    fn ratios_are_paired() {
        let contestants = vec![
            contestant("ours", &[1.0, 20.0, 3.0]),
            contestant("theirs", &[2.0, 40.0, 4.0]),
            contestant("floor", &[0.5, 0.0, 2.0]),
        ];
        let contest = Contest { contestants };
        let median = |spread: Option<Spread>| format!("{:.3}", spread.unwrap().median);
        assert_eq!(median(contest.ratio("ours", "theirs")), "0.500");
        assert_eq!(median(contest.ratio_above("ours", "theirs", "floor")), "0.500");
        assert!(contest.ratio("ours", "nobody").is_none());
    }

    #[test]
    fn everybody_is_first_in_turn() {
        let contestants = vec![contestant("a", &[]), contestant("b", &[])];
        let mut order = String::new();
        let contest = Contest { contestants };
        for number in 0..2 {
            let mut load = |contestant: &Contestant| {
                order.push_str(&contestant.label);
                Ok(Done { units: 1.0, seconds: 1.0, latency: None })
            };
            contest.round(number, &[], &mut load).unwrap();
        }
        assert_eq!(order, "abba");
    }
}
