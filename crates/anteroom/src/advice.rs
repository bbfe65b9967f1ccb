//! Warnings that name the key to change, when the figures say that it holds the clients up.

use std::sync::Arc;
use std::time::Duration;

use exchange::Refusal;
use pool::Rank;
use tokio::time::Instant;
use worker::{AcceptPause, CloseReason};

use crate::figures::{Figures, Panel};
use crate::log;
use crate::quantity::{Count, Length, counted};

/// How often the figures are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// Fewest leases within an interval that say something.
const LEASES_LEAST: u64 = 50;
/// Fewest waits for a buffer within an interval that say something: one now and then harms
/// nobody.
const WAITS_LEAST: u64 = 10;
/// How long a warning stays away once it was given.
const QUIET: Duration = Duration::from_mins(10);

/// The same of TLS sessions that fail: what is wrong differs.
const SAY_TLS_AGAIN: Duration = Duration::from_mins(1);

/// What of the figures of two moments calls for a warning.
type Judge = fn(&Figures, &Figures) -> Option<String>;

/// Every warning, and for how long it is not repeated; without that time it is given once.
const ADVICE: [(Judge, Option<Duration>); 12] = [
    (connections, None),
    (memory, Some(QUIET)),
    (max_clients, Some(QUIET)),
    (queue, Some(QUIET)),
    (descriptors, Some(QUIET)),
    (disk, Some(QUIET)),
    (spool, Some(QUIET)),
    (pinned, Some(QUIET)),
    (authorizer_full, Some(QUIET)),
    (authorizer_failed, Some(QUIET)),
    (client_tls, Some(SAY_TLS_AGAIN)),
    (server_tls, Some(SAY_TLS_AGAIN)),
];

/// Watches the figures.
pub(crate) struct Advisor {
    panel: Arc<Panel>,
    memory: Memory,
    /// When it looks again.
    next: Instant,
}

/// What was seen and said.
struct Memory {
    seen: Figures,
    /// When each warning of [`ADVICE`] may be given; never again if there is no moment.
    due: [Option<Instant>; ADVICE.len()],
    /// Lines dropped that were told of, and when that may be done again.
    dropped: (u64, Instant),
}

impl Advisor {
    /// Looks from now on.
    pub(crate) fn new(panel: Arc<Panel>) -> Self {
        let now = Instant::now();
        Self { memory: Memory::new(panel.read(), now), panel, next: now + INTERVAL }
    }

    /// When to [`look`](Self::look) next.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Looks at the figures and gives the warnings that are due.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        self.next = now + INTERVAL;
        for warning in self.memory.judge(self.panel.read(), now) {
            log::note(format_args!("warning: {warning}"));
        }
    }
}

impl Memory {
    fn new(seen: Figures, now: Instant) -> Self {
        let dropped = (seen.access_dropped, now);
        Self { seen, due: [Some(now); ADVICE.len()], dropped }
    }

    /// The warnings that are due.
    fn judge(&mut self, figures: Figures, now: Instant) -> Vec<String> {
        let mut warnings = Vec::new();
        for ((judge, quiet), due) in ADVICE.iter().zip(&mut self.due) {
            if due.is_some_and(|due| now >= due)
                && let Some(warning) = judge(&self.seen, &figures)
            {
                *due = quiet.map(|quiet| now + quiet);
                warnings.push(warning);
            }
        }
        let (told, due) = self.dropped;
        if figures.access_dropped > told && now >= due {
            warnings.push(dropped(figures.access_dropped - told));
            self.dropped = (figures.access_dropped, now + log::SAY_AGAIN);
        }
        self.seen = figures;
        warnings
    }
}

/// Exchanges waited longer for a lease than the server took to answer (DESIGN.md §5).
fn connections(earlier: &Figures, now: &Figures) -> Option<String> {
    let queue = now.queue_seconds.since(&earlier.queue_seconds);
    let upstream = now.upstream_seconds.since(&earlier.upstream_seconds);
    let (waited, answered) = (queue.mean()?, upstream.mean()?);
    if upstream.count() < LEASES_LEAST || waited <= answered {
        return None;
    }
    Some(format!(
        "requests wait {} for a connection to the server, which then answers in {}: if the server \
         can work on more at a time, raise `connections`",
        Length(waited),
        Length(answered)
    ))
}

/// Requests or responses waited for a buffer.
fn memory(earlier: &Figures, now: &Figures) -> Option<String> {
    let waits = |figures: &Figures| {
        let ranks = [Rank::Upstream, Rank::Client, Rank::NewClient];
        ranks.iter().map(|rank| figures.buffer_waits[*rank as usize]).sum::<u64>()
    };
    let waited = grown(waits(earlier), waits(now), WAITS_LEAST)?;
    Some(format!(
        "buffers were waited for {} within {}: the pools are short; raise `memory`",
        times(waited),
        Length(INTERVAL)
    ))
}

