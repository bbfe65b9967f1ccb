//! The test stand: the proxies measured, each set up to do the same work, and servers behind.

pub(crate) mod folder;
pub(crate) mod gunicorn;
mod haproxy;
mod nginx;
mod screened;
mod secret;

use std::fmt;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::machine::Patience;
use crate::process::Process;
use folder::Folder;

/// A name and a password, as clients send them: `me:U*U`.
pub(crate) const CREDENTIALS: &str = "bWU6VSpV";

/// What stands between the clients and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
    /// Ours.
    Anteroom,
    /// The other build of ours.
    #[value(skip)]
    Other,
    /// A forwarder that understands nothing: the least that moving the bytes costs.
    #[value(skip)]
    Floor {
        /// Whether it ends a client's connection after one response, keeping the server's.
        closes: bool,
    },
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Anteroom => "anteroom",
            Self::Other => "anteroom, other build",
            Self::Floor { .. } => "floor",
        })
    }
}

/// What is spoken through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP.
    Http,
    /// HTTP, until client and server switch to another protocol.
    Tunnels,
    /// Whatever: it is passed through.
    Pass,
}

/// How a proxy is to be started.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The server behind it.
    pub(crate) upstream: Address,
    /// The most clients it is to hold.
    pub(crate) clients: usize,
    /// How many of these may have a request at the server at once, where nothing bounds that.
    pub(crate) exchanges: usize,
    /// The most upstream connections it is to use (anteroom), or to keep when idle (nginx).
    pub(crate) connections: usize,
    /// Whether HAProxy, too, is to use no more than these, and to queue what is beyond.
    pub(crate) capped: bool,
    /// The core it is bound to.
    pub(crate) core: Option<u8>,
    /// Bytes of a response's body, for which buffers are to suit.
    pub(crate) size: usize,
    /// Whether it writes an access log and gives metrics.
    pub(crate) logs: bool,
    /// How many networks anteroom denies, where it is started from a file.
    pub(crate) denied: Option<u32>,
    /// What clients must show, where anteroom is started from a file: [`CREDENTIALS`], or nothing.
    pub(crate) credentials: Option<&'static str>,
    /// What is spoken.
    pub(crate) kind: Kind,
    /// Whether clients speak TLS.
    pub(crate) secured: bool,
    /// Where it listens, if that must be shared with others of its kind; a free port of its own
    /// if not.
    pub(crate) shared: Option<Address>,
}

impl Setup {
    /// One that serves small responses, bound to no core, without logs.
    pub(crate) fn new(upstream: &Address, clients: usize, connections: usize) -> Self {
        Self {
            upstream: upstream.clone(),
            clients,
            exchanges: clients / 8,
            connections,
            capped: false,
            core: None,
            size: 1024,
            logs: false,
            denied: None,
            credentials: None,
            kind: Kind::Http,
            secured: false,
            shared: None,
        }
    }

    /// Whether responses are far larger than anybody's default buffers.
    fn is_large(&self) -> bool {
        self.size > 65_536
    }
}

/// The programs and the place for their files.
pub(crate) struct Stand {
    /// anteroom's binary.
    pub(crate) anteroom: PathBuf,
    /// Another build of it, to be compared with.
    pub(crate) other: Option<PathBuf>,
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
    /// The file of its access log, if it writes one.
    pub(crate) log: Option<PathBuf>,
    /// Where it gives metrics, if it does.
    pub(crate) admin: Option<SocketAddrV4>,
}

impl Stand {
    /// Starts a proxy with one worker.
    pub(crate) fn start(&self, proxy: Proxy, setup: &Setup) -> Outcome<Running> {
        let listen = match &setup.shared {
            Some(shared) => shared.clone(),
            None => Address::free()?,
        };
        let name = format!("{proxy}-{}.log.json", listen.port());
        let log = setup.logs.then(|| self.folder.path(&name));
        let admin = match proxy {
            Proxy::Anteroom if setup.logs => Some(tcp(&Address::free()?)?),
            _ => None,
        };
        let folder = &self.folder;
        if setup.secured {
            secret::make(folder)?;
        }
        let process = match proxy {
            Proxy::Nginx => nginx::start(folder, &listen, setup, log.as_deref())?,
            Proxy::Haproxy => haproxy::start(folder, &listen, setup, log.as_deref())?,
            Proxy::Anteroom if setup.denied.is_some() => {
                screened::start(&self.anteroom, folder, &listen, setup)?
            }
            Proxy::Anteroom if setup.secured => {
                secret::anteroom(&self.anteroom, folder, &listen, setup)?
            }
            Proxy::Anteroom => anteroom(&self.anteroom, &listen, setup, (log.as_deref(), admin))?,
            Proxy::Other => {
                let other =
                    self.other.as_ref().ok_or_else(|| failure("there is no other build"))?;
                anteroom(other, &listen, setup, (log.as_deref(), admin))?
            }
            Proxy::Floor { closes } => {
                let (listen, upstream) = (listen.to_string(), setup.upstream.to_string());
                let mut line = vec!["floor", "--listen", &listen, "--upstream", &upstream];
                line.extend(closes.then_some("--closes"));
                role(&line, setup.core)?
            }
        };
        Ok(Running { process, address: tcp(&listen)?, log, admin })
    }
}

/// Starts a build of ours, with this log and this admin address if there are to be any.
fn anteroom(
    program: &Path,
    listen: &Address,
    setup: &Setup,
    (log, admin): (Option<&Path>, Option<SocketAddrV4>),
) -> Outcome<Process> {
    let mut line = anteroom_line(listen, setup);
    if let Some(log) = log {
        line = format!("{line} --access-log {} --log-format json", log.display());
    }
    if let Some(admin) = admin {
        line = format!("{line} --admin {admin}");
    }
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut process = Process::start(program, &arguments, setup.core)?;
    process.line("anteroom ready", Duration::from_secs(20))?;
    Ok(process)
}

/// The command line that does the same as nginx's configuration.
pub(crate) fn anteroom_line(listen: &Address, setup: &Setup) -> String {
    let Setup { upstream, clients, connections, .. } = setup;
    let shared = if setup.shared.is_some() { " --reuse-port" } else { "" };
    let pass = if setup.kind == Kind::Pass { " --pass" } else { "" };
    format!(
        "proxy --listen {listen} --upstream {upstream} --workers 1 --max-clients {clients} \
         --connections {connections}{shared}{pass}"
    )
}

/// Starts this program in a role and waits until it is ready.
pub(crate) fn role(arguments: &[&str], core: Option<u8>) -> Outcome<Process> {
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let mut process = Process::role(&arguments, core)?;
    process.line("ready", Duration::from_secs(10))?;
    Ok(process)
}

/// Starts the cheap server, whose responses have bodies of so many bytes.
pub(crate) fn upstream(address: &Address, size: usize, core: Option<u8>) -> Outcome<Process> {
    role(&["upstream", "--listen", &address.to_string(), "--size", &size.to_string()], core)
}

/// The TCP address of somebody who listens on TCP.
pub(crate) fn tcp(address: &Address) -> Outcome<SocketAddrV4> {
    match address {
        Address::Tcp(address) => Ok(*address),
        Address::Unix(path) => Err(failure(format!("{} is no TCP address", path.display()))),
    }
}
