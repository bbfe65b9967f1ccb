//! The table of sockets: 16 bytes each, its size fixed at start.

use std::os::fd::OwnedFd;

use crate::{PeerFault, Socket};

/// "No place": the end of the free list.
const NONE: u32 = u32::MAX;

/// Most sockets a table may have, so that the numbers above name listeners and the waker.
pub(crate) const SOCKETS_MAX: u32 = u32::MAX - base::limits::LISTENERS_MAX;

/// What the driver knows of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The owner waits for a `Readable`; stays set until that is delivered.
    pub(crate) const ARMED: Self = Self(1);
    /// Data, the end or a failure can be received.
    pub(crate) const READABLE: Self = Self(1 << 1);
    /// The peer has ended its direction: the last receive will find the end, so a short one does
    /// not mean that nothing is left.
    pub(crate) const ENDED: Self = Self(1 << 2);
    /// The transport has room as far as is known.
    pub(crate) const WRITABLE: Self = Self(1 << 3);
    /// A send found no room and waits for `Sent`.
    pub(crate) const WAITING: Self = Self(1 << 4);
    /// The connection is being opened.
    pub(crate) const CONNECTING: Self = Self(1 << 5);
    /// The connection broke; nothing can be sent.
    pub(crate) const BROKEN: Self = Self(1 << 6);
    /// It broke because the transport gave up, not by a reset.
    pub(crate) const LOST: Self = Self(1 << 7);
    /// The owner was told that it broke.
    pub(crate) const REPORTED: Self = Self(1 << 8);
    /// The socket has an owner.
    pub(crate) const OWNED: Self = Self(1 << 9);
    /// The kernel has reported or answered something since the socket came under watch.
    pub(crate) const SEEN: Self = Self(1 << 10);
    /// A note of that kind is queued.
    pub(crate) const NOTED_READABLE: Self = Self(1 << 11);
    /// A note of that kind is queued.
    pub(crate) const NOTED_WRITABLE: Self = Self(1 << 12);
    /// A note of that kind is queued.
    pub(crate) const NOTED_FAILED: Self = Self(1 << 13);
    /// The kernel tells what can be received, until it says that it does so no more.
    pub(crate) const WATCHED: Self = Self(1 << 14);
    /// The kernel will tell that there is room.
    pub(crate) const ROOM_WATCHED: Self = Self(1 << 15);
    /// The kernel may still name this place.
    pub(crate) const IN_KERNEL: Self = Self::WATCHED.and(Self::ROOM_WATCHED);
    /// The descriptor is gone; the place goes when the kernel names it no more.
    pub(crate) const LEAVING: Self = Self(1 << 16);

    /// The owner waits for the peer's end; stays set until that is delivered.
    pub(crate) const AWAITS_END: Self = Self(1 << 17);
    /// A note of that kind is queued.
    pub(crate) const NOTED_ENDED: Self = Self(1 << 18);

    /// A new client that the kernel was not asked to tell of yet.
    pub(crate) const UNWATCHED: Self = Self(1 << 19);

    /// The kernel was told to take more than it usually would.
    pub(crate) const ROOMY: Self = Self(1 << 20);

    /// Nothing known.
    pub(crate) const NONE: Self = Self(0);

    /// Both sets together.
    pub(crate) const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether any of `flags` is set.
    pub(crate) const fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether all of `flags` are set.
    pub(crate) const fn all(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Sets `flags`.
    pub(crate) const fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    /// Clears `flags`.
    pub(crate) const fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

/// One place of the table.
#[derive(Debug)]
pub struct Entry {
    descriptor: Option<OwnedFd>,
    /// Whom completions name; in a free place the next free one.
    pub(crate) owner: u32,
    generation: u32,
    /// What is known.
    pub(crate) flags: Flags,
}

const _: () = assert!(size_of::<Entry>() == 16, "law 1 counts on it");

impl Entry {
    /// The open descriptor; `None` once it was closed or given away.
    pub(crate) const fn descriptor(&self) -> Option<&OwnedFd> {
        self.descriptor.as_ref()
    }

    /// How the connection broke, if it did.
    pub(crate) const fn fault(&self) -> Option<PeerFault> {
        match (self.flags.any(Flags::BROKEN), self.flags.any(Flags::LOST)) {
            (false, _) => None,
            (true, false) => Some(PeerFault::Reset),
            (true, true) => Some(PeerFault::Lost),
        }
    }

    /// Notes that it broke. What had arrived before can still be received.
    pub(crate) const fn break_with(&mut self, fault: PeerFault) {
        self.flags.set(Flags::BROKEN.and(Flags::READABLE));
        if matches!(fault, PeerFault::Lost) {
            self.flags.set(Flags::LOST);
        }
    }
}

/// All sockets of one driver. A place freed last is reused first, so that pages stay few.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    free: u32,
    used: u32,
    capacity: u32,
}

