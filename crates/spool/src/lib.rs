//! Floor 1: the spool's bookkeeping (the invention's mass storage 114).
//!
//! What outgrows the pool lies in one preallocated file, in extents of one size. This crate knows
//! which extents are free ([`Shared`], of the whole process) and which belong to what a worker
//! put there ([`Store`], [`Reel`]); it performs no I/O and knows no connections.
//!
//! An extent may be given to somebody else while the disk still works on it: the disk takes its
//! errands in the order they were given, so what a later owner writes comes later.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod audit;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod reel;
mod shared;
mod store;

pub use reel::{Piece, Reel};
pub use shared::{Full, Limits, Shared};
pub use store::Store;

/// Bytes of memory that one extent takes in a worker's table, for the memory budget.
pub const LINK_BYTES: usize = size_of::<store::Link>();
/// Bytes of memory that one extent takes among the free ones: its number and a mark.
pub const FREE_BYTES: usize = 2 * size_of::<usize>();
