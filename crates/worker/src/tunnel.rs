//! Tunnels: what becomes of an exchange once its two sides speak a protocol of their own.
//!
//! Each direction is received while its receiver is behind by little, and sent at once; an end is
//! passed on behind the last byte, a failure at once and to both. A tunnel of which nothing is
//! under way owns nothing but its record.

use base::id::{ClientId, ConnectionId, ExchangeId, TunnelId};
use base::limits;
use driver::{Driver, Received, Sent, Socket};
use exchange::{Mishap, Outcome, Phase, Tunnel, Way, outcome};
use pool::{Fill, Promise};

use crate::client::{Client, ClientState, Patience};
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::orders::Life;
use crate::turn::Worker;
use crate::upstream::{Ending, Progress, User};

impl<D: Driver> Worker<D> {
    /// The server switched protocols. As many may be pinned as may be: then the client is told
    /// that instead, and nothing is switched.
    pub(crate) fn switch(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let (began, lease) = (exchange.began, exchange.lease());
        let Some(connection) = lease.map(|lease| lease.connection) else { return };
        self.bus.answered(connection);
        self.unspool(id);
        if !self.take_pin(id, false) {
            return;
        }
        // That is all there is of HTTP here.
        self.counters.requests[0].increment();
        self.counters.request_seconds.observe(self.now.since(began));
        self.begin_tunnel(id);
    }

    /// The exchange, whose connection is pinned, becomes a tunnel, and its record free.
    pub(crate) fn begin_tunnel(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some((_, tunnel)) = exchange.switches(&mut self.pool) else { return };
        let (client, connection) = (tunnel.client, tunnel.connection);
        let (sending, buffers) = (tunnel.down.sending, tunnel.buffers());
        let tunnel = match self.tunnels.insert(tunnel) {
            Ok(index) => TunnelId(index),
            Err(mut tunnel) => {
                debug_assert!(false, "more tunnels than pinned connections");
                tunnel.give_up(&mut self.pool);
                self.end_exchange(id);
                self.reset_client(client, CloseReason::Upstream);
                return self.part_from(connection, true);
            }
        };
        self.tunnelled += buffers;
        let passes = self.bus.passes(connection);
        self.counters.tunnels[usize::from(passes)].increment();
        self.counters.exchanges[Phase::Tunnel as usize].increment();
        self.account_tunnel(id, tunnel);
        self.end_exchange(id);
        self.clients.set_state(client, ClientState::Tunnel(tunnel));
        self.clients.disarm(client);
        if sending {
            self.clients.arm(client, Patience::Write, self.now);
        }
        if let Some(upstream) = self.upstreams.get(connection) {
            upstream.user = Some(User::Tunnel(tunnel));
        }
        self.upstreams.arm(connection, Progress::Tunnel, self.now);
        for way in Way::BOTH {
            self.send_flow(tunnel, way);
            self.ask_more(tunnel, way);
        }
    }

    /// Something can be received of this direction's sender.
    pub(crate) fn tunnel_readable(&mut self, id: TunnelId, way: Way) {
        self.receive_flow(id, way, None);
    }

    /// The receiver's transport took some of what it was given, or has room again.
    pub(crate) fn tunnel_took(&mut self, id: TunnelId, way: Way, bytes: u32) {
        let Some(tunnel) = self.tunnels.get_mut(id.0) else { return };
        let (client, flow) = (tunnel.client, tunnel.flow_mut(way));
        flow.sending = false;
        if way == Way::Down {
            self.clients.disarm(client);
        }
        self.taken(id, way, bytes);
        self.note_life(id);
        self.send_flow(id, way);
        self.ask_more(id, way);
    }

    /// A tunnel that waited for a buffer has one promised.
    pub(crate) fn tunnel_granted(&mut self, id: TunnelId, promise: Promise) {
        let token = self.token(id);
        let Some(tunnel) = self.tunnels.get_mut(id.0) else {
            return self.pool.forgive(promise);
        };
        let Some(way) = tunnel.starved() else { return self.pool.forgive(promise) };
        self.witness_tunnel(Event::BufferGranted);
        let Some(tunnel) = self.tunnels.get_mut(id.0) else {
            return self.pool.forgive(promise);
        };
        tunnel.flow_mut(way).starved = false;
        if let Some(other) = tunnel.starved() {
            self.pool.wait(token, other.rank(), self.now);
        }
        self.receive_flow(id, way, Some(promise));
    }

