//! Floor 1: protocols as values: slices in, values out; no I/O, no allocation.
//!
//! Whose fault a refusal is depends on who sent the bytes, so the call tells: what
//! [`http1::parse_request`] refuses is the client's, what [`http1::parse_response`] refuses the
//! upstream's.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod hello;
pub mod http1;
pub mod proxy_protocol;
