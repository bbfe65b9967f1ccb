//! anteroom itself, as another program meets it.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use crate::client::Client;
use crate::message::Response;
use crate::metrics::Metrics;
use crate::process::Process;
use crate::wait::eventually;

/// The binary under test: `ANTEROOM_BIN`, or the release build.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ANTEROOM_BIN") {
        return PathBuf::from(path);
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    // Joining leaves an absolute path as it is.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(target).join("release").join("anteroom")
}

/// `anteroom` with these arguments, not yet started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// How an `anteroom proxy` is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    listen: Vec<String>,
    upstream: Vec<String>,
    arguments: Vec<String>,
    descriptors: Option<u32>,
    prelude: Option<String>,
}

impl Setup {
    /// One line for one upstream.
    pub fn new(upstream: &str) -> Self {
        Self { upstream: vec![upstream.to_owned()], ..Self::default() }
    }

    /// One more server of the group.
    #[must_use]
    pub fn upstream(mut self, address: &str) -> Self {
        self.upstream.push(address.to_owned());
        self
    }

    /// A listener instead of the default one; may repeat.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen.push(address.to_owned());
        self
    }

    /// A flag without a value.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// A flag with its value.
    #[must_use]
    pub fn with(self, flag: &str, value: impl std::fmt::Display) -> Self {
        self.flag(flag).flag(&format!("{value}"))
    }

    /// A time-out by its name in the configuration: `head`, `first_byte` …
    #[must_use]
    pub fn timeout(self, name: &str, length: &str) -> Self {
        self.with("--timeout", format!("{name}={length}"))
    }

    /// The most descriptors the process may have.
    #[must_use]
    pub const fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// A shell command done first, in a mount namespace of the process's own.
    #[must_use]
    pub fn in_namespace(mut self, prelude: &str) -> Self {
        self.prelude = Some(prelude.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(self) -> Anteroom {
        Anteroom::start(&mut self.command())
    }

    /// The command line.
    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        if let Some(most) = self.descriptors {
            command = Command::new("sh");
            command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(binary());
        }
        if let Some(prelude) = &self.prelude {
            command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &format!("{prelude} && exec \"$0\" \"$@\"")]);
            command.arg(binary());
        }
        command.args(["proxy", "--admin", "127.0.0.1:0"]);
        if self.listen.is_empty() {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for address in &self.listen {
            command.args(["--listen", address]);
        }
        for address in &self.upstream {
            command.args(["--upstream", address]);
        }
        if let Ok(io) = std::env::var("ANTEROOM_IO") {
            command.args(["--io", &io]);
        }
        command.args(&self.arguments);
        command
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Anteroom {
    process: Process,
    addresses: Vec<String>,
    admin: String,
}

impl Anteroom {
    /// One line: a proxy before this upstream, everything else by default.
    pub fn before(upstream: &str) -> Self {
        Setup::new(upstream).start()
    }

    /// Serves a configuration file, which must name an admin address.
    pub fn run(file: &str) -> Self {
        Self::start(&mut command(&["run", file]))
    }

    /// The same, with a standard output that nobody reads.
    pub fn run_unread(file: &str) -> Self {
        Self::ready(Process::start_unread(&mut command(&["run", file])))
    }

    /// Starts it and waits until it is ready.
    fn start(command: &mut Command) -> Self {
        Self::ready(Process::start(command))
    }

    fn ready(mut process: Process) -> Self {
        let line = process.line("anteroom ready: ");
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        let (admin, addresses): (Vec<&str>, Vec<&str>) =
            words.partition(|w| w.starts_with("admin="));
        let admin = admin.first().map(|word| word["admin=".len()..].to_owned());
        Self {
            addresses: addresses.into_iter().map(str::to_owned).collect(),
            admin: admin.unwrap_or_else(|| panic!("no admin address in {line:?}")),
            process,
        }
    }

    /// The first listener's address.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Every listener's address.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The address of the admin endpoints.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A client of the first listener.
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// A GET on the admin endpoints.
    pub fn ask(&self, target: &str) -> Response {
        self.admin_request(&format!("GET {target}"))
    }

    /// A POST on the admin endpoints.
    pub fn order(&self, target: &str) -> Response {
        self.admin_request(&format!("POST {target}"))
    }

    fn admin_request(&self, start: &str) -> Response {
        let mut client = Client::new(&self.admin);
        client.send(format!(
            "{start} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.admin
        ));
        client.response()
    }

    /// One scrape.
    ///
    /// # Panics
    /// When `/metrics` answers anything but 200.
    pub fn metrics(&self) -> Metrics {
        let response = self.ask("/metrics");
        assert_eq!(response.status, 200, "/metrics: {}", response.text());
        Metrics::parse(&response.text())
    }

    /// The sum of some figures of one scrape.
    pub fn figure(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// How many requests were answered by anteroom itself for this reason.
    pub fn refused(&self, reason: &str) -> f64 {
        self.figure("anteroom_refusals_total", &[("reason", reason)])
    }

    /// Waits until a condition holds for the metrics.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(&self, what: &str, condition: impl Fn(&Metrics) -> bool) -> Metrics {
        let mut last = None;
        eventually(what, || {
            let metrics = self.metrics();
            let held = condition(&metrics);
            last = Some(metrics.clone());
            held.then_some(metrics)
        })
    }

    /// Waits until nothing is going on and asserts what must then be true: every buffer is free,
    /// no exchange, no lease, no worker was started anew.
    ///
    /// # Panics
    /// When that does not become true.
    pub fn quiet(&self) -> Metrics {
        let deadline = std::time::Instant::now() + crate::wait::PATIENCE;
        let busy = |metrics: &Metrics| -> Vec<String> {
            let leftovers = [
                ("anteroom_buffers", "used"),
                ("anteroom_clients", "active"),
                ("anteroom_upstream_connections", "leased"),
                ("anteroom_upstream_connections", "connecting"),
            ];
            let mut found: Vec<String> = leftovers
                .into_iter()
                .map(|(name, state)| (name, state, metrics.sum(name, &[("state", state)])))
                .filter(|(_, _, figure)| *figure != 0.0)
                .map(|(name, state, figure)| format!("{name}{{state={state}}} {figure}"))
                .collect();
            for state in metrics.label_values("anteroom_exchanges", "state") {
                let figure = metrics.sum("anteroom_exchanges", &[("state", &state)]);
                if figure != 0.0 {
                    found.push(format!("anteroom_exchanges{{state={state}}} {figure}"));
                }
            }
            found
        };
        loop {
            let metrics = self.metrics();
            let left = busy(&metrics);
            if left.is_empty() {
                assert!(
                    metrics.has("anteroom_buffers", &[("state", "used")]),
                    "no figure of buffers"
                );
                assert!(metrics.has("anteroom_exchanges", &[]), "no figure of exchanges");
                let restarts = metrics.sum("anteroom_worker_restarts_total", &[]);
                assert!(restarts == 0.0, "{restarts} workers were started anew");
                return metrics;
            }
            assert!(std::time::Instant::now() < deadline, "never quiet: {}", left.join(", "));
            crate::wait::pause(20);
        }
    }

    /// Everything it wrote so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends the signal that drains.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        self.process.wait(patience)
    }

    /// The end of a test: quiet, then an orderly stop with code 0 and no panic in the log.
    ///
    /// # Panics
    /// When one of these is not so.
    pub fn finish(mut self) {
        self.quiet();
        self.terminate();
        let status = self.process.wait(Duration::from_secs(20));
        let output = self.process.output();
        assert!(!output.contains("panicked"), "a panic: {output}");
        assert_eq!(status.code(), Some(0), "an orderly end; it said: {output}");
    }
}
