//! Every key of a configuration file: its name, its default, its meaning.

use base::limits;
use worker::Timeouts;

use super::acme::ACME;
use super::bounds::LIMITS;

/// A table of the file and what may stand in it.
#[derive(Debug)]
pub(crate) struct Section {
    /// As it stands in messages.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) preset: Preset,
    /// What it means, in lines of a comment.
    pub(crate) meaning: &'static str,
}

/// What holds when a key is left out.
#[derive(Debug)]
pub(crate) enum Preset {
    /// This value, as the file would write it.
    Default(fn() -> String),
    /// Nothing: it must be given. An example.
    Needed(&'static str),
    /// What no value says: an example of one, and what leaving it out means.
    Unset { example: &'static str, means: &'static str },
    /// It is a table with keys of its own.
    Table(&'static Section),
}

use Preset::{Default, Needed, Table, Unset};

pub(super) const fn key(name: &'static str, preset: Preset, meaning: &'static str) -> Key {
    Key { name, preset, meaning }
}

/// The file itself.
pub(crate) static FILE: Section = Section {
    title: "the file",
    keys: &[
        key(
            "memory",
            Default(|| size(limits::MEMORY)),
            "The buffer pools of all workers together: B, KiB, MiB, GiB, TiB.",
        ),
        key(
            "workers",
            Unset { example: "2", means: "the number of cores" },
            "Worker threads, 1 to 64.",
        ),
        key(
            "max_clients",
            Unset { example: "18000", means: "what the limit of open files allows" },
            "Most clients at one time, over all listeners.",
        ),
        key(
            "exchange_memory",
            Default(|| size(u64::from(limits::EXCHANGE_MEMORY))),
            "What one exchange may keep in the pool.",
        ),
        key(
            "buffer",
            Default(|| size(u64::from(limits::BUFFER_BYTES))),
            "One buffer of the pool: a power of two from 512 B to 32 KiB.",
        ),
        key("io", Default(|| quoted("auto")), "How sockets are driven: auto, epoll or uring."),
        key(
            "reuse_port",
            Default(|| false.to_string()),
            "Whether several processes may listen on the same addresses (SO_REUSEPORT).",
        ),
        key(
            "reclaim_parked",
            Default(|| false.to_string()),
            "Whether the client that is idle longest is closed to let a new one in.",
        ),
        key(
            "admin",
            Unset { example: "\"127.0.0.1:9900\"", means: "off" },
            "Where metrics, status and orders are served.",
        ),
        key(
            "user",
            Unset { example: "\"nobody\"", means: "whoever starts it" },
            "The user to become once every address is bound (only root can).",
        ),
        key(
            "group",
            Unset { example: "\"nogroup\"", means: "the group of `user`" },
            "The group to go with `user`.",
        ),
        key(
            "spool",
            Table(&SPOOL),
            "Where exchanges go that outgrow `exchange_memory`; `false` for nowhere.",
        ),
        key("log", Table(&LOG), "The access log and events."),
        key(
            "timeouts",
            Table(&TIMEOUTS),
            "How long is waited for what: ms, s, m, h, d; at most 7 days.",
        ),
        key("limits", Table(&LIMITS), "What one client address may have."),
        key("resolver", Table(&RESOLVER), "Who is asked for the names of servers."),
        key("acme", Table(&ACME), "Who is asked for certificates, where a `tls` wants some."),
        key("listen", Table(&LISTEN), "Where clients come in; may repeat."),
        key("upstream", Table(&UPSTREAM), "A group of servers behind; may repeat."),
    ],
};

/// `spool`.
pub(crate) static SPOOL: Section = Section {
    title: "[spool]",
    keys: &[
        key(
            "dir",
            Unset { example: "\"/var/tmp\"", means: "`/var/tmp`, if a spool can be had there" },
            "A directory on a disk.",
        ),
        key(
            "size",
            Unset { example: "\"1GiB\"", means: "`1GiB`, if there is so much room" },
            "What lies there in all; set aside at start.",
        ),
        key(
            "per_exchange",
            Default(|| size(limits::SPOOL_PER_EXCHANGE)),
            "What lies there of one exchange.",
        ),
        key(
            "per_address",
            Default(|| size(limits::SPOOL_PER_ADDRESS)),
            "What lies there of one client address (of IPv6: one /64).",
        ),
    ],
};

/// `[log]`.
pub(crate) static LOG: Section = Section {
    title: "[log]",
    keys: &[
        key(
            "access",
            Unset { example: "\"stdout\"", means: "off" },
            "A line for each exchange: to stdout, stderr or a file, opened anew on SIGUSR1.",
        ),
        key(
            "format",
            Default(|| quoted("json")),
            "How lines look: json, or common, the combined log format.",
        ),
        key(
            "events",
            Default(|| quoted("stderr")),
            "Notes, warnings and errors: to stderr, stdout or a file.",
        ),
        key(
            "buffer",
            Default(|| size(u64::from(limits::LOG_BUFFER))),
            "What the access log may be behind, for each worker; lines beyond are dropped.",
        ),
        key(
            "line",
            Default(|| limits::LOG_LINE.to_string()),
            "Bytes kept of method, target, host, user agent and referer together.",
        ),
    ],
};

/// `[timeouts]`.
pub(crate) static TIMEOUTS: Section = Section {
    title: "[timeouts]",
    keys: &[
        key(
            "head",
            Default(|| length(|it| it.head)),
            "From a request's first byte to the end of its head.",
        ),
        key(
            "authorize",
            Default(|| length(|it| it.authorize)),
            "From a request's head to the verdict on whether its client may.",
        ),
        key(
            "body_progress",
            Default(|| length(|it| it.body_progress)),
            "Between two pieces of a request's body.",
        ),
        key(
            "handshake",
            Default(|| length(|it| it.handshake)),
            "From a client's coming to the end of its TLS handshake.",
        ),
        key(
            "idle",
            Default(|| length(|it| it.idle)),
            "How long a client may stay without a request.",
        ),
        key(
            "first_byte",
            Default(|| length(|it| it.first_byte)),
            "From the last byte of a request written to the server to the response's first.",
        ),
        key(
            "write_progress",
            Default(|| length(|it| it.write_progress)),
            "Between two pieces of a response taken by the client.",
        ),
        key("connect", Default(|| length(|it| it.connect)), "For a connection to a server."),
        key(
            "response",
            Default(|| length(|it| it.response)),
            "Between two pieces of a response from the server.",
        ),
        key("queue", Default(|| length(|it| it.queue)), "How long a request waits for a server."),
        key(
            "tunnel",
            Default(|| length(|it| it.tunnel)),
            "How long both ends of a tunnel (WebSocket) may be silent.",
        ),
        key("half_closed", Default(|| length(|it| it.half_closed)), "The same once one has ended."),
        key("drain", Default(|| length(|it| it.drain)), "For an orderly end in all."),
    ],
};

/// `[[listen]]`.
pub(crate) static LISTEN: Section = Section {
    title: "[[listen]]",
    keys: &[
        key("address", Needed("\"127.0.0.1:8080\""), "IP:PORT, [IPV6]:PORT, :PORT or unix:/path."),
        key(
            "proxy",
            Unset { example: "\"http\"", means: "told by the port" },
            "http, or pass (unread); ports 80, 8000, 8008, 8080 tell http, one nobody knows pass.",
        ),
        key(
            "upstream",
            Unset { example: "\"app\"", means: "the only group" },
            "The name of the group of servers behind it.",
        ),
        key(
            "request",
            Default(|| quoted("complete")),
            "When the server meets a request: complete, or stream: as it arrives.",
        ),
        key(
            "max_head",
            Default(|| size(u64::from(limits::MAX_HEAD))),
            "Longest request head, at most 64 KiB.",
        ),
        key(
            "max_target",
            Default(|| size(u64::from(limits::MAX_TARGET))),
            "Longest request target, less than `max_head`.",
        ),
        key("max_body", Default(|| size(limits::MAX_BODY)), "Largest request body."),
        key(
            "tls",
            Unset {
                example: "{ certificates = [{ certificate = \"/etc/ssl/a.pem\", key = \"/etc/ssl/a.key\" }] }",
                means: "connections are plain",
            },
            "How connections are secured.",
        ),
        key(
            "at_limit",
            Default(|| quoted("pause")),
            "What a client meets when `max_clients` are here: pause lets it wait, answer tells it 503.",
        ),
        key(
            "connect",
            Unset {
                example: "\"at-once\"",
                means: "`at-once`, or as the name is known with `sni`",
            },
            "Passed through: the server is connected to at-once, or with the client's first-byte.",
        ),
        key(
            "sni",
            Unset {
                example: "{ \"a.example\" = \"app\", \"*.b.example\" = \"app\" }",
                means: "names are not looked at",
            },
            "Passed through: the groups of servers that TLS clients ask for by these names.",
        ),
        key(
            "allow",
            Unset {
                example: "[\"10.0.0.0/8\"]",
                means: "every address may connect that `deny` does not name",
            },
            "The addresses that may connect: networks, addresses, `all`, and files of those.",
        ),
        key(
            "deny",
            Unset { example: "[\"10.66.0.0/16\"]", means: "nobody" },
            "The addresses that may not; where both name one, its smallest network decides.",
        ),
        key(
            "proxy_protocol",
            Unset { example: "{ from = [\"10.0.0.0/8\"] }", means: "no header is read" },
            "The balancers whose PROXY headers say whose connection it is.",
        ),
        key(
            "trusted_proxies",
            Unset { example: "[\"10.0.0.0/8\"]", means: "nobody's word counts" },
            "The proxies in front that say whom their requests are from (X-Forwarded-For).",
        ),
        key(
            "remove_headers",
            Unset { example: "[\"X-User\"]", means: "what is end to end is passed on" },
            "Fields that servers trust and clients must not forge: removed from requests.",
        ),
        key(
            "authorize",
            Unset { example: "{ basic = \"/etc/anteroom/passwords\" }", means: "everybody may" },
            "What is asked of requests before they are served: credentials, a certificate, a server.",
        ),
        key(
            "upgrade",
            Default(|| true.to_string()),
            "Whether client and server may switch protocols, as WebSocket does; never to HTTP/2.",
        ),
        key(
            "request_ids",
            Default(|| false.to_string()),
            "Whether each request has an ID (X-Request-ID), passed on to server, client and log.",
        ),
        key(
            "error_pages",
            Unset { example: "{ 502 = \"/etc/anteroom/502.html\" }", means: "two lines of text" },
            "Files for answers of our own, by status: .html, .htm or .txt, at most 32 KiB.",
        ),
    ],
};

/// `[[upstream]]`.
pub(crate) static UPSTREAM: Section = Section {
    title: "[[upstream]]",
    keys: &[
        key("name", Default(|| quoted("upstream")), "What listeners and metrics call the group."),
        key(
            "servers",
            Needed("[\"127.0.0.1:8000\"]"),
            "Its servers: IP:PORT, [IPV6]:PORT, HOST:PORT or unix:/path, or tables of those.",
        ),
        key(
            "balance",
            Default(|| quoted("least-leased")),
            "Which server is next: the least-leased for its weight, or by round-robin.",
        ),
        key(
            "connections",
            Default(|| limits::CONNECTIONS.to_string()),
            "Most requests each server gets at one time, over all workers.",
        ),
        key(
            "persistent",
            Default(|| true.to_string()),
            "Whether a connection serves one request after another.",
        ),
        key(
            "proxy_protocol",
            Unset { example: "\"v2\"", means: "no header is sent" },
            "Whether each connection begins with a PROXY header, v1 or v2, that names its client.",
        ),
        key("queue", Table(&QUEUE), "Requests that wait for a server."),
        key("health", Table(&HEALTH), "When a server is left alone because it fails."),
        key("retries", Table(&RETRIES), "How often requests go again."),
        key(
            "tls",
            Unset { example: "{ ca = \"/etc/ssl/app-ca.pem\" }", means: "connections are plain" },
            "How connections to the servers are secured; {} with what the system trusts.",
        ),
        key(
            "warm",
            Default(|| 0.to_string()),
            "Connections to each server that are opened at start and held open.",
        ),
        key(
            "pinned",
            Default(|| limits::PINNED.to_string()),
            "Most event streams and tunnels to each server at one time, beside `connections`.",
        ),
    ],
};

/// `queue` of an `[[upstream]]`.
pub(crate) static QUEUE: Section = Section {
    title: "queue",
    keys: &[key(
        "length",
        Default(|| limits::QUEUE_LENGTH.to_string()),
        "Most requests that wait; those beyond are answered 503.",
    )],
};

/// `error_pages` of a `[[listen]]`: every status that we answer with.
pub(crate) static ERROR_PAGES: Section = Section {
    title: "error_pages",
    keys: &[
        page("400", "The request is malformed."),
        page("401", "Its credentials are missing or wrong."),
        page("403", "Whom it is from may not connect, or not have this."),
        page("408", "It did not arrive in time."),
        page("413", "Its body is too large."),
        page("414", "Its target is too long."),
        page("421", "It is for another server."),
        page("429", "Too many requests come from the client's address."),
        page("431", "Its head is too large."),
        page("501", "Its method or coding is not supported."),
        page("502", "The server cannot be reached, or gives no valid answer."),
        page("503", "Too many requests wait, or too many clients are here."),
        page("504", "The server does not answer in time."),
        page("505", "Only HTTP/1.0 and HTTP/1.1 are spoken."),
        page("507", "It fits neither into memory nor into the spool."),
    ],
};

const fn page(status: &'static str, meaning: &'static str) -> Key {
    let preset = Unset { example: "\"/etc/anteroom/error.html\"", means: "two lines of text" };
    key(status, preset, meaning)
}

/// An entry of `servers` that is a table.
pub(crate) static SERVER: Section = Section {
    title: "an entry of servers",
    keys: &[
        key("address", Needed("\"127.0.0.1:8000\""), "Where it is."),
        key("weight", Default(|| 1.to_string()), "Its share of the work, 1 to 1000."),
        key(
            "backup",
            Default(|| false.to_string()),
            "Whether it serves only while all others are down.",
        ),
        key(
            "connections",
            Unset { example: "8", means: "that of the group" },
            "Most requests it gets at one time.",
        ),
    ],
};

/// An entry of `allow` and `deny` that is a table.
pub(crate) static LIST_ENTRY: Section = Section {
    title: "an entry of a list",
    keys: &[key(
        "file",
        Needed("\"/etc/anteroom/deny.txt\""),
        "A file with an entry a line; read again when it changes.",
    )],
};

/// `proxy_protocol` of a `[[listen]]`.
pub(crate) static PROXY_PROTOCOL: Section = Section {
    title: "proxy_protocol",
    keys: &[
        key(
            "from",
            Needed("[\"10.0.0.0/8\"]"),
            "Who begins with a header: networks, addresses, or unix: for a Unix socket.",
        ),
        key("required", Default(|| true.to_string()), "Whether everybody else is reset."),
    ],
};

/// `health` of an `[[upstream]]`.
pub(crate) static HEALTH: Section = Section {
    title: "health",
    keys: &[
        key(
            "max_fails",
            Default(|| limits::MAX_FAILS.to_string()),
            "Failures in a row after which a server is left alone, 1 to 1000.",
        ),
        key(
            "fail_timeout",
            Default(|| time(limits::FAIL_TIMEOUT)),
            "The longest it is left alone; also how close failures follow each other.",
        ),
        key(
            "grace",
            Default(|| time(limits::UNREACHABLE_GRACE)),
            "How long requests wait for a server to come back when none can be reached.",
        ),
    ],
};

/// `retries` of an `[[upstream]]`.
pub(crate) static RETRIES: Section = Section {
    title: "retries",
    keys: &[
        key(
            "attempts",
            Default(|| limits::ATTEMPTS.to_string()),
            "Most times one request is sent, 1 to 100.",
        ),
        key(
            "budget",
            Default(|| quoted(&format!("{}%", limits::RETRY_BUDGET))),
            "Most retries, as a share of the requests of the last 10 seconds.",
        ),
    ],
};

/// `resolver`.
pub(crate) static RESOLVER: Section = Section {
    title: "[resolver]",
    keys: &[
        key(
            "servers",
            Unset { example: "[\"127.0.0.1:53\"]", means: "those of `/etc/resolv.conf`" },
            "The name servers.",
        ),
        key(
            "ttl_min",
            Default(|| time(limits::TTL[0])),
            "The shortest time after which a name is looked up again, whatever its TTL says.",
        ),
        key("ttl_max", Default(|| time(limits::TTL[1])), "The longest."),
        key(
            "timeout",
            Default(|| time(limits::RESOLVER_TIMEOUT)),
            "How long a name server is given to answer.",
        ),
    ],
};

/// Every section whose keys have names of their own.
pub(crate) static SECTIONS: [&Section; 12] = [
    &FILE, &SPOOL, &LOG, &TIMEOUTS, &RESOLVER, &ACME, &LISTEN, &UPSTREAM, &QUEUE, &HEALTH,
    &RETRIES, &LIMITS,
];

impl Section {
    /// The key of that name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// A line that sets it.
    pub(crate) fn example(&self) -> String {
        let name = self.name;
        match &self.preset {
            Default(value) => format!("{name} = {}", value()),
            Needed(example) | Unset { example, .. } => {
                format!("{name} = {example}")
            }
            Table(section) => section.title.to_owned(),
        }
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A size as the file writes it, with the largest unit that leaves a whole number.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("\"{}{name}\"", bytes >> shift))
}

fn length(pick: fn(&Timeouts) -> std::time::Duration) -> String {
    time(pick(&Timeouts::default()))
}

/// A length of time as the file writes it, with the largest unit that leaves a whole number; 60
/// seconds stay so.
pub(super) fn time(length: std::time::Duration) -> String {
    let seconds = length.as_secs();
    match (seconds % 3600, seconds % 60) {
        (0, _) => format!("\"{}h\"", seconds / 3600),
        (_, 0) if seconds > 60 => format!("\"{}m\"", seconds / 60),
        _ => format!("\"{seconds}s\""),
    }
}
