//! What the process holds when nothing is under way, and whether its figures agree.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use blackbox::metrics::Metrics;

use crate::stage::Stage;

/// How much more memory the process may have, apart from buffers that were never used before:
/// what the allocator keeps, a page here and there.
const SLACK_KIB: u64 = 1024;
/// How long it may take until nothing is under way.
const REST: Duration = Duration::from_mins(1);

/// What it holds.
pub(crate) struct Holdings {
    pss_kib: u64,
    rss_kib: u64,
    threads: u64,
    /// Descriptors by kind, those of idle connections to servers left out.
    descriptors: BTreeMap<String, u64>,
    idle: u64,
    /// Most buffers that were ever in use: so much of the pools was ever touched.
    buffers_touched_kib: u64,
}

impl Holdings {
    /// Waits until nothing is under way, and takes stock. What should be 0 and is not, or does
    /// not agree, is a violation.
    pub(crate) fn at_rest(stage: &Stage, violations: &mut Vec<String>) -> Self {
        let deadline = Instant::now() + REST;
        let metrics = loop {
            let metrics = stage.anteroom.metrics();
            let left = under_way(&metrics, stage.held());
            if left.is_empty() {
                break metrics;
            }
            if Instant::now() > deadline {
                violations.push(format!("never at rest: {}", left.join(", ")));
                break metrics;
            }
            blackbox::wait::pause(100);
        };
        violations.extend(disagreements(&metrics, stage.held()));
        // The scrape's own connection goes, and the kernel's last words come.
        blackbox::wait::pause(1500);
        let metrics = stage.anteroom.metrics();
        let idle = figure(&metrics, "anteroom_upstream_connections", &[("state", "idle")]);
        blackbox::wait::pause(500);
        let mut holdings = Self::of(stage.process_id());
        holdings.idle = idle;
        let sockets = holdings.descriptors.entry("socket".to_owned()).or_default();
        *sockets = sockets.saturating_sub(idle);
        let all = figure(&metrics, "anteroom_buffers", &[]);
        let least = figure(&metrics, "anteroom_buffers_free_min", &[]);
        let bytes = figure(&metrics, "anteroom_buffer_bytes", &[]);
        holdings.buffers_touched_kib = (all - least) * bytes / 1024;
        holdings
    }

    fn of(id: u32) -> Self {
        let sizes = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let kib = |name: &str| {
            let line = sizes.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.display().to_string();
            let kind = match target.split_once(':') {
                Some((kind, _)) if !kind.contains('/') => kind.to_owned(),
                _ if target.contains("access.log") => "access log".to_owned(),
                _ => target.split(" (deleted)").next().unwrap_or_default().to_owned(),
            };
            *descriptors.entry(kind).or_default() += 1;
        }
        let threads = fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count) as u64;
        let (pss_kib, rss_kib) = (kib("Pss:"), kib("Rss:"));
        Self { pss_kib, rss_kib, threads, descriptors, idle: 0, buffers_touched_kib: 0 }
    }

    /// What is more than before.
    pub(crate) fn against(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let touched = self.buffers_touched_kib.saturating_sub(before.buffers_touched_kib);
        let allowed = before.pss_kib + touched + SLACK_KIB;
        if self.pss_kib == 0 || self.pss_kib > allowed {
            let (now, then) = (self.pss_kib, before.pss_kib);
            found.push(format!("memory: {now} KiB for {then} before ({touched} newly touched)"));
        }
        if self.descriptors != before.descriptors {
            let (now, then) = (&self.descriptors, &before.descriptors);
            found.push(format!("descriptors: {now:?} for {then:?} before"));
        }
        if self.threads != before.threads {
            found.push(format!("threads: {} for {} before", self.threads, before.threads));
        }
        found
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PSS {} KiB, RSS {} KiB, {} threads, buffers touched {} KiB, {} idle connections, \
             other descriptors {:?}",
            self.pss_kib,
            self.rss_kib,
            self.threads,
            self.buffers_touched_kib,
            self.idle,
            self.descriptors
        )
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures count things")]
fn figure(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics.sum(name, labels) as u64
}

/// Labels of a figure and their values.
type Labels<'l> = &'l [(&'l str, &'l str)];

