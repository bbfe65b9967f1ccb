//! What the process sets aside at start (law 3): what each record costs, and the worst case.
//!
//! Tables and pools are reserved at once and touched as they are used, so that memory grows with
//! what happens and ends at the sum shown here.

use std::fmt;

use base::id::WorkerId;
use base::limits;
use control::authorize::Fetch;
use driver::Desk;
use driver::epoll::{Detached, EpollDriver};
use driver::uring::UringDriver;
use exchange::Asks;
use proxies::security::Limits;
use tls::Connector;
use worker::{Inquiries, Letter, RecordBytes};

use crate::authorize::{AuthorizeSettings, Source};
use crate::certificates::Clients;
use crate::cli::Io;
use crate::crew::mailbox_capacity;
use crate::quantity::{Count, Size, counted};
use crate::settings::{Settings, Spool};

/// The register of a buffer, and a place in the queue for one: the pool's own records.
const REGISTER_BYTES: u64 = 8;
const WAIT_BYTES: u64 = 24;
/// Where each worker joins and rewrites heads.
const SCRATCH_BYTES: u64 =
    2 * (limits::MAX_HEAD_LIMIT + limits::HEAD_GROWTH) as u64 + limits::MAX_HEAD_LIMIT as u64;
/// What the kernel keeps of a TCP connection, and of its registration: measured, and not ours.
const fn kernel_bytes(io: Io) -> u64 {
    match io {
        Io::Auto | Io::Epoll => 4096 + 208,
        Io::Uring => 4096 + 256,
    }
}

/// The memory budget for the operator, in one line: what there is at most.
pub(crate) fn line(settings: &Settings) -> String {
    let budget = Budget::of(settings);
    format!(
        "{} on {}; {} of pools, {} buffers of {} for each worker; at most {}; at most {} to \
         servers; one exchange keeps at most {}; {} in the worst case",
        counted(u64::from(settings.workers), "worker"),
        settings.io.driver(),
        Size(settings.pool_bytes()),
        Count(u64::from(settings.pool.buffers)),
        Size(u64::from(settings.pool.buffer_bytes)),
        counted(u64::from(settings.max_clients), "client"),
        counted(settings.connections(), "connection"),
        Size(u64::from(settings.exchange_memory)),
        Size(budget.total()),
    )
}

/// One kind of record: what it costs and how many there are, over all workers.
#[derive(Clone, Copy, Debug)]
struct Row {
    what: &'static str,
    each: u64,
    count: u64,
}

impl Row {
    const fn bytes(self) -> u64 {
        self.each * self.count
    }
}

/// The memory budget.
#[derive(Debug)]
pub(crate) struct Budget {
    rows: Vec<Row>,
    clients: u64,
    io: Io,
    spool: Option<Spool>,
    others: u64,
    limit: u64,
    /// Most pinned connections, and how many of them have descriptors beside all clients.
    pinned: [u64; 2],
}

