//! The pool: what chains hold, who is granted a buffer, and that none is lost or held twice.

use std::collections::VecDeque;

use base::time::Instant;
use pool::{Chain, Fill, FillError, Pool, PoolConfig, Promise, Rank, Shared};

use super::Feed;

/// Bytes of a buffer.
const BYTES: usize = 512;
/// Tokens that may wait.
const TOKENS: u32 = 6;

/// A chain and what it must hold.
#[derive(Default)]
struct Entry {
    chain: Chain,
    bytes: Vec<u8>,
}

struct Model {
    pool: Pool,
    entries: [Entry; 4],
    promises: Vec<Promise>,
    /// Shares of one chain stand together.
    shares: Vec<(Vec<Shared>, Vec<u8>)>,
    queues: [VecDeque<u32>; 4],
    byte: u8,
    now: u64,
}

/// The first byte is the pool's size, the others are operations.
pub fn check(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let buffers = 8 + u32::from(feed.byte() % 25);
    let config = PoolConfig { buffers, buffer_bytes: 512, waiters: TOKENS };
    let pool = Pool::new(config).unwrap_or_else(|error| panic!("no pool: {error:?}"));
    let mut model = Model {
        pool,
        entries: Default::default(),
        promises: Vec::new(),
        shares: Vec::new(),
        queues: Default::default(),
        byte: 0,
        now: 0,
    };
    while let Some(operation) = feed.next() {
        model.now += 1;
        model.step(operation, &mut feed);
        model.audit();
    }
    model.end();
}

impl Model {
    fn step(&mut self, operation: u8, feed: &mut Feed<'_>) {
        let at = usize::from(operation >> 6);
        match operation % 20 {
            0 => self.promise(feed),
            1 => {
                if !self.promises.is_empty() {
                    let which = feed.below(self.promises.len());
                    let promise = self.promises.swap_remove(which);
                    self.pool.forgive(promise);
                }
            }
            2 => {
                let rank = rank(feed);
                let granted = self.allowed(rank) > 0;
                let headroom = u16::from(feed.byte());
                assert_eq!(self.pool.extend(&mut self.entries[at].chain, rank, headroom), granted);
            }
            3 => {
                if let Some(promise) = self.promises.pop() {
                    let chain = &mut self.entries[at].chain;
                    self.pool.extend_promised(chain, promise, u16::from(feed.byte()));
                }
            }
            4 => {
                let Entry { chain, bytes } = &mut self.entries[at];
                let can = bytes.is_empty() && chain.buffers() > 0;
                let promise = self.pool.take_back_promise(chain);
                assert_eq!(promise.is_some(), can);
                self.promises.extend(promise);
            }
            5 | 6 => self.fill(at, feed),
            7 => self.append(at, feed),
            8 => self.prepend(at, feed),
            9 => self.join(at, feed),
            10 => self.split(at, feed),
            11 => {
                let Entry { chain, bytes } = &mut self.entries[at];
                let length = feed.number().min(bytes.len());
                bytes.truncate(length);
                self.pool.truncate(chain, short(length));
            }
            12 | 13 => self.consume(at, operation % 20 == 13, feed),
            14 => self.rewrite(at, feed),
            15 => self.replace(at, feed),
            16 => {
                let Entry { chain, .. } = std::mem::take(&mut self.entries[at]);
                self.pool.release(chain);
            }
            17 => self.share(at, feed),
            18 => self.wait(feed),
            _ => self.serve(),
        }
    }

    fn fresh(&mut self, length: usize) -> Vec<u8> {
        let mut next = || {
            self.byte = self.byte.wrapping_mul(5).wrapping_add(113);
            self.byte
        };
        (0..length).map(|_| next()).collect()
    }

    fn held(&self) -> u32 {
        let chains = self.entries.iter().map(|entry| entry.chain.buffers());
        let shared = self.shares.iter().filter_map(|(all, _)| all.first().map(Shared::buffers));
        chains.chain(shared).sum()
    }

    /// How many buffers a rank may have, whoever waits (law 5).
    fn spare(&self, rank: Rank) -> u32 {
        let size = self.pool.size();
        let reserve = match rank {
            Rank::Send | Rank::Upstream => 0,
            Rank::Client => (size / 16).max(2).min(size / 4),
            Rank::NewClient => (size / 8).max(4).min(size / 2),
        };
        let taken = self.held() + short(self.promises.len());
        (size - taken).saturating_sub(reserve)
    }

    /// How many it may have now: none while somebody as urgent waits.
    fn allowed(&self, rank: Rank) -> u32 {
        let ahead = self.queues[..=rank as usize].iter().any(|queue| !queue.is_empty());
        if ahead { 0 } else { self.spare(rank) }
    }

    fn promise(&mut self, feed: &mut Feed<'_>) {
        let rank = rank(feed);
        let granted = self.allowed(rank) > 0;
        let promise = self.pool.promise(rank);
        assert_eq!(promise.is_some(), granted);
        self.promises.extend(promise);
    }

