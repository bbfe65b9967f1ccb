//! What must hold between two turns, whatever happened: for simulators, tests and debug
//! assertions. Nothing of it is on the data path.

use base::id::{ConnectionId, ExchangeId, TunnelId};
use bus::Held;
use driver::Driver;
use exchange::{Exchange, Phase, Reading, ResponseBody, State, Tunnel};
use pool::{Audit, Flaw};

use crate::client::{Client, ClientState, Patience};
use crate::turn::Worker;
use crate::upstream::{Ending, Upstream, User};

impl<D: Driver> Worker<D> {
    /// Walks through the tables: every buffer lent is in exactly one chain of one exchange, every
    /// promise is held, clients, exchanges, leases and connections name each other, and whoever
    /// waits has a moment at which the wait ends; what TLS keeps is counted. The permits held, by server.
    ///
    /// # Errors
    /// The first contradiction that was found, in words.
    pub fn audit(&self) -> Result<Vec<Held>, String> {
        self.audit_pool().map_err(|flaw| flaw.to_string())?;
        self.driver.audit_bounds()?;
        self.audit_clients()?;
        for (index, exchange) in self.exchanges.iter() {
            self.audit_exchange(ExchangeId(index), exchange)?;
        }
        for (index, tunnel) in self.tunnels.iter() {
            self.audit_tunnel(TunnelId(index), tunnel)?;
        }
        for (id, upstream) in self.upstreams.iter() {
            self.audit_upstream(id, upstream)?;
        }
        self.audit_counters()?;
        self.audit_laws()?;
        self.bus.audit()
    }

    /// Whether somebody waits for a place ahead of buffers though there is one: while it has nothing to do,
    /// nobody may.
    pub fn waits_in_vain(&self) -> bool {
        self.driver.stands_in_vain()
    }

    fn audit_pool(&self) -> Result<(), Flaw> {
        let mut audit = self.pool.audit();
        for (_, exchange) in self.exchanges.iter() {
            show(&mut audit, exchange)?;
        }
        for (_, tunnel) in self.tunnels.iter() {
            audit.chain(&tunnel.up.chain)?;
            audit.chain(&tunnel.down.chain)?;
        }
        self.driver.audit(&mut audit)?;
        audit.close()
    }

    fn audit_clients(&self) -> Result<(), String> {
        for (index, client) in self.clients.table.iter() {
            let right = match client.state {
                // What is parked holds no buffer, over TLS neither (law 1).
                ClientState::Parked => {
                    client.has_deadline() && !self.driver.holds_buffers(client.socket)
                }
                ClientState::ProxyHeader | ClientState::Lingering { .. } => client.has_deadline(),
                ClientState::Active(id) => {
                    self.exchanges.get(id.0).is_some_and(|exchange| exchange.client.0 == index)
                }
                ClientState::Tunnel(id) => {
                    self.tunnels.get(id.0).is_some_and(|tunnel| tunnel.client.0 == index)
                }
                ClientState::Closing => !client.has_deadline(),
            };
            if !right {
                return Err(format!("client {index}: {:?} does not hold", client.state));
            }
        }
        Ok(())
    }

    fn audit_exchange(&self, id: ExchangeId, exchange: &Exchange) -> Result<(), String> {
        let Some(phase) = exchange.phase() else {
            return Err(format!("exchange {}: over, and still in the table", id.0));
        };
        let complain = |what: &str| Err(format!("exchange {}, {phase:?}: {what}", id.0));
        let client = self.clients.get(exchange.client);
        if client.is_none_or(|client| client.state != ClientState::Active(id)) {
            return complain("its client knows nothing of it");
        }
        if exchange.counted != Some(phase) {
            return complain("it is counted in another phase");
        }
        if self.bus.is_queued(id) != (phase == Phase::Ready) {
            return complain("its place in the ready queue");
        }
        let lease = exchange.lease().map(|lease| lease.connection);
        if let Some(connection) = lease
            && self.find(connection).is_none_or(|upstream| upstream.exchange() != Some(id))
        {
            return complain("its connection is not its own");
        }
        if exchange.spooled.is_some() && self.spool.is_none() {
            return complain("it is in a spool that does not exist");
        }
        let arrives = matches!(phase, Phase::Arriving | Phase::Collecting);
        let waits = |client: &Client| self.driver.awaits_place(client.socket);
        let patient = self.clients.waits(exchange.client, Patience::Queue);
        if arrives && client.is_some_and(waits) && !patient {
            return complain("it waits for a place, and counts as slow");
        }
        if self.has_a_moment(id, exchange) { Ok(()) } else { complain("nothing ends its wait") }
    }

    fn audit_tunnel(&self, id: TunnelId, tunnel: &Tunnel) -> Result<(), String> {
        let complain = |what: &str| Err(format!("tunnel {}: {what}", id.0));
        let client = self.clients.get(tunnel.client);
        if client.is_none_or(|client| client.state != ClientState::Tunnel(id)) {
            return complain("its client knows nothing of it");
        }
        let upstream = self.find(tunnel.connection);
        if upstream.is_none_or(|upstream| upstream.user != Some(User::Tunnel(id))) {
            return complain("its connection is not its own");
        }
        if !upstream.is_some_and(Upstream::has_deadline) {
            return complain("nothing ends its silence");
        }
        let waits = self.pool.is_waiting(self.exchanges.capacity() + id.0);
        if waits != tunnel.starved().is_some() {
            return complain("its place in the queue for buffers");
        }
        Ok(())
    }

