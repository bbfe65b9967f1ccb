//! Pinned connections: one that its client keeps for long leaves the count of leases for one of
//! its own, with a bound of its own (law 6), so that another request may be leased meanwhile.
//!
//! The permit changes with the count: that of the lease goes back when the connection is pinned,
//! that of the pinned one when it is really closed, or idle again.

use alloc::sync::Arc;
use base::sync::atomic::Ordering::SeqCst;
use core::mem;

use base::id::{ConnectionId, GroupId, ServerId};

use crate::bus::Bus;
use crate::connection::State;
use crate::shared::{Permit, Shared};

/// As many connections are pinned as may be: to this server, or by this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedFull;

impl Shared {
    /// Pinned connections to a server that are not really closed, of all workers.
    pub fn pinned(&self, server: ServerId) -> u32 {
        self.server_entry(server).pinned.load(SeqCst)
    }

    /// Takes a permit for one pinned connection.
    pub(crate) fn pinned_permit(self: &Arc<Self>, server: ServerId) -> Option<Permit> {
        let entry = self.server_entry(server);
        let more = |pinned| (pinned < entry.pinned_bound).then_some(pinned + 1);
        entry.pinned.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Permit::new(self, server, true))
    }
}

impl Bus {
    /// Connections pinned by this worker that are not really closed.
    pub const fn pinned_here(&self) -> u32 {
        self.pinned
    }

    /// Whether one more connection to some server of the group that serves now may be pinned.
    pub fn may_pin(&self, group: GroupId) -> bool {
        let has_place = |id| self.shared.pinned(id) < self.shared.server_entry(id).pinned_bound;
        self.pinned < self.pinned_capacity && self.serving(group).any(has_place)
    }

    /// Whether connections like this one are each one client's for as long as they live.
    pub fn passes(&self, id: ConnectionId) -> bool {
        let group = self.server_of(id).map(|server| self.shared.group_of(server));
        group.is_some_and(|group| self.groups[group.index()].policy.passes)
    }

    /// A leased connection will be its client's for long. Its permit goes back: the next
    /// [`decide`](Self::decide) uses it or tells others.
    ///
    /// # Errors
    /// When no more may be pinned; it is leased still.
    pub fn pin(&mut self, id: ConnectionId) -> Result<(), PinnedFull> {
        let Some(State::Leased) = self.state(id) else { return Err(PinnedFull) };
        if self.pinned == self.pinned_capacity {
            return Err(PinnedFull);
        }
        let server = self.connections[id.0].server();
        let permit = self.shared.pinned_permit(server).ok_or(PinnedFull)?;
        self.pinned += 1;
        self.change(id, State::Pinned);
        let lease = mem::replace(&mut self.connections[id.0].permit, permit);
        drop::<Permit>(lease);
        let group = self.shared.group_of(server);
        self.groups[group.index()].freed_here();
        Ok(())
    }

