//! A program that a test starts, listens to and ends by its process id.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{eventually, within};

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<String>>,
    /// How much of the output was news already.
    told: usize,
}

impl Process {
    /// Starts a program; what it writes to standard output and error is collected.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut process = Self::start_unread(command);
        collect(process.child.stdout.take(), &process.output);
        process
    }

    /// Starts a program whose standard output is a pipe that nobody reads; what it writes to
    /// standard error is collected.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start_unread(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started ({e}): run `cargo xtask test`"));
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take(), &output);
        Self { child, name, output, told: 0 }
    }

    /// Everything it wrote so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether that is all: nobody has the pipes any more, and what was in them is collected.
    pub fn is_heard_out(&self) -> bool {
        Arc::strong_count(&self.output) == 1
    }

    /// What it wrote since the last call.
    pub fn news(&mut self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let news = output[self.told..].to_owned();
        self.told = output.len();
        news
    }

    /// Closes the pipe that nobody reads.
    pub fn hang_up(&mut self) {
        drop(self.child.stdout.take());
    }

    /// Waits for a line that begins with `start`; gives the rest of it.
    ///
    /// # Panics
    /// When the program ends first, or takes too long.
    pub fn line(&mut self, start: &str) -> String {
        let find = |output: &str| {
            let line = output.split_inclusive('\n').find(|line| line.starts_with(start))?;
            line.ends_with('\n').then(|| line[start.len()..].trim().to_owned())
        };
        eventually(&format!("{} to say {start:?}; it said: {}", self.name, self.output()), || {
            if let Some(line) = find(&self.output()) {
                return Some(line);
            }
            let ended = self.child.try_wait().ok().flatten();
            if let Some(status) = ended {
                crate::wait::pause(50);
                let output = self.output();
                let line = find(&output);
                assert!(line.is_some(), "{} ended ({status}): {output}", self.name);
                return line;
            }
            None
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        within(patience, &what, || self.child.try_wait().ok().flatten())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, self.output());
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>, output: &Arc<Mutex<String>>) {
    let Some(pipe) = pipe else { return };
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            output.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            line.clear();
        }
    });
}
