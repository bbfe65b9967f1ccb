//! The command line, checked: what cannot work is refused here, before anything is opened.

use std::collections::HashSet;
use std::time::Duration;

use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use base::limits;
use bus::{GroupConfig, ServerConfig};
use driver::Address;
use pool::{Pool, PoolConfig, Rank};
use worker::{AtLimit, ListenerPlan, Plan, Timeouts};

use crate::cli::{Io, ProxyArgs, Timeout};
use crate::descriptors::{self, Holders};
use crate::failure::Failure;
use crate::quantity::Size;

/// Smallest `--max-head`: a request line and a few fields.
const MAX_HEAD_LEAST: u32 = 256;
/// The group of servers that the command line makes.
pub(crate) const GROUP: &str = "upstream";

/// Everything the master needs to start: every value given, and every value possible.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listeners: Vec<Address>,
    pub(crate) servers: Vec<Address>,
    /// Most leases to each server.
    pub(crate) connections: u32,
    pub(crate) max_clients: u32,
    pub(crate) workers: u32,
    /// The pool of each worker.
    pub(crate) pool: PoolConfig,
    pub(crate) exchange_memory: u32,
    pub(crate) max_head: u32,
    pub(crate) max_target: u32,
    pub(crate) max_body: u64,
    /// Most waiting requests, over all workers.
    pub(crate) queue: u32,
    pub(crate) timeouts: Timeouts,
    pub(crate) at_limit: AtLimit,
    pub(crate) reclaim_parked: bool,
    pub(crate) persistent: bool,
    pub(crate) reuse_port: bool,
    pub(crate) admin: Option<Address>,
}

impl Settings {
    /// Checks what the command line asks for. `descriptors` is the limit of open files, `cores`
    /// the number of workers unless given.
    ///
    /// # Errors
    /// [`Failure::Usage`], naming the flag, its value and the remedy.
    pub(crate) fn check(args: &ProxyArgs, descriptors: u64, cores: u32) -> Result<Self, Failure> {
        check_io(args.io)?;
        check_addresses(args)?;
        let workers = args.workers.unwrap_or(cores).clamp(1, limits::WORKERS_MAX);
        let (pool, pool_bytes) = pool(args, workers)?;
        let exchange_memory = exchange_memory(args, pool_bytes)?;
        let max_head = max_head(args, exchange_memory)?;
        let at_limit = AtLimit::from(args.at_limit);
        let holders = Holders {
            upstream: u64::from(args.connections) * args.upstream.len() as u64,
            listeners: args.listen.len() as u64,
            workers: u64::from(workers),
            refusals: match at_limit {
                AtLimit::Pause => 0,
                AtLimit::Answer => u64::from(limits::REFUSAL_RECORDS),
            },
        };
        Ok(Self {
            listeners: args.listen.clone(),
            servers: args.upstream.clone(),
            connections: args.connections,
            max_clients: descriptors::max_clients(args.max_clients, descriptors, holders)?,
            workers,
            pool,
            exchange_memory,
            max_head,
            max_target: max_target(args, max_head)?,
            max_body: args.max_body.unwrap_or(limits::MAX_BODY),
            queue: args.queue,
            timeouts: timeouts(&args.timeout),
            at_limit,
            reclaim_parked: args.reclaim_parked,
            persistent: !args.not_persistent,
            reuse_port: args.reuse_port,
            admin: args.admin.clone(),
        })
    }

    /// What `worker` is built from.
    pub(crate) fn plan(&self, worker: WorkerId) -> Plan {
        Plan {
            worker,
            pool: self.pool,
            max_clients: self.max_clients,
            exchange_memory: self.exchange_memory,
            listeners: (0u32..)
                .zip(&self.listeners)
                .map(|(id, at)| self.listener(id, at))
                .collect(),
            groups: vec![self.group(worker)],
            timeouts: self.timeouts,
            at_limit: self.at_limit,
            reclaim_parked: self.reclaim_parked,
        }
    }