    /// Whose wait for a buffer this is, if it is a tunnel's: their numbers follow those of
    /// exchanges.
    pub(crate) fn tunnel_of(&self, token: u32) -> Option<TunnelId> {
        token.checked_sub(self.exchanges.capacity()).map(TunnelId)
    }

    const fn token(&self, id: TunnelId) -> u32 {
        self.exchanges.capacity() + id.0
    }

    /// Receives what is there of a direction, and passes it on.
    fn receive_flow(&mut self, id: TunnelId, way: Way, mut promise: Option<Promise>) {
        let most = self.most_behind();
        let socket = self.sender(id, way);
        let (Some(tunnel), Some(socket)) = (self.tunnels.get_mut(id.0), socket) else {
            return self.settle_promise(promise);
        };
        let flow = tunnel.flow_mut(way);
        let least = u16::from(promise.is_some());
        let fresh = flow.offer(most).max(least);
        let room =
            self.pool.room(&flow.chain) + usize::from(fresh) * self.pool.buffer_bytes() as usize;
        if room == 0 {
            // It was asked for more when more was allowed.
            return self.ask_more(id, way);
        }
        let before = flow.chain.buffers();
        let fill = Fill { fresh, rank: way.rank(), headroom: 0 };
        let received =
            self.driver.receive(socket, &mut self.pool, &mut flow.chain, fill, &mut promise);
        self.tunnelled += flow.chain.buffers() - before;
        if let Received::Bytes(bytes) = received {
            flow.received(bytes, room);
        }
        self.settle_promise(promise);
        match received {
            Received::Bytes(bytes) => {
                if way == Way::Up {
                    self.counters.client_bytes_in.add(u64::from(bytes));
                    self.ledger.tunnel_received(id, bytes);
                }
                self.note_life(id);
                self.send_flow(id, way);
                self.ask_more(id, way);
            }
            Received::Nothing => self.ask_more(id, way),
            Received::NoBuffer => self.wait_for_tunnel_buffer(id, way),
            // Behind its last word that was in order came one that was not: that is no end.
            Received::Ended if self.driver.failure(socket).is_some() => self.end_broke(id, way),
            Received::Ended => {
                if let Some(tunnel) = self.tunnels.get_mut(id.0) {
                    tunnel.flow_mut(way).ended = true;
                }
                self.note_life(id);
                self.send_flow(id, way);
            }
            Received::Failed(_) => self.end_broke(id, way),
        }
    }

    fn settle_promise(&mut self, promise: Option<Promise>) {
        if let Some(promise) = promise {
            self.pool.forgive(promise);
        }
    }

    /// No buffer could be lent: nothing is received of this sender until one is granted.
    fn wait_for_tunnel_buffer(&mut self, id: TunnelId, way: Way) {
        let token = self.token(id);
        let Some(tunnel) = self.tunnels.get_mut(id.0) else { return };
        tunnel.flow_mut(way).starved = true;
        let urgent = tunnel.starved().unwrap_or(way);
        self.pool.wait(token, urgent.rank(), self.now);
    }

    /// Gives the receiver what came for it, and behind that the sender's end.
    fn send_flow(&mut self, id: TunnelId, way: Way) {
        loop {
            let socket = self.receiver(id, way);
            let (Some(tunnel), Some(socket)) = (self.tunnels.get_mut(id.0), socket) else { return };
            let flow = tunnel.flow_mut(way);
            if flow.sending {
                return;
            }
            let unsent = self.pool.cursor(&flow.chain);
            if unsent.left() == 0 {
                return self.pass_on_end(id, way, socket);
            }
            match self.driver.send(socket, &mut self.pool, &unsent, false) {
                Sent::Now(bytes) => self.taken(id, way, bytes),
                Sent::Later => {
                    flow.sending = true;
                    let (client, connection) = (tunnel.client, tunnel.connection);
                    return match way {
                        Way::Down => self.clients.arm(client, Patience::Write, self.now),
                        Way::Up => self.upstreams.arm(connection, Progress::Response, self.now),
                    };
                }
                Sent::Failed(_) => return self.end_broke(id, way.back()),
            }
        }
    }

