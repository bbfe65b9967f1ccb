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