    fn fill(&mut self, at: usize, feed: &mut Feed<'_>) {
        let plan = Fill {
            fresh: u16::from(feed.byte() % 5),
            rank: rank(feed),
            headroom: u16::from(feed.byte()),
        };
        let room = self.pool.room(&self.entries[at].chain);
        let allowed = self.allowed(plan.rank);
        let mut promise = if feed.byte() & 1 == 1 { self.promises.pop() } else { None };
        let promised = u32::from(promise.is_some());
        let granted = u32::from(plan.fresh).min(promised + allowed);
        let offered = room + (granted as usize * BYTES).saturating_sub(plan.headroom.into());
        let source = self.fresh(feed.number());
        let fails = feed.byte() == 7;
        let Entry { chain, bytes } = &mut self.entries[at];
        let filled = self.pool.fill::<()>(chain, plan, &mut promise, |spaces| {
            if fails {
                return Err(());
            }
            let mut rest = &source[..];
            for space in spaces {
                let (now, later) = rest.split_at(space.len().min(rest.len()));
                space[..now.len()].copy_from_slice(now);
                rest = later;
            }
            Ok(source.len() - rest.len())
        });
        match filled {
            Ok(length) => {
                assert!(length >= source.len().min(offered), "less is offered than may be had");
                bytes.extend_from_slice(&source[..length]);
            }
            Err(FillError::Receive(())) => assert!(fails),
            Err(FillError::NoBuffer) => assert_eq!((room, granted), (0, 0), "{plan:?}"),
        }
        self.promises.extend(promise);
    }

    fn append(&mut self, at: usize, feed: &mut Feed<'_>) {
        let rank = rank(feed);
        let source = self.fresh(feed.number());
        let chain = &self.entries[at].chain;
        let needed = self.pool.buffers_to_append(chain, source.len());
        let beyond = source.len().saturating_sub(self.pool.room(chain));
        assert_eq!(needed as usize, beyond.div_ceil(BYTES));
        let granted = needed == 0 || needed <= self.allowed(rank);
        let Entry { chain, bytes } = &mut self.entries[at];
        assert_eq!(self.pool.append(chain, &source, rank).is_ok(), granted);
        if granted {
            bytes.extend(source);
        }
    }

    fn prepend(&mut self, at: usize, feed: &mut Feed<'_>) {
        let rank = rank(feed);
        let source = self.fresh(feed.number());
        let needed = self.pool.buffers_to_prepend(&self.entries[at].chain, source.len());
        let granted = needed == 0 || needed <= self.allowed(rank);
        let Entry { chain, bytes } = &mut self.entries[at];
        assert_eq!(self.pool.prepend(chain, &source, rank).is_ok(), granted);
        if granted {
            bytes.splice(..0, source);
        }
    }

    fn join(&mut self, at: usize, feed: &mut Feed<'_>) {
        let other = feed.below(4);
        if other != at {
            let Entry { chain, bytes } = std::mem::take(&mut self.entries[other]);
            self.pool.join(&mut self.entries[at].chain, chain);
            self.entries[at].bytes.extend(bytes);
        }
    }

    /// What stands behind takes the place of the next chain.
    fn split(&mut self, at: usize, feed: &mut Feed<'_>) {
        let rank = rank(feed);
        let Entry { chain, bytes } = &self.entries[at];
        let place = feed.number().min(bytes.len());
        // A buffer is needed for what stands behind a cut inside of one.
        let ends = self.pool.peek(chain).scan(0, |end, slice| {
            *end += slice.len();
            Some(*end)
        });
        let between = place == 0 || ends.into_iter().any(|end| end == place);
        let granted = between || self.allowed(rank) > 0;
        let Entry { chain, bytes } = &mut self.entries[at];
        let split = self.pool.split(chain, short(place), rank);
        assert_eq!(split.is_ok(), granted, "at {place} of {}", bytes.len());
        let Ok(behind) = split else { return };
        let behind = Entry { chain: behind, bytes: bytes.split_off(place) };
        let before = std::mem::replace(&mut self.entries[(at + 1) % 4], behind);
        self.pool.release(before.chain);
    }

    fn consume(&mut self, at: usize, to_promise: bool, feed: &mut Feed<'_>) {
        let Entry { chain, bytes } = &mut self.entries[at];
        let length = feed.number().min(bytes.len());
        let held = chain.buffers() > 0;
        bytes.drain(..length);
        if to_promise {
            let promise = self.pool.consume_to_promise(chain, short(length));
            assert_eq!(promise.is_some(), held && bytes.is_empty());
            self.promises.extend(promise);
        } else {
            self.pool.consume(chain, short(length));
        }
        assert!(!bytes.is_empty() || chain.buffers() == 0, "an empty buffer is kept (law 2)");
    }

