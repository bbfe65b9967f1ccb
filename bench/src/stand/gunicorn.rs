//! gunicorn with sync workers: a server that serves one connection a worker at a time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::address::Address;
use crate::error::{Outcome, While, failure};
use crate::process::Process;
use crate::stand::folder::Folder;

/// Reads the body, then computes for 2 ms of processor time.
const APPLICATION: &str = r#"
import time

def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
    text = b"%d bytes\n" % len(body)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
"#;

/// Starts it with two sync workers.
pub(crate) fn start(folder: &Folder, listen: &Address) -> Outcome<Process> {
    folder.write("application.py", APPLICATION)?;
    let folder = folder.root().display();
    let line = format!(
        "--bind {listen} --workers 2 --worker-class sync --worker-tmp-dir /dev/shm \
         --chdir {folder} --log-level warning application:application"
    );
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut process = Process::start(&program()?, &arguments, None)?;
    process.answers_at(listen)?;
    Ok(process)
}

/// gunicorn of the Python environment under `target/venv`, which is made if it is not there.
fn program() -> Outcome<PathBuf> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = bench.parent().ok_or_else(|| failure("the bench stands in no project"))?;
    let environment = root.join("target/venv");
    let program = environment.join("bin/gunicorn");
    if !program.is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let mut pip = Command::new(environment.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check", "gunicorn"]))?;
    }
    Ok(program)
}

fn run(command: &mut Command) -> Outcome<()> {
    let shown = format!("{command:?}");
    let status = command.status().doing(&shown)?;
    if status.success() { Ok(()) } else { Err(failure(format!("{shown} failed ({status})"))) }
}
