//! Black-box tests: the real binary, real servers, real clients.
//!
//! This library is the harness: it starts anteroom and servers on loopback addresses, speaks
//! HTTP/1 byte by byte, and ends everything it started, by process id. The tests stand in
//! `tests/`, one subject a file.
//!
//! `ANTEROOM_BIN` names another binary than the release build's, `ANTEROOM_IO` the driver,
//! `ANTEROOM_SEED` the seed of everything random.
#![forbid(unsafe_code)]

pub mod answers;
pub mod asking;
pub mod authority;
pub mod certificates;
pub mod client;
pub mod corpus;
pub mod crowd;
pub mod dns;
pub mod echo;
pub mod folder;
pub mod issuer;
pub mod large;
pub mod message;
pub mod metrics;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod random;
pub mod sealed;
pub mod servers;
pub mod stream;
pub mod tokens;
pub mod tools;
pub mod trial;
pub mod typist;
pub mod upstream;
pub mod wait;
pub mod witness;
