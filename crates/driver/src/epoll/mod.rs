//! The epoll driver: readiness from the kernel, one registration a socket, no unsafe code.
//!
//! - `table`: the sockets, 16 bytes each, and what is known of them;
//! - `watch`: what epoll reports, and what that means for a socket;
//! - `notes`: what happened, before it is told;
//! - `accept`, `connect`, `transfer`: the calls on sockets;
//! - `wake`: other threads' way in.

mod accept;
mod connect;
mod notes;
mod table;
mod transfer;
mod wake;
mod watch;

#[cfg(test)]
mod tests;

use core::mem::MaybeUninit;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::id::{ListenerId, ServerId};
use base::limits::{EVENT_BATCH, LISTENERS_MAX};
use base::time::Instant;
use pool::{Chain, Cursor, Fill, Pool, Promise};
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Address, Completion, ConnectFault, Driver, Listener, Owner, PeerFault, Received, Sent, Socket,
    Wake,
};
use accept::Door;
use connect::Server;
use notes::{Note, Notes};
use table::{Entry, Flags, Table};
use watch::Subject;

pub use wake::Waker;

/// What a driver is built from.
#[derive(Debug)]
pub struct EpollConfig {
    /// Most sockets, clients and upstream connections together, at one time.
    pub sockets: u32,
    /// The listeners, named by their place ([`ListenerId`]); at most
    /// `base::limits::LISTENERS_MAX`. None is open before [`Driver::listen`].
    pub listeners: Vec<Listener>,
    /// The servers' addresses, named by their place ([`ServerId`]).
    pub servers: Vec<Address>,
    /// Where the clock begins; the same for all workers of the process.
    pub epoch: std::time::Instant,
    /// How others wake this worker.
    pub waker: Arc<Waker>,
}

/// A [`Driver`] over epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    table: Table,
    notes: Notes,
    doors: Vec<Door>,
    /// Clients that may still be accepted.
    room: u32,
    servers: Vec<Server>,
    waker: Arc<Waker>,
    /// Whether the last wait left events in the kernel, perhaps.
    behind: bool,
    discarded: Box<[u8]>,
    epoch: std::time::Instant,
    now: Instant,
    wall: Cell<Option<SystemTime>>,
}

