//! How a group treats its servers and its requests, as it is configured.

use base::limits;
use core::time::Duration;

/// Which server of a group gets the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one with the least under way relative to its weight; equals as in [`Self::RoundRobin`].
    #[default]
    LeastLeased,
    /// One after another, each as often as its weight says, smoothly interleaved.
    RoundRobin,
}

/// What a group does beside queueing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which server is next.
    pub balance: Balance,
    /// When a server counts as failed.
    pub health: HealthPolicy,
    /// How often requests may go again.
    pub retries: RetryPolicy,
    /// Connections to each server that are opened at start and held open, of all workers.
    pub warm: u32,
    /// Each connection is one client's for as long as it lives, and is pinned as soon as it is
    /// open: what is pinned is what a server has to do.
    pub passes: bool,
}

/// When a server counts as failed, and for how long it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// So many failures in a row, each within `fail_timeout` of the one before; at least 1.
    pub max_fails: u32,
    /// The longest time a failed server is left alone: pauses begin with
    /// [`limits::SET_ASIDE`] and double up to this.
    pub fail_timeout: Duration,
    /// For how long requests wait for a server to come back, once none can be reached.
    pub grace: Duration,
}

/// How often requests may go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most times that one request is sent, the first included; at least 1.
    pub attempts: u32,
    /// Retries for every hundred requests of the last [`limits::RETRY_WINDOW_SECONDS`], beside
    /// [`limits::RETRY_FLOOR`] a second.
    pub budget: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            max_fails: limits::MAX_FAILS,
            fail_timeout: limits::FAIL_TIMEOUT,
            grace: limits::UNREACHABLE_GRACE,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: limits::ATTEMPTS, budget: limits::RETRY_BUDGET }
    }
}
