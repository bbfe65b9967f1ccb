//! Floor 0: what every room may lean on, and nothing that knows of any of them.
//!
//! Bounds ([`limits`]), time that is passed in ([`time`]), handles ([`id`]), fixed tables
//! ([`slab`]), queues threaded through those tables ([`fifo`]) and counters that one thread
//! writes and others read ([`counter`]), numbers that nobody can foresee ([`mix`]), what threads
//! share ([`sync`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, loom, shuttle))]
extern crate std;

pub mod counter;
pub mod fifo;
pub mod id;
pub mod limits;
pub mod mix;
#[cfg(test)]
#[cfg(loom)]
mod models;
pub mod slab;
pub mod sync;
pub mod time;
