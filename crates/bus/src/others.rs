//! What workers owe each other, so that of all requests the oldest is served first (law 6).
//!
//! Each worker publishes what it wants beyond the connections it is opening. From that:
//! - an idle connection that is not used here goes to the worker that has waited longest and
//!   can't open one itself ([`Bus::owed`]);
//! - the last permits are left to workers that wait longer ([`Bus::leaves_it_to_others`]);
//! - who can't open one asks those that have one idle ([`Bus::ask_others`]);
//! - who frees a permit, or hears of one, and does not use it, tells the next in age, so that
//!   the news ends with a worker that uses it or with the youngest ([`Bus::pass_on`]).

use base::id::{ConnectionId, GroupId, ServerId, WorkerId};
use base::time::Instant;
use core::mem;
use core::time::Duration;

use crate::bus::Bus;
use crate::connection::State;
use crate::decide::Decision;
use crate::group::Group;
use crate::shared::Want;

/// How much longer another worker's request must have waited for this one to step back: less
/// would only move connections to and fro.
const MARGIN: Duration = Duration::from_millis(1);

/// How long a free permit is left to another worker that waits longer, in case it cannot use it;
/// and how long a connection that is being opened counts as good as open.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

/// How long a worker that was given a connection has to take it in before it is given another
/// for the same request.
const CARRIAGE: Duration = Duration::from_millis(2);

/// How often a worker looks at everything anew while it waits, whatever it is told: a neighbour
/// that died between two words of a conversation delays nobody for longer.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether a permit is left to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yield {
    /// No.
    No,
    /// Yes, since then.
    Since(Instant),
    /// It was, but the other one does not want it.
    Over,
}

/// Whether something became free of which others may have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freed {
    /// No.
    No,
    /// Another worker says so.
    Told,
    /// Here.
    Here,
}

/// The connections a worker was given for one want of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gift {
    since: Instant,
    given: u32,
    at: Instant,
}

impl Default for Gift {
    fn default() -> Self {
        Self { since: Instant(0), given: 0, at: Instant(0) }
    }
}

impl Gift {
    /// Whether what was given is still on its way as far as we know.
    fn is_under_way(&self, want: Want, now: Instant) -> bool {
        self.given > 0 && self.since == want.since && now < self.at + CARRIAGE
    }
}

impl Group {
    /// Another worker says that something became free.
    pub(crate) fn told(&mut self) {
        if let Yield::Since(_) = self.yielding {
            self.yielding = Yield::Over;
        }
        if self.freed == Freed::No {
            self.freed = Freed::Told;
        }
    }

    /// A permit went back here: whoever may take it is looked for anew.
    pub(crate) const fn freed_here(&mut self) {
        self.freed = Freed::Here;
        self.yielding = Yield::No;
        self.asked = false;
    }

    pub(crate) const fn has_others(&self) -> bool {
        self.gifts.len() > 1
    }
}

impl Bus {
    /// Tells the workers that wait that a predecessor may have left something.
    pub(crate) fn greet(&mut self) {
        for place in 0..self.groups.len() {
            let group = group_id(place);
            for worker in (0u32..).map(WorkerId).take(self.groups[place].gifts.len()) {
                let waits = self.shared.wants(group, self.worker).any(|(other, _)| other == worker);
                if waits {
                    self.nudge(group, worker);
                }
            }
        }
    }

    /// What others must know of this worker's queue: nothing while enough connections are being
    /// opened, or while another one would not help.
    fn want(&self, group: GroupId, now: Instant) -> Option<Want> {
        let entry = &self.groups[group.index()];
        let (_, since) = entry.queue.oldest(&self.waiters)?;
        let prospects = self.prospects(group, now);
        if prospects.are_enough() {
            return None;
        }
        let servers = || self.serving(group).map(|id| &self.servers[id.index()]);
        if entry.queue.first().is_some() {
            return Some(Want { since, stuck: !servers().any(|server| prospects.lack(server)) });
        }
        // Only connections opened for them help these.
        let closed_to_us = servers().all(|server| !server.may_connect(now));
        let connecting: u32 = servers().map(|server| server.connecting).sum();
        let closing: u32 = servers().map(|server| server.closing).sum();
        let helps = !closed_to_us && connecting + closing < entry.queue.fresh();
        helps.then_some(Want { since, stuck: false })
    }

