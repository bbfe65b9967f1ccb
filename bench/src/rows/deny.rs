//! What a list of denied networks costs a connection: anteroom with and without one, in turn.

use crate::contest::Contest;
use crate::error::{Outcome, failure};
use crate::report::{Claim, Report};
use crate::rows::cpu::disturbance;
use crate::rows::{Length, Row, Work};
use crate::stand::{Proxy, Setup, Stand};
use crate::statistics::Spread;
use crate::table::Table;

/// Networks denied.
const ENTRIES: u32 = 100_000;

const WITHOUT: &str = "anteroom";
const WITH: &str = "anteroom, 100,000 networks denied";

/// Measures connections of one request each, none of them denied.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let work = Work::of(Row::Fresh).ok_or_else(|| failure("there is no such work"))?;
    let (server, behind) = work.server(stand)?;
    let plain = work.setup(&server);
    let mut contest = Contest::default();
    for (label, denied) in [(WITHOUT, 0), (WITH, ENTRIES)] {
        let setup = Setup { denied: Some(denied), ..plain.clone() };
        contest.add(label, stand.start(Proxy::Anteroom, &setup)?);
    }
    contest.hold(stand, length.rounds, &[&behind], &mut |contestant| {
        work.load(contestant, length.seconds)
    })?;
    Ok(report(&contest))
}

fn report(contest: &Contest) -> Report {
    let mut report = Report::default();
    report.claim(Claim {
        what: "CPU per connection with 100,000 denied networks, against none".to_owned(),
        limit: 1.05,
        aim: None,
        found: contest.ratio(WITH, WITHOUT),
    });
    let title = "a new connection for each request, 64 at once";
    let mut table = Table::new(&[title, "CPU µs/connection", "of the same without"]);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for label in [WITHOUT, WITH] {
        let row = [cell(contest.cost(label)), cell(contest.ratio(label, WITHOUT))];
        table.row([vec![label.to_owned()], row.to_vec()].concat());
    }
    report.table(&table);
    report.note(&disturbance(contest));
    report
}
