//! The way back: the response is read at the server's speed, and the lease ends with its last
//! byte (law 4).

use base::id::{ConnectionId, ExchangeId};
use driver::{ConnectFault, Driver, Received};
use exchange::{Mishap, Proxy, Responded, Room, State, Way};
use pool::Rank;

use crate::counters::CloseReason;
use crate::orders::Life;
use crate::secured::Idle;
use crate::turn::Worker;
use crate::upstream::{Ending, Progress, User};

impl<D: Driver> Worker<D> {
    /// Something can be received from a server.
    pub(crate) fn upstream_readable(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        match upstream.user {
            _ if upstream.ending == Ending::Parted => self.has_parted(id),
            _ if upstream.ending.has_begun() => self.close_upstream(id),
            // An idle connection has nothing to say, but for what TLS has: it ended, or speaks unasked.
            None => match self.driver.absorb(upstream.socket) {
                Idle::Silent | Idle::Part => self.driver.arm(upstream.socket),
                Idle::Over => self.bus.lost(id, self.now),
            },
            Some(User::Exchange(exchange)) => self.receive_response(exchange),
            Some(User::Tunnel(tunnel)) => self.tunnel_readable(tunnel, Way::Down),
        }
    }

    /// The server's end was awaited: this is it, or words that answer nothing, or a false alarm.
    pub(crate) fn has_parted(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        let socket = upstream.socket;
        match self.driver.discard(socket) {
            Received::Nothing => self.driver.arm(socket),
            // Its end came before our last word found room.
            Received::Ended if self.driver.await_rest(socket) => {}
            _ => self.close_upstream(id),
        }
    }

    /// Receives what is there of a response.
    pub(crate) fn receive_response(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let fill = exchange.response_fill(&self.pool);
        let Some((connection, chain, promise)) = exchange.response_chain() else { return };
        let Some(upstream) = self.upstreams.get(connection) else { return };
        let socket = upstream.socket;
        let received = self.driver.receive(socket, &mut self.pool, chain, fill, promise);
        self.keep_no_promise(id);
        match received {
            Received::Bytes(bytes) => {
                let progress = self.awaits_of(id);
                self.upstreams.arm(connection, progress, self.now);
                self.respond(id, Some(bytes), Rank::Upstream);
            }
            Received::Nothing => self.driver.arm(socket),
            Received::NoBuffer => self.wait_for_response_buffer(id),
            Received::Ended if self.has_begun_to_respond(id) => {
                self.respond(id, None, Rank::Upstream);
            }
            Received::Ended | Received::Failed(_) => self.upstream_broke(connection),
        }
    }

    /// No buffer could be lent. One that is awaited to read from the spool comes first, and both
    /// go on with it.
    fn wait_for_response_buffer(&mut self, id: ExchangeId) {
        if !self.awaits_reading(id) {
            self.pool.wait(id.0, Rank::Upstream, self.now);
        }
    }

