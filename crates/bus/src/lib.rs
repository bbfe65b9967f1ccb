//! Floor 3: the bus to the servers: groups, permits, leases, the ready queue. Policy; no sockets.
//!
//! A [`Bus`] is one worker's view. Complete requests [`enqueue`](Bus::enqueue); the worker asks
//! [`decide`](Bus::decide) at the end of each round what to do about them, does it, and reports
//! what became of connections. What the workers of the process share is [`Shared`]: a bound on
//! the connections to each server (law 6), held as [`Permit`]s, and enough to see who waits.
//!
//! - `shared`: atomics and permits;
//! - `queue`: who waits, in order;
//! - `connection`: what the bus knows of each upstream connection;
//! - `policy`: what is configured of all this;
//! - `health`: servers that failed are left alone for a while;
//! - `balance`: the choice among servers: by load, weight and turn;
//! - `down`: what happens when no server can be reached;
//! - `budget`: how many requests may go again;
//! - `warm`: connections that are opened before anybody needs them;
//! - `decide`: what is to be done;
//! - `others`: what workers owe each other, so that the oldest request of all is served;
//! - `handover`: idle connections that change workers;
//! - `pinned`: connections that one client keeps for long;
//! - `audit`, `fairness`: counts compared with tables, and the queue's promises, for tests.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod audit;
mod balance;
mod budget;
mod bus;
mod connection;
mod decide;
mod down;
mod fairness;
mod group;
mod handover;
mod health;
#[cfg(test)]
mod model;
#[cfg(test)]
#[cfg(any(loom, shuttle))]
mod models;
mod others;
mod pinned;
mod policy;
mod queue;
mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod warm;

pub use audit::Held;
pub use bus::{Bus, Failure, QueueFull};
pub use decide::Decision;
pub use group::{GroupConfig, ServerConfig};
pub use handover::Travelling;
pub use pinned::PinnedFull;
pub use policy::{Balance, HealthPolicy, Policy, RetryPolicy};
pub use shared::{GroupShare, Permit, ServerShare, Shared};

/// Bytes of one place in the ready queues, for the memory budget.
pub const WAITER_BYTES: usize = size_of::<queue::Waiter>();
/// Bytes of one connection in a bus's tables, for the memory budget.
pub const CONNECTION_BYTES: usize = base::slab::Slab::<connection::Connection>::record_bytes()
    + size_of::<base::id::ConnectionId>()
    + 2 * size_of::<Decision>();