impl Table {
    /// A table for `capacity` sockets; its memory is touched as sockets come.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { entries: Vec::with_capacity(capacity as usize), free: NONE, used: 0, capacity }
    }

    /// Whether no further socket fits.
    pub(crate) const fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Takes a descriptor in.
    ///
    /// # Errors
    /// Gives it back when the table is full.
    pub(crate) fn insert(
        &mut self,
        descriptor: OwnedFd,
        owner: u32,
        flags: Flags,
    ) -> Result<Socket, OwnedFd> {
        if self.is_full() {
            return Err(descriptor);
        }
        self.used += 1;
        if let Some(entry) = self.entries.get_mut(self.free as usize) {
            let index = core::mem::replace(&mut self.free, entry.owner);
            entry.descriptor = Some(descriptor);
            entry.owner = owner;
            entry.flags = flags;
            return Ok(Socket { index, generation: entry.generation });
        }
        let index = self.used - 1;
        self.entries.push(Entry { descriptor: Some(descriptor), owner, generation: 0, flags });
        Ok(Socket { index, generation: 0 })
    }

    /// The open socket of that name; `None` if the name is stale.
    pub(crate) fn get(&mut self, socket: Socket) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(socket.index as usize)?;
        (entry.generation == socket.generation && entry.descriptor.is_some()).then_some(entry)
    }

    /// The place `index`, whatever its state.
    pub(crate) fn place(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    /// The present name of place `index`.
    pub(crate) fn name(&self, index: u32) -> Socket {
        let generation = self.entries.get(index as usize).map_or(0, |entry| entry.generation);
        Socket { index, generation }
    }

    /// Takes the descriptor out. The name is stale from now on, but the place stays taken until
    /// [`free`](Self::free).
    pub(crate) fn take(&mut self, socket: Socket) -> Option<OwnedFd> {
        let entry = self.get(socket)?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.descriptor.take()
    }

    /// Gives a place back whose descriptor was taken.
    pub(crate) fn free(&mut self, index: u32) {
        let free = self.free;
        let Some(entry) = self.place(index) else {
            return;
        };
        debug_assert!(entry.descriptor.is_none(), "an open socket's place was given back");
        entry.owner = free;
        self.free = index;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_place_is_reused_under_a_new_name_only_after_it_was_freed() {
        let mut table = Table::new(2);
        let first = table.insert(descriptor(), 7, Flags::OWNED).unwrap();
        let second = table.insert(descriptor(), 8, Flags::OWNED).unwrap();
        assert!(table.is_full());
        assert!(table.insert(descriptor(), 9, Flags::OWNED).is_err());

        assert!(table.take(first).is_some());
        assert!(table.take(first).is_none(), "the name is stale");
        assert!(table.get(first).is_none());
        assert!(table.insert(descriptor(), 9, Flags::OWNED).is_err(), "not freed yet");
        table.free(first.index);

        let third = table.insert(descriptor(), 9, Flags::OWNED).unwrap();
        assert_eq!((third.index, third.generation), (first.index, first.generation + 1));
        assert!(table.get(first).is_none());
        assert_eq!(table.get(third).map(|entry| entry.owner), Some(9));
        assert_eq!(table.get(second).map(|entry| entry.owner), Some(8));
    }

    #[test]
    fn the_place_freed_last_is_reused_first() {
        let mut table = Table::new(3);
        let sockets = [0, 1, 2].map(|n| table.insert(descriptor(), n, Flags::OWNED).unwrap());
        for socket in [sockets[2], sockets[0]] {
            assert!(table.take(socket).is_some());
            table.free(socket.index);
        }
        assert_eq!(table.insert(descriptor(), 3, Flags::OWNED).unwrap().index, 0);
        assert_eq!(table.insert(descriptor(), 4, Flags::OWNED).unwrap().index, 2);
    }
}
