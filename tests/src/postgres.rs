//! `PostgreSQL`: a server with a folder of its own, and its client.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::servers::{Server, free_address};
use crate::wait::eventually;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A server that believes whoever comes. It refuses to run as root: then it runs as Debian's user for it.
///
/// # Panics
/// When it is not installed or does not start.
pub fn server() -> Server {
    let folder = Folder::new();
    let data = folder.file("data");
    fs::create_dir(&data).expect("a folder");
    if let Some((user, group)) = other_user() {
        chown(&data, Some(user), Some(group)).expect("root may");
    }
    let line = ["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions"];
    let made = program("initdb").args(line).args(["--locale", "C", "-E", "UTF8"]).output();
    let made = made.expect("postgresql is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let address = free_address();
    let (host, port) = address.split_once(':').expect("an address with a port");
    let mut command = program("postgres");
    command.args(["-D", &data, "-h", host, "-p", port]);
    command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
    let server = Server::start(&mut command, &address, folder);
    eventually("PostgreSQL to take requests", || {
        let mut ready = psql(&address);
        ready.args(["-c", "select 1"]).stdin(Stdio::null());
        ready.output().is_ok_and(|done| done.status.success()).then_some(())
    });
    server
}

/// Its client, at `IP:PORT`: rows alone, nothing of the user's own settings.
pub fn psql(address: &str) -> Command {
    let (host, port) = address.split_once(':').unwrap_or((address, ""));
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
    command.args(["-h", host, "-p", port, "-U", "postgres", "-d", "postgres"]);
    command.env("PGCONNECT_TIMEOUT", "20");
    command
}

/// A program of the newest version.
fn program(name: &str) -> Command {
    let versions = fs::read_dir(VERSIONS).expect("postgresql is installed");
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = versions.filter_map(Result::ok).map(|entry| entry.path());
    let newest = versions.max_by_key(number).expect("postgresql is installed");
    let mut command = Command::new(newest.join("bin").join(name));
    command.current_dir("/");
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// User and group to run it as, if this is root.
fn other_user() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").expect("there is /proc").uid();
    (own == 0).then(|| (id("-u"), id("-g")))
}

fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().expect("id is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().expect("the package makes the user postgres")
}
