//! The ready queue (the invention's 420): complete requests that wait for a lease.

use alloc::vec::Vec;

use base::fifo::{Fifo, Linked, Links};
use base::id::{ExchangeId, GroupId, ServerId};
use base::time::Instant;

/// One group's queue: first come, first served, but those who met a connection that was closed
/// under them before all others.
#[derive(Debug)]
pub(crate) struct ReadyQueue {
    again: Fifo,
    returned: Fifo,
    rest: Fifo,
    bound: u32,
}

/// Where a request stands, the first place first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its connection was closed under it: it goes only on one opened for it.
    Again,
    /// Its connection had ended before a byte was written: any other will do.
    Returned,
    /// It waits for the first time.
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
    fresh: bool,
    /// The server that has just failed it.
    pub(crate) avoid: Option<ServerId>,
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
                avoid: None,
            };
            self.0.resize(exchange.index() + 1, nobody);
        }
        &mut self.0[exchange.index()]
    }

    pub(crate) fn get(&self, exchange: ExchangeId) -> Option<&Waiter> {
        self.0.get(exchange.index()).filter(|waiter| waiter.place.is_some())
    }

    /// Those of a group that wait for the first time.
    pub(crate) fn of_rest(&self, group: GroupId) -> impl Iterator<Item = &Waiter> {
        self.0.iter().filter(move |it| it.group == group && it.place == Some(Place::Rest))
    }

    /// One that waits goes elsewhere if it can.
    pub(crate) fn avoid(&mut self, exchange: ExchangeId, server: ServerId) {
        if let Some(waiter) = self.0.get_mut(exchange.index()) {
            waiter.avoid = waiter.place.map(|_| server);
        }
    }

    /// What was known of a request when it waited last time.
    pub(crate) fn last(&self, exchange: ExchangeId) -> Option<(GroupId, Instant, Place)> {
        let waiter = self.0.get(exchange.index()).filter(|waiter| waiter.place.is_none())?;
        let place = if waiter.fresh { Place::Again } else { Place::Returned };
        Some((waiter.group, waiter.since, place))
    }
}

impl Linked for Waiters {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].links
    }
}

impl ReadyQueue {
    pub(crate) const fn new(bound: u32) -> Self {
        Self { again: Fifo::new(), returned: Fifo::new(), rest: Fifo::new(), bound }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.again.len() + self.returned.len() + self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many go only on a connection opened for them.
    pub(crate) const fn fresh(&self) -> u32 {
        self.again.len()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.rest.len() >= self.bound
    }

    /// How many wait for the first time, and most that may.
    pub(crate) const fn rest(&self) -> (u32, u32) {
        (self.rest.len(), self.bound)
    }

    /// The first of them.
    pub(crate) fn first_of_rest(&self) -> Option<ExchangeId> {
        self.rest.front().map(ExchangeId)
    }

    /// The first that needs a connection opened for it.
    pub(crate) fn first_fresh(&self) -> Option<ExchangeId> {
        self.again.front().map(ExchangeId)
    }

    /// The first that goes on any connection.
    pub(crate) fn first(&self) -> Option<ExchangeId> {
        self.returned.front().or(self.rest.front()).map(ExchangeId)
    }

    /// The request that has waited longest, and since when.
    pub(crate) fn oldest(&self, waiters: &Waiters) -> Option<(ExchangeId, Instant)> {
        self.at_ends(waiters, Fifo::front).min_by_key(|&(_, since)| since)
    }

    /// The request that came last, and when.
    pub(crate) fn youngest(&self, waiters: &Waiters) -> Option<(ExchangeId, Instant)> {
        self.at_ends(waiters, Fifo::back).max_by_key(|&(_, since)| since)
    }

    fn at_ends(
        &self,
        waiters: &Waiters,
        end: fn(&Fifo) -> Option<u32>,
    ) -> impl Iterator<Item = (ExchangeId, Instant)> {
        [&self.again, &self.returned, &self.rest]
            .into_iter()
            .filter_map(move |fifo| end(fifo).map(ExchangeId))
            .filter_map(|exchange| Some((exchange, waiters.get(exchange)?.since)))
    }

    /// Adds a request at the end of its place.
    pub(crate) fn push(
        &mut self,
        waiters: &mut Waiters,
        exchange: ExchangeId,
        (group, since, place): (GroupId, Instant, Place),
    ) {
        let waiter = waiters.entry(exchange);
        debug_assert!(waiter.place.is_none(), "it waits already");
        let fresh = place == Place::Again;
        let links = Links::new();
        *waiter = Waiter { links, place: Some(place), group, since, fresh, avoid: None };
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
            Place::Again => &mut self.again,
            Place::Returned => &mut self.returned,
            Place::Rest => &mut self.rest,
        }
    }
}
