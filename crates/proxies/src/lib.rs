//! Floor 3: what is done inside a connection: application proxies (the invention's 208).
//!
//! Each is an implementation of [`exchange::Proxy`]: a state machine over chains, without
//! sockets and without clocks.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod chosen;
pub mod http;
pub mod pass;
pub mod security;

pub use chosen::Chosen;