    /// The servers of a group that may serve requests now.
    pub(crate) fn serving(&self, group: GroupId) -> impl Iterator<Item = ServerId> {
        let servers = self.groups[group.index()].servers.iter().copied();
        servers.filter(move |&id| self.serves(group, id))
    }

    /// Publishes what is wanted, before looking what there is.
    pub(crate) fn publish(&mut self, group: GroupId, now: Instant, may_lease: bool) {
        if !self.groups[group.index()].has_others() {
            return;
        }
        let want = if may_lease { self.want(group, now) } else { None };
        let entry = &mut self.groups[group.index()];
        if entry.published != want {
            entry.published = want;
            entry.heard_as =
                [entry.heard_as, want.map(|want| want.since)].into_iter().flatten().min();
            entry.asked = false;
            entry.looked = now;
            self.shared.publish(group, self.worker, want);
        } else if want.is_some() && now.since(entry.looked) >= self.look_again {
            entry.asked = false;
            entry.looked = now;
        }
    }

    /// Whether the free permits are left to workers that wait longer than since `since`. The
    /// oldest is told; if it does not take one in a while, we do.
    pub(crate) fn leaves_it_to_others(
        &mut self,
        group: GroupId,
        since: Instant,
        now: Instant,
    ) -> bool {
        let entry = &self.groups[group.index()];
        if !entry.has_others() {
            return false;
        }
        let longer = || {
            let wants = self.shared.wants(group, self.worker);
            wants.filter(|(_, want)| !want.stuck && since.since(want.since) > MARGIN)
        };
        let free: u32 = self.serving(group).map(|id| self.shared.free(id)).sum();
        let oldest = longer().min_by_key(|(_, want)| want.since);
        let enough_for_all = free as usize > longer().count();
        let entry = &mut self.groups[group.index()];
        match (oldest, entry.yielding) {
            (None, _) => {
                entry.yielding = Yield::No;
                false
            }
            (_, Yield::Over) => false,
            _ if enough_for_all => false,
            (Some((worker, _)), Yield::No) => {
                entry.yielding = Yield::Since(now);
                self.nudge(group, worker);
                true
            }
            (_, Yield::Since(began)) => now.since(began) < PATIENCE,
        }
    }

    /// Nothing is left to leave to others: the next permit is left to them anew.
    pub(crate) fn forget_yielding_in_vain(&mut self, group: GroupId) {
        if self.groups[group.index()].yielding != Yield::No
            && !self.serving(group).any(|id| self.shared.has_permit(id))
        {
            self.groups[group.index()].yielding = Yield::No;
        }
    }

    /// The worker that has waited longest for such a connection, longer than since `than` if
    /// that is given, and that can't open one of its own.
    pub(crate) fn owed(
        &self,
        group: GroupId,
        server: ServerId,
        than: Option<Instant>,
        now: Instant,
    ) -> Option<(WorkerId, Want)> {
        if !self.groups[group.index()].has_others() {
            return None;
        }
        let full = !self.shared.has_permit(server);
        self.unserved(group, now)
            .filter(|(_, want)| full || want.stuck)
            .filter(|(_, want)| than.is_none_or(|than| than.since(want.since) > MARGIN))
            .min_by_key(|(_, want)| want.since)
    }

    /// The other workers that wait, but for those that were given enough just now.
    fn unserved(&self, group: GroupId, now: Instant) -> impl Iterator<Item = (WorkerId, Want)> {
        let gifts = &self.groups[group.index()].gifts;
        self.shared.wants(group, self.worker).filter(move |&(worker, want)| {
            let gift = &gifts[worker.index()];
            let queued = self.shared.group_share(group, worker).queued.get().max(1);
            !gift.is_under_way(want, now) || u64::from(gift.given) < queued
        })
    }

    /// An idle connection leaves for another worker.
    pub(crate) fn let_go(
        &mut self,
        group: GroupId,
        connection: ConnectionId,
        (to, want): (WorkerId, Want),
        now: Instant,
    ) -> Decision {
        let gift = &mut self.groups[group.index()].gifts[to.index()];
        let before = if gift.is_under_way(want, now) { gift.given } else { 0 };
        *gift = Gift { since: want.since, given: before + 1, at: now };
        self.change(connection, State::Leaving);
        Decision::HandOver { connection, to }
    }

