//! The figures of the servers, as the bus counts them, all workers' parts added up.

use std::sync::Arc;

use base::counter::Counter;
use base::id::ServerId;
use bus::{ServerShare, Shared};

use crate::settings::Settings;

/// Reads the bus's figures.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// Indexed by [`ServerId`].
    addresses: Vec<Arc<str>>,
    /// Most leases to each.
    connections: u64,
    shared: Arc<Shared>,
}

impl Upstreams {
    /// The figures of these settings' servers.
    pub(crate) fn new(settings: &Settings, shared: Arc<Shared>) -> Self {
        Self {
            addresses: settings.servers.iter().map(|at| at.to_string().into()).collect(),
            connections: u64::from(settings.connections),
            shared,
        }
    }

    /// Every server as it stands.
    pub(crate) fn read(&self) -> Vec<ServerFigures> {
        let servers = (0u32..).map(ServerId).zip(&self.addresses);
        servers.map(|(server, address)| self.server(server, address)).collect()
    }

    fn server(&self, server: ServerId, address: &Arc<str>) -> ServerFigures {
        let shares = self.shared.server(server);
        let sum = |pick: fn(&ServerShare) -> &Counter| -> u64 {
            shares.iter().map(|share| pick(share).get()).sum()
        };
        ServerFigures {
            address: Arc::clone(address),
            connections: self.connections,
            idle: shares.iter().map(|share| u64::from(share.idle())).sum(),
            leased: sum(|share| &share.leased),
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
    pub(crate) address: Arc<str>,
    /// Most leases at one time.
    pub(crate) connections: u64,
    pub(crate) idle: u64,
    pub(crate) leased: u64,
    pub(crate) connecting: u64,
    /// Connections opened so far.
    pub(crate) connects: u64,
    /// Attempts, and fresh connections, that failed so far.
    pub(crate) failures: u64,
    /// Idle connections that changed workers so far.
    pub(crate) handed_over: u64,
}

impl ServerFigures {
    /// The connections by the label `state`. Nothing pins a connection in this version.
    pub(crate) const fn states(&self) -> [(&'static str, u64); 4] {
        [
            ("idle", self.idle),
            ("leased", self.leased),
            ("pinned", 0),
            ("connecting", self.connecting),
        ]
    }
}
