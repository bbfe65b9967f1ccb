//! `/metrics`: the figures as Prometheus reads them. Every name stands here, with its meaning.

use std::fmt;
use std::sync::Arc;

use exchange::{Phase, Refusal};
use pool::Rank;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use worker::{AcceptPause, CloseReason};

use crate::figures::{CertificateFigures, Figures, Panel};
use crate::settings::Settings;
use crate::sheet::Sheet;
use crate::upstreams::{GroupFigures, ServerFigures};

/// The media type of what [`Metrics::text`] gives.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scrape reads.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Reads from `panel` at each scrape.
    pub(crate) fn new(panel: Arc<Panel>, settings: &Settings) -> Self {
        let mut registry = Registry::with_prefix("anteroom");
        let facts = Facts {
            buffer_bytes: settings.pool.buffer_bytes,
            max_clients: settings.max_clients,
            workers: settings.workers,
        };
        registry.register_collector(Box::new(Scrape { panel, facts }));
        Self { registry }
    }

    /// One scrape, in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What does not change while the process runs.
#[derive(Debug)]
struct Facts {
    buffer_bytes: u32,
    max_clients: u32,
    workers: u32,
}

#[derive(Debug)]
struct Scrape {
    panel: Arc<Panel>,
    facts: Facts,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.panel.read();
        let mut sheet = Sheet::new(encoder);
        facts(&mut sheet, &self.facts)?;
        clients(&mut sheet, &figures)?;
        tls(&mut sheet, &figures)?;
        buffers(&mut sheet, &figures)?;
        spool(&mut sheet, &figures)?;
        exchanges(&mut sheet, &figures)?;
        upstreams(&mut sheet, &figures.upstreams)?;
        groups(&mut sheet, &figures.groups)?;
        certificate_files(&mut sheet, &figures)?;
        certificates(&mut sheet, &figures.certificates)?;
        let restarts = "Workers that failed and were started anew";
        sheet.count("worker_restarts", restarts, figures.restarts)?;
        let relisted = by("result", ["taken", "refused"], figures.relisted);
        let lists = "Lists of addresses whose files changed: taken up, or wrong and left";
        sheet.counts("list_reloads", lists, relisted)?;
        sheet.gauge("bans", "Addresses and networks that are banned now", figures.bans)?;
        let [replaced, uncounted] = figures.limited;
        let forgotten = "Addresses forgotten for others in the table of limits";
        sheet.count("limit_replacements", forgotten, replaced)?;
        let full = "Times an address was not counted: its part of the table of limits was full";
        sheet.count("limit_uncounted", full, uncounted)?;
        let dropped =
            by("cause", ["buffer", "write"], [figures.access_dropped, figures.log_unwritten]);
        let lost = "Lines of the logs that were lost: a full buffer, or a destination that failed";
        sheet.counts("log_dropped", lost, dropped)?;
        times(&mut sheet, &figures)
    }
}

fn facts(sheet: &mut Sheet<'_>, facts: &Facts) -> fmt::Result {
    sheet.info("build", "The version that runs", &[("version", env!("CARGO_PKG_VERSION"))])?;
    sheet.gauge("workers", "Worker threads", u64::from(facts.workers))?;
    sheet.gauge("max_clients", "Most clients at one time", u64::from(facts.max_clients))?;
    sheet.gauge("buffer_bytes", "Bytes of one buffer", u64::from(facts.buffer_bytes))
}

/// Rows with one label.
fn by<'l, const N: usize>(
    label: &'l str,
    values: [&'l str; N],
    counts: [u64; N],
) -> impl Iterator<Item = ([(&'l str, &'l str); 1], u64)> {
    values.map(|value| [(label, value)]).into_iter().zip(counts)
}

fn spool(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    sheet.gauge("spool_bytes", "Bytes of the spool in use now", figures.spool_bytes)?;
    let most = "Bytes of the whole spool; 0 if there is none";
    sheet.gauge("spool_capacity_bytes", most, figures.spool_most)?;
    sheet.count("spooled_exchanges", "Exchanges that went to the spool", figures.spooled)?;
    let pressed = "Times a slow exchange went to the spool because buffers were short";
    sheet.count("spooled_for_others", pressed, figures.spooled_for_others)?;
    let moved = by("direction", ["in", "out"], figures.spool_moved);
    sheet.counts("spool_moved_bytes", "Bytes written to the spool and read back", moved)?;
    let waits = "Waits for the spool's disk to do errands given before";
    sheet.count("spool_waits", waits, figures.spool_waits)?;
    let full = by("limit", spool::Full::ALL.map(spool::Full::label), figures.spool_full);
    sheet.counts("spool_full", "Times the spool had no room, by the limit that was met", full)?;
    sheet.count("spool_failures", "Reads and writes that failed", figures.spool_failures)
}

