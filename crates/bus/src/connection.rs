//! What the bus knows of each upstream connection of its worker, and the counts of it.

use alloc::vec::Vec;

use base::id::{ConnectionId, ServerId};
use base::time::Instant;

use crate::balance::Rank;
use crate::bus::Bus;
use crate::decide::Decision;
use crate::group::ServerConfig;
use crate::health::Health;
use crate::shared::Permit;

/// One upstream connection, from the decision to open it until it is really closed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) permit: Permit,
    pub(crate) state: State,
    /// Whether a request was ever sent on it.
    pub(crate) used: bool,
}

/// What a connection awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// That the server takes it. Holds when the attempt began.
    Connecting(Instant),
    /// The next lease.
    Idle,
    /// The end of its lease.
    Leased,
    /// The end of what its client keeps it for.
    Pinned,
    /// That the worker takes it out, for another worker.
    Leaving,
    /// That it is really closed.
    Closing,
}

impl State {
    /// Whether requests share the connection, now or later.
    const fn is_shared(self) -> bool {
        !matches!(self, Self::Closing | Self::Pinned)
    }
}

/// One worker's state of a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) weight: u32,
    pub(crate) backup: bool,
    /// Idle connections; the one used last is used next, so that the others can be closed by
    /// a server that wants fewer.
    pub(crate) idle: Vec<ConnectionId>,
    /// How many of them were never used.
    pub(crate) unused: u32,
    pub(crate) connecting: u32,
    pub(crate) closing: u32,
    /// Connections that are neither closing nor pinned.
    pub(crate) open: u32,
    /// When a connection was last begun.
    pub(crate) opened: Instant,
    pub(crate) health: Health,
    /// Whether connections that nobody needs yet are welcome there.
    pub(crate) warmth: Health,
    /// Addresses behind its name.
    pub(crate) addresses: u32,
    /// They changed since the start.
    pub(crate) readdressed: bool,
    /// What it is owed, in turns; see `balance`.
    pub(crate) credit: i64,
    /// How good it was at the last choice, if it was among the best.
    pub(crate) rank: Option<Rank>,
}

impl Server {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self {
            weight: config.weight.max(1),
            backup: config.backup,
            idle: Vec::with_capacity(config.connections as usize),
            unused: 0,
            connecting: 0,
            closing: 0,
            open: 0,
            opened: Instant(0),
            health: Health::default(),
            warmth: Health::default(),
            addresses: config.addresses.max(1),
            readdressed: false,
            credit: 0,
            rank: None,
        }
    }

    /// Whether a connection may be opened as far as the server is concerned.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        let probed = self.health.is_on_probation() && self.connecting > 0;
        self.health.may_try(now) && !probed
    }
}

impl Connection {
    pub(crate) fn server(&self) -> ServerId {
        self.permit.server()
    }

    /// 1 if another connection may be opened once it is closed: not for one that was pinned.
    fn frees_a_lease(&self) -> u32 {
        u32::from(!self.permit.is_pinned())
    }
}

impl Bus {
    /// The server that a connection leads to.
    pub fn server_of(&self, id: ConnectionId) -> Option<ServerId> {
        self.connections.get(id.0).map(Connection::server)
    }

    /// Whether a connection is being opened.
    pub fn is_connecting(&self, id: ConnectionId) -> bool {
        matches!(self.state(id), Some(State::Connecting(_)))
    }

    /// Whether a connection is open and to be closed, or to be handed over.
    pub fn is_spent(&self, id: ConnectionId) -> bool {
        matches!(self.state(id), Some(State::Closing | State::Leaving))
    }

    pub(crate) fn state(&self, id: ConnectionId) -> Option<State> {
        self.connections.get(id.0).map(|connection| connection.state)
    }