    /// The receiver's transport accepted `bytes`; empty buffers go back at once.
    fn taken(&mut self, id: TunnelId, way: Way, bytes: u32) {
        let Some(tunnel) = self.tunnels.get_mut(id.0) else { return };
        let chain = &mut tunnel.flow_mut(way).chain;
        let before = chain.buffers();
        self.pool.consume(chain, bytes);
        self.tunnelled -= before - chain.buffers();
        if way == Way::Down {
            self.counters.client_bytes_out.add(u64::from(bytes));
            self.ledger.tunnel_sent(id, bytes);
        }
    }

    /// The receiver has all that came: it is told if that was all.
    fn pass_on_end(&mut self, id: TunnelId, way: Way, receiver: Socket) {
        let Some(tunnel) = self.tunnels.get_mut(id.0) else { return };
        if !tunnel.flow(way).may_pass_on_end() {
            return;
        }
        tunnel.flow_mut(way).passed_on = true;
        let over = tunnel.is_over();
        self.driver.shutdown(receiver);
        if over {
            self.end_tunnel(id, CloseReason::Done, false);
        } else {
            self.note_life(id);
        }
    }

    /// Listens to this direction's sender, unless its receiver is too far behind.
    fn ask_more(&mut self, id: TunnelId, way: Way) {
        let most = u32::from(self.most_behind());
        let socket = self.sender(id, way);
        let (Some(tunnel), Some(socket)) = (self.tunnels.get_mut(id.0), socket) else { return };
        let flow = tunnel.flow_mut(way);
        // Once too far behind, it catches up by a good deal first: few large steps cost less.
        let least = if flow.held { most / 2 + 1 } else { most };
        flow.held = flow.chain.buffers() >= least;
        if !flow.held && !flow.ended && !flow.starved {
            self.driver.arm(socket);
        }
    }

    /// Buffers that a direction may hold now.
    fn most_behind(&self) -> u16 {
        if self.tunnelled < self.pool.size() / 2 {
            limits::TUNNEL_BUFFERS
        } else {
            limits::TUNNEL_BUFFERS_SHORT
        }
    }

    /// Neither end is silent. A server that takes nothing has a deadline of its own all the same. Once
    /// one end has ended, it is the other's turn.
    fn note_life(&mut self, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get(id.0) else { return };
        if !tunnel.up.sending {
            let half_closed = tunnel.up.passed_on || tunnel.down.passed_on;
            let progress = if half_closed { Progress::HalfClosed } else { Progress::Tunnel };
            self.upstreams.arm(tunnel.connection, progress, self.now);
        }
    }

    fn sender(&mut self, id: TunnelId, way: Way) -> Option<Socket> {
        let tunnel = self.tunnels.get(id.0)?;
        match way {
            Way::Up => self.clients.get(tunnel.client).map(|client| client.socket),
            Way::Down => self.upstreams.get(tunnel.connection).map(|upstream| upstream.socket),
        }
    }

    fn receiver(&mut self, id: TunnelId, way: Way) -> Option<Socket> {
        self.sender(id, way.back())
    }

    /// The connection of this direction's sender broke.
    fn end_broke(&mut self, id: TunnelId, way: Way) {
        match way {
            Way::Up => self.tunnel_mishap(id, Mishap::ClientBroke, CloseReason::Aborted),
            Way::Down => self.tunnel_mishap(id, Mishap::ServerBroke, CloseReason::Upstream),
        }
    }

