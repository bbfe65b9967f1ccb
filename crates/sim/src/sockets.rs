//! One driver's sockets, and what it has to tell.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use driver::{
    AcceptFault, Completion, ConnectFault, Owner, PeerFault, Sent, Socket, SpoolDone, Ticket, Wake,
};

use crate::net::{Connection, Opening};

/// A socket as its driver knows it: as of the last poll, and of what calls found out since.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as an epoll driver has them")]
pub(crate) struct Entry {
    pub(crate) connection: Option<usize>,
    pub(crate) owner: Option<Owner>,
    generation: u32,
    pub(crate) armed: bool,
    pub(crate) awaits_end: bool,
    pub(crate) ended: bool,
    pub(crate) readable: bool,
    pub(crate) waiting: bool,
    pub(crate) writable: bool,
    pub(crate) connecting: bool,
    pub(crate) fault: Option<PeerFault>,
    pub(crate) reported: bool,
    /// It is told once that something can be received, or that there is room, though nothing
    /// happened.
    pub(crate) in_vain: bool,
}

/// What happened. Whether it is worth telling is decided when it is taken out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    Accepted { index: u32, listener: ListenerId, peer: IpAddr },
    AcceptFailed { listener: ListenerId, fault: AcceptFault },
    Connected { index: u32 },
    ConnectFailed { index: u32, fault: ConnectFault },
    Readable { index: u32 },
    Ended { index: u32 },
    Writable { index: u32 },
    Failed { index: u32 },
    Closed { index: u32, owner: Owner },
    Left { index: u32 },
    Spooled { ticket: Ticket, done: SpoolDone },
    Woken,
}

/// What a driver does with a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Paused,
    Open,
    Stopped,
}

/// Wakes a driver of memory, from any thread.
#[derive(Debug, Default)]
pub(crate) struct MemoryWaker(pub(crate) AtomicBool);

impl Wake for MemoryWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The state of one driver.
#[derive(Debug)]
pub(crate) struct Station {
    entries: Vec<Entry>,
    free: Vec<u32>,
    used: u32,
    capacity: u32,
    pub(crate) notes: VecDeque<Note>,
    /// Connections at which something happened since the last poll.
    pub(crate) touched: Vec<usize>,
    pub(crate) doors: Vec<Door>,
    /// What servers' names stand for, where that was told.
    pub(crate) addresses: BTreeMap<ServerId, Vec<SocketAddr>>,
    /// Clients it may still accept.
    pub(crate) room: u32,
    pub(crate) waker: Arc<MemoryWaker>,
    /// The moment of the last poll.
    pub(crate) now: Instant,
    /// How long the last poll would have waited.
    pub(crate) until: Option<Instant>,
}

impl Station {
    pub(crate) fn new(capacity: u32, listeners: usize, now: Instant) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            used: 0,
            capacity,
            notes: VecDeque::new(),
            touched: Vec::new(),
            doors: vec![Door::default(); listeners],
            addresses: BTreeMap::new(),
            room: u32::MAX,
            waker: Arc::default(),
            now,
            until: None,
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Sockets that are open or whose last completion was not taken out yet.
    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    /// Whether it has something to tell or to look at.
    pub(crate) fn is_busy(&self) -> bool {
        !self.notes.is_empty() || !self.touched.is_empty() || self.waker.0.load(Ordering::Acquire)
    }

    /// A new socket; the table must not be full.
    pub(crate) fn insert(&mut self, connection: usize, owner: Option<Owner>) -> Socket {
        assert!(!self.is_full(), "the caller has looked");
        self.used += 1;
        let (index, generation) = match self.free.pop() {
            Some(index) => (index, self.entries[index as usize].generation),
            None => (self.used - 1, 0),
        };
        let entry = Entry {
            connection: Some(connection),
            owner,
            generation,
            armed: false,
            awaits_end: false,
            ended: false,
            readable: false,
            waiting: false,
            writable: true,
            connecting: false,
            fault: None,
            reported: false,
            in_vain: false,
        };
        match self.entries.get_mut(index as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        Socket { index, generation }
    }

    /// The open socket of that name and its connection; `None` if the name is stale.
    pub(crate) fn get(&mut self, socket: Socket) -> Option<(&mut Entry, usize)> {
        let entry = self.entries.get_mut(socket.index as usize)?;
        let connection = entry.connection.filter(|_| entry.generation == socket.generation)?;
        Some((entry, connection))
    }

    /// Takes the connection out: the name is stale, the place taken until a note frees it.
    pub(crate) fn take(&mut self, socket: Socket) -> Option<(usize, Option<Owner>)> {
        let (entry, connection) = self.get(socket)?;
        entry.connection = None;
        entry.generation = entry.generation.wrapping_add(1);
        Some((connection, entry.owner))
    }

    /// Gives up everything: the connections that were open.
    pub(crate) fn end(&mut self) -> Vec<usize> {
        self.doors.fill(Door::Stopped);
        self.notes.clear();
        self.touched.clear();
        self.until = None;
        (self.used, self.room) = (0, 0);
        self.entries.drain(..).filter_map(|entry| entry.connection).collect()
    }

    fn free(&mut self, index: u32) {
        self.used -= 1;
        self.free.push(index);
    }

    /// Looks at a connection and notes what its owner waits for.
    pub(crate) fn look(&mut self, index: u32, connection: &Connection) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        if entry.connecting {
            match connection.opening {
                Opening::Hanging => return,
                Opening::Open => self.notes.push_back(Note::Connected { index }),
                Opening::Failed(fault) => {
                    entry.fault = Some(PeerFault::Reset);
                    entry.reported = true;
                    self.notes.push_back(Note::ConnectFailed { index, fault });
                }
            }
            entry.connecting = false;
        }
        entry.readable = connection.is_readable() || entry.fault.is_some();
        entry.ended = connection.to_driver.ended;
        entry.writable = connection.is_writable();
        entry.fault = entry.fault.or(connection.driver_fault);
        self.note_state(index);
    }

