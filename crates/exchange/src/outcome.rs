//! What a mishap does in each phase: one table, read by the worker.

use crate::phase::Phase;
use crate::refusal::Refusal;

/// Something that goes wrong outside the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The client ended its direction (FIN).
    ClientEnded,
    /// The client ended its direction while its event stream runs, or within a body that is
    /// streamed.
    ClientLeft,
    /// `body_progress` ran out while the server waits for the rest of a streamed body.
    UploadSlow,
    /// The client's connection broke (RST).
    ClientBroke,
    /// The deadline of the client's side ran out: `head`, `body_progress`, `write_progress`.
    ClientSlow,
    /// `authorize` ran out.
    VerdictLate,
    /// `queue` ran out.
    QueueOver,
    /// No server of the group can be reached.
    NoServer,
    /// The server ended or broke its connection before a byte of the response came.
    ServerLeft,
    /// The server ended or broke its connection within the response, where its framing did not
    /// allow it, or sent what is no response.
    ServerBroke,
    /// `first_byte` or `response` ran out.
    ServerSilent,
    /// The pool ran short and this is the slowest holder without a lease, or one whose client
    /// takes nothing.
    PoolShort,
    /// The spool has no room for what must go there.
    SpoolFull,
    /// The spool's disk failed; what was there is lost.
    SpoolBroke,
    /// The drain's time is over, or the worker stops at once.
    StopNow,
}

impl Mishap {
    /// Every mishap.
    pub const ALL: [Self; 15] = [
        Self::ClientEnded,
        Self::ClientLeft,
        Self::UploadSlow,
        Self::ClientBroke,
        Self::ClientSlow,
        Self::VerdictLate,
        Self::QueueOver,
        Self::NoServer,
        Self::ServerLeft,
        Self::ServerBroke,
        Self::ServerSilent,
        Self::PoolShort,
        Self::SpoolFull,
        Self::SpoolBroke,
        Self::StopNow,
    ];
}

/// What follows from a mishap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It cannot happen in this phase.
    Impossible,
    /// Nothing: the exchange goes on.
    GoOn,
    /// The client is answered by us; a lease, if held, ends with its connection.
    Answer(Refusal),
    /// The client is closed without a further byte: it is gone, or already has part of a
    /// response that can't be completed. A lease, if held, ends with its connection.
    Close,
    /// The request goes again on a fresh connection if that is safe; else as
    /// `Answer(BadResponse)`.
    GoAgain,
}

/// The table: (phase, mishap) → outcome.
///
/// FIN after a complete request is no abort, RST is (DESIGN.md §4).
#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
pub const fn outcome(phase: Phase, mishap: Mishap) -> Outcome {
    use Mishap as M;
    use Outcome::{Answer, Close, GoAgain, GoOn, Impossible};
    use Phase as P;
    match (phase, mishap) {
        // A request that will never be complete concerns nobody else.
        (P::Arriving | P::Collecting, M::ClientEnded) => Close,
        // After a complete request we do not listen to the client until it is answered; in a
        // tunnel its end is passed on.
        (_, M::ClientEnded) => GoOn,
        (_, M::ClientBroke) => Close,

        // A body that will never be whole; an event stream that nobody reads.
        (P::Ready | P::Leased | P::Draining, M::ClientLeft) => Close,
        (P::Leased, M::UploadSlow) => Answer(Refusal::Slow),
        // Elsewhere nothing is streamed, either way, or nobody waits for it.
        (_, M::ClientLeft | M::UploadSlow) => Impossible,

        (P::Arriving | P::Collecting, M::ClientSlow) => Answer(Refusal::Slow),
        // While the server is awaited, it can be behind with interim responses only.
        (P::Leased | P::Pending | P::Draining | P::Delivering | P::Tunnel, M::ClientSlow) => Close,
        // It waits for us, not we for it; its deadline is not set.
        (P::Authorizing | P::Ready, M::ClientSlow) => Impossible,

        (P::Authorizing, M::VerdictLate) => Answer(Refusal::AuthorizerFailed),
        (_, M::VerdictLate) => Impossible,

        (P::Ready, M::QueueOver) => Answer(Refusal::QueueTimeout),
        (P::Ready, M::NoServer) => Answer(Refusal::Unreachable),
        // Only what is queued waits for a server.
        (_, M::QueueOver | M::NoServer) => Impossible,

        (P::Leased | P::Pending, M::ServerLeft) => GoAgain,
        (P::Leased | P::Pending, M::ServerBroke) => Answer(Refusal::BadResponse),
        (P::Leased | P::Pending, M::ServerSilent) => Answer(Refusal::Silent),
        (P::Draining | P::Tunnel, M::ServerBroke | M::ServerSilent) => Close,
        // Draining began with the response's first byte; in a tunnel its end is passed on.
        (P::Draining | P::Tunnel, M::ServerLeft) => Impossible,
        // Without a lease no server can fail us.
        (
            P::Arriving | P::Authorizing | P::Collecting | P::Ready | P::Delivering,
            M::ServerLeft | M::ServerBroke | M::ServerSilent,
        ) => Impossible,

        (P::Arriving | P::Collecting, M::PoolShort) => Answer(Refusal::Pressure),
        // Its client takes nothing; that a lease is held is one more reason. In a tunnel it may be
        // the server.
        (P::Draining | P::Delivering | P::Tunnel, M::PoolShort) => Close,
        // What waits for a lease will free its buffers; what awaits a response is served first.
        // What awaits a verdict has it soon.
        (P::Authorizing | P::Ready | P::Leased | P::Pending, M::PoolShort) => Impossible,

        // What is not yet answered is answered; a response that has begun waits in the pool.
        (P::Collecting, M::SpoolFull) => Answer(Refusal::Storage),
        (P::Draining | P::Delivering, M::SpoolFull) => GoOn,
        (P::Arriving | P::Authorizing | P::Ready | P::Leased | P::Pending, M::SpoolFull) => {
            Impossible
        }
        (P::Collecting | P::Ready | P::Leased | P::Pending, M::SpoolBroke) => {
            Answer(Refusal::Storage)
        }
        (P::Draining | P::Delivering, M::SpoolBroke) => Close,
        // A head is never in the spool; what a tunnel carries neither.
        (P::Arriving | P::Authorizing | P::Tunnel, M::SpoolBroke) | (P::Tunnel, M::SpoolFull) => {
            Impossible
        }

        (P::Ready, M::StopNow) => Answer(Refusal::Stopping),
        (_, M::StopNow) => Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_response_is_never_answered_over() {
        for mishap in Mishap::ALL {
            for phase in [Phase::Draining, Phase::Delivering, Phase::Tunnel] {
                assert!(
                    !matches!(outcome(phase, mishap), Outcome::Answer(_) | Outcome::GoAgain),
                    "{phase:?} {mishap:?}"
                );
            }
        }
    }

    #[test]
    fn a_broken_client_never_keeps_a_lease() {
        for phase in Phase::ALL {
            assert_eq!(outcome(phase, Mishap::ClientBroke), Outcome::Close);
        }
    }

    #[test]
    fn what_awaits_a_response_never_yields_to_a_short_pool() {
        for phase in [Phase::Authorizing, Phase::Ready, Phase::Leased, Phase::Pending] {
            assert_eq!(outcome(phase, Mishap::PoolShort), Outcome::Impossible);
        }
    }
}
