//! What runs: anteroom, two servers of ours, gunicorn; and clients that are there all the time.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackbox::certificates::Certificates;
use blackbox::client::Client;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::random::Random;
use blackbox::sealed::Trust;
use blackbox::servers::{self, Server, free_address};
use blackbox::stream::Stream;
use blackbox::wait::within;
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{Doors, Way};

/// How long after the last fault everything is well again: longer than any time-out but `idle`.
pub(crate) const CALMING: Duration = Duration::from_secs(12);

/// TLS clients that stay from before the first look at what the process holds to after the last.
const HELD: usize = 200;
/// The name that TLS clients ask for.
const NAME: &str = "soak.example";
/// How long an address list may take to be in force: its file is looked at every second.
const LISTED: Duration = Duration::from_secs(4);
/// How long a ban lasts that is looked at.
const BAN: Duration = Duration::from_secs(6);

/// A server process of ours.
pub(crate) struct Own {
    address: String,
    child: Child,
    orders: ChildStdin,
}

impl Own {
    fn start(address: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["server", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("this program starts itself");
        let orders = child.stdin.take().expect("a pipe");
        within(Duration::from_mins(1), "a server to listen", || Stream::connect(address).ok());
        Self { address: address.to_owned(), child, orders }
    }

    /// Tells it something; a server that is dead does not hear.
    pub(crate) fn tell(&mut self, order: &str) {
        let _ = writeln!(self.orders, "{order}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn revive(&mut self) {
        self.kill();
        *self = Self::start(&self.address.clone());
    }

    fn is_dead(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_some())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}

fn send(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) anteroom: Anteroom,
    id: u32,
    pub(crate) own: [Own; 2],
    pub(crate) python: Server,
    folder: Folder,
    authority: Certificates,
    trust: Arc<Trust>,
    held: Vec<Client>,
    /// What faults found wrong.
    wrong: Vec<String>,
    /// Lines of answers in the access log so far, and some that are no lines.
    lines: u32,
    broken_lines: Vec<String>,
}

impl Stage {
    /// Starts it all.
    pub(crate) fn set(io: &str) -> Self {
        let own = [0, 1].map(|_| Own::start(&free_address()));
        let python = servers::gunicorn(true);
        let folder = Folder::new();
        let log = folder.file("access.log");
        let authority = Certificates::new();
        let certificate = authority.issue("soak", &[NAME]);
        let denied = folder.write("denied.txt", "# nobody yet\n");
        let [one, two] = own.each_ref().map(|own| own.address.clone());
        let spool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
        let listen = |keys: &str| format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{keys}\n");
        let listeners = Way::ALL.map(|way| match way {
            Way::Plain => listen("proxy = \"http\"\nupstream = \"own\""),
            Way::Python => listen("proxy = \"http\"\nupstream = \"python\""),
            Way::Sealed => listen(&format!(
                "proxy = \"http\"\nupstream = \"own\"\ntls = {{ certificates = \
                 [{{ certificate = \"{certificate}\", key = \"{certificate}\" }}] }}"
            )),
            Way::Passed => listen("proxy = \"pass\"\nupstream = \"passed\""),
            Way::Named => listen(&format!(
                "proxy = \"http\"\nupstream = \"own\"\ndeny = [{{ file = \"{denied}\" }}]\n\
                 proxy_protocol = {{ from = [\"127.0.0.1\"] }}"
            )),
        });
        let content = format!(
            "io = \"{io}\"\nworkers = 2\nmemory = \"2MiB\"\nmax_clients = 6000\n\
             admin = \"127.0.0.1:0\"\n\
             log = {{ access = \"{log}\", format = \"json\" }}\n\
             spool = {{ dir = \"{}\", size = \"256MiB\", per_exchange = \"64MiB\" }}\n\
             timeouts = {{ head = \"5s\", body_progress = \"5s\", first_byte = \"5s\", \
             write_progress = \"8s\", response = \"8s\", connect = \"2s\", queue = \"5s\", \
             handshake = \"5s\", half_closed = \"5s\" }}\n\
             {}\
             [[upstream]]\nname = \"own\"\nservers = [\"{one}\", \"{two}\"]\nconnections = 4\n\
             [[upstream]]\nname = \"passed\"\nservers = [\"{one}\", \"{two}\"]\nconnections = 4\n\
             [[upstream]]\nname = \"python\"\nservers = [\"{}\"]\nconnections = 2\n",
            spool.display(),
            listeners.concat(),
            python.address(),
        );
        let file = folder.write("soak.toml", content);
        let mut anteroom = Anteroom::run(&file);
        let id = anteroom.process().id();
        let trust = Arc::new(Trust::new(&authority.ca(), NAME));
        let (lines, held, wrong, broken_lines) = (0, Vec::new(), Vec::new(), Vec::new());
        let mut stage = Self {
            anteroom,
            id,
            own,
            python,
            folder,
            authority,
            trust,
            held,
            wrong,
            lines,
            broken_lines,
        };
        stage.hold();
        stage
    }