/// Figures that are not what they are when nothing is under way, with so many TLS clients parked.
fn under_way(metrics: &Metrics, held: u64) -> Vec<String> {
    let wanted: [(&str, Labels<'_>, u64); 13] = [
        ("anteroom_clients", &[], held),
        ("anteroom_clients", &[("state", "parked")], held),
        ("anteroom_tls_sessions", &[], held),
        ("anteroom_tls_parts_bytes", &[], 0),
        ("anteroom_tls_ahead", &[], 0),
        ("anteroom_buffers", &[("state", "used")], 0),
        ("anteroom_buffers_promised", &[], 0),
        ("anteroom_exchanges", &[], 0),
        ("anteroom_spool_bytes", &[], 0),
        ("anteroom_upstream_connections", &[("state", "leased")], 0),
        ("anteroom_upstream_connections", &[("state", "pinned")], 0),
        ("anteroom_upstream_connections", &[("state", "connecting")], 0),
        ("anteroom_bans", &[], 0),
    ];
    let mut left = Vec::new();
    for (name, labels, wanted) in wanted {
        assert!(metrics.has(name, labels), "no figure {name}");
        let figure = figure(metrics, name, labels);
        if figure != wanted {
            left.push(format!("{name}{labels:?} {figure} for {wanted}"));
        }
    }
    left
}

/// Sums that must be equal at rest, when so many clients are here.
fn disagreements(metrics: &Metrics, held: u64) -> Vec<String> {
    let sum = |name: &str| figure(metrics, name, &[]);
    let mut found = Vec::new();
    let (came, gone) =
        (sum("anteroom_clients_accepted_total"), sum("anteroom_clients_closed_total"));
    if came != gone + held {
        found.push(format!("{came} clients were accepted, {gone} closed, {held} are here"));
    }
    let (answered, timed) = (sum("anteroom_requests_total"), sum("anteroom_request_seconds_count"));
    // Those that found no buffer for their refusal are answered without being timed.
    if timed > answered {
        found.push(format!("{timed} requests were timed, {answered} answered"));
    }
    let refused = sum("anteroom_refusals_total");
    if refused > answered {
        found.push(format!("{refused} refusals, {answered} answers"));
    }
    let (idle, bound) = (
        figure(metrics, "anteroom_upstream_connections", &[("state", "idle")]),
        sum("anteroom_upstream_connections_max"),
    );
    if idle > bound {
        found.push(format!("{idle} idle connections where {bound} may be"));
    }
    let restarts = sum("anteroom_worker_restarts_total");
    if restarts > 0 {
        found.push(format!("{restarts} workers were started anew"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(pss_kib: u64, sockets: u64) -> Holdings {
        let descriptors = BTreeMap::from([("socket".to_owned(), sockets)]);
        let (rss_kib, threads, idle, buffers_touched_kib) = (pss_kib, 6, 0, 100);
        Holdings { pss_kib, rss_kib, threads, descriptors, idle, buffers_touched_kib }
    }

    #[test]
    fn what_is_more_than_before_is_found() {
        let before = holdings(5000, 7);
        assert!(holdings(5000 + SLACK_KIB, 7).against(&before).is_empty());
        assert_eq!(holdings(5001 + SLACK_KIB, 7).against(&before).len(), 1);
        assert_eq!(holdings(5000, 8).against(&before).len(), 1);
        assert_eq!(holdings(0, 7).against(&before).len(), 1, "nothing was measured");
        let more = Holdings { buffers_touched_kib: 612, ..holdings(5512 + SLACK_KIB, 7) };
        assert!(more.against(&before).is_empty(), "buffers that were never used before");
        assert_eq!(Holdings { threads: 7, ..holdings(5000, 7) }.against(&before).len(), 1);
    }

    #[test]
    fn a_process_has_what_it_opens() {
        let before = Holdings::of(std::process::id());
        let _sockets = std::os::unix::net::UnixStream::pair().unwrap();
        let now = Holdings::of(std::process::id());
        let count = |of: &Holdings| of.descriptors.get("socket").copied().unwrap_or(0);
        assert!(now.pss_kib > 0 && count(&now) >= count(&before) + 2);
    }

    #[test]
    fn what_is_left_over_and_what_disagrees_is_found() {
        let text = "anteroom_clients{state=\"parked\"} 1\nanteroom_buffers{state=\"used\"} 2\n\
                    anteroom_tls_sessions 1\nanteroom_tls_parts_bytes 9\nanteroom_tls_ahead 1\n\
                    anteroom_buffers_promised 0\nanteroom_exchanges{state=\"tunnel\"} 1\n\
                    anteroom_spool_bytes 65536\nanteroom_bans 1\n\
                    anteroom_upstream_connections{state=\"leased\"} 0\n\
                    anteroom_upstream_connections{state=\"pinned\"} 1\n\
                    anteroom_upstream_connections{state=\"connecting\"} 0\n";
        assert_eq!(under_way(&Metrics::parse(text), 1).len(), 7);
        assert_eq!(under_way(&Metrics::parse(text), 2).len(), 10);
        let text = "anteroom_clients_accepted_total 5\nanteroom_clients_closed_total 4\n\
                    anteroom_requests_total 3\nanteroom_request_seconds_count 4\n\
                    anteroom_refusals_total{reason=\"slow\"} 4\nanteroom_worker_restarts_total 1\n";
        assert_eq!(disagreements(&Metrics::parse(text), 1).len(), 3);
        assert_eq!(disagreements(&Metrics::parse(text), 0).len(), 4);
    }
}
