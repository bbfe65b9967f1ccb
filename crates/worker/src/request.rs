//! From a parked client's first byte to the complete request in the ready queue.

use base::id::{ClientId, ExchangeId};
use base::limits;
use driver::{Driver, Received, Socket};
use exchange::{
    Admission, Collected, Exchange, Mishap, Pace, Phase, Proxy, Refusal, Room, State, Way,
};
use pool::{Chain, Rank};
use wire::http1::CONTINUE;

use crate::client::{ClientState, Patience};
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::orders::Life;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Something can be received from a client.
    pub(crate) fn client_readable(&mut self, id: ClientId) {
        match self.clients.get(id).map(|client| client.state) {
            Some(ClientState::Parked) => {
                if let Some(exchange) = self.begin_exchange(id, Chain::new()) {
                    self.receive_request(exchange);
                }
            }
            Some(ClientState::Active(exchange)) => match self.exchanges.get(exchange.0) {
                Some(record) if record.uploads() => self.receive_upload(exchange),
                _ => self.receive_request(exchange),
            },
            Some(ClientState::Tunnel(tunnel)) => self.tunnel_readable(tunnel, Way::Up),
            Some(ClientState::ProxyHeader) => self.read_preface(id),
            Some(ClientState::Lingering { .. }) => self.discard_more(id),
            Some(ClientState::Closing) | None => {}
        }
    }

    /// A parked client becomes active; `input` is what it sent early, if anything. Until it is given
    /// another deadline it keeps the one it has, and its place there: perhaps nothing came after all.
    pub(crate) fn begin_exchange(&mut self, id: ClientId, input: Chain) -> Option<ExchangeId> {
        let client = self.clients.get(id)?;
        let listener = client.listener();
        let group = self.plan.listeners[listener.index()].group;
        let (early, passes) = (input.len(), self.passes(listener));
        let mut exchange = Exchange::begin(id, listener, group, self.now, input);
        exchange.newcomer = self.clients.is_new(id);
        let exchange = match self.exchanges.insert(exchange) {
            Ok(index) => ExchangeId(index),
            Err(mut exchange) => {
                // There are as many exchange records as client records.
                debug_assert!(false, "more exchanges than clients");
                exchange.give_up(&mut self.pool);
                return None;
            }
        };
        self.ledger.open(exchange, early, passes);
        self.clients.set_state(id, ClientState::Active(exchange));
        self.counters.clients_active.increment();
        self.note_phase(exchange);
        Some(exchange)
    }

    /// Receives what is there of a request that is not complete.
    pub(crate) fn receive_request(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let client = exchange.client;
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        let mut fill = exchange.request_fill(&self.pool);
        let mut promise = exchange.granted.take();
        // The deadline of waiting for a buffer gives way to that of the head or body again.
        let waited = promise.is_some();
        if waited && self.is_favoured(id) {
            // It takes what it needs at once, before others get a part of it each.
            let spare = self.pool.spare(Rank::Client).saturating_add(1);
            fill.fresh = fill.fresh.min(u16::try_from(spare).unwrap_or(u16::MAX));
            fill.rank = Rank::Upstream;
        }
        // A body of which nothing is in the pool, because it is in the spool, has begun.
        let begins = self.is_untouched(id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(chain) = exchange.request_chain() else {
            debug_assert!(false, "nothing is armed while the request is answered");
            exchange.granted = promise;
            return;
        };
        let received = self.driver.receive(socket, &mut self.pool, chain, fill, &mut promise);
        if let Some(promise) = promise {
            self.pool.forgive(promise);
        }
        match received {
            Received::Bytes(bytes) => {
                self.counters.client_bytes_in.add(u64::from(bytes));
                self.ledger.received(id, bytes);
                // The first there are of it, or the first that somebody receives again, who had no buffer or
                // no place.
                let resumes = waited || self.clients.waits(client, Patience::Queue);
                let fresh = resumes || (begins && !self.clients.waits(client, Patience::Head));
                if fresh {
                    self.clients.arm(client, Patience::Head, self.now);
                }
                let came = self.driver.progress(socket, bytes);
                if self.is_too_slow(id, came, fresh) {
                    return self.mishap(id, Mishap::ClientSlow, CloseReason::Timeout);
                }
                self.collect(id, bytes, Rank::Client);
            }
            Received::Nothing => self.nothing_whole_came(id, (client, socket), begins),
            Received::NoBuffer => {
                let rank = if begins { Rank::NewClient } else { Rank::Client };
                self.wait_for_request_buffer(id, rank);
            }
            Received::Ended if begins && !self.clients.waits(client, Patience::Head) => {
                let reason = self.blames(id, client, CloseReason::Client);
                self.ledger.cut(id, reason);
                self.end_exchange(id);
                self.close_client(client, reason);
            }
            Received::Ended => {
                let reason = self.blames(id, client, CloseReason::Aborted);
                self.mishap(id, Mishap::ClientEnded, reason);
            }
            Received::Failed(_) => self.client_broke(client),
        }
    }

    /// Begins the pipelined requests whose turn has come. False when there were none.
    pub(crate) fn serve_pipelined(&mut self) -> bool {
        let waiting = self.pipelined.len();
        for _ in 0..waiting {
            let Some(id) = self.pipelined.pop_front() else { break };
            // If its client left meanwhile, the number may name another exchange by now, to
            // which it does no harm to be shown that nothing new came.
            let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
            self.witness_turn(id, phase == Some(Phase::Arriving));
            if phase == Some(Phase::Arriving) && !self.pool.is_waiting(id.0) {
                self.collect(id, 0, Rank::Client);
            }
        }
        waiting > 0
    }

    /// Whether not a byte of the exchange has come.
    fn is_untouched(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id.0).is_some_and(
            |exchange| matches!(&exchange.state, State::Arriving { input, .. } if input.is_empty()),
        )
    }

    /// There was nothing to receive: nothing had come; or over TLS a part of a record, or one that
    /// says nothing to us. `begins`: that is so of the whole request.
    fn nothing_whole_came(
        &mut self,
        id: ExchangeId,
        (client, socket): (ClientId, Socket),
        begins: bool,
    ) {
        if self.driver.awaits_place(socket) {
            // What has come waits for us, as for a buffer, and as long: it keeps that deadline.
            return self.driver.arm(socket);
        }
        let part = self.driver.has_part(socket);
        if begins && !self.clients.waits(client, Patience::Head) {
            // Who had to wait for a buffer lost its place among the parked. Only TLS can bring that
            // about again and again.
            let parks = self.clients.is_idle(client) || !self.driver.is_secured(socket);
            if !part && parks {
                return self.back_to_parked(id);
            }
            self.has_begun(id, client);
        }
        let resumes = self.clients.waits(client, Patience::Queue);
        if resumes && !begins {
            // What it waited for was no more than a part, or nothing: its own time goes on.
            let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
            let arrives = phase == Some(Phase::Arriving);
            let own = if arrives { Patience::Head } else { Patience::Body };
            self.clients.arm(client, own, self.now);
        }
        if part {
            let came = self.driver.progress(socket, 0);
            if self.is_too_slow(id, came, resumes) {
                return self.mishap(id, Mishap::ClientSlow, CloseReason::Timeout);
            }
            self.body_goes_on(client, came);
        }
        self.driver.arm(socket);
    }

    /// The client has begun a record (TLS): it is not parked any more (law 1), and the head of its
    /// request must be there as long after that first byte as any head after its first.
    fn has_begun(&mut self, id: ExchangeId, client: ClientId) {
        self.clients.arm(client, Patience::Head, self.now);
        self.ledger.begun(id);
    }

    /// So much more than before has come of a record: of a body that is a piece like any other, though
    /// nobody can read it yet.
    pub(crate) fn body_goes_on(&mut self, client: ClientId, came: u32) {
        if came > 0 && self.clients.waits(client, Patience::Body) {
            self.clients.arm(client, Patience::Body, self.now);
        }
    }

    /// A client that would be parked has begun its next record already.
    pub(crate) fn begin_record(&mut self, id: ClientId) {
        if let Some(exchange) = self.begin_exchange(id, Chain::new()) {
            self.has_begun(exchange, id);
        }
    }

    /// Nothing had come after all: the client waits on where it waited, and no longer for that.
    fn back_to_parked(&mut self, id: ExchangeId) {
        let newcomer = self.exchanges.get(id.0).is_some_and(|exchange| exchange.newcomer);
        let Some(client) = self.end_exchange(id) else { return };
        if !self.clients.is_idle(client) {
            let patience = if newcomer { Patience::New } else { Patience::Idle };
            self.clients.arm(client, patience, self.now);
        }
        self.await_next(client);
    }

    /// No buffer could be lent: the exchange queues for one. Nobody receives meanwhile, so the
    /// kernel's window slows the client down; that it does not move is not its fault.
    fn wait_for_request_buffer(&mut self, id: ExchangeId, rank: Rank) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        // One in all, whatever else it waits for in between.
        if !self.clients.waits(exchange.client, Patience::Queue) {
            self.clients.arm(exchange.client, Patience::Queue, self.now);
        }
        // All others give way to the one that is finished first: nobody stands before it.
        let first = self.favoured.is_some_and(|(favoured, _)| favoured == id);
        if first || (rank == Rank::Client && self.is_favoured(id)) {
            self.pool.wait_first(id.0, Rank::Client, self.now);
        } else {
            self.pool.wait(id.0, rank, self.now);
        }
    }

    /// Whether this request is to be finished before others. It becomes so if no other is.
    fn is_favoured(&mut self, id: ExchangeId) -> bool {
        if self.gives_way(id) {
            return false;
        }
        self.favoured = Some((id, self.now));
        true
    }

    /// A request is complete or over: its number may soon be another's.
    pub(crate) fn favours_no_longer(&mut self, id: ExchangeId) {
        self.favoured = self.favoured.filter(|&(favoured, _)| favoured != id);
    }

    /// Whether another request is finished first: one that is not complete, and waits for a
    /// buffer or has asked for one a moment ago.
    pub(crate) fn gives_way(&self, id: ExchangeId) -> bool {
        self.favoured.is_some_and(|(other, asked)| {
            let asks = self.pool.is_waiting(other.0) || self.now.since(asked) < limits::FAVOUR;
            other != id && asks && self.is_collecting(other)
        })
    }

    fn is_collecting(&self, id: ExchangeId) -> bool {
        let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
        matches!(phase, Some(Phase::Arriving | Phase::Collecting))
    }

    /// Shows the proxy what came, and does what it says.
    pub(crate) fn collect(&mut self, id: ExchangeId, fresh: u32, rank: Rank) {
        let draining = self.life != Life::Serving;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let (client, was_arriving) =
            (exchange.client, matches!(exchange.state, State::Arriving { .. }));
        let listener = exchange.listener;
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        let was_asked_about = self.gate.has_answered(id);
        let rules = &self.rules[listener.index()];
        let known = self.gate.known(id, rules, self.now);
        let mut room = Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules,
            rank,
            peer: record.peer(),
            tls: self.driver.tls_facts(socket),
            date: self.date.text(),
            draining,
            request_ids: &mut self.request_ids,
            admission: known.as_ref().map(|known| known as &dyn Admission),
            note: self.ledger.note(id),
        };
        let collected = self.proxy.collect(exchange, fresh, &mut room);
        let collecting = matches!(exchange.state, State::Collecting { .. });
        let arrived = was_arriving && !matches!(exchange.state, State::Arriving { .. });
        if arrived && known.is_some_and(|known| known.is_recalled()) {
            // Once, though a head may be read again when there are buffers.
            self.counters.authorizations_remembered.increment();
        }
        if was_arriving && collecting {
            // Whatever comes of the body, and though buffers run out behind the head.
            self.note_phase(id);
        }
        let counts = match collected {
            Collected::Answered => false,
            // Who tries again and again to be let in asks, too.
            Collected::Refused(refusal, _) => refusal.is_of_authorization(),
            // It counted when it was asked about.
            _ => !was_asked_about,
        };
        if arrived
            && counts
            && !self.passes(listener)
            && let Some(exchange) = self.exchanges.get(id.0)
            && let Some(refusal) = self.screens_request(exchange)
        {
            return self.refuse(id, refusal, None);
        }
        match collected {
            Collected::Incomplete { advise } => {
                if advise && !self.advise(id) {
                    return;
                }
                if collecting {
                    self.clients.arm(client, Patience::Body, self.now);
                }
                if self.has_room_for_more(id) {
                    self.driver.arm(socket);
                }
            }
            Collected::Asks(question) => self.ask(id, question),
            Collected::Spool => self.spill_rest(id),
            Collected::Starved => {
                // The head may have been read before the buffers ran out.
                self.note_phase(id);
                self.wait_for_request_buffer(id, Rank::Client);
            }
            Collected::Complete => {
                self.count_trailers(id);
                self.enqueue(id);
            }
            Collected::Answered => {
                self.count_trailers(id);
                self.clients.disarm(client);
                self.unspool(id);
                self.note_phase(id);
                self.deliver(id);
            }
            Collected::Refused(refusal, fault) => self.refuse(id, refusal, fault),
        }
    }

    /// Tells the client to send its body (RFC 9110 §10.1.1). One whose transport has no room is not
    /// told: it does not wait for ever. False if it took a part, behind which nothing can be said.
    pub(crate) fn advise(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id.0) else { return false };
        let Some(client) = self.clients.get(exchange.client) else { return false };
        let sent = self.driver.send_text(client.socket, CONTINUE);
        self.ledger.sent(id, sent);
        let whole = sent == 0 || sent as usize == CONTINUE.len();
        if !whole {
            self.abandon(id, CloseReason::Aborted);
        }
        whole
    }

    pub(crate) fn count_trailers(&self, id: ExchangeId) {
        let exchange = self.exchanges.get(id.0);
        let trailers = exchange.map_or(0, |exchange| u64::from(exchange.facts.trailer_bytes));
        self.counters.trailer_bytes_dropped.add(trailers);
    }

    /// What had to go to the spool first did.
    pub(crate) fn go_on_receiving_body(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let client = exchange.client;
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        // That nothing came meanwhile is not the client's fault.
        if let Some(exchange) = self.exchanges.get_mut(id.0) {
            exchange.pace = Pace { since: self.now, bytes: 0 };
        }
        // Nor is it that nobody reads on before less is ahead of its buffers.
        let waits = self.driver.awaits_place(socket);
        let patience = if waits { Patience::Queue } else { Patience::Body };
        self.clients.arm(client, patience, self.now);
        self.driver.arm(socket);
    }

    /// The request is complete: it waits for a lease.
    pub(crate) fn enqueue(&mut self, id: ExchangeId) {
        self.note_phase(id);
        self.favours_no_longer(id);
        // Completed by what freed buffers of its own, while it waited for one.
        if self.pool.is_waiting(id.0) {
            self.pool.leave(id.0);
        }
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let (group, client) = (exchange.group, exchange.client);
        // A server shall not see connections that are closed as soon as they are open.
        if self.passes(exchange.listener) && !self.has_place_to_pin(group) {
            return self.refuse(id, Refusal::PinnedFull, None);
        }
        match self.bus.enqueue(group, id, self.now, false) {
            Ok(()) => {
                self.clients.arm(client, Patience::Queue, self.now);
                self.await_upload(id);
            }
            Err(_full) => {
                self.witness(Event::LeaseRefused, id);
                self.refuse(id, Refusal::QueueFull, None);
            }
        }
    }
}
