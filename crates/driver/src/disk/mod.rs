//! The spool's disk: one file, one thread that reads and writes it, and each worker's desk.
//!
//! A worker never waits for the disk: an errand is a copy of some bytes, or a request for some,
//! and its end is told by a completion. Bytes are copied to and from memory of the desk's own, so
//! that a buffer is free the moment its bytes are on their way, and nothing of the pool is named
//! outside its worker. Both drivers use it. The ring of `io_uring` was measured (`docs/benchmarks.md`): it hands buffered
//! writes to threads of the kernel's own, for a quarter more CPU, and does a read that misses the page
//! cache within the submitting call, where a worker would wait for up to 131 ms.
//!
//! - `file`: opening it, and setting its space aside;
//! - `thread`: the errands, done one after another in the order they were given;
//! - `desk`: a worker's memory for its errands.

mod desk;
mod file;
mod thread;

#[cfg(test)]
#[cfg(loom)]
mod models;
#[cfg(test)]
mod tests;

pub use desk::{Desk, put_behind};
pub use file::{SpoolError, SpoolFile};
pub use thread::Disk;