/// A connection on its way from one worker to another. Dropping it closes it.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl EpollDriver {
    /// Bytes of memory that one socket takes in the table.
    pub const SOCKET_BYTES: usize = size_of::<Entry>();

    /// A driver without sockets.
    ///
    /// # Errors
    /// When the kernel grants no epoll or event descriptor, a Unix server's path is too long
    /// (ENAMETOOLONG), or there are more listeners or sockets than can be named (EINVAL).
    pub fn new(config: EpollConfig) -> std::io::Result<Self> {
        let EpollConfig { sockets, listeners, servers, epoch, waker } = config;
        if listeners.len() > LISTENERS_MAX as usize || sockets > watch::SOCKETS_MAX {
            return Err(Errno::INVAL.into());
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch::add_waker(&epoll, waker.descriptor())?;
        Ok(Self {
            epoll,
            table: Table::new(sockets),
            notes: Notes::new(sockets, listeners.len()),
            doors: listeners.into_iter().map(Door::new).collect(),
            room: u32::MAX,
            servers: servers.iter().map(Server::new).collect::<Result<_, _>>()?,
            waker,
            behind: false,
            discarded: vec![0; transfer::DISCARD_BYTES].into_boxed_slice(),
            epoch,
            now: Instant::default(),
            wall: Cell::new(None),
        }
        .on_time())
    }

    fn on_time(mut self) -> Self {
        self.read_clock();
        self
    }

    fn read_clock(&mut self) {
        self.now = self.elapsed();
        self.wall.set(None);
    }

    fn elapsed(&self) -> Instant {
        Instant(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Puts a connection under watch.
    fn watch(
        &mut self,
        descriptor: OwnedFd,
        owner: Owner,
        flags: Flags,
    ) -> Result<Socket, ConnectFault> {
        let flags = flags.and(Flags::OWNED);
        let inserted = self.table.insert(descriptor, owner.0, flags);
        let socket = inserted.map_err(|_| ConnectFault::Exhausted)?;
        let watched = self
            .table
            .get(socket)
            .and_then(|entry| entry.descriptor())
            .map(|descriptor| watch::add_socket(&self.epoll, socket, descriptor));
        if watched == Some(Ok(())) {
            return Ok(socket);
        }
        drop(self.table.take(socket));
        self.table.free(socket.index);
        Err(ConnectFault::Exhausted)
    }

    /// How long to wait for events: not at all while something is queued or overdue.
    fn timeout(&self, until: Option<Instant>) -> Option<Timespec> {
        let wait =
            if self.notes.is_empty() { until?.since(self.elapsed()) } else { Duration::ZERO };
        // A wait too long for a timespec is as good as one without end.
        Timespec::try_from(wait).ok()
    }

    /// Marks what the kernel reported, then accepts: who is here comes before who is new.
    fn mark_events(&mut self, events: &[Event]) {
        let mut calling = 0u64;
        for event in events {
            match Subject::of(event.data) {
                Subject::Socket(socket) => {
                    if let Some(entry) = self.table.get(socket) {
                        let events = event.flags;
                        watch::mark(socket.index, entry, events, &self.servers, &mut self.notes);
                    }
                }
                Subject::Listener(listener) => calling |= 1 << listener.0,
                Subject::Waker => {
                    self.waker.woken();
                    self.notes.woken();
                }
            }
        }
        while calling != 0 {
            let index = calling.trailing_zeros();
            calling &= calling - 1;
            if let Some(door) = self.doors.get_mut(index as usize) {
                let queues = (&mut self.table, &mut self.notes);
                door.turn(ListenerId(index), &self.epoll, queues, &mut self.room);
            }
        }
    }

    /// What a note comes to now.
    fn tell(&mut self, note: Note) -> Option<Completion> {
        match note {
            Note::Woken => Some(Completion::Woken),
            Note::AcceptFailed { listener, fault } => {
                Some(Completion::AcceptFailed { listener, fault })
            }
            Note::Accepted { index, listener, peer } => {
                self.open_place(index)?;
                Some(Completion::Accepted { listener, socket: self.table.name(index), peer })
            }
            Note::Connected { index } => {
                let owner = Owner(self.open_place(index)?.owner);
                Some(Completion::Connected { owner })
            }
            Note::ConnectFailed { index, fault } => {
                let owner = Owner(self.open_place(index)?.owner);
                Some(Completion::ConnectFailed { owner, fault })
            }
            Note::Readable { index } => self.open_place(index).and_then(tell_readable),
            Note::Writable { index } => self.open_place(index).and_then(tell_writable),
            Note::Failed { index } => self.open_place(index).and_then(tell_failed),
            Note::Closed { index } => {
                let owner = Owner(self.table.place(index)?.owner);
                self.table.free(index);
                Some(Completion::Closed { owner })
            }
            Note::Left { index } => {
                self.table.free(index);
                None
            }
        }
    }

    /// The socket in place `index`, unless it has been closed or given away.
    fn open_place(&mut self, index: u32) -> Option<&mut Entry> {
        self.table.place(index).filter(|entry| entry.descriptor().is_some())
    }
}

/// Told while the owner still waits and nobody has received meanwhile.
fn tell_readable(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_READABLE);
    if !entry.flags.all(Flags::ARMED.and(Flags::READABLE)) {
        return None;
    }
    entry.flags.clear(Flags::ARMED);
    Some(Completion::Readable { owner: Owner(entry.owner) })
}

fn tell_writable(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_WRITABLE);
    if !entry.flags.all(Flags::WAITING.and(Flags::WRITABLE)) {
        return None;
    }
    entry.flags.clear(Flags::WAITING);
    Some(Completion::Sent { owner: Owner(entry.owner), bytes: 0 })
}

/// Told once. An owner who waits to receive learns it there, behind the bytes that came before:
/// a server that answers early and closes resets the connection behind its answer.
fn tell_failed(entry: &mut Entry) -> Option<Completion> {
    entry.flags.clear(Flags::NOTED_FAILED);
    let fault = entry.fault()?;
    if entry.flags.any(Flags::REPORTED.and(Flags::ARMED)) || !entry.flags.any(Flags::OWNED) {
        return None;
    }
    entry.flags.set(Flags::REPORTED);
    Some(Completion::Failed { owner: Owner(entry.owner), fault })
}

impl Driver for EpollDriver {
    type Detached = Detached;

    fn now(&self) -> Instant {
        self.now
    }

    fn wall(&self) -> SystemTime {
        let wall = self.wall.get().unwrap_or_else(read_calendar);
        self.wall.set(Some(wall));
        wall
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn listen(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            door.open(listener, &self.epoll, &mut self.notes);
        }
    }

    fn accept_at_most(&mut self, clients: u32) {
        self.room = clients;
    }