    /// An idle connection that nobody here can use goes where it is owed.
    pub(crate) fn give(&mut self, group: GroupId, now: Instant) -> Option<Decision> {
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            let Some(&connection) = self.servers[id.index()].idle.last() else { continue };
            if self.serves(group, id)
                && let Some(owed) = self.owed(group, id, None, now)
            {
                return Some(self.let_go(group, connection, owed, now));
            }
        }
        None
    }

    /// Asks the workers with idle connections, once as long as nothing changes.
    pub(crate) fn ask_others(&mut self, group: GroupId, now: Instant) {
        let entry = &self.groups[group.index()];
        let Some(want) = entry.published.filter(|_| !entry.asked) else { return };
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            if !self.serves(group, id) {
                continue;
            }
            let opens = !want.stuck
                && self.servers[id.index()].may_connect(now)
                && self.shared.has_permit(id);
            if !opens && let Some(worker) = self.shared.idle_elsewhere(id, self.worker) {
                self.groups[group.index()].asked = true;
                self.nudge(group, worker);
            }
        }
    }

    /// The last permit was taken: a worker that kept its idle connection because others could
    /// still open one looks again.
    pub(crate) fn took_permit(&mut self, group: GroupId, server: ServerId) {
        if self.shared.has_permit(server) || self.shared.wants(group, self.worker).next().is_none()
        {
            return;
        }
        if let Some(worker) = self.shared.idle_elsewhere(server, self.worker) {
            self.nudge(group, worker);
        }
    }

    /// Nothing more is to be done here: what became free and is free still is told to the next.
    pub(crate) fn pass_on(&mut self, group: GroupId, now: Instant) {
        let entry = &mut self.groups[group.index()];
        let freed = mem::replace(&mut entry.freed, Freed::No);
        let yields = matches!(entry.yielding, Yield::Since(_));
        if freed == Freed::No || yields || !entry.has_others() {
            return;
        }
        // Only the younger, so that it ends somewhere; who is not told of permits may tell all.
        let passes_down = freed == Freed::Told && entry.published.is_some_and(|want| !want.stuck);
        let mine = entry.heard_as.filter(|_| passes_down).map(|since| (since, self.worker));
        entry.heard_as = entry.published.map(|want| want.since);
        if self.serving(group).any(|id| self.shared.has_permit(id)) {
            let wants = self.shared.wants(group, self.worker).filter(|(_, want)| !want.stuck);
            let ages = wants.map(|(worker, want)| (want.since, worker));
            if let Some((_, next)) = ages.filter(|&age| mine.is_none_or(|mine| age > mine)).min() {
                self.nudge(group, next);
            }
        } else if freed == Freed::Told && self.unserved(group, now).next().is_some() {
            self.point_to_idle(group);
        }
    }

    /// Somebody asked for an idle connection that is here no more: others may have one.
    fn point_to_idle(&mut self, group: GroupId) {
        for place in 0..self.groups[group.index()].servers.len() {
            let id = self.groups[group.index()].servers[place];
            if self.serves(group, id)
                && self.servers[id.index()].idle.is_empty()
                && let Some(worker) = self.shared.idle_elsewhere(id, self.worker)
            {
                self.nudge(group, worker);
            }
        }
    }

    /// Until when this worker waits for others, or they for it.
    pub(crate) fn waits_for_others(&self, group: &Group) -> impl Iterator<Item = Instant> {
        let yields = match group.yielding {
            Yield::Since(began) => Some(began + PATIENCE),
            Yield::No | Yield::Over => None,
        };
        let servers = group.servers.iter().map(|id| &self.servers[id.index()]);
        let connecting = servers.filter(|server| server.connecting > 0);
        let opens = connecting.map(|server| server.opened + PATIENCE);
        let opens = opens.filter(|_| !group.queue.is_empty());
        let looks = group.published.map(|_| group.looked + self.look_again);
        let idles = group.servers.iter().any(|id| !self.servers[id.index()].idle.is_empty());
        let gifts = group.gifts.iter().filter(move |gift| idles && gift.given > 0);
        let own = [yields, looks].into_iter().flatten();
        own.chain(opens).chain(gifts.map(|gift| gift.at + CARRIAGE))
    }
}

