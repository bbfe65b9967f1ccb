//! What a worker's driver has of the spool's disk.

use std::sync::Arc;
#[cfg(not(any(loom, shuttle)))]
use std::thread::Thread;

use base::limits::{RECEIVE_BUFFERS, SPOOL_ERRANDS, SPOOL_EXTENT};
use base::sync::ArrayQueue;
#[cfg(any(loom, shuttle))]
use base::sync::thread::Thread;
use pool::{Chain, Cursor, Fill, Pool, Promise, Rank};
use spool::Piece;

use super::thread::{Counter, Disk, Errand, Inbox};
use crate::sockets::Waker;
use crate::{Completion, SpoolDone, SpoolRead, Ticket};

/// A worker's errands: memory for [`SPOOL_ERRANDS`] of them, set aside at start and touched as
/// it is used.
#[derive(Debug)]
pub struct Desk {
    counter: Arc<Counter>,
    thread: Thread,
    inbox: Arc<Inbox>,
    /// The memory that is not out on an errand.
    places: Vec<Option<Box<[u8]>>>,
    /// Bytes read into a place and not yet taken.
    filled: Vec<u32>,
    free: Vec<u32>,
}

impl Desk {
    /// Bytes of memory of one desk.
    pub const BYTES: usize = (SPOOL_ERRANDS * SPOOL_EXTENT) as usize;

    /// A desk at `disk` for the worker that `waker` wakes.
    pub fn new(disk: &Disk, waker: Arc<Waker>) -> Self {
        let done = ArrayQueue::new(SPOOL_ERRANDS as usize);
        let memory = || Some(vec![0; SPOOL_EXTENT as usize].into_boxed_slice());
        Self {
            counter: Arc::clone(disk.counter()),
            thread: disk.thread().clone(),
            inbox: Arc::new(Inbox { done, waker }),
            places: (0..SPOOL_ERRANDS).map(|_| memory()).collect(),
            filled: vec![0; SPOOL_ERRANDS as usize],
            free: (0..SPOOL_ERRANDS).rev().collect(),
        }
    }

    /// See [`crate::Driver::spool_write`].
    pub(crate) fn write(
        &mut self,
        pool: &Pool,
        from: &Cursor,
        piece: Piece,
        ticket: Ticket,
    ) -> bool {
        self.send_out(true, piece, ticket, |memory| pool.copy_from(from, memory))
    }

    /// See [`crate::Driver::spool_read`].
    pub(crate) fn read(&mut self, piece: Piece, ticket: Ticket) -> bool {
        self.send_out(false, piece, ticket, |memory| memory.len())
    }

    fn send_out(
        &mut self,
        write: bool,
        piece: Piece,
        ticket: Ticket,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let Some(place) = self.free.pop() else { return false };
        let Some(mut memory) = self.places[place as usize].take() else { return false };
        let filled = memory.get_mut(..piece.len as usize).map(fill);
        debug_assert_eq!(filled, Some(piece.len as usize), "a piece is as long as its bytes");
        let inbox = Some(Arc::clone(&self.inbox));
        let errand = Errand { write, piece, ticket, place, memory, inbox, failed: false };
        if let Err(errand) = self.counter.waiting.push(errand) {
            self.come_back(errand.place, errand.memory);
            return false;
        }
        self.thread.unpark();
        true
    }

    fn come_back(&mut self, place: u32, memory: Box<[u8]>) {
        self.places[place as usize] = Some(memory);
        self.free.push(place);
    }

    /// The next errand that is done.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let Errand { write, ticket, place, memory, failed, piece, .. } = self.inbox.done.pop()?;
        let done = match (failed, write) {
            (true, _) => SpoolDone::Failed,
            (false, true) => SpoolDone::Written,
            (false, false) => {
                self.places[place as usize] = Some(memory);
                self.filled[place as usize] = piece.len;
                let done = SpoolDone::Read(SpoolRead(place));
                return Some(Completion::Spooled { ticket, done });
            }
        };
        self.come_back(place, memory);
        Some(Completion::Spooled { ticket, done })
    }

    #[cfg(test)]
    pub(crate) const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Whether something is done that was not told.
    pub(crate) fn has_next(&self) -> bool {
        !self.inbox.done.is_empty()
    }

    /// See [`crate::Driver::spool_take`].
    pub(crate) fn take(
        &mut self,
        read: SpoolRead,
        pool: &mut Pool,
        chain: &mut Chain,
        promise: &mut Option<Promise>,
    ) -> u32 {
        let len = core::mem::take(&mut self.filled[read.0 as usize]) as usize;
        let Some(memory) = self.places[read.0 as usize].as_deref() else { return 0 };
        let bytes = memory.get(..len).unwrap_or_default();
        let taken = put_behind(bytes, pool, chain, promise);
        self.free.push(read.0);
        taken
    }

    /// See [`crate::Driver::spool_drop`].
    pub(crate) fn forget(&mut self, read: SpoolRead) {
        self.filled[read.0 as usize] = 0;
        self.free.push(read.0);
    }
}

/// Copies as much behind the chain's last byte as buffers are granted for; how many bytes. All
/// but the promised buffer is read ahead, which comes after whatever else needs buffers.
pub fn put_behind(
    bytes: &[u8],
    pool: &mut Pool,
    chain: &mut Chain,
    promise: &mut Option<Promise>,
) -> u32 {
    let room = pool.room(chain);
    let fresh = bytes.len().saturating_sub(room).div_ceil(pool.buffer_bytes() as usize);
    let fresh = u16::try_from(fresh).unwrap_or(u16::MAX).min(RECEIVE_BUFFERS);
    let fill = Fill { fresh, rank: Rank::NewClient, headroom: 0 };
    let filled = pool.fill(chain, fill, promise, |spaces| {
        let mut rest = bytes;
        for space in spaces {
            let (now, later) = rest.split_at(rest.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            rest = later;
        }
        Ok::<_, core::convert::Infallible>(bytes.len() - rest.len())
    });
    u32::try_from(filled.unwrap_or(0)).unwrap_or(u32::MAX)
}
