//! The command line: DESIGN.md §5, as clap reads it.

use std::path::PathBuf;
use std::time::Duration;

use base::limits;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use driver::Address;
use worker::AtLimit;

use crate::log::{self, Destination, Format};
use crate::quantity::{parse_duration, parse_size};
use crate::resolve::{self, Target};

/// A reverse proxy that holds the crowd and shows the server complete requests over a few fast
/// connections.
#[derive(Debug, Parser)]
#[command(name = "anteroom", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what it is for: a server of its own, the proxy before it, and a crowd on request
    Demo(DemoArgs),
    /// Stand before one group of servers: everything in one line, no file
    Proxy(Box<ProxyArgs>),
    /// Serve what a configuration file says
    Run(RunArgs),
    /// Say what is wrong with a configuration file and where, or print its memory budget
    Check(CheckArgs),
    /// Print how a running one fares
    Status(SpeakArgs),
    /// Let a running one finish what is under way and end
    Drain(SpeakArgs),
    /// End a running one at once
    Stop(SpeakArgs),
}

/// `anteroom demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = resolve::address)]
    pub(crate) listen: Address,
    /// Where metrics and status are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900", value_parser = resolve::address)]
    pub(crate) admin: Address,
    /// Bring so many slow clients along: each sends its requests at about 40 bytes a second
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = RangedU64ValueParser::<u32>::new().range(0..=100_000))]
    pub(crate) crowd: u32,
    /// End by itself after so long; without it, Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
}

/// `anteroom proxy`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyArgs {
    /// Where clients come in; may repeat
    #[arg(long, value_name = "ADDR", required = true, value_parser = resolve::address)]
    pub(crate) listen: Vec<Address>,
    /// A server behind; may repeat: all of them are one group
    #[arg(long, value_name = "ADDR", required = true, value_parser = resolve::target)]
    pub(crate) upstream: Vec<Target>,
    /// Most connections that work for a client at one time, to each server
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS, value_parser = RangedU64ValueParser::<u32>::new().range(1..=65_536))]
    pub(crate) connections: u32,
    /// Most event streams and tunnels at one time, to each server
    #[arg(long, value_name = "N", default_value_t = limits::PINNED, value_parser = RangedU64ValueParser::<u32>::new().range(..=1_048_576))]
    pub(crate) pinned: u32,
    /// Pass connections through unread, whatever is spoken
    #[arg(long, conflicts_with_all = ["request", "max_head", "max_target", "max_body", "request_ids", "not_persistent"])]
    pub(crate) pass: bool,
    /// When the server meets a request: complete, or as it arrives
    #[arg(long, value_name = "WHEN", default_value = "complete")]
    pub(crate) request: When,
    /// The buffer pools of all workers together [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Most clients at one time [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=16_777_216))]
    pub(crate) max_clients: Option<u32>,
    /// Worker threads [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(limits::WORKERS_MAX)))]
    pub(crate) workers: Option<u32>,
    /// How sockets are driven
    #[arg(long, value_name = "IO", default_value = "auto")]
    pub(crate) io: Io,
    /// Let several processes listen on the same addresses (`SO_REUSEPORT`)
    #[arg(long)]
    pub(crate) reuse_port: bool,
    /// Serve metrics, status and orders there [default: off]
    #[arg(long, value_name = "ADDR", value_parser = resolve::address)]
    pub(crate) admin: Option<Address>,
    /// What one exchange may keep in the pool [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) exchange_memory: Option<u64>,
    /// Where larger ones go: a directory on a disk, or `off` [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// What lies there in all [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) spool_size: Option<u64>,
    /// What lies there of one exchange [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) spool_per_exchange: Option<u64>,
    /// What lies there of one client address [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) spool_per_address: Option<u64>,
    /// Longest request head [default: 32KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_head: Option<u64>,
    /// Longest request target [default: 8KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_target: Option<u64>,
    /// Largest request body [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_body: Option<u64>,
    /// Most requests that wait for a server; those beyond are answered 503
    #[arg(long, value_name = "N", default_value_t = limits::QUEUE_LENGTH, value_parser = RangedU64ValueParser::<u32>::new().range(1..=16_777_216))]
    pub(crate) queue: u32,
    #[arg(
        long,
        value_name = "NAME=DURATION",
        value_parser = parse_timeout,
        help = format!("A deadline; may repeat. Names: {}", names())
    )]
    pub(crate) timeout: Vec<(Timeout, Duration)>,
    /// What a client meets when `--max-clients` are here: it waits, or is told 503
    #[arg(long, value_name = "HOW", default_value = "pause")]
    pub(crate) at_limit: Limit,
    /// Close the client that is idle longest to let a new one in
    #[arg(long)]
    pub(crate) reclaim_parked: bool,
    /// Bytes of one buffer, a power of two [default: 2KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) buffer: Option<u64>,
    /// Open a connection to the server for each request, and close it after the response
    #[arg(long)]
    pub(crate) not_persistent: bool,
    /// Write a line for each exchange to stdout, stderr or a file [default: off]
    #[arg(long, value_name = "DEST", value_parser = log::destination)]
    pub(crate) access_log: Option<Destination>,
    /// How a line of the access log looks
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) log_format: Format,
    /// Give each request an ID that client, server and log know it by (`X-Request-ID`)
    #[arg(long)]
    pub(crate) request_ids: bool,
    /// Give up root for this user once every address is bound
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The group to go with `--user` [default: the user's own]
    #[arg(long, value_name = "NAME", requires = "user")]
    pub(crate) group: Option<String>,
}