    fn listener(&self, id: u32, address: &Address) -> ListenerPlan {
        let default_host = match address {
            Address::Ip(ip) => ip.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        ListenerPlan {
            id: ListenerId(id),
            group: GroupId(0),
            default_host: default_host.into(),
            max_head: self.max_head,
            max_target: self.max_target,
            max_body: self.max_body,
        }
    }

    fn group(&self, worker: WorkerId) -> GroupConfig {
        let connections = self.connections;
        GroupConfig {
            name: GROUP.into(),
            servers: (0u32..)
                .zip(&self.servers)
                .map(|(id, _)| ServerConfig { id: ServerId(id), connections })
                .collect(),
            queue_length: share(self.queue, self.workers, worker).max(1),
            persistent: self.persistent,
        }
    }

    /// Bytes of all pools together.
    pub(crate) fn pool_bytes(&self) -> u64 {
        u64::from(self.workers) * u64::from(self.pool.buffers) * u64::from(self.pool.buffer_bytes)
    }
}

/// A worker's part of `all`: equal ones, the remainder to the first workers.
fn share(all: u32, workers: u32, worker: WorkerId) -> u32 {
    all / workers + u32::from(worker.0 < all % workers)
}

fn check_io(io: Io) -> Result<(), Failure> {
    match io {
        Io::Auto | Io::Epoll => Ok(()),
        Io::Uring => Err(Failure::value(
            "--io",
            "uring",
            "this version drives sockets with epoll only; give --io epoll, or leave it out",
        )),
    }
}

fn check_addresses(args: &ProxyArgs) -> Result<(), Failure> {
    at_most("--listen", &args.listen, limits::LISTENERS_MAX)?;
    at_most("--upstream", &args.upstream, limits::SERVERS_MAX)?;
    let mut seen = HashSet::new();
    for server in &args.upstream {
        if !seen.insert(server) {
            let remedy = "is given twice; name each server once and raise --connections instead";
            return Err(Failure::value("--upstream", server, remedy));
        }
        match server {
            Address::Ip(ip) if ip.port() == 0 => {
                return Err(Failure::value("--upstream", server, "give the port it listens on"));
            }
            _ => {}
        }
        if args.listen.contains(server) {
            let remedy = "is also given to --listen: the proxy would serve itself";
            return Err(Failure::value("--upstream", server, remedy));
        }
    }
    Ok(())
}

fn at_most(flag: &str, given: &[Address], most: u32) -> Result<(), Failure> {
    if given.len() <= most as usize {
        return Ok(());
    }
    Err(Failure::Usage(format!("{flag} is given {} times: {most} are the most", given.len())))
}

/// Each worker's pool, and how much of it a client's request may take.
fn pool(args: &ProxyArgs, workers: u32) -> Result<(PoolConfig, u64), Failure> {
    let buffer_bytes = buffer_bytes(args)?;
    let memory = args.memory.unwrap_or(limits::MEMORY);
    let buffers = memory / u64::from(workers) / u64::from(buffer_bytes);
    let least = u64::from(workers) * u64::from(limits::POOL_BUFFERS_MIN * buffer_bytes);
    let refuse = |remedy: String| Failure::value("--memory", Size(memory), remedy);
    if memory < least {
        return Err(refuse(format!(
            "{workers} workers need at least {} buffers of {} each: give --memory {}KiB, or fewer \
             --workers",
            limits::POOL_BUFFERS_MIN,
            Size(u64::from(buffer_bytes)),
            least.div_ceil(1024),
        )));
    }
    let too_many = |why: String| refuse(format!("{why}; give less, or more --workers"));
    let buffers = u32::try_from(buffers).map_err(|_| too_many("one pool has its bounds".into()))?;
    let config = PoolConfig { buffers, buffer_bytes, waiters: 1 };
    let trial = Pool::new(config).map_err(|error| too_many(error.to_string()))?;
    let lendable = trial.grantable(Rank::Client).saturating_sub(1);
    Ok((config, u64::from(lendable) * u64::from(buffer_bytes)))
}

fn buffer_bytes(args: &ProxyArgs) -> Result<u32, Failure> {
    let [least, most] = limits::BUFFER_BYTES_RANGE;
    let asked = args.buffer.unwrap_or(u64::from(limits::BUFFER_BYTES));
    u32::try_from(asked)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (least..=most).contains(bytes))
        .ok_or_else(|| {
            let remedy = format_args!("give a power of two from {least} to {most}");
            Failure::value("--buffer", asked, remedy)
        })
}

/// What one exchange may keep: as asked, but never more than a pool can lend to requests, so
/// that a body that could never fit is answered 413 at once.
fn exchange_memory(args: &ProxyArgs, pool_bytes: u64) -> Result<u32, Failure> {
    let asked = args.exchange_memory.unwrap_or(u64::from(limits::EXCHANGE_MEMORY));
    let least = MAX_HEAD_LEAST + limits::HEAD_GROWTH;
    if asked < u64::from(least) {
        let remedy = format_args!("a request must fit: give at least {least}");
        return Err(Failure::value("--exchange-memory", asked, remedy));
    }
    Ok(u32::try_from(asked.min(pool_bytes)).unwrap_or(u32::MAX))
}

fn max_head(args: &ProxyArgs, exchange_memory: u32) -> Result<u32, Failure> {
    let most = limits::MAX_HEAD_LIMIT.min(exchange_memory.saturating_sub(limits::HEAD_GROWTH));
    let Some(asked) = args.max_head else { return Ok(limits::MAX_HEAD.min(most)) };
    within("--max-head", asked, MAX_HEAD_LEAST, most, || {
        if most < limits::MAX_HEAD_LIMIT { ", or raise --memory or --exchange-memory" } else { "" }
    })
}

fn max_target(args: &ProxyArgs, max_head: u32) -> Result<u32, Failure> {
    let most = max_head.saturating_sub(1);
    let Some(asked) = args.max_target else { return Ok(limits::MAX_TARGET.min(most)) };
    within("--max-target", asked, 1, most, || ", or raise --max-head")
}