    fn pause(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            door.close(&self.epoll);
        }
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(door) = self.doors.get_mut(listener.index()) {
            door.close_for_good(listener, &self.epoll, &mut self.table, &mut self.notes);
        }
    }

    fn connect(&mut self, server: ServerId, owner: Owner) -> Result<Socket, ConnectFault> {
        if self.table.is_full() {
            return Err(ConnectFault::Exhausted);
        }
        let server = self.servers.get(server.index()).ok_or(ConnectFault::Refused)?;
        let begun = connect::begin(server)?;
        let flags = if begun.open { Flags::NONE } else { Flags::CONNECTING };
        let socket = self.watch(begun.descriptor, owner, flags.and(Flags::WRITABLE))?;
        if begun.open {
            self.notes.push(Note::Connected { index: socket.index });
        }
        Ok(socket)
    }

    fn own(&mut self, socket: Socket, owner: Owner) {
        if let Some(entry) = self.table.get(socket) {
            entry.owner = owner.0;
            entry.flags.set(Flags::OWNED);
            self.notes.failed(socket.index, entry);
        }
    }

    fn detach(&mut self, socket: Socket) -> Option<Detached> {
        let descriptor = self.table.take(socket)?;
        self.notes.push(Note::Left { index: socket.index });
        let removed = epoll::delete(&self.epoll, &descriptor);
        removed.is_ok().then_some(Detached(descriptor))
    }

    fn attach(&mut self, detached: Detached, owner: Owner) -> Result<Socket, ConnectFault> {
        self.watch(detached.0, owner, Flags::WRITABLE)
    }

    fn arm(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            entry.flags.set(Flags::ARMED);
            self.notes.readable(socket.index, entry);
        }
    }

    fn disarm(&mut self, socket: Socket) {
        if let Some(entry) = self.table.get(socket) {
            entry.flags.clear(Flags::ARMED);
            self.notes.failed(socket.index, entry);
        }
    }

    fn is_quiet(&mut self, socket: Socket) -> bool {
        let behind = self.behind;
        let Some(entry) = self.table.get(socket) else {
            return false;
        };
        if entry.flags.any(Flags::READABLE.and(Flags::ENDED).and(Flags::BROKEN)) {
            return false;
        }
        let asked = behind || !entry.flags.any(Flags::SEEN);
        !asked || entry.descriptor().is_some_and(transfer::peek_is_quiet)
    }

    fn receive(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        chain: &mut Chain,
        fill: Fill,
        promise: &mut Option<Promise>,
    ) -> Received {
        let Some(entry) = self.table.get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        let place = (socket.index, entry);
        transfer::receive(place, &mut self.notes, pool, chain, (fill, promise))
    }

    fn discard(&mut self, socket: Socket) -> Received {
        let Some(entry) = self.table.get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        transfer::discard((socket.index, entry), &mut self.notes, &mut self.discarded)
    }

    fn send(&mut self, socket: Socket, pool: &Pool, unsent: &Cursor, more: bool) -> Sent {
        let Some(entry) = self.table.get(socket) else {
            return Sent::Failed(PeerFault::Reset);
        };
        let sent = transfer::send(entry, pool, unsent, more);
        if sent == Sent::Later {
            self.notes.writable(socket.index, entry);
        }
        sent
    }

    fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> bool {
        self.table.get(socket).is_some_and(|entry| transfer::send_text(entry, text))
    }

    fn shutdown(&mut self, socket: Socket) {
        if let Some(descriptor) = self.table.get(socket).and_then(|entry| entry.descriptor()) {
            // It fails only when the connection is broken already, which is told elsewhere.
            let _ = shutdown(descriptor, Shutdown::Write);
        }
    }

    fn close(&mut self, socket: Socket) {
        let Some(entry) = self.table.get(socket) else {
            return;
        };
        let index = socket.index;
        let owned = entry.flags.any(Flags::OWNED);
        // Closing the descriptor takes it out of epoll: nobody else holds a copy.
        drop(self.table.take(socket));
        self.notes.push(if owned { Note::Closed { index } } else { Note::Left { index } });
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            let note = self.notes.pop()?;
            if let Some(completion) = self.tell(note) {
                return Some(completion);
            }
        }
    }

    fn poll(&mut self, until: Option<Instant>) {
        let timeout = self.timeout(until);
        let mut room = [const { MaybeUninit::<Event>::uninit() }; EVENT_BATCH];
        let waited = epoll::wait(&self.epoll, &mut room[..], timeout.as_ref());
        self.read_clock();
        // The only error of a well-formed wait is EINTR: nothing has happened.
        let Ok((events, left)) = waited else { return };
        self.behind = left.is_empty();
        self.mark_events(events);
    }
}

/// The calendar time, to the kernel's tick: a Date field has whole seconds.
fn read_calendar() -> SystemTime {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    Duration::try_from(time).map_or(SystemTime::UNIX_EPOCH, |since| SystemTime::UNIX_EPOCH + since)
}
