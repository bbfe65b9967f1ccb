//! The end of a run: everybody behaves, and then whatever was left must end well.

use std::time::Duration;

use super::book::{Excuse, Fate};
use super::client::Client;
use super::door::Denied;
use super::operator::Happens;
use super::run::{ROUNDS, Run, SESSIONS};
use super::stage::{Verdict, wrong};
use crate::dice::{Dice, Origin};

/// Probes of each group at the end.
const PROBES: u32 = 2;

impl Run {
    /// What the run met, so far as it went.
    pub(super) fn tell(&mut self) {
        self.checks.tell(&mut self.stage, &self.house);
    }

    /// From here on everybody behaves.
    pub(super) fn calm_down(&mut self) {
        let now = self.stage.now();
        self.stage.world.note(|| "everybody behaves from here on".to_owned());
        let aftermath = self.stage.setting.aftermath();
        let causes = &mut self.stage.book.causes;
        causes.calm = Some(now);
        causes.connects.ends(now + aftermath);
        causes.disk.ends(now + aftermath);
        self.open_the_door();
        self.stage.desk.calm_down(now);
        self.next_event = None;
        self.events = Vec::new().into_iter();
        for ending in std::mem::take(&mut self.endings) {
            self.ends(ending.what);
        }
        self.sleeps.fill(None);
        for player in 0..self.clients.len() {
            self.schedule(u32::try_from(player).unwrap_or(0), now);
        }
        for place in 0..self.sessions.len() {
            if self.sessions[place].is_some() {
                self.schedule(SESSIONS + u32::try_from(place).unwrap_or(0), now);
            }
        }
    }

    /// Nobody is denied any more.
    fn open_the_door(&mut self) {
        if !self.stage.setting.door.lists {
            return;
        }
        for group in 0..self.stage.setting.groups.len() {
            self.happens(&Happens::List(group, Denied::default()));
        }
        self.happens(&Happens::Bans(Denied::default()));
    }

    /// New clients ask plainly and are answered, however wild it was before.
    pub(super) fn probe(&mut self) -> Verdict {
        self.clients.iter_mut().for_each(|client| client.part(&mut self.stage));
        self.rest()?;
        for group in 0..self.stage.setting.groups.len() {
            for _ in 0..PROBES {
                self.probe_group(group)?;
            }
        }
        Ok(())
    }

    /// One client more. Servers that failed are left alone for a while, so it may have to come
    /// again.
    fn probe_group(&mut self, group: usize) -> Verdict {
        for _ in 0..10 {
            let number = u32::try_from(self.clients.len()).unwrap_or(0);
            let dice = Dice::new(&Origin::Seed(0), 0, None);
            let asked = self.stage.book.len();
            // When it is asked: until that is noticed, time may pass (seed 2500044165).
            let may_be_down = self.may_be_down(group);
            self.clients.push(Client::probe(number, dice, &self.stage, group));
            self.due.push(None);
            self.schedule(number, self.stage.now());
            self.until_done(Duration::from_secs(5), ROUNDS)?;
            self.clients[number as usize].part(&mut self.stage);
            match self.stage.book.records.get(asked as usize).and_then(|record| record.fate) {
                Some(Fate::Answered | Fate::Passed) => return Ok(()),
                Some(Fate::Refused(502 | 503) | Fate::Unheard | Fate::Left) if may_be_down => {}
                // One of its address came a moment ago; or, as far as it knows, it had to make room
                // (seed 1200003088), or buffers were short (3200080800). It comes again.
                Some(
                    Fate::Refused(429)
                    | Fate::Cut(Excuse::Door | Excuse::Parked | Excuse::Short)
                    | Fate::Unheard
                    | Fate::Left,
                ) if self.stage.setting.door.limits.is_some() => {}
                fate => return wrong("liveness", format!("a plain request comes to {fate:?}")),
            }
            let end = self.stage.now() + Duration::from_secs(1);
            while self.step(end)? {}
            self.stage.world.advance(end.since(self.stage.now()));
        }
        wrong("liveness", "servers that are well are not found for ten seconds")
    }

    /// Whether servers of a group may still be left alone because they failed.
    fn may_be_down(&self, group: usize) -> bool {
        let now = self.stage.now();
        let dropped = self.stage.dropped[group];
        let causes = &self.stage.book.causes;
        causes.connects.explains(now)
            || self.stage.may_be_on_probation(group)
            || dropped.is_some_and(|moment| moment + self.stage.setting.aftermath() >= now)
    }

    /// Lets everything come to rest.
    pub(super) fn rest(&mut self) -> Verdict {
        let end = self.stage.now() + Duration::from_secs(20);
        while self.step(end)? {}
        Ok(())
    }

    /// The workers are drained: everything is given back.
    pub(super) fn close(&mut self) -> Verdict {
        self.order_all(&Happens::Drain);
        self.stage.book.causes.drained.get_or_insert(self.stage.now());
        let end = self.stage.now() + self.stage.setting.timeouts.drain + Duration::from_mins(2);
        while !self.house.is_over() && self.step(end)? {}
        self.checks.read_logs(&mut self.house);
        self.house.close();
        // What became of those who are here still is told now.
        self.clients.iter_mut().for_each(|client| client.part(&mut self.stage));
        self.checks.at_the_end(&mut self.stage, &self.house)
    }
}