/// `anteroom run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The configuration file (TOML)
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
}

/// `anteroom check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file (TOML)
    #[arg(
        value_name = "CONFIG.toml",
        required_unless_present = "defaults",
        conflicts_with = "defaults"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Print every key with its default and its meaning, as a file that can be served
    #[arg(long)]
    pub(crate) defaults: bool,
}

/// `anteroom status`, `drain` and `stop`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpeakArgs {
    /// Where the running one serves its admin
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900", value_parser = resolve::address)]
    pub(crate) admin: Address,
}

/// `--io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    /// The best there is
    Auto,
    /// Linux epoll
    Epoll,
    /// Linux `io_uring`
    Uring,
}

impl Io {
    /// What drives the sockets in fact: epoll, unless another is asked for.
    pub(crate) const fn driver(self) -> &'static str {
        match self {
            Self::Auto | Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }
}

/// `--request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// When its last byte has come
    Complete,
    /// When its head has come
    Stream,
}

/// `--at-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limit {
    /// It waits in the listener's backlog
    Pause,
    /// It is answered 503 and closed
    Answer,
}

impl From<Limit> for AtLimit {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Pause => Self::Pause,
            Limit::Answer => Self::Answer,
        }
    }
}

/// The names `--timeout` knows; DESIGN.md §5 says what each limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    Handshake,
    Head,
    /// From a head to the verdict on whether its client may.
    Authorize,
    BodyProgress,
    Idle,
    FirstByte,
    WriteProgress,
    Connect,
    Response,
    Queue,
    Tunnel,
    HalfClosed,
    Drain,
}

impl Timeout {
    /// Their names.
    pub(crate) const NAMED: [(&'static str, Self); 13] = [
        ("handshake", Self::Handshake),
        ("head", Self::Head),
        ("authorize", Self::Authorize),
        ("body_progress", Self::BodyProgress),
        ("idle", Self::Idle),
        ("first_byte", Self::FirstByte),
        ("write_progress", Self::WriteProgress),
        ("connect", Self::Connect),
        ("response", Self::Response),
        ("queue", Self::Queue),
        ("tunnel", Self::Tunnel),
        ("half_closed", Self::HalfClosed),
        ("drain", Self::Drain),
    ];
}

fn parse_timeout(text: &str) -> Result<(Timeout, Duration), String> {
    let (name, length) = text.split_once('=').ok_or("write NAME=DURATION, as in head=10s")?;
    let (_, timeout) = Timeout::NAMED
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("no time-out is called `{name}`; there are {}", names()))?;
    Ok((timeout, parse_duration(length)?))
}

