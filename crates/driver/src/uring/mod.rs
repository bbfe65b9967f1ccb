//! The `io_uring` driver: the ring tells when, direct calls move the bytes.
//!
//! - `ring`: the two queues shared with the kernel, and all unsafe code;
//! - `request`: what a request is about, as the number the kernel hands back;
//! - `refusal`: why `io_uring` cannot be had, and what helps;
//! - this file: which requests stand in the kernel for a socket, a listener and the waker.
//!
//! # What stands in the kernel
//! Each connection has one multishot poll for what comes in, from its first moment to its last: a
//! parked client costs no more than that, and no call parks it. Room for sending is asked for by a
//! one-shot poll only when a send found none, so that readers who make room are not reported to
//! those who never lacked it; by a multishot one if the peer has ended its direction (see below).
//! All requests of a turn go to the kernel with the wait that ends it; a close is a cancelling and a
//! closing among them.
//!
//! A listener has a one-shot, exclusive poll, renewed after each turn of accepting. A multishot
//! accept would stay the first in the listener's queue, and an exclusive waiter that stays first
//! gets every client, however busy its worker is; and it does not tell the client's address.
//!
//! # What is not done
//! Bytes move by direct non-blocking calls. A send left to the ring would name the pool's memory
//! after the call, which its owner may give back in the same turn; with a copy of the bytes it is
//! safe, and was measured: 1 to 4 % less CPU a request, no more than the rounds differ. An armed
//! receive saved nothing against a poll and a read, and costs a parked client 3.4 times a poll's
//! kernel memory.
//!
//! Nor does the ring do the spool's disk: `crate::disk` says what was measured.
//!
//! # What it is worth
//! CPU a request against the epoll driver, one worker, nginx behind it, Linux 6.18, two busy cores,
//! medians of three series of 3, 5 and 8 rounds: 64 keep-alive clients over TCP +4, +2, -1 %; 1,000
//! clients on 64 connections +2, -4, 0 %; a new client connection each, which here takes no system
//! call to watch or to close it, 0, -9, -3 %. The first two series also ran a Unix socket behind
//! (0, 0 %) and 1 MiB responses (+3, -4 %). That is equality, with a small gain at most for new
//! connections; and a parked client costs the kernel 48 bytes more. So epoll stays the default.
//!
//! # Pitfalls met
//! - A multishot request may end by itself (the completion queue overflowed, no memory): the
//!   completion without `MORE` says so, and the poll is renewed.
//! - Every poll tells of the peer's end, asked or not (`EPOLLRDHUP`): one for room ends by it without
//!   room, and the next would at once. A multishot one tells it once, then each time there is room.
//! - `POLL_REMOVE` fails with EALREADY on a poll whose event is under way; `ASYNC_CANCEL` does not.
//! - Completions come after a close: the place stays taken until the last one has come.
//! - A poll keeps the file open: of a descriptor given to another worker it is taken back at once,
//!   all of them when the driver goes. Of a process that is killed the kernel takes them back some
//!   5 to 8 ms after its end; until then its listeners answer, which is why `bind` tries again.

mod refusal;
mod request;
mod ring;

use core::mem::MaybeUninit;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use base::id::ListenerId;
use base::limits::LISTENERS_MAX;
use rustix::event::Timespec;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::sockets::{Entry, Flags, SocketConfig, SocketDriver, Told, Waker, Watcher};
use crate::{PeerFault, Socket};
use request::Request;
use ring::{Completed, Lengths, Ring};

pub use refusal::UringRefusal;

/// A [`Driver`](crate::Driver) over `io_uring`. It stays on the thread that made it.
pub type UringDriver = SocketDriver<Uring>;

impl UringDriver {
    /// A driver without sockets.
    ///
    /// # Errors
    /// When `io_uring` cannot be had: why, and what helps.
    pub fn new(config: SocketConfig) -> Result<Self, UringRefusal> {
        let watcher = Uring::new(Arc::clone(&config.waker), Lengths::USUAL)?;
        Self::with(watcher, config).map_err(UringRefusal::Other)
    }
}

