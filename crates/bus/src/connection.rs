//! What the bus knows of each upstream connection of its worker.

use base::id::ServerId;
use base::time::Instant;

use crate::shared::Permit;

/// One upstream connection, from the decision to open it until it is really closed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) permit: Permit,
    pub(crate) state: State,
    /// Whether a request was ever sent on it.
    pub(crate) used: bool,
}

/// What a connection awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// That the server takes it. Holds when the attempt began.
    Connecting(Instant),
    /// The next lease.
    Idle,
    /// The end of its lease.
    Leased,
    /// That the worker takes it out, for another worker.
    Leaving,
    /// That it is really closed.
    Closing,
}

impl Connection {
    pub(crate) fn server(&self) -> ServerId {
        self.permit.server()
    }
}
