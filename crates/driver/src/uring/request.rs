//! What a request is about, as the number that the kernel hands back with its completion.

use base::id::ListenerId;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Something came in on the connection in that place of the table.
    Incoming(u32),
    /// The connection in that place has room, or was opened.
    Room(u32),
    /// A listener has clients.
    Listener(ListenerId),
    /// Another thread called.
    Waker,
    /// A cancelling or a closing, of which only a failure is told.
    Errand,
}

impl Request {
    /// The number the kernel keeps for it. No two requests of the same number stand at one time,
    /// errands aside: a place is reused only after the last completion that names it.
    pub(super) fn number(self) -> u64 {
        let (kind, index) = match self {
            Self::Errand => (0, 0),
            Self::Incoming(index) => (1, index),
            Self::Room(index) => (2, index),
            Self::Listener(listener) => (3, listener.0),
            Self::Waker => (4, 0),
        };
        kind << 32 | u64::from(index)
    }

    /// What the kernel's number is about.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub(super) const fn of(number: u64) -> Self {
        let index = number as u32;
        match number >> 32 {
            1 => Self::Incoming(index),
            2 => Self::Room(index),
            3 => Self::Listener(ListenerId(index)),
            4 => Self::Waker,
            _ => Self::Errand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_number_names_one_request() {
        let requests = [
            Request::Errand,
            Request::Incoming(0),
            Request::Incoming(u32::MAX),
            Request::Room(0),
            Request::Room(u32::MAX),
            Request::Listener(ListenerId(0)),
            Request::Listener(ListenerId(63)),
            Request::Waker,
        ];
        for request in requests {
            assert_eq!(Request::of(request.number()), request);
        }
        let numbers: std::collections::HashSet<_> = requests.map(Request::number).into();
        assert_eq!(numbers.len(), requests.len());
    }
}