/// Whether this process can have `io_uring`.
///
/// # Errors
/// When it cannot: why, and what helps.
pub fn probe() -> Result<(), UringRefusal> {
    Ring::new(Lengths::USUAL).map(drop)
}

/// Readiness from `io_uring`.
#[derive(Debug)]
pub struct Uring {
    ring: Ring,
    waker: Arc<Waker>,
    /// What is asked of the kernel for each listener.
    listeners: [Watch; LISTENERS_MAX as usize],
    /// Whether completions are left, perhaps.
    behind: bool,
    /// The kernel takes requests from the thread alone that made the ring.
    one_thread: PhantomData<*const ()>,
}

/// What is asked of the kernel for a listener.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    /// Clients are wanted.
    wanted: bool,
    /// A poll stands in the kernel.
    standing: bool,
}

/// What a connection's poll tells: something came in, the peer ended. Failures always.
const INCOMING: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

impl Uring {
    fn new(waker: Arc<Waker>, lengths: Lengths) -> Result<Self, UringRefusal> {
        let mut ring = Ring::new(lengths)?;
        ring.poll_always(waker.descriptor(), EventFlags::IN, Request::Waker);
        let listeners = [Watch::default(); LISTENERS_MAX as usize];
        Ok(Self { ring, waker, listeners, behind: false, one_thread: PhantomData })
    }

    fn watch_incoming(&mut self, index: u32, entry: &mut Entry) {
        if let Some(descriptor) = entry.descriptor() {
            self.ring.poll_always(descriptor, INCOMING, Request::Incoming(index));
            entry.flags.set(Flags::WATCHED);
        }
    }

    fn watch_room(&mut self, index: u32, entry: &mut Entry) {
        let Some(descriptor) = entry.descriptor() else {
            return;
        };
        if entry.flags.any(Flags::ENDED) {
            // Asked once, the kernel would tell of the peer's end again, at once and each time.
            self.ring.poll_always(descriptor, EventFlags::OUT, Request::Room(index));
        } else {
            self.ring.poll_once(descriptor, EventFlags::OUT, Request::Room(index));
        }
        entry.flags.set(Flags::ROOM_WATCHED);
    }

    /// Asks for what nobody asks for any more: what comes in, as the connection has just opened or
    /// its poll has ended by itself; room, if there is none yet.
    fn watch_on(&mut self, index: u32, told: &mut Told<'_>) {
        let Some(entry) = told.table.place(index) else {
            return;
        };
        if entry.flags.any(Flags::CONNECTING) {
            return self.want_room(index, entry);
        }
        if entry.flags.any(Flags::BROKEN) {
            return;
        }
        if !entry.flags.any(Flags::WATCHED) {
            self.watch_incoming(index, entry);
        }
        if entry.flags.any(Flags::WAITING) && !entry.flags.any(Flags::WRITABLE) {
            self.want_room(index, entry);
        }
    }

    /// Cancels what stands in the kernel for a place.
    fn cancel(&mut self, index: u32, entry: &Entry) {
        for (flag, request) in [
            (Flags::WATCHED, Request::Incoming(index)),
            (Flags::ROOM_WATCHED, Request::Room(index)),
        ] {
            if entry.flags.any(flag) {
                self.ring.cancel(request);
            }
        }
    }

    /// Deals with one completion.
    fn take(&mut self, completed: Completed, told: &mut Told<'_>) {
        match completed.request {
            Request::Incoming(index) => {
                tell(index, Flags::WATCHED, completed, told);
                self.watch_on(index, told);
            }
            Request::Room(index) => {
                tell(index, Flags::ROOM_WATCHED, completed, told);
                self.watch_on(index, told);
            }
            Request::Listener(id) => self.tell_listener(id, completed, told),
            Request::Waker => {
                told.woken = true;
                if completed.last {
                    self.ring.poll_always(self.waker.descriptor(), EventFlags::IN, Request::Waker);
                }
            }
            // A cancelling that found nothing: the poll's own last completion tells.
            Request::Errand => {}
        }
    }