    /// Its client needs a pinned connection no more. True if it is idle now; else the worker
    /// closes it at once, then calls [`closed`](Self::closed).
    pub fn unpin(&mut self, id: ConnectionId, reusable: bool) -> bool {
        let Some(State::Pinned) = self.state(id) else { return false };
        let server = self.connections[id.0].server();
        let group = self.shared.group_of(server);
        let reusable = reusable && self.groups[group.index()].persistent;
        let Some(permit) = reusable.then(|| self.shared.permit(server)).flatten() else {
            self.change(id, State::Closing);
            return false;
        };
        self.pinned -= 1;
        let pinned = mem::replace(&mut self.connections[id.0].permit, permit);
        drop::<Permit>(pinned);
        self.change(id, State::Idle);
        self.took_permit(group, server);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::GroupConfig;
    use crate::testing::{at, carry, crew, group};
    use base::id::{ExchangeId, WorkerId};
    use std::vec;
    use std::vec::Vec;

    const SERVER: ServerId = ServerId(0);

    /// One server with so many leases and pinned connections.
    fn pinning(connections: u32, pinned: u32) -> GroupConfig {
        let mut config = group(0, &[connections]);
        config.servers.iter_mut().for_each(|server| server.pinned = pinned);
        config
    }

    fn counts(bus: &Bus) -> (u32, u32) {
        (bus.shared.taken(SERVER), bus.shared.pinned(SERVER))
    }

    #[test]
    fn a_pinned_connection_makes_room_for_another_lease() {
        let [mut bus] = crew([pinning(1, 2)].as_slice());
        let first = bus.is_served(0, at(0));
        bus.wants(1, at(1));
        assert_eq!(bus.all(at(1)), [], "the bound is one");
        assert_eq!(bus.pin(first), Ok(()));
        assert_eq!(counts(&bus), (0, 1));
        let second = bus.opens(at(2));
        bus.connected(second, at(2));
        assert_eq!(bus.leases_to(1, at(2)), second);
        assert_eq!(counts(&bus), (1, 1));
        let share = bus.shared.share(SERVER, WorkerId(0));
        assert_eq!((share.leased.get(), share.pinned.get()), (1, 1));
    }

    #[test]
    fn the_bound_of_the_pinned_holds_until_one_is_really_closed() {
        let [mut bus] = crew([pinning(3, 1)].as_slice());
        let [first, second]: [_; 2] = [0, 1].map(|exchange| bus.is_served(exchange, at(0)));
        assert_eq!(bus.pin(first), Ok(()));
        assert_eq!(bus.pin(second), Err(PinnedFull));
        assert_eq!(counts(&bus), (1, 1), "it is leased still");
        assert!(!bus.unpin(first, false));
        assert_eq!(bus.all(at(1)), [], "the worker closes it without being told");
        assert_eq!(bus.pin(second), Err(PinnedFull), "it is not closed yet");
        assert_eq!(bus.pinned_here(), 1);
        bus.closed(first);
        assert_eq!(bus.pinned_here(), 0);
        assert_eq!(bus.pin(second), Ok(()));
        assert_eq!((counts(&bus), bus.pinned_here()), ((0, 1), 1));
    }

    #[test]
    fn what_others_have_pinned_counts() {
        let [mut bus, mut other] = crew([pinning(3, 1)].as_slice());
        let first = bus.is_served(0, at(0));
        let second = other.is_served(0, at(0));
        assert_eq!(bus.pin(first), Ok(()));
        assert!(!other.may_pin(crate::testing::APP));
        assert_eq!(other.pin(second), Err(PinnedFull));
        assert_eq!((counts(&bus), other.pinned_here()), ((1, 1), 0));
    }

    #[test]
    fn an_orderly_end_gives_the_connection_back_if_there_is_room() {
        let [mut bus] = crew([pinning(1, 2)].as_slice());
        let first = bus.is_served(0, at(0));
        assert_eq!(bus.pin(first), Ok(()));
        let second = bus.is_served(1, at(1));
        assert_eq!(bus.pin(second), Ok(()));
        assert!(bus.unpin(first, true));
        assert_eq!((counts(&bus), bus.pinned_here()), ((1, 1), 1));
        assert!(!bus.unpin(second, true), "one connection is what there may be");
        bus.closed(second);
        bus.wants(2, at(2));
        assert_eq!(bus.leases_to(2, at(2)), first);
        assert_eq!(counts(&bus), (1, 0));
    }

    #[test]
    fn where_connections_are_not_kept_a_pinned_one_is_not_either() {
        let config = GroupConfig { persistent: false, ..pinning(1, 1) };
        let [mut bus] = crew([config].as_slice());
        let connection = bus.is_served(0, at(0));
        assert_eq!(bus.pin(connection), Ok(()));
        assert!(!bus.unpin(connection, true));
    }

    #[test]
    fn one_that_comes_back_goes_to_the_worker_that_waits() {
        let [mut bus, mut other] = crew([pinning(1, 1)].as_slice());
        let connection = bus.is_served(0, at(0));
        assert_eq!(bus.pin(connection), Ok(()));
        let lease = bus.is_served(1, at(0));
        other.wants(0, at(1));
        assert_eq!(other.all(at(1)), []);
        bus.release(lease, false, at(2));
        let _ = bus.all(at(2));
        bus.closed(lease);
        assert!(bus.unpin(connection, true), "before the other one hears of the permit");
        let to = WorkerId(1);
        let told = bus.all(at(3));
        assert!(told.contains(&crate::Decision::HandOver { connection, to }), "{told:?}");
        let arrived = carry(&mut bus, connection, &mut other, at(4));
        assert_eq!(other.leases_to(0, at(4)), arrived);
        assert_eq!(counts(&bus), (1, 0));
    }

    /// Servers that are passed through, with so many pinned connections each.
    fn passing(pinned: &[u32]) -> GroupConfig {
        let mut config = group(0, &vec![4; pinned.len()]);
        config.policy.passes = true;
        for (server, &pinned) in config.servers.iter_mut().zip(pinned) {
            server.pinned = pinned;
        }
        config
    }

    #[test]
    fn a_server_without_room_for_one_more_pinned_is_passed_over() {
        let [mut bus] = crew([passing(&[1, 3])].as_slice());
        let mut opened = [0; 2];
        for exchange in 0..4 {
            let id = bus.is_served(exchange, at(0));
            opened[bus.server_of(id).unwrap().index()] += 1;
            assert_eq!(bus.pin(id), Ok(()));
        }
        assert_eq!(opened, [1, 3]);
        assert!(!bus.may_pin(crate::testing::APP));
    }

    #[test]
    fn whose_connections_are_passed_through_is_known_of_each() {
        let [mut bus] = crew(&[passing(&[1])]);
        let id = bus.is_served(0, at(0));
        assert!(bus.passes(id) && !bus.passes(base::id::ConnectionId(9)));
        let [mut bus] = crew(&[pinning(1, 1)]);
        let id = bus.is_served(0, at(0));
        assert!(!bus.passes(id));
    }

    #[test]
    fn those_being_opened_have_their_place_among_the_pinned_already() {
        let [mut bus, mut other] = crew([passing(&[1])].as_slice());
        bus.wants(0, at(0));
        let first = bus.opens(at(0));
        other.wants(1, at(1));
        assert_eq!(other.all(at(1)), [], "one is coming");
        bus.connected(first, at(2));
        let first = bus.leases_to(0, at(2));
        assert_eq!(bus.pin(first), Ok(()));
        assert_eq!(other.all(at(2)), []);
        assert!(!bus.unpin(first, false));
        bus.closed(first);
        let told = bus.all(at(3));
        assert!(told.iter().any(|told| matches!(told, crate::Decision::Nudge { .. })), "{told:?}");
        other.nudged(crate::testing::APP);
        other.opens(at(3));
    }

    #[test]
    fn a_backup_that_does_not_serve_has_no_place_to_offer() {
        let mut config = passing(&[1, 1]);
        config.servers[1].backup = true;
        let [mut bus] = crew([config].as_slice());
        let first = bus.is_served(0, at(0));
        assert_eq!(bus.pin(first), Ok(()));
        assert!(!bus.may_pin(crate::testing::APP));
    }

    #[test]
    fn permits_of_pinned_connections_go_back_with_a_worker_that_is_lost() {
        let [mut bus, other] = crew([pinning(4, 4)].as_slice());
        for exchange in 0..4 {
            let connection = bus.is_served(exchange, at(0));
            assert_eq!(bus.pin(connection), Ok(()));
        }
        assert_eq!(counts(&other), (0, 4));
        drop(bus);
        assert_eq!(counts(&other), (0, 0));
        assert_eq!(other.shared.share(SERVER, WorkerId(0)).pinned.get(), 0);
    }

    #[test]
    fn a_worker_pins_no_more_than_it_has_exchanges() {
        let config = [pinning(100, 1000)];
        let shared = Shared::new(1, &config);
        let mut bus = Bus::new(Arc::clone(&shared), WorkerId(0), &config, 3);
        assert_eq!(bus.capacity(), 103);
        let ids: Vec<_> = (0..4)
            .map(|_| {
                bus.enqueue(crate::testing::APP, ExchangeId(0), at(0), false).unwrap();
                let id = bus.opens(at(0));
                bus.connected(id, at(0));
                bus.leases_to(0, at(0))
            })
            .collect();
        let mut pins = |id| (bus.may_pin(crate::testing::APP), bus.pin(id).is_ok());
        let pinned: Vec<_> = ids.into_iter().map(&mut pins).collect();
        assert_eq!(pinned, [(true, true), (true, true), (true, true), (false, false)]);
    }
}