    fn has_begun_to_respond(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id.0).is_some_and(|exchange| match &exchange.state {
            State::Leased { reply, .. } | State::Pending { reply, .. } => !reply.input.is_empty(),
            State::Draining { .. } => true,
            _ => false,
        })
    }

    /// Shows the proxy what came (`None`: that the server ended), and does what it says.
    pub(crate) fn respond(&mut self, id: ExchangeId, fresh: Option<u32>, rank: Rank) {
        let draining = self.life != Life::Serving;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(record) = self.clients.get(exchange.client) else { return };
        let was_draining = matches!(exchange.state, State::Draining { .. });
        let begun = exchange.has_begun_to_deliver();
        let mut room = Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules: &self.rules[exchange.listener.index()],
            rank,
            peer: record.peer(),
            tls: None,
            date: self.date.text(),
            draining,
            request_ids: &mut self.request_ids,
            admission: None,
            note: None,
        };
        let responded = match fresh {
            Some(fresh) => self.proxy.respond(exchange, fresh, &mut room),
            None => self.proxy.respond_end(exchange, &mut room),
        };
        let connection = exchange.lease().map(|lease| lease.connection);
        if !was_draining && let State::Draining { lease, .. } = &exchange.state {
            let pins = exchange.facts.event_stream && responded == Responded::Incomplete;
            self.bus.answered(lease.connection);
            // Of the request nothing is needed any more.
            self.unspool(id);
            self.note_phase(id);
            self.stop_upload(id);
            // While the rest of a body was awaited, its server had no deadline; what it said waited for a
            // buffer (seed 7100052581).
            if let Some(connection) = connection {
                let progress = self.awaits_of(id);
                self.upstreams.arm_anew(connection, progress, self.now);
            }
            if pins && !self.pin(id, begun) {
                return;
            }
        }
        match responded {
            Responded::Incomplete => {
                self.deliver(id);
                self.receive_more(id);
            }
            Responded::Starved => {
                if let (None, Some(connection)) = (fresh, connection) {
                    // The server sent everything: it is not to blame for a pause.
                    self.upstreams.disarm(connection);
                }
                self.wait_for_response_buffer(id);
            }
            Responded::Whole { reusable } => self.end_response(id, reusable),
            Responded::Switched => self.switch(id),
            Responded::Broken(_) => {
                self.mishap(id, Mishap::ServerBroke, CloseReason::Upstream);
            }
        }
    }

    /// The last byte was read: the server's connection is free before the client is served.
    fn end_response(&mut self, id: ExchangeId, reusable: bool) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let trailers = u64::from(exchange.facts.response_trailer_bytes);
        self.counters.response_trailer_bytes_dropped.add(trailers);
        let client = exchange.client;
        if let Some(lease) = exchange.response_ends(&mut self.pool) {
            self.end_lease(&lease, true, reusable);
            if lease.pinned
                && let Some(record) = self.clients.get(client)
            {
                // Its end was awaited for the stream's sake.
                self.driver.disarm(record.socket);
            }
        }
        self.note_phase(id);
        self.deliver(id);
    }

    /// Asks for more of the response, unless the client is behind by too much and the spool has
    /// no room.
    pub(crate) fn receive_more(&mut self, id: ExchangeId) {
        let most = self.response_memory;
        let behind = self.spill_response(id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(lease) = exchange.lease() else { return };
        let (connection, pinned) = (lease.connection, lease.pinned);
        let Some(upstream) = self.upstreams.get(connection) else { return };
        upstream.stalled = behind >= most;
        if upstream.stalled {
            // The server waits for us now, not we for it.
            self.upstreams.disarm(connection);
        } else {
            let socket = upstream.socket;
            self.driver.arm(socket);
            if pinned {
                let progress = self.awaits_of(id);
                self.upstreams.arm(connection, progress, self.now);
            }
        }
    }

    /// The client has caught up: a stalled response goes on.
    pub(crate) fn receive_again(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(lease) = exchange.lease() else { return };
        let connection = lease.connection;
        let waits = self.pool.is_waiting(id.0) && !self.awaits_reading(id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        if waits && exchange.lease().is_some_and(|lease| lease.promise.is_some()) {
            // What the client took became the buffer that the response waits for (law 5).
            self.pool.leave(id.0);
            return self.go_on_responding(id);
        }
        let behind = exchange.deliverable(&self.pool).map_or(0, |unsent| unsent.left());
        let spooled = exchange.spooled.is_some();
        let stalled = self.upstreams.get(connection).is_some_and(|upstream| upstream.stalled);
        if stalled && (spooled || behind <= self.response_memory / 2) {
            let progress = self.awaits_of(id);
            self.upstreams.arm(connection, progress, self.now);
            self.receive_more(id);
        }
    }

    /// The transport says that a server's connection broke. What it sent before is still read.
    pub(crate) fn upstream_failed(&mut self, id: ConnectionId) {
        match self.upstreams.get(id).and_then(|upstream| upstream.user) {
            Some(User::Exchange(exchange)) => self.receive_response(exchange),
            Some(User::Tunnel(tunnel)) => {
                self.tunnel_mishap(tunnel, Mishap::ServerBroke, CloseReason::Upstream);
            }
            None => self.upstream_broke(id),
        }
    }

    /// The server's connection broke, or ended before a byte of the response came.
    pub(crate) fn upstream_broke(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        if upstream.ending.has_begun() {
            return self.close_upstream(id);
        }
        let Some(exchange) = upstream.exchange() else {
            return self.bus.lost(id, self.now);
        };
        let left_before = !self.has_begun_to_respond(exchange);
        let fresh = self.exchanges[exchange.0].lease().is_some_and(|lease| lease.fresh);
        if left_before && fresh {
            self.bus.broke(id, self.now);
        }
        let mishap = if left_before { Mishap::ServerLeft } else { Mishap::ServerBroke };
        self.mishap(exchange, mishap, CloseReason::Upstream);
    }

    /// A deadline on the server's side ran out.
    pub(crate) fn upstream_late(&mut self, id: ConnectionId, progress: Progress) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        match (progress, upstream.exchange()) {
            (Progress::Parting, _) => self.close_upstream(id),
            (Progress::Connect, _) => self.connect_failed(id, ConnectFault::TimedOut),
            (Progress::Tunnel | Progress::HalfClosed | Progress::Response, None) => {
                self.tunnel_late(id, progress);
            }
            (Progress::Event, Some(exchange)) if self.life != Life::Serving => {
                self.mishap(exchange, Mishap::ServerSilent, CloseReason::Drain);
            }
            (Progress::FirstByte | Progress::Response | Progress::Event, Some(exchange)) => {
                self.mishap(exchange, Mishap::ServerSilent, CloseReason::Upstream);
            }
            (Progress::Tunnel | Progress::HalfClosed, Some(_))
            | (Progress::FirstByte | Progress::Event, None) => {
                debug_assert!(false, "an idle connection has no deadline");
            }
        }
    }
}
