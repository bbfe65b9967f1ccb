//! What one address may have, and how slow a client may be: the security proxy's bounds, carried
//! out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::id::{ExchangeId, ListenerId};
use driver::Driver;
use exchange::{Exchange, Phase, Refusal, Trusts};
use proxies::security::{Limits, Over};

use crate::client::{Client, ClientState};
use crate::counters::CloseReason;
use crate::plan::Plan;
use crate::turn::Worker;

/// How fast a request must arrive at least, beside the deadlines, which each piece renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// Bytes a second.
    pub bytes: u32,
    /// Over how long that is looked at, from the request's first byte on.
    pub over: Duration,
}

/// The connections of this worker that are counted, by address. What a worker leaves behind when it
/// fails is counted no longer.
pub(crate) struct Counted {
    limits: Option<Arc<Limits>>,
    /// Of each listener. The connections of a trusted proxy carry the requests of many and are no
    /// address's.
    trusted: Box<[Option<Arc<dyn Trusts>>]>,
}

impl Counted {
    pub(crate) fn new(plan: &Plan) -> Self {
        let trusted = plan.listeners.iter().map(|it| it.screening.trusted.clone()).collect();
        Self { limits: plan.limits.clone(), trusted }
    }

    /// Where connections of this address are counted, if they are.
    fn of(&self, listener: ListenerId, peer: Option<IpAddr>) -> Option<(&Limits, IpAddr)> {
        let trusted = self.trusted.get(listener.index()).and_then(Option::as_deref);
        let counts = trusted.is_none_or(|trusted| !trusted.trusts(peer));
        self.limits.as_deref().zip(peer.filter(|_| counts))
    }

    /// Whether a client in that state is counted: from its admission to its leave.
    const fn counts(state: ClientState) -> bool {
        matches!(state, ClientState::Parked | ClientState::Active(_) | ClientState::Tunnel(_))
    }

    /// The client is not here any more.
    pub(crate) fn leave(&self, client: &Client) {
        if Self::counts(client.state)
            && let Some((limits, peer)) = self.of(client.listener(), client.peer())
        {
            limits.leave(peer);
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Counts a connection of this address. Why it may not be here, if so; then it is not counted.
    pub(crate) fn count_in(
        &self,
        listener: ListenerId,
        peer: Option<IpAddr>,
    ) -> Option<CloseReason> {
        let (limits, peer) = self.clients.counted.of(listener, peer)?;
        let over = limits.enter(peer, self.now).err()?;
        Some(match over {
            Over::Connections => CloseReason::AddressLimit,
            Over::Rate => CloseReason::Rate,
        })
    }

    /// Counts it no longer, though it never became a client.
    pub(crate) fn count_out(&self, listener: ListenerId, peer: Option<IpAddr>) {
        if let Some((limits, peer)) = self.clients.counted.of(listener, peer) {
            limits.leave(peer);
        }
    }

    /// Why a request whose head is read is not served because of whom it is from, if so. Otherwise it
    /// counts among those of that address.
    pub(crate) fn screens_request(&self, exchange: &Exchange) -> Option<Refusal> {
        let named = exchange.facts.client;
        if named.is_some() && self.is_unwelcome(exchange.listener, named).is_some() {
            return Some(Refusal::Unwelcome);
        }
        let (limits, from) = self.plan.limits.as_ref().zip(self.clients.whom(exchange))?;
        (!limits.request(from, self.now)).then_some(Refusal::Rate)
    }

    /// Bytes of a request came. Whether it is slower than it may be. `waited`: nobody received for a
    /// while, which is not the client's fault.
    pub(crate) fn is_too_slow(&mut self, id: ExchangeId, bytes: u32, waited: bool) -> bool {
        let Some(least) = self.plan.least_rate else { return false };
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return false };
        if waited {
            exchange.pace = exchange::Pace { since: self.now, bytes: 0 };
        }
        let pace = &mut exchange.pace;
        pace.bytes = pace.bytes.saturating_add(u64::from(bytes));
        let passed = self.now.since(pace.since);
        if passed < least.over {
            return false;
        }
        let wanted = u128::from(least.bytes) * passed.as_millis() / 1000;
        let slow = u128::from(pace.bytes) < wanted;
        let socket = self.clients.get(exchange.client).map(|client| client.socket);
        if slow && socket.is_some_and(|socket| self.driver.has_unread(socket)) {
            // More is there already than the last buffer had room for.
            return false;
        }
        // What came fast at first is no credit for later.
        *pace = exchange::Pace { since: self.now, bytes: 0 };
        slow && self.exchanges.get(id.0).and_then(Exchange::phase).is_some_and(arrives)
    }
}

const fn arrives(phase: Phase) -> bool {
    matches!(phase, Phase::Arriving | Phase::Collecting)
}
