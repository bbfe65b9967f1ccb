//! The figures of the servers, as the bus counts them, all workers' parts added up.

use std::sync::Arc;

use base::counter::Counter;
use base::id::{GroupId, ServerId};
use bus::{GroupShare, ServerShare, Shared};

use crate::settings::{self, Group, Settings};

/// Reads the bus's figures.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// Indexed by [`ServerId`].
    servers: Vec<Server>,
    /// Names, indexed by [`GroupId`].
    groups: Vec<Arc<str>>,
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
    weight: u32,
    backup: bool,
}

impl Upstreams {
    /// The figures of these settings' servers.
    pub(crate) fn new(settings: &Settings, shared: Arc<Shared>) -> Self {
        let server = |(group, server): (&Group, &settings::Server)| Server {
            group: Arc::clone(&group.name),
            address: Arc::clone(&server.label),
            connections: u64::from(server.connections),
            pinned_max: u64::from(group.pinned),
            weight: server.weight,
            backup: server.backup,
        };
        let groups = settings.groups.iter().map(|group| Arc::clone(&group.name)).collect();
        Self { servers: settings.servers().map(server).collect(), groups, shared }
    }

    /// Every server as it stands.
    pub(crate) fn read(&self) -> Vec<ServerFigures> {
        let servers = (0u32..).map(ServerId).zip(&self.servers);
        servers.map(|(id, server)| self.figures(id, server)).collect()
    }

    /// Every group as it stands.
    pub(crate) fn read_groups(&self) -> Vec<GroupFigures> {
        let groups = (0u32..).map(GroupId).zip(&self.groups);
        let sum = |id, pick: fn(&GroupShare) -> &Counter| -> u64 {
            self.shared.group(id).iter().map(|share| pick(share).get()).sum()
        };
        groups
            .map(|(id, name)| GroupFigures {
                name: Arc::clone(name),
                retries: sum(id, |share| &share.retries),
                retries_refused: sum(id, |share| &share.retries_refused),
            })
            .collect()
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
            weight: server.weight,
            backup: server.backup,
            up: !self.shared.is_down(id),
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

/// One group at one moment.
#[derive(Clone, Debug)]
pub(crate) struct GroupFigures {
    pub(crate) name: Arc<str>,
    /// Requests that went again so far.
    pub(crate) retries: u64,
    /// Requests that did not, because the budget was spent.
    pub(crate) retries_refused: u64,
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
    /// Its share of the work.
    pub(crate) weight: u32,
    /// It serves only while all others are down.
    pub(crate) backup: bool,
    /// It has not failed since it last proved well.
    pub(crate) up: bool,
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
