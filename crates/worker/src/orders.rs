//! What the master orders, and the orderly end.

use std::sync::Arc;

use base::id::{ExchangeId, ListenerId, TunnelId};
use base::limits;
use base::time::Instant;
use driver::Driver;
use exchange::{Challenges, Mishap};

use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::office::Letter;
use crate::spool::Spool;
use crate::turn::Worker;

/// How far a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Clients come and go.
    Serving,
    /// Nobody new is let in; what is under way is finished.
    Draining {
        /// When the rest is cut off.
        until: Instant,
    },
    /// Everything is given back.
    Over,
}

impl<D: Driver> Worker<D> {
    /// Reads the mailbox.
    pub(crate) fn read_letters(&mut self) {
        while let Some(letter) = self.office.collect(self.plan.worker) {
            match letter {
                Letter::Carried { travelling, transport } => self.take_over(travelling, transport),
                Letter::Nudge(group) => self.bus.nudged(group),
                // What it is about is looked at below.
                Letter::Places => {}
                Letter::Addresses { server, addresses } => self.readdress(server, &addresses),
                Letter::List { listener, list } => self.take_list(listener, list),
                Letter::Acceptor { listener, acceptor } => {
                    self.driver.set_acceptor(listener, acceptor);
                }
                Letter::Connector { server, connector } => {
                    self.driver.set_connector(server, connector);
                }
                Letter::Bans(bans) => self.take_bans(bans),
                Letter::Challenges(challenges) => self.answer_challenges(&challenges),
                Letter::Drain => self.drain(),
                // There is nobody left whom the letters behind it could concern.
                Letter::Stop => return self.stop(),
            }
        }
        self.hear_verdicts();
        // Even if a letter was lost to a full mailbox, everything is looked at again.
        if self.office.missed(self.plan.worker) {
            self.bus.missed();
        }
        self.resume_below_limit();
        self.pause_at_limit();
    }

    /// Goes by another table of answers for certificate authorities.
    fn answer_challenges(&mut self, challenges: &Arc<Challenges>) {
        for rules in &mut self.rules {
            rules.challenges = Some(Arc::clone(challenges));
        }
        challenges.taken();
    }

    /// Lets nobody new in. Parked clients may come back with one more request for a moment, so
    /// that none is lost to a connection closed under it; then they are closed.
    fn drain(&mut self) {
        if self.life != Life::Serving {
            return;
        }
        self.witness_everywhere(Event::Drain);
        self.life = Life::Draining { until: self.now + self.plan.timeouts.drain };
        self.accept_again = None;
        for listener in 0..self.plan.listeners.len() {
            let listener = ListenerId(u32::try_from(listener).unwrap_or(u32::MAX));
            self.driver.stop_listening(listener);
        }
        self.clients.shorten_idle(limits::DRAIN_GRACE, &self.plan.timeouts);
        self.end_silent_streams();
    }

    /// When the drain's time is over, if it has begun.
    pub(crate) const fn drain_ends(&self) -> Option<Instant> {
        match self.life {
            Life::Draining { until } => Some(until),
            _ => None,
        }
    }

    /// Ends a drain when nobody is left, or when its time is over.
    pub(crate) fn end_drain_in_time(&mut self) {
        if let Life::Draining { until } = self.life {
            if self.clients.table.is_empty() {
                self.life = Life::Over;
            } else if self.now >= until {
                self.stop();
            }
        }
    }

    /// Ends everything now. Who waits for a lease is told so; the others are cut off.
    fn stop(&mut self) {
        self.witness_everywhere(Event::Stop);
        let all: Vec<ExchangeId> =
            self.exchanges.iter().map(|(index, _)| ExchangeId(index)).collect();
        for id in all {
            self.mishap(id, Mishap::StopNow, CloseReason::Drain);
        }
        // An answer that a client did not take at once is given up too.
        let left: Vec<u32> = self.exchanges.iter().map(|(index, _)| index).collect();
        for index in left {
            self.ledger.cut(ExchangeId(index), CloseReason::Drain);
            if let Some(exchange) = self.exchanges.get_mut(index)
                && let Some(lease) = exchange.give_up(&mut self.pool)
            {
                self.end_lease(&lease, false, false);
            }
            self.end_exchange(ExchangeId(index));
        }
        let tunnels: Vec<TunnelId> =
            self.tunnels.iter().map(|(index, _)| TunnelId(index)).collect();
        for id in tunnels {
            self.tunnel_mishap(id, Mishap::StopNow, CloseReason::Drain);
        }
        self.driver.give_up(&mut self.pool);
        debug_assert_eq!(self.pool.used(), 0, "every buffer is given back");
        debug_assert!(
            self.spool.as_ref().is_none_or(Spool::is_empty),
            "every extent is given back"
        );
        self.life = Life::Over;
    }
}
