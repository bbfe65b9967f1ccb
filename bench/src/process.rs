//! A program this bench starts, talks to by lines, and ends by process id.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Outcome, While, failure};
use crate::usage;

/// A running program. Dropping it ends it and all its children.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: Vec<String>,
}

/// How long a program may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(5);

impl Process {
    /// Starts a program, bound to one core if so wanted.
    pub(crate) fn start(program: &Path, arguments: &[String], core: Option<u8>) -> Outcome<Self> {
        Self::spawn(program, arguments, core, Stdio::piped())
    }

    /// The same of one whose standard output goes into a file.
    pub(crate) fn start_writing(
        program: &Path,
        arguments: &[String],
        core: Option<u8>,
        output: File,
    ) -> Outcome<Self> {
        Self::spawn(program, arguments, core, output.into())
    }

    fn spawn(
        program: &Path,
        arguments: &[String],
        core: Option<u8>,
        output: Stdio,
    ) -> Outcome<Self> {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
        let name = program.display().to_string();
        let mut child = command.spawn().doing(&name)?;
        let (sender, lines) = channel();
        listen(child.stdout.take(), sender.clone());
        listen(child.stderr.take(), sender);
        let input = child.stdin.take();
        Ok(Self { name, child, input, lines, heard: Vec::new() })
    }

    /// Starts this very program in one of its roles.
    pub(crate) fn role(arguments: &[String], core: Option<u8>) -> Outcome<Self> {
        let mut all = vec!["role".to_owned()];
        all.extend_from_slice(arguments);
        Self::start(&std::env::current_exe()?, &all, core)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its processes: itself and all that descend from it.
    pub(crate) fn family(&self) -> Vec<u32> {
        usage::family(self.id())
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome<()> {
        let input = self.input.as_mut().ok_or_else(|| failure("its input is closed"))?;
        writeln!(input, "{line}").doing(&self.name)
    }

    /// Waits for a line that begins so; gives the rest of it.
    pub(crate) fn line(&mut self, start: &str, patience: Duration) -> Outcome<String> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let said = self.heard.join("\n  ");
                let name = &self.name;
                return Err(failure(format!("{name} does not say `{start}`; it said:\n  {said}")));
            };
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.trim().to_owned());
            }
            self.heard.push(line);
        }
    }

    /// Waits until somebody accepts at an address.
    pub(crate) fn answers_at(&mut self, address: &crate::address::Address) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                let said: Vec<String> = self.lines.try_iter().collect();
                let name = &self.name;
                return Err(failure(format!("{name} ended ({status}): {}", said.join("\n"))));
            }
            if address.answers() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(failure(format!("{} does not accept at {address}", self.name)))
    }

    /// Waits for its end; gives everything it wrote.
    pub(crate) fn output(mut self, patience: Duration) -> Outcome<String> {
        let end = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err(failure(format!("{} does not end", self.name)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        // The readers end with the program's streams.
        self.heard.extend(self.lines.iter());
        Ok(self.heard.join("\n"))
    }

    fn ended_within(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = self.family();
        self.input = None;
        signal(self.id(), Signal::TERM);
        let ended = self.ended_within(PATIENCE);
        // A child that outlived its parent's orderly end would be nobody's to end.
        for &member in family.iter().skip(usize::from(ended)) {
            signal(member, Signal::KILL);
        }
        if !ended {
            let _ = self.child.wait();
        }
    }
}

fn signal(process: u32, signal: Signal) {
    if let Some(id) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

/// Sends the lines of a stream on until it ends.
fn listen(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn shell(script: &str) -> Process {
        Process::start(Path::new("sh"), &["-c".to_owned(), script.to_owned()], Some(0)).unwrap()
    }

    #[test]
    fn talks_by_lines() {
        let mut cat = Process::start(Path::new("cat"), &[], None).unwrap();
        cat.tell("one").unwrap();
        cat.tell("two 2").unwrap();
        assert_eq!(cat.line("two", PATIENCE).unwrap(), "2");
        assert!(cat.line("three", SHORT).is_err());
    }

    #[test]
    fn gives_its_output_at_its_end() {
        let output = shell("echo a; echo b >&2").output(PATIENCE).unwrap();
        assert!(output.contains('a') && output.contains('b'));
        assert!(shell("sleep 60").output(SHORT).is_err());
    }

    #[test]
    fn ends_with_its_children() {
        let mut process = shell("sleep 61 & echo ready; wait");
        process.line("ready", PATIENCE).unwrap();
        let family = process.family();
        assert_eq!(family.len(), 2);
        drop(process);
        thread::sleep(SHORT);
        let lives = |member: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{member}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        assert!(!family.iter().any(lives), "{family:?}");
    }
}