    fn tell_listener(&mut self, id: ListenerId, completed: Completed, told: &mut Told<'_>) {
        let Some(watch) = self.listeners.get_mut(id.index()) else {
            return;
        };
        watch.standing = !completed.last;
        if watch.wanted {
            // Cancelled and wanted again meanwhile, too: the turn of accepting renews it.
            told.listener(id);
        }
    }

    fn watch_listener(&mut self, id: ListenerId, listener: impl AsFd) {
        if let Some(watch) = self.listeners.get_mut(id.index())
            && watch.wanted
            && !watch.standing
        {
            watch.standing = true;
            let events = EventFlags::IN | EventFlags::EXCLUSIVE;
            self.ring.poll_once(&listener, events, Request::Listener(id));
        }
    }
}

/// Tells of a connection. With the last completion of its kind the kernel names the place no
/// more on that account.
fn tell(index: u32, flag: Flags, completed: Completed, told: &mut Told<'_>) {
    let socket = told.table.name(index);
    let Some(entry) = told.table.place(index) else {
        return;
    };
    if completed.last {
        entry.flags.clear(flag);
        told.notes.left(index, entry);
    }
    match completed.outcome {
        Ok(events) => told.socket(socket, events),
        Err(Errno::CANCELED) => {}
        // The kernel has no memory to watch it with.
        Err(_) => {
            if let Some(entry) = told.table.get(socket) {
                entry.break_with(PeerFault::Lost);
                told.socket(socket, EventFlags::ERR | EventFlags::OUT);
            }
        }
    }
}

impl Watcher for Uring {
    const WATCHING_IS_A_CALL: bool = false;

    fn add(&mut self, socket: Socket, entry: &mut Entry) -> Result<(), Errno> {
        if entry.flags.any(Flags::CONNECTING) {
            self.watch_room(socket.index, entry);
        } else {
            self.watch_incoming(socket.index, entry);
        }
        Ok(())
    }

    fn want_room(&mut self, index: u32, entry: &mut Entry) {
        if !entry.flags.any(Flags::ROOM_WATCHED) {
            self.watch_room(index, entry);
        }
    }

    fn remove(&mut self, index: u32, entry: &mut Entry, _: &OwnedFd) -> Result<(), Errno> {
        self.cancel(index, entry);
        self.ring.flush();
        self.behind = true;
        Ok(())
    }

    fn close(&mut self, index: u32, entry: &mut Entry, descriptor: OwnedFd) {
        if entry.flags.any(Flags::IN_KERNEL) {
            self.cancel(index, entry);
            self.ring.close(descriptor);
        }
    }

    fn open(&mut self, id: ListenerId, listener: impl AsFd) -> Result<(), Errno> {
        self.listeners.get_mut(id.index()).ok_or(Errno::INVAL)?.wanted = true;
        self.watch_listener(id, listener);
        Ok(())
    }

    fn again(&mut self, id: ListenerId, listener: impl AsFd) {
        self.watch_listener(id, listener);
    }

    fn shut(&mut self, id: ListenerId, _: impl AsFd) {
        let Some(watch) = self.listeners.get_mut(id.index()) else {
            return;
        };
        watch.wanted = false;
        if watch.standing {
            self.ring.cancel(Request::Listener(id));
            self.ring.flush();
            self.behind = true;
        }
    }

    fn wait(&mut self, timeout: Option<Timespec>, told: &mut Told<'_>) {
        self.ring.wait(timeout);
        let mut room = [const { MaybeUninit::uninit() }; ring::BATCH];
        loop {
            let completions = self.ring.completions(&mut room);
            for completion in completions {
                let completed = self.ring.understand(completion);
                self.take(completed, told);
            }
            if completions.len() < ring::BATCH {
                break;
            }
        }
        self.behind = self.ring.is_behind();
    }

    fn is_behind(&self) -> bool {
        self.behind
    }
}

#[cfg(test)]
mod narrow;
#[cfg(test)]
mod refused;

#[cfg(test)]
type UnderTest = UringDriver;

#[cfg(test)]
#[path = "../sockets/tests/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "one set of tests for both drivers")]
mod tests;
