//! The figures of all workers, added up when somebody asks: for `/metrics`, `/status` and the
//! demo alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use base::counter::{BOUNDS_MICROS, Counter, Histogram};
use control::acme::Tally;
use proxies::security::Limits;
use worker::{AcceptPause, CloseReason, WorkerCounters};

use crate::certificates::{Ending, Ledger};
use crate::log;
use crate::upstreams::{GroupFigures, ServerFigures, Upstreams};

/// Whether the process lets clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// The listeners are bound, the workers are starting.
    Starting,
    /// Every listener accepts.
    Accepting,
    /// What is under way is finished; nobody new is let in.
    Draining,
    /// Everything ends now.
    Stopping,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Starting, Self::Accepting, Self::Draining, Self::Stopping];

    /// The word in `/status` and `/readyz`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Accepting => "accepting",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// What is read to know how the process fares. Workers write their own counters, the master the
/// rest; nobody waits for anybody.
#[derive(Debug)]
pub(crate) struct Panel {
    workers: Vec<Arc<WorkerCounters>>,
    upstreams: Upstreams,
    spool: Option<Arc<spool::Shared>>,
    limits: Option<Arc<Limits>>,
    /// What is counted of certificates from an authority, by their names.
    certificates: Vec<(String, Arc<Tally>)>,
    /// What becomes of those in files.
    files: Arc<Ledger>,
    stage: AtomicU8,
    restarts: AtomicU64,
    relisted: [AtomicU64; 2],
    reauthorized: [AtomicU64; 2],
    bans: AtomicU64,
}

impl Panel {
    /// The panel of these workers, starting.
    pub(crate) fn new(workers: Vec<Arc<WorkerCounters>>, upstreams: Upstreams) -> Self {
        Self {
            workers,
            upstreams,
            spool: None,
            limits: None,
            certificates: Vec::new(),
            files: Arc::default(),
            stage: AtomicU8::new(0),
            restarts: AtomicU64::new(0),
            relisted: Default::default(),
            reauthorized: Default::default(),
            bans: AtomicU64::new(0),
        }
    }

    /// The same with the figures of a spool.
    pub(crate) fn with_spool(self, spool: Option<Arc<spool::Shared>>) -> Self {
        Self { spool, ..self }
    }

    /// The same with the figures of what addresses have.
    pub(crate) fn with_limits(self, limits: Option<Arc<Limits>>) -> Self {
        Self { limits, ..self }
    }

    /// The same with what is counted of certificates.
    pub(crate) fn with_certificates(self, certificates: Vec<(String, Arc<Tally>)>) -> Self {
        Self { certificates, ..self }
    }

    /// The same with what becomes of certificates in files.
    pub(crate) fn with_files(self, files: Arc<Ledger>) -> Self {
        Self { files, ..self }
    }

