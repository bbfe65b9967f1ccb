//! What the pool should be, beside the pool.

use super::ops::Op;
use super::{TOKENS, check_chain, check_stock, contents, hold, pool, vec_of_false};
use crate::{BufferId, Chain, Cursor, Fill, FillError, Pool, Promise, Rank, Shared, Short};
use base::time::Instant;
use std::collections::VecDeque;
use std::vec::Vec;

/// A chain and the bytes it must have.
#[derive(Default)]
struct Entry {
    chain: Chain,
    bytes: Vec<u8>,
}

/// The pool, and all that is known about it.
pub(super) struct World {
    pool: Pool,
    entries: [Entry; 4],
    promises: Vec<Promise>,
    shares: Vec<(Shared, Vec<u8>)>,
    /// Waiting tokens and since when, by rank.
    queues: [VecDeque<(u32, u64)>; 4],
    now: u64,
    /// The next byte that anyone writes.
    byte: u8,
    /// Grants until one is refused without need; ours, the pool counts its own.
    refuse_in: Option<u32>,
}

impl World {
    pub(super) fn new(buffers: u32) -> Self {
        Self {
            pool: pool(buffers),
            entries: Default::default(),
            promises: Vec::new(),
            shares: Vec::new(),
            queues: Default::default(),
            now: 0,
            byte: 0,
            refuse_in: None,
        }
    }

    fn fresh_bytes(&mut self, n: usize) -> Vec<u8> {
        let mut next = || {
            self.byte = self.byte.wrapping_mul(5).wrapping_add(113);
            self.byte
        };
        (0..n).map(|_| next()).collect()
    }

    /// How many buffers the laws allow `rank` now.
    fn allowed(&self, rank: Rank) -> u32 {
        if self.queues[..=rank as usize].iter().any(|queue| !queue.is_empty()) {
            return 0;
        }
        self.allowed_waiter(rank)
    }

    /// How many they allow the first waiter of `rank`.
    fn allowed_waiter(&self, rank: Rank) -> u32 {
        let size = self.pool.size();
        let reserve = match rank {
            Rank::Send | Rank::Upstream => 0,
            Rank::Client => (size / 16).max(2).min(size / 4),
            Rank::NewClient => (size / 8).max(4).min(size / 2),
        };
        let held: u32 = self.entries.iter().map(|entry| entry.chain.buffers()).sum();
        let promised = u32::try_from(self.promises.len()).unwrap();
        (size - held - self.shared_buffers() - promised).saturating_sub(reserve)
    }

    /// Buffers under shares, each group once: a share's buffers are told by their head.
    fn shared_buffers(&self) -> u32 {
        let mut heads: Vec<(Cursor, u32)> = Vec::new();
        for (share, _) in &self.shares {
            let cursor = self.pool.cursor_of(share);
            if !heads.iter().any(|(other, _)| *other == cursor) {
                heads.push((cursor, share.buffers()));
            }
        }
        heads.iter().map(|(_, buffers)| buffers).sum()
    }

    /// Whether a request for `count` buffers must be granted; counts it as one grant.
    fn expect_grant(&mut self, count: u32, rank: Rank) -> bool {
        count == 0 || (count <= self.allowed(rank) && !self.expect_refusal())
    }

    fn expect_refusal(&mut self) -> bool {
        let left = self.refuse_in;
        self.refuse_in = left.and_then(|left| left.checked_sub(1));
        left == Some(0)
    }

