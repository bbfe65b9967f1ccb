//! gunicorn with two sync workers, a crowd of slow clients and a few normal ones with a schedule,
//! once directly and once through each proxy.

use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::diag::Held;
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::report::{Claim, Report};
use crate::rows::{Length, watch::Watch};
use crate::stand::{Proxy, Running, Setup, Stand, gunicorn, role, tcp};
use crate::statistics::{Spread, real};
use crate::table::Table;

/// Slow clients.
const CROWD: usize = 5_000;
/// Normal clients, and how often each asks in a second.
const NORMAL: usize = 50;
const RATE: u32 = 2;
/// Upstream connections (anteroom: the most; nginx: those kept when idle): one for each worker
/// of gunicorn.
const CONNECTIONS: usize = 2;
/// For how many seconds the normal clients ask.
const SECONDS: u64 = 40;

/// How long the crowd dribbles before the normal clients begin.
const AHEAD: Duration = Duration::from_secs(5);

/// What one run showed.
struct Seen {
    normal: String,
    slow: String,
    most: Held,
}

/// Measures gunicorn alone and behind each proxy, once.
pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    let scene =
        Scene { crowd: length.crowd(CROWD), seconds: if length.quick { 4 } else { SECONDS } };
    let mut report = Report::default();
    let title =
        format!("{} slow beside {NORMAL} normal ({RATE}/s each), {} s", scene.crowd, scene.seconds);
    let mut table = Table::new(&[
        &title,
        "normal: p50 ms",
        "p99 ms",
        "max ms",
        "failed",
        "slow: answered",
        "otherwise",
        "most connections at gunicorn at once",
        "with those it has yet to close",
    ]);
    table.row(row("gunicorn alone", &scene.play(stand, None)?)?);
    for proxy in [Proxy::Nginx, Proxy::Haproxy, Proxy::Anteroom] {
        let seen = scene.play(stand, Some(proxy))?;
        table.row(row(&format!("behind {proxy}"), &seen)?);
        if proxy == Proxy::Anteroom {
            claims(&mut report, &seen)?;
        }
    }
    report.table(&table);
    report.note("One run.");
    Ok(report)
}

fn claims(report: &mut Report, seen: &Seen) -> Outcome<()> {
    let failed = real(value(&seen.normal, "errors")?);
    let lost = real(value(&seen.slow, "lost")?);
    let most = real(u64::try_from(seen.most.open)?);
    let limit = real(u64::try_from(CONNECTIONS)?);
    let what = "normal clients' requests that failed beside the slow crowd".to_owned();
    report.claim(Claim { what, limit: 0.0, aim: None, found: Spread::of([failed]) });
    let what = "slow clients' connections that were lost".to_owned();
    report.claim(Claim { what, limit: 0.0, aim: None, found: Spread::of([lost]) });
    let what = format!("connections at gunicorn at once, `--connections {CONNECTIONS}`");
    report.claim(Claim { what, limit, aim: None, found: Spread::of([most]) });
    Ok(())
}

/// How many dribble for how long.
struct Scene {
    crowd: usize,
    seconds: u64,
}

impl Scene {
    fn play(&self, stand: &Stand, proxy: Option<Proxy>) -> Outcome<Seen> {
        stand.patience.wait_for_quiet()?;
        let server = Address::free()?;
        let _gunicorn = gunicorn::start(&stand.folder, &server)?;
        let clients = self.crowd + NORMAL + 150;
        let setup = Setup { capped: true, ..Setup::new(&server, clients, CONNECTIONS) };
        let running: Option<Running> = proxy.map(|proxy| stand.start(proxy, &setup)).transpose()?;
        let target = match &running {
            Some(running) => running.address,
            None => tcp(&server)?,
        };
        let watch = Watch::start(server.port())?;
        let mut slow = dribble(target, self.crowd)?;
        thread::sleep(AHEAD);
        let normal = finished(self.ask(target)?, self.seconds)?;
        slow.tell("stop")?;
        let said = slow.line("slow", Duration::from_secs(20))?;
        Ok(Seen { normal, slow: said, most: watch.most()? })
    }

    fn ask(&self, target: SocketAddrV4) -> Outcome<Process> {
        let line = format!(
            "normal --target {target} --clients {NORMAL} --rate {RATE} --seconds {}",
            self.seconds
        );
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Process::role(&arguments, None)
    }
}

/// Starts a crowd that dribbles 2 KiB at 40 B/s.
pub(super) fn dribble(target: SocketAddrV4, clients: usize) -> Outcome<Process> {
    let (target, clients) = (target.to_string(), clients.to_string());
    role(&["slow", "--target", &target, "--clients", &clients], None)
}

/// The report of the normal clients; a server that stalls makes them late.
fn finished(mut normal: Process, seconds: u64) -> Outcome<String> {
    let late = Duration::from_secs(seconds.saturating_mul(12) + 60);
    normal.line("normal", late)
}

fn row(name: &str, seen: &Seen) -> Outcome<Vec<String>> {
    let milliseconds = |key: &str| {
        Ok::<_, crate::error::Failure>(format!("{:.1}", real(value(&seen.normal, key)?) / 1e3))
    };
    let answered = value(&seen.slow, "200").unwrap_or_default();
    Ok(vec![
        name.to_owned(),
        milliseconds("p50_us")?,
        milliseconds("p99_us")?,
        milliseconds("max_us")?,
        format!("{} of {}", value(&seen.normal, "errors")?, value(&seen.normal, "requests")?),
        answered.to_string(),
        others(&seen.slow),
        seen.most.open.to_string(),
        seen.most.all.to_string(),
    ])
}

/// The number behind `key=` in a line of such pairs.
pub(super) fn value(line: &str, key: &str) -> Outcome<u64> {
    let pair = line.split_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let number = pair.and_then(|number| number.parse().ok());
    number.ok_or_else(|| failure(format!("no {key} in `{line}`")))
}

/// Everything else that became of the slow clients' requests, if it is not nothing.
pub(super) fn others(line: &str) -> String {
    let told = |pair: &&str| {
        !["200=", "sending=", "waiting="].iter().any(|key| pair.starts_with(key))
            && !pair.ends_with("=0")
    };
    let pairs: Vec<&str> = line.split_whitespace().filter(told).collect();
    if pairs.is_empty() { "none".to_owned() } else { pairs.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_by_their_whole_key() {
        let line = "200=91 408=3 lost=0 sending=4990 waiting=10";
        assert_eq!(value(line, "200").unwrap(), 91);
        assert!(value(line, "20").is_err());
        assert_eq!(others(line), "408=3");
        assert_eq!(others("200=1 lost=0 sending=3 waiting=0"), "none");
    }
}
