//! Descriptors: how many this process may have, and who gets them.

use base::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use worker::AtLimit;

use crate::quantity::Count;

/// Most clients that are planned for without being asked, even where descriptors have no limit.
const CLIENTS_UNASKED: u64 = 1 << 20;

/// Raises the soft limit to the hard one, and tells how many descriptors there may be.
pub(crate) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // A refusal leaves the limit as it was; it is read again below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Who needs descriptors besides the clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holders {
    /// Connections to all servers together.
    pub(crate) upstream: u64,
    /// Listening sockets.
    pub(crate) listeners: u64,
    /// Workers: an epoll or ring and a wake descriptor each.
    pub(crate) workers: u64,
    /// Clients beyond the limit who are told 503, for each worker.
    pub(crate) refusals: u64,
    /// Connections to those who say whether a client may.
    pub(crate) authorizers: u64,
}

impl Holders {
    /// Clients beyond the limit who are told 503, for each worker.
    pub(crate) const fn refusals(at_limit: AtLimit) -> u64 {
        match at_limit {
            AtLimit::Pause => 0,
            AtLimit::Answer => limits::REFUSAL_RECORDS as u64,
        }
    }

    /// Descriptors for all of them together.
    pub(crate) fn sum(self) -> u64 {
        self.upstream
            + self.listeners
            + self.workers * (2 + self.refusals)
            + self.authorizers
            + u64::from(limits::DESCRIPTORS_SPARE)
    }
}

/// How many clients there may be: as many as were asked for, or what `limit` leaves.
///
/// # Errors
/// When `limit` cannot hold those asked for, or not a single one: the remedy.
pub(crate) fn max_clients(asked: Option<u32>, limit: u64, holders: Holders) -> Result<u32, String> {
    let room = limit.saturating_sub(holders.sum());
    let needed = u64::from(asked.unwrap_or(1)).saturating_add(holders.sum());
    if needed > limit {
        return Err(format!(
            "the limit of open files is {}, and {} are kept for servers, listeners and spare: \
             raise it with `ulimit -n {needed}` (systemd: LimitNOFILE={needed}, docker: --ulimit \
             nofile={needed}), or ask for at most {room}",
            Count(limit),
            Count(holders.sum()),
        ));
    }
    let clients = asked.map_or(room.min(CLIENTS_UNASKED), u64::from);
    Ok(u32::try_from(clients).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDERS: Holders =
        Holders { upstream: 8, listeners: 1, workers: 2, refusals: 0, authorizers: 0 };

    #[test]
    fn clients_get_what_the_others_leave() {
        let others = 8 + 1 + 2 * 2 + u64::from(limits::DESCRIPTORS_SPARE);
        assert_eq!(u64::from(max_clients(None, 20_000, HOLDERS).unwrap()), 20_000 - others);
        assert_eq!(max_clients(Some(18_000), 20_000, HOLDERS), Ok(18_000));
        assert_eq!(max_clients(None, u64::MAX, HOLDERS), Ok(1 << 20));
        let answered = Holders { refusals: 64, ..HOLDERS };
        assert_eq!(u64::from(max_clients(None, 20_000, answered).unwrap()), 20_000 - others - 128);
    }

    #[test]
    fn more_than_can_be_held_is_refused_with_the_command_that_helps() {
        let text = max_clients(Some(19_999), 20_000, HOLDERS).unwrap_err();
        let others = HOLDERS.sum();
        assert!(text.contains(&format!("ulimit -n {}", 19_999 + others)), "{text}");
        assert!(text.contains(&format!("at most {}", 20_000 - others)), "{text}");
        let text = max_clients(None, 100, HOLDERS).unwrap_err();
        assert!(text.contains(&format!("ulimit -n {}", others + 1)), "{text}");
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(Some(raised), limit.current.or(Some(u64::MAX)));
    }
}