    /// A deadline on the server's side ran out.
    pub(crate) fn tunnel_late(&mut self, id: ConnectionId, progress: Progress) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        let Some(User::Tunnel(tunnel)) = upstream.user else {
            debug_assert!(false, "an idle connection has no deadline");
            return;
        };
        let reason = match progress {
            Progress::Response => CloseReason::Upstream,
            _ if self.life != Life::Serving => CloseReason::Drain,
            _ => CloseReason::Idle,
        };
        self.tunnel_mishap(tunnel, Mishap::ServerSilent, reason);
    }

    /// Does what the table says of a mishap.
    pub(crate) fn tunnel_mishap(&mut self, id: TunnelId, mishap: Mishap, reason: CloseReason) {
        if self.tunnels.get(id.0).is_some() {
            self.witness_tunnel(Event::Mishap(mishap));
        }
        match outcome(Phase::Tunnel, mishap) {
            Outcome::Close => {
                let ends = [Way::Up, Way::Down].map(|way| self.sender(id, way));
                let Some(tunnel) = self.tunnels.get(id.0) else { return };
                // Both have what the other sent: then it is an end like another. Who waits for a
                // buffer, or a place ahead of buffers, has been sent something that nobody has received.
                let silent = matches!(reason, CloseReason::Idle | CloseReason::Drain);
                let stuck = ends.into_iter().flatten().any(|end| self.driver.awaits_place(end));
                let waits = stuck || tunnel.starved().is_some();
                let cut = !silent || tunnel.buffers() > 0 || waits;
                self.end_tunnel(id, reason, cut);
            }
            Outcome::GoOn => {}
            _ => debug_assert!(false, "{mishap:?} in a tunnel"),
        }
    }

    /// Ends both connections; `cut` tells both ends that something is missing.
    pub(crate) fn end_tunnel(&mut self, id: TunnelId, reason: CloseReason, cut: bool) {
        let token = self.token(id);
        let Some(mut tunnel) = self.tunnels.remove(id.0) else { return };
        if self.pool.is_waiting(token) {
            self.pool.leave(token);
        }
        self.tunnelled -= tunnel.buffers();
        tunnel.give_up(&mut self.pool);
        let Tunnel { client, connection, .. } = tunnel;
        self.account_tunnel_end(id, client, reason);
        self.counters.exchanges[Phase::Tunnel as usize].sub(1);
        if cut {
            self.reset_client(client, reason);
        } else {
            self.close_in_order(client, reason);
        }
        self.part_from(connection, cut);
    }

    /// Closes a pinned connection whose client is gone.
    fn part_from(&mut self, connection: ConnectionId, cut: bool) {
        let Some(upstream) = self.upstreams.get(connection) else { return };
        upstream.user = None;
        let socket = upstream.socket;
        if !cut && !self.driver.say_goodbye(socket) {
            // Our last word waits for room.
            upstream.ending = Ending::Parting;
        }
        self.bus.unpin(connection, false);
        if cut {
            self.reset_upstream(connection);
        } else {
            self.close_upstream(connection);
        }
    }

    /// Among the tunnels that hold a buffer because an end takes nothing, the one that has waited
    /// for longest, and for how many milliseconds.
    pub(crate) fn slowest_tunnel(&mut self) -> Option<(u32, TunnelId)> {
        let client = self.slowest_taker();
        let server = self.slowest_server();
        let slowest = match (client, server) {
            (Some(client), Some(server)) if server.0 > client.0 => Some(server),
            (client, server) => client.or(server),
        };
        slowest.filter(|&(still, _)| u128::from(still) >= limits::BUFFER_PATIENCE.as_millis())
    }

    fn slowest_taker(&mut self) -> Option<(u32, TunnelId)> {
        let mut at: Option<ClientId> = self.clients.first(Patience::Write);
        while let Some(client) = at {
            if let Some(tunnel) = self.clients.get(client).and_then(Client::tunnel) {
                return Some((self.clients.armed_for(Patience::Write, client, self.now), tunnel));
            }
            at = self.clients.after(Patience::Write, client);
        }
        None
    }

    fn slowest_server(&mut self) -> Option<(u32, TunnelId)> {
        let mut at: Option<ConnectionId> = self.upstreams.first(Progress::Response);
        while let Some(id) = at {
            if let Some(User::Tunnel(tunnel)) = self.upstreams.get(id).and_then(|up| up.user) {
                return Some((self.upstreams.armed_for(Progress::Response, id, self.now), tunnel));
            }
            at = self.upstreams.after(Progress::Response, id);
        }
        None
    }
}