    /// Notes that the socket is readable, and has room, though neither may be true.
    pub(crate) fn note_in_vain(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        if entry.connecting || entry.owner.is_none() {
            return;
        }
        entry.in_vain = true;
        self.notes.push_back(if entry.armed {
            Note::Readable { index }
        } else {
            Note::Writable { index }
        });
    }

    /// Notes what the owner of place `index` may be waiting for.
    pub(crate) fn note_state(&mut self, index: u32) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        if entry.armed && entry.readable && !entry.connecting {
            self.notes.push_back(Note::Readable { index });
        }
        if entry.awaits_end && entry.ended {
            self.notes.push_back(Note::Ended { index });
        }
        if entry.waiting && entry.writable {
            self.notes.push_back(Note::Writable { index });
        }
        if entry.fault.is_some() && !entry.reported {
            self.notes.push_back(Note::Failed { index });
        }
    }

    /// Whether the end of this socket's peer would be told.
    pub(crate) fn awaits_end(&mut self, socket: Socket) -> bool {
        self.get(socket).is_some_and(|(entry, _)| entry.awaits_end || entry.armed)
    }

    /// Connections of which it waits to be told that more came.
    pub(crate) fn listening(&self) -> impl Iterator<Item = usize> {
        let listens = |entry: &&Entry| entry.armed && !entry.readable && !entry.connecting;
        self.entries.iter().filter(listens).filter_map(|entry| entry.connection)
    }

    /// Whether it has to tell of new clients.
    pub(crate) fn has_arrivals(&self) -> bool {
        self.notes.iter().any(|note| matches!(note, Note::Accepted { .. }))
    }

    /// The next completion.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        loop {
            let note = self.notes.pop_front()?;
            if let Some(completion) = self.tell(note) {
                return Some(completion);
            }
        }
    }

    fn tell(&mut self, note: Note) -> Option<Completion> {
        match note {
            Note::Woken => Some(Completion::Woken),
            Note::Spooled { ticket, done } => Some(Completion::Spooled { ticket, done }),
            Note::AcceptFailed { listener, fault } => {
                Some(Completion::AcceptFailed { listener, fault })
            }
            Note::Accepted { index, listener, peer } => {
                let generation = self.entry(index)?.generation;
                let socket = Socket { index, generation };
                Some(Completion::Accepted { listener, socket, peer })
            }
            Note::Connected { index } => {
                let owner = self.entry(index)?.owner?;
                Some(Completion::Connected { owner })
            }
            Note::ConnectFailed { index, fault } => {
                let owner = self.entry(index)?.owner?;
                Some(Completion::ConnectFailed { owner, fault })
            }
            Note::Readable { index } => self.entry(index).and_then(Entry::tell_readable),
            Note::Ended { index } => self.entry(index).and_then(Entry::tell_ended),
            Note::Writable { index } => self.entry(index).and_then(Entry::tell_writable),
            Note::Failed { index } => self.entry(index).and_then(Entry::tell_failed),
            Note::Closed { index, owner } => {
                self.free(index);
                Some(Completion::Closed { owner })
            }
            Note::Left { index } => {
                self.free(index);
                None
            }
        }
    }

    /// The entry in place `index` if it is open.
    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize).filter(|entry| entry.connection.is_some())
    }
}

impl Entry {
    fn tell_readable(&mut self) -> Option<Completion> {
        if !(self.armed && (self.readable || self.in_vain)) {
            return None;
        }
        (self.armed, self.in_vain) = (false, false);
        Some(Completion::Readable { owner: self.owner? })
    }

    fn tell_ended(&mut self) -> Option<Completion> {
        if !(self.awaits_end && self.ended) {
            return None;
        }
        self.awaits_end = false;
        Some(Completion::Ended { owner: self.owner? })
    }

    fn tell_writable(&mut self) -> Option<Completion> {
        if !(self.waiting && (self.writable || self.in_vain)) {
            return None;
        }
        (self.waiting, self.in_vain) = (false, false);
        Some(Completion::Sent { owner: self.owner?, bytes: 0 })
    }

    /// Told once; an owner who waits to receive learns it there, behind the bytes before it.
    fn tell_failed(&mut self) -> Option<Completion> {
        let (fault, owner) = (self.fault?, self.owner?);
        if self.reported || self.armed {
            return None;
        }
        self.reported = true;
        Some(Completion::Failed { owner, fault })
    }

    /// A call tells its caller that the connection broke.
    pub(crate) fn broke(&mut self, fault: PeerFault) -> PeerFault {
        self.readable = true;
        self.reported = true;
        *self.fault.get_or_insert(fault)
    }

    /// What a send of `offered` bytes came to.
    pub(crate) fn sent(&mut self, offered: usize, sent: Result<usize, PeerFault>) -> Sent {
        match sent {
            Err(fault) => Sent::Failed(self.broke(fault)),
            Ok(0) => {
                self.writable = false;
                self.waiting = true;
                Sent::Later
            }
            Ok(sent) => {
                self.writable = sent == offered;
                Sent::Now(u32::try_from(sent).unwrap_or(u32::MAX))
            }
        }
    }
}
