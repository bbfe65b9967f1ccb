//! The names of the states, for tables, counters and logs.

/// What an exchange awaits, without what it owns. In the order of an exchange's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The end of the request's head.
    Arriving,
    /// The verdict on whether the client may.
    Authorizing,
    /// The end of the request's body.
    Collecting,
    /// A lease: the request is complete and queued.
    Ready,
    /// That the server takes the request.
    Leased,
    /// The response's head.
    Pending,
    /// The end of the response's body; what came is delivered meanwhile.
    Draining,
    /// That the client takes the rest of the response. No lease is held any more.
    Delivering,
    /// What either side sends next, in a protocol of their own: the exchange's record is free, and
    /// a [`Tunnel`](crate::Tunnel) stands for it.
    Tunnel,
}

impl Phase {
    /// Every phase, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::Arriving,
        Self::Authorizing,
        Self::Collecting,
        Self::Ready,
        Self::Leased,
        Self::Pending,
        Self::Draining,
        Self::Delivering,
        Self::Tunnel,
    ];

    /// The label in `anteroom_exchanges{state}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Authorizing => "authorizing",
            Self::Collecting => "collecting",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Pending => "pending",
            Self::Draining => "draining",
            Self::Delivering => "delivering",
            Self::Tunnel => "tunnel",
        }
    }

    /// Whether an exchange in this phase holds an upstream connection.
    pub const fn holds_lease(self) -> bool {
        matches!(self, Self::Leased | Self::Pending | Self::Draining)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn every_label_stands_at_its_own_counter() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index, "{}", phase.label());
            // As the metric has them: the names of the states.
            assert_eq!(phase.label(), format!("{phase:?}").to_lowercase());
        }
    }
}