fn clients(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    let here =
        "Clients connected now: a parked one owns no buffer, a lingering one is being closed";
    let now = [figures.clients_parked, figures.clients_active, figures.clients_lingering];
    sheet.gauges("clients", here, by("state", ["parked", "active", "lingering"], now))?;
    sheet.count("clients_accepted", "Clients accepted", figures.clients_accepted)?;
    let reasons = CloseReason::ALL.map(CloseReason::label);
    let closed = by("reason", reasons, figures.clients_closed);
    sheet.counts("clients_closed", "Clients closed, by reason", closed)?;
    let causes = AcceptPause::ALL.map(AcceptPause::label);
    let pauses = by("cause", causes, figures.accept_pauses);
    sheet.counts("accept_pauses", "Times accepting paused, by what was wanting", pauses)?;
    let bytes = [figures.client_bytes_in, figures.client_bytes_out];
    let bytes = by("direction", ["in", "out"], bytes);
    sheet.counts("client_bytes", "Bytes exchanged with clients", bytes)
}

fn tls(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    sheet.gauge(
        "tls_sessions",
        "TLS sessions with clients and servers now",
        figures.tls_sessions,
    )?;
    let parts = "Bytes kept of TLS handshakes that are not over";
    sheet.gauge("tls_parts_bytes", parts, figures.tls_parts_bytes)?;
    let ahead = "Connections with a TLS record decrypted ahead of its buffers";
    sheet.gauge("tls_ahead", ahead, figures.tls_ahead)?;
    let [all, resumed] = figures.tls_handshakes;
    let kinds = by("kind", ["full", "resumed"], [all.saturating_sub(resumed), resumed]);
    sheet.counts("tls_handshakes", "TLS handshakes that came to their end", kinds)?;
    let failed = "TLS sessions that failed, by what went wrong";
    let labels = tls::Failure::ALL.map(tls::Failure::label);
    let rows = |with, counts: [u64; tls::Failure::ALL.len()]| {
        let labelled = labels.map(|reason| [("with", with), ("reason", reason)]);
        labelled.into_iter().zip(counts)
    };
    let clients = rows("client", figures.tls_failures);
    sheet.counts("tls_failures", failed, clients.chain(rows("server", figures.tls_server_failures)))
}

fn buffers(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    let used = figures.buffers_used;
    let states = by("state", ["free", "used"], [figures.buffers.saturating_sub(used), used]);
    sheet.gauges("buffers", "Buffers of all pools", states)?;
    let promised = "Buffers promised to exchanges with a lease, not yet lent";
    sheet.gauge("buffers_promised", promised, figures.buffers_promised)?;
    let least = "Fewest buffers that were ever free, the pools' minima added up";
    sheet.gauge("buffers_free_min", least, figures.buffers_free_min)?;
    let waits = by("rank", Rank::ALL.map(rank_label), figures.buffer_waits);
    sheet.counts("buffer_waits", "Waits for a buffer, by what it would unblock", waits)
}

/// The label in `anteroom_buffer_waits_total{rank}`.
pub(crate) const fn rank_label(rank: Rank) -> &'static str {
    match rank {
        Rank::Send => "send",
        Rank::Upstream => "upstream",
        Rank::Client => "client",
        Rank::NewClient => "new_client",
    }
}

/// The classes of status codes, in the order of their counters.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn exchanges(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    let phases = by("state", Phase::ALL.map(Phase::label), figures.exchanges);
    sheet.gauges("exchanges", "Exchanges now, by what they await", phases)?;
    let classes = CLASSES.map(|class| [("proxy", "http"), ("code", class)]);
    let requests = classes.into_iter().zip(figures.requests);
    sheet.counts("requests", "Requests answered, by class of the answer", requests)?;
    let codes = Refusal::ALL.map(|refusal| refusal.status().to_string());
    let refusals =
        Refusal::ALL.iter().zip(&codes).zip(figures.refusals).map(|((refusal, code), count)| {
            ([("reason", refusal.label()), ("code", code.as_str())], count)
        });
    sheet.counts("refusals", "Answers given in the server's stead, by reason", refusals)?;
    let ways = by("how", ["asked", "remembered"], figures.authorizations);
    let found = "Requests whose client had to be let in, by how that was found out";
    sheet.counts("authorizations", found, ways)?;
    let reloads = by("result", ["taken", "refused"], figures.reauthorized);
    let reread =
        "Files of authorize and keys read anew: taken up, or wrong or not to be had and left";
    sheet.counts("authorize_reloads", reread, reloads)?;
    let tunnels = by("proxy", ["http", "pass"], figures.tunnels);
    let begun = "Tunnels begun: switched protocols, and connections passed through";
    sheet.counts("tunnels", begun, tunnels)?;
    sheet.count("retries", "Requests sent again on a fresh connection", figures.retries)?;
    let dropped = "Bytes of request trailers that were not passed on";
    sheet.count("request_trailer_bytes_dropped", dropped, figures.trailer_bytes_dropped)?;
    let dropped = "Bytes of response trailers that were not passed on";
    sheet.count("response_trailer_bytes_dropped", dropped, figures.response_trailer_bytes_dropped)
}

