//! The figures of the servers, as the bus counts them, all workers' parts added up.

use std::sync::Arc;

use base::counter::Counter;
use base::id::ServerId;
use bus::{ServerShare, Shared};
use driver::Address;

use crate::settings::{Group, Settings};

/// Reads the bus's figures.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// Indexed by [`ServerId`].
    servers: Vec<Server>,
    shared: Arc<Shared>,
}

/// What does not change of a server.
#[derive(Debug)]
struct Server {
    group: Arc<str>,
    address: Arc<str>,
    /// Most leases to it.
    connections: u64,
    /// Most pinned connections to it.
    pinned_max: u64,
}

impl Upstreams {
    /// The figures of these settings' servers.
    pub(crate) fn new(settings: &Settings, shared: Arc<Shared>) -> Self {
        let server = |(group, address): (&Group, &Address)| Server {
            group: Arc::clone(&group.name),
            address: address.to_string().into(),
            connections: u64::from(group.connections),
            pinned_max: u64::from(group.pinned),
        };
        Self { servers: settings.servers().map(server).collect(), shared }
    }

    /// Every server as it stands.
    pub(crate) fn read(&self) -> Vec<ServerFigures> {
        let servers = (0u32..).map(ServerId).zip(&self.servers);
        servers.map(|(id, server)| self.figures(id, server)).collect()
    }

    fn figures(&self, id: ServerId, server: &Server) -> ServerFigures {
        let shares = self.shared.server(id);
        let sum = |pick: fn(&ServerShare) -> &Counter| -> u64 {
            shares.iter().map(|share| pick(share).get()).sum()
        };
        ServerFigures {
            group: Arc::clone(&server.group),
            address: Arc::clone(&server.address),
            connections: server.connections,
            idle: shares.iter().map(|share| u64::from(share.idle())).sum(),
            pinned_max: server.pinned_max,
            leased: sum(|share| &share.leased),
            pinned: sum(|share| &share.pinned),
            connecting: sum(|share| &share.connecting),
            connects: sum(|share| &share.connects),
            failures: sum(|share| &share.failures),
            handed_over: sum(|share| &share.handed_over),
        }
    }
}

/// One server at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ServerFigures {
    /// The name of its group.
    pub(crate) group: Arc<str>,
    pub(crate) address: Arc<str>,
    /// Most leases at one time.
    pub(crate) connections: u64,
    /// Most pinned connections at one time.
    pub(crate) pinned_max: u64,
    pub(crate) idle: u64,
    pub(crate) leased: u64,
    pub(crate) pinned: u64,
    pub(crate) connecting: u64,
    /// Connections opened so far.
    pub(crate) connects: u64,
    /// Attempts, and fresh connections, that failed so far.
    pub(crate) failures: u64,
    /// Idle connections that changed workers so far.
    pub(crate) handed_over: u64,
}

impl ServerFigures {
    /// The connections by the label `state`.
    pub(crate) const fn states(&self) -> [(&'static str, u64); 4] {
        [
            ("idle", self.idle),
            ("leased", self.leased),
            ("pinned", self.pinned),
            ("connecting", self.connecting),
        ]
    }
}
