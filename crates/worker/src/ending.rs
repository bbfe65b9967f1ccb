//! Everything that goes wrong: refusals, mishaps, the closing of clients (law 9).

use base::id::{ClientId, ExchangeId};
use base::limits;
use driver::{Driver, Received, Socket};
use exchange::{Exchange, Mishap, Outcome, Phase, Proxy, Refusal, Room, outcome};
use wire::http1::Fault;

use crate::client::{ClientState, Patience};
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::orders::Life;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// Does what the table says of a mishap. `reason` is told if the client is closed.
    pub(crate) fn mishap(&mut self, id: ExchangeId, mishap: Mishap, reason: CloseReason) {
        let Some(phase) = self.exchanges.get(id.0).and_then(Exchange::phase) else {
            return;
        };
        self.witness(Event::Mishap(mishap), id);
        match outcome(phase, mishap) {
            Outcome::Impossible => debug_assert!(false, "{mishap:?} while {phase:?}"),
            Outcome::GoOn => {}
            Outcome::Answer(refusal) => self.refuse(id, refusal, None),
            Outcome::Close => self.abandon(id, reason),
            Outcome::GoAgain => self.go_again(id),
        }
    }

    /// Answers a request ourselves, behind what the client has not taken of interim responses. A
    /// lease, if held, ends, and its connection with it.
    pub(crate) fn refuse(&mut self, id: ExchangeId, refusal: Refusal, fault: Option<Fault>) {
        self.counters.refusals[refusal as usize].increment();
        self.ledger.refused(id, refusal, fault);
        if self.exchanges.get(id.0).is_some_and(|it| self.passes(it.listener)) {
            return self.turn_away(id, refusal);
        }
        self.leave_queues(id);
        self.unspool(id);
        self.cut_off(id);
        let draining = self.life != Life::Serving;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let client = exchange.client;
        // Without a lease the proxy gives it up, when it has seen what came.
        if exchange.lease().is_some()
            && let Some(lease) = exchange.give_up_but_hints(&mut self.pool)
        {
            self.end_lease(&lease, false, false);
        }
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        let rules = &self.rules[exchange.listener.index()];
        let known = self.gate.known(id, rules, self.now);
        let mut room = Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules,
            rank: pool::Rank::Send,
            peer: record.peer(),
            tls: None,
            date: self.date.text(),
            draining,
            request_ids: &mut self.request_ids,
            admission: known.as_ref().map(|known| known as &dyn exchange::Admission),
            note: self.ledger.note(id),
        };
        self.driver.disarm(socket);
        if exchange.sending {
            self.clients.arm(client, Patience::Write, self.now);
        } else {
            self.clients.disarm(client);
        }
        if self.proxy.refuse(exchange, refusal, fault, &mut room) {
            self.note_phase(id);
            self.deliver(id);
            return;
        }
        // Not one buffer is to be had: the client is told without, unless that would stand in a hint.
        if self.exchanges.get(id.0).is_some_and(Exchange::has_begun_to_deliver) {
            return self.abandon(id, CloseReason::Refused);
        }
        if let Some(exchange) = self.exchanges.get_mut(id.0) {
            exchange.facts.status = Refusal::Crowded.status();
        }
        self.counters.requests[4].increment();
        let text = self.proxy.crowded();
        let sent = self.driver.send_text(socket, text);
        self.ledger.sent(id, sent);
        self.end_exchange(id);
        self.linger(client, CloseReason::Refused);
    }

    /// Gives the exchange up and closes its client.
    pub(crate) fn abandon(&mut self, id: ExchangeId, reason: CloseReason) {
        self.ledger.cut(id, reason);
        self.leave_queues(id);
        self.cut_off(id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let begun = matches!(exchange.phase(), Some(Phase::Draining | Phase::Delivering));
        let looks_whole = begun && exchange.facts.ends_with_connection;
        if let Some(lease) = exchange.give_up(&mut self.pool) {
            self.end_lease(&lease, false, false);
        }
        match self.end_exchange(id) {
            // An orderly end would tell that the client has all.
            Some(client) if looks_whole => self.reset_client(client, reason),
            Some(client) => self.close_client(client, reason),
            None => {}
        }
    }

    /// A request whose connection was closed under it goes once more, on a fresh one, if that is
    /// safe and neither its attempts nor its group's budget are spent: to the same server if the
    /// connection had been idle before, to another one if it was fresh.
    fn go_again(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let (group, client) = (exchange.group, exchange.client);
        let retries = u32::from(exchange.facts.retries);
        let lease = exchange.lease().filter(|_| exchange.can_go_again());
        let lease = lease.map(|lease| (lease.connection, lease.fresh));
        let Some((connection, fresh)) = lease.filter(|&(_, fresh)| {
            // A connection closed while idle is no failure, and happens to a request once.
            let granted = |bus: &bus::Bus| !fresh || bus.grant_retry(group, self.now);
            self.bus.may_need_again(group, fresh, retries) && granted(&self.bus)
        }) else {
            return self.refuse(id, Refusal::BadResponse, None);
        };
        let failing = self.bus.server_of(connection).filter(|_| fresh);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let lease = exchange.goes_again(&mut self.pool);
        if self.pool.is_waiting(id.0) {
            self.pool.leave(id.0);
        }
        if let Some(lease) = lease {
            self.end_lease(&lease, false, false);
        }
        self.counters.retries.increment();
        self.note_phase(id);
        match self.bus.enqueue(group, id, self.now, true) {
            Ok(()) => self.clients.arm(client, Patience::Queue, self.now),
            Err(_full) => return self.refuse(id, Refusal::QueueFull, None),
        }
        if let Some(failing) = failing {
            self.bus.avoid(id, failing);
        }
    }

    /// Leaves the queues for a lease and for a buffer, if it stands in them.
    pub(crate) fn leave_queues(&mut self, id: ExchangeId) {
        if self.pool.is_waiting(id.0) {
            self.pool.leave(id.0);
        }
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        if exchange.phase() == Some(Phase::Ready) {
            self.bus.withdraw(id);
        }
    }

    /// A client's connection broke.
    pub(crate) fn client_broke(&mut self, id: ClientId) {
        match self.clients.get(id).map(|client| client.state) {
            Some(ClientState::Active(exchange)) => {
                let reason = self.blames(exchange, id, CloseReason::Aborted);
                self.mishap(exchange, Mishap::ClientBroke, reason);
            }
            Some(ClientState::Tunnel(tunnel)) => {
                self.tunnel_mishap(tunnel, Mishap::ClientBroke, CloseReason::Aborted);
            }
            Some(ClientState::Parked | ClientState::ProxyHeader) => {
                self.close_client(id, CloseReason::Client);
            }
            Some(ClientState::Lingering { .. }) => self.close_lingering(id),
            Some(ClientState::Closing) | None => {}
        }
    }

    /// Why a client whose connection is over goes: for what ended its session, if that failed, which
    /// its line tells too; else for that reason.
    pub(crate) fn blames(
        &mut self,
        exchange: ExchangeId,
        id: ClientId,
        otherwise: CloseReason,
    ) -> CloseReason {
        let socket = self.clients.get(id).map(|client| client.socket);
        let Some(failure) = socket.and_then(|socket| self.driver.failure(socket)) else {
            return otherwise;
        };
        self.ledger.unsecured(exchange, failure);
        CloseReason::Tls
    }

    /// A deadline on the client's side ran out.
    pub(crate) fn client_late(&mut self, id: ClientId, patience: Patience) {
        match (patience, self.clients.get(id).map(|client| client.state)) {
            (Patience::Idle | Patience::New, _) if self.life == Life::Serving => {
                self.close_client(id, CloseReason::Idle);
            }
            (Patience::Handshake, _) if self.life == Life::Serving => self.shakes_too_long(id),
            (Patience::Idle | Patience::New | Patience::Handshake, _) => {
                self.close_client(id, CloseReason::Drain);
            }
            (Patience::Linger, _) => self.close_lingering(id),
            (Patience::Queue, Some(ClientState::Active(exchange))) => self.queue_over(exchange),
            (Patience::Verdict, Some(ClientState::Active(exchange))) => {
                self.mishap(exchange, Mishap::VerdictLate, CloseReason::Timeout);
            }
            // Nobody reads what it sent before less is ahead of its buffers.
            (Patience::Body, Some(ClientState::Active(exchange)))
                if self.uploads(exchange) && self.awaits_place(id) =>
            {
                self.clients.arm(id, Patience::Body, self.now);
            }
            (Patience::Body, Some(ClientState::Active(exchange))) if self.uploads(exchange) => {
                self.mishap(exchange, Mishap::UploadSlow, CloseReason::Timeout);
            }
            (_, Some(ClientState::ProxyHeader)) => self.dismiss(id, CloseReason::Timeout),
            (_, Some(ClientState::Active(exchange))) => {
                self.mishap(exchange, Mishap::ClientSlow, CloseReason::Timeout);
            }
            (_, Some(ClientState::Tunnel(tunnel))) => {
                self.tunnel_mishap(tunnel, Mishap::ClientSlow, CloseReason::Timeout);
            }
            _ => debug_assert!(false, "{patience:?} of a client without an exchange"),
        }
    }

    /// Who has not said a word was idle, and no session failed.
    fn shakes_too_long(&mut self, id: ClientId) {
        let socket = self.clients.get(id).map(|client| client.socket);
        if !socket.is_some_and(|socket| self.driver.has_spoken(socket)) {
            return self.close_client(id, CloseReason::Idle);
        }
        self.counters.tls_failures[tls::Failure::Late as usize].increment();
        self.account_unsecured(id, tls::Failure::Late);
        self.close_client(id, CloseReason::Tls);
    }

    fn awaits_place(&self, id: ClientId) -> bool {
        let socket = self.clients.get(id).map(|client| client.socket);
        socket.is_some_and(|socket| self.driver.awaits_place(socket))
    }

    fn uploads(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id.0).is_some_and(Exchange::uploads)
    }

    /// Waited too long for a lease, or for a first buffer.
    fn queue_over(&mut self, id: ExchangeId) {
        match self.exchanges.get(id.0).and_then(Exchange::phase) {
            Some(Phase::Ready) => self.mishap(id, Mishap::QueueOver, CloseReason::Refused),
            Some(_) => self.refuse(id, Refusal::Crowded, None),
            None => {}
        }
    }

    /// Closes a client. Its record stays until the driver's last word.
    pub(crate) fn close_client(&mut self, id: ClientId, reason: CloseReason) {
        let socket = self.clients.get(id).map(|client| client.socket);
        if socket.is_some_and(|socket| self.driver.has_told_alert(socket)) {
            // More of what it sends may be on its way, and a reset would destroy the alert.
            return self.linger(id, CloseReason::Tls);
        }
        if let Some(socket) = self.begin_closing(id, reason) {
            self.driver.close(socket, &mut self.pool);
        }
    }

    /// Closes a client that was told everything. The word that nothing more will come may wait for room,
    /// and be all that tells it so (RFC 8446 §6.1).
    pub(crate) fn close_in_order(&mut self, id: ClientId, reason: CloseReason) {
        let socket = self.clients.get(id).map(|client| client.socket);
        if socket.is_none_or(|socket| self.driver.say_goodbye(socket)) {
            self.close_client(id, reason);
        } else {
            self.linger(id, reason);
        }
    }

    /// Closes a client in a way that tells it that something is missing.
    pub(crate) fn reset_client(&mut self, id: ClientId, reason: CloseReason) {
        if let Some(socket) = self.begin_closing(id, reason) {
            self.driver.reset(socket, &mut self.pool);
        }
    }

    fn begin_closing(&mut self, id: ClientId, reason: CloseReason) -> Option<Socket> {
        let socket = self.clients.get(id)?.socket;
        if self.leave(id) {
            self.counters.closed(reason);
            self.free_place();
        }
        self.clients.set_state(id, ClientState::Closing);
        self.counters.clients_closing.increment();
        Some(socket)
    }

    /// Ends what a client was counted in as. False if that was done before.
    fn leave(&mut self, id: ClientId) -> bool {
        self.clients.disarm(id);
        if let Some(client) = self.clients.get(id) {
            self.clients.counted.leave(client);
        }
        match self.clients.get(id).map(|client| client.state) {
            Some(ClientState::Parked) => {}
            Some(ClientState::Active(_) | ClientState::Tunnel(_) | ClientState::ProxyHeader) => {
                self.counters.clients_active.sub(1);
            }
            Some(ClientState::Lingering { .. } | ClientState::Closing) | None => return false,
        }
        true
    }

    /// Closes in a way that does not destroy the answer: end our direction, discard what still
    /// comes, for a while (RFC 9112 §9.6).
    pub(crate) fn linger(&mut self, id: ClientId, reason: CloseReason) {
        let most = limits::LINGERING_MAX / self.office.workers();
        if self.counters.clients_lingering.get() >= u64::from(most)
            && let Some(longest) = self.clients.first(Patience::Linger)
        {
            self.close_lingering(longest);
        }
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        if !self.leave(id) {
            return;
        }
        self.counters.closed(reason);
        self.counters.clients_lingering.increment();
        self.clients.set_state(id, ClientState::Lingering { discarded: 0 });
        self.free_place();
        self.clients.arm(id, Patience::Linger, self.now);
        self.driver.wants_no_place(socket);
        self.driver.shutdown(socket);
        self.driver.arm(socket);
    }

    /// Discards what a lingering client sent.
    pub(crate) fn discard_more(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        let ClientState::Lingering { discarded } = client.state else { return };
        match self.driver.discard(socket) {
            Received::Bytes(bytes) if discarded + bytes <= limits::LINGER_BYTES => {
                let discarded = discarded + bytes;
                self.clients.set_state(id, ClientState::Lingering { discarded });
                self.driver.arm(socket);
            }
            Received::Nothing => self.driver.arm(socket),
            // Its end came before our last word found room: it still listens, and is told that this was
            // all.
            Received::Ended if self.driver.await_rest(socket) => {}
            _ => self.close_lingering(id),
        }
    }

    fn close_lingering(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        let ClientState::Lingering { .. } = client.state else { return };
        self.counters.clients_lingering.sub(1);
        self.clients.disarm(id);
        self.clients.set_state(id, ClientState::Closing);
        self.counters.clients_closing.increment();
        self.driver.close(socket, &mut self.pool);
    }

    /// The driver's last word: the record is free again.
    pub(crate) fn client_closed(&mut self, id: ClientId) {
        if self.clients.table.remove(id.0).is_some() {
            self.counters.clients.sub(1);
            self.counters.clients_leaving.sub(1);
            self.counters.clients_closing.sub(1);
        }
    }
}
