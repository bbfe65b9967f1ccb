//! The ready queue (the invention's 420): complete requests that wait for a lease.

use alloc::vec::Vec;

use base::fifo::{Fifo, Linked, Links};
use base::id::{ExchangeId, GroupId};
use base::time::Instant;

/// One group's queue: first come, first served; those who met a connection that was closed
/// under them before all others.
#[derive(Debug)]
pub(crate) struct ReadyQueue {
    first: Fifo,
    rest: Fifo,
    bound: u32,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Rest,
}

/// What is known of a request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    links: Links,
    place: Option<Place>,
    pub(crate) group: GroupId,
    pub(crate) since: Instant,
    /// It goes only on a connection opened for it.
    pub(crate) fresh: bool,
}

/// All requests of a worker that wait, by their exchange. It grows with the highest number that
/// ever waited, within the capacity set aside at start.
#[derive(Debug)]
pub(crate) struct Waiters(Vec<Waiter>);

impl Waiters {
    pub(crate) fn new(exchanges: u32) -> Self {
        Self(Vec::with_capacity(exchanges as usize))
    }

    fn entry(&mut self, exchange: ExchangeId) -> &mut Waiter {
        if self.0.len() <= exchange.index() {
            debug_assert!(exchange.index() < self.0.capacity(), "more exchanges than announced");
            let nobody = Waiter {
                links: Links::new(),
                place: None,
                group: GroupId(0),
                since: Instant(0),
                fresh: false,
            };
            self.0.resize(exchange.index() + 1, nobody);
        }
        &mut self.0[exchange.index()]
    }

    pub(crate) fn get(&self, exchange: ExchangeId) -> Option<&Waiter> {
        self.0.get(exchange.index()).filter(|waiter| waiter.place.is_some())
    }

    /// What was known of a request that waited last time.
    pub(crate) fn last(&self, exchange: ExchangeId) -> Option<Waiter> {
        self.0.get(exchange.index()).copied()
    }
}

impl Linked for Waiters {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].links
    }
}

impl ReadyQueue {
    pub(crate) const fn new(bound: u32) -> Self {
        Self { first: Fifo::new(), rest: Fifo::new(), bound }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.first.len() + self.rest.len()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.rest.len() >= self.bound
    }

    /// The request that is served next.
    pub(crate) fn front(&self) -> Option<ExchangeId> {
        self.first.front().or(self.rest.front()).map(ExchangeId)
    }

    /// Adds a request at the end.
    pub(crate) fn push_back(
        &mut self,
        waiters: &mut Waiters,
        exchange: ExchangeId,
        (group, since): (GroupId, Instant),
    ) {
        self.set(waiters, exchange, Place::Rest, (group, since, false));
    }

    /// Adds a request before those that wait for the first time.
    pub(crate) fn push_first(
        &mut self,
        waiters: &mut Waiters,
        exchange: ExchangeId,
        waiting: (GroupId, Instant, bool),
    ) {
        self.set(waiters, exchange, Place::First, waiting);
    }

    fn set(
        &mut self,
        waiters: &mut Waiters,
        exchange: ExchangeId,
        place: Place,
        (group, since, fresh): (GroupId, Instant, bool),
    ) {
        let waiter = waiters.entry(exchange);
        debug_assert!(waiter.place.is_none(), "it waits already");
        *waiter = Waiter { links: Links::new(), place: Some(place), group, since, fresh };
        self.fifo(place).push_back(waiters, exchange.0);
    }

    /// Takes a request out. False if it does not wait.
    pub(crate) fn remove(&mut self, waiters: &mut Waiters, exchange: ExchangeId) -> bool {
        let Some(place) = waiters.entry(exchange).place.take() else { return false };
        self.fifo(place).remove(waiters, exchange.0);
        true
    }

    const fn fifo(&mut self, place: Place) -> &mut Fifo {
        match place {
            Place::First => &mut self.first,
            Place::Rest => &mut self.rest,
        }
    }
}
