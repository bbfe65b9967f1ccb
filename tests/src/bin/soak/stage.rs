//! What runs: anteroom, two servers of ours, gunicorn.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::servers::{self, Server, free_address};
use blackbox::stream::Stream;
use blackbox::wait::within;
use rustix::process::{Pid, Signal, kill_process};

/// How long after the last fault everything is well again: longer than any time-out but `idle`.
pub(crate) const CALMING: Duration = Duration::from_secs(12);

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
        let [one, two] = own.each_ref().map(|own| own.address.clone());
        let spool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
        let content = format!(
            "io = \"{io}\"\nworkers = 2\nmemory = \"2MiB\"\nmax_clients = 6000\n\
             admin = \"127.0.0.1:0\"\n\
             log = {{ access = \"{log}\", format = \"json\" }}\n\
             spool = {{ dir = \"{}\", size = \"256MiB\", per_exchange = \"64MiB\" }}\n\
             timeouts = {{ head = \"5s\", body_progress = \"5s\", first_byte = \"5s\", \
             write_progress = \"8s\", response = \"8s\", connect = \"2s\", queue = \"5s\" }}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\nupstream = \"own\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\nupstream = \"python\"\n\
             [[upstream]]\nname = \"own\"\nservers = [\"{one}\", \"{two}\"]\nconnections = 4\n\
             [[upstream]]\nname = \"python\"\nservers = [\"{}\"]\nconnections = 2\n",
            spool.display(),
            python.address(),
        );
        let file = folder.write("soak.toml", content);
        let mut anteroom = Anteroom::run(&file);
        let id = anteroom.process().id();
        Self { anteroom, id, own, python, folder, lines: 0, broken_lines: Vec::new() }
    }

    /// Where the clients of our servers come in, and those of gunicorn.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [0, 1].map(|at| self.anteroom.addresses()[at].clone())
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

    /// Counts a log's lines, and removes it: those of what was cut off are no answers.
    fn read_log(&mut self, path: &str) {
        let is_file = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
        let text = if is_file { fs::read(path).unwrap_or_default() } else { Vec::new() };
        let _ = fs::remove_file(path);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.lines += u32::from(!is_cut_off(line));
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
        self.turn_log(false);
    }

    /// The orderly end; what is wrong with it.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
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

/// Whether a line tells of an exchange that did not end with its answer.
fn is_cut_off(line: &[u8]) -> bool {
    // Within a value a quote would be escaped.
    let key = b"\"closed\":";
    line.windows(key.len()).any(|window| window == key)
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
        assert!(is_cut_off(b"{\"status\":499,\"closed\":\"aborted\"}\n"));
        assert!(!is_cut_off(b"{\"target\":\"/\\\"closed\\\":\",\"status\":200}\n"));
    }
}