    /// Lets in whoever is to be here all the time.
    fn hold(&mut self) {
        let (doors, mut random) = (self.doors(), Random::new(1));
        for _ in 0..HELD {
            let mut client =
                doors.enter(Way::Sealed, "", &mut random).expect("all is well at the start");
            assert_eq!(client.get("/bytes/100/1").status, 200);
            self.held.push(client);
        }
    }

    /// How many are here all the time.
    pub(crate) const fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether all of them are still served.
    pub(crate) fn serves_the_held(&mut self) -> Vec<String> {
        let mut lost = 0;
        for client in &mut self.held {
            let answer = client.try_get("/bytes/100/1");
            let body = crate::server::bytes(100, 1);
            lost += u32::from(!answer.is_ok_and(|answer| answer.body == body));
        }
        (lost > 0)
            .then(|| format!("{lost} TLS clients that stayed are not served"))
            .into_iter()
            .collect()
    }

    /// Where everybody comes in.
    pub(crate) fn doors(&self) -> Doors {
        let addresses = Way::ALL.map(|way| self.anteroom.addresses()[way as usize].clone());
        Doors { addresses, trust: Arc::clone(&self.trust) }
    }

    /// Another certificate is to be shown; before it, for a moment, a file of no use, if `bad`.
    pub(crate) fn renew_certificate(&mut self, bad: bool) {
        if bad {
            self.show("-----BEGIN CERTIFICATE-----\nno\n");
            std::thread::sleep(Duration::from_millis(500));
        }
        let (certificate, key) = self.authority.sign("soak", &[NAME], |_| ());
        self.show(&(certificate + &key));
    }

    fn show(&self, content: &str) {
        let folder = self.authority.folder();
        let _ = fs::rename(folder.write("soak.new", content), folder.file("soak.pem"));
        self.anteroom.signal(Signal::HUP);
    }

    /// Whether the certificate that is in the file is the one that is shown.
    pub(crate) fn shows_its_certificate(&self) -> Vec<String> {
        // Nobody resumes here: a session of its own.
        let trust = Trust::new(&self.authority.ca(), NAME);
        let address = &self.anteroom.addresses()[Way::Sealed as usize];
        let shown = trust.connect(address, false).and_then(|mut sealed| {
            sealed.shake_hands()?;
            Ok(sealed.shown())
        });
        let file = self.authority.folder().file("soak.pem");
        match shown {
            Ok(Some(shown)) if blackbox::sealed::certificate(&file) == shown => Vec::new(),
            other => vec![format!("another certificate than the newest: {:?}", other.is_ok())],
        }
    }

    /// A network is banned for a while: nobody who comes from there is answered.
    pub(crate) fn ban(&mut self, random: &mut Random) {
        let began = Instant::now();
        let seconds = BAN.as_secs();
        let order = format!("/bans?address=198.51.100.0/25&for={seconds}s");
        let status = self.anteroom.order(&order).status;
        std::thread::sleep(Duration::from_millis(500));
        let answered = self.answers("198.51.100.9", random);
        if status != 201 || (answered && began.elapsed() < BAN / 2) {
            self.wrong.push(format!("a ban, told {status}: answered {answered}"));
        }
    }

    /// A network is on the list of those who are denied, and then not any more.
    pub(crate) fn deny(&mut self, random: &mut Random) {
        let write = |content: &str| {
            let new = self.folder.write("denied.new", content);
            let _ = fs::rename(new, self.folder.file("denied.txt"));
        };
        write("198.51.100.128/25 # for a while\n");
        std::thread::sleep(LISTED);
        let answered = self.answers("198.51.100.209", random);
        write("# nobody\n");
        if answered {
            self.wrong.push("whoever is denied is answered".to_owned());
        }
    }

