//! Every bound in one place, with the relations between them proved at compile time.
//!
//! A bound with a configuration key has its default here; a bound without one is a fact of the
//! design and stands here so that it can be seen beside the others.

use core::time::Duration;

/// Bytes of one buffer, unless configured.
pub const BUFFER_BYTES: u32 = 2048;
/// Smallest and largest buffer that can be configured; always a power of two.
pub const BUFFER_BYTES_RANGE: [u32; 2] = [512, 32 * 1024];

/// The pools of all workers together, unless configured (`memory`).
pub const MEMORY: u64 = 64 << 20;
/// Fewest buffers a worker's pool may have: below this an exchange with its promised output
/// buffer, a request on its way in and the shares kept back would not fit beside each other.
pub const POOL_BUFFERS_MIN: u32 = 8;
/// Most buffers of one pool: what the link of a register can name.
pub const POOL_BUFFERS_MAX: u32 = (1 << 30) - 2;

/// What one exchange may keep in the pool (`exchange_memory`).
pub const EXCHANGE_MEMORY: u32 = 256 << 10;
/// Longest head of a request (`max_head`) and of a response.
pub const MAX_HEAD: u32 = 32 << 10;
/// Largest `max_head` that can be configured.
pub const MAX_HEAD_LIMIT: u32 = 64 << 10;
/// Longest request target (`max_target`).
pub const MAX_TARGET: u32 = 8 << 10;
/// Longest request body (`max_body`).
pub const MAX_BODY: u64 = 1 << 30;
/// Room a canonical head may need beyond the received one: forwarding fields, `Via`, length.
pub const HEAD_GROWTH: u32 = 1024;
/// Buffers that a pool can lend to requests beside those that one of them may fill: its bytes take one more
/// where they do not fill the first, and what a client says behind it must be parted from it.
pub const BESIDE_ONE_EXCHANGE: u32 = 2;

/// Gap left in front of the first bytes received, so that a canonical head, a little longer
/// than the received one, fits before the body without moving it.
pub const HEADROOM: u16 = 256;

/// Most leases to each server (`connections`).
pub const CONNECTIONS: u32 = 8;
/// Most pinned connections to each server (`pinned`).
pub const PINNED: u32 = 10_000;
/// Most requests in one group's ready queue (`queue.length`), over all workers' shares.
pub const QUEUE_LENGTH: u32 = 10_000;
/// Most worker threads.
pub const WORKERS_MAX: u32 = 64;
/// Most servers over all groups.
pub const SERVERS_MAX: u32 = 256;
/// Most listening addresses.
pub const LISTENERS_MAX: u32 = 64;

/// Entries of one listener's lists of addresses (`allow` and `deny` together).
pub const LIST_ENTRIES: usize = 1 << 20;
/// Bytes of one file of such entries.
pub const LIST_FILE_BYTES: u64 = 64 << 20;
/// How often files that may change are looked at.
pub const FILE_PAUSE: Duration = Duration::from_secs(1);

/// Addresses whose connections and requests are told apart at one time (`limits.addresses`).
pub const LIMIT_ADDRESSES: u32 = 64 << 10;
/// Bits of a client's address that count for that: of IPv4, and of IPv6.
pub const PREFIXES: [u8; 2] = [32, 64];
/// Over how long it is looked at whether a request arrives fast enough (`limits.least_rate_over`).
pub const LEAST_RATE_OVER: Duration = Duration::from_secs(5);

