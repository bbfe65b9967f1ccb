//! What it costs to let in who was let in before: each proxy with and without passwords, in turn.

use crate::contest::{Contest, Done};
use crate::error::{Outcome, failure};
use crate::report::{Claim, Report};
use crate::rows::cpu::{disturbance, wrk};
use crate::rows::{Length, Row, Work};
use crate::stand::{CREDENTIALS, Proxy, Setup, Stand};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// Measures nginx and anteroom under the usual work. Credentials are sent to all of them.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let work = Work::of(Row::Keepalive).ok_or_else(|| failure("there is no usual work"))?;
    let (server, behind) = work.server(stand)?;
    // Both of ours from a file.
    let plain = Setup { denied: Some(0), ..work.setup(&server) };
    let asking = Setup { credentials: Some(CREDENTIALS), ..plain.clone() };
    let mut contest = Contest::default();
    for proxy in [Proxy::Nginx, Proxy::Anteroom] {
        contest.add(proxy.to_string(), stand.start(proxy, &plain)?);
        contest.add(asked(proxy), stand.start(proxy, &asking)?);
    }
    let clients = usize::try_from(work.clients())?;
    let field = format!("Authorization: Basic {CREDENTIALS}");
    contest.hold(stand, length.rounds, &[&behind], &mut |contestant| {
        let target = ("http", contestant.running.address);
        let units = wrk(clients, length.seconds, target, &["-H", &field])?;
        Ok(Done { units, seconds: real(length.seconds), latency: None })
    })?;
    Ok(report(&contest))
}

fn asked(proxy: Proxy) -> String {
    format!("{proxy} with passwords")
}

fn report(contest: &Contest) -> Report {
    let mut report = Report::default();
    let ours = Proxy::Anteroom;
    report.claim(Claim {
        what: "CPU per request of a client that was let in before, against none being asked"
            .to_owned(),
        limit: 1.05,
        aim: None,
        found: contest.ratio(&asked(ours), &ours.to_string()),
    });
    let title = "64 clients, 1 KiB, TCP upstream; everybody sends the same password";
    let mut table = Table::new(&[title, "CPU µs/request", "of the same without"]);
    let cell =
        |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.to_string());
    for proxy in [Proxy::Nginx, Proxy::Anteroom] {
        let plain = proxy.to_string();
        for label in [plain.clone(), asked(proxy)] {
            let row = [cell(contest.cost(&label)), cell(contest.ratio(&label, &plain))];
            table.row([vec![label], row.to_vec()].concat());
        }
    }
    report.table(&table);
    report.note(
        "nginx compares with a password that is not hashed, since it would hash again for each \
         request; anteroom's is bcrypt.",
    );
    report.note(&disturbance(contest));
    report
}