    /// Whether something will certainly happen to the exchange: a deadline of its client or of its
    /// server, its turn for a buffer (which slow holders yield in time), an errand of the disk.
    fn has_a_moment(&self, id: ExchangeId, exchange: &Exchange) -> bool {
        let client = self.clients.get(exchange.client).is_some_and(Client::has_deadline);
        let lease = exchange.lease().map(|lease| lease.connection);
        let server = lease.and_then(|id| self.find(id)).is_some_and(Upstream::has_deadline);
        let disk = exchange.spooled.as_ref().is_some_and(|spooled| {
            spooled.queued || !matches!(spooled.reading, Reading::No | Reading::InVain)
        });
        client || server || disk || self.pool.is_waiting(id.0) || self.pipelined.contains(&id)
    }

    fn find(&self, id: ConnectionId) -> Option<&Upstream> {
        self.upstreams.iter().find(|(other, _)| *other == id).map(|(_, upstream)| upstream)
    }

    fn audit_upstream(&self, id: ConnectionId, upstream: &Upstream) -> Result<(), String> {
        let leases = |exchange: ExchangeId| {
            let lease = self.exchanges.get(exchange.0).and_then(Exchange::lease);
            lease.is_some_and(|lease| lease.connection == id)
        };
        if upstream.exchange().is_some_and(|exchange| !leases(exchange)) {
            return Err(format!("connection {}: its exchange has another", id.0));
        }
        if upstream.ending == Ending::Parted && !upstream.has_deadline() {
            return Err(format!("connection {}: nothing ends its parting", id.0));
        }
        if self.bus.server_of(id).is_none() {
            return Err(format!("connection {}: the bus knows nothing of it", id.0));
        }
        Ok(())
    }

    fn audit_counters(&self) -> Result<(), String> {
        let states = || self.clients.table.iter().map(|(_, client)| client.state);
        let count = |is: fn(&ClientState) -> bool| states().filter(is).count() as u64;
        let lingering = count(|state| matches!(state, ClientState::Lingering { .. }));
        let closing = count(|state| *state == ClientState::Closing);
        let counters = &self.counters;
        let mut figures = vec![
            ("clients", counters.clients.get(), u64::from(self.clients.table.len())),
            (
                "active clients",
                counters.clients_active.get(),
                count(|state| {
                    let owns = matches!(state, ClientState::Active(_) | ClientState::Tunnel(_));
                    owns || *state == ClientState::ProxyHeader
                }),
            ),
            ("lingering clients", counters.clients_lingering.get(), lingering),
            ("closing clients", counters.clients_closing.get(), closing),
            ("leaving clients", counters.clients_leaving.get(), lingering + closing),
            ("lent buffers", counters.buffers_used.get(), u64::from(self.pool.used())),
            ("promises", counters.buffers_promised.get(), u64::from(self.pool.promised())),
        ];
        for phase in Phase::ALL {
            let there = match phase {
                Phase::Tunnel => self.tunnels.iter().count(),
                _ => self.exchanges.iter().filter(|(_, it)| it.phase() == Some(phase)).count(),
            };
            let counted = counters.exchanges[phase as usize].get();
            figures.push((phase.label(), counted, there as u64));
        }
        let pinned = |(_, it): &(u32, &Exchange)| it.lease().is_some_and(|lease| lease.pinned);
        let streams = self.exchanges.iter().filter(pinned).count() as u64;
        figures.push(("streams", u64::from(self.streams), streams));
        let held: u32 = self.tunnels.iter().map(|(_, tunnel)| tunnel.buffers()).sum();
        figures.push(("buffers of tunnels", u64::from(self.tunnelled), u64::from(held)));
        match figures.into_iter().find(|(_, counted, there)| counted != there) {
            Some((what, counted, there)) => {
                Err(format!("{what}: {counted} counted, {there} there"))
            }
            None => Ok(()),
        }
    }
}

/// Shows an audit all that an exchange holds.
fn show(audit: &mut Audit<'_>, exchange: &Exchange) -> Result<(), Flaw> {
    audit.chain(&exchange.rest)?;
    audit.promise(exchange.granted.as_ref());
    audit.promise(exchange.upload.as_ref().and_then(|upload| upload.promise.as_ref()));
    audit.promise(exchange.lease().and_then(|lease| lease.promise.as_ref()));
    if let Some(spooled) = &exchange.spooled {
        audit.chain(&spooled.front)?;
        if let Reading::UnderWay(promise) = &spooled.reading {
            audit.promise(promise.as_ref());
        }
    }
    match &exchange.state {
        State::Arriving { input, .. } | State::Authorizing { input, .. } => audit.chain(input),
        State::Collecting { head, body, .. } => audit.chain(head).and_then(|()| audit.chain(body)),
        State::Ready { request } => audit.chain(request),
        State::Leased { request, reply, .. } | State::Pending { request, reply, .. } => {
            audit.chain(request)?;
            audit.chain(&reply.input)?;
            audit.chain(&reply.early)
        }
        State::Draining { output, reader, .. } => {
            if let ResponseBody::Recoded { staged, .. } = reader {
                audit.chain(staged)?;
            }
            audit.chain(output)
        }
        State::Delivering { output } => audit.chain(output),
        State::Over => Ok(()),
    }
}