fn within(
    flag: &str,
    asked: u64,
    least: u32,
    most: u32,
    otherwise: impl Fn() -> &'static str,
) -> Result<u32, Failure> {
    u32::try_from(asked).ok().filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        let remedy = format_args!("give {least} to {most} bytes{}", otherwise());
        Failure::value(flag, asked, remedy)
    })
}

fn timeouts(given: &[(Timeout, Duration)]) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (name, length) in given {
        *match name {
            Timeout::Head => &mut timeouts.head,
            Timeout::BodyProgress => &mut timeouts.body_progress,
            Timeout::Idle => &mut timeouts.idle,
            Timeout::FirstByte => &mut timeouts.first_byte,
            Timeout::WriteProgress => &mut timeouts.write_progress,
            Timeout::Connect => &mut timeouts.connect,
            Timeout::Response => &mut timeouts.response,
            Timeout::Queue => &mut timeouts.queue,
            Timeout::Drain => &mut timeouts.drain,
        } = *length;
    }
    timeouts
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    /// The settings of a command line behind `proxy`, with 20,000 descriptors and two cores.
    pub(crate) fn settings(flags: &str) -> Result<Settings, Failure> {
        let line = format!("anteroom proxy {flags}");
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Proxy(args) => Settings::check(&args, 20_000, 2),
            other => panic!("{other:?}"),
        }
    }

    const BASE: &str = "--listen 127.0.0.1:0 --upstream 127.0.0.1:9000";

    fn refused(flags: &str) -> String {
        match settings(&format!("{BASE} {flags}")) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{flags}: {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = settings(BASE).unwrap();
        assert_eq!(settings.pool_bytes(), 64 << 20);
        assert_eq!((settings.pool.buffers, settings.pool.buffer_bytes), (16_384, 2048));
        assert_eq!((settings.exchange_memory, settings.max_head), (256 << 10, 32 << 10));
        assert_eq!((settings.max_target, settings.max_body), (8 << 10, 1 << 30));
        assert_eq!((settings.workers, settings.connections), (2, 8));
        assert_eq!(settings.timeouts, Timeouts::default());
        assert!(settings.persistent && settings.admin.is_none());
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        let settings = settings(&format!("{BASE} --workers 4 --max-clients 10 --queue 3")).unwrap();
        let plans: Vec<Plan> = (0..4).map(|id| settings.plan(WorkerId(id))).collect();
        assert_eq!(plans.iter().map(|plan| plan.max_clients).collect::<Vec<_>>(), [10; 4]);
        assert_eq!(plans[3].groups[0].queue_length, 1);
        assert_eq!(plans[1].listeners[0].default_host.as_ref(), "127.0.0.1:0");
    }

    #[test]
    fn a_small_pool_lowers_what_one_exchange_may_keep() {
        let settings = settings(&format!("{BASE} --memory 32KiB --workers 1")).unwrap();
        assert_eq!(settings.pool.buffers, 16);
        assert!(settings.exchange_memory < 32 << 10, "{settings:?}");
        assert!(settings.max_head + limits::HEAD_GROWTH <= settings.exchange_memory);
        assert!(settings.max_target < settings.max_head);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        for (flags, named, remedy) in [
            ("--io uring", "--io uring", "--io epoll"),
            ("--memory 16KiB --workers 2", "--memory 16 KiB", "--memory 32KiB"),
            ("--memory 9GiB --workers 2", "--memory 9 GiB", "more --workers"),
            ("--buffer 3000", "--buffer 3000", "power of two"),
            ("--buffer 64KiB", "--buffer 65536", "512 to 32768"),
            ("--exchange-memory 1KiB", "--exchange-memory 1024", "at least 1280"),
            ("--max-head 65537", "--max-head 65537", "256 to 65536"),
            ("--max-head 32KiB --exchange-memory 8KiB", "--max-head 32768", "--exchange-memory"),
            ("--max-target 32KiB", "--max-target 32768", "--max-head"),
            ("--max-clients 20000", "--max-clients 20000", "ulimit -n"),
            ("--upstream 127.0.0.1:9000", "--upstream 127.0.0.1:9000", "once"),
            ("--upstream 127.0.0.1:0", "--upstream 127.0.0.1:0", "port"),
            ("--listen 127.0.0.1:9000", "--upstream 127.0.0.1:9000", "itself"),
        ] {
            let text = refused(flags);
            assert!(text.contains(named) && text.contains(remedy), "{flags}: {text}");
        }
        let many = "--listen 127.0.0.1:0 ".repeat(64);
        assert!(refused(&many).contains("64 are the most"));
    }

    #[test]
    fn deadlines_are_set_by_name() {
        let flags = format!("{BASE} --timeout head=300ms --timeout drain=2s --timeout head=400ms");
        let timeouts = settings(&flags).unwrap().timeouts;
        let expected = Timeouts {
            head: Duration::from_millis(400),
            drain: Duration::from_secs(2),
            ..Timeouts::default()
        };
        assert_eq!(timeouts, expected);
    }
}
