//! Processor time per mebibyte that is passed through, beside HAProxy in its TCP mode.

use std::time::Duration;

use crate::address::Address;
use crate::contest::Contest;
use crate::contest::Done;
use crate::error::Outcome;
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::Length;
use crate::rows::cpu::{LOAD_CORE, PROXY_CORE, disturbance};
use crate::stand::{Kind, Proxy, Setup, Stand, role, tcp};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// Connections that flow at once.
const CLIENTS: usize = 4;

pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let server = Address::free()?;
    let behind = role(&["flood", "--listen", &tcp(&server)?.to_string()], Some(LOAD_CORE))?;
    let setup = Setup {
        kind: Kind::Pass,
        core: Some(PROXY_CORE),
        ..Setup::new(&server, CLIENTS + 16, CLIENTS)
    };
    let mut contest = Contest::default();
    for proxy in [Proxy::Haproxy, Proxy::Anteroom] {
        contest.add(proxy.to_string(), stand.start(proxy, &setup)?);
    }
    if stand.other.is_some() {
        contest.add(Proxy::Other.to_string(), stand.start(Proxy::Other, &setup)?);
    }
    contest.hold(stand, length.rounds, &[&behind], &mut |contestant| {
        let target = contestant.running.address;
        let milliseconds = length.seconds * 1000;
        let line =
            format!("drink --target {target} --clients {CLIENTS} --milliseconds {milliseconds}");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut drinkers = Process::role(&words, Some(LOAD_CORE))?;
        let patience = Duration::from_secs(length.seconds + 15);
        let bytes: u64 = drinkers.line("drink bytes=", patience)?.parse()?;
        drinkers.output(patience)?;
        let units = real(bytes) / f64::from(1 << 20);
        Ok(Done { units, seconds: real(length.seconds), latency: None })
    })?;
    let (ours, theirs) = ("anteroom", "haproxy");
    let mut report = Report::default();
    report.claim(Claim {
        what: "CPU per GiB passed through, against HAProxy in TCP mode".to_owned(),
        limit: 1.0,
        aim: None,
        found: contest.ratio(ours, theirs),
    });
    let mut table = Table::new(&["passed through", "CPU µs/MiB", "of HAProxy's", "MiB/s"]);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for label in contest.labels() {
        table.row(vec![
            label.to_owned(),
            cell(contest.cost(label)),
            cell(contest.ratio(label, theirs)),
            cell(contest.rate(label)),
        ]);
    }
    report.table(&table);
    report.note(&disturbance(&contest));
    Ok(report)
}