impl Budget {
    /// What these settings come to.
    pub(crate) fn of(settings: &Settings) -> Self {
        let workers = u64::from(settings.workers);
        let buffers = workers * u64::from(settings.pool.buffers);
        let clients = u64::from(settings.max_clients);
        // Any worker may come to hold every client, and some on their way out.
        let records = workers * u64::from(settings.plan(WorkerId(0)).client_records());
        // Each worker may hold all connections that are allowed to all servers.
        let connections = workers * settings.connections();
        let (record, socket) = (RecordBytes::BUILT, EpollDriver::SOCKET_BYTES);
        let upstream = record.upstream + bus::CONNECTION_BYTES + 2 * socket;
        // Each worker can name every extent.
        let spools = settings.spool.as_ref().map_or(0, |_| workers);
        let extents = settings
            .spool
            .as_ref()
            .map_or(0, |spool| spool.limits.size.div_ceil(u64::from(limits::SPOOL_EXTENT)));
        // And one event stream or tunnel for each of its clients.
        let pinned = workers * u64::from(settings.plan(WorkerId(0)).pinned());
        let sockets = workers * u64::from(settings.plan(WorkerId(0)).sockets());
        let events = match settings.io {
            Io::Auto | Io::Epoll => EpollDriver::EVENT_BYTES,
            Io::Uring => UringDriver::EVENT_BYTES,
        };
        let letter = size_of::<Letter<Detached>>() + size_of::<usize>();
        let row = |what, each: usize, count| Row { what, each: each as u64, count };
        let line = settings.log.line;
        let logged = [
            row("notes for the access log", worker::account_bytes(line), records),
            row("notes of tunnels for the access log", worker::account_bytes(line), pinned),
            row("rings for the access log", settings.log.buffer as usize, workers),
        ];
        let limited = settings.limits.map(|rules| rules.addresses);
        let limited = limited.map(|addresses| Row {
            what: "addresses that have limits",
            each: Limits::bytes(addresses) as u64 / u64::from(addresses),
            count: u64::from(addresses),
        });
        let logged = logged.into_iter().filter(|_| settings.log.access.is_some());
        // A session is where its client is, so that the process has no more of them than clients.
        let clients_secured = settings.listeners.iter().any(|listen| listen.tls.is_some());
        let servers_secured = settings.groups.iter().any(|group| group.tls.is_some());
        let with_servers = settings.connections() + settings.pinned().min(clients);
        let sessions =
            clients * u64::from(clients_secured) + with_servers * u64::from(servers_secured);
        let places = worker::ahead_places(settings.pool.buffers, settings.pool.buffer_bytes);
        let places = u64::from(places);
        let secured = [
            row("TLS sessions", limits::TLS_SESSION_BYTES + limits::TLS_PARTS_OWN, sessions),
            row("TLS records ahead of buffers", limits::TLS_PLAIN_MAX, 2 * workers * places),
            row("TLS handshakes that are not over", unfinished(settings), workers),
            row("places for TLS sessions", 3 * size_of::<usize>(), sockets),
            row("TLS scratch space", worker::SCRATCH_BYTES, workers),
        ];
        let secured = secured.into_iter().filter(|_| clients_secured || servers_secured);
        Self {
            rows: [
                row("buffers of the pools", settings.pool.buffer_bytes as usize, buffers),
                Row { what: "their registers", each: REGISTER_BYTES, count: buffers },
                row("clients", record.client + socket, records),
                row("exchanges", record.exchange, records),
                row("places in the ready queues", bus::WAITER_BYTES, records),
                Row {
                    what: "places in the queues for buffers",
                    each: WAIT_BYTES,
                    count: records + pinned,
                },
                row("upstream connections", upstream, connections),
                row("pinned upstream connections", upstream, pinned),
                row("tunnels", record.tunnel, pinned),
                row("events of sockets", events, sockets),
                row("letters between workers", letter, workers * mailbox_capacity(settings) as u64),
                Row { what: "workers' scratch space", each: SCRATCH_BYTES, count: workers },
                row("memory for the spool's disk", Desk::BYTES, spools),
                row("extents of the spool", spool::LINK_BYTES, spools * extents),
                row("places for free ones", spool::FREE_BYTES, extents),
            ]
            .into_iter()
            .chain(logged)
            .chain(secured)
            .chain(chains(settings, clients, with_servers))
            .chain(limited)
            .chain(authorized(settings, records))
            .collect(),
            clients,
            io: settings.io,
            spool: settings.spool.clone(),
            others: settings.holders().sum(),
            limit: settings.descriptors,
            pinned: [settings.pinned(), u64::from(settings.pinned_free())],
        }
    }

    /// All of it together.
    fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes()).sum()
    }
}

/// What sessions keep of their peers' certificates: as many with clients, and with servers.
fn chains(settings: &Settings, clients: u64, servers: u64) -> Vec<Row> {
    let listeners = settings.listeners.iter().filter_map(|listen| listen.tls.as_ref());
    let asking = listeners.filter(|tls| tls.files.clients != Clients::Off);
    let of_client = asking.map(|tls| u64::from(tls.files.max_client_chain)).max();
    let groups = settings.groups.iter().filter_map(|group| group.tls.as_ref());
    let of_servers = groups.map(|tls| tls.files.config.max_chain);
    let of_server = of_servers.clone().max();
    let resumption = |max| Row {
        what: "sessions with servers to be resumed",
        each: Connector::resumption_bytes(max) as u64,
        // Of each group one that is in force, and one of connections from before its files changed.
        count: 2 * of_servers.count() as u64,
    };
    let rows = [
        of_client.map(|max| Row {
            what: "certificate chains of clients",
            each: max + limits::TLS_SUBJECT_MAX as u64,
            count: clients,
        }),
        of_server.map(|max| Row {
            what: "certificate chains of servers",
            each: u64::from(max),
            count: servers,
        }),
        of_server.map(resumption),
    ];
    rows.into_iter().flatten().collect()
}

/// What each worker keeps of handshakes that are not over.
fn unfinished(settings: &Settings) -> usize {
    let mut listeners = settings.listeners.iter().filter_map(|listen| listen.tls.as_ref());
    let mut groups = settings.groups.iter().filter_map(|group| group.tls.as_ref());
    let asks = listeners.any(|tls| tls.files.clients != Clients::Off)
        || groups.any(|tls| tls.files.pair.is_some());
    worker::handshake_bytes(asks, settings.pool.buffers, settings.pool.buffer_bytes)
}

