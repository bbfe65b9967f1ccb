//! A pool that runs short: grants by rank, and the slowest holders yield (law 5).

use base::id::{ClientId, ExchangeId};
use base::limits;
use driver::Driver;
use exchange::{Mishap, Phase};
use pool::Rank;

use crate::client::{Client, Patience};
use crate::counters::CloseReason;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Gives free buffers to those who wait, the most urgent first.
    pub(crate) fn grant_buffers(&mut self) {
        while let Some((token, promise)) = self.pool.next_granted() {
            let id = ExchangeId(token);
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
    fn go_on_responding(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        if !exchange.awaits_room() {
            return self.receive_response(id);
        }
        if let Some(promise) = exchange.lease_mut().and_then(|lease| lease.promise.take()) {
            self.pool.forgive(promise);
        }
        self.respond(id, Some(0), Rank::Send);
    }

    /// When somebody has waited too long, those who hold buffers without a lease and move
    /// least are ended, one by one, until the wait is over.
    pub(crate) fn relieve_pressure(&mut self) {
        self.grant_buffers();
        for _ in 0..limits::YIELDS_PER_ROUND {
            let Some(since) = self.pool.oldest_wait() else { return };
            if self.now.since(since) < limits::BUFFER_PATIENCE {
                return;
            }
            let Some(slowest) = self.slowest_holder() else { return };
            self.mishap(slowest, Mishap::PoolShort, CloseReason::Pressure);
            self.grant_buffers();
        }
    }

    /// Among those who hold buffers and no lease, the one that has not moved for longest;
    /// requests on their way in before responses on their way out.
    fn slowest_holder(&mut self) -> Option<ExchangeId> {
        let head = self.longest(Patience::Head);
        let body = self.longest(Patience::Body);
        let arriving = match (head, body) {
            (Some(head), Some(body)) => Some(if head.0 >= body.0 { head.1 } else { body.1 }),
            (one, other) => one.or(other).map(|(_, id)| id),
        };
        arriving.or_else(|| self.longest(Patience::Write).map(|(_, id)| id))
    }

    /// The first of a class that may be made to yield, and for how long it has not moved.
    fn longest(&mut self, patience: Patience) -> Option<(u32, ExchangeId)> {
        let mut at: Option<ClientId> = self.clients.first(patience);
        while let Some(client) = at {
            let exchange = self.clients.get(client).and_then(Client::exchange);
            if let Some(id) = exchange
                && self.exchanges.get(id.0).is_some_and(may_yield)
            {
                return Some((self.clients.armed_for(patience, client, self.now), id));
            }
            at = self.clients.after(patience, client);
        }
        None
    }
}

/// Whether ending the exchange would free a buffer without wasting a server's work.
fn may_yield(exchange: &exchange::Exchange) -> bool {
    let without_lease =
        matches!(exchange.phase(), Some(Phase::Arriving | Phase::Collecting | Phase::Delivering));
    without_lease && exchange.holds_buffers()
}
