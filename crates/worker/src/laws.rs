//! What the laws promise and no table shows: for simulators and tests, as `audit.rs` is.

use std::time::Duration;

use base::id::ConnectionId;
use base::limits;
use base::time::Instant;
use driver::{Driver, Socket};
use exchange::{Exchange, Lease, Phase, State};
use pool::Chain;

use crate::client::{Client, ClientState, Patience};
use crate::orders::Life;
use crate::pressure::may_yield;
use crate::spool::Spool;
use crate::turn::Worker;
use crate::upstream::Ending;

impl<D: Driver> Worker<D> {
    /// How long a short pool may leave everybody alone: the disk is given its time, and every
    /// worker may sleep for a moment.
    pub const RELIEF: Duration = limits::DISK_PATIENCE.saturating_add(Duration::from_secs(1));

    /// Whether each law holds for what the worker has.
    ///
    /// # Errors
    /// The first breach that was found, in words.
    pub fn audit_laws(&self) -> Result<(), String> {
        for (index, exchange) in self.exchanges.iter() {
            let phase = exchange.phase().map_or("over", Phase::label);
            let told = |what: &str| format!("exchange {index}, {phase}: {what}");
            holds_no_empty_buffer(exchange).map_err(told)?;
            can_finish(exchange).map_err(told)?;
            self.is_read_at_once(exchange).map_err(told)?;
        }
        for (index, tunnel) in self.tunnels.iter() {
            for flow in [&tunnel.up, &tunnel.down] {
                if is_empty_buffer(&flow.chain) {
                    return Err(format!("tunnel {index}: an empty buffer is held (law 2)"));
                }
            }
        }
        self.permits_are_used()?;
        self.attempts_end()?;
        self.bounds_hold()?;
        self.drain_goes_on()?;
        self.bus.audit_queues()
    }

    /// Exchanges with a lease whose request lies in the spool, in part or whole: the server waits
    /// for the disk.
    pub fn requests_read_back(&self) -> usize {
        let leased = self.exchanges.iter().filter(|(_, it)| it.phase() == Some(Phase::Leased));
        leased.filter(|(_, it)| it.spooled.is_some()).count()
    }

    /// Tunnels that hold a buffer: something is on its way in them.
    pub fn tunnels_holding(&self) -> usize {
        self.tunnels.iter().filter(|(_, tunnel)| tunnel.buffers() > 0).count()
    }

    /// Whether somebody waits for a buffer.
    pub fn waits_for_buffers(&self) -> bool {
        self.pool.oldest_wait().is_some()
    }

    /// When the drain's time is over, if it has begun.
    pub const fn drains_until(&self) -> Option<Instant> {
        self.drain_ends()
    }

    /// Exchanges that wait until the disk has done an errand.
    pub fn waits_for_disk(&self) -> usize {
        self.spool.as_ref().map_or(0, Spool::waiting)
    }

    /// The sockets of clients whose event streams run: of each the end is awaited.
    pub fn stream_clients(&self) -> impl Iterator<Item = Socket> {
        let streams =
            self.exchanges.iter().filter(|(_, it)| it.lease().is_some_and(|it| it.pinned));
        streams.filter_map(|(_, exchange)| Some(self.clients.get(exchange.client)?.socket))
    }

