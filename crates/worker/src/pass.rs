//! Connections that are passed through: they wait for a server as requests do, and are tunnels from
//! the moment their connection to it is open.

use base::id::{ClientId, ExchangeId, ListenerId};
use driver::Driver;
use exchange::{Next, Refusal};
use pool::Chain;

use crate::counters::CloseReason;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Whether a listener's connections are passed through.
    pub(crate) fn passes(&self, listener: ListenerId) -> bool {
        self.rules.get(listener.index()).is_some_and(|rules| rules.passing.is_some())
    }

    /// A client came. Where nothing of it needs to be known, it waits for its server at once: many
    /// protocols have the server speak first.
    pub(crate) fn pass_at_once(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let (socket, listener) = (client.socket, client.listener());
        let passing = self.rules[listener.index()].passing.as_ref();
        if !passing.is_some_and(exchange::Passing::at_once) {
            return;
        }
        self.driver.disarm(socket);
        self.clients.disarm(id);
        let Some(exchange) = self.begin_exchange(id, Chain::new()) else { return };
        if let Some(record) = self.exchanges.get_mut(exchange.0) {
            record.passes_on(Chain::new());
        }
        self.enqueue(exchange);
    }

    /// What is passed through has its connection: it is pinned, and both ends are joined. One that
    /// broke before it could be told whose it is was never pinned.
    pub(crate) fn pass_through(&mut self, id: ExchangeId) {
        self.note_phase(id);
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let Some(connection) = exchange.lease().map(|lease| lease.connection) else { return };
        let client = exchange.client;
        let speaks = matches!(exchange.next_unsent(&self.pool), Next::Bytes(_));
        if !self.introduce(connection, client, speaks) {
            return self.refuse(id, Refusal::Unreachable, None);
        }
        if self.take_pin(id, false) {
            self.begin_tunnel(id);
        }
    }

    /// There is no server for a client that is passed through. Its protocol is not known, so that
    /// a reset is all it can be told.
    pub(crate) fn turn_away(&mut self, id: ExchangeId, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Slow => CloseReason::Timeout,
            Refusal::Pressure => CloseReason::Pressure,
            Refusal::Unreachable => CloseReason::Upstream,
            Refusal::Stopping => CloseReason::Drain,
            _ => CloseReason::Refused,
        };
        self.ledger.cut(id, reason);
        self.leave_queues(id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        if let Some(lease) = exchange.give_up(&mut self.pool) {
            self.end_lease(&lease, false, false);
        }
        if let Some(client) = self.end_exchange(id) {
            self.reset_client(client, reason);
        }
    }
}
