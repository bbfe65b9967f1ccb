//! The queue of what happened, before it is told.
//!
//! A note names a place of the table; what it comes to is decided when it is taken out, from the
//! state of the socket then. So a note that has become stale (disarmed, received meanwhile,
//! closed) is dropped, and a socket never has two of a kind.

use std::collections::VecDeque;
use std::net::IpAddr;

use base::id::ListenerId;

use super::table::{Entry, Flags};
use crate::{AcceptFault, ConnectFault};

/// Most notes one socket can have queued: how it began, readable, ended, writable, failed,
/// closed.
const PER_SOCKET: usize = 6;
/// Bytes of memory that the notes of one socket may take.
pub(super) const SOCKET_BYTES: usize = PER_SOCKET * size_of::<Note>();

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// Place `index` holds a new client.
    Accepted { index: u32, listener: ListenerId, peer: IpAddr },
    /// Accepting has stopped.
    AcceptFailed { listener: ListenerId, fault: AcceptFault },
    /// The connection in place `index` is open.
    Connected { index: u32 },
    /// The connection in place `index` could not be opened.
    ConnectFailed { index: u32, fault: ConnectFault },
    /// Something can be received.
    Readable { index: u32 },
    /// The peer has ended its direction.
    Ended { index: u32 },
    /// There is room again.
    Writable { index: u32 },
    /// The connection broke.
    Failed { index: u32 },
    /// The place can be given back, and its owner is told.
    Closed { index: u32 },
    /// The place can be given back.
    Left { index: u32 },
    /// Another thread called.
    Woken,
}

/// First in, first out; its memory is set aside at start.
#[derive(Debug)]
pub(crate) struct Notes {
    queue: VecDeque<Note>,
    /// Whether a `Woken` is queued: one tells as much as many.
    woken: bool,
}

impl Notes {
    /// A queue that never has to grow for `sockets` sockets and `listeners` listeners.
    pub(crate) fn new(sockets: u32, listeners: usize) -> Self {
        let most = sockets as usize * PER_SOCKET + 2 * listeners + 1;
        Self { queue: VecDeque::with_capacity(most), woken: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, note: Note) {
        debug_assert!(self.queue.len() < self.queue.capacity(), "more notes than sockets can have");
        self.queue.push_back(note);
    }

    /// The oldest note.
    pub(crate) fn pop(&mut self) -> Option<Note> {
        let note = self.queue.pop_front();
        if self.queue.is_empty() {
            // Begins at the front again, so that only as many pages are ever touched as notes
            // were queued at one time.
            self.queue.clear();
        }
        if matches!(note, Some(Note::Woken)) {
            self.woken = false;
        }
        note
    }

    /// Notes that another thread called.
    pub(crate) fn woken(&mut self) {
        if !core::mem::replace(&mut self.woken, true) {
            self.push(Note::Woken);
        }
    }

    /// Notes that place `index` can be received from, if its owner waits for that.
    pub(crate) fn readable(&mut self, index: u32, entry: &mut Entry) {
        if entry.flags.all(Flags::ARMED.and(Flags::READABLE))
            && !entry.flags.any(Flags::NOTED_READABLE.and(Flags::CONNECTING))
        {
            entry.flags.set(Flags::NOTED_READABLE);
            self.push(Note::Readable { index });
        }
    }

    /// Notes that the peer of place `index` has ended, if its owner waits for that.
    pub(crate) fn ended(&mut self, index: u32, entry: &mut Entry) {
        if entry.flags.all(Flags::AWAITS_END.and(Flags::ENDED))
            && !entry.flags.any(Flags::NOTED_ENDED)
        {
            entry.flags.set(Flags::NOTED_ENDED);
            self.push(Note::Ended { index });
        }
    }

    /// Notes that place `index` has room, if its owner waits for that.
    pub(crate) fn writable(&mut self, index: u32, entry: &mut Entry) {
        if entry.flags.all(Flags::WAITING.and(Flags::WRITABLE))
            && !entry.flags.any(Flags::NOTED_WRITABLE)
        {
            entry.flags.set(Flags::NOTED_WRITABLE);
            self.push(Note::Writable { index });
        }
    }

    /// Notes that a place on its way out can be given back, if nothing refers to it any more.
    pub(crate) fn left(&mut self, index: u32, entry: &mut Entry) {
        if entry.flags.any(Flags::LEAVING) && !entry.flags.any(Flags::IN_KERNEL) {
            entry.flags.clear(Flags::LEAVING);
            let owned = entry.flags.any(Flags::OWNED);
            self.push(if owned { Note::Closed { index } } else { Note::Left { index } });
        }
    }

    /// Notes that place `index` broke, if that was not told.
    pub(crate) fn failed(&mut self, index: u32, entry: &mut Entry) {
        if entry.flags.any(Flags::BROKEN)
            && !entry.flags.any(Flags::REPORTED.and(Flags::NOTED_FAILED))
        {
            entry.flags.set(Flags::NOTED_FAILED);
            self.push(Note::Failed { index });
        }
    }
}
