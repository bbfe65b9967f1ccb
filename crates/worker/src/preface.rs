//! The PROXY protocol: whose connection it is, said by a trusted balancer before the client's first
//! byte, and by us to servers that want to know.
//!
//! A header is looked at where the kernel holds it, so that it takes no buffer in whatever pieces it
//! comes, and nothing behind it is touched before it is whole: TLS begins there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base::id::{ClientId, ConnectionId, ListenerId};
use driver::{Driver, Peeked, Then};
use wire::proxy_protocol::{HEADER_MAX, Header, read_header, write_header};

use crate::client::Patience;
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Whether a client's connection begins with a header, as its sender is trusted with one.
    pub(crate) fn begins_with_header(&self, listener: ListenerId, peer: IpAddr) -> bool {
        let balancers = self.plan.listeners.get(listener.index());
        let balancers = balancers.and_then(|plan| plan.screening.balancers.as_deref());
        balancers.is_some_and(|balancers| balancers.are_trusted(peer))
    }

    /// The client is nobody yet: it is screened, and speaks, when its header says who it is.
    pub(crate) fn await_header(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        self.clients.arm(id, Patience::Head, self.now);
        self.driver.arm(socket);
        self.pause_at_limit();
    }

    /// Something came of the header.
    pub(crate) fn read_preface(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        let Some(space) = self.scratch.joined.get_mut(..HEADER_MAX) else { return };
        let Peeked { count, then } = self.driver.peek(socket, space);
        match read_header(space.get(..count).unwrap_or_default()) {
            Header::Incomplete => match then {
                Then::More => self.driver.arm(socket),
                Then::Failed(_) => self.close_client(id, CloseReason::Client),
                Then::Ended if count == 0 => self.close_client(id, CloseReason::Client),
                Then::Ended => self.dismiss(id, CloseReason::ProxyHeader),
            },
            Header::Malformed => self.dismiss(id, CloseReason::ProxyHeader),
            Header::Whole { length, client } => {
                self.driver.skip(socket, length);
                self.introduced(id, client);
            }
        }
    }

    /// The header is there. Whose connection it is now counts for everything.
    fn introduced(&mut self, id: ClientId, address: Option<SocketAddr>) {
        // The unspecified address is nobody's: whoever is named so is not known.
        let address = address.filter(|address| !address.ip().to_canonical().is_unspecified());
        if let (Some(client), Some(address)) = (self.clients.table.get_mut(id.0), address) {
            client.comes_from(address);
        }
        let Some(client) = self.clients.get(id) else { return };
        let (listener, peer) = (client.listener(), client.peer());
        let unwelcome = self.is_unwelcome(listener, peer);
        if let Some(reason) = unwelcome.or_else(|| self.count_in(listener, peer)) {
            self.witness_client(Event::Dismissed, id);
            return self.dismiss(id, reason);
        }
        self.welcome(id);
    }

    /// Ends a client that is nobody yet.
    pub(crate) fn dismiss(&mut self, id: ClientId, reason: CloseReason) {
        let Some(client) = self.clients.get(id) else { return };
        let (listener, peer) = (client.listener(), client.peer());
        self.account_turned_back(listener, peer, reason);
        self.reset_client(id, reason);
    }

    /// Tells the server whose connection this is, if its group wants to know. `more` says that the
    /// client's own bytes follow at once. False if the connection broke.
    pub(crate) fn introduce(
        &mut self,
        connection: ConnectionId,
        client: ClientId,
        more: bool,
    ) -> bool {
        let group = self.bus.server_of(connection).map(|server| self.bus.group_of(server));
        let Some(version) = group.and_then(|group| *self.plan.introduces.get(group.index())?)
        else {
            return true;
        };
        let ends = self.ends_of(client);
        let Some(upstream) = self.upstreams.get(connection) else { return false };
        let socket = upstream.socket;
        self.driver.introduce(socket, &write_header(version, ends), more)
    }

    /// Where a client comes from and where it came in; none if it has no address.
    fn ends_of(&mut self, id: ClientId) -> Option<[SocketAddr; 2]> {
        let client = self.clients.get(id)?;
        let (socket, from) = (client.socket, client.address()?);
        let ends = self.driver.ends(socket);
        match ends {
            // The kernel alone knows the port of one that came without a header.
            Some([peer, own]) if from.port() == 0 && peer.ip().to_canonical() == from.ip() => {
                Some([peer, own])
            }
            Some([_, own]) => Some([from, own]),
            // It came in through a Unix socket.
            None => Some([from, SocketAddr::new(unspecified(from.ip()), 0)]),
        }
    }
}

/// No address, of the same family.
const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
