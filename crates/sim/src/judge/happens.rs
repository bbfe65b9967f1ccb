//! What happens to everybody, as it comes: the operator's part of a run.

use std::sync::Arc;

use worker::Letter;

use super::door;
use super::operator::{self, Ending, Ends, Happens};
use super::outbox::Cut;
use super::run::Run;
use crate::disk::DiskMode;
use crate::net::ServerMode;
use base::id::{ListenerId, ServerId};

impl Run {
    pub(super) fn happen(&mut self) {
        let now = self.stage.now();
        let begun = self.stage.book.len();
        while let Some(event) = self.next_event.take_if(|event| event.at <= begun) {
            self.next_event = self.events.next();
            self.stage.world.note(|| format!("it happens: {:?}", event.what));
            self.happens(&event.what);
        }
        for (worker, what) in std::mem::take(&mut self.orders) {
            self.give_order(worker, &what);
        }
        let (over, left): (Vec<Ending>, Vec<Ending>) =
            self.endings.iter().partition(|ending| ending.at <= now);
        self.endings = left;
        for ending in over {
            self.ends(ending.what);
        }
        if self.orders.is_empty() {
            let then = now + self.stage.setting.takes_up();
            if self.stage.setting.door.lists {
                self.stage.door.is_told(then);
            }
            self.stage.renewals.iter_mut().for_each(|renewal| renewal.is_told(then));
        }
    }

    pub(super) fn happens(&mut self, what: &Happens) {
        let now = self.stage.now();
        let aftermath = self.stage.setting.aftermath();
        let (world, causes) = (&self.stage.world, &mut self.stage.book.causes);
        match what {
            &Happens::Server { server, mode, dies, lasts } => {
                causes.connects.lasts(now + lasts + aftermath);
                world.set_server(server, mode);
                self.endings.push(Ending { at: now + lasts, what: Ends::Server(server) });
                if let Some(cut) = dies {
                    self.die(server, cut);
                }
            }
            &Happens::Accept(listener, fault) => world.fail_accept(listener, fault),
            &Happens::Disk(mode, lasts) => {
                causes.disk.lasts(now + lasts + aftermath);
                world.set_disk(mode);
                self.endings.push(Ending { at: now + lasts, what: Ends::Disk });
            }
            Happens::Stop => {
                causes.stopped = true;
                self.order_all(what);
            }
            Happens::Drain => {
                causes.drained = Some(now);
                self.order_all(what);
            }
            Happens::Moves(..) => self.order_all(what),
            &Happens::List(group, denied) => {
                self.stage.door.lists(group, denied);
                self.order_all(what);
            }
            &Happens::Ban(whom, lasts) => {
                self.endings.push(Ending { at: now + lasts, what: Ends::Ban(whom) });
                self.bans(whom, true);
            }
            &Happens::Renewed(group, renewed) => {
                self.stage.renewals[group].changes(renewed, now);
                self.order_all(what);
            }
            &Happens::Word(group, user) => self.stage.desk.changes(group, user, now),
            &Happens::Bans(denied) => {
                self.stage.door.bans(denied);
                self.order_all(what);
            }
        }
    }

    pub(super) fn order_all(&mut self, what: &Happens) {
        for worker in 0..self.stage.setting.workers {
            self.give_order(worker, what);
        }
    }

    /// Tells one worker; if its mailbox is full, again later.
    fn give_order(&mut self, worker: u32, what: &Happens) {
        let letter = match what {
            Happens::Drain => Letter::Drain,
            Happens::Stop => Letter::Stop,
            Happens::Moves(server, addresses) => operator::addresses(*server, addresses),
            &Happens::List(group, denied) => Letter::List {
                listener: ListenerId(u32::try_from(group).unwrap_or(0)),
                list: Arc::new(door::list(denied)),
            },
            &Happens::Bans(denied) => Letter::Bans(Arc::new(door::list(denied))),
            &Happens::Renewed(group, _) => Letter::Acceptor {
                listener: ListenerId(u32::try_from(group).unwrap_or(0)),
                // As was ordered last: one may be given behind a later one.
                acceptor: self.stage.keys.callers.acceptor(self.stage.renewals[group].renewed),
            },
            _ => return,
        };
        if !self.house.has_ended(worker as usize) && !self.house.order(worker, letter) {
            self.orders.push((worker, what.clone()));
        }
    }

    pub(super) fn ends(&mut self, what: Ends) {
        match what {
            Ends::Server(server) => {
                self.stage.world.set_server(server, ServerMode::Accepts);
                self.stage.world.end_hanging();
            }
            Ends::Disk => self.stage.world.set_disk(DiskMode::Well),
            Ends::Ban(whom) => self.bans(whom, false),
        }
    }

    /// An address is banned, or is not any more.
    fn bans(&mut self, whom: usize, banned: bool) {
        let mut denied = self.stage.door.banned();
        denied[whom] = banned;
        self.happens(&Happens::Bans(denied));
    }

    fn die(&mut self, server: ServerId, cut: Cut) {
        for place in 0..self.sessions.len() {
            let entry = &mut self.sessions[place];
            if let Some(session) = entry.as_mut().filter(|session| session.server == server) {
                session.dies(&mut self.stage, cut);
                *entry = None;
                self.vacant.push(place);
            }
        }
    }
}
