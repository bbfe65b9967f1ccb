//! What threads share: atomics, and a bounded queue.
//!
//! A build with `--cfg loom` or `--cfg shuttle` gets those of the tool in their place, which runs
//! the threads of a test in every order there is, or in many (`models` in each crate that
//! shares something; `cargo xtask test --only models`).

#[cfg(loom)]
pub mod atomic;
#[cfg(any(loom, shuttle))]
pub mod explore;
#[cfg(any(loom, shuttle))]
mod queue;

#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic;
#[cfg(not(any(loom, shuttle)))]
pub use crossbeam_queue::ArrayQueue;

#[cfg(loom)]
pub use loom::thread;
#[cfg(any(loom, shuttle))]
pub use queue::ArrayQueue;
#[cfg(shuttle)]
pub use shuttle::{sync::atomic, thread};