    /// A connection that is known changes from one state to another, and is counted so.
    pub(crate) fn change(&mut self, id: ConnectionId, state: State) {
        self.count_out(id);
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.state = state;
        }
        self.count_in(id);
    }

    /// It is to be closed, and the worker is told.
    pub(crate) fn must_close(&mut self, id: ConnectionId) {
        self.change(id, State::Closing);
        self.outbox.push_back(Decision::Close { connection: id });
    }

    /// It is counted in the state that it has.
    pub(crate) fn count_in(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id.0) else { return };
        let id_of_server = connection.server();
        let server = &mut self.servers[id_of_server.index()];
        let share = self.shared.share(id_of_server, self.worker);
        server.open += u32::from(connection.state.is_shared());
        match connection.state {
            State::Connecting(_) => {
                server.connecting += 1;
                share.connecting.increment();
            }
            State::Idle => {
                server.idle.push(id);
                server.unused += u32::from(!connection.used);
                self.shared.idle_changed(id_of_server, self.worker, server.idle.len());
            }
            State::Leased => share.leased.increment(),
            State::Pinned => share.pinned.increment(),
            State::Closing => server.closing += connection.frees_a_lease(),
            State::Leaving => {}
        }
    }

    /// It is counted no more in the state that it has.
    pub(crate) fn count_out(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id.0) else { return };
        let id_of_server = connection.server();
        let server = &mut self.servers[id_of_server.index()];
        let share = self.shared.share(id_of_server, self.worker);
        server.open -= u32::from(connection.state.is_shared());
        match connection.state {
            State::Connecting(_) => {
                server.connecting -= 1;
                share.connecting.sub(1);
            }
            State::Idle => {
                if let Some(place) = server.idle.iter().rposition(|&other| other == id) {
                    server.idle.remove(place);
                }
                server.unused -= u32::from(!connection.used);
                self.shared.idle_changed(id_of_server, self.worker, server.idle.len());
            }
            State::Leased => share.leased.sub(1),
            State::Pinned => share.pinned.sub(1),
            State::Closing => server.closing -= connection.frees_a_lease(),
            State::Leaving => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APP, at, crew, group, lone};
    use base::id::{ExchangeId, WorkerId};

    /// Whether it is being opened, or spent.
    fn told(bus: &Bus, id: ConnectionId) -> (bool, bool) {
        (bus.is_connecting(id), bus.is_spent(id))
    }

    #[test]
    fn a_connection_is_being_opened_then_of_use_then_spent() {
        let [mut bus, mut other] = crew(&[group(0, &[1])]);
        let id = ConnectionId(0);
        assert_eq!((told(&bus, id), bus.server_of(id)), ((false, false), None));
        bus.wants(0, at(0));
        assert_eq!(bus.opens(at(0)), id);
        assert_eq!((told(&bus, id), bus.server_of(id)), ((true, false), Some(ServerId(0))));
        bus.connected(id, at(0));
        assert_eq!(told(&bus, id), (false, false));
        bus.leases_to(0, at(0));
        assert_eq!(told(&bus, id), (false, false));
        bus.release(id, true, at(1));
        other.wants(0, at(1));
        other.all(at(1));
        assert_eq!(bus.one(at(1)), Decision::HandOver { connection: id, to: WorkerId(1) });
        assert_eq!(told(&bus, id), (false, true), "it leaves");
        bus.lost(id, at(1));
        assert_eq!(told(&bus, id), (false, true), "it is to be closed");
        bus.closed(id);
        assert_eq!((told(&bus, id), bus.server_of(id)), ((false, false), None));
    }

    #[test]
    fn one_that_was_pinned_makes_no_room_by_its_end() {
        let mut config = group(0, &[1]);
        config.servers[0].pinned = 1;
        let [mut bus] = crew(&[config]);
        let pinned = bus.is_served(0, at(0));
        bus.pin(pinned).unwrap();
        let idle = bus.has_idle(at(1));
        assert!(!bus.unpin(pinned, false));
        bus.enqueue(APP, ExchangeId(1), at(2), true).unwrap();
        assert_eq!(bus.one(at(2)), Decision::Close { connection: idle });
        assert_eq!(bus.servers[0].closing, 1, "of those that count as leases");
        bus.closed(idle);
        bus.closed(pinned);
        assert_eq!((bus.servers[0].closing, bus.servers[0].open), (0, 0));
    }

    #[test]
    fn a_server_that_failed_is_probed_by_one_connection_at_a_time() {
        let mut bus = lone(&[2]);
        bus.wants(0, at(0));
        bus.wants(1, at(0));
        let [Decision::Open { connection, .. }, Decision::Open { connection: second, .. }] =
            bus.all(at(0))[..]
        else {
            panic!("it opens two")
        };
        bus.connect_failed(connection, crate::Failure::Refused, at(1));
        bus.closed(connection);
        let later = at(1) + base::limits::SET_ASIDE;
        assert_eq!(bus.all(later), [], "one is under way still");
        bus.connect_failed(second, crate::Failure::Refused, later);
        bus.closed(second);
        bus.opens(later);
    }
}