fn upstreams(sheet: &mut Sheet<'_>, servers: &[ServerFigures]) -> fmt::Result {
    let states = servers.iter().flat_map(|server| {
        let labels =
            |state| [("upstream", &*server.group), ("server", &*server.address), ("state", state)];
        server.states().map(|(state, count)| (labels(state), count))
    });
    sheet.gauges("upstream_connections", "Connections to servers", states)?;
    let each = |pick: fn(&ServerFigures) -> u64| {
        servers.iter().map(move |server| {
            ([("upstream", &*server.group), ("server", &*server.address)], pick(server))
        })
    };
    let most = "Most connections that work for clients at one time (`connections`)";
    sheet.gauges("upstream_connections_max", most, each(|server| server.connections))?;
    let most = "Most connections that one client each keeps for long (`pinned`)";
    sheet.gauges("upstream_pinned_max", most, each(|server| server.pinned_max))?;
    let up = "Whether a server has not failed since it last took a connection or answered";
    sheet.gauges("upstream_up", up, each(|server| u64::from(server.up)))?;
    let weight = "A server's share of the work, relative to the others of its group";
    sheet.gauges("upstream_weight", weight, each(|server| u64::from(server.weight)))?;
    let connects = "Connections opened to servers";
    sheet.counts("upstream_connects", connects, each(|server| server.connects))?;
    let failures = "Attempts to reach a server, and fresh connections to it, that failed";
    sheet.counts("upstream_failures", failures, each(|server| server.failures))?;
    let handed_over = "Idle connections that went from one worker to another";
    sheet.counts("upstream_handovers", handed_over, each(|server| server.handed_over))
}

fn certificate_files(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    let ends = figures.certificate_files.iter().map(|it| (it.labels(), it.expires()));
    let expiry = "When the time of a certificate in a file is over";
    sheet.gauges("tls_certificate_expiry_timestamp_seconds", expiry, ends)?;
    let reread = by("result", ["taken", "refused"], figures.certificate_reloads);
    let reloads = "Files of certificates and keys read anew: taken up, or wrong and left";
    sheet.counts("tls_certificate_reloads", reloads, reread)
}

fn certificates(sheet: &mut Sheet<'_>, certificates: &[CertificateFigures]) -> fmt::Result {
    let each = |pick: fn(&CertificateFigures) -> u64| {
        certificates.iter().map(move |one| ([("names", one.names.as_str())], pick(one)))
    };
    let expiry = "When the time of a certificate from an authority is over; 0 without one";
    sheet.gauges("acme_certificate_expiry_timestamp_seconds", expiry, each(|one| one.expires))?;
    let issued = "Certificates that were issued, the first among them";
    sheet.counts("acme_certificates_issued", issued, each(|one| one.issued))?;
    let failed = "Orders for certificates that came to nothing";
    sheet.counts("acme_failures", failed, each(|one| one.failed))
}

fn groups(sheet: &mut Sheet<'_>, groups: &[GroupFigures]) -> fmt::Result {
    let each = |pick: fn(&GroupFigures) -> u64| {
        groups.iter().map(move |group| ([("upstream", &*group.name)], pick(group)))
    };
    let granted =
        "Requests of a group that went again after a fresh connection, granted by its budget";
    sheet.counts("retries_granted", granted, each(|group| group.retries))?;
    let refused = "Requests that did not go again because the group's budget was spent";
    sheet.counts("retries_refused", refused, each(|group| group.retries_refused))
}

