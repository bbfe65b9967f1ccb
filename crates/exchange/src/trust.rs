//! Whose word counts.

use core::fmt::Debug;
use core::net::IpAddr;

/// Who is trusted to say whose requests it passes on.
pub trait Trusts: Debug + Send + Sync {
    /// Whether the word of this one counts; `None` is whoever comes through a Unix socket.
    fn trusts(&self, peer: Option<IpAddr>) -> bool;
}
