//! Descriptors: how many this process may have, and who gets them.

use base::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;
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
    /// Workers: an epoll and a wake descriptor each.
    pub(crate) workers: u64,
    /// Clients beyond the limit who are told 503, for each worker.
    pub(crate) refusals: u64,
}

impl Holders {
    fn sum(self) -> u64 {
        self.upstream
            + self.listeners
            + self.workers * (2 + self.refusals)
            + u64::from(limits::DESCRIPTORS_SPARE)
    }
}

/// How many clients there may be: as many as were asked for, or what `limit` leaves.
///
/// # Errors
/// When `limit` cannot hold those asked for, or not a single one.
pub(crate) fn max_clients(
    asked: Option<u32>,
    limit: u64,
    holders: Holders,
) -> Result<u32, Failure> {
    let room = limit.saturating_sub(holders.sum());
    let needed = u64::from(asked.unwrap_or(1)).saturating_add(holders.sum());
    if needed > limit {
        return Err(Failure::value(
            "--max-clients",
            asked.map_or("(none given)".to_owned(), |asked| asked.to_string()),
            format_args!(
                "the limit of open files is {}, and {} are kept for servers, listeners and \
                 spare: raise it with `ulimit -n {needed}`, or ask for at most {room}",
                Count(limit),
                Count(holders.sum()),
            ),
        ));
    }
    let clients = asked.map_or(room.min(CLIENTS_UNASKED), u64::from);
    Ok(u32::try_from(clients).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDERS: Holders = Holders { upstream: 8, listeners: 1, workers: 2, refusals: 0 };

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
        let text = max_clients(Some(19_999), 20_000, HOLDERS).unwrap_err().to_string();
        assert!(text.contains("--max-clients 19999"), "{text}");
        assert!(text.contains("ulimit -n 20140"), "{text}");
        assert!(text.contains("at most 19859"), "{text}");
        assert!(max_clients(None, 100, HOLDERS).unwrap_err().to_string().contains("ulimit -n 142"));
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(Some(raised), limit.current.or(Some(u64::MAX)));
    }
}