/// What is kept to find out whether clients may, where that is asked; `records`: exchanges of all
/// workers.
fn authorized(settings: &Settings, records: u64) -> Vec<Row> {
    let plans = AuthorizeSettings::plans(&settings.listeners);
    let sources = settings.listeners.iter().filter_map(|it| it.authorize.as_ref()?.source.as_ref());
    let questions = |asks: Asks| -> u64 {
        let of = plans.iter().filter(|plan| plan.asks == asks);
        of.map(|plan| u64::from(plan.questions)).sum()
    };
    let question = |what, asks: Asks| {
        let each = Inquiries::bytes(asks, settings.workers) as u64;
        Row { what, each, count: questions(asks) }
    };
    let asked = u64::from(plans.iter().any(|plan| plan.questions > 0));
    let hashed = u64::from(questions(Asks::Passwords) > 0);
    let hash = sources.clone().map(|source| match source {
        Source::Passwords(file) => file.known.memory(),
        _ => 0,
    });
    let fetched = sources.filter(|source| matches!(source, Source::KeyServer(..))).count() as u64;
    let clients = limits::REMEMBERED as u64;
    let rows = vec![
        question("questions of passwords", Asks::Passwords),
        question("questions of tokens", Asks::Tokens),
        question("questions for servers", Asks::Server),
        Row {
            what: "connections for these questions",
            each: Fetch::CONNECTION_BYTES,
            count: questions(Asks::Server),
        },
        Row {
            what: "places for verdicts",
            each: RecordBytes::BUILT.verdict as u64,
            count: records * asked,
        },
        Row {
            what: "clients that were let in",
            each: Inquiries::bytes_remembered(&plans) as u64,
            count: u64::from(settings.workers) * clients,
        },
        Row {
            what: "passwords that were right",
            each: crate::authorize::RIGHT_BYTES as u64,
            count: hashed * clients,
        },
        Row {
            what: "hashes of passwords under way",
            each: hash.max().unwrap_or(0),
            count: hashed * limits::HASHING_THREADS as u64,
        },
        // One that is in force, and one that comes.
        Row {
            what: "keys that were fetched",
            each: limits::AUTHORIZE_ANSWER_MAX as u64,
            count: 2 * fetched,
        },
    ];
    rows.into_iter().filter(|row| row.bytes() > 0).collect()
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<36}{:>10} x {:>12} = {:>10}", "memory", "bytes", "most", "together")?;
        for row in &self.rows {
            let (count, bytes) = (Count(row.count), Size(row.bytes()));
            writeln!(f, "  {:<34}{:>10} x {count:>12} = {bytes:>10}", row.what, Count(row.each))?;
        }
        writeln!(f, "  {:<63}{:>10}", "worst case in total", Size(self.total()))?;
        writeln!(
            f,
            "  besides: the program and its threads' stacks, admin connections, and in the kernel \
             about {} for the sockets of {}\n",
            Size(self.clients * kernel_bytes(self.io)),
            counted(self.clients, "client")
        )?;
        match &self.spool {
            None => writeln!(f, "spool: none\n")?,
            Some(Spool { dir, limits, .. }) => writeln!(
                f,
                "spool: {} on disk in {}, set aside at start; {} of one exchange, {} of one \
                 address\n",
                Size(limits.size),
                dir.display(),
                Size(limits.per_exchange),
                Size(limits.per_address)
            )?,
        }
        let needed = self.clients + self.others;
        writeln!(
            f,
            "descriptors: {} needed ({} for clients, {} for servers, listeners, workers and spare); \
             the limit is {}",
            Count(needed),
            Count(self.clients),
            Count(self.others),
            Count(self.limit)
        )?;
        let [pinned, free] = self.pinned;
        if pinned <= free {
            return Ok(());
        }
        writeln!(
            f,
            "event streams and tunnels: each takes one more descriptor; beside all clients there \
             are {}, and each beyond takes the place of a client",
            Count(free)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::Files;
    use crate::settings::tests::settings;

    const FLAGS: &str = "--listen :0 --upstream :9 --memory 8MiB --workers 2 --max-clients 1000";

    #[test]
    fn the_line_names_what_was_asked_for() {
        let line = line(&settings(FLAGS).unwrap());
        for part in ["2 workers", "8 MiB of pools", "2,048 buffers of 2 KiB", "1,000 clients"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn the_budget_adds_up() {
        let budget = Budget::of(&settings(FLAGS).unwrap());
        let shown = budget.to_string();
        let extra = limits::REFUSAL_RECORDS + limits::LINGERING_MAX;
        assert_eq!(budget.rows[0].bytes(), 8 << 20);
        assert_eq!(budget.rows[2].count, 2 * u64::from(1000 + extra));
        let sum: u64 = budget.rows.iter().map(|row| row.each * row.count).sum();
        assert_eq!(budget.total(), sum);
        assert!(shown.contains(&format!("{:>10}\n", Size(sum).to_string())), "{shown}");
        assert!(
            shown.contains("(1,000 for clients, ") && shown.contains("limit is 20,000"),
            "{shown}"
        );
    }

    #[test]
    fn streams_that_take_the_places_of_clients_are_explained() {
        let shown = |flags: &str| Budget::of(&settings(flags).unwrap()).to_string();
        assert!(
            !shown(FLAGS).contains("event streams and tunnels:"),
            "all of them fit beside 1,000 clients"
        );
        let many = shown("--listen :0 --upstream :9 --max-clients 18000");
        assert!(many.contains("place of a client") && many.contains("pinned"), "{many}");
    }

    #[test]
    fn a_client_costs_what_law_1_allows() {
        let budget = Budget::of(&settings(FLAGS).unwrap());
        // The number on the free list comes on top of the 64 bytes.
        assert!(budget.rows[2].each <= 64 + 4, "{:?}", budget.rows[2]);
    }

    /// The budget with these lines in `[[listen]]`, and in `[[upstream]]`.
    fn budget(listen: &str, upstream: &str) -> Budget {
        let machine = crate::settings::Machine { descriptors: 20_000, cores: 2 };
        let content = format!(
            "max_clients = 1000\n[[listen]]\naddress = \":8080\"\n{listen}\n[[upstream]]\n\
             servers = [\"127.0.0.1:9\"]\n{upstream}\n"
        );
        let configured = crate::config::check_text("a.toml", &content, machine).unwrap();
        Budget::of(&configured.settings)
    }

    fn row(budget: &Budget, what: &str) -> Option<(u64, u64)> {
        budget.rows.iter().find(|row| row.what == what).map(|row| (row.each, row.count))
    }

    #[test]
    fn certificate_chains_are_a_part_of_it_where_they_are_shown() {
        let files = Files::new("budget");
        let secured = |more: &str| budget(&files.tls(more), "");
        let asking = |more: &str| {
            let asked = ", client_certificates = \"optional\", client_ca = \"{ca}\"";
            secured(&format!("{asked}{more}"))
        };
        let (none, some) = (secured(""), asking(""));
        let more = asking(", max_client_chain = \"12KiB\"");
        let of_clients = "certificate chains of clients";
        assert_eq!(row(&none, of_clients), None, "nobody is asked");
        assert_eq!(row(&some, of_clients), Some(((8 << 10) + 512, 1000)));
        assert_eq!(row(&more, of_clients), Some(((12 << 10) + 512, 1000)));
        let handshakes = "TLS handshakes that are not over";
        let [before, after] = [&none, &some].map(|of| row(of, handshakes).unwrap());
        assert_eq!([before, after], [(1 << 20, 2), (4 << 20, 2)]);
        let more = (after.0 - before.0) * 2 + 1000 * ((8 << 10) + 512);
        assert_eq!(some.total() - none.total(), more);
        let to_servers = |more: &str| {
            budget("", &format!("connections = 8\npinned = 500\ntls = {{ verify = false{more} }}"))
        };
        let of_servers = "certificate chains of servers";
        assert_eq!(row(&none, of_servers), None);
        assert_eq!(row(&to_servers(""), of_servers), Some((16 << 10, 508)));
        let more = to_servers(", max_chain = \"32KiB\"");
        assert_eq!(row(&more, of_servers), Some((32 << 10, 508)));
        let (each, count) = row(&more, "sessions with servers to be resumed").unwrap();
        assert_eq!((each, count), (Connector::resumption_bytes(32 << 10) as u64, 2));
    }

    #[test]
    fn what_is_asked_of_clients_is_a_part_of_it() {
        let budget = |authorize: &str| budget(authorize, "");
        let nothing = budget("");
        let whats = ["questions of tokens", "places for verdicts", "clients that were let in"];
        assert!(whats.iter().all(|what| row(&nothing, what).is_none()));
        let tokens = budget("authorize = { jwt = { keys = \"https://h/\" } }");
        let (each, count) = row(&tokens, "questions of tokens").unwrap();
        assert!(count == 256 && (8 << 10..9 << 10).contains(&each), "{each}");
        let (each, count) = row(&tokens, "clients that were let in").unwrap();
        assert!(count == 2 * 1024 && each <= 320, "{each}");
        assert_eq!(row(&tokens, "keys that were fetched").unwrap().1, 2);
        assert!(row(&tokens, "hashes of passwords under way").is_none());
        assert_eq!(tokens.others, nothing.others + 1);
        let server = budget("authorize = { request = \"http://h/\", queue = 10 }");
        assert_eq!(row(&server, "questions for servers").unwrap().1, 10);
        assert!(row(&server, "clients that were let in").is_none(), "nobody is remembered");
        assert_eq!(server.others, nothing.others + 10 + Fetch::KEPT as u64);
        assert!(nothing.total() < server.total() && server.total() < tokens.total());
    }
}
