//! A pool that runs short: grants by rank, and the slowest holders yield (law 5).

use base::id::{ClientId, ExchangeId};
use base::limits;
use base::time::Instant;
use driver::Driver;
use exchange::{Exchange, Mishap, Phase};
use pool::Rank;

use crate::client::{Client, Patience};
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::spool::Relief;
use crate::turn::Worker;
use crate::upstream::User;

impl<D: Driver> Worker<D> {
    /// Gives free buffers to those who wait, the most urgent first.
    pub(crate) fn grant_buffers(&mut self) {
        while let Some((token, rank)) = self.pool.next_in_line() {
            let id = ExchangeId(token);
            if rank >= Rank::Client && self.gives_way(id) && !self.suffices_for_more(rank) {
                return;
            }
            let Some((_, promise)) = self.pool.next_granted() else { return };
            if let Some(tunnel) = self.tunnel_of(token) {
                self.tunnel_granted(tunnel, promise);
                continue;
            }
            self.witness(Event::BufferGranted, id);
            if self.awaits_reading(id) {
                self.read_back_granted(id, promise);
                continue;
            }
            let Some(exchange) = self.exchanges.get_mut(token) else {
                self.pool.forgive(promise);
                continue;
            };
            match exchange.phase() {
                Some(Phase::Arriving | Phase::Collecting) => {
                    exchange.granted = Some(promise);
                    self.go_on_collecting(id);
                }
                Some(Phase::Leased | Phase::Pending | Phase::Draining) => {
                    match exchange.lease_mut() {
                        Some(lease) if lease.promise.is_none() => lease.promise = Some(promise),
                        _ => self.pool.forgive(promise),
                    }
                    self.go_on_responding(id);
                }
                _ => self.pool.forgive(promise),
            }
        }
    }

    /// Whether the request that is finished first could take all that one may, and others of
    /// this rank would still find something.
    fn suffices_for_more(&self, rank: Rank) -> bool {
        self.pool.spare(rank) > self.plan.exchange_memory / self.pool.buffer_bytes()
    }

    /// A request that waited for a buffer has one promised: what stopped there is tried again.
    fn go_on_collecting(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        if !exchange.awaits_room() {
            return self.receive_request(id);
        }
        // The proxy takes what it needs from the pool itself: nobody comes in between.
        if let Some(promise) = exchange.granted.take() {
            self.pool.forgive(promise);
        }
        self.collect(id, 0, Rank::Send);
    }

    /// The same for a response.
    pub(crate) fn go_on_responding(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        if !exchange.awaits_room() {
            return self.receive_response(id);
        }
        if let Some(promise) = exchange.lease_mut().and_then(|lease| lease.promise.take()) {
            self.pool.forgive(promise);
        }
        self.respond(id, Some(0), Rank::Send);
    }

    /// When somebody has waited too long, those who hold buffers and move least go to the spool,
    /// or, where that frees nothing, are ended, one by one, until the wait is over.
    pub(crate) fn relieve_pressure(&mut self) {
        self.grant_buffers();
        if self.now < self.relieve_at {
            return;
        }
        for _ in 0..limits::YIELDS_PER_ROUND {
            let Some(since) = self.pool.oldest_wait() else { return };
            if self.now.since(since) < limits::BUFFER_PATIENCE {
                return;
            }
            // Looking for somebody may take long: not in every round.
            self.relieve_at = self.now + limits::PRESSURE_PAUSE;
            match self.spool_slowest() {
                Relief::Found => {}
                // The disk is slow, which is nobody's fault; unless it hangs.
                Relief::DiskBusy if self.now.since(since) < limits::DISK_PATIENCE => return,
                Relief::DiskBusy | Relief::None => {
                    let (mishap, reason) = (Mishap::PoolShort, CloseReason::Pressure);
                    match self.slowest_holder() {
                        Some(User::Exchange(slowest)) => self.mishap(slowest, mishap, reason),
                        Some(User::Tunnel(slowest)) => self.tunnel_mishap(slowest, mishap, reason),
                        None => return,
                    }
                }
            }
            self.grant_buffers();
        }
    }

    /// Sends what one slow exchange holds to the spool, which harms nobody: so those too that
    /// wait for a buffer themselves.
    fn spool_slowest(&mut self) -> Relief {
        if !self.may_spool() {
            return Relief::None;
        }
        for class in [Patience::Body, Patience::Write, Patience::Queue] {
            let Some((_, slowest)) = self.longest(class, Exchange::is_spoolable) else { continue };
            match self.spool_slow(slowest) {
                Relief::None => {}
                relief => return relief,
            }
        }
        // Nobody is slow: then even what moves may come from disk.
        let moving = self.first(Patience::Write, Exchange::is_spoolable);
        moving.map_or(Relief::None, |(_, id)| self.spool_slow(id))
    }

