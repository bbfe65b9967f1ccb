//! The client is served at its own pace; each buffer goes back as it empties (law 2).

use base::id::{ClientId, ExchangeId};
use driver::{Driver, Sent};
use exchange::{Next, State, Then, Way};

use crate::client::{Client, ClientState, Patience};
use crate::counters::CloseReason;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Gives the client as much as its transport takes.
    pub(crate) fn deliver(&mut self, id: ExchangeId) {
        loop {
            let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
            if exchange.sending {
                return;
            }
            let client = exchange.client;
            let unsent = match exchange.next_output(&self.pool) {
                Next::Bytes(unsent) => unsent,
                Next::Spooled => return self.read_back(id),
                Next::Nothing if matches!(exchange.state, State::Delivering { .. }) => {
                    return self.finish_when_taken(id);
                }
                Next::Nothing => return self.caught_up(id),
            };
            let Some(record) = self.clients.get(client) else { return };
            match self.driver.send(record.socket, &mut self.pool, &unsent, false) {
                Sent::Now(bytes) => {
                    self.count_taken(id, bytes);
                    self.leave_spool_if_spent(id);
                }
                Sent::Later => {
                    exchange.sending = true;
                    self.clients.arm(client, Patience::Write, self.now);
                    return;
                }
                Sent::Failed(_) => return self.client_broke(client),
            }
        }
    }

    /// The client's transport took some of what it was sent, or has room again.
    pub(crate) fn client_took(&mut self, id: ClientId, bytes: u32) {
        if let Some(tunnel) = self.clients.get(id).and_then(Client::tunnel) {
            return self.tunnel_took(tunnel, Way::Down, bytes);
        }
        let Some(exchange) = self.clients.get(id).and_then(Client::exchange) else {
            // If it lingers, it may have awaited our last word alone.
            return self.discard_more(id);
        };
        let Some(record) = self.exchanges.get_mut(exchange.0) else { return };
        record.sending = false;
        if bytes > 0 {
            self.count_taken(exchange, bytes);
            self.leave_spool_if_spent(exchange);
        }
        self.deliver(exchange);
        self.receive_again(exchange);
    }

    /// The client's transport has these bytes.
    pub(crate) fn count_taken(&mut self, id: ExchangeId, bytes: u32) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        self.counters.client_bytes_out.add(u64::from(bytes));
        self.ledger.sent(id, bytes);
        exchange.delivered(bytes, &mut self.pool);
        self.settle_front(id);
    }

    /// Of the response nothing is left here: it is over when the transport has it all.
    fn finish_when_taken(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let client = exchange.client;
        let socket = self.clients.get(client).map(|client| client.socket);
        if socket.is_some_and(|socket| self.driver.await_rest(socket)) {
            exchange.sending = true;
            return self.clients.arm(client, Patience::Write, self.now);
        }
        self.finish(id);
    }

    /// The response's last byte is accepted: the exchange is over.
    fn finish(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let (then, client) = (exchange.then, exchange.client);
        let class = usize::from(exchange.facts.status / 100).clamp(1, 5) - 1;
        self.counters.requests[class].increment();
        self.counters.request_seconds.observe(self.now.since(exchange.began));
        // Who asks for the end of the connection sends nothing after that (RFC 9112 §9.6). To
        // HTTP/1.0 the end is usual, and promises nothing.
        let facts = &exchange.facts;
        let promised_nothing = !facts.persistent && !facts.old_version;
        let rest = exchange.rest.take();
        self.ledger.served(id, rest.len());
        // The server answered before the end of a streamed body.
        let cut_short = exchange.upload.is_some();
        self.end_exchange(id);
        match then {
            Then::Park if rest.is_empty() => self.park(client),
            Then::Park => {
                self.become_parked(client);
                if let Some(next) = self.begin_exchange(client, rest) {
                    self.clients.arm(client, Patience::Head, self.now);
                    self.pipelined.push_back(next);
                }
            }
            Then::Close | Then::Linger => {
                let unread = !rest.is_empty() || then == Then::Linger;
                self.pool.release(rest);
                if unread || self.has_more(client, promised_nothing) {
                    let reason = match then {
                        Then::Linger if !cut_short => CloseReason::Refused,
                        _ => CloseReason::Done,
                    };
                    self.linger(client, reason);
                } else {
                    self.close_in_order(client, CloseReason::Done);
                }
            }
        }
    }

    /// Whether the client has sent more than was received.
    fn has_more(&mut self, id: ClientId, promised_nothing: bool) -> bool {
        let Some(socket) = self.clients.get(id).map(|client| client.socket) else {
            return false;
        };
        if promised_nothing {
            self.driver.has_unread(socket)
        } else {
            !self.driver.is_quiet(socket)
        }
    }

    /// Between two exchanges of a pipelining client.
    fn become_parked(&mut self, id: ClientId) {
        self.clients.set_state(id, ClientState::Parked);
        self.counters.clients_active.sub(1);
    }

    /// Takes an exchange out of the table; everything it held goes back. Returns its client,
    /// whose state is the caller's to change.
    pub(crate) fn end_exchange(&mut self, id: ExchangeId) -> Option<ClientId> {
        self.unspool(id);
        let mut exchange = self.exchanges.remove(id.0)?;
        let lease = exchange.give_up(&mut self.pool);
        debug_assert!(lease.is_none(), "a lease ends before its exchange");
        if self.pool.is_waiting(id.0) {
            self.pool.leave(id.0);
        }
        self.pool.release(exchange.rest.take());
        self.favours_no_longer(id);
        self.gate.forget(id);
        self.account_end(id, &exchange);
        if let Some(phase) = exchange.counted.take() {
            self.counters.exchanges[phase as usize].sub(1);
        }
        Some(exchange.client)
    }

    /// Keeps `anteroom_exchanges{state}` true after a change of state.
    pub(crate) fn note_phase(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let phase = exchange.phase();
        let before = std::mem::replace(&mut exchange.counted, phase);
        if let Some(old) = before {
            self.counters.exchanges[old as usize].sub(1);
        }
        if let Some(new) = phase {
            self.counters.exchanges[new as usize].increment();
        }
        self.account_phase(id, before, phase);
        self.forget_answer(id);
    }
}
