//! The way to the disk and back: what outgrows the pool's share of an exchange, and the slowest
//! holders when the pool runs short (law 5). No worker ever waits for the disk: an errand is
//! given, and the exchange goes on when its end is told.

use std::collections::VecDeque;

use base::id::ExchangeId;
use base::limits;
use base::time::Instant;
use driver::{Driver, SpoolDone, SpoolRead, Ticket};
use exchange::{Exchange, Mishap, Phase, Reading, RequestBody, Spooled, State};
use pool::{Pool, Promise, Rank};
use spool::Store;

use crate::client::Patience;
use crate::counters::CloseReason;
use crate::turn::Worker;

/// A worker's part of the spool.
pub(crate) struct Spool {
    store: Store,
    /// Exchanges that have an errand for the disk when it has done another.
    queue: VecDeque<ExchangeId>,
    /// How many spoolings were begun.
    generation: u32,
    /// Until when nothing new is put there, because the disk failed.
    rests: Option<Instant>,
}

/// How far what an exchange held went to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spilled {
    /// All of it.
    All,
    /// Some of it; the rest follows when the disk has done other errands.
    Later,
    /// Some of it or none, and there is no room for the rest.
    Full,
}

/// What a short pool gets from the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relief {
    /// A buffer is free, or more.
    Found,
    /// The disk has as much to do as it may have: what would free buffers waits for it.
    DiskBusy,
    /// Nothing goes there that would free a buffer.
    None,
}

impl Spool {
    /// A part of which nothing is used, for a worker with so many exchanges.
    pub(crate) fn new(shared: std::sync::Arc<spool::Shared>, exchanges: u32) -> Self {
        Self {
            store: Store::new(shared),
            queue: VecDeque::with_capacity(exchanges as usize),
            generation: 0,
            rests: None,
        }
    }

    /// Whether nothing is in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.store.held() == 0
    }

    /// How many exchanges wait until the disk has done an errand.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The longest body of a request for which there can be room.
    pub(crate) fn longest_body(&self) -> u64 {
        self.store.shared().longest_body()
    }
}

