//! The test stand: the proxies measured, each set up to do the same work, and servers behind.

pub(crate) mod folder;
pub(crate) mod gunicorn;
mod nginx;

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::machine::Patience;
use crate::process::Process;
use folder::Folder;

/// What stands between the clients and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// Debian's nginx.
    Nginx,
    /// Ours.
    Anteroom,
    /// A forwarder that understands nothing: the least that moving the bytes costs.
    Floor,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Anteroom => "anteroom",
            Self::Floor => "floor",
        })
    }
}

/// How a proxy is to be started.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The server behind it.
    pub(crate) upstream: Address,
    /// The most clients it is to hold.
    pub(crate) clients: usize,
    /// The most upstream connections it is to use (anteroom), or to keep when idle (nginx).
    pub(crate) connections: usize,
    /// The core it is bound to.
    pub(crate) core: Option<u8>,
}

/// The programs and the place for their files.
pub(crate) struct Stand {
    /// anteroom's binary.
    pub(crate) anteroom: PathBuf,
    /// Where configurations, sockets and logs go.
    pub(crate) folder: Folder,
    /// How long all in all may be waited for a quiet machine.
    pub(crate) patience: Patience,
}

/// A proxy that accepts.
pub(crate) struct Running {
    /// Its processes.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddrV4,
}

impl Stand {
    /// Starts a proxy with one worker.
    pub(crate) fn start(&self, proxy: Proxy, setup: &Setup) -> Outcome<Running> {
        let listen = Address::free()?;
        let mut process = match proxy {
            Proxy::Nginx => nginx::start(&self.folder, &listen, setup)?,
            Proxy::Anteroom => self.anteroom(&listen, setup)?,
            Proxy::Floor => {
                let upstream = setup.upstream.to_string();
                role(
                    &["floor", "--listen", &listen.to_string(), "--upstream", &upstream],
                    setup.core,
                )?
            }
        };
        if proxy == Proxy::Nginx {
            process.answers_at(&listen)?;
        }
        Ok(Running { process, address: tcp(&listen)? })
    }

    fn anteroom(&self, listen: &Address, setup: &Setup) -> Outcome<Process> {
        let arguments = anteroom_arguments(listen, setup);
        let mut process = Process::start(&self.anteroom, &arguments, setup.core)?;
        process.line("anteroom ready", Duration::from_secs(20))?;
        Ok(process)
    }
}

/// The command line that does the same as nginx's configuration.
fn anteroom_arguments(listen: &Address, setup: &Setup) -> Vec<String> {
    let Setup { upstream, clients, connections, .. } = setup;
    let line = format!(
        "proxy --listen {listen} --upstream {upstream} --workers 1 --max-clients {clients} \
         --connections {connections}"
    );
    line.split_whitespace().map(str::to_owned).collect()
}

/// Starts this program in a role and waits until it is ready.
pub(crate) fn role(arguments: &[&str], core: Option<u8>) -> Outcome<Process> {
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let mut process = Process::role(&arguments, core)?;
    process.line("ready", Duration::from_secs(10))?;
    Ok(process)
}

/// Starts the cheap server.
pub(crate) fn upstream(address: &Address, core: Option<u8>) -> Outcome<Process> {
    role(&["upstream", "--listen", &address.to_string()], core)
}

/// The TCP address of somebody who listens on TCP.
pub(crate) fn tcp(address: &Address) -> Outcome<SocketAddrV4> {
    match address {
        Address::Tcp(address) => Ok(*address),
        Address::Unix(path) => Err(failure(format!("{} is no TCP address", path.display()))),
    }
}