    /// Whether clients are let in.
    pub(crate) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed)) % Stage::ALL.len()]
    }

    /// Enters a stage; there is no way back to an earlier one.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// Counts a worker that was started anew.
    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// So many addresses and networks are banned now.
    pub(crate) fn banned(&self, count: usize) {
        self.bans.store(count as u64, Ordering::Relaxed);
    }

    /// Counts a list whose files changed: whether it was taken up.
    pub(crate) fn relisted(&self, taken: bool) {
        self.relisted[usize::from(!taken)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a file of `authorize` that was read anew, or keys that were fetched: whether they were
    /// taken up.
    pub(crate) fn reauthorized(&self, taken: bool) {
        self.reauthorized[usize::from(!taken)].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything as it stands. Figures read at slightly different moments may differ by what
    /// happened in between.
    pub(crate) fn read(&self) -> Figures {
        let sum = |pick: fn(&WorkerCounters) -> &Counter| {
            self.workers.iter().map(|worker| pick(worker).get()).sum()
        };
        let clients: u64 = sum(|w| &w.clients);
        let active = sum(|w| &w.clients_active).min(clients);
        Figures {
            clients_active: active,
            clients_parked: clients.saturating_sub(
                active + sum(|w| &w.clients_lingering) + sum(|w| &w.clients_closing),
            ),
            clients_lingering: sum(|w| &w.clients_lingering),
            clients_accepted: sum(|w| &w.clients_accepted),
            clients_closed: self.sums(|w| &w.clients_closed),
            tls_sessions: sum(|w| &w.tls_sessions),
            tls_parts_bytes: sum(|w| &w.tls_parts_bytes),
            tls_ahead: sum(|w| &w.tls_ahead),
            tls_handshakes: [sum(|w| &w.tls_handshakes), sum(|w| &w.tls_resumed)],
            tls_failures: self.sums(|w| &w.tls_failures),
            tls_server_failures: self.sums(|w| &w.tls_server_failures),
            accept_pauses: self.sums(|w| &w.accept_pauses),
            buffers: sum(|w| &w.buffers),
            buffers_used: sum(|w| &w.buffers_used),
            buffers_promised: sum(|w| &w.buffers_promised),
            buffers_free_min: sum(|w| &w.buffers_free_min),
            buffer_waits: self.sums(|w| &w.buffer_waits),
            exchanges: self.sums(|w| &w.exchanges),
            requests: self.sums(|w| &w.requests),
            refusals: self.sums(|w| &w.refusals),
            authorizations: [
                sum(|w| &w.authorizations_asked),
                sum(|w| &w.authorizations_remembered),
            ],
            tunnels: self.sums(|w| &w.tunnels),
            retries: sum(|w| &w.retries),
            certificates: self.certificates.iter().map(CertificateFigures::read).collect(),
            certificate_files: self.files.shown(),
            certificate_reloads: self.files.reloads(),
            spool_bytes: self.spool.as_ref().map_or(0, |spool| extents(spool.held())),
            spool_most: self.spool.as_ref().map_or(0, |spool| spool.bytes()),
            spooled: sum(|w| &w.spooled),
            spooled_for_others: sum(|w| &w.spooled_for_others),
            spool_moved: [sum(|w| &w.spool_bytes_in), sum(|w| &w.spool_bytes_out)],
            spool_waits: sum(|w| &w.spool_waits),
            spool_full: self.sums(|w| &w.spool_full),
            spool_failures: sum(|w| &w.spool_failures),
            access_dropped: sum(|w| &w.access_dropped),
            log_unwritten: log::unwritten(),
            trailer_bytes_dropped: sum(|w| &w.trailer_bytes_dropped),
            response_trailer_bytes_dropped: sum(|w| &w.response_trailer_bytes_dropped),
            client_bytes_in: sum(|w| &w.client_bytes_in),
            client_bytes_out: sum(|w| &w.client_bytes_out),
            request_seconds: self.spread(|w| &w.request_seconds),
            upstream_seconds: self.spread(|w| &w.upstream_seconds),
            queue_seconds: self.spread(|w| &w.queue_seconds),
            upstreams: self.upstreams.read(),
            groups: self.upstreams.read_groups(),
            restarts: self.restarts.load(Ordering::Relaxed),
            bans: self.bans.load(Ordering::Relaxed),
            limited: self.limits.as_ref().map_or([0; 2], |limits| limits.figures()),
            relisted: self.relisted.each_ref().map(|count| count.load(Ordering::Relaxed)),
            reauthorized: self.reauthorized.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    fn sums<const N: usize>(&self, pick: fn(&WorkerCounters) -> &[Counter; N]) -> [u64; N] {
        std::array::from_fn(|at| self.workers.iter().map(|worker| pick(worker)[at].get()).sum())
    }

    fn spread(&self, pick: fn(&WorkerCounters) -> &Histogram) -> Spread {
        self.workers.iter().map(|worker| pick(worker)).fold(Spread::default(), Spread::and)
    }
}

fn extents(count: u32) -> u64 {
    u64::from(count) * u64::from(base::limits::SPOOL_EXTENT)
}

/// How the process fares at one moment, over all workers. Names are those of
/// [`WorkerCounters`], where their meaning stands.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) clients_active: u64,
    pub(crate) clients_parked: u64,
    pub(crate) clients_lingering: u64,
    pub(crate) clients_accepted: u64,
    pub(crate) clients_closed: [u64; CloseReason::ALL.len()],
    /// TLS sessions now.
    pub(crate) tls_sessions: u64,
    pub(crate) tls_parts_bytes: u64,
    pub(crate) tls_ahead: u64,
    /// Handshakes that came to their end, and those of them that resumed a session.
    pub(crate) tls_handshakes: [u64; 2],
    /// Sessions with clients that failed.
    pub(crate) tls_failures: [u64; tls::Failure::ALL.len()],
    /// Sessions with servers that failed.
    pub(crate) tls_server_failures: [u64; tls::Failure::ALL.len()],
    pub(crate) accept_pauses: [u64; AcceptPause::ALL.len()],
    pub(crate) buffers: u64,
    pub(crate) buffers_used: u64,
    pub(crate) buffers_promised: u64,
    pub(crate) buffers_free_min: u64,
    pub(crate) buffer_waits: [u64; pool::Rank::ALL.len()],
    pub(crate) exchanges: [u64; exchange::Phase::ALL.len()],
    pub(crate) requests: [u64; 5],
    pub(crate) refusals: [u64; exchange::Refusal::ALL.len()],
    /// Tunnels begun: by HTTP, and by passing through.
    pub(crate) tunnels: [u64; 2],
    /// Questions put whether clients may, and clients that were remembered.
    pub(crate) authorizations: [u64; 2],
    pub(crate) retries: u64,
    /// Bytes of the spool in use now: whole extents.
    pub(crate) spool_bytes: u64,
    /// Bytes of all of it; 0 if there is none.
    pub(crate) spool_most: u64,
    pub(crate) spooled: u64,
    pub(crate) spooled_for_others: u64,
    /// Bytes written and read back.
    pub(crate) spool_moved: [u64; 2],
    pub(crate) spool_waits: u64,
    pub(crate) spool_full: [u64; spool::Full::ALL.len()],
    pub(crate) spool_failures: u64,
    pub(crate) access_dropped: u64,
    /// Lines that no log's destination took.
    pub(crate) log_unwritten: u64,
    pub(crate) trailer_bytes_dropped: u64,
    pub(crate) response_trailer_bytes_dropped: u64,
    pub(crate) client_bytes_in: u64,
    pub(crate) client_bytes_out: u64,
    pub(crate) request_seconds: Spread,
    pub(crate) upstream_seconds: Spread,
    pub(crate) queue_seconds: Spread,
    pub(crate) upstreams: Vec<ServerFigures>,
    pub(crate) groups: Vec<GroupFigures>,
    pub(crate) restarts: u64,
    /// Addresses and networks that are banned now.
    pub(crate) bans: u64,
    /// Addresses forgotten for others in the table of limits, and how often one was not counted.
    pub(crate) limited: [u64; 2],
    /// Lists of addresses read anew: taken up, and refused.
    pub(crate) relisted: [u64; 2],
    /// Passwords and keys read anew: taken up, and refused.
    pub(crate) reauthorized: [u64; 2],
    pub(crate) certificates: Vec<CertificateFigures>,
    /// Certificates in files: all, or those that end first if they are too many.
    pub(crate) certificate_files: Vec<Arc<Ending>>,
    /// Files of certificates and keys read anew: taken up, and refused.
    pub(crate) certificate_reloads: [u64; 2],
}

/// A certificate that is had from an authority.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFigures {
    pub(crate) names: String,
    /// When its time is over, in seconds since 1970; 0 without one.
    pub(crate) expires: u64,
    pub(crate) issued: u64,
    pub(crate) failed: u64,
}

impl CertificateFigures {
    fn read((names, tally): &(String, Arc<Tally>)) -> Self {
        Self {
            names: names.clone(),
            expires: tally.expires.get(),
            issued: tally.issued.get(),
            failed: tally.failed.get(),
        }
    }
}

/// Histograms of several workers, added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    /// Counts of each bucket, not cumulative; the last is above all bounds.
    pub(crate) buckets: [u64; BOUNDS_MICROS.len() + 1],
    /// All lengths together, seconds.
    pub(crate) sum: f64,
}

impl Spread {
    pub(crate) fn and(mut self, histogram: &Histogram) -> Self {
        for (sum, count) in self.buckets.iter_mut().zip(histogram.buckets()) {
            *sum += count;
        }
        self.sum += histogram.sum_seconds();
        self
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean length, if any was counted.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no last digit")]
    pub(crate) fn mean(&self) -> Option<Duration> {
        match self.count() {
            0 => None,
            count => Duration::try_from_secs_f64(self.sum / count as f64).ok(),
        }
    }

    /// What was counted here and not yet in `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])),
            sum: (self.sum - earlier.sum).max(0.0),
        }
    }

    /// The bound below which `percent` of all lengths lie; none if nothing was counted or it is
    /// above all bounds.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        BOUNDS_MICROS.get(bucket).map(|micros| Duration::from_micros(*micros))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::tests::settings;
    use base::id::WorkerId;

    /// Two workers before one server, none of them running.
    pub(crate) fn panel() -> (Settings, Vec<Arc<WorkerCounters>>, Panel) {
        let settings =
            settings("--listen 127.0.0.1:0 --upstream 127.0.0.1:9000 --max-clients 100").unwrap();
        let shared = bus::Shared::new(2, &settings.plan(WorkerId(0)).groups);
        let counters: Vec<Arc<WorkerCounters>> = vec![Arc::default(), Arc::default()];
        let panel = Panel::new(counters.clone(), Upstreams::new(&settings, shared));
        (settings, counters, panel)
    }

    #[test]
    fn figures_of_all_workers_are_added_up() {
        let (_, workers, panel) = panel();
        for worker in &workers {
            worker.clients.set(5);
            worker.clients_active.set(2);
            worker.exchanges[1].set(2);
            worker.closed(CloseReason::Idle);
            worker.request_seconds.observe(Duration::from_millis(3));
        }
        let figures = panel.read();
        assert_eq!((figures.clients_parked, figures.clients_active), (6, 4));
        assert_eq!(figures.exchanges[1], 4);
        assert_eq!(figures.clients_closed[CloseReason::Idle as usize], 2);
        assert_eq!(figures.request_seconds.count(), 2);
        assert_eq!(figures.request_seconds.percentile(99), Some(Duration::from_millis(5)));
        assert_eq!(figures.upstreams[0].address.as_ref(), "127.0.0.1:9000");
    }

    #[test]
    fn a_stage_is_never_left_for_an_earlier_one() {
        let (_, _, panel) = panel();
        assert_eq!(panel.stage(), Stage::Starting);
        for (enter, stage) in [
            (Stage::Accepting, Stage::Accepting),
            (Stage::Stopping, Stage::Stopping),
            (Stage::Draining, Stage::Stopping),
        ] {
            panel.enter(enter);
            assert_eq!(panel.stage(), stage);
        }
    }

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let histogram = Histogram::default();
        (0..99).for_each(|_| histogram.observe(Duration::from_micros(80)));
        histogram.observe(Duration::from_secs(90));
        let spread = Spread::default().and(&histogram);
        assert_eq!(spread.percentile(50), Some(Duration::from_micros(100)));
        assert_eq!(spread.percentile(99), Some(Duration::from_micros(100)));
        assert_eq!(spread.percentile(100), None, "above all bounds");
        assert_eq!(Spread::default().percentile(50), None);
        assert_eq!(Spread::default().mean(), None);
    }
}
