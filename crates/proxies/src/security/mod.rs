//! The security proxy: what stands before every other. Tables and verdicts only; the worker asks
//! them before it lends anything, and does what they say.

mod limits;
mod list;
#[cfg(all(test, loom))]
mod models;

pub use ipnet::IpNet;
pub use limits::{LimitRules, Limits, Over, Rate};
pub use list::{AccessList, Verdict, canonical};
