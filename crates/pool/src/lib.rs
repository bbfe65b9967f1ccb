//! Floor 1: one fixed region of small buffers, their registers, chains and grants.
//!
//! A [`Pool`] belongs to one worker and to one thread. It knows nothing of connections or
//! exchanges: it lends buffers by [`Rank`], links them into [`Chain`]s, and takes them back the
//! moment they are empty. From the ground up:
//!
//! - `region`: the mapped memory, the only unsafe code of the crate;
//! - `register`: the 8-byte status of each buffer;
//! - `chain`: what a holder keeps of its buffers, and positions in it;
//! - `grant`: ranks, the shares kept back for the urgent ones, promises, the free list;
//! - `wait`: who waits for a buffer;
//! - `pool`: the four joined, with grants, figures and waiting;
//! - `write`, `read`, `rearrange`, `rewrite`, `replace`, `share`: what can be done with a chain;
//! - `audit`: the books walked through, for tests.
//!
//! Nothing is allocated after [`Pool::new`]. A mistake of the caller (more consumed than there
//! is, a chain forgotten) panics; nothing a peer sends can.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod audit;
mod chain;
mod grant;
mod leak;
mod pool;
mod read;
mod rearrange;
#[expect(unsafe_code, reason = "maps the memory and hands out its buffers as slices")]
mod region;
mod register;
mod replace;
mod rewrite;
mod share;
mod wait;
mod write;

#[cfg(test)]
mod model;

pub use audit::{Audit, Flaw};
pub use chain::{Chain, Cursor, Mark};
pub use grant::{Promise, Rank};
pub use pool::{Pool, PoolConfig, PoolError, Short};
pub use read::{MAX_SLICES, Slices};
pub use region::MAX_SPACES;
pub use register::BufferId;
pub use share::Shared;
pub use write::{Fill, FillError};
