//! Who waits for a buffer: one queue a rank, first come first served.

use crate::grant::Rank;
use alloc::vec::Vec;
use base::fifo::{Fifo, Linked, Links};
use base::time::Instant;

/// One token's place in a queue. 24 bytes.
#[derive(Clone, Copy, Default)]
struct Waiter {
    links: Links,
    since: Instant,
    rank: Option<Rank>,
}

/// The waiters by token. Grows to the highest token that ever waited, within the capacity it
/// was given: a proxy that never runs short touches none of it.
struct Waiters(Vec<Waiter>);

impl Linked for Waiters {
    fn links(&mut self, token: u32) -> &mut Links {
        &mut self.0[token as usize].links
    }
}

/// The queues of all ranks.
pub(crate) struct Waiting {
    waiters: Waiters,
    /// One more than the highest token.
    bound: u32,
    queues: [Fifo; 4],
    /// Waits begun since the start, by rank.
    totals: [u64; 4],
}

impl Waiting {
    /// Nobody waits; tokens are below `bound`.
    pub(crate) fn new(bound: u32) -> Self {
        let waiters = Waiters(Vec::with_capacity(bound as usize));
        Self { waiters, bound, queues: [const { Fifo::new() }; 4], totals: [0; 4] }
    }

    /// Queues `token`. A token that waits at this rank keeps its place; one that waits at another
    /// leaves that queue first.
    pub(crate) fn enter(&mut self, token: u32, rank: Rank, now: Instant) {
        if self.prepare(token, rank, now) {
            self.queues[rank.index()].push_back(&mut self.waiters, token);
        }
    }

    /// Queues `token` before all others of its rank, wherever it stood. It counts as waiting for as long as the one
    /// it is put before, so that the queue stays in order of time.
    pub(crate) fn enter_first(&mut self, token: u32, rank: Rank, now: Instant) {
        let front = self.queues[rank.index()].front();
        if front == Some(token) {
            return;
        }
        self.leave(token);
        let since = front.map_or(now, |front| self.waiters.0[front as usize].since.min(now));
        if self.prepare(token, rank, since) {
            self.queues[rank.index()].push_front(&mut self.waiters, token);
        }
    }

    /// Makes the record of a token that is about to be queued; false if it stands there.
    fn prepare(&mut self, token: u32, rank: Rank, since: Instant) -> bool {
        assert!(token < self.bound, "a token beyond those the pool was made for");
        match self.rank_of(token) {
            Some(current) if current == rank => return false,
            Some(_) => self.leave(token),
            None => {}
        }
        let index = token as usize;
        if index >= self.waiters.0.len() {
            self.waiters.0.resize(index + 1, Waiter::default());
        }
        self.waiters.0[index] = Waiter { links: Links::new(), since, rank: Some(rank) };
        self.totals[rank.index()] += 1;
        true
    }

    /// Takes `token` out of its queue, if it stands in one.
    pub(crate) fn leave(&mut self, token: u32) {
        let Some(rank) = self.rank_of(token) else {
            return;
        };
        self.queues[rank.index()].remove(&mut self.waiters, token);
        self.waiters.0[token as usize].rank = None;
    }

    /// The rank `token` waits at.
    pub(crate) fn rank_of(&self, token: u32) -> Option<Rank> {
        self.waiters.0.get(token as usize).and_then(|waiter| waiter.rank)
    }

    /// Whether someone at `rank` or a more urgent one waits.
    #[inline]
    pub(crate) fn is_ahead_of(&self, rank: Rank) -> bool {
        self.queues[..=rank.index()].iter().any(|queue| !queue.is_empty())
    }

    /// The most urgent rank that waits, and its oldest waiter.
    #[inline]
    pub(crate) fn front(&self) -> Option<(u32, Rank)> {
        Rank::ALL.into_iter().find_map(|rank| {
            let token = self.queues[rank.index()].front()?;
            Some((token, rank))
        })
    }

    /// Since when the oldest waiter of any rank has waited. O(1): every queue is in order of time.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let fronts = self.queues.iter().filter_map(Fifo::front);
        fronts.map(|token| self.waiters.0[token as usize].since).min()
    }

    /// How many wait at `rank`.
    pub(crate) const fn len(&self, rank: Rank) -> u32 {
        self.queues[rank.index()].len()
    }

    /// Waits begun at `rank` since the start.
    pub(crate) const fn total(&self, rank: Rank) -> u64 {
        self.totals[rank.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_before_age_and_age_before_the_rest() {
        let mut waiting = Waiting::new(10);
        waiting.enter(3, Rank::Client, Instant(10));
        waiting.enter(9, Rank::Client, Instant(20));
        waiting.enter(0, Rank::Send, Instant(30));
        waiting.enter(3, Rank::Client, Instant(40));
        assert_eq!(waiting.oldest(), Some(Instant(10)), "asking again keeps the place");
        assert!(waiting.is_ahead_of(Rank::Send) && waiting.is_ahead_of(Rank::NewClient));
        assert_eq!(waiting.front(), Some((0, Rank::Send)));
        waiting.leave(0);
        waiting.leave(0);
        assert!(!waiting.is_ahead_of(Rank::Upstream) && waiting.is_ahead_of(Rank::Client));
        assert_eq!(waiting.front(), Some((3, Rank::Client)));
        waiting.enter(3, Rank::NewClient, Instant(50));
        assert_eq!(waiting.front(), Some((9, Rank::Client)));
        assert_eq!(waiting.oldest(), Some(Instant(20)));
        assert_eq!((waiting.len(Rank::Client), waiting.total(Rank::Client)), (1, 2));
        waiting.leave(9);
        waiting.leave(3);
        assert!(waiting.front().is_none() && waiting.oldest().is_none());
    }

    #[test]
    #[should_panic(expected = "a token beyond")]
    fn a_token_out_of_bounds_is_refused() {
        Waiting::new(2).enter(2, Rank::Send, Instant(0));
    }

    #[test]
    fn who_is_put_first_is_served_first_and_the_order_of_time_holds() {
        let mut waiting = Waiting::new(8);
        waiting.enter(1, Rank::Client, Instant(10));
        waiting.enter(2, Rank::Client, Instant(20));
        waiting.enter_first(3, Rank::Client, Instant(30));
        waiting.enter_first(3, Rank::Client, Instant(40));
        assert_eq!(waiting.front(), Some((3, Rank::Client)));
        assert_eq!(waiting.oldest(), Some(Instant(10)));
        waiting.enter_first(2, Rank::Client, Instant(50));
        assert_eq!(waiting.front(), Some((2, Rank::Client)), "though it stood there before");
        assert_eq!((waiting.oldest(), waiting.len(Rank::Client)), (Some(Instant(10)), 3));
        waiting.leave(2);
        waiting.leave(3);
        assert_eq!(waiting.front(), Some((1, Rank::Client)));
    }
}