fn times(sheet: &mut Sheet<'_>, figures: &Figures) -> fmt::Result {
    let request = "From a request's first byte in to its response's last byte taken by the kernel";
    sheet.spread("request_seconds", request, &figures.request_seconds)?;
    let upstream = "Leases of upstream connections: first byte written to last byte read";
    sheet.spread("upstream_seconds", upstream, &figures.upstream_seconds)?;
    let queue = "Waits for a lease in the ready queue";
    sheet.spread("queue_seconds", queue, &figures.queue_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::ledger;
    use crate::figures::tests::panel;
    use std::collections::HashSet;
    use std::time::Duration;

    /// One scrape of two workers that have something to tell.
    fn scrape() -> String {
        let (settings, workers, panel) = panel();
        for worker in &workers {
            worker.clients.set(3);
            worker.clients_active.set(1);
            worker.buffers.set(8);
            worker.buffers_used.set(1);
            worker.requests[1].add(4);
            worker.refusals[Refusal::QueueFull as usize].increment();
            worker.request_seconds.observe(Duration::from_millis(1));
            worker.request_seconds.observe(Duration::from_mins(2));
        }
        panel.restarted();
        let panel = panel.with_files(ledger());
        Metrics::new(Arc::new(panel), &settings).text().unwrap()
    }

    #[test]
    fn the_names_of_the_contract_are_there_with_their_figures() {
        let text = scrape();
        for line in [
            r#"anteroom_clients{state="parked"} 4"#,
            r#"anteroom_clients{state="active"} 2"#,
            "anteroom_clients_accepted_total 0",
            r#"anteroom_clients_closed_total{reason="idle"} 0"#,
            r#"anteroom_buffers{state="free"} 14"#,
            r#"anteroom_buffers{state="used"} 2"#,
            "anteroom_buffer_bytes 2048",
            r#"anteroom_buffer_waits_total{rank="new_client"} 0"#,
            r#"anteroom_exchanges{state="collecting"} 0"#,
            r#"anteroom_requests_total{proxy="http",code="2xx"} 8"#,
            r#"anteroom_refusals_total{reason="queue_full",code="503"} 2"#,
            r#"anteroom_upstream_connections{upstream="upstream",server="127.0.0.1:9000",state="idle"} 0"#,
            r#"anteroom_upstream_connects_total{upstream="upstream",server="127.0.0.1:9000"} 0"#,
            r#"anteroom_upstream_up{upstream="upstream",server="127.0.0.1:9000"} 1"#,
            r#"anteroom_retries_refused_total{upstream="upstream"} 0"#,
            r#"anteroom_tls_certificate_expiry_timestamp_seconds{listener="[::]:443",certificate="/etc/\"a\".pem"} 1800000000"#,
            r#"anteroom_tls_certificate_expiry_timestamp_seconds{upstream="app",certificate="/etc/b.pem"} 1900000000"#,
            r#"anteroom_tls_certificate_reloads_total{result="taken"} 1"#,
            r#"anteroom_tls_certificate_reloads_total{result="refused"} 0"#,
            "anteroom_spool_bytes 0",
            "anteroom_worker_restarts_total 1",
            r#"anteroom_request_seconds_bucket{le="0.001"} 2"#,
            r#"anteroom_request_seconds_bucket{le="60.0"} 2"#,
            r#"anteroom_request_seconds_bucket{le="+Inf"} 4"#,
            "anteroom_request_seconds_count 4",
            "anteroom_request_seconds_sum 240.002",
            "anteroom_upstream_seconds_count 0",
            "anteroom_queue_seconds_count 0",
        ] {
            assert!(text.lines().any(|have| have == line), "no `{line}` in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_name_is_documented() {
        let documentation = include_str!("../../../docs/metrics.md");
        let text = scrape();
        let names: HashSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| {
                let (name, kind) = line.split_once(' ')?;
                Some(match kind {
                    "counter" => format!("{name}_total"),
                    "info" => format!("{name}_info"),
                    _ => name.to_owned(),
                })
            })
            .collect();
        assert!(names.len() > 30, "{names:?}");
        let rows = || documentation.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows: HashSet<String> =
            rows().filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
        assert_eq!(names, rows, "what is served and what is documented");
    }

    #[test]
    fn every_name_has_a_meaning_and_appears_once() {
        let text = scrape();
        let mut helped = HashSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').unwrap();
            assert!(helped.insert(name), "{name} appears twice");
            assert!(help.len() > 10, "{name}: {help}");
        }
        let mut seen = HashSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').unwrap().0;
            assert!(seen.insert(series), "{series} appears twice");
            let name = series.split('{').next().unwrap();
            let bare = ["", "_total", "_bucket", "_sum", "_count", "_info"]
                .into_iter()
                .filter_map(|suffix| name.strip_suffix(suffix));
            assert!(bare.into_iter().any(|name| helped.contains(name)), "{name} has no meaning");
        }
    }
}