/// Longest name of a client that is let in: what `sub` may have (`OpenID` Connect Core §2), and one.
pub const SUBJECT_MAX: usize = 256;
/// Bytes of what is known of a client that is let in: who it is, and field lines of the authorization
/// server.
pub const GRANT_MAX: usize = 2048;
/// Longest question whether a client may, by who is asked: a name and a password, more than any hash
/// looks at; a token, as long as the heads that most servers take; the head for an authorization
/// server, which has cookies and a token in it.
pub const PASSWORD_MAX: usize = 1 << 10;
/// See [`PASSWORD_MAX`].
pub const TOKEN_MAX: usize = 8 << 10;
/// See [`PASSWORD_MAX`].
pub const QUESTION_MAX: usize = 16 << 10;
/// Questions that are under way at one time, over all workers (`authorize.queue`).
pub const QUESTIONS: u32 = 256;
/// Fewest and most that can be configured.
pub const QUESTIONS_RANGE: [u32; 2] = [1, 4096];
/// Clients that a worker remembers as let in.
pub const REMEMBERED: usize = 1024;
/// How long it does (`authorize.cache`), and the longest that can be configured.
pub const REMEMBER: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(1)];
/// Threads that check passwords: each takes the memory that a hash asks for.
pub const HASHING_THREADS: usize = 2;
/// Longest file of passwords or keys, and most entries of it.
pub const AUTHORIZE_FILE_BYTES: u64 = 4 << 20;
/// See [`AUTHORIZE_FILE_BYTES`].
pub const PASSWORDS_MAX: usize = 65_536;
/// Most keys of tokens at one time.
pub const TOKEN_KEYS_MAX: usize = 64;
/// Longest answer to a question for keys, or of an authorization server.
pub const AUTHORIZE_ANSWER_MAX: usize = 256 << 10;
/// How often keys are fetched (`jwt.refresh`), and how soon at the earliest after the last time if a
/// token names one that is not known.
pub const KEYS_REFRESH: [Duration; 2] = [Duration::from_mins(10), Duration::from_secs(30)];
/// Shortest and longest `jwt.refresh`.
pub const KEYS_REFRESH_RANGE: [Duration; 2] = [KEYS_REFRESH[1], Duration::from_hours(24)];
/// How soon keys are fetched again that could not be had, and how soon after that went on for long.
pub const KEYS_RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Addresses and networks banned at one time by the admin endpoints.
pub const BANS_MAX: usize = 4096;

/// Connections accepted in one turn before others get theirs.
pub const ACCEPT_BATCH: u32 = 32;
/// How long a client that has just come may go unwatched by the kernel: so long its reset may go
/// unnoticed.
pub const WATCH_LATE: Duration = Duration::from_millis(5);
/// Events taken from the kernel in one turn.
pub const EVENT_BATCH: usize = 256;
/// Buffers filled by one receive.
pub const RECEIVE_BUFFERS: u16 = 32;
/// Turns of completions served before the driver is asked again.
pub const TURNS_PER_POLL: u32 = 16;
/// How long accepting pauses when the system runs out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a new client that has not spoken yet is spared when parked ones are closed for others
/// (`reclaim_parked`).
pub const NEWCOMER_GRACE: Duration = Duration::from_secs(1);

/// Clients whose closing lingers at one time, over all workers and beyond `max_clients`; the
/// longest-lingering yields.
pub const LINGERING_MAX: u32 = 256;
/// Bytes discarded from a lingering client before it is closed all the same.
pub const LINGER_BYTES: u32 = 64 << 10;
/// How long a closing lingers at most.
pub const LINGER: Duration = Duration::from_secs(5);
/// Records beyond `max_clients` for those who are told 503 under `at_limit = "answer"`.
pub const REFUSAL_RECORDS: u32 = 64;

