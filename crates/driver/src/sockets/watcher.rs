//! How the kernel tells what happens to sockets: the one thing in which the drivers differ.

use std::os::fd::{AsFd, OwnedFd};

use base::id::ListenerId;
use rustix::event::Timespec;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::connect::Server;
use super::mark;
use super::notes::Notes;
use super::table::{Entry, Table};
use crate::Socket;

/// The kernel's messenger. Everything is told edge by edge: what nobody waits for now is kept in
/// the flags of the socket's entry.
///
/// While the kernel may still name a place of the table, the entry has a flag of
/// [`Flags::IN_KERNEL`](super::table::Flags::IN_KERNEL); the place stays taken until it has none.
pub trait Watcher {
    /// Whether beginning to watch is a system call of its own, which a client that is gone in a
    /// moment is better spared.
    const WATCHING_IS_A_CALL: bool;

    /// Watches a connection from now on; one that is being opened, for the outcome first.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn add(&mut self, socket: Socket, entry: &mut Entry) -> Result<(), Errno>;

    /// A send found no room: the moment there is some again has to be told.
    fn want_room(&mut self, index: u32, entry: &mut Entry);

    /// Watches a connection no longer that another worker gets. When this returns, the kernel
    /// keeps nothing of it open.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, index: u32, entry: &mut Entry, descriptor: &OwnedFd) -> Result<(), Errno>;

    /// Closes a connection, now or with the next [`wait`](Self::wait).
    fn close(&mut self, index: u32, entry: &mut Entry, descriptor: OwnedFd);

    /// Watches a listener; a client wakes one of the workers that wait, not all.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn open(&mut self, id: ListenerId, listener: impl AsFd) -> Result<(), Errno>;

    /// After a turn of accepting: goes on watching the listener.
    fn again(&mut self, id: ListenerId, listener: impl AsFd);

    /// Watches a listener no longer. When this returns, the kernel keeps nothing of it open.
    fn shut(&mut self, id: ListenerId, listener: impl AsFd);

    /// Waits, at most so long, until something happens, and tells it.
    fn wait(&mut self, timeout: Option<Timespec>, told: &mut Told<'_>);

    /// Whether the last wait left something untold, perhaps.
    fn is_behind(&self) -> bool;
}

/// Where a [`Watcher`] says what happened.
pub struct Told<'a> {
    pub(crate) table: &'a mut Table,
    pub(crate) notes: &'a mut Notes,
    pub(crate) servers: &'a [Server],
    /// Listeners that have clients, by bit.
    pub(crate) calling: u64,
    /// Another thread called.
    pub(crate) woken: bool,
}

impl Told<'_> {
    /// Something happened to a socket; nothing if its name is stale.
    #[inline]
    pub(crate) fn socket(&mut self, socket: Socket, events: EventFlags) {
        if let Some(entry) = self.table.get(socket) {
            mark::mark(socket.index, entry, events, self.servers, self.notes);
        }
    }

    /// Clients wait at a listener.
    pub(crate) const fn listener(&mut self, id: ListenerId) {
        self.calling |= 1 << id.0;
    }
}