/// Clients waited in the backlog, were turned away or closed, because so many are here.
fn max_clients(earlier: &Figures, now: &Figures) -> Option<String> {
    let met = |figures: &Figures| {
        let closed = |reason| figures.clients_closed[reason as usize];
        figures.accept_pauses[AcceptPause::Limit as usize]
            + closed(CloseReason::Limit)
            + closed(CloseReason::Reclaimed)
    };
    grown(met(earlier), met(now), 1)?;
    let most = "as many clients are here as are allowed, and others wait or are turned away: raise \
                `max_clients`, or lower `timeouts.idle`";
    Some(most.to_owned())
}

/// Requests found the ready queue full.
fn queue(earlier: &Figures, now: &Figures) -> Option<String> {
    let full = |figures: &Figures| figures.refusals[Refusal::QueueFull as usize];
    let refused = grown(full(earlier), full(now), 1)?;
    Some(format!(
        "{} answered 503 because the queue for the server was full: raise `connections` if the \
         server can work on more at a time, else `queue.length`",
        match refused {
            1 => "1 request was".to_owned(),
            more => format!("{} requests were", Count(more)),
        }
    ))
}

/// The spool's disk failed.
fn disk(earlier: &Figures, now: &Figures) -> Option<String> {
    let failures = grown(earlier.spool_failures, now.spool_failures, 1)?;
    Some(format!(
        "the spool's disk failed {}, and requests that need it are answered 507: the kernel's log \
         tells why; `spool.dir` names another directory",
        times(failures)
    ))
}

/// The spool was full: of everybody's, or of one address's.
fn spool(earlier: &Figures, now: &Figures) -> Option<String> {
    let full = |figures: &Figures| {
        let met = |limit| figures.spool_full[limit as usize];
        met(spool::Full::Spool) + met(spool::Full::Address)
    };
    let met = grown(full(earlier), full(now), 1)?;
    Some(format!(
        "the spool had no room {}: requests are answered 507, and servers wait for slow clients; \
         raise `spool.size` or `spool.per_address`",
        times(met)
    ))
}

/// More event streams and tunnels than may be pinned.
fn pinned(earlier: &Figures, now: &Figures) -> Option<String> {
    let full = |figures: &Figures| figures.refusals[Refusal::PinnedFull as usize];
    let refused = grown(full(earlier), full(now), 1)?;
    Some(format!(
        "event streams and tunnels were refused with 503 {}, because as many are open as are allowed: \
         raise `pinned`",
        times(refused)
    ))
}

/// More questions at one time than there may be.
fn authorizer_full(earlier: &Figures, now: &Figures) -> Option<String> {
    let full = |figures: &Figures| figures.refusals[Refusal::AuthorizerFull as usize];
    let refused = grown(full(earlier), full(now), 1)?;
    Some(format!(
        "requests were answered 503 {}, because as many wait to be let in as may: raise `queue` of \
         `authorize` if whoever decides is slow for moments only",
        times(refused)
    ))
}

/// It was not found out whether clients may.
fn authorizer_failed(earlier: &Figures, now: &Figures) -> Option<String> {
    let failed = |figures: &Figures| figures.refusals[Refusal::AuthorizerFailed as usize];
    let refused = grown(failed(earlier), failed(now), 1)?;
    Some(format!(
        "requests were answered 503 {}, because it was not found out in time whether their clients \
         may: if whoever decides is only slow, raise `timeouts.authorize`; a server or URL that \
         fails is told of by a warning of its own",
        times(refused)
    ))
}

/// Sessions with clients failed.
fn client_tls(earlier: &Figures, now: &Figures) -> Option<String> {
    let failed = tls_failures(&earlier.tls_failures, &now.tls_failures)?;
    Some(format!("TLS: sessions with clients failed: {failed}"))
}

/// Sessions with servers failed, so that they count as unreachable.
fn server_tls(earlier: &Figures, now: &Figures) -> Option<String> {
    let failed = tls_failures(&earlier.tls_server_failures, &now.tls_server_failures)?;
    let more = |it: &tls::Failure| {
        let place = *it as usize;
        now.tls_server_failures[place] > earlier.tls_server_failures[place]
    };
    let mut remedies: Vec<&str> =
        tls::Failure::ALL.into_iter().filter(more).filter_map(server_remedy).collect();
    remedies.dedup();
    remedies.insert(0, &failed);
    Some(format!("TLS: sessions with servers failed: {}", remedies.join("; ")))
}