/// How old a wait for a buffer may grow before the slowest holders must yield (law 5).
pub const BUFFER_PATIENCE: Duration = Duration::from_millis(100);
/// How long a client may take nothing of a response that holds a lease others wait for.
pub const STALL_PATIENCE: Duration = Duration::from_secs(2);
/// Exchanges made to yield in one round at most.
pub const YIELDS_PER_ROUND: u32 = 16;
/// How long a request that gets buffers first may ask for none before another takes its turn.
pub const FAVOUR: Duration = Duration::from_millis(50);
/// How often a short pool is looked at while somebody waits too long.
pub const PRESSURE_PAUSE: Duration = Duration::from_millis(10);
/// How long a drain lets parked clients come back with one more request.
pub const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Bytes of one extent of the spool: what one errand of the disk moves at most.
pub const SPOOL_EXTENT: u32 = 64 << 10;
/// The spool in all, unless configured (`spool.size`).
pub const SPOOL_SIZE: u64 = 1 << 30;
/// What of one exchange may lie in the spool (`spool.per_exchange`).
pub const SPOOL_PER_EXCHANGE: u64 = 256 << 20;
/// What of one client address may lie in the spool (`spool.per_address`).
pub const SPOOL_PER_ADDRESS: u64 = 512 << 20;
/// Largest spool that can be configured.
pub const SPOOL_SIZE_MAX: u64 = 64 << 40;
/// Places in which client addresses are counted for `spool.per_address`.
pub const SPOOL_ADDRESSES: u32 = 16 << 10;
/// Errands of one worker that the disk has at one time, each with memory for one extent.
pub const SPOOL_ERRANDS: u32 = 16;
/// How long a short pool waits for a disk that has all the errands it may have, before slow
/// exchanges are ended instead.
pub const DISK_PATIENCE: Duration = Duration::from_secs(2);
/// For how long nothing is put into a spool on which a read or write failed.
pub const SPOOL_REST: Duration = Duration::from_secs(10);
/// Buffers that one direction of a tunnel may hold: what its receiver is behind.
pub const TUNNEL_BUFFERS: u16 = RECEIVE_BUFFERS;
/// The same while all tunnels together hold half of the pool.
pub const TUNNEL_BUFFERS_SHORT: u16 = 1;
/// Bytes of a TLS record's header (RFC 8446 §5.1).
pub const TLS_HEADER: usize = 5;
/// Longest plaintext of a TLS record (RFC 8446 §5.1).
pub const TLS_PLAIN_MAX: usize = 16 << 10;
/// Longest TLS record, its header among it: that of TLS 1.2 (RFC 5246 §6.2.3).
pub const TLS_RECORD_MAX: usize = TLS_HEADER + TLS_PLAIN_MAX + 2048;
/// What a record we write is longer than its plaintext, at most: header, nonce or content type, tag.
pub const TLS_OVERHEAD: usize = 64;
/// What any record is longer than its plaintext, at least: header and tag.
pub const TLS_SEALED: u32 = 21;
/// What one session keeps of a handshake message that came in parts, where the peer may show a
/// certificate: the longest chains, and the tickets in which ours come back.
pub const TLS_PARTS_MAX: usize = 64 << 10;
/// The same where it shows none, a longest record of hello, and of a server's tickets.
pub const TLS_PARTS_SHORT: usize = TLS_RECORD_MAX;
/// The same of a client that has shaken hands: new keys are five bytes (RFC 8446 §4.6.3), even if each
/// is a record. So much each session may keep whatever others do.
pub const TLS_PARTS_OWN: usize = 128;
/// What all sessions of one worker keep of such messages, beside [`TLS_PARTS_OWN`] of each: the one that
/// would need more fails. It is less where its pool is smaller, down to twice [`TLS_PARTS_MAX`].
pub const TLS_PARTS_ALL: usize = 1 << 20;
/// The same, with what was said in handshakes, where clients are asked for certificates: it is kept until
/// they have signed it. So a thousand may shake hands at one time, with 4 KiB each beyond the room that there
/// is for its chain.
pub const TLS_UNSIGNED_ALL: usize = 4 << 20;
/// What is looked at of a secured connection at one time, and what is encrypted for it: some records.
pub const TLS_BATCH: usize = 4 * TLS_RECORD_MAX;
/// Plaintext that is encrypted for one send.
pub const TLS_SEND: usize = 4 * TLS_PLAIN_MAX;
/// Longest that we write of a handshake at one time: certificate chains.
pub const TLS_FLIGHT_MAX: usize = 128 << 10;
/// What is encrypted when no buffer could be had for what the transport may not take of it.
pub const TLS_SEND_SHORT: usize = 1 << 10;
/// Connections of one worker that may have a record decrypted before there are buffers for it, so that
/// one that is longer than a short pool goes on. For those who were granted a buffer there are more, half as
/// much as the pool on each side; others wait their turn.
pub const TLS_AHEAD_MAX: u32 = 4;
/// Longest file of certificates or a key.
pub const PEM_MAX: u64 = 4 << 20;
/// Most certificates in files of which `/metrics` tells when they end.
pub const CERTIFICATES_SHOWN: usize = 1000;
/// Longest subject of a client's certificate that is passed on; a longer one is not.
pub const TLS_SUBJECT_MAX: usize = 512;
/// What one TLS session takes, about: 2.76 KiB for each parked client were measured, with what the
/// allocator adds (`cargo xtask bench tls-parked`). Where the peer shows certificates it is more by its
/// chain, and by a client's subject: [`TLS_SUBJECT_MAX`].
pub const TLS_SESSION_BYTES: usize = 2816;
/// Longest certificate chain of a client (`tls.max_client_chain`): its session keeps all of it, and so
/// does each of its tickets. [`TLS_CERTIFICATE_OVERHEAD`] of each certificate counts.
pub const TLS_CLIENT_CHAIN: u32 = 8 << 10;
/// Shortest and longest that can be configured: a ticket fits a record.
pub const TLS_CLIENT_CHAIN_RANGE: [u32; 2] = [1 << 10, 15 << 10];
/// The same of a server (`tls.max_chain` of an `[[upstream]]`).
pub const TLS_SERVER_CHAIN: u32 = 16 << 10;
/// Shortest and longest that can be configured.
pub const TLS_SERVER_CHAIN_RANGE: [u32; 2] = [1 << 10, 64 << 10];
/// What a certificate of a chain counts for beside its bytes: its place among the others, of which a growing
/// list has four at least, and what the allocator adds.
pub const TLS_CERTIFICATE_OVERHEAD: usize = 256;
/// What a ticket has beside the certificate chain in it, at most: keys, names, times.
pub const TLS_TICKET_OVERHEAD: usize = 1 << 10;
/// Longest ticket of a server's: a message that is whole with the record that came last.
pub const TLS_TICKET_MAX: usize = TLS_PARTS_SHORT + TLS_RECORD_MAX;
/// How long an event stream or a tunnel may be silent in a drain before it ends.
pub const STREAM_GRACE: Duration = Duration::from_secs(5);