    /// Among those who hold buffers and keep us waiting, the one that has not moved for longest:
    /// requests on their way in before responses on their way out. If nobody does, and nothing
    /// is under way that will free a buffer, the requests that wait for one block each other:
    /// then one of them must go.
    fn slowest_holder(&mut self) -> Option<User> {
        let head = self.longest(Patience::Head, may_yield);
        let body = self.longest(Patience::Body, may_yield);
        let arriving = match (head, body) {
            (Some(head), Some(body)) => Some(if head.0 >= body.0 { head } else { body }),
            (one, other) => one.or(other),
        };
        if let Some((_, arriving)) = arriving {
            return Some(User::Exchange(arriving));
        }
        let taking = self.longest(Patience::Write, may_yield);
        match (taking, self.slowest_tunnel()) {
            (taking, Some((still, id))) if taking.is_none_or(|taking| taking.0 < still) => {
                return Some(User::Tunnel(id));
            }
            _ => {}
        }
        let slow = taking.or_else(|| self.longest(Patience::Stream, may_yield));
        let stuck =
            || if self.is_stuck() { self.longest(Patience::Queue, may_yield) } else { None };
        slow.or_else(stuck).map(|(_, id)| User::Exchange(id))
    }

    /// Whether no exchange is in a state that ends without another buffer for a request.
    fn is_stuck(&self) -> bool {
        let moving =
            [Phase::Authorizing, Phase::Ready, Phase::Leased, Phase::Pending, Phase::Draining];
        let moving = moving.iter().map(|&phase| self.counters.exchanges[phase as usize].get());
        // Event streams may be silent for as long as they like. A tunnel that holds buffers gives
        // them back within a moment, or is slow, and yields.
        self.tunnelled == 0 && moving.sum::<u64>() <= u64::from(self.streams)
    }

    /// The first of a class that may be made to yield, unless it moved a moment ago: then nobody
    /// is slow.
    fn longest(
        &mut self,
        patience: Patience,
        may: fn(&Exchange) -> bool,
    ) -> Option<(u32, ExchangeId)> {
        let first = self.first(patience, may);
        first.filter(|&(still, _)| u128::from(still) >= limits::BUFFER_PATIENCE.as_millis())
    }

    /// The first of a class that may be made to yield, and for how many milliseconds it has not
    /// moved.
    fn first(
        &mut self,
        patience: Patience,
        may: fn(&Exchange) -> bool,
    ) -> Option<(u32, ExchangeId)> {
        let mut at: Option<ClientId> = self.clients.first(patience);
        while let Some(client) = at {
            let exchange = self.clients.get(client).and_then(Client::exchange);
            if let Some(id) = exchange
                && !(self.favoured.is_some_and(|(favoured, _)| favoured == id)
                    && self.pool.is_waiting(id.0))
                && self.exchanges.get(id.0).is_some_and(may)
            {
                return Some((self.clients.armed_for(patience, client, self.now), id));
            }
            at = self.clients.after(patience, client);
        }
        None
    }

    /// While requests wait for a lease, no client may hold one by taking nothing of its response
    /// (law 4): where the spool has no room for what it brings, it is given up.
    pub(crate) fn free_stalled_leases(&mut self) {
        if self.now < self.stalls_at || self.stalled_leases_end().is_none() {
            return;
        }
        self.stalls_at = self.now + limits::STALL_PATIENCE / 4;
        for _ in 0..limits::YIELDS_PER_ROUND {
            let Some(client) = self.longest_stalled() else { return };
            let most = u32::try_from(limits::STALL_PATIENCE.as_millis()).unwrap_or(u32::MAX);
            let Some(exchange) = self.clients.get(client).and_then(Client::exchange) else {
                return;
            };
            if self.clients.armed_for(Patience::Write, client, self.now) < most {
                return;
            }
            if !self.stalls_no_longer(exchange) {
                self.mishap(exchange, Mishap::ClientSlow, CloseReason::Stalled);
            }
        }
    }

    /// The client that has taken nothing for longest while its response stalls.
    fn longest_stalled(&mut self) -> Option<ClientId> {
        let mut at = self.clients.first(Patience::Write);
        while let Some(client) = at {
            let exchange = self.clients.get(client).and_then(Client::exchange);
            let lease = exchange.and_then(|id| self.exchanges.get(id.0)?.lease());
            // An event stream keeps no lease from anybody.
            let lease = lease.filter(|lease| !lease.pinned);
            let connection = lease.map(|lease| lease.connection);
            if connection.and_then(|id| self.upstreams.get(id)).is_some_and(|up| up.stalled) {
                return Some(client);
            }
            at = self.clients.after(Patience::Write, client);
        }
        None
    }

    /// When stalled leases are looked at again: soon while requests wait for one.
    pub(crate) fn stalled_leases_end(&self) -> Option<Instant> {
        let waits = self.counters.exchanges[Phase::Ready as usize].get() > 0;
        let drains = self.counters.exchanges[Phase::Draining as usize].get() > 0;
        (waits && drains).then_some(self.stalls_at.max(self.now))
    }
}

/// Whether ending the exchange would free a buffer without wasting a server's work: it holds no
/// lease, or its client takes nothing of what the lease brought.
pub(crate) fn may_yield(exchange: &Exchange) -> bool {
    let idle = match exchange.phase() {
        Some(Phase::Arriving | Phase::Collecting | Phase::Delivering) => true,
        Some(Phase::Draining) => exchange.sending || !exchange.rest.is_empty(),
        _ => false,
    };
    idle && exchange.holds_buffers()
}
