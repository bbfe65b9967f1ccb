//! What one address may have, and how slow a client may be: the security proxy's bounds, carried
//! out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::id::{ClientId, ExchangeId};
use driver::Driver;
use exchange::{Exchange, Phase};
use proxies::security::{Limits, Over};

use crate::client::{Client, ClientState};
use crate::counters::CloseReason;
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
pub(crate) struct Counted(pub(crate) Option<Arc<Limits>>);

impl Counted {
    /// Whether a client in that state is counted: from its admission to its leave.
    const fn counts(state: ClientState) -> bool {
        matches!(state, ClientState::Parked | ClientState::Active(_) | ClientState::Tunnel(_))
    }

    /// The client is not here any more.
    pub(crate) fn leave(&self, client: &Client) {
        if let (Some(limits), Some(peer)) = (&self.0, client.peer())
            && Self::counts(client.state)
        {
            limits.leave(peer);
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Counts a connection of this address. Why it may not be here, if so; then it is not counted.
    pub(crate) fn count_in(&self, peer: Option<IpAddr>) -> Option<CloseReason> {
        let (limits, peer) = self.plan.limits.as_ref().zip(peer)?;
        let over = limits.enter(peer, self.now).err()?;
        Some(match over {
            Over::Connections => CloseReason::AddressLimit,
            Over::Rate => CloseReason::Rate,
        })
    }

    /// Counts it no longer, though it never became a client.
    pub(crate) fn count_out(&self, peer: Option<IpAddr>) {
        if let Some((limits, peer)) = self.plan.limits.as_ref().zip(peer) {
            limits.leave(peer);
        }
    }

    /// Whether the client has more requests than it may; the one that has just come counts if not.
    pub(crate) fn asks_too_often(&self, client: ClientId) -> bool {
        let Some(limits) = &self.plan.limits else { return false };
        let peer = self.clients.get(client).and_then(Client::peer);
        peer.is_some_and(|peer| !limits.request(peer, self.now))
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
