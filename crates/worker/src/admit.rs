//! New clients: a record, and nothing else until they speak.

use std::net::IpAddr;

use base::id::{ClientId, ListenerId, WorkerId};
use base::limits;
use driver::{AcceptFault, Driver, Socket};
use exchange::Proxy;

use crate::client::{Client, ClientState, Party, Patience};
use crate::counters::{AcceptPause, CloseReason};
use crate::office::Letter;
use crate::orders::Life;
use crate::plan::AtLimit;
use crate::turn::Worker;

impl<D: Driver> Worker<D> {
    /// A client connected.
    pub(crate) fn admit(&mut self, listener: ListenerId, socket: Socket, peer: IpAddr) {
        self.counters.clients_accepted.increment();
        if self.is_at_limit() && self.plan.reclaim_parked {
            self.reclaim_one();
        }
        let turned_away = self.is_at_limit();
        let Ok(index) = self.clients.table.insert(Client::new(socket, listener, peer)) else {
            self.driver.send_text(socket, self.proxy.crowded());
            self.driver.own(socket, Party::Nobody.owner());
            self.driver.close(socket);
            self.counters.closed(CloseReason::Limit);
            return;
        };
        let id = ClientId(index);
        self.driver.own(socket, Party::Client(id).owner());
        self.counters.clients.increment();
        if turned_away && self.plan.at_limit == AtLimit::Answer {
            self.counters.refusals[exchange::Refusal::Crowded as usize].increment();
            self.driver.send_text(socket, self.proxy.crowded());
            self.linger(id, CloseReason::Limit);
            return;
        }
        self.park(id);
        self.pause_at_limit();
    }

    /// Clients that count against `max_clients`: all but those on their way out.
    fn counted(&self) -> u64 {
        self.counters.clients.get().saturating_sub(self.counters.clients_leaving.get())
    }

    fn is_at_limit(&self) -> bool {
        self.counted() >= u64::from(self.plan.max_clients)
    }

    /// How many clients may be accepted now.
    pub(crate) fn places(&self) -> u32 {
        if self.waits_at_limit() {
            let left = u64::from(self.plan.max_clients).saturating_sub(self.counted());
            u32::try_from(left).unwrap_or(u32::MAX)
        } else {
            u32::MAX
        }
    }

    fn waits_at_limit(&self) -> bool {
        self.plan.at_limit == AtLimit::Pause && !self.plan.reclaim_parked
    }

    /// Stops accepting when the last place is taken, if new clients are to wait.
    fn pause_at_limit(&mut self) {
        if self.full || !self.waits_at_limit() || !self.is_at_limit() {
            return;
        }
        self.full = true;
        self.counters.paused(AcceptPause::Limit);
        self.pause_everywhere();
        // The kernel wakes one worker for each arrival; what it woke us for, others must take.
        for other in (0..self.office.workers()).map(WorkerId) {
            if other != self.plan.worker {
                // A full mailbox wakes its worker, whose next arrival finds the backlog.
                let _ = self.office.post(other, Letter::Backlog);
            }
        }
    }

    /// Opens the listeners anew, which looks into their backlogs.
    pub(crate) fn look_at_listeners(&mut self) {
        if !self.full && self.accept_again.is_none() && self.life == Life::Serving {
            self.pause_everywhere();
            self.listen_everywhere();
        }
    }

    /// Goes on accepting when a place became free.
    pub(crate) fn resume_below_limit(&mut self) {
        if self.full && self.life == Life::Serving && !self.is_at_limit() {
            self.full = false;
            if self.accept_again.is_none() {
                self.listen_everywhere();
            }
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

    /// Closes the client parked longest.
    fn reclaim_one(&mut self) {
        if let Some(id) = self.clients.first(Patience::Idle) {
            self.close_client(id, CloseReason::Reclaimed);
        }
    }

    /// The client waits for its next request: a record and nothing else.
    pub(crate) fn park(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let socket = client.socket;
        if client.state != ClientState::Parked {
            self.clients.set_state(id, ClientState::Parked);
            self.counters.clients_active.sub(1);
        }
        self.clients.arm(id, Patience::Idle, self.now);
        self.driver.arm(socket);
    }
}
