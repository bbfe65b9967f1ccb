//! The epoll driver: one registration a socket, edge-triggered and never changed, no unsafe code of its own.

use core::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use base::id::ListenerId;
use base::limits::EVENT_BATCH;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::Socket;
use crate::sockets::{Entry, SOCKETS_MAX, SocketDriver, Told, Watcher};

pub use crate::sockets::{Detached, SocketConfig as EpollConfig, Waker};

/// A [`Driver`](crate::Driver) over epoll.
pub type EpollDriver = SocketDriver<Epoll>;

impl EpollDriver {
    /// A driver without sockets.
    ///
    /// # Errors
    /// When the kernel grants no epoll descriptor, a Unix server's path is too long
    /// (ENAMETOOLONG), or there are more listeners or sockets than can be named (EINVAL).
    pub fn new(config: EpollConfig) -> std::io::Result<Self> {
        let watcher = Epoll::new(&config.waker)?;
        Ok(Self::with(watcher, config)?)
    }
}

/// Readiness from epoll.
#[derive(Debug)]
pub struct Epoll {
    descriptor: OwnedFd,
    /// Whether the last wait left events in the kernel, perhaps.
    behind: bool,
}

impl Epoll {
    fn new(waker: &Waker) -> Result<Self, Errno> {
        let descriptor = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let events = EventFlags::IN | EventFlags::ET;
        epoll::add(&descriptor, waker.descriptor(), Subject::Waker.data(), events)?;
        Ok(Self { descriptor, behind: false })
    }
}

impl Watcher for Epoll {
    const WATCHING_IS_A_CALL: bool = true;

    fn add(&mut self, socket: Socket, entry: &mut Entry) -> Result<(), Errno> {
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let descriptor = entry.descriptor().ok_or(Errno::BADF)?;
        epoll::add(&self.descriptor, descriptor, Subject::Socket(socket).data(), events)
    }

    fn want_room(&mut self, _: u32, _: &mut Entry) {
        // Every edge is told, wanted or not.
    }

    fn remove(&mut self, _: u32, _: &mut Entry, descriptor: &OwnedFd) -> Result<(), Errno> {
        epoll::delete(&self.descriptor, descriptor)
    }

    fn close(&mut self, _: u32, _: &mut Entry, descriptor: OwnedFd) {
        // Closing takes it out of epoll: nobody else holds a copy.
        drop(descriptor);
    }

    fn open(&mut self, id: ListenerId, listener: impl AsFd) -> Result<(), Errno> {
        // Level-triggered: it need not be watched anew after a turn of accepting.
        let events = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&self.descriptor, listener, Subject::Listener(id).data(), events)
    }

    fn again(&mut self, _: ListenerId, _: impl AsFd) {}

    fn shut(&mut self, _: ListenerId, listener: impl AsFd) {
        let removed = epoll::delete(&self.descriptor, listener);
        debug_assert_eq!(removed, Ok(()));
    }

    fn wait(&mut self, timeout: Option<Timespec>, told: &mut Told<'_>) {
        let mut room = [const { MaybeUninit::<Event>::uninit() }; EVENT_BATCH];
        let waited = epoll::wait(&self.descriptor, &mut room[..], timeout.as_ref());
        // The only error of a well-formed wait is EINTR: nothing has happened.
        let Ok((events, left)) = waited else { return };
        self.behind = left.is_empty();
        for event in events {
            match Subject::of(event.data) {
                Subject::Socket(socket) => told.socket(socket, event.flags),
                Subject::Listener(listener) => told.listener(listener),
                Subject::Waker => told.woken = true,
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.behind
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// A client's or server's connection.
    Socket(Socket),
    /// A listener has clients.
    Listener(ListenerId),
    /// Another thread called.
    Waker,
}

/// Places above this one are no sockets: listeners, then the waker as the last.
const LISTENERS: u32 = SOCKETS_MAX;
const WAKER: u32 = u32::MAX;
impl Subject {
    /// The number the kernel keeps for it.
    fn data(self) -> EventData {
        let (index, generation) = match self {
            Self::Socket(socket) => (socket.index, socket.generation),
            Self::Listener(listener) => (LISTENERS + listener.0, 0),
            Self::Waker => (WAKER, 0),
        };
        EventData::new_u64(u64::from(generation) << 32 | u64::from(index))
    }

    /// Whom the kernel's number names.
    #[expect(clippy::cast_possible_truncation, reason = "two halves of 32 bits each")]
    fn of(data: EventData) -> Self {
        let (index, generation) = (data.u64() as u32, (data.u64() >> 32) as u32);
        match index {
            WAKER => Self::Waker,
            LISTENERS.. => Self::Listener(ListenerId(index - LISTENERS)),
            index => Self::Socket(Socket { index, generation }),
        }
    }
}

#[cfg(test)]
type UnderTest = EpollDriver;

#[cfg(test)]
#[path = "sockets/tests/mod.rs"]
mod tests;

#[cfg(test)]
mod subject_tests {
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