    fn answers(&self, whom: &str, random: &mut Random) -> bool {
        let entered = self.doors().enter(Way::Named, whom, random);
        let answer = entered.and_then(|mut client| client.try_get("/bytes/10/1"));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// The proxy's process.
    pub(crate) const fn process_id(&self) -> u32 {
        self.id
    }

    /// The access log is renamed and opened anew, on a disk that is full if `full`.
    pub(crate) fn turn_log(&mut self, full: bool) {
        let log = self.folder.file("access.log");
        // The file before was closed at the latest turn.
        self.read_log(&format!("{log}.old"));
        let _ = fs::rename(&log, format!("{log}.old"));
        if full {
            let _ = std::os::unix::fs::symlink("/dev/full", &log);
        }
        self.anteroom.signal(Signal::USR1);
        std::thread::sleep(Duration::from_millis(500));
    }

    /// Counts a log's lines of answers, and removes it.
    fn read_log(&mut self, path: &str) {
        let is_file = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
        let text = if is_file { fs::read(path).unwrap_or_default() } else { Vec::new() };
        let _ = fs::remove_file(path);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.lines += u32::from(is_answer(line));
            if !(line.starts_with(b"{") && line.ends_with(b"}\n")) && self.broken_lines.len() < 5 {
                self.broken_lines.push(String::from_utf8_lossy(line).into_owned());
            }
        }
    }

    /// Whether the access log told of every request that was answered, or counts it as lost, and
    /// of none that was not.
    pub(crate) fn log_agrees(&mut self) -> Vec<String> {
        let metrics = self.anteroom.metrics();
        let answered = metrics.sum("anteroom_requests_total", &[]);
        let lost = metrics.sum("anteroom_log_dropped_total", &[]);
        // Of those who waited for a first buffer in vain, not a byte ever came: they have no line.
        let untold = metrics.sum("anteroom_refusals_total", &[("reason", "crowded")]);
        // Turned twice, it is closed whole.
        self.turn_log(false);
        self.turn_log(false);
        let lines = self.lines;
        println!("access log: {lines} lines of answers, {lost} lost, {answered} requests answered");
        let mut wrong = Vec::new();
        if !told_all(lines.into(), answered, lost + untold) {
            wrong.push(format!(
                "{lines} lines of answers, {lost} lost, {untold} untold, {answered} answers"
            ));
        }
        let broken = self.broken_lines.drain(..);
        wrong.extend(broken.map(|line| format!("no whole line of the log: {line:?}")));
        wrong
    }

    /// Everything is as it was set, and behaves.
    pub(crate) fn heal(&mut self) {
        for own in &mut self.own {
            own.signal(Signal::CONT);
            own.tell("faults 0");
            if own.is_dead() {
                own.revive();
            }
        }
        self.python.process().signal(Signal::CONT);
        self.renew_certificate(false);
        self.turn_log(false);
    }

    /// The orderly end; what is wrong with it.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        self.held.clear();
        self.anteroom.terminate();
        let status = self.anteroom.wait(Duration::from_mins(1));
        if status.code() != Some(0) {
            wrong.push(format!("anteroom ended with {status}"));
        }
        let output = self.anteroom.output();
        if output.contains("panicked") {
            wrong.push(format!("a panic: {output}"));
        }
        wrong
    }
}

/// Whether a line tells of an answer: of an exchange that ended with it, or of a tunnel, which
/// began with it. What was passed through had none.
fn is_answer(line: &[u8]) -> bool {
    // Within a value a quote would be escaped.
    let has = |text: &[u8]| line.windows(text.len()).any(|window| window == text);
    has(b"\"status\":101,") || (has(b"\"status\":") && !has(b"\"closed\":"))
}

/// Whether there are as many lines as answers, but for those that may be missing.
fn told_all(lines: f64, answered: f64, missing: f64) -> bool {
    lines <= answered && lines + missing >= answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_missing_or_too_many_are_found() {
        assert!(told_all(7.0, 7.0, 0.0) && told_all(5.0, 7.0, 2.0) && told_all(6.0, 7.0, 2.0));
        assert!(!told_all(4.0, 7.0, 2.0) && !told_all(8.0, 7.0, 0.0));
    }

    #[test]
    fn what_was_cut_off_is_no_answer() {
        assert!(!is_answer(b"{\"status\":499,\"closed\":\"aborted\"}\n"));
        assert!(!is_answer(b"{\"listener\":\"a\",\"bytes_sent\":7}\n"), "passed through");
        assert!(is_answer(b"{\"status\":101,\"bytes_sent\":7,\"closed\":\"aborted\"}\n"));
        assert!(is_answer(b"{\"target\":\"/\\\"closed\\\":\",\"status\":200}\n"));
    }
}
