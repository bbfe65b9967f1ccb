//! The way to the server: what the bus decides, and the request written at once.

use base::id::{ConnectionId, ExchangeId, ServerId, WorkerId};
use bus::{Decision, Failure};
use driver::{ConnectFault, Driver, Sent};
use exchange::{Lease, Mishap, Next, Phase, Way};
use pool::Rank;

use crate::client::Party;
use crate::counters::CloseReason;
use crate::coverage::Event;
use crate::office::Letter;
use crate::secured::Carried;
use crate::turn::Worker;
use crate::upstream::{Ending, Progress, User};

impl<D: Driver> Worker<D> {
    /// Does what the bus decides until it has nothing more to say.
    pub(crate) fn serve_bus(&mut self) {
        loop {
            let may_lease = self.pool.grantable(Rank::Upstream) > 0;
            let Some(decision) = self.bus.decide(self.now, may_lease) else { return };
            match decision {
                Decision::Lease { exchange, connection, fresh, waited } => {
                    // What is passed through waits for its connection to be opened, always.
                    if !self.bus.passes(connection) {
                        self.counters.queue_seconds.observe(waited);
                    }
                    self.begin_lease(exchange, connection, fresh);
                }
                Decision::Open { connection, server } => self.open(connection, server),
                Decision::Close { connection } => self.close_upstream(connection),
                Decision::HandOver { connection, to } => self.hand_over(connection, to),
                Decision::Nudge { to, group } => {
                    // A full mailbox wakes its worker all the same.
                    let _ = self.office.post(to, Letter::Nudge(group));
                }
                Decision::Fail { exchange } => {
                    self.mishap(exchange, Mishap::NoServer, CloseReason::Refused);
                }
            }
        }
    }

    fn open(&mut self, connection: ConnectionId, server: ServerId) {
        match self.driver.connect(server, Party::Upstream(connection).owner()) {
            Ok(socket) => {
                self.upstreams.insert(connection, socket);
                self.upstreams.arm(connection, Progress::Connect, self.now);
            }
            Err(fault) => {
                self.bus.connect_failed(connection, failure(fault), self.now);
                self.bus.closed(connection);
            }
        }
    }

    pub(crate) fn upstream_connected(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        if upstream.ending.has_begun() {
            return;
        }
        let socket = upstream.socket;
        self.upstreams.disarm(id);
        // Where the server speaks first, its words wait for their client.
        if !self.bus.passes(id) {
            self.driver.arm(socket);
        }
        self.bus.connected(id, self.now);
    }