fn names() -> String {
    Timeout::NAMED.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(line: &str) -> Result<Command, String> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.command)
            .map_err(|error| format!("{} (exit {})", error, error.exit_code()))
    }

    fn proxy(line: &str) -> ProxyArgs {
        match read(line) {
            Ok(Command::Proxy(args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_line_is_enough() {
        let args = proxy("anteroom proxy --listen :8080 --upstream unix:/run/app.sock");
        assert_eq!(args.listen.len(), 1);
        assert_eq!(args.upstream[0].to_string(), "unix:/run/app.sock");
        assert_eq!((args.connections, args.pinned, args.queue), (8, 10_000, 10_000));
        assert_eq!(args.request, When::Complete);
        assert_eq!((args.io, args.at_limit), (Io::Auto, Limit::Pause));
        assert!(args.memory.is_none() && args.admin.is_none() && args.timeout.is_empty());
    }

    #[test]
    fn every_flag_is_read() {
        let args = proxy(
            "anteroom proxy --listen 127.0.0.1:0 --listen [::1]:0 --upstream 127.0.0.1:9000 \
             --upstream 127.0.0.1:9001 --connections 2 --memory 32KiB --max-clients 7 --workers 1 \
             --io epoll --reuse-port --admin 127.0.0.1:0 --exchange-memory 1MiB --max-head 4KiB \
             --max-target 1KiB --max-body 10MiB --queue 5 --timeout head=300ms --timeout idle=1h \
             --at-limit answer --reclaim-parked --buffer 512 --not-persistent --user web --group web \
             --access-log ./access.log --log-format common --request-ids \
             --pinned 0 --request stream",
        );
        assert_eq!((args.pinned, args.request), (0, When::Stream));
        assert_eq!((args.listen.len(), args.upstream.len()), (2, 2));
        assert_eq!((args.memory, args.buffer), (Some(32 << 10), Some(512)));
        assert_eq!((args.max_clients, args.workers, args.queue), (Some(7), Some(1), 5));
        assert_eq!(args.timeout[0], (Timeout::Head, Duration::from_millis(300)));
        assert_eq!(args.timeout[1], (Timeout::Idle, Duration::from_hours(1)));
        assert!(args.reuse_port && args.reclaim_parked && args.not_persistent);
        assert_eq!(args.access_log, Some(Destination::File("./access.log".into())));
        assert!(args.log_format == Format::Common && args.request_ids);
    }

    #[test]
    fn wrong_values_name_flag_value_and_remedy_and_exit_with_2() {
        let base = "anteroom proxy --listen :0 --upstream :9";
        for (flag, named) in [
            ("--memory 64M", "64MiB"),
            ("--timeout head", "NAME=DURATION"),
            ("--timeout haed=1s", "body_progress"),
            ("--timeout head=1", "300ms"),
            ("--connections 0", "1..=65536"),
            ("--pinned 1048577", "0..=1048576"),
            ("--request streamed", "complete"),
            ("--workers 65", "1..=64"),
            ("--io kqueue", "epoll"),
            ("--listen 8080", "HOST:PORT"),
            ("--at-limit drop", "answer"),
            ("--access-log stdot", "./access.log"),
            ("--log-format xml", "common"),
            ("--conections 3", "--connections"),
            ("--group web", "--user"),
        ] {
            let error = read(&format!("{base} {flag}")).unwrap_err();
            let (name, value) = flag.split_once(' ').unwrap();
            assert!(error.contains(name), "{flag}: {error}");
            let unnamed = ["--conections", "--group"].contains(&name);
            assert!(error.contains(value) || unnamed, "{flag}: {error}");
            assert!(error.contains(named), "{flag}: {error}");
            assert!(error.contains("(exit 2)"), "{flag}: {error}");
        }
        assert!(read("anteroom proxy --listen :0").unwrap_err().contains("--upstream"));
        assert!(read("anteroom run").unwrap_err().contains("CONFIG.toml"));
        assert!(read("anteroom check").unwrap_err().contains("CONFIG.toml"));
        assert!(read("anteroom check --defaults a.toml").unwrap_err().contains("(exit 2)"));
        assert!(read("anteroom").unwrap_err().contains("(exit 2)"));
    }
}