    /// A lease is never held while its client dawdles: the response is read until as much as may be
    /// is behind (law 4).
    fn is_read_at_once(&self, exchange: &Exchange) -> Result<(), &'static str> {
        let connection = exchange.lease().map(|lease| lease.connection);
        let upstream = connection.and_then(|id| self.upstreams.iter().find(|(it, _)| *it == id));
        if !upstream.is_some_and(|(_, upstream)| upstream.stalled) || exchange.spooled.is_some() {
            return Ok(());
        }
        let behind = exchange.deliverable(&self.pool).map_or(0, |unsent| unsent.left());
        if behind > self.response_memory / 2 { Ok(()) } else { Err("stalled without need (law 4)") }
    }

    /// Whatever holds a permit is a connection, or was one of which the last word is awaited (law 6).
    fn permits_are_used(&self) -> Result<(), String> {
        let there = |id| self.upstreams.iter().any(|(other, _)| other == id);
        let mut held = (0..self.bus.capacity()).map(ConnectionId);
        match held.find(|&id| self.bus.server_of(id).is_some() && !there(id)) {
            Some(id) => Err(format!("connection {} is none, and holds a permit (law 6)", id.0)),
            None => Ok(()),
        }
    }

    /// An attempt to connect has an end (law 6).
    fn attempts_end(&self) -> Result<(), String> {
        let attempts = self
            .upstreams
            .iter()
            .filter(|(id, upstream)| upstream.ending == Ending::No && self.bus.is_connecting(*id));
        for (id, upstream) in attempts {
            if !upstream.has_deadline() {
                return Err(format!("connection {}: nothing ends the attempt (law 6)", id.0));
            }
        }
        Ok(())
    }

    /// Exchanges with a lease that wait for a buffer: the server may have said everything.
    pub fn responses_wait_for_buffers(&self) -> usize {
        let leased = self.exchanges.iter().filter(|(_, it)| it.lease().is_some());
        leased.filter(|(index, _)| self.pool.is_waiting(*index)).count()
    }

    /// Leased connections of which TLS holds something that nobody outside sees: encrypted, for which
    /// there was no room yet, or decrypted, for which there was no buffer.
    pub fn leases_within_tls(&self) -> usize {
        let leased = self.upstreams.iter().filter(|(_, it)| it.exchange().is_some());
        leased.filter(|(_, it)| self.driver.has_under_way(it.socket)).count()
    }

    /// A client that holds a buffer and does not move, while somebody waits for one for long: its
    /// number, and for how long. It may have been in no state to yield until a moment ago; if it
    /// is one for as long again, nobody yields (law 5).
    pub fn holds_in_vain(&self) -> Option<(u32, Duration)> {
        let waits = |since| self.now.since(since) > Self::RELIEF;
        self.pool.oldest_wait().filter(|&since| waits(since))?;
        for (index, client) in self.clients.table.iter() {
            let (Some(id), Some(still)) = (client.exchange(), self.still(client)) else { continue };
            let waits = self.pool.is_waiting(id.0);
            let yields = self.exchanges.get(id.0).is_some_and(may_yield);
            if yields && !waits && still > Self::RELIEF {
                return Some((index, still));
            }
        }
        None
    }

    /// For how long a client that is to blame for a pause has not moved.
    fn still(&self, client: &Client) -> Option<Duration> {
        let blamed = [Patience::Head, Patience::Body, Patience::Write];
        blamed.into_iter().find_map(|patience| {
            let length = self.clients.deadlines.length(patience as usize);
            Some(length.saturating_sub(client.left(patience, self.now)?))
        })
    }

    /// No more clients than `max_clients`, where nobody else lets any in (law 3).
    fn bounds_hold(&self) -> Result<(), String> {
        let alone = self.office.workers() == 1 && self.life == Life::Serving;
        let here = self.counters.clients.get() - self.counters.clients_leaving.get();
        let most = self.plan.max_clients;
        if alone && here > u64::from(most) {
            return Err(format!("{here} clients are here, at most {most} may be (law 3)"));
        }
        Ok(())
    }

    /// A drain ends in time, and parked clients sooner.
    fn drain_goes_on(&self) -> Result<(), String> {
        let Life::Draining { until } = self.life else { return Ok(()) };
        if self.now >= until {
            return Err("the drain's time is over, and the worker is not".to_owned());
        }
        for (index, client) in self.clients.table.iter() {
            let idle = [Patience::Idle, Patience::New, Patience::Handshake];
            let left = idle.into_iter().find_map(|patience| client.left(patience, self.now));
            let parked = client.state == ClientState::Parked;
            if parked && left.is_none_or(|left| left > limits::DRAIN_GRACE) {
                return Err(format!("client {index} is parked in a drain, and has {left:?} left"));
            }
        }
        Ok(())
    }
}

/// A buffer goes back when its last byte is read (law 2): what is sent holds none that is empty.
/// (What arrives may: there the next byte goes.)
fn holds_no_empty_buffer(exchange: &Exchange) -> Result<(), &'static str> {
    let holds = match &exchange.state {
        State::Leased { lease, request, reply, .. } => {
            let arrives = exchange.upload.is_some();
            is_empty_buffer(&reply.early) || (!lease.kept && !arrives && is_empty_buffer(request))
        }
        State::Pending { reply, .. } => is_empty_buffer(&reply.early),
        State::Draining { output, .. } | State::Delivering { output } => is_empty_buffer(output),
        _ => false,
    };
    if holds { Err("it holds a buffer with nothing in it (law 2)") } else { Ok(()) }
}

/// Whether all that the chain holds was read.
fn is_empty_buffer(chain: &Chain) -> bool {
    matches!((chain.buffers(), chain.len()), (1.., 0))
}

/// Whoever holds a lease has a buffer for what the server says next (law 5).
fn can_finish(exchange: &Exchange) -> Result<(), &'static str> {
    let finishes =
        |lease: &Lease, chain: &Chain| lease.pinned || lease.promise.is_some() || !chain.is_empty();
    let can = match &exchange.state {
        State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. } => {
            finishes(lease, &reply.input) || !reply.early.is_empty()
        }
        State::Draining { lease, output, .. } => finishes(lease, output),
        _ => true,
    };
    if can { Ok(()) } else { Err("its lease came without a buffer (law 5)") }
}