/// First pause before a failed server is tried again; doubles up to `health.fail_timeout`.
pub const SET_ASIDE: Duration = Duration::from_millis(50);
/// Failures in a row after which a server is set aside (`health.max_fails`).
pub const MAX_FAILS: u32 = 1;
/// Most of them that can be configured.
pub const MAX_FAILS_MOST: u32 = 1000;
/// Longest pause before a failed server is tried again (`health.fail_timeout`).
pub const FAIL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long requests wait for a server to come back when none can be reached (`health.grace`).
pub const UNREACHABLE_GRACE: Duration = Duration::from_secs(1);

/// How often one request is sent at most (`retries.attempts`).
pub const ATTEMPTS: u32 = 3;
/// Most of them that can be configured.
pub const ATTEMPTS_MOST: u32 = 100;
/// Retries for every hundred requests (`retries.budget`).
pub const RETRY_BUDGET: u32 = 20;
/// Retries a second that are granted whatever the budget says.
pub const RETRY_FLOOR: u32 = 10;
/// The seconds over which requests and retries are counted.
pub const RETRY_WINDOW_SECONDS: u32 = 10;

/// Largest weight of a server (`weight`).
pub const WEIGHT_MAX: u32 = 1000;
/// How often a worker looks again that holds fewer warm connections than its share.
pub const WARM_PAUSE: Duration = Duration::from_secs(1);

/// Most addresses of one server's name that are used; those beyond are left out.
pub const ADDRESSES_MAX: usize = 16;
/// Shortest and longest time after which a name is looked up again, whatever its TTL says
/// (`resolver.ttl_min`, `resolver.ttl_max`).
pub const TTL: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(5)];
/// How long one name server is given to answer (`resolver.timeout`).
pub const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most answers for certificate authorities at one time: a name is asked about once for each order.
pub const CHALLENGES_MAX: usize = 512;

