//! What one worker counts. It alone writes; the master reads at any time.

use base::counter::{Counter, Histogram};

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client ended or reset it while parked.
    Client,
    /// The client left in the middle of an exchange.
    Aborted,
    /// The response was the last one: `Connection: close` or HTTP/1.0.
    Done,
    /// Parked longer than `idle`.
    Idle,
    /// Too slow: `head`, `body_progress` or `write_progress` ran out.
    Timeout,
    /// A request was refused and its framing was in doubt.
    Refused,
    /// Its TLS handshake failed, or did not come to its end in time.
    Tls,
    /// Parked, and closed to let a new client in.
    Reclaimed,
    /// `max_clients` were there (`at_limit = "answer"`).
    Limit,
    /// Its address may not connect (`allow`, `deny`).
    Denied,
    /// Its address is banned (`/bans` of the admin endpoints).
    Banned,
    /// Its address has as many connections as it may (`limits.connections`).
    AddressLimit,
    /// Its address connects too often (`limits.connection_rate`).
    Rate,
    /// It is not trusted with a PROXY header (`proxy_protocol.from`), and one is required.
    Untrusted,
    /// Its PROXY header is malformed.
    ProxyHeader,
    /// The server broke off in the middle of a response.
    Upstream,
    /// The pool ran short and this was the slowest holder.
    Pressure,
    /// It took nothing of its response while others waited for the connection it held.
    Stalled,
    /// The spool's disk failed, and part of its response with it.
    Spool,
    /// The worker drains or stops.
    Drain,
}

impl CloseReason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 20] = [
        Self::Client,
        Self::Aborted,
        Self::Done,
        Self::Idle,
        Self::Timeout,
        Self::Refused,
        Self::Tls,
        Self::Reclaimed,
        Self::Limit,
        Self::Denied,
        Self::Banned,
        Self::AddressLimit,
        Self::Rate,
        Self::Untrusted,
        Self::ProxyHeader,
        Self::Upstream,
        Self::Pressure,
        Self::Stalled,
        Self::Spool,
        Self::Drain,
    ];

    /// The label in `anteroom_clients_closed_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Aborted => "aborted",
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::Reclaimed => "reclaimed",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Banned => "banned",
            Self::AddressLimit => "address_limit",
            Self::Rate => "rate",
            Self::Untrusted => "untrusted",
            Self::ProxyHeader => "proxy_header",
            Self::Upstream => "upstream",
            Self::Pressure => "pressure",
            Self::Stalled => "stalled",
            Self::Spool => "spool",
            Self::Drain => "drain",
        }
    }
}

/// Why accepting paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptPause {
    /// `max_clients` are there.
    Limit,
    /// The system is out of descriptors.
    Descriptors,
    /// The system is out of memory.
    Memory,
}

impl AcceptPause {
    /// Every cause, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Limit, Self::Descriptors, Self::Memory];

    /// The label in `anteroom_accept_pauses_total{cause}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
        }
    }
}

const PHASES: usize = exchange::Phase::ALL.len();

/// The figures of one worker.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Clients here now, parked or active.
    pub clients: Counter,
    /// Clients with an exchange or an incomplete frame now.
    pub clients_active: Counter,
    /// Clients that count against `max_clients` no longer: lingering, or closed but for the
    /// driver's last word. They count in `clients`.
    pub clients_leaving: Counter,
    /// Clients that are closed but for the driver's last word.
    pub clients_closing: Counter,
    /// Clients whose closing lingers now.
    pub clients_lingering: Counter,
    /// Clients accepted.
    pub clients_accepted: Counter,
    /// Clients closed, by [`CloseReason`].
    pub clients_closed: [Counter; CloseReason::ALL.len()],
    /// TLS sessions now: connections of clients and servers that are secured.
    pub tls_sessions: Counter,
    /// Bytes that TLS sessions keep of handshakes that are not over, beside what each may.
    pub tls_parts_bytes: Counter,
    /// Connections of which a record is decrypted ahead of its buffers now.
    pub tls_ahead: Counter,
    /// TLS handshakes that came to their end.
    pub tls_handshakes: Counter,
    /// Those of them that resumed an earlier session.
    pub tls_resumed: Counter,
    /// Sessions with clients that failed, by [`tls::Failure`].
    pub tls_failures: [Counter; tls::Failure::ALL.len()],
    /// Those with servers.
    pub tls_server_failures: [Counter; tls::Failure::ALL.len()],
    /// Pauses of accepting, by [`AcceptPause`].
    pub accept_pauses: [Counter; AcceptPause::ALL.len()],
    /// Buffers in the pool.
    pub buffers: Counter,
    /// Buffers lent now.
    pub buffers_used: Counter,
    /// Buffers promised now, not yet lent.
    pub buffers_promised: Counter,
    /// Fewest buffers that were ever free.
    pub buffers_free_min: Counter,
    /// Waits for a buffer, by [`pool::Rank`].
    pub buffer_waits: [Counter; pool::Rank::ALL.len()],
    /// Exchanges now, by [`exchange::Phase`].
    pub exchanges: [Counter; PHASES],
    /// Responses of the HTTP proxy by class: 1xx to 5xx.
    pub requests: [Counter; 5],
    /// Refusals by status, indexed like [`exchange::Refusal::ALL`].
    pub refusals: [Counter; exchange::Refusal::ALL.len()],
    /// Questions put whether a client may.
    pub authorizations_asked: Counter,
    /// Requests of clients that were let in before, for which nobody was asked.
    pub authorizations_remembered: Counter,
    /// Tunnels begun: by switched protocols, and by connections that are passed through.
    pub tunnels: [Counter; 2],
    /// Requests sent again on a fresh connection.
    pub retries: Counter,
    /// Exchanges of which something went to the spool.
    pub spooled: Counter,
    /// How often a slow exchange went there because the pool was short.
    pub spooled_for_others: Counter,
    /// Bytes written to the spool.
    pub spool_bytes_in: Counter,
    /// Bytes read back from it.
    pub spool_bytes_out: Counter,
    /// Waits for the disk to have done other errands.
    pub spool_waits: Counter,
    /// How often the spool had no room, by [`spool::Full`].
    pub spool_full: [Counter; spool::Full::ALL.len()],
    /// Errands of the disk that failed.
    pub spool_failures: Counter,
    /// Request trailer bytes dropped.
    pub trailer_bytes_dropped: Counter,
    /// Response trailer bytes dropped.
    pub response_trailer_bytes_dropped: Counter,
    /// Bytes received from clients.
    pub client_bytes_in: Counter,
    /// Bytes sent to clients.
    pub client_bytes_out: Counter,
    /// Records of the access log that found the ring full.
    pub access_dropped: Counter,
    /// First byte in to last byte accepted by the kernel.
    pub request_seconds: Histogram,
    /// Lease: first byte written to last byte read.
    pub upstream_seconds: Histogram,
    /// Time in the ready queue.
    pub queue_seconds: Histogram,
}

impl WorkerCounters {
    /// Counts a client's end.
    pub fn closed(&self, reason: CloseReason) {
        self.clients_closed[reason as usize].increment();
    }

    /// Counts a pause of accepting.
    pub fn paused(&self, cause: AcceptPause) {
        self.accept_pauses[cause as usize].increment();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_stands_at_its_own_counter() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.label());
        }
        for (index, cause) in AcceptPause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "{}", cause.label());
        }
    }
}