/// What to do about a session with a server that failed, if that can be said. Keys are those of the
/// upstream's `tls`.
const fn server_remedy(failure: tls::Failure) -> Option<&'static str> {
    use tls::Failure as F;
    match failure {
        F::Protocol | F::PlainHttp => Some(
            "protocol: what answers there speaks no TLS: name the port that does, or leave out the \
             upstream's `tls`",
        ),
        F::Version | F::Cipher => Some(
            "version, cipher: the server speaks nothing of what is spoken here: raise its TLS to 1.2 \
             or 1.3, or add that to `versions` of the upstream's `tls`",
        ),
        F::Alpn => Some(
            "alpn: the server speaks none of the protocols that it is offered: `alpn` of the \
             upstream's `tls` names them",
        ),
        F::Certificate | F::Name => Some(
            "certificate: `ca` and `name` of the upstream's `tls` say which certificates are believed",
        ),
        F::Alert => Some(
            "alert: the server refused us, and its log says why: it may ask for a `certificate` and \
             its `key`, know nothing of the `name`, or speak none of the `versions` of the upstream's \
             `tls`",
        ),
        F::Late | F::Left => Some(
            "late, left: the server did not end the handshake: see whether that port speaks TLS, and \
             what the server's log says",
        ),
        F::Decrypt | F::TooLarge | F::Other => None,
    }
}

