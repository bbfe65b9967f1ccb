//! What of an exchange lies in the spool (law 5; the invention's mass storage 114).
//!
//! While a request is collected, what came of it goes to the end of the reel; when it is whole,
//! all of it but a head that was held back lies there, and is read back as the server takes it.
//! Of a response, what the client is not ready for goes to the reel, and is read back before
//! what came later and stayed in the pool:
//!
//! ```text
//! to the server:  request (head) → front → reel
//! to the client:  front → reel → output
//! ```

use pool::{Chain, Cursor, Pool, Promise};
use spool::Reel;

use crate::state::{Exchange, State};

/// The part of an exchange that is in the spool.
#[derive(Debug)]
pub struct Spooled {
    /// What lies on disk.
    pub reel: Reel,
    /// A copy of what lies first on the reel, read back to be sent next. It can be given up, and
    /// read again.
    pub front: Chain,
    /// Bytes of the front that were sent, and that the reel still counts as unread.
    pub sent: u32,
    /// Whether more is being read back.
    pub reading: Reading,
    /// Tells errands of this spooling from those of an earlier one.
    pub generation: u32,
    /// It waits until the disk has done some errand, to give it another.
    pub queued: bool,
}

/// How far the reading back of the next piece is.
#[derive(Debug)]
pub enum Reading {
    /// Nothing is read.
    No,
    /// A buffer is awaited for it.
    AwaitsBuffer,
    /// The disk reads; a buffer is promised for what comes.
    UnderWay(Option<Promise>),
    /// The disk reads what is not needed next any more.
    InVain,
}

/// What can be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes.
    Bytes(Cursor),
    /// What must be read back first.
    Spooled,
    /// Nothing is there now.
    Nothing,
}

impl Spooled {
    /// Nothing is in the spool yet.
    pub const fn new(reel: Reel, generation: u32) -> Self {
        Self { reel, front: Chain::new(), sent: 0, reading: Reading::No, generation, queued: false }
    }

    fn next(&self, pool: &Pool) -> Next {
        if !self.front.is_empty() {
            Next::Bytes(pool.cursor(&self.front))
        } else if self.left() > 0 {
            Next::Spooled
        } else {
            Next::Nothing
        }
    }

    /// Bytes that are still to be sent.
    pub const fn left(&self) -> u64 {
        self.reel.unread() - self.sent as u64
    }

    /// All of it is to be sent once more.
    pub(crate) fn rewind(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.front);
        self.sent = 0;
        self.reading = match core::mem::replace(&mut self.reading, Reading::No) {
            Reading::UnderWay(promise) => {
                if let Some(promise) = promise {
                    pool.forgive(promise);
                }
                Reading::InVain
            }
            Reading::InVain => Reading::InVain,
            Reading::No | Reading::AwaitsBuffer => Reading::No,
        };
        self.reel.rewind();
    }

    /// Gives back what of it is in the pool; the reel is the caller's to release.
    pub fn give_up(self, pool: &mut Pool) -> Reel {
        pool.release(self.front);
        if let Reading::UnderWay(Some(promise)) = self.reading {
            pool.forgive(promise);
        }
        self.reel
    }
}

impl Exchange {
    /// What of the request is to be written next.
    pub fn next_unsent(&self, pool: &Pool) -> Next {
        let State::Leased { lease, request, unsent, .. } = &self.state else {
            return Next::Nothing;
        };
        let head = if lease.kept { *unsent } else { pool.cursor(request) };
        match &self.spooled {
            _ if head.left() > 0 => Next::Bytes(head),
            Some(spooled) => spooled.next(pool),
            None => Next::Nothing,
        }
    }

    /// What the client is to be given next.
    pub fn next_output(&self, pool: &Pool) -> Next {
        let answers = matches!(self.state, State::Draining { .. } | State::Delivering { .. });
        if let Some(spooled) = self.spooled.as_ref().filter(|_| answers) {
            let next = spooled.next(pool);
            if next != Next::Nothing {
                return next;
            }
        }
        match self.deliverable(pool) {
            Some(unsent) if unsent.left() > 0 => Next::Bytes(unsent),
            _ => Next::Nothing,
        }
    }

    /// Counts the first `bytes` of what was read back as sent; whether there were any.
    pub(crate) fn consume_front(&mut self, bytes: u32, pool: &mut Pool) -> bool {
        match &mut self.spooled {
            Some(spooled) if !spooled.front.is_empty() => {
                pool.consume(&mut spooled.front, bytes);
                spooled.sent += bytes;
                true
            }
            _ => false,
        }
    }

    /// What of the exchange may go to the spool now: what came of a request's body, or what a
    /// client has not taken of a response. A head is not spooled: it is a buffer or few, and
    /// a proxy looks at it again with every byte.
    pub fn spoolable(&self, pool: &Pool) -> Option<Cursor> {
        match &self.state {
            State::Collecting { body, reader, .. } => {
                Some(pool.cursor(body).before_last(reader.excess()))
            }
            State::Draining { .. } | State::Delivering { .. } => self.deliverable(pool),
            _ => None,
        }
    }

    /// Whether something can go to the spool, or is a copy of what is there, so that buffers
    /// become free without harm to anybody.
    pub fn is_spoolable(&self) -> bool {
        // A chain may hold buffers and no byte.
        let held = match &self.state {
            State::Collecting { body, reader, .. } => body.len() - reader.excess(),
            State::Draining { output, .. } if self.sending => output.len(),
            State::Delivering { output } => output.len(),
            _ => 0,
        };
        held > 0 || self.spooled.as_ref().is_some_and(|spooled| !spooled.front.is_empty())
    }

    /// Counts the first `bytes` of what is [`spoolable`](Self::spoolable) as being in the spool.
    pub fn went_to_spool(&mut self, bytes: u32, pool: &mut Pool) {
        match &mut self.state {
            State::Collecting { body, .. } => pool.consume(body, bytes),
            State::Draining { lease, output, .. } => lease.consume(output, bytes, pool),
            State::Delivering { output } => pool.consume(output, bytes),
            _ => debug_assert!(false, "nothing of it goes to the spool"),
        }
    }
}