pub(crate) fn group_id(place: usize) -> GroupId {
    GroupId(u32::try_from(place).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::GroupConfig;
    use crate::testing::{APP, at, carry, crew, group};
    use base::id::ExchangeId;

    const ONE: WorkerId = WorkerId(1);
    const NUDGE_ONE: Decision = Decision::Nudge { to: ONE, group: APP };

    fn to_one(connection: ConnectionId) -> Decision {
        Decision::HandOver { connection, to: ONE }
    }

    #[test]
    fn who_can_open_none_asks_once_and_is_given_one_that_is_idle() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        let idle = other.has_idle(at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.one(at(1)), Decision::Nudge { to: WorkerId(0), group: APP });
        assert_eq!(bus.all(at(1)), [], "once");
        other.nudged(APP);
        assert_eq!(other.one(at(2)), to_one(idle));
        let taken = other.shared.taken(ServerId(0));
        let arrived = carry(&mut other, idle, &mut bus, at(2));
        assert_eq!((taken, bus.shared.taken(ServerId(0))), (1, 1), "its permit goes with it");
        assert_eq!(bus.leases_to(0, at(2)), arrived);
        let share = bus.shared.share(ServerId(0), WorkerId(0));
        assert_eq!((share.handed_over.get(), share.idle()), (1, 0));
    }

    #[test]
    fn a_request_with_the_number_of_one_that_left_asks_again() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        let idle = other.has_idle(at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.one(at(1)), Decision::Nudge { to: WorkerId(0), group: APP });
        bus.withdraw(ExchangeId(0));
        assert_eq!(bus.all(at(1)), []);
        other.nudged(APP);
        assert_eq!(other.all(at(1)), [], "nobody wants it now");
        bus.wants(0, at(2));
        assert_eq!(bus.one(at(2)), Decision::Nudge { to: WorkerId(0), group: APP });
        other.nudged(APP);
        assert_eq!(other.one(at(2)), to_one(idle));
    }

    #[test]
    fn a_connection_stays_while_the_other_can_open_one() {
        for connections in [2, 3] {
            let [mut other, mut bus] = crew(&[group(0, &[connections])]);
            other.has_idle(at(0));
            bus.wants(0, at(1));
            bus.opens(at(1));
            assert_eq!(other.all(at(1)), [], "it is being served");
            // But not if that takes long.
            let late = at(1) + PATIENCE;
            assert_eq!(bus.wake_at(at(1)), Some(late));
            assert_eq!(bus.one(late), Decision::Nudge { to: WorkerId(0), group: APP });
            other.nudged(APP);
            assert!(matches!(other.one(late), Decision::HandOver { .. }));
        }
    }

    #[test]
    fn who_must_not_connect_for_a_while_is_given_what_is_idle_though_permits_are_free() {
        let [mut other, mut bus] = crew(&[group(0, &[3])]);
        let idle = other.has_idle(at(0));
        bus.wants(0, at(1));
        let connection = bus.opens(at(1));
        bus.connect_failed(connection, crate::Failure::Exhausted, at(1));
        bus.closed(connection);
        assert_eq!(bus.one(at(1)), Decision::Nudge { to: WorkerId(0), group: APP });
        other.nudged(APP);
        assert_eq!(other.one(at(1)), to_one(idle));
    }

    #[test]
    fn one_connection_is_given_to_one_request_not_all_that_are_idle() {
        let [mut other, mut bus] = crew(&[group(0, &[3])]);
        let all = [0, 1, 2].map(|exchange| other.is_served(exchange, at(0)));
        for connection in all {
            other.release(connection, true, at(0));
        }
        bus.wants(0, at(1));
        bus.all(at(1));
        assert_eq!(other.one(at(1)), to_one(all[2]));
        // If it does not arrive, another one follows; those who wait beside it count.
        let _underway = other.hand_over(all[2]).unwrap();
        let later = at(1) + CARRIAGE;
        assert_eq!(other.wake_at(at(1)), Some(later));
        assert_eq!(other.one(later), to_one(all[1]));
        bus.wants(1, later);
        assert_eq!(other.one(later), to_one(all[0]));
    }

    #[test]
    fn a_released_connection_goes_to_the_oldest_request_of_all_workers() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        let connection = other.is_served(0, at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.all(at(1)), []);
        other.wants(1, at(5));
        other.release(connection, true, at(6));
        assert_eq!(other.one(at(6)), to_one(connection));
        let connection = carry(&mut other, connection, &mut bus, at(6));
        bus.leases_to(0, at(6));
        // And back.
        bus.release(connection, true, at(7));
        assert_eq!(bus.one(at(7)), Decision::HandOver { connection, to: WorkerId(0) });
        let connection = carry(&mut bus, connection, &mut other, at(7));
        assert_eq!(other.leases_to(1, at(7)), connection);
    }

    #[test]
    fn a_little_difference_in_age_moves_nothing() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        let connection = other.is_served(0, at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.all(at(1)), []);
        other.wants(1, at(1) + MARGIN);
        other.release(connection, true, at(6));
        assert_eq!(other.leases_to(1, at(6)), connection);
    }

    #[test]
    fn the_last_permit_is_left_to_who_waits_longer_but_not_for_ever() {
        let config = GroupConfig { persistent: false, ..group(0, &[1]) };
        let [mut other, mut bus] = crew(&[config]);
        let connection = other.is_served(0, at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.all(at(1)), []);
        other.wants(1, at(5));
        other.release(connection, false, at(6));
        other.all(at(6));
        other.closed(connection);
        assert_eq!(other.one(at(6)), NUDGE_ONE);
        assert_eq!(other.wake_at(at(6)), Some(at(6) + PATIENCE));
        assert_eq!(other.all(at(25)), []);
        other.opens(at(26));
    }

    #[test]
    fn a_permit_that_the_older_does_not_use_comes_back() {
        let config = GroupConfig { persistent: false, ..group(0, &[1, 1]) };
        let [mut other, mut bus] = crew(&[config]);
        let (one, two) = (other.is_served(0, at(0)), other.is_served(1, at(0)));
        // The older request's worker met a failing server 0, and sees no permit at server 1.
        bus.server_failed(ServerId(0), at(1), at(1));
        bus.wants(0, at(1));
        assert_eq!(bus.all(at(1)), []);
        other.wants(2, at(5));
        let at_failing = if other.connections[one.0].server() == ServerId(0) { one } else { two };
        other.release(at_failing, false, at(6));
        other.all(at(6));
        other.closed(at_failing);
        assert_eq!(other.one(at(6)), NUDGE_ONE);
        bus.nudged(APP);
        assert_eq!(bus.one(at(6)), Decision::Nudge { to: WorkerId(0), group: APP });
        other.nudged(APP);
        other.opens(at(6));
    }

    #[test]
    fn a_permit_that_goes_back_is_told_to_who_waits_and_from_there_to_the_next() {
        // A letter that was lost may have been that one.
        let hears: [fn(&mut Bus); 2] = [|bus| bus.nudged(APP), Bus::missed];
        for hears in hears {
            let [mut first, mut second, mut third] = crew(&[group(0, &[1])]);
            let connection = first.is_served(0, at(0));
            second.wants(0, at(1));
            third.wants(0, at(2));
            assert_eq!((second.all(at(2)).len(), third.all(at(2)).len()), (0, 0));
            first.release(connection, false, at(3));
            first.all(at(3));
            first.closed(connection);
            assert_eq!(first.one(at(3)), NUDGE_ONE);
            second.withdraw(ExchangeId(0));
            hears(&mut second);
            assert_eq!(second.one(at(3)), Decision::Nudge { to: WorkerId(2), group: APP });
            hears(&mut third);
            third.opens(at(3));
        }
    }

    #[test]
    fn a_carried_connection_that_is_dropped_frees_its_permit_for_who_waits() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        let idle = other.has_idle(at(0));
        bus.wants(0, at(1));
        bus.all(at(1));
        assert_eq!(other.one(at(1)), to_one(idle));
        drop(other.hand_over(idle));
        assert_eq!(other.one(at(1)), NUDGE_ONE);
        bus.nudged(APP);
        bus.opens(at(1));
    }

    #[test]
    fn a_worker_without_buffers_gives_its_idle_connection_away_and_gets_none() {
        let [mut starved, mut bus] = crew(&[group(0, &[1])]);
        let idle = starved.has_idle(at(0));
        starved.wants(0, at(1));
        assert_eq!(starved.decide(at(1), false), None);
        bus.wants(0, at(5));
        bus.all(at(5));
        assert_eq!(starved.decide(at(5), false), Some(to_one(idle)));
        let connection = carry(&mut starved, idle, &mut bus, at(5));
        assert_eq!(bus.leases_to(0, at(5)), connection);
        bus.release(connection, true, at(6));
        assert_eq!(bus.all(at(6)), [], "the other could do nothing with it");
        assert!(matches!(starved.one(at(7)), Decision::Nudge { .. }), "now it can");
    }

    /// Seed 1656 of the judge: two workers sent each other to their idle connections to backups,
    /// which did not serve, for ever.
    #[test]
    fn nobody_is_sent_to_an_idle_connection_that_must_not_serve() {
        let mut config = group(0, &[1, 2, 2]);
        (config.servers[1].backup, config.servers[2].backup) = (true, true);
        let [mut one, mut two, mut three] = crew(&[config]);
        let backups = [&mut one, &mut two].map(|bus| {
            bus.wants(0, at(0));
            bus.is_refused(at(0));
            let backup = bus.opens(at(1));
            bus.connected(backup, at(1));
            assert_eq!(bus.leases_to(0, at(1)), backup);
            backup
        });
        assert_ne!(one.server_number(backups[0]), two.server_number(backups[1]));
        one.release(backups[0], true, at(2));
        two.release(backups[1], true, at(2));
        assert_eq!(one.all(at(2)), []);
        assert_eq!(two.all(at(2)), []);
        // The regular one is back, and has all it may have.
        three.is_served(0, at(3));
        three.wants(1, at(3));
        assert_eq!(three.all(at(3)), []);
        one.nudged(APP);
        assert_eq!(one.all(at(4)), [], "the other one's is none that serves");
    }

    /// Seed 30049633 of the judge: what was meant for one group was passed on in another, and from
    /// there to the first again, for ever.
    #[test]
    fn news_of_one_group_is_no_news_of_another() {
        let configs = [group(0, &[1, 1]), group(2, &[1, 1])];
        let [mut one, mut two, mut busy] = crew(&configs);
        let wants = |bus: &mut Bus, group, exchange, now| {
            bus.enqueue(GroupId(group), ExchangeId(exchange), now, false).unwrap();
        };
        let opens = |bus: &mut Bus, now| match bus.all(now)[..] {
            [Decision::Open { connection, .. }, ..] => connection,
            ref other => panic!("{other:?}"),
        };
        // One server of each group is full, and the other one fails whoever waits.
        for exchange in 0..2 {
            wants(&mut busy, exchange, exchange, at(0));
            let connection = opens(&mut busy, at(0));
            busy.connected(connection, at(0));
            busy.all(at(0));
        }
        for (is_two, group, now) in [(false, 0, at(1)), (false, 1, at(1)), (true, 1, at(5))] {
            let bus = if is_two { &mut two } else { &mut one };
            wants(bus, group, group, now);
            if is_two {
                // It leaves the permit to the older one first.
                bus.all(now);
            }
            let now = if is_two { now + PATIENCE } else { now };
            let connection = opens(bus, now);
            bus.connect_failed(connection, crate::bus::Failure::Refused, now);
            bus.closed(connection);
            bus.all(now);
        }
        two.nudged(GroupId(0));
        let (mut letters, mut to_two) = (0, true);
        loop {
            let bus = if to_two { &mut two } else { &mut one };
            let nudges = |decision| match decision {
                Decision::Nudge { group, .. } => Some(group),
                _ => None,
            };
            let Some(group) = bus.all(at(26)).into_iter().find_map(nudges) else { break };
            to_two = !to_two;
            if to_two {
                two.nudged(group);
            } else {
                one.nudged(group);
            }
            letters += 1;
            assert!(letters < 10, "they never end");
        }
        assert!(letters > 0, "the one that waits is told");
    }

    #[test]
    fn a_worker_that_can_do_nothing_looks_again_every_so_often() {
        let [mut other, mut bus] = crew(&[group(0, &[1])]);
        other.has_idle(at(0));
        bus.wants(0, at(1));
        assert_eq!(bus.one(at(1)), Decision::Nudge { to: WorkerId(0), group: APP });
        let again = at(1) + LOOK_AGAIN;
        assert_eq!(bus.wake_at(at(1)), Some(again));
        assert_eq!(bus.one(again), Decision::Nudge { to: WorkerId(0), group: APP });
    }

    #[test]
    fn one_worker_alone_publishes_and_asks_nothing() {
        let [mut bus] = crew(&[group(0, &[1])]);
        bus.is_served(0, at(0));
        bus.wants(1, at(1));
        assert_eq!(bus.all(at(1)), []);
        assert_eq!((bus.groups[0].published, bus.wake_at(at(1))), (None, None));
    }
}
