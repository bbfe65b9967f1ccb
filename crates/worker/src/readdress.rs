//! Names that lead elsewhere: new connections go to the new addresses at once, old ones end as
//! soon as no exchange needs them.

use std::net::SocketAddr;

use base::id::{ConnectionId, ServerId};
use driver::Driver;

use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// The name of a server stands for other addresses now.
    pub(crate) fn readdress(&mut self, server: ServerId, addresses: &[SocketAddr]) {
        self.driver.set_addresses(server, addresses);
        self.bus.readdressed(server, addresses.len());
        for id in (0..self.bus.capacity()).map(ConnectionId) {
            if self.bus.server_of(id) == Some(server) {
                self.drop_if_outdated(id);
            }
        }
    }

    /// Closes a connection that leads to an address which is its server's no more, or has it
    /// closed when its lease ends.
    pub(crate) fn drop_if_outdated(&mut self, id: ConnectionId) {
        let Some(server) = self.bus.server_of(id).filter(|&it| self.bus.is_readdressed(it)) else {
            return;
        };
        let Some(upstream) = self.upstreams.get(id) else { return };
        if !self.driver.is_listed(upstream.socket, server) {
            upstream.outdated = true;
            self.bus.retire(id);
        }
    }
}
