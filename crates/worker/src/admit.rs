//! New clients: a record, and nothing else until they speak.

use std::net::IpAddr;

use base::id::{ClientId, ListenerId};
use base::limits;
use driver::{AcceptFault, Driver, Owner, Socket};
use exchange::Proxy;
use tls::Failure;

use crate::client::{Client, ClientState, Party, Patience};
use crate::counters::{AcceptPause, CloseReason};
use crate::coverage::Event;
use crate::office::Letter;
use crate::orders::Life;
use crate::plan::AtLimit;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// A client connected.
    pub(crate) fn admit(&mut self, listener: ListenerId, socket: Socket, peer: IpAddr) {
        self.counters.clients_accepted.increment();
        let address = Some(peer).filter(|peer| !peer.is_unspecified());
        if let Some(reason) = self.screens_out(listener, peer) {
            return self.turn_back(listener, (socket, address), reason);
        }
        let headed = self.begins_with_header(listener, peer);
        if self.is_at_limit() && self.plan.reclaim_parked {
            self.reclaim_one();
        }
        // Under `pause` none was accepted beyond the limit, but in place of somebody who has spoken in
        // the same moment.
        let turned_away = self.is_at_limit()
            && (self.plan.at_limit == AtLimit::Answer || self.plan.reclaim_parked);
        // Who speaks another protocol is told nothing in ours.
        let passes = self.passes(listener) || self.driver.secures(listener);
        let Ok(index) = self.clients.table.insert(Client::new(socket, listener, peer)) else {
            self.counters.refusals[exchange::Refusal::Crowded as usize].increment();
            if !passes {
                self.driver.send_text(socket, self.proxy.crowded());
            }
            self.driver.own(socket, Party::Nobody.owner());
            self.driver.close(socket, &mut self.pool);
            self.counters.closed(CloseReason::Limit);
            if !headed {
                self.count_out(listener, address);
            }
            return;
        };
        let id = ClientId(index);
        if headed {
            self.clients.set_state(id, ClientState::ProxyHeader);
            self.counters.clients_active.increment();
        }
        self.driver.own(socket, Party::Client(id).owner());
        self.counters.clients.increment();
        self.count_here();
        if turned_away {
            self.counters.refusals[exchange::Refusal::Crowded as usize].increment();
            if passes {
                self.reset_client(id, CloseReason::Limit);
            } else {
                self.driver.send_text(socket, self.proxy.crowded());
                self.linger(id, CloseReason::Limit);
            }
            self.count_here();
            return;
        }
        if headed {
            return self.await_header(id);
        }
        self.welcome(id);
    }

    /// It is known who has come: a record, and nothing else until it speaks.
    pub(crate) fn welcome(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let (socket, listener) = (client.socket, client.listener());
        self.driver.secure(socket, listener, Party::Client(id).owner());
        self.park(id);
        let patience =
            if self.driver.secures(listener) { Patience::Handshake } else { Patience::New };
        self.clients.arm(id, patience, self.now);
        self.pause_at_limit();
        if patience == Patience::New {
            self.pass_at_once(id);
        }
    }

    /// A client's handshake is over: now it is as new as any other.
    pub(crate) fn secured(&mut self, owner: Owner) {
        if let Party::Client(id) = Party::of(owner)
            && self.clients.get(id).is_some_and(|client| client.state == ClientState::Parked)
        {
            self.witness_client(Event::Secured, id);
            self.clients.arm(id, Patience::New, self.now);
            self.pass_at_once(id);
        }
    }

    /// A client's handshake failed; what it was told must not be lost to a reset.
    pub(crate) fn refused_by_tls(&mut self, owner: Owner, failure: Failure) {
        if let Party::Client(id) = Party::of(owner) {
            self.witness_client(Event::Unsecured, id);
            self.account_unsecured(id, failure);
            self.linger(id, CloseReason::Tls);
        }
    }

    fn is_at_limit(&self) -> bool {
        self.office.crowd.places() == 0
    }

    /// How many clients may be accepted now; whoever is not waits in the backlog. Parked ones make
    /// way for one half of their number: some may speak in the same moment.
    pub(crate) fn places(&self) -> u32 {
        match self.plan.at_limit {
            AtLimit::Answer => u32::MAX,
            AtLimit::Pause => {
                self.office.crowd.places().saturating_add(self.reclaimable().div_ceil(2))
            }
        }
    }

    /// Clients of ours that may be closed for new ones.
    fn reclaimable(&self) -> u32 {
        let counters = &self.counters;
        let gone = counters.clients_leaving.get() + counters.clients_active.get();
        let parked = counters.clients.get().saturating_sub(gone);
        if self.plan.reclaim_parked { u32::try_from(parked).unwrap_or(u32::MAX) } else { 0 }
    }

    /// Goes by who is parked now, where those make way for new ones: that changes with every word
    /// of theirs.
    pub(crate) fn mind_the_limit(&mut self) {
        if self.plan.reclaim_parked {
            self.resume_below_limit();
            self.pause_at_limit();
        }
    }

    /// Tells the others how many clients of ours count against `max_clients`.
    fn count_here(&self) {
        let here = self.counters.clients.get().saturating_sub(self.counters.clients_leaving.get());
        self.office.crowd.set(self.plan.worker, u32::try_from(here).unwrap_or(u32::MAX));
    }

    /// A client counts against `max_clients` no longer: whoever waits for its place is told.
    pub(crate) fn free_place(&mut self) {
        self.counters.clients_leaving.increment();
        self.count_here();
        self.tell_of_places();
    }

    /// Wakes whoever waits for a place, as one may be free.
    pub(crate) fn tell_of_places(&mut self) {
        self.resume_below_limit();
        for other in self.office.crowd.waiting(self.plan.worker) {
            // A full mailbox wakes its worker all the same, and each turn looks for a place.
            let _ = self.office.post(other, Letter::Places);
        }
    }

    /// Stops accepting when the last place is taken, if new clients are to wait.
    pub(crate) fn pause_at_limit(&mut self) {
        if self.full || self.places() > 0 {
            return;
        }
        self.full = true;
        self.office.crowd.set_waiting(self.plan.worker, true);
        self.counters.paused(AcceptPause::Limit);
        self.pause_everywhere();
        // The others hear of it at once: the next arrival would wake them for nothing.
        for other in self.office.crowd.accepting(self.plan.worker) {
            let _ = self.office.post(other, Letter::Places);
        }
        // Somebody may have left between the two looks.
        self.resume_below_limit();
    }

    /// Goes on accepting when a place became free.
    pub(crate) fn resume_below_limit(&mut self) {
        if !self.full || self.places() == 0 {
            return;
        }
        self.full = false;
        self.office.crowd.set_waiting(self.plan.worker, false);
        if self.accept_again.is_none() && self.life == Life::Serving {
            self.listen_everywhere();
        }
    }

    /// The system has no descriptor or no memory for another client: wait, without spinning.
    pub(crate) fn accept_failed(&mut self, fault: AcceptFault) {
        self.counters.paused(match fault {
            AcceptFault::Descriptors => AcceptPause::Descriptors,
            AcceptFault::Memory => AcceptPause::Memory,
            AcceptFault::Table => AcceptPause::Limit,
        });
        self.pause_everywhere();
        self.accept_again = Some(self.now + limits::ACCEPT_PAUSE);
    }

    fn pause_everywhere(&mut self) {
        for listener in 0..self.plan.listeners.len() {
            self.driver.pause(ListenerId(u32::try_from(listener).unwrap_or(u32::MAX)));
        }
    }

    /// Closes the client parked longest, or longest in its handshake. One that has just come and has
    /// not asked yet is spared as long as there is another: in a burst all would lose their connections
    /// before their word.
    pub(crate) fn reclaim_one(&mut self) {
        let mut longest = |patience| {
            let id = self.clients.first(patience)?;
            Some((self.clients.armed_for(patience, id, self.now), id))
        };
        let served = longest(Patience::Idle);
        let new = longest(Patience::New).max(longest(Patience::Handshake));
        let grace = limits::NEWCOMER_GRACE.as_millis();
        let waited = new.filter(|&(millis, _)| u128::from(millis) >= grace);
        if let Some((_, id)) = served.max(waited).or(new) {
            self.close_client(id, CloseReason::Reclaimed);
        }
    }

    /// The client waits for its next request: a record and nothing else.
    pub(crate) fn park(&mut self, id: ClientId) {
        self.clients.arm(id, Patience::Idle, self.now);
        self.await_next(id);
        let socket = self.clients.get(id).map(|client| client.socket);
        if socket.is_some_and(|socket| self.driver.has_part(socket)) {
            self.begin_record(id);
        }
    }

    /// The same, for as long as it was to wait before.
    pub(crate) fn await_next(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        if client.state != ClientState::Parked {
            self.clients.set_state(id, ClientState::Parked);
            self.counters.clients_active.sub(1);
        }
        self.driver.arm(socket);
    }
}