    pub(super) fn step(&mut self, op: Op) {
        self.now += 1;
        match op {
            Op::Promise(rank) => self.promise(rank),
            Op::Forgive(which) => self.forgive(which),
            Op::Extend { chain, rank, headroom } => {
                let expected = self.expect_grant(1, rank);
                let Entry { chain, .. } = &mut self.entries[chain];
                assert_eq!(self.pool.extend(chain, rank, headroom), expected);
            }
            Op::ExtendPromised { chain, headroom } => {
                let Some(promise) = self.promises.pop() else {
                    return;
                };
                self.pool.extend_promised(&mut self.entries[chain].chain, promise, headroom);
            }
            Op::TakeBackPromise(chain) => {
                let Entry { chain, bytes } = &mut self.entries[chain];
                let expected = bytes.is_empty() && chain.buffers() > 0;
                let promise = self.pool.take_back_promise(chain);
                assert_eq!(promise.is_some(), expected);
                self.promises.extend(promise);
            }
            Op::Fill { chain, plan: (fresh, rank, headroom), promised, outcome } => {
                self.fill(chain, Fill { fresh, rank, headroom }, promised, outcome);
            }
            Op::Append { chain, n, rank } => self.append(chain, n, rank),
            Op::Prepend { chain, n, rank } => self.prepend(chain, n, rank),
            Op::Join { front, back } if front != back => {
                let Entry { chain, bytes } = core::mem::take(&mut self.entries[back]);
                self.pool.join(&mut self.entries[front].chain, chain);
                self.entries[front].bytes.extend(bytes);
            }
            Op::Join { .. } => {}
            Op::Split { chain, at, rank } => self.split(chain, at, rank),
            Op::Truncate { chain, at } => self.truncate(chain, at),
            Op::Consume { chain, n, promise } => self.consume(chain, n, promise),
            Op::Read { chain, from, steps } => self.read(chain, from, &steps),
            Op::Rewrite { chain, n, divisor, fail_at } => {
                self.rewrite(chain, n, divisor, fail_at.map(usize::from));
            }
            Op::Receive { chain, n, divisor } => self.receive(chain, n, divisor),
            Op::Replace { chain, n, by } => self.replace(chain, n, by),
            Op::Release(chain) => {
                let Entry { chain, .. } = core::mem::take(&mut self.entries[chain]);
                self.pool.release(chain);
            }
            Op::Share(chain) => {
                let Entry { chain, bytes } = core::mem::take(&mut self.entries[chain]);
                self.shares.push((self.pool.share(chain), bytes));
            }
            Op::Reshare(which) => self.reshare(which),
            Op::ReleaseShared(which) => self.release_shared(which),
            Op::Wait { token, rank } => self.wait(token, rank),
            Op::Leave(token) => {
                self.queues.iter_mut().for_each(|queue| queue.retain(|&(t, _)| t != token));
                self.pool.leave(token);
            }
            Op::Serve => self.serve(),
            Op::RefuseGrant(after) => self.refuse_grant(after.into()),
        }
    }

    /// Has the grant refused that comes after so many others.
    pub(super) fn refuse_grant(&mut self, after: u32) {
        self.refuse_in = Some(after);
        self.pool.refuse_in.set(self.refuse_in);
    }

    /// Whether that grant was asked for.
    pub(super) fn was_refused(&self) -> bool {
        assert_eq!(self.refuse_in, self.pool.refuse_in.get());
        self.refuse_in.is_none()
    }

