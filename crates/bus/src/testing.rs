//! What the tests of several files need.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::id::{ConnectionId, ExchangeId, GroupId, ServerId, WorkerId};
use base::time::Instant;
use core::time::Duration;

use crate::bus::{Bus, Failure};
use crate::decide::Decision;
use crate::group::{GroupConfig, ServerConfig};
use crate::handover::Travelling;
use crate::policy::Policy;
use crate::shared::Shared;

/// The group that most tests have.
pub(crate) const APP: GroupId = GroupId(0);

/// A moment, in milliseconds.
pub(crate) fn at(millis: u64) -> Instant {
    Instant(0) + Duration::from_millis(millis)
}

/// A group of servers numbered from `first`, each with its bound.
pub(crate) fn group(first: u32, bounds: &[u32]) -> GroupConfig {
    let servers = (first..).zip(bounds);
    let servers = servers.map(|(id, &connections)| ServerConfig::new(ServerId(id), connections));
    GroupConfig {
        name: "app".into(),
        servers: servers.collect(),
        queue_length: 4,
        persistent: true,
        policy: Policy::default(),
    }
}

/// So many workers that share these groups.
pub(crate) fn crew<const N: usize>(groups: &[GroupConfig]) -> [Bus; N] {
    let shared = Shared::new(u32::try_from(N).unwrap(), groups);
    core::array::from_fn(|worker| {
        let worker = WorkerId(u32::try_from(worker).unwrap());
        Bus::new(Arc::clone(&shared), worker, groups, 64)
    })
}

/// One worker with one group that has this policy.
pub(crate) fn with_policy(bounds: &[u32], policy: Policy) -> Bus {
    let [bus] = crew(&[GroupConfig { policy, ..group(0, bounds) }]);
    bus
}

/// One worker with one group.
pub(crate) fn lone(bounds: &[u32]) -> Bus {
    let [bus] = crew([group(0, bounds)].as_slice());
    bus
}

/// What a bus was told, and what it said.
impl Bus {
    /// A request for the usual group arrives.
    pub(crate) fn wants(&mut self, exchange: u32, now: Instant) {
        self.enqueue(APP, ExchangeId(exchange), now, false).unwrap();
    }

    /// Everything it decides now.
    pub(crate) fn all(&mut self, now: Instant) -> Vec<Decision> {
        core::iter::from_fn(|| self.decide(now, true)).take(100).collect()
    }

    /// The one thing it decides now.
    pub(crate) fn one(&mut self, now: Instant) -> Decision {
        let all = self.all(now);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    /// It opens one connection and nothing else.
    pub(crate) fn opens(&mut self, now: Instant) -> ConnectionId {
        match self.one(now) {
            Decision::Open { connection, .. } => connection,
            other => panic!("{other:?}"),
        }
    }

    /// It leases one connection to this request, and does nothing else.
    pub(crate) fn leases_to(&mut self, exchange: u32, now: Instant) -> ConnectionId {
        match self.one(now) {
            Decision::Lease { exchange: ExchangeId(leased), connection, .. }
                if leased == exchange =>
            {
                connection
            }
            other => panic!("{other:?}"),
        }
    }

    /// A request arrives for which a connection is opened and leased.
    pub(crate) fn is_served(&mut self, exchange: u32, now: Instant) -> ConnectionId {
        self.wants(exchange, now);
        let connection = self.opens(now);
        self.connected(connection, now);
        assert_eq!(self.leases_to(exchange, now), connection);
        connection
    }

    /// Opens a connection that is refused.
    pub(crate) fn is_refused(&mut self, now: Instant) {
        let connection = self.opens(now);
        self.connect_failed(connection, Failure::Refused, now);
        self.closed(connection);
    }

    /// Where a connection leads to.
    pub(crate) fn server_number(&self, connection: ConnectionId) -> u32 {
        self.connections[connection.0].server().0
    }

    /// A connection that was used stands idle here.
    pub(crate) fn has_idle(&mut self, now: Instant) -> ConnectionId {
        let connection = self.is_served(63, now);
        self.release(connection, true, now);
        assert_eq!(self.all(now), []);
        connection
    }
}

/// What workers send each other.
pub(crate) enum Letter {
    Nudge(GroupId),
    Carried(Travelling),
}

/// What a worker that lives a whole life has under way: its requests arrive, each when the one
/// before it was served, until it has had enough.
pub(crate) struct Duties {
    leased: Vec<(ExchangeId, ConnectionId)>,
    connecting: Vec<ConnectionId>,
    /// Connections that are to be closed.
    pub(crate) closing: Vec<ConnectionId>,
    served: u32,
    wanted: u32,
    enough: u32,
}

impl Duties {
    /// The first requests arrive, so many as it has at a time.
    pub(crate) fn begin(bus: &mut Bus, at_once: u32, enough: u32, now: Instant) -> Self {
        let (leased, connecting, closing) = Default::default();
        let mut duties = Self { leased, connecting, closing, served: 0, wanted: 0, enough };
        for exchange in 0..at_once {
            duties.arrive(bus, ExchangeId(exchange), now);
        }
        duties
    }

    fn arrive(&mut self, bus: &mut Bus, exchange: ExchangeId, now: Instant) {
        if self.wanted < self.enough {
            self.wanted += 1;
            bus.enqueue(APP, exchange, now, false).unwrap();
        }
    }

    /// Whether all its requests were served.
    pub(crate) const fn is_content(&self) -> bool {
        self.served == self.enough
    }

    /// Does as its bus decided.
    pub(crate) fn obey(
        &mut self,
        bus: &mut Bus,
        decision: Decision,
        post: impl FnOnce(WorkerId, Letter),
    ) {
        match decision {
            Decision::Lease { exchange, connection, .. } => {
                self.leased.push((exchange, connection));
            }
            Decision::Open { connection, .. } => self.connecting.push(connection),
            Decision::Close { connection } => self.closing.push(connection),
            Decision::HandOver { connection, to } => {
                post(to, Letter::Carried(bus.hand_over(connection).unwrap()));
            }
            Decision::Nudge { to, group } => post(to, Letter::Nudge(group)),
            Decision::Fail { .. } => panic!("nothing failed"),
        }
    }

    /// Connects, leases and closings take one round. False if there were none.
    pub(crate) fn finish(
        &mut self,
        bus: &mut Bus,
        now: Instant,
        mut reusable: impl FnMut() -> bool,
    ) -> bool {
        let [connecting, closing] = [&mut self.connecting, &mut self.closing].map(core::mem::take);
        let leased = core::mem::take(&mut self.leased);
        let any = !(connecting.is_empty() && closing.is_empty() && leased.is_empty());
        for connection in connecting {
            bus.connected(connection, now);
        }
        for connection in closing {
            bus.closed(connection);
        }
        for (exchange, connection) in leased {
            bus.release(connection, reusable(), now);
            self.served += 1;
            self.arrive(bus, exchange, now);
        }
        any
    }
}

impl Letter {
    /// A bus is told.
    pub(crate) fn reach(self, bus: &mut Bus, now: Instant) {
        match self {
            Self::Carried(travelling) => assert!(bus.adopt(travelling, now).is_ok()),
            Self::Nudge(group) => bus.nudged(group),
        }
    }
}

/// One worker's connection goes to another.
pub(crate) fn carry(from: &mut Bus, id: ConnectionId, to: &mut Bus, now: Instant) -> ConnectionId {
    let travelling = from.hand_over(id).unwrap();
    to.adopt(travelling, now).unwrap()
}
