//! Clients just accepted whose first bytes are tried for before the kernel is asked to tell of
//! them: most that open a connection for one request have sent it by then, have their answer
//! within a moment and are gone, and watching them would be the dearest call of their life.
//!
//! One that has sent nothing yet, or has to wait for anything, is watched at once; and whoever is
//! still here after [`WATCH_LATE`], so that a reset does not go unnoticed for longer.

use std::collections::VecDeque;

use base::limits::WATCH_LATE;
use base::time::Instant;

use super::table::{Flags, Table};
use crate::Socket;

/// How sure a guess can be.
const SURE: u8 = 16;
/// What a client that had sent something adds: the call that is spared is several times as dear
/// as a receive that finds nothing.
const HIT: u8 = 3;
/// While newcomers are silent, one in so many is tried all the same.
const TRIAL: u8 = 16;

/// The newcomers that are not watched, and how the last ones behaved.
#[derive(Debug)]
pub(crate) struct Newcomers {
    /// Who came when; those who are gone or watched meanwhile are still in it.
    queue: VecDeque<(Instant, Socket)>,
    most: usize,
    /// Above zero, the next one has probably sent something.
    guess: u8,
    silent: u8,
}

impl Newcomers {
    /// Bytes of memory that each socket takes.
    pub(super) const SOCKET_BYTES: usize = size_of::<(Instant, Socket)>();

    /// Nobody; room for as many as there are sockets.
    pub(crate) fn new(sockets: u32) -> Self {
        let most = sockets as usize;
        Self { queue: VecDeque::with_capacity(most), most, guess: SURE, silent: 0 }
    }

    /// Whether the next client's first bytes are tried for before it is watched.
    pub(crate) fn are_eager(&mut self) -> bool {
        if self.queue.len() == self.most {
            return false;
        }
        self.silent = if self.guess > 0 { 0 } else { (self.silent + 1) % TRIAL };
        self.silent == 0
    }

    /// One that is not watched.
    pub(crate) fn push(&mut self, socket: Socket, now: Instant) {
        self.queue.push_back((now, socket));
    }

    /// What the first receive from one of them found.
    pub(crate) const fn learn(&mut self, had_sent: bool) {
        self.guess = if had_sent {
            let more = self.guess + HIT;
            if more > SURE { SURE } else { more }
        } else {
            self.guess.saturating_sub(1)
        };
    }

    /// One that is here for longer than it may go unwatched.
    pub(crate) fn overdue(&mut self, table: &mut Table, now: Instant) -> Option<Socket> {
        let (since, socket) = self.first(table)?;
        if now.since(since) < WATCH_LATE {
            return None;
        }
        self.queue.pop_front();
        Some(socket)
    }

    /// When the first of them has to be watched.
    pub(crate) fn next(&mut self, table: &mut Table) -> Option<Instant> {
        self.first(table).map(|(since, _)| since + WATCH_LATE)
    }

    /// The first that is still unwatched.
    fn first(&mut self, table: &mut Table) -> Option<(Instant, Socket)> {
        while let Some(&(since, socket)) = self.queue.front() {
            if table.get(socket).is_some_and(|entry| entry.flags.any(Flags::UNWATCHED)) {
                return Some((since, socket));
            }
            self.queue.pop_front();
        }
        // As with the notes: only as many pages are touched as clients came at one time.
        self.queue.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_ones_are_watched_at_once_but_for_a_few() {
        let mut newcomers = Newcomers::new(4);
        for _ in 0..SURE {
            assert!(newcomers.are_eager());
            newcomers.learn(false);
        }
        let tried = (0..160).filter(|_| newcomers.are_eager()).count();
        assert_eq!(tried, 10);
        newcomers.learn(true);
        assert!(newcomers.are_eager(), "one that has sent tells of the next");
    }

    #[test]
    fn a_full_queue_takes_nobody() {
        let mut newcomers = Newcomers::new(1);
        assert!(newcomers.are_eager());
        newcomers.push(Socket { index: 0, generation: 0 }, Instant(0));
        assert!(!newcomers.are_eager());
    }
}