/// How long a job beside the data path rests that panicked, before it begins anew.
pub const JOB_PAUSE: Duration = Duration::from_secs(10);
/// The same of what decides who may come in: clients wait for it.
pub const DECIDE_PAUSE: Duration = Duration::from_secs(1);

/// Most certificates that are kept by ACME.
pub const ACME_CERTIFICATES_MAX: usize = 256;
/// Most names of one certificate.
pub const ACME_NAMES_MAX: usize = 100;
/// Orders that are under way at one time.
pub const ACME_ORDERS: usize = 4;
/// Pauses after orders that came to nothing: the shortest, which doubles, and the longest
/// (`acme.retry_min`, `acme.retry_max`).
pub const ACME_RETRY: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(6)];
/// The longest that a certificate authority is left alone because it asks for it.
pub const ACME_ASKED_MAX: Duration = Duration::from_hours(24);
/// How long an authority is given to answer one request, to prove and to sign, and for all of it.
pub const ACME_REQUEST: Duration = Duration::from_secs(30);
/// See [`ACME_REQUEST`].
pub const ACME_PATIENCE: Duration = Duration::from_mins(2);
/// See [`ACME_REQUEST`].
pub const ACME_ORDER: Duration = Duration::from_mins(10);
/// How long a connection to an authority is kept.
pub const ACME_IDLE: Duration = Duration::from_secs(10);
/// How long it is waited for workers to show what proves that a name is ours.
pub const ACME_SHOWN: Duration = Duration::from_secs(5);
/// How long it is at least, and at most, until an authority is asked again when it would renew.
pub const ACME_ADVICE: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(24)];
/// How often the calendar is looked at.
pub const ACME_LOOK: Duration = Duration::from_mins(1);
/// Longest answer of an authority, and longest file that is kept of what it gave.
pub const ACME_RESPONSE_MAX: usize = 1 << 20;
/// See [`ACME_RESPONSE_MAX`].
pub const ACME_FILE_MAX: u64 = 1 << 20;

/// How long a server is given to end a connection after its last response.
pub const PARTING: Duration = Duration::from_secs(1);

/// Bytes of each worker's ring for the access log (`log.buffer`).
pub const LOG_BUFFER: u32 = 256 << 10;
/// Smallest and largest ring that can be configured.
pub const LOG_BUFFER_RANGE: [u32; 2] = [64 << 10, 64 << 20];
/// What is kept of one request's head for its line in the access log (`log.line`), bytes.
pub const LOG_LINE: u32 = 512;
/// Least and most of it that can be configured.
pub const LOG_LINE_RANGE: [u32; 2] = [256, 16 << 10];
/// How long the access log's lines are gathered before they are written.
pub const LOG_PAUSE: Duration = Duration::from_millis(50);
/// Notes and warnings that wait to be written at most.
pub const EVENTS_WAITING: usize = 1024;
/// How long the end of the process waits for each log whose reader is slow.
pub const LOG_PARTING: Duration = Duration::from_secs(1);

/// Longest time-out that can be configured; see [`crate::time::Tick`].
pub const TIMEOUT_MAX: Duration = Duration::from_hours(7 * 24);

/// Descriptors kept for what is neither client nor upstream: standard streams, epoll and wake
/// descriptors, listeners, admin connections, logs, lingering clients.
pub const DESCRIPTORS_SPARE: u32 = 128 + LINGERING_MAX;

