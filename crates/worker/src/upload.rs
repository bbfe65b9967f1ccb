//! A body that the server is shown as it arrives (`request = "stream"`): from the client's pace
//! to the server's, with a bounded window between them.

use base::id::ExchangeId;
use driver::{Driver, Received};
use exchange::{Collected, Exchange, Mishap, Phase, Proxy, RequestBody, Room, Upload};
use pool::{Chain, Fill, Pool, Rank};

use crate::client::Patience;
use crate::counters::CloseReason;
use crate::orders::Life;
use crate::turn::Worker;
use crate::upstream::Progress;

impl<D: Driver> Worker<D> {
    /// Receives what is there of a body that is streamed.
    pub(crate) fn receive_upload(&mut self, id: ExchangeId) {
        let window = self.response_memory;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let client = exchange.client;
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        let Some((chain, upload)) = exchange.upload_chain() else { return };
        let fill = upload_fill(chain, upload, window, &self.pool);
        match self.driver.receive(socket, &mut self.pool, chain, fill, &mut upload.promise) {
            Received::Bytes(bytes) => {
                self.counters.client_bytes_in.add(u64::from(bytes));
                self.ledger.received(id, bytes);
                self.driver.progress(socket, bytes);
                self.upload_grew(id, bytes);
            }
            Received::Nothing => {
                let came = self.driver.progress(socket, 0);
                self.body_goes_on(client, came);
                self.driver.arm(socket);
            }
            // What came before stands in buffers that the server empties: then it goes on.
            Received::NoBuffer => {}
            Received::Ended => self.mishap(id, Mishap::ClientLeft, CloseReason::Aborted),
            Received::Failed(_) => self.client_broke(client),
        }
    }

    /// Shows the proxy what came of the body, and the server what the proxy lets pass.
    fn upload_grew(&mut self, id: ExchangeId, fresh: u32) {
        let draining = self.life != Life::Serving;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let client = exchange.client;
        let Some(record) = self.clients.get(client) else { return };
        let socket = record.socket;
        let mut room = Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules: &self.rules[exchange.listener.index()],
            rank: Rank::Client,
            peer: record.peer(),
            tls: None,
            date: self.date.text(),
            draining,
            request_ids: &mut self.request_ids,
            admission: None,
            note: None,
        };
        match self.proxy.collect(exchange, fresh, &mut room) {
            Collected::Incomplete { .. } => self.pass_on(id),
            Collected::Complete => {
                self.driver.disarm(socket);
                if exchange.phase() == Some(Phase::Leased) && !exchange.sending {
                    self.clients.disarm(client);
                }
                self.count_trailers(id);
                self.pass_on(id);
            }
            Collected::Refused(refusal, fault) => self.refuse(id, refusal, fault),
            Collected::Starved | Collected::Asks(_) | Collected::Answered | Collected::Spool => {
                debug_assert!(false, "a streamed body goes on, or is refused");
            }
        }
    }

    /// Writes to the server what came, unless it is still busy with what came before.
    fn pass_on(&mut self, id: ExchangeId) {
        let lease = self.exchanges.get(id.0).and_then(Exchange::lease);
        let upstream = lease.map(|lease| lease.connection);
        let upstream = upstream.and_then(|connection| self.upstreams.get(connection));
        match upstream.map(|upstream| upstream.sending) {
            Some(false) => self.write_request(id),
            _ => self.await_upload(id),
        }
    }

    /// A lease begins: a client that waits to be told sends its body now.
    pub(crate) fn advise_upload(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let Some(upload) = &mut exchange.upload else { return };
        if std::mem::take(&mut upload.expects) {
            self.advise(id);
        }
    }

    /// Asks for more of a body that is streamed, unless the server is behind by too much; and
    /// sets the deadline of whom the other one waits for.
    pub(crate) fn await_upload(&mut self, id: ExchangeId) {
        let window = self.response_memory;
        let Some(exchange) = self.exchanges.get_mut(id.0).filter(|exchange| exchange.uploads())
        else {
            return;
        };
        let (client, delivering) = (exchange.client, exchange.sending);
        let connection = exchange.lease().map(|lease| lease.connection);
        let behind = exchange.upload_chain().map_or(0, |(chain, _)| chain.len());
        if behind < window
            && let Some(record) = self.clients.get(client)
        {
            let socket = record.socket;
            self.driver.arm(socket);
        }
        let Some(connection) = connection else { return };
        let Some(upstream) = self.upstreams.get(connection) else { return };
        let socket = upstream.socket;
        // It may answer early.
        self.driver.arm(socket);
        if behind > 0 {
            // What still arrives is no progress of the server's.
            self.upstreams.arm_anew(connection, Progress::Response, self.now);
        } else {
            self.upstreams.disarm(connection);
        }
        match (delivering, behind) {
            // Hints are on their way to the client: they have a deadline of their own.
            (true, _) => {}
            (false, 0) => self.clients.arm(client, Patience::Body, self.now),
            (false, _) => self.clients.disarm(client),
        }
    }

    /// The response has begun: what is still to come of the body is not read.
    pub(crate) fn stop_upload(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id.0).filter(|it| it.upload.is_some()) else {
            return;
        };
        let client = exchange.client;
        if !exchange.sending {
            // Hints that are on their way to it keep their deadline.
            self.clients.disarm(client);
        }
        if let Some(record) = self.clients.get(client) {
            let socket = record.socket;
            self.driver.disarm(socket);
        }
    }
}

/// How much a receive may take: what the body still needs, within the window.
fn upload_fill(chain: &Chain, upload: &Upload, window: u32, pool: &Pool) -> Fill {
    let window = u64::from(window.saturating_sub(chain.len()));
    let wanted = match upload.reader {
        RequestBody::Length(left) => left.min(window),
        _ => window,
    };
    let fresh = exchange::fresh_for(pool, chain, wanted);
    // While the last buffer has room, a slow client needs no other.
    let fresh = if pool.room(chain) > 0 { fresh } else { fresh.max(1) };
    Fill { fresh, rank: Rank::Client, headroom: 0 }
}
