//! The security proxy's verdicts, carried out: who may come in, before anything is lent.

use std::net::IpAddr;
use std::sync::Arc;

use base::id::{ClientId, ListenerId};
use driver::{Driver, Socket};
use exchange::Trusts;
use proxies::security::{AccessList, Verdict};

use crate::client::{ClientState, Party};
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::turn::Worker;

/// What a listener asks of those who come.
#[derive(Clone, Debug, Default)]
pub struct Screening {
    /// Which addresses may connect; all of them without.
    pub list: Option<Arc<AccessList>>,
    /// Who says whose connections it passes on; nobody without.
    pub balancers: Option<Arc<Balancers>>,
    /// Proxies in front that say whom their requests are from; nobody without.
    pub trusted: Option<Arc<dyn Trusts>>,
}

/// Who is trusted to say, by a PROXY header, whose connection it passes on. From them a header is
/// required; from others none is read.
#[derive(Clone, Debug)]
pub struct Balancers {
    /// Those it allows.
    pub addresses: AccessList,
    /// Whoever comes through a Unix socket.
    pub unix: bool,
    /// Whether nobody else may connect.
    pub required: bool,
}

impl Balancers {
    /// Whether a header of this one is believed. The unspecified address is that of a Unix socket.
    pub(crate) fn are_trusted(&self, peer: IpAddr) -> bool {
        self.trusts(Some(peer).filter(|peer| !peer.is_unspecified()))
    }
}

impl Trusts for Balancers {
    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.addresses.verdict(peer) == Verdict::Allow)
    }
}

impl Screening {
    /// Whether a client may not come in. One on a Unix socket has no address, and the socket's mode
    /// decided already.
    fn denies(&self, peer: Option<IpAddr>) -> bool {
        let list = self.list.as_deref().zip(peer);
        list.is_some_and(|(list, peer)| list.verdict(peer) == Verdict::Deny)
    }
}

impl<D: Driver> Worker<D> {
    /// Why a client that has just connected is turned away, if it is. Otherwise it is counted, unless
    /// it is not known yet whose connection it is.
    pub(crate) fn screens_out(&self, listener: ListenerId, address: IpAddr) -> Option<CloseReason> {
        let peer = Some(address).filter(|address| !address.is_unspecified());
        let screening = &self.plan.listeners.get(listener.index())?.screening;
        match &screening.balancers {
            // Whose connection it is will be seen.
            Some(balancers) if balancers.are_trusted(address) => None,
            Some(balancers) if balancers.required => Some(CloseReason::Untrusted),
            _ => self.is_unwelcome(listener, peer).or_else(|| self.count_in(listener, peer)),
        }
    }

    /// Why a client with this address may not be here, if so.
    pub(crate) fn is_unwelcome(
        &self,
        listener: ListenerId,
        peer: Option<IpAddr>,
    ) -> Option<CloseReason> {
        let bans = self.plan.bans.as_deref().zip(peer);
        if bans.is_some_and(|(bans, peer)| bans.verdict(peer) == Verdict::Deny) {
            return Some(CloseReason::Banned);
        }
        let screening = &self.plan.listeners.get(listener.index())?.screening;
        screening.denies(peer).then_some(CloseReason::Denied)
    }

    /// Resets a connection that never becomes a client: it gets no record, and nothing is lent.
    pub(crate) fn turn_back(
        &mut self,
        listener: ListenerId,
        (socket, peer): (Socket, Option<IpAddr>),
        reason: CloseReason,
    ) {
        self.driver.own(socket, Party::Nobody.owner());
        self.driver.reset(socket, &mut self.pool);
        self.counters.closed(reason);
        self.account_turned_back(listener, peer, reason);
    }

    /// A listener's list is another one now. Whoever is here and may not be here any more goes.
    pub(crate) fn take_list(&mut self, listener: ListenerId, list: Arc<AccessList>) {
        let Some(plan) = self.plan.listeners.get_mut(listener.index()) else { return };
        plan.screening.list = Some(list);
        self.expel_unwelcome();
    }

    /// Others are banned now. Whoever is here and banned goes.
    pub(crate) fn take_bans(&mut self, bans: Arc<AccessList>) {
        self.plan.bans = Some(bans);
        self.expel_unwelcome();
    }

    fn expel_unwelcome(&mut self) {
        for id in (0..self.clients.table.capacity()).map(ClientId) {
            let Some(client) = self.clients.get(id) else { continue };
            if let Some(reason) = self.is_unwelcome(client.listener(), client.peer()) {
                self.expel(id, reason);
            }
        }
    }

    /// Ends whatever a client does.
    fn expel(&mut self, id: ClientId, reason: CloseReason) {
        let state = self.clients.get(id).map(|client| client.state);
        if let Some(ClientState::Parked | ClientState::Active(_) | ClientState::Tunnel(_)) = state {
            self.witness_client(Event::Expelled, id);
        }
        match state {
            Some(ClientState::Parked) => self.reset_client(id, reason),
            Some(ClientState::Active(exchange)) => self.abandon(exchange, reason),
            Some(ClientState::Tunnel(tunnel)) => self.end_tunnel(tunnel, reason, true),
            // Whose it is will be seen, or it goes already.
            Some(
                ClientState::ProxyHeader | ClientState::Lingering { .. } | ClientState::Closing,
            )
            | None => {}
        }
    }
}
