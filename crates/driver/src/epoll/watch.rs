//! What epoll reports, and what that means for a socket.
//!
//! A socket is registered once, for everything and edge-triggered, and never again: what was
//! reported while nobody waited for it stands in its flags.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::connect::{self, Server};
use super::notes::{Note, Notes};
use super::table::{Entry, Flags};
use super::transfer::fault_of;
use crate::{ConnectFault, PeerFault, Socket};
use base::id::ListenerId;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A client's or server's connection.
    Socket(Socket),
    /// A listener has clients.
    Listener(ListenerId),
    /// Another thread called.
    Waker,
}

/// Places above this one are no sockets: listeners, then the waker as the last.
const LISTENERS: u32 = u32::MAX - base::limits::LISTENERS_MAX;
const WAKER: u32 = u32::MAX;
/// Most sockets a table may have, so that their numbers name nothing else.
pub(super) const SOCKETS_MAX: u32 = LISTENERS;

impl Subject {
    /// The number the kernel keeps for it.
    pub(super) fn data(self) -> EventData {
        let (index, generation) = match self {
            Self::Socket(socket) => (socket.index, socket.generation),
            Self::Listener(listener) => (LISTENERS + listener.0, 0),
            Self::Waker => (WAKER, 0),
        };
        EventData::new_u64(u64::from(generation) << 32 | u64::from(index))
    }

    /// Whom the kernel's number names.
    #[expect(clippy::cast_possible_truncation, reason = "two halves of 32 bits each")]
    pub(super) fn of(data: EventData) -> Self {
        let (index, generation) = (data.u64() as u32, (data.u64() >> 32) as u32);
        match index {
            WAKER => Self::Waker,
            LISTENERS.. => Self::Listener(ListenerId(index - LISTENERS)),
            index => Self::Socket(Socket { index, generation }),
        }
    }
}

/// Registers a connection, once and for all.
pub(super) fn add_socket(
    epoll: &OwnedFd,
    socket: Socket,
    descriptor: impl AsFd,
) -> Result<(), Errno> {
    let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    epoll::add(epoll, descriptor, Subject::Socket(socket).data(), events)
}

/// Registers a listener: level-triggered, and one waiting worker is woken for a client, not all.
pub(super) fn add_listener(
    epoll: &OwnedFd,
    listener: ListenerId,
    descriptor: impl AsFd,
) -> Result<(), Errno> {
    let events = EventFlags::IN | EventFlags::EXCLUSIVE;
    epoll::add(epoll, descriptor, Subject::Listener(listener).data(), events)
}

/// Registers the waker.
pub(super) fn add_waker(epoll: &OwnedFd, descriptor: impl AsFd) -> Result<(), Errno> {
    epoll::add(epoll, descriptor, Subject::Waker.data(), EventFlags::IN | EventFlags::ET)
}

/// Marks what the kernel reported of a socket and notes what its owner waits for.
pub(super) fn mark(
    index: u32,
    entry: &mut Entry,
    events: EventFlags,
    servers: &[Server],
    notes: &mut Notes,
) {
    entry.flags.set(Flags::SEEN);
    if entry.flags.any(Flags::CONNECTING) {
        if !events.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            return;
        }
        entry.flags.clear(Flags::CONNECTING);
        if let Some(fault) = opening_fault(entry, events, servers) {
            entry.break_with(PeerFault::Reset);
            entry.flags.set(Flags::REPORTED);
            notes.push(Note::ConnectFailed { index, fault });
            return;
        }
        notes.push(Note::Connected { index });
    }
    mark_open(entry, events);
    notes.readable(index, entry);
    notes.writable(index, entry);
    notes.failed(index, entry);
}

/// Why a connection that was being opened is not open.
fn opening_fault(
    entry: &mut Entry,
    events: EventFlags,
    servers: &[Server],
) -> Option<ConnectFault> {
    let descriptor = entry.descriptor()?;
    if events.intersects(EventFlags::ERR | EventFlags::HUP) {
        return Some(match sockopt::socket_error(descriptor) {
            Ok(Err(error)) | Err(error) => connect::fault_of(error),
            Ok(Ok(())) => ConnectFault::Refused,
        });
    }
    connect::is_own_end(descriptor, servers).then_some(ConnectFault::Refused)
}

/// Marks what the kernel reported of an open connection.
fn mark_open(entry: &mut Entry, events: EventFlags) {
    if events.contains(EventFlags::IN) {
        entry.flags.set(Flags::READABLE);
    }
    if events.contains(EventFlags::OUT) {
        entry.flags.set(Flags::WRITABLE);
    }
    if events.intersects(EventFlags::RDHUP | EventFlags::HUP) {
        entry.flags.set(Flags::READABLE.and(Flags::ENDED));
    }
    if events.contains(EventFlags::HUP) {
        // Whoever waits for room shall find out that nothing can be sent any more.
        entry.flags.set(Flags::WRITABLE);
    }
    if events.contains(EventFlags::ERR)
        && let Some(Ok(Err(error))) = entry.descriptor().map(sockopt::socket_error)
    {
        entry.break_with(fault_of(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_number_names_one_subject() {
        for subject in [
            Subject::Socket(Socket { index: 0, generation: 0 }),
            Subject::Socket(Socket { index: SOCKETS_MAX - 1, generation: u32::MAX }),
            Subject::Listener(ListenerId(0)),
            Subject::Listener(ListenerId(base::limits::LISTENERS_MAX - 1)),
            Subject::Waker,
        ] {
            assert_eq!(Subject::of(subject.data()), subject);
        }
    }
}