/// What went wrong, and how often.
fn tls_failures<const N: usize>(earlier: &[u64; N], now: &[u64; N]) -> Option<String> {
    let grown = earlier.iter().zip(now).zip(tls::Failure::ALL);
    let grown = grown.filter_map(|((earlier, now), failure)| {
        let more = now.saturating_sub(*earlier);
        (more > 0).then(|| format!("{failure} {}", Count(more)))
    });
    let all: Vec<String> = grown.collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The system had no descriptor for a client.
fn descriptors(earlier: &Figures, now: &Figures) -> Option<String> {
    let none = |figures: &Figures| figures.accept_pauses[AcceptPause::Descriptors as usize];
    grown(none(earlier), none(now), 1)?;
    let most = "the system has no descriptor left for another client: raise the limit of open files \
                (`ulimit -n`; systemd: LimitNOFILE=; docker: --ulimit nofile=), or lower \
                `max_clients`";
    Some(most.to_owned())
}

/// The access log is behind by more than its buffers hold.
fn dropped(lines: u64) -> String {
    format!(
        "access log: {} dropped, because it is read or written too slowly: raise `log.buffer` if \
         that is so for moments only",
        counted(lines, "line")
    )
}

/// How much a figure grew, if that is `least` or more.
fn grown(earlier: u64, now: u64, least: u64) -> Option<u64> {
    Some(now.saturating_sub(earlier)).filter(|more| *more >= least)
}

fn times(number: u64) -> String {
    counted(number, "time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Spread;
    use crate::figures::tests::panel;
    use base::counter::Histogram;

    fn nothing() -> Figures {
        panel().2.read()
    }

    /// What stands after so many leases that waited and were answered so long.
    fn leases(leases: u64, waited: u64, answered: u64) -> Figures {
        let (queue, upstream) = (Histogram::default(), Histogram::default());
        for _ in 0..leases {
            queue.observe(Duration::from_millis(waited));
            upstream.observe(Duration::from_millis(answered));
        }
        Figures {
            queue_seconds: Spread::default().and(&queue),
            upstream_seconds: Spread::default().and(&upstream),
            ..nothing()
        }
    }

    #[tokio::test]
    async fn long_queues_before_a_quick_server_name_the_key_to_raise() {
        let judge = connections;
        let start = leases(0, 0, 0);
        let warning = judge(&start, &leases(100, 30, 10)).unwrap();
        assert!(warning.contains("`connections`") && warning.contains("30ms"), "{warning}");
        assert_eq!(judge(&start, &leases(100, 10, 30)), None);
        assert_eq!(judge(&start, &leases(10, 30, 10)), None, "too few to say anything");
        assert_eq!(judge(&start, &start), None);
        let (earlier, now) = (leases(100, 30, 10), leases(120, 30, 10));
        assert_eq!(judge(&earlier, &now), None, "only what is new counts");
    }

    #[test]
    fn every_shortage_names_its_key() {
        let set = |change: fn(&mut Figures)| {
            let mut figures = nothing();
            change(&mut figures);
            figures
        };
        let table = vec![
            (set(|f| f.buffer_waits[Rank::Client as usize] = 10), "`memory`"),
            (set(|f| f.buffer_waits[Rank::NewClient as usize] = 99), "`memory`"),
            (set(|f| f.accept_pauses[AcceptPause::Limit as usize] = 1), "`max_clients`"),
            (set(|f| f.clients_closed[CloseReason::Limit as usize] = 1), "`max_clients`"),
            (set(|f| f.clients_closed[CloseReason::Reclaimed as usize] = 1), "`max_clients`"),
            (set(|f| f.refusals[Refusal::QueueFull as usize] = 1), "`queue.length`"),
            (set(|f| f.accept_pauses[AcceptPause::Descriptors as usize] = 1), "`ulimit -n`"),
            (set(|f| f.spool_failures = 3), "`spool.dir`"),
            (set(|f| f.spool_full[spool::Full::Spool as usize] = 1), "`spool.size`"),
            (set(|f| f.spool_full[spool::Full::Address as usize] = 1), "`spool.per_address`"),
            (set(|f| f.refusals[Refusal::PinnedFull as usize] = 1), "`pinned`"),
            (set(|f| f.tls_failures[tls::Failure::Version as usize] = 1), "version 1"),
            (set(|f| f.tls_server_failures[tls::Failure::Certificate as usize] = 1), "`ca`"),
            (set(|f| f.refusals[Refusal::AuthorizerFull as usize] = 1), "`queue` of `authorize`"),
            (set(|f| f.refusals[Refusal::AuthorizerFailed as usize] = 1), "`timeouts.authorize`"),
            (set(|f| f.access_dropped = 5), "`log.buffer`"),
        ];
        for (figures, key) in table {
            let now = Instant::now();
            let mut memory = Memory::new(nothing(), now);
            let warnings = memory.judge(figures.clone(), now);
            assert_eq!(warnings.len(), 1, "{key}: {warnings:?}");
            assert!(warnings[0].contains(key), "{warnings:?}");
            assert!(memory.judge(figures, now + QUIET).is_empty(), "{key}: nothing new happened");
        }
        let few = set(|f| f.buffer_waits[Rank::Client as usize] = WAITS_LEAST - 1);
        let harmless = set(|f| f.buffer_waits[Rank::Send as usize] = 99);
        for figures in [few, harmless, nothing()] {
            let now = Instant::now();
            assert!(Memory::new(nothing(), now).judge(figures, now).is_empty());
        }
    }

    #[test]
    fn each_failure_of_a_server_has_its_own_remedy() {
        use tls::Failure as F;
        let warning = |failures: &[F]| {
            let mut figures = nothing();
            for failure in failures {
                figures.tls_server_failures[*failure as usize] = 1;
            }
            server_tls(&nothing(), &figures).unwrap()
        };
        let keys = ["`ca`", "`versions`", "`alpn`", "`key`", "speaks no TLS", "handshake"];
        for (failure, named) in [
            (F::Certificate, &["`ca`"][..]),
            (F::Name, &["`ca`"]),
            (F::Version, &["`versions`"]),
            (F::Alpn, &["`alpn`"]),
            (F::Alert, &["`versions`", "`key`"]),
            (F::Protocol, &["speaks no TLS"]),
            (F::Left, &["handshake"]),
            (F::Other, &[]),
        ] {
            let text = warning(&[failure]);
            let found: Vec<_> = keys.into_iter().filter(|key| text.contains(key)).collect();
            assert_eq!(found, named, "{text}");
        }
        let both = warning(&[F::Version, F::Certificate, F::Name]);
        assert_eq!((both.matches("`ca`").count(), both.matches("`versions`").count()), (1, 1));
    }

    #[test]
    fn a_warning_is_not_repeated_all_the_time() {
        let now = Instant::now();
        let mut memory = Memory::new(nothing(), now);
        let mut figures = nothing();
        let mut said = Vec::new();
        for look in 0..300u32 {
            figures.refusals[Refusal::QueueFull as usize] += 3;
            figures.access_dropped += 2;
            said.extend(memory.judge(figures.clone(), now + INTERVAL * look));
        }
        let lines: Vec<&String> = said.iter().filter(|text| text.contains("log.buffer")).collect();
        // 25 minutes: the queue at 0, 10 and 20, the log at each minute, with all since the last.
        assert_eq!((said.len() - lines.len(), lines.len()), (3, 25));
        assert!(lines[0].contains("2 lines dropped") && lines[1].contains("24 lines dropped"));
        let mut memory = Memory::new(leases(0, 0, 0), now);
        let warned = |memory: &mut Memory, count| memory.judge(leases(count, 30, 10), now + QUIET);
        assert_eq!(warned(&mut memory, 100).len(), 1);
        assert!(warned(&mut memory, 900).is_empty(), "`connections` is named once");
    }
}
