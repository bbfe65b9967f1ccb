//! Groups of servers as they are configured, and one worker's state of each.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::id::{ServerId, WorkerId};
use base::time::Instant;

use crate::others::{Freed, Gift, Yield};
use crate::policy::Policy;
use crate::queue::ReadyQueue;
use crate::shared::Want;

/// A group of servers that can answer the same requests.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Its name, for metrics and messages.
    pub name: Box<str>,
    /// Its servers.
    pub servers: Vec<ServerConfig>,
    /// Most requests in one worker's ready queue.
    pub queue_length: u32,
    /// Whether connections are kept after a response.
    pub persistent: bool,
    /// How servers are chosen and judged, and requests go again.
    pub policy: Policy,
}

/// A server of a group.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Its number, counted over all groups.
    pub id: ServerId,
    /// Most connections to it at one time, of all workers, but for the pinned ones.
    pub connections: u32,
    /// Most pinned connections to it at one time, of all workers.
    pub pinned: u32,
    /// How much of the work it gets, relative to the others; at least 1.
    pub weight: u32,
    /// It serves only while all others are down.
    pub backup: bool,
    /// Addresses behind its name; 1 without one.
    pub addresses: u32,
}

impl ServerConfig {
    /// A server like any other, without pinned connections.
    pub const fn new(id: ServerId, connections: u32) -> Self {
        Self { id, connections, pinned: 0, weight: 1, backup: false, addresses: 1 }
    }
}

/// One worker's state of a group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) servers: Vec<ServerId>,
    pub(crate) persistent: bool,
    pub(crate) policy: Policy,
    pub(crate) has_backups: bool,
    pub(crate) queue: ReadyQueue,
    /// Where the choice among equals begins: not with the same server in each worker.
    pub(crate) first_turn: usize,
    /// Since when no server can be reached.
    pub(crate) down_since: Option<Instant>,
    /// When a connection was last begun, and when that was at the last success: an attempt that
    /// began before it tells nothing of when the group went down.
    pub(crate) opened: Instant,
    pub(crate) proved: Option<Instant>,
    /// What the other workers were told that is wanted here.
    pub(crate) published: Option<Want>,
    /// The oldest wait that was published since news of a permit was last passed on: who sent it
    /// may have meant that one.
    pub(crate) heard_as: Option<Instant>,
    /// Other workers were asked for an idle connection.
    pub(crate) asked: bool,
    /// When this worker last looked at everything anew because it waits.
    pub(crate) looked: Instant,
    /// Whether a permit is left to another worker.
    pub(crate) yielding: Yield,
    /// Whether something became free of which others may have to be told.
    pub(crate) freed: Freed,
    /// What each other worker was given last.
    pub(crate) gifts: Vec<Gift>,
}

impl Group {
    pub(crate) fn new(config: &GroupConfig, worker: WorkerId, workers: usize) -> Self {
        Self {
            servers: config.servers.iter().map(|server| server.id).collect(),
            persistent: config.persistent,
            policy: config.policy,
            has_backups: config.servers.iter().any(|server| server.backup),
            queue: ReadyQueue::new(config.queue_length),
            first_turn: worker.index() % config.servers.len().max(1),
            down_since: None,
            opened: Instant(0),
            proved: None,
            published: None,
            heard_as: None,
            asked: false,
            looked: Instant(0),
            yielding: Yield::No,
            freed: Freed::No,
            gifts: (0..workers).map(|_| Gift::default()).collect(),
        }
    }
}