    fn reshare(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.shares.len()) else {
            return;
        };
        let (share, bytes) = &self.shares[which];
        let again = self.pool.reshare(share).unwrap();
        let bytes = bytes.clone();
        self.shares.push((again, bytes));
    }

    fn release_shared(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.shares.len()) else {
            return;
        };
        let (share, _) = self.shares.swap_remove(which);
        self.pool.release_shared(share);
    }

    fn promise(&mut self, rank: Rank) {
        let expected = self.expect_grant(1, rank);
        let promise = self.pool.promise(rank);
        assert_eq!(promise.is_some(), expected);
        self.promises.extend(promise);
    }

    fn forgive(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.promises.len()) else {
            return;
        };
        let promise = self.promises.swap_remove(which);
        self.pool.forgive(promise);
    }

    fn fill(&mut self, chain: usize, plan: Fill, promised: bool, outcome: Option<usize>) {
        // Spending a promise changes nothing for others: its buffer was spoken for.
        let allowed = self.allowed(plan.rank);
        let mut promise = if promised { self.promises.pop() } else { None };
        let had_promise = promise.is_some();
        let spent = had_promise && plan.fresh > 0;
        let mut fresh = u32::from(spent);
        let mut granted = 0;
        while fresh < plan.fresh.into() && granted < allowed && !self.expect_refusal() {
            granted += 1;
            fresh += 1;
        }
        let room = self.pool.room(&self.entries[chain].chain);
        let source = outcome.map(|n| self.fresh_bytes(n));
        let first =
            if self.entries[chain].chain.is_empty() { usize::from(plan.headroom) } else { 0 };
        let offered = match fresh {
            0 => room,
            fresh => room + fresh as usize * 512 - first,
        };
        let Entry { chain, bytes } = &mut self.entries[chain];
        let buffers = chain.buffers();
        let filled = self.pool.fill::<&str>(chain, plan, &mut promise, |spaces| {
            assert_eq!(spaces.iter().map(|space| space.len()).sum::<usize>(), offered);
            let mut rest = &source.as_ref().ok_or("reset")?[..];
            let before = rest.len();
            for space in spaces {
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
            }
            Ok(before - rest.len())
        });
        match (filled, &source) {
            (Err(FillError::NoBuffer), _) => assert_eq!(offered, 0),
            (Err(FillError::Receive(error)), None) => assert_eq!(error, "reset"),
            (Ok(n), Some(source)) => {
                assert_eq!(n, offered.min(source.len()));
                bytes.extend(&source[..n]);
            }
            other => panic!("unexpected: {other:?}"),
        }
        let reached = filled.unwrap_or(0).saturating_sub(room);
        let kept = if reached == 0 { 0 } else { (reached + first).div_ceil(512) };
        assert_eq!((chain.buffers() - buffers) as usize, kept, "only reached buffers stay");
        assert_eq!(promise.is_some(), had_promise && !(spent && kept > 0));
        self.promises.extend(promise);
    }

    fn append(&mut self, chain: usize, n: usize, rank: Rank) {
        let source = self.fresh_bytes(n);
        let room = self.pool.room(&self.entries[chain].chain);
        let needed = u32::try_from(n.saturating_sub(room).div_ceil(512)).unwrap();
        let expected = self.expect_grant(needed, rank);
        let Entry { chain, bytes } = &mut self.entries[chain];
        assert_eq!(self.pool.buffers_to_append(chain, n), needed);
        let buffers = chain.buffers();
        assert_eq!(self.pool.append(chain, &source, rank).is_ok(), expected);
        if expected {
            assert_eq!(chain.buffers(), buffers + needed);
            bytes.extend(source);
        }
    }

    fn prepend(&mut self, chain: usize, n: usize, rank: Rank) {
        let source = self.fresh_bytes(n);
        let needed = self.pool.buffers_to_prepend(&self.entries[chain].chain, n);
        let expected = self.expect_grant(needed, rank);
        let Entry { chain, bytes } = &mut self.entries[chain];
        let buffers = chain.buffers();
        assert_eq!(self.pool.prepend(chain, &source, rank).is_ok(), expected);
        if expected {
            assert_eq!(chain.buffers(), buffers + needed);
            bytes.splice(..0, source);
        }
    }

    /// The back takes the place of the next chain, which is released.
    fn split(&mut self, chain: usize, at: usize, rank: Rank) {
        let at = at % (self.entries[chain].bytes.len() + 1);
        let ends = self.pool.peek(&self.entries[chain].chain).scan(0, |end, slice| {
            *end += slice.len();
            Some(*end)
        });
        let needed = u32::from(at > 0 && !ends.collect::<Vec<_>>().contains(&at));
        let expected = self.expect_grant(needed, rank);
        let Entry { chain: front, bytes } = &mut self.entries[chain];
        let back = self.pool.split(front, u32::try_from(at).unwrap(), rank);
        assert_eq!(back.is_ok(), expected);
        let Ok(back) = back else { return };
        let back = Entry { chain: back, bytes: bytes.split_off(at) };
        let released = core::mem::replace(&mut self.entries[(chain + 1) % 4], back);
        self.pool.release(released.chain);
    }

    fn replace(&mut self, chain: usize, n: usize, by: usize) {
        let source = self.fresh_bytes(by);
        let Entry { chain, bytes } = &mut self.entries[chain];
        let n = n.min(bytes.len());
        let buffers = chain.buffers();
        let replaced = self.pool.replace_front(chain, u32::try_from(n).unwrap(), &source);
        assert!(replaced || by > 0 || buffers == 0, "nothing always fits");
        if replaced {
            bytes.splice(..n, source);
        } else {
            assert_eq!(chain.buffers(), buffers);
        }
    }

    fn truncate(&mut self, chain: usize, at: usize) {
        let Entry { chain, bytes } = &mut self.entries[chain];
        let at = at % (bytes.len() + 2);
        bytes.truncate(at);
        self.pool.truncate(chain, u32::try_from(at).unwrap());
    }

    fn consume(&mut self, chain: usize, n: usize, promise: bool) {
        let Entry { chain, bytes } = &mut self.entries[chain];
        let n = n.min(bytes.len());
        let held = chain.buffers() > 0;
        bytes.drain(..n);
        let n = u32::try_from(n).unwrap();
        if promise {
            let promise = self.pool.consume_to_promise(chain, n);
            assert_eq!(promise.is_some(), held && bytes.is_empty());
            self.promises.extend(promise);
        } else {
            self.pool.consume(chain, n);
        }
        assert_eq!(chain.is_empty(), bytes.is_empty(), "empty buffers go back at once");
    }

    fn read(&self, chain: usize, from: usize, steps: &[u16]) {
        let Entry { chain, bytes } = &self.entries[chain];
        let from = from % (bytes.len() + 1);
        let cursor = self.pool.cursor_at(chain, u32::try_from(from).unwrap());
        self.follow(cursor, &bytes[from..], steps);
        for (share, bytes) in &self.shares {
            self.follow(self.pool.cursor_of(share), bytes, steps);
        }
    }

    /// Steps through `bytes` with a cursor.
    fn follow(&self, mut cursor: Cursor, mut bytes: &[u8], steps: &[u16]) {
        for step in steps {
            assert_eq!(cursor.left() as usize, bytes.len());
            let mut copy = [0; 700];
            let n = self.pool.copy_from(&cursor, &mut copy);
            assert_eq!((n, &copy[..n]), (bytes.len().min(700), &bytes[..n]));
            let step = bytes.len().min((*step).into());
            self.pool.advance(&mut cursor, u32::try_from(step).unwrap());
            bytes = &bytes[step..];
            assert_eq!(self.pool.view(&cursor).concat(), bytes);
        }
    }

    fn rewrite(&mut self, chain: usize, n: usize, divisor: u8, fail_at: Option<usize>) {
        let Entry { chain, bytes } = &mut self.entries[chain];
        let n = n.min(bytes.len());
        let tail = bytes.split_off(bytes.len() - n);
        let (mut seen, mut calls) = (0, 0);
        let result = self.pool.rewrite_tail(chain, u32::try_from(n).unwrap(), |slice| {
            assert_eq!(*slice, tail[seen..seen + slice.len()], "slices come in order");
            if Some(calls) == fail_at {
                return Err("bad chunk");
            }
            calls += 1;
            seen += slice.len();
            let kept: Vec<u8> = slice.iter().copied().filter(|b| b % divisor == 0).collect();
            slice[..kept.len()].copy_from_slice(&kept);
            Ok(kept.len())
        });
        assert!(if result.is_ok() { seen == n } else { fail_at == Some(calls) });
        bytes.extend(tail[..seen].iter().filter(|&b| b % divisor == 0));
        bytes.extend(&tail[seen..]);
    }

    /// Receives and decodes, as a chunked body arrives.
    fn receive(&mut self, chain: usize, n: usize, divisor: u8) {
        let mark = self.pool.mark(&self.entries[chain].chain);
        let before = self.entries[chain].bytes.len();
        self.fill(chain, Fill { fresh: 4, rank: Rank::Client, headroom: 64 }, false, Some(n));
        let Entry { chain, bytes } = &mut self.entries[chain];
        let received = bytes.split_off(before);
        let mut seen = Vec::new();
        let done = self.pool.rewrite_from(chain, mark, |slice| {
            seen.extend_from_slice(slice);
            let kept: Vec<u8> = slice.iter().copied().filter(|b| b % divisor == 0).collect();
            slice[..kept.len()].copy_from_slice(&kept);
            Ok::<_, Short>(kept.len())
        });
        assert_eq!((done, &seen), (Ok(()), &received));
        bytes.extend(received.iter().filter(|&b| b % divisor == 0));
    }

    fn wait(&mut self, token: u32, rank: Rank) {
        let queue = &self.queues[rank as usize];
        if !queue.iter().any(|&(t, _)| t == token) {
            self.queues.iter_mut().for_each(|queue| queue.retain(|&(t, _)| t != token));
            self.queues[rank as usize].push_back((token, self.now));
        }
        self.pool.wait(token, rank, Instant(self.now));
        assert!(self.pool.is_waiting(token));
    }

    fn serve(&mut self) {
        let first = Rank::ALL.into_iter().find(|&rank| !self.queues[rank as usize].is_empty());
        let served = first
            .filter(|&rank| self.allowed_waiter(rank) > 0)
            .filter(|_| !self.expect_refusal())
            .and_then(|rank| self.queues[rank as usize].pop_front())
            .map(|(token, _)| token);
        let granted = self.pool.next_granted();
        assert_eq!(granted.as_ref().map(|(token, _)| *token), served);
        self.promises.extend(granted.map(|(_, promise)| promise));
    }

    /// Everything the model knows must hold.
    pub(super) fn audit(&self) {
        let mut seen = vec_of_false(&self.pool);
        for Entry { chain, bytes } in &self.entries {
            check_chain(&self.pool, chain, &mut seen);
            assert_eq!(contents(&self.pool, chain), *bytes);
            assert_eq!(self.pool.first(chain).is_empty(), bytes.is_empty());
        }
        let mut heads = Vec::new();
        for (share, bytes) in &self.shares {
            let cursor = self.pool.cursor_of(share);
            assert_eq!(self.pool.slices(&cursor).collect::<Vec<_>>().concat(), *bytes);
            if let Some(head) = cursor.buffer
                && !heads.contains(&head)
            {
                heads.push(head);
                let links = |&id: &BufferId| self.pool.registers[id].next();
                core::iter::successors(Some(head), links)
                    .for_each(|id| hold(&self.pool, &mut seen, id));
            }
        }
        check_stock(&self.pool, &seen);
        assert_eq!(self.pool.promised() as usize, self.promises.len());
        let fronts = self.queues.iter().filter_map(VecDeque::front);
        assert_eq!(self.pool.oldest_wait(), fronts.map(|&(_, since)| Instant(since)).min());
        for rank in Rank::ALL {
            assert_eq!(self.pool.waiting(rank) as usize, self.queues[rank as usize].len());
            assert_eq!(self.pool.grantable(rank), self.allowed(rank), "{rank:?}");
        }
    }

    /// Gives everything back; the pool must be whole.
    pub(super) fn rest(mut self) {
        self.entries.into_iter().for_each(|entry| self.pool.release(entry.chain));
        self.promises.into_iter().for_each(|promise| self.pool.forgive(promise));
        self.shares.into_iter().for_each(|(share, _)| self.pool.release_shared(share));
        (0..TOKENS).for_each(|token| self.pool.leave(token));
        self.pool.assert_whole();
    }
}