const _: () = {
    assert!(BUFFER_BYTES.is_power_of_two());
    assert!(BUFFER_BYTES >= BUFFER_BYTES_RANGE[0] && BUFFER_BYTES <= BUFFER_BYTES_RANGE[1]);
    assert!(BUFFER_BYTES_RANGE[1] <= u16::MAX as u32, "a register counts bytes in 16 bits");
    assert!((HEADROOM as u32) < BUFFER_BYTES_RANGE[0]);
    assert!(MAX_HEAD <= MAX_HEAD_LIMIT && MAX_TARGET < MAX_HEAD);
    assert!(EXCHANGE_MEMORY > MAX_HEAD_LIMIT);
    assert!(TIMEOUT_MAX.as_millis() < (u32::MAX / 2) as u128, "ticks must compare rightly");
    assert!(LINGERING_MAX >= WORKERS_MAX, "each worker may let at least one linger");
    assert!(SPOOL_EXTENT.is_power_of_two() && SPOOL_SIZE_MAX / SPOOL_EXTENT as u64 <= 1 << 30);
    assert!(SPOOL_PER_EXCHANGE <= SPOOL_PER_ADDRESS && SPOOL_PER_ADDRESS <= SPOOL_SIZE);
    assert!(SPOOL_EXTENT <= RECEIVE_BUFFERS as u32 * BUFFER_BYTES, "one reading fits one receive");
    assert!(LOG_BUFFER_RANGE[0] >= 2 * LOG_LINE_RANGE[1], "a ring holds the longest record");
    assert!(LOG_BUFFER_RANGE[0] <= LOG_BUFFER && LOG_BUFFER <= LOG_BUFFER_RANGE[1]);
    assert!(LOG_LINE_RANGE[0] <= LOG_LINE && LOG_LINE <= LOG_LINE_RANGE[1]);
    assert!(PASSWORD_MAX <= TOKEN_MAX && TOKEN_MAX <= QUESTION_MAX);
    assert!(QUESTION_MAX <= MAX_HEAD_LIMIT as usize);
    assert!(SUBJECT_MAX <= GRANT_MAX && GRANT_MAX <= u16::MAX as usize);
    assert!(REMEMBERED.is_power_of_two());
    assert!(KEYS_REFRESH[1].as_millis() <= KEYS_REFRESH[0].as_millis());
    assert!(KEYS_REFRESH[0].as_millis() <= KEYS_REFRESH_RANGE[1].as_millis());
    assert!(KEYS_RETRY[0].as_millis() <= KEYS_RETRY[1].as_millis());
    assert!(REMEMBER[0].as_millis() <= REMEMBER[1].as_millis());
    assert!(QUESTIONS_RANGE[0] <= QUESTIONS && QUESTIONS <= QUESTIONS_RANGE[1]);
    assert!(LINGER.as_millis() < TIMEOUT_MAX.as_millis());
    assert!(SET_ASIDE.as_millis() <= FAIL_TIMEOUT.as_millis());
    assert!(TTL[0].as_millis() <= TTL[1].as_millis());
    assert!(ACME_ADVICE[0].as_millis() <= ACME_ADVICE[1].as_millis());
    assert!(ACME_RETRY[0].as_millis() <= ACME_RETRY[1].as_millis());
    assert!(ACME_ORDERS * ACME_NAMES_MAX <= CHALLENGES_MAX, "each name is asked about once");
    assert!(TLS_PARTS_OWN < TLS_PARTS_SHORT && TLS_PARTS_SHORT < TLS_PARTS_MAX);
    assert!(TLS_PARTS_MAX < TLS_PARTS_ALL && TLS_PARTS_ALL < TLS_UNSIGNED_ALL);
    let [least, most] = TLS_SERVER_CHAIN_RANGE;
    assert!(least <= TLS_SERVER_CHAIN && TLS_SERVER_CHAIN <= most);
    assert!(most as usize <= TLS_PARTS_MAX);
    let [least, most] = TLS_CLIENT_CHAIN_RANGE;
    assert!(least <= TLS_CLIENT_CHAIN && TLS_CLIENT_CHAIN <= most);
    let ticket = most as usize + TLS_TICKET_OVERHEAD;
    assert!(2 * ticket < TLS_FLIGHT_MAX, "two tickets go out with the end of a handshake");
    assert!(ticket <= TLS_PLAIN_MAX, "who keeps no more in parts than we do takes them");
    assert!(TLS_PARTS_SHORT + ticket < TLS_PARTS_MAX, "one comes back in a hello");
    assert!(WEIGHT_MAX as u64 * (1 << 32) < u64::MAX, "loads and weights compare exactly");
};
