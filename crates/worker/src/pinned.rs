//! Event streams: connections that one client keeps for long (law 6).
//!
//! A silent stream holds no buffer and no promise; what comes waits for a buffer at its rank.
//! Its client is not listened to, but for its end: whoever leaves frees the connection at once,
//! and what it sends meanwhile stays with the kernel until the stream is over.

use base::id::{ClientId, ConnectionId, ExchangeId, GroupId};
use base::limits;
use driver::Driver;
use exchange::{Exchange, Mishap, Refusal, State};

use crate::client::{Client, Patience};
use crate::counters::CloseReason;
use crate::plan::Timeouts;
use crate::turn::Worker;
use crate::upstream::Progress;

impl<D: Driver> Worker<D> {
    /// The response that has just begun is an event stream: its connection is pinned. False if
    /// that may not be: the response is not begun then. `begun`: the client was given part of an
    /// interim one, so that it cannot be told.
    pub(crate) fn pin(&mut self, id: ExchangeId, begun: bool) -> bool {
        if !self.take_pin(id, begun) {
            return false;
        }
        self.streams += 1;
        self.keep_no_promise(id);
        let Some(exchange) = self.exchanges.get(id.0) else { return false };
        let (client, lease) = (exchange.client, exchange.lease());
        if let Some(connection) = lease.map(|lease| lease.connection) {
            self.upstreams.arm(connection, Progress::Event, self.now);
        }
        if let Some(record) = self.clients.get(client) {
            let socket = record.socket;
            self.driver.await_end(socket);
        }
        true
    }

    /// Whether a connection of this group that was opened now could be pinned: there is a place
    /// at a server, and a descriptor, if need be that of a parked client.
    pub(crate) fn has_place_to_pin(&mut self, group: GroupId) -> bool {
        self.bus.may_pin(group) && self.has_descriptor_to_pin()
    }

    fn has_descriptor_to_pin(&mut self) -> bool {
        if !self.office.crowd.may_pin() && self.plan.reclaim_parked {
            self.reclaim_one();
        }
        self.office.crowd.may_pin()
    }

    /// The exchange's connection leaves the leases for the pinned ones. If that may not be, the
    /// client is told so, or closed if it cannot be told.
    pub(crate) fn take_pin(&mut self, id: ExchangeId, begun: bool) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return false };
        let Some(lease) = exchange.lease_mut() else { return false };
        let (connection, since) = (lease.connection, lease.since);
        if !self.has_descriptor_to_pin() || self.bus.pin(connection).is_err() {
            if begun {
                self.counters.refusals[Refusal::PinnedFull as usize].increment();
                self.abandon(id, CloseReason::Upstream);
            } else {
                self.refuse(id, Refusal::PinnedFull, None);
            }
            return false;
        }
        if let Some(lease) = self.exchanges.get_mut(id.0).and_then(Exchange::lease_mut) {
            lease.pinned = true;
        }
        // As a lease it has ended, unless it never was one.
        if !self.bus.passes(connection) {
            self.counters.upstream_seconds.observe(self.now.since(since));
        }
        self.count_pinned();
        // It may have taken the last place of a client.
        self.pause_at_limit();
        true
    }

    /// A stream may be silent for long: it keeps no buffer from others meanwhile.
    pub(crate) fn keep_no_promise(&mut self, id: ExchangeId) {
        let lease = self.exchanges.get_mut(id.0).and_then(Exchange::lease_mut);
        if let Some(lease) = lease.filter(|lease| lease.pinned)
            && let Some(promise) = lease.promise.take()
        {
            self.pool.forgive(promise);
        }
    }

    /// What is awaited of a server within its response.
    pub(crate) fn awaits_of(&self, id: ExchangeId) -> Progress {
        match self.exchanges.get(id.0) {
            // What is held back until more of it came is no silence.
            Some(Exchange { state: State::Draining { lease, output, .. }, sending, .. })
                if lease.pinned && (output.is_empty() || *sending) =>
            {
                Progress::Event
            }
            _ => Progress::Response,
        }
    }

    /// The client has all that came: it is not to blame for a pause. One that sent its next
    /// request before the stream began keeps a buffer all the while, which it loses first when
    /// they are short.
    pub(crate) fn caught_up(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let client = exchange.client;
        let pinned = exchange.lease().is_some_and(|lease| lease.pinned);
        if pinned && !exchange.rest.is_empty() {
            self.clients.arm(client, Patience::Stream, self.now);
        } else {
            self.clients.disarm(client);
        }
        self.await_upload(id);
    }

    /// A client ended its direction while it was not listened to otherwise.
    pub(crate) fn client_ended(&mut self, id: ClientId) {
        let Some(exchange) = self.clients.get(id).and_then(Client::exchange) else { return };
        let lease = self.exchanges.get(exchange.0).and_then(Exchange::lease);
        if lease.is_some_and(|lease| lease.pinned) {
            self.mishap(exchange, Mishap::ClientLeft, CloseReason::Aborted);
        }
    }

    /// The stream is over, or its connection. True if that is idle now.
    pub(crate) fn unpin(&mut self, id: ConnectionId, reusable: bool) -> bool {
        self.streams -= 1;
        let idle = self.bus.unpin(id, reusable);
        if idle {
            self.count_pinned();
            self.tell_of_places();
        } else {
            self.close_upstream(id);
        }
        idle
    }

    /// Tells the others how many connections are pinned here: each takes a descriptor that a
    /// client could have.
    pub(crate) fn count_pinned(&self) {
        self.office.crowd.set_pinned(self.plan.worker, self.bus.pinned_here());
    }

    /// In a drain a stream or a tunnel ends when it is silent for a moment: its client comes back to
    /// whoever serves then. One that flows may end by itself.
    pub(crate) fn end_silent_streams(&mut self) {
        let Timeouts { idle, tunnel, half_closed, .. } = self.plan.timeouts;
        for (progress, longest) in [
            (Progress::Event, idle),
            (Progress::Tunnel, tunnel),
            (Progress::HalfClosed, half_closed.min(tunnel)),
        ] {
            self.upstreams.set_length(progress, limits::STREAM_GRACE.min(longest));
        }
    }
}