    fn rewrite(&mut self, at: usize, feed: &mut Feed<'_>) {
        let Entry { chain, bytes } = &mut self.entries[at];
        let length = feed.number().min(bytes.len());
        let divisor = 1 + feed.byte() % 5;
        let tail = bytes.split_off(bytes.len() - length);
        let rewritten = self.pool.rewrite_tail::<()>(chain, short(length), |slice| {
            let mut kept = 0;
            for place in 0..slice.len() {
                if slice[place].is_multiple_of(divisor) {
                    slice[kept] = slice[place];
                    kept += 1;
                }
            }
            Ok(kept)
        });
        assert_eq!(rewritten, Ok(()));
        bytes.extend(tail.iter().filter(|byte| byte.is_multiple_of(divisor)));
    }

    fn replace(&mut self, at: usize, feed: &mut Feed<'_>) {
        let length = feed.number().min(self.entries[at].bytes.len());
        let source = self.fresh(feed.number());
        let Entry { chain, bytes } = &mut self.entries[at];
        // What is replaced leaves at least its own place, in the buffer where the rest begins.
        let mut place = length;
        for slice in self.pool.peek(chain) {
            if place < slice.len() {
                break;
            }
            place -= slice.len();
        }
        let fits = length < bytes.len() && source.len() <= place;
        let replaced = self.pool.replace_front(chain, short(length), &source);
        assert!(replaced || !fits, "{} bytes in the place of {place}", source.len());
        assert!(!replaced || (chain.buffers() > 0 && source.len() <= BYTES));
        if replaced {
            bytes.splice(..length, source);
        }
    }

    fn share(&mut self, at: usize, feed: &mut Feed<'_>) {
        let which = feed.below(4);
        match feed.byte() % 3 {
            0 if self.entries[at].chain.buffers() > 0 => {
                let Entry { chain, bytes } = std::mem::take(&mut self.entries[at]);
                self.shares.push((vec![self.pool.share(chain)], bytes));
            }
            1 if which < self.shares.len() => {
                let (all, _) = &mut self.shares[which];
                let again = all.first().and_then(|share| self.pool.reshare(share));
                all.extend(again);
            }
            2 if which < self.shares.len() => {
                if let Some(share) = self.shares[which].0.pop() {
                    self.pool.release_shared(share);
                }
                self.shares.retain(|(all, _)| !all.is_empty());
            }
            _ => {}
        }
    }

    fn wait(&mut self, feed: &mut Feed<'_>) {
        let token = u32::from(feed.byte()) % TOKENS;
        if feed.byte() & 1 == 1 {
            self.queues.iter_mut().for_each(|queue| queue.retain(|one| *one != token));
            self.pool.leave(token);
            assert!(!self.pool.is_waiting(token));
            return;
        }
        let rank = rank(feed);
        if !self.queues[rank as usize].contains(&token) {
            self.queues.iter_mut().for_each(|queue| queue.retain(|one| *one != token));
            self.queues[rank as usize].push_back(token);
        }
        self.pool.wait(token, rank, Instant(self.now));
    }

    /// The first waiter of the most urgent rank.
    fn serve(&mut self) {
        let first = Rank::ALL.into_iter().find(|rank| !self.queues[*rank as usize].is_empty());
        let first = first.filter(|rank| self.spare(*rank) > 0);
        let token = first.and_then(|rank| self.queues[rank as usize].pop_front());
        let granted = self.pool.next_granted();
        assert_eq!(granted.as_ref().map(|(token, _)| *token), token);
        self.promises.extend(granted.map(|(_, promise)| promise));
    }

    fn audit(&self) {
        for Entry { chain, bytes } in &self.entries {
            assert_eq!(chain.len() as usize, bytes.len());
            assert!(self.pool.peek(chain).collect::<Vec<_>>().concat() == *bytes);
        }
        for (all, bytes) in &self.shares {
            for share in all {
                let cursor = self.pool.cursor_of(share);
                assert!(self.pool.slices(&cursor).collect::<Vec<_>>().concat() == *bytes);
            }
        }
        assert_eq!(self.pool.used(), self.held(), "a buffer is lost, or held twice");
        assert_eq!(self.pool.promised() as usize, self.promises.len());
        for rank in Rank::ALL {
            assert_eq!(self.pool.waiting(rank) as usize, self.queues[rank as usize].len());
            assert_eq!(self.pool.grantable(rank), self.allowed(rank), "{rank:?}");
        }
    }

    fn end(mut self) {
        self.entries.into_iter().for_each(|entry| self.pool.release(entry.chain));
        self.promises.into_iter().for_each(|promise| self.pool.forgive(promise));
        let shares = self.shares.into_iter().flat_map(|(all, _)| all);
        shares.for_each(|share| self.pool.release_shared(share));
        (0..TOKENS).for_each(|token| self.pool.leave(token));
        self.pool.assert_whole();
    }
}

fn rank(feed: &mut Feed<'_>) -> Rank {
    Rank::ALL[feed.below(4)]
}

fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
