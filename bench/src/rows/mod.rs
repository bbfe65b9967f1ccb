//! The rows of the table: what each measures and what must hold.

mod authorize;
mod beside;
mod cpu;
mod crowd;
mod deny;
mod dribble;
mod gunicorn;
mod held;
mod logs;
mod parked;
mod pass;
mod tls_parked;
mod tunnels;
mod watch;

use clap::ValueEnum;

use crate::error::Outcome;
use crate::report::Report;
use crate::stand::Stand;
pub(crate) use cpu::{PROXY_CORE, Work};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// User and kernel memory per parked client, 18,000 on one process.
    Parked,
    /// CPU per request: 64 keep-alive clients, 1 KiB, TCP upstream.
    Keepalive,
    /// The same over a Unix upstream.
    Unix,
    /// CPU per request: 1,000 clients on 64 upstream connections.
    Thousand,
    /// CPU per request: a new client connection for each.
    Fresh,
    /// CPU per MiB: responses of 1 MiB.
    Mebibyte,
    /// User memory per client in the middle of a slow POST; busy upstream connections.
    Dribble,
    /// CPU and latency of 1,000 requests a second beside 18,000 parked clients.
    Beside,
    /// User memory per idle WebSocket tunnel, 5,000 on one process.
    Tunnels,
    /// CPU per GiB passed through, beside HAProxy in TCP mode.
    Pass,
    /// User memory per parked client over TLS, 10,000 on one process.
    TlsParked,
    /// CPU per request over TLS: 64 keep-alive clients, 1 KiB.
    TlsKeepalive,
    /// CPU per full TLS 1.3 handshake, with one request each.
    TlsHandshakes,
    /// What access log and metrics cost per request.
    Logs,
    /// What 100,000 denied networks cost a connection.
    Deny,
    /// What it costs per request to let in who was let in before.
    Authorize,
    /// gunicorn's normal clients beside a crowd of slow ones.
    Gunicorn,
    /// 100,000 parked clients over several processes.
    Crowd,
    /// 1,000,000 parked clients, if the machine holds them; only when it is asked for.
    Million,
}

/// How long a measurement takes.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Seconds of one round under load.
    pub(crate) seconds: u64,
    /// Whether this is only to see that everything works: crowds are small, too.
    pub(crate) quick: bool,
}

impl Length {
    /// So many clients, or a tenth of them.
    fn crowd(self, clients: usize) -> usize {
        if self.quick { clients / 10 } else { clients }
    }
}

/// So many milliseconds.
const fn millis(count: u64) -> std::time::Duration {
    std::time::Duration::from_millis(count)
}

impl Row {
    /// What is measured when no row is named: all but those that need a whole machine.
    pub(crate) fn usual() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|&row| row != Self::Million).collect()
    }

    /// Its name on the command line and in the document.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Its heading in the document.
    pub(crate) fn heading(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().cloned());
        help.map(|help| help.to_string()).unwrap_or_default()
    }

    /// Measures it.
    pub(crate) fn measure(self, stand: &Stand, length: Length) -> Outcome<Report> {
        match (self, Work::of(self)) {
            (_, Some(work)) => work.measure(stand, length),
            (Self::Parked, _) => parked::measure(stand, length),
            (Self::Dribble, _) => dribble::measure(stand, length),
            (Self::Beside, _) => beside::measure(stand, length),
            (Self::Tunnels, _) => tunnels::measure(stand, length),
            (Self::Pass, _) => pass::measure(stand, length),
            (Self::TlsParked, _) => tls_parked::measure(stand, length),
            (Self::Logs, _) => logs::measure(stand, length),
            (Self::Deny, _) => deny::measure(stand, length),
            (Self::Authorize, _) => authorize::measure(stand, length),
            (Self::Gunicorn, _) => gunicorn::measure(stand, length),
            (Self::Million, _) => crowd::measure(stand, length, 1_000_000),
            (_, None) => crowd::measure(stand, length, 100_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_and_a_heading() {
        for &row in Row::value_variants() {
            assert!(!row.name().is_empty() && !row.heading().is_empty(), "{row:?}");
        }
        assert!(!Row::usual().contains(&Row::Million));
    }
}