    pub(crate) fn connect_failed(&mut self, id: ConnectionId, fault: ConnectFault) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        if upstream.ending.has_begun() {
            return;
        }
        self.bus.connect_failed(id, failure(fault), self.now);
        self.close_upstream(id);
    }

    /// Ends a connection: after a whole response together with the server, else at once. The bus
    /// hears of it when the driver has closed it (law 9).
    pub(crate) fn close_upstream(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        let socket = upstream.socket;
        match upstream.ending {
            Ending::Closing => {}
            // What arrived behind the response is its end, or nothing worth waiting for; unless our last
            // word still is to be heard.
            Ending::Parting
                if self.driver.is_quiet_so_far(socket) || !self.driver.say_goodbye(socket) =>
            {
                upstream.ending = Ending::Parted;
                self.upstreams.arm(id, Progress::Parting, self.now);
                self.driver.wants_no_place(socket);
                self.driver.shutdown(socket);
                self.driver.arm(socket);
            }
            Ending::CutOff => self.reset_upstream(id),
            Ending::No | Ending::Parting | Ending::Parted => {
                upstream.ending = Ending::Closing;
                self.upstreams.disarm(id);
                self.driver.close(socket, &mut self.pool);
            }
        }
    }

    /// Ends a connection in a way that tells the server that something is missing.
    pub(crate) fn reset_upstream(&mut self, id: ConnectionId) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        if upstream.ending == Ending::Closing {
            return;
        }
        upstream.ending = Ending::Closing;
        let socket = upstream.socket;
        self.upstreams.disarm(id);
        self.driver.reset(socket, &mut self.pool);
    }

    pub(crate) fn upstream_closed(&mut self, id: ConnectionId) {
        let pinned = self.bus.pinned_here();
        self.upstreams.remove(id);
        self.bus.closed(id);
        if self.bus.pinned_here() < pinned {
            self.count_pinned();
            self.tell_of_places();
        }
    }

    /// Gives a complete request a connection and a promised output buffer (laws 4 and 5).
    fn begin_lease(&mut self, id: ExchangeId, connection: ConnectionId, fresh: bool) {
        let Some(upstream) = self.upstreams.get(connection) else { return };
        let socket = upstream.socket;
        if !fresh && !self.bus.passes(connection) && !self.driver.is_quiet(socket) {
            // The server closed it, or spoke unasked, while it was idle.
            self.witness(Event::LeaseStale, id);
            self.bus.stale(connection, id);
            return;
        }
        self.witness(Event::LeaseGranted, id);
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let retries = u32::from(exchange.facts.retries);
        let kept = self.bus.may_need_again(exchange.group, fresh, retries);
        let promise = self.pool.promise(Rank::Upstream);
        debug_assert!(promise.is_some(), "a lease is decided only when a buffer is grantable");
        exchange.lease_begins(
            Lease {
                connection,
                fresh,
                kept,
                begun: false,
                reusable: false,
                pinned: false,
                since: self.now,
                promise,
            },
            &self.pool,
        );
        let client = exchange.client;
        self.clients.disarm(client);
        if let Some(upstream) = self.upstreams.get(connection) {
            upstream.user = Some(User::Exchange(id));
            upstream.ending = Ending::No;
            upstream.stalled = false;
        }
        if self.bus.passes(connection) {
            return self.pass_through(id);
        }
        self.upstreams.arm(connection, Progress::Response, self.now);
        self.note_phase(id);
        if fresh && !self.introduce(connection, client, true) {
            return self.upstream_broke(connection);
        }
        self.advise_upload(id);
        self.write_request(id);
    }

    /// Writes the request as far as the server takes it.
    pub(crate) fn write_request(&mut self, id: ExchangeId) {
        loop {
            let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
            let unsent = match exchange.next_unsent(&self.pool) {
                Next::Bytes(unsent) => unsent,
                Next::Spooled => return self.read_back(id),
                Next::Nothing => return self.await_upload(id),
            };
            let Some(connection) = exchange.lease().map(|lease| lease.connection) else { return };
            let Some(upstream) = self.upstreams.get(connection) else { return };
            let socket = upstream.socket;
            match self.driver.send(socket, &mut self.pool, &unsent, false) {
                Sent::Now(bytes) => {
                    let written = exchange.request_written(bytes, &mut self.pool);
                    self.settle_front(id);
                    if written {
                        self.upstreams.arm(connection, Progress::FirstByte, self.now);
                        self.note_phase(id);
                        self.driver.arm(socket);
                        return;
                    }
                }
                Sent::Later => {
                    upstream.sending = true;
                    // Over TLS the server may have a part of what is not counted yet.
                    if self.driver.has_encrypted(socket)
                        && let Some(lease) = exchange.lease_mut()
                    {
                        lease.begun = true;
                    }
                    // The server may answer before it has taken everything.
                    self.driver.arm(socket);
                    // Of a streamed body that is whole by now it had no deadline so far.
                    self.upstreams.arm_anew(connection, Progress::Response, self.now);
                    return self.await_upload(id);
                }
                // It may have answered before it broke.
                Sent::Failed(_) => return self.receive_response(id),
            }
        }
    }

    /// The server's transport took some of what it was sent.
    pub(crate) fn upstream_took(&mut self, id: ConnectionId, bytes: u32) {
        let Some(upstream) = self.upstreams.get(id) else { return };
        upstream.sending = false;
        if upstream.ending == Ending::Parted {
            return self.has_parted(id);
        }
        if let Some(User::Tunnel(tunnel)) = upstream.user {
            return self.tunnel_took(tunnel, Way::Up, bytes);
        }
        let (Some(exchange), false) = (upstream.exchange(), upstream.ending.has_begun()) else {
            return;
        };
        let stalled = upstream.stalled;
        if !stalled {
            let progress = self.awaits_of(exchange);
            self.upstreams.arm(id, progress, self.now);
        }
        let Some(record) = self.exchanges.get_mut(exchange.0) else { return };
        let written = bytes > 0 && record.request_written(bytes, &mut self.pool);
        self.settle_front(exchange);
        if written {
            self.upstreams.arm(id, Progress::FirstByte, self.now);
            self.note_phase(exchange);
            return;
        }
        self.write_request(exchange);
    }

    /// The exchange needs the connection no more: the response is whole, or never will be.
    /// `reusable` tells whether the connection may carry another exchange.
    pub(crate) fn end_lease(&mut self, lease: &Lease, whole: bool, reusable: bool) {
        if !lease.pinned && !self.bus.passes(lease.connection) {
            self.counters.upstream_seconds.observe(self.now.since(lease.since));
        }
        let Some(upstream) = self.upstreams.get(lease.connection) else { return };
        upstream.user = None;
        let socket = upstream.socket;
        // Of a request given up before a byte of it was written the server knows nothing: its connection
        // is as idle as it was.
        let untouched = !lease.fresh && !lease.begun && self.driver.is_quiet(socket);
        let (whole, reusable) = (whole || untouched, reusable || untouched);
        let reusable = reusable && !upstream.sending && !upstream.outdated;
        // Of a request that stops in the middle nothing more comes; what is encrypted still does, and may
        // be all of it.
        if whole && (!upstream.sending || self.driver.has_encrypted(socket)) {
            upstream.ending = Ending::Parting;
        }
        self.upstreams.disarm(lease.connection);
        let reusable = if lease.pinned {
            self.unpin(lease.connection, reusable)
        } else {
            self.bus.release(lease.connection, reusable, self.now);
            reusable
        };
        if reusable {
            self.driver.arm(socket);
        }
    }

    /// An exchange is given up: if the server has but a part of its request, it is told.
    pub(crate) fn cut_off(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        if exchange.phase() == Some(Phase::Leased)
            && let Some(lease) = exchange.lease()
            && lease.begun
            && let Some(upstream) = self.upstreams.get(lease.connection)
        {
            upstream.ending = Ending::CutOff;
        }
    }

    fn hand_over(&mut self, id: ConnectionId, to: WorkerId) {
        self.witness_upstream(Event::HandedOver, id);
        let Some(upstream) = self.upstreams.get(id) else { return };
        let socket = upstream.socket;
        if !self.driver.is_quiet(socket) || self.driver.keeps_parts(socket) {
            // It ended, or spoke unasked: who gets it would not know before a request is under way. Or it
            // has not said all it had to, and another worker has no memory set aside for that.
            return self.bus.lost(id, self.now);
        }
        let Some(transport) = self.driver.detach(socket, &mut self.pool) else {
            // It ended in the meantime.
            self.bus.lost(id, self.now);
            return;
        };
        self.upstreams.remove(id);
        let Some(travelling) = self.bus.hand_over(id) else {
            debug_assert!(false, "the bus has just let it go");
            return;
        };
        let letter = Letter::Carried { travelling, transport };
        if let Err(Letter::Carried { travelling, transport }) = self.office.post(to, letter) {
            // The mailbox is full: close first, then let the permit go, then tell of it.
            let group = self.bus.group_of(travelling.server());
            drop(transport);
            drop(travelling);
            let _ = self.office.post(to, Letter::Nudge(group));
        }
    }

    /// An idle connection arrived from another worker.
    pub(crate) fn take_over(
        &mut self,
        travelling: bus::Travelling,
        transport: Carried<D::Detached>,
    ) {
        let ending = if travelling.was_used() { Ending::Parting } else { Ending::No };
        match self.bus.adopt(travelling, self.now) {
            Err(travelling) => {
                drop(transport);
                drop(travelling);
            }
            Ok(id) => {
                if let Ok(socket) = self.driver.attach(transport, Party::Upstream(id).owner()) {
                    self.upstreams.insert(id, socket);
                    if let Some(upstream) = self.upstreams.get(id) {
                        upstream.ending = ending;
                    }
                    if !self.bus.passes(id) {
                        self.driver.arm(socket);
                    }
                    self.drop_if_outdated(id);
                } else {
                    self.bus.closed(id);
                }
            }
        }
    }
}

const fn failure(fault: ConnectFault) -> Failure {
    match fault {
        ConnectFault::Refused => Failure::Refused,
        ConnectFault::Busy => Failure::Busy,
        ConnectFault::Exhausted => Failure::Exhausted,
        ConnectFault::TimedOut => Failure::TimedOut,
    }
}