impl<D: Driver> Worker<D> {
    /// Whether more of a request may be received now. What outgrows `exchange_memory` goes to
    /// the spool first; if it cannot, it is refused.
    pub(crate) fn has_room_for_more(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id.0) else { return false };
        let State::Collecting { body, reader, .. } = &exchange.state else { return true };
        let held = body.len();
        let most = self.plan.exchange_memory;
        let comes = match reader {
            RequestBody::Length(left) => *left,
            _ => u64::MAX,
        };
        let fits = u64::from(held).saturating_add(comes) <= u64::from(most);
        let piece = if exchange.spooled.is_some() { self.spool_piece() } else { self.spill_at() };
        if self.spool.is_none() || fits || held < piece {
            return true;
        }
        match self.spill(id) {
            Spilled::All => {
                // It needs little from now on: it need not come before others any more.
                self.favours_no_longer(id);
                true
            }
            Spilled::Later => false,
            Spilled::Full if held < most => true,
            Spilled::Full => {
                self.mishap(id, Mishap::SpoolFull, CloseReason::Refused);
                false
            }
        }
    }

    /// At how many bytes in the pool the body of a request goes to the spool: so early that one
    /// receive more stays within `exchange_memory`.
    fn spill_at(&self) -> u32 {
        let most = self.plan.exchange_memory;
        let receive = u32::from(limits::RECEIVE_BUFFERS) * self.pool.buffer_bytes();
        most.saturating_sub(receive).max(most / 2)
    }

    /// How many bytes are gathered for one errand.
    fn spool_piece(&self) -> u32 {
        limits::SPOOL_EXTENT.min(self.spill_at())
    }

    /// The last of a body follows what is in the spool already.
    pub(crate) fn spill_rest(&mut self, id: ExchangeId) {
        match self.spill(id) {
            Spilled::All => self.collect(id, 0, Rank::Client),
            Spilled::Later => {}
            Spilled::Full => self.mishap(id, Mishap::SpoolFull, CloseReason::Refused),
        }
    }

    /// What a client has not taken of a response goes to the spool when it is more than one
    /// response may keep in the pool. Returns how many bytes stay there.
    pub(crate) fn spill_response(&mut self, id: ExchangeId) -> u32 {
        let Some(exchange) = self.exchanges.get(id.0) else { return 0 };
        let behind = exchange.deliverable(&self.pool).map_or(0, |unsent| unsent.left());
        let most = match exchange.spooled {
            Some(_) => self.spool_piece().min(self.response_memory),
            None => self.response_memory,
        };
        if self.spool.is_none() || behind < most {
            return behind;
        }
        self.spill(id);
        let exchange = self.exchanges.get(id.0);
        exchange.and_then(|it| it.deliverable(&self.pool)).map_or(0, |unsent| unsent.left())
    }

    /// Has all that may go to the spool written there; its buffers are free at once.
    fn spill(&mut self, id: ExchangeId) -> Spilled {
        self.settle_encrypted(id);
        if !self.begin_spooling(id) {
            return Spilled::Full;
        }
        loop {
            let Some(exchange) = self.exchanges.get_mut(id.0) else { return Spilled::Full };
            let from = exchange.spoolable(&self.pool).filter(|from| from.left() > 0);
            let (Some(spool), Some(spooled)) = (&mut self.spool, &mut exchange.spooled) else {
                return Spilled::Full;
            };
            let Some(from) = from else { return Spilled::All };
            let piece = match spool.store.room(&mut spooled.reel, from.left()) {
                Ok(piece) => piece,
                Err(full) => {
                    self.counters.spool_full[full as usize].increment();
                    self.forget_spooling_in_vain(id);
                    return Spilled::Full;
                }
            };
            let ticket = Ticket { owner: id.0, generation: spooled.generation };
            if !self.driver.spool_write(&self.pool, &from, piece, ticket) {
                self.wait_for_disk(id);
                return Spilled::Later;
            }
            spool.store.wrote(&mut spooled.reel, piece);
            exchange.went_to_spool(piece.len, &mut self.pool);
            self.counters.spool_bytes_in.add(u64::from(piece.len));
        }
    }

    /// What of a response is encrypted already and waits for room counts as taken before the rest goes
    /// to the spool: it can be neither moved there nor read back.
    fn settle_encrypted(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0).filter(|exchange| exchange.sending) else {
            return;
        };
        let Some(socket) = self.clients.get(exchange.client).map(|client| client.socket) else {
            return;
        };
        let bytes = self.driver.count_as_taken(socket);
        if bytes > 0 {
            self.count_taken(id, bytes);
        }
    }

    /// Whether there is a spool, and its disk did not fail a moment ago.
    pub(crate) fn may_spool(&self) -> bool {
        let rests = |spool: &Spool| spool.rests.is_some_and(|until| self.now < until);
        self.spool.as_ref().is_some_and(|spool| !rests(spool))
    }

    /// Whether the exchange may put something into the spool.
    fn begin_spooling(&mut self, id: ExchangeId) -> bool {
        if !self.may_spool() {
            return false;
        }
        let Some(spool) = &mut self.spool else { return false };
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return false };
        if exchange.spooled.is_none() {
            let peer = self.clients.whom(exchange);
            spool.generation = spool.generation.wrapping_add(1);
            exchange.spooled = Some(Spooled::new(spool.store.begin(peer), spool.generation));
            self.counters.spooled.increment();
        }
        true
    }

    /// Nothing of the exchange found room: it is as if nothing had been tried.
    fn forget_spooling_in_vain(&mut self, id: ExchangeId) {
        let spooled = self.exchanges.get(id.0).and_then(|exchange| exchange.spooled.as_ref());
        if spooled.is_some_and(|spooled| spooled.reel.is_empty()) {
            self.unspool(id);
        }
    }

    /// Forgets what the exchange has in the spool.
    pub(crate) fn unspool(&mut self, id: ExchangeId) {
        let Some(spooled) = self.exchanges.get_mut(id.0).and_then(|it| it.spooled.take()) else {
            return;
        };
        if let Some(spool) = self.spool.as_mut().filter(|_| spooled.queued) {
            spool.queue.retain(|&other| other != id);
        }
        self.forget_spooled(spooled);
    }

    fn forget_spooled(&mut self, spooled: Spooled) {
        let reel = spooled.give_up(&mut self.pool);
        if let Some(spool) = &mut self.spool {
            spool.store.release(reel);
        }
    }

    /// All memory for errands is out: the exchange goes on when some comes back. Meanwhile its
    /// client is not to blame.
    fn wait_for_disk(&mut self, id: ExchangeId) {
        let (Some(spool), Some(exchange)) = (&mut self.spool, self.exchanges.get_mut(id.0)) else {
            return;
        };
        if let Some(spooled) = &mut exchange.spooled
            && !std::mem::replace(&mut spooled.queued, true)
        {
            spool.queue.push_back(id);
            self.counters.spool_waits.increment();
        }
        if matches!(exchange.state, State::Collecting { .. }) {
            self.clients.arm(exchange.client, Patience::Queue, self.now);
        }
    }

    // Reading back.

    /// Has the next piece read back, to be sent.
    pub(crate) fn read_back(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(spooled) = &mut exchange.spooled else { return };
        if !matches!(spooled.reading, Reading::No) {
            return;
        }
        if let Some(promise) = self.pool.promise(Rank::Send) {
            return self.read_back_into(id, promise);
        }
        spooled.reading = Reading::AwaitsBuffer;
        // Among the responses: nobody waits at the rank of sending, so that whoever writes into
        // buffers that it has just given back finds them there.
        self.pool.wait(id.0, Rank::Upstream, self.now);
    }

    /// Whether the exchange waits for a buffer to read something back.
    pub(crate) fn awaits_reading(&self, id: ExchangeId) -> bool {
        let spooled = self.exchanges.get(id.0).and_then(|exchange| exchange.spooled.as_ref());
        spooled.is_some_and(|spooled| matches!(spooled.reading, Reading::AwaitsBuffer))
    }

    /// The same, with the buffer that was awaited. Other waits of the exchange, which that one
    /// had taken the place of, are taken up again.
    pub(crate) fn read_back_granted(&mut self, id: ExchangeId, promise: Promise) {
        self.read_back_into(id, promise);
        let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
        if matches!(phase, Some(Phase::Leased | Phase::Draining)) {
            self.go_on_responding(id);
        }
    }

    fn read_back_into(&mut self, id: ExchangeId, promise: Promise) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else {
            return self.pool.forgive(promise);
        };
        let client = exchange.client;
        let Some(spooled) = &mut exchange.spooled else { return self.pool.forgive(promise) };
        spooled.reading = Reading::No;
        let Some(mut piece) = spooled.reel.next() else { return self.pool.forgive(promise) };
        piece.len = piece.len.min(read_ahead(&self.pool));
        let ticket = Ticket { owner: id.0, generation: spooled.generation };
        if self.driver.spool_read(piece, ticket) {
            spooled.reading = Reading::UnderWay(Some(promise));
        } else {
            self.pool.forgive(promise);
            self.wait_for_disk(id);
        }
        let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
        if matches!(phase, Some(Phase::Draining | Phase::Delivering)) {
            // A disk that never answers must not keep an exchange for ever.
            self.clients.arm(client, Patience::Write, self.now);
        }
    }

    /// Tells the reel what was sent of the front.
    pub(crate) fn settle_front(&mut self, id: ExchangeId) {
        let Some(spooled) = self.exchanges.get_mut(id.0).and_then(|it| it.spooled.as_mut()) else {
            return;
        };
        let sent = std::mem::take(&mut spooled.sent);
        if sent > 0
            && let Some(spool) = &mut self.spool
        {
            spool.store.read(&mut spooled.reel, sent);
        }
    }

    /// A response of which nothing is left in the spool goes on from the pool alone.
    pub(crate) fn leave_spool_if_spent(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let answers = matches!(exchange.state, State::Draining { .. } | State::Delivering { .. });
        if answers && exchange.spooled.as_ref().is_some_and(|spooled| spooled.left() == 0) {
            self.unspool(id);
        }
    }

    // What the disk tells.

    /// An errand is done.
    pub(crate) fn disk_did(&mut self, ticket: Ticket, done: SpoolDone) {
        let id = ExchangeId(ticket.owner);
        let spooled = self.exchanges.get(id.0).and_then(|exchange| exchange.spooled.as_ref());
        let concerns = spooled.is_some_and(|spooled| spooled.generation == ticket.generation);
        match done {
            SpoolDone::Written => {}
            SpoolDone::Read(read) if concerns => self.was_read_back(id, read),
            SpoolDone::Read(read) => self.driver.spool_drop(read),
            SpoolDone::Failed => {
                self.counters.spool_failures.increment();
                if let Some(spool) = &mut self.spool {
                    spool.rests = Some(self.now + limits::SPOOL_REST);
                }
                if concerns {
                    self.mishap(id, Mishap::SpoolBroke, CloseReason::Spool);
                }
            }
        }
        self.serve_those_who_wait_for_disk();
    }

    fn was_read_back(&mut self, id: ExchangeId, read: SpoolRead) {
        let spooled = self.exchanges.get_mut(id.0).and_then(|it| it.spooled.as_mut());
        let Some(spooled) = spooled else { return self.driver.spool_drop(read) };
        match std::mem::replace(&mut spooled.reading, Reading::No) {
            Reading::UnderWay(mut promise) => {
                let front = &mut spooled.front;
                let taken = self.driver.spool_take(read, &mut self.pool, front, &mut promise);
                if let Some(promise) = promise {
                    self.pool.forgive(promise);
                }
                self.counters.spool_bytes_out.add(u64::from(taken));
            }
            Reading::InVain => self.driver.spool_drop(read),
            Reading::No | Reading::AwaitsBuffer => {
                debug_assert!(false, "nothing was to be read");
                return self.driver.spool_drop(read);
            }
        }
        match self.exchanges.get(id.0).and_then(Exchange::phase) {
            Some(Phase::Leased) => {
                self.awaits_server_again(id);
                self.write_request(id);
            }
            Some(Phase::Draining | Phase::Delivering) => {
                self.deliver(id);
                self.receive_again(id);
            }
            // It is to go again, and reads from its beginning when it does.
            _ => {}
        }
    }

    /// The server waited for the disk: its own time begins now.
    fn awaits_server_again(&mut self, id: ExchangeId) {
        let lease = self.exchanges.get(id.0).and_then(Exchange::lease);
        let Some(connection) = lease.map(|lease| lease.connection) else { return };
        if self.upstreams.get(connection).is_some_and(|upstream| !upstream.stalled) {
            let progress = self.awaits_of(id);
            self.upstreams.arm(connection, progress, self.now);
        }
    }

    /// Some memory for errands came back.
    fn serve_those_who_wait_for_disk(&mut self) {
        let waiting = self.spool.as_ref().map_or(0, |spool| spool.queue.len());
        for _ in 0..waiting {
            let Some(id) = self.spool.as_mut().and_then(|spool| spool.queue.pop_front()) else {
                return;
            };
            let spooled = self.exchanges.get_mut(id.0).and_then(|it| it.spooled.as_mut());
            let waits = spooled.is_some_and(|it| std::mem::replace(&mut it.queued, false));
            if waits {
                self.go_on_with_disk(id);
            }
            let spooled = self.exchanges.get(id.0).and_then(|it| it.spooled.as_ref());
            if spooled.is_some_and(|spooled| spooled.queued) {
                // It found none, so nobody behind it would.
                return;
            }
        }
    }

    fn go_on_with_disk(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        match &exchange.state {
            State::Collecting { reader: RequestBody::Ended { .. }, .. } => self.spill_rest(id),
            State::Collecting { .. } => self.go_on_collecting_to_disk(id),
            State::Leased { .. } => self.write_request(id),
            State::Draining { .. } => {
                self.deliver(id);
                self.receive_again(id);
            }
            State::Delivering { .. } => self.deliver(id),
            _ => {}
        }
    }

    fn go_on_collecting_to_disk(&mut self, id: ExchangeId) {
        if self.spill(id) != Spilled::Later && !self.pool.is_waiting(id.0) {
            self.go_on_receiving_body(id);
        }
    }

    /// A response that stalls because the spool had no room goes there if it has some now.
    /// False if it stalls as before.
    pub(crate) fn stalls_no_longer(&mut self, id: ExchangeId) -> bool {
        if !self.may_spool() {
            return false;
        }
        let lease = self.exchanges.get(id.0).and_then(Exchange::lease);
        let Some(connection) = lease.map(|lease| lease.connection) else { return false };
        let progress = self.awaits_of(id);
        self.upstreams.arm(connection, progress, self.now);
        self.receive_more(id);
        let stalls = self.upstreams.get(connection).is_some_and(|upstream| upstream.stalled);
        let spooled = self.exchanges.get(id.0).and_then(|exchange| exchange.spooled.as_ref());
        !stalls || spooled.is_some_and(|spooled| spooled.queued)
    }

    /// The pool is short: what this slow exchange holds goes to the spool, whatever its size.
    pub(crate) fn spool_slow(&mut self, id: ExchangeId) -> Relief {
        let before = self.pool.used();
        self.settle_encrypted(id);
        let exchange = self.exchanges.get(id.0);
        let from = exchange.and_then(|it| it.spoolable(&self.pool));
        let has_some = from.is_some_and(|from| from.left() > 0);
        let busy = has_some && self.spill(id) == Spilled::Later;
        if let Some(spooled) = self.exchanges.get_mut(id.0).and_then(|it| it.spooled.as_mut())
            && spooled.sent == 0
        {
            // It can be read again.
            self.pool.clear(&mut spooled.front);
        }
        let freed = self.pool.used() < before;
        if self.exchanges.get(id.0).is_some_and(|exchange| exchange.spooled.is_none()) {
            // It has no room there: by what counts as taken now, a response may go on without (law 4).
            self.receive_again(id);
        }
        if freed {
            self.counters.spooled_for_others.increment();
            Relief::Found
        } else if busy {
            Relief::DiskBusy
        } else {
            Relief::None
        }
    }
}

/// How many bytes are read back at once: what lies on disk costs nobody anything, so that it
/// comes before it can be sent only while half of the pool is free. One buffer is promised.
fn read_ahead(pool: &Pool) -> u32 {
    let spare = (pool.free() - pool.promised()).saturating_sub(pool.size() / 2);
    (spare + 1).min(u32::from(limits::RECEIVE_BUFFERS)) * pool.buffer_bytes()
}
