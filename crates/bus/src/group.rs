//! Groups of servers as they are configured, and one worker's state of each.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::id::{ExchangeId, ServerId};
use base::time::Instant;

use crate::queue::ReadyQueue;

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
}

/// A server of a group.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Its number, counted over all groups.
    pub id: ServerId,
    /// Most connections to it at one time, of all workers.
    pub connections: u32,
}

/// One worker's state of a group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) servers: Vec<ServerId>,
    pub(crate) persistent: bool,
    pub(crate) queue: ReadyQueue,
    /// Where the next choice among equals begins.
    pub(crate) turn: usize,
    /// Those who wait since this moment or longer are told that no server can be reached.
    pub(crate) failed_before: Option<Instant>,
    /// For whom other workers were asked to give an idle connection.
    pub(crate) asked_for: Option<ExchangeId>,
    /// Since when this worker leaves a permit to another one that waits longer.
    pub(crate) yields_since: Option<Instant>,
}

impl Group {
    pub(crate) fn new(config: &GroupConfig) -> Self {
        Self {
            servers: config.servers.iter().map(|server| server.id).collect(),
            persistent: config.persistent,
            queue: ReadyQueue::new(config.queue_length),
            turn: 0,
            failed_before: None,
            asked_for: None,
            yields_since: None,
        }
    }
}
