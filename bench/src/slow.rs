//! The main job: gunicorn with two sync workers, a crowd of slow clients and a few normal ones,
//! once directly and once through each proxy.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::address::Address;
use crate::diag::{Diag, Held};
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::stand::{Proxy, Running, Setup, Stand, gunicorn, role, tcp};
use crate::statistics::real;
use crate::table::Table;
use crate::usage::memory;

/// What to measure.
#[derive(Args)]
pub(crate) struct Slow {
    /// Slow clients.
    #[arg(long, default_value_t = 5_000)]
    crowd: usize,
    /// Normal clients.
    #[arg(long, default_value_t = 50)]
    normal: usize,
    /// Requests a second of each normal client.
    #[arg(long, default_value_t = 2)]
    rate: u32,
    /// For how many seconds the normal clients ask.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Upstream connections (anteroom: the most; nginx: those kept when idle).
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Leave out the run without any proxy.
    #[arg(long)]
    not_direct: bool,
}

/// How often the server's connections are counted.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long the crowd dribbles before the normal clients begin.
const AHEAD: Duration = Duration::from_secs(5);

/// What one run showed.
struct Seen {
    normal: String,
    slow: String,
    most: Held,
    /// User memory per slow client while the crowd is in the middle, where there is a proxy.
    memory: Option<f64>,
}

impl Slow {
    /// Measures gunicorn alone and behind these proxies; prints the table.
    pub(crate) fn run(&self, stand: &Stand, proxies: &[Proxy]) -> Outcome<()> {
        let title = format!(
            "{} slow beside {} normal ({}/s each), {} s",
            self.crowd, self.normal, self.rate, self.seconds
        );
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
            "user memory per slow client, B",
        ]);
        if !self.not_direct {
            table.row(row("gunicorn alone", &self.scene(stand, None)?)?);
        }
        for &proxy in proxies.iter().filter(|&&proxy| proxy != Proxy::Floor) {
            let name = format!("behind {proxy}");
            table.row(row(&name, &self.scene(stand, Some(proxy))?)?);
        }
        println!("\n{table}");
        Ok(())
    }

    fn scene(&self, stand: &Stand, proxy: Option<Proxy>) -> Outcome<Seen> {
        stand.patience.wait_for_quiet()?;
        let server = Address::free()?;
        let _gunicorn = gunicorn::start(&stand.folder, &server)?;
        let running = match proxy {
            Some(proxy) => Some(stand.start(proxy, &self.setup(&server))?),
            None => None,
        };
        let target = match &running {
            Some(running) => running.address,
            None => tcp(&server)?,
        };
        let before = footprint(running.as_ref())?;
        let watch = Watch::start(server.port())?;
        let mut slow = self.dribble(target)?;
        thread::sleep(AHEAD);
        let normal = self.ask(target)?;
        thread::sleep(Duration::from_secs(self.seconds / 2));
        let during = footprint(running.as_ref())?;
        let normal = finished(normal, self.seconds)?;
        slow.tell("stop")?;
        let said = slow.line("slow", Duration::from_secs(20))?;
        let crowd = real(u64::try_from(self.crowd).unwrap_or(1));
        let memory = during.zip(before).map(|(during, before)| (during - before) / crowd);
        Ok(Seen { normal, slow: said, most: watch.most()?, memory })
    }

    fn setup(&self, server: &Address) -> Setup {
        Setup {
            upstream: server.clone(),
            clients: self.crowd + self.normal + 150,
            connections: self.connections,
            core: None,
        }
    }

    fn dribble(&self, target: SocketAddrV4) -> Outcome<Process> {
        let (target, clients) = (target.to_string(), self.crowd.to_string());
        role(&["slow", "--target", &target, "--clients", &clients], None)
    }

    fn ask(&self, target: SocketAddrV4) -> Outcome<Process> {
        let line = format!(
            "normal --target {target} --clients {} --rate {} --seconds {}",
            self.normal, self.rate, self.seconds
        );
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Process::role(&arguments, None)
    }
}

/// PSS of a proxy's processes in bytes, where there is one.
fn footprint(running: Option<&Running>) -> Outcome<Option<f64>> {
    let Some(running) = running else { return Ok(None) };
    Ok(Some(real(memory(&running.process.family())?.pss)))
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
        seen.memory.map_or("-".to_owned(), |bytes| format!("{bytes:.0}")),
    ])
}

/// The number behind `key=` in a line of such pairs.
fn value(line: &str, key: &str) -> Outcome<u64> {
    let pair = line.split_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let number = pair.and_then(|number| number.parse().ok());
    number.ok_or_else(|| failure(format!("no {key} in `{line}`")))
}

/// Everything else that became of the slow clients' requests, if it is not nothing.
fn others(line: &str) -> String {
    let told = |pair: &&str| {
        !["200=", "sending=", "waiting="].iter().any(|key| pair.starts_with(key))
            && !pair.ends_with("=0")
    };
    let pairs: Vec<&str> = line.split_whitespace().filter(told).collect();
    if pairs.is_empty() { "none".to_owned() } else { pairs.join(" ") }
}

/// Counts a port's connections again and again.
struct Watch {
    stopped: Arc<AtomicBool>,
    thread: thread::JoinHandle<Outcome<Held>>,
}

impl Watch {
    fn start(port: u16) -> Outcome<Self> {
        let mut diag = Diag::open()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut most = Held::default();
            while !flag.load(Ordering::Relaxed) {
                most = most.max(diag.held(port)?);
                thread::sleep(SAMPLE);
            }
            Ok(most)
        });
        Ok(Self { stopped, thread })
    }

    /// The most connections seen at once.
    fn most(self) -> Outcome<Held> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| failure("the watch panicked"))?
    }
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
