//! Running other programs, within a time.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Runs programs in the project's root.
#[derive(Debug)]
pub(crate) struct Runner {
    root: PathBuf,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Done {
    /// Whether it ended with code 0.
    pub(crate) held: bool,
    /// What it wrote, both streams.
    pub(crate) output: String,
}

/// The project's root: the directory above this crate's.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_owned(), Path::to_owned)
}

impl Runner {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A path below the root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The directory that cargo builds into.
    pub(crate) fn target(&self) -> PathBuf {
        // Joining leaves an absolute path as it is.
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        self.root.join(target)
    }

    /// Runs a program, shows what it writes, and gives it back. A program that takes longer
    /// than `limit` is ended together with what it started, and has failed.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Done {
        println!("\n$ {}", shown(command));
        let started = Instant::now();
        let done = self.listen(command, limit, |line| print!("{line}"));
        let told = if done.held { "ok" } else { "FAILED" };
        println!("{told} after {:.1} s", started.elapsed().as_secs_f32());
        done
    }

    /// The same without showing anything.
    pub(crate) fn quietly(&self, command: &mut Command, limit: Duration) -> Done {
        self.listen(command, limit, |_| {})
    }

    fn listen(&self, command: &mut Command, limit: Duration, show: impl Fn(&str)) -> Done {
        let started = Instant::now();
        // A group of its own, so that it can be ended with its children.
        command.current_dir(&self.root).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let output = format!("{} cannot be started: {error}\n", shown(command));
                show(&output);
                return Done { held: false, output };
            }
        };
        let lines = read_lines(&mut child);
        let mut output = String::new();
        let in_time = loop {
            let left = limit.saturating_sub(started.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    show(&line);
                    output.push_str(&line);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break true,
                Err(mpsc::RecvTimeoutError::Timeout) => break false,
            }
        };
        if !in_time {
            let late = format!("took longer than {} s: ended\n", limit.as_secs());
            show(&late);
            output.push_str(&late);
            end_group(&child);
        }
        let held = child.wait().is_ok_and(|status: ExitStatus| status.success()) && in_time;
        Done { held, output }
    }

    /// Runs a program quietly and tells whether it ended with code 0.
    pub(crate) fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Cargo with these arguments. Whatever is built here is built once: what would make the next build
/// quicker would only fill the disk.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).env("CARGO_INCREMENTAL", "0");
    command
}

/// The command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let word = word.to_string_lossy();
        if word.contains([' ', '>', '$']) { format!("'{word}'") } else { word.into_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Both streams of a child, line by line as they come.
fn read_lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    lines
}

fn forward(pipe: Option<impl Read + Send + 'static>, to: mpsc::Sender<String>) {
    let Some(pipe) = pipe else { return };
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Ends a child and everything in its group, by the group's id.
fn end_group(child: &Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Done {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Runner::new(root()).run(&mut command, limit)
    }

    #[test]
    fn gives_back_both_streams_and_the_status() {
        let done = shell("echo one; echo two >&2", Duration::from_secs(10));
        assert!(done.held && done.output.contains("one") && done.output.contains("two"));
        assert!(!shell("exit 3", Duration::from_secs(10)).held);
    }

    #[test]
    fn ends_what_takes_too_long_with_its_children() {
        let started = Instant::now();
        let done = shell("sleep 60 & sleep 60", Duration::from_millis(300));
        assert!(!done.held && started.elapsed() < Duration::from_secs(30));
    }
}
