//! What is kept of an exchange for its line in the access log: a small account beside its
//! record, and a note of its head. Without a log there is neither.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base::id::{ClientId, ExchangeId, ListenerId, ServerId, TunnelId};
use base::time::Instant;
use driver::Driver;
use exchange::{Exchange, Note, Phase, Pieces, Refusal, RequestId};
use tls::{Agreed, Failure};
use wire::http1::Fault;

use crate::access::{AccessRecord, AccessWriter, detail};
use crate::counters::CloseReason;
use crate::turn::Worker;

/// Bytes that each exchange record takes beside itself when there is an access log whose notes
/// have `line` bytes.
pub const fn account_bytes(line: u32) -> usize {
    size_of::<Account>() + line as usize
}

/// The status of a request whose client left before there was any other, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// The accounts of all exchanges, if there is an access log.
pub(crate) struct Ledger(Option<Books>);

struct Books {
    exchanges: Shelf,
    tunnels: Shelf,
    writer: AccessWriter,
}

/// The accounts of one kind of record.
struct Shelf {
    accounts: Vec<Account>,
    /// Their notes, one behind the other. Set aside zeroed, so that what is not used is not
    /// touched.
    notes: Box<[u8]>,
    line: usize,
}

impl Shelf {
    /// Room for so many accounts, with `line` bytes for each note.
    fn new(records: u32, line: usize) -> Self {
        let records = records as usize;
        Self {
            accounts: Vec::with_capacity(records),
            notes: vec![0; records * line].into_boxed_slice(),
            line,
        }
    }

    /// Begins an account.
    fn open(&mut self, index: usize, account: Account) {
        // Numbers are given from 0 on: the room set aside is filled as they are.
        while self.accounts.len() <= index && self.accounts.len() < self.accounts.capacity() {
            self.accounts.push(Account::default());
        }
        if let Some(place) = self.accounts.get_mut(index) {
            *place = account;
        }
    }

    fn account(&mut self, index: usize) -> Option<&mut Account> {
        self.accounts.get_mut(index)
    }

    fn note(&self, index: usize) -> &[u8] {
        let length = self.accounts.get(index).map_or(0, |account| account.pieces.len());
        self.notes.get(index * self.line..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }

    fn space(&mut self, index: usize) -> Option<(&mut [u8], &mut Pieces)> {
        let space = self.notes.get_mut(index * self.line..)?.get_mut(..self.line)?;
        Some((space, &mut self.accounts.get_mut(index)?.pieces))
    }
}

/// What is kept of one exchange.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Default)]
struct Account {
    pieces: Pieces,
    received: u64,
    sent: u64,
    /// When the present wait for a lease, or the present lease, began; of a tunnel, when its
    /// request's first byte came.
    since: Instant,
    queued: Duration,
    leased: Duration,
    server: Option<ServerId>,
    reused: bool,
    retries: u8,
    refusal: Option<Refusal>,
    fault: Option<Fault>,
    /// What ended its client's session.
    unsecured: Option<Failure>,
    closed: Option<CloseReason>,
    /// Its answer was taken whole.
    whole: bool,
    /// It is passed through: there is no status.
    passes: bool,
    /// Its client has begun a record (TLS), whether a byte of the request came out of it or not.
    begun: bool,
    /// Of a tunnel, the status it began with.
    tunnel: u16,
    /// Of a tunnel, by what name logs know its request.
    request_id: RequestId,
    /// Of a tunnel, whom it is from, if a trusted proxy said so.
    client: Option<IpAddr>,
}

impl Account {
    /// Ends the wait or the lease of the phase that is left.
    fn leave(&mut self, phase: Option<Phase>, now: Instant) {
        match phase {
            Some(Phase::Ready) => self.queued += now.since(self.since),
            Some(phase) if phase.holds_lease() => self.leased += now.since(self.since),
            _ => {}
        }
        self.since = now;
    }

    /// The status that is told, where `answered` is that of the answer.
    fn status(&self, answered: u16) -> u16 {
        match (answered, self.closed) {
            (0, _) if self.passes => 0,
            (0, Some(CloseReason::Aborted | CloseReason::Client)) => CLIENT_LEFT,
            // There was no buffer for an answer: the client got the one that needs none.
            (0, None) if self.refusal.is_some() => Refusal::Crowded.status(),
            _ => answered,
        }
    }
}

impl Ledger {
    /// No access log.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    fn account(&mut self, id: ExchangeId) -> Option<&mut Account> {
        self.0.as_mut()?.exchanges.account(id.index())
    }

    fn tunnel(&mut self, id: TunnelId) -> Option<&mut Account> {
        self.0.as_mut()?.tunnels.account(id.index())
    }

    /// An exchange begins, with `early` bytes that came before.
    /// `passes`: its listener passes connections through, so that it has a line even if nothing
    /// came.
    pub(crate) fn open(&mut self, id: ExchangeId, early: u32, passes: bool) {
        let Some(books) = &mut self.0 else { return };
        let account = Account { received: u64::from(early), passes, ..Account::default() };
        books.exchanges.open(id.index(), account);
    }

    /// Where the exchange's head is noted.
    pub(crate) fn note(&mut self, id: ExchangeId) -> Option<Note<'_>> {
        let (space, pieces) = self.0.as_mut()?.exchanges.space(id.index())?;
        Some(Note::new(space, pieces))
    }

    /// A part of the first record came.
    pub(crate) fn begun(&mut self, id: ExchangeId) {
        if let Some(account) = self.account(id) {
            account.begun = true;
        }
    }

    /// Bytes came from the client.
    pub(crate) fn received(&mut self, id: ExchangeId, bytes: u32) {
        if let Some(account) = self.account(id) {
            account.received += u64::from(bytes);
        }
    }

    /// The client's transport took bytes.
    pub(crate) fn sent(&mut self, id: ExchangeId, bytes: u32) {
        if let Some(account) = self.account(id) {
            account.sent += u64::from(bytes);
        }
    }

    /// We answer.
    pub(crate) fn refused(&mut self, id: ExchangeId, refusal: Refusal, fault: Option<Fault>) {
        if let Some(account) = self.account(id) {
            (account.refusal, account.fault) = (Some(refusal), fault);
        }
    }

    /// The client's session failed, whether a byte of the request came out of it or not.
    pub(crate) fn unsecured(&mut self, id: ExchangeId, failure: Failure) {
        if let Some(account) = self.account(id) {
            account.begun = true;
            account.unsecured = Some(failure);
        }
    }

    /// The exchange is given up.
    pub(crate) fn cut(&mut self, id: ExchangeId, reason: CloseReason) {
        if let Some(account) = self.account(id) {
            account.closed = Some(reason);
        }
    }

    /// Bytes came from the client of a tunnel.
    pub(crate) fn tunnel_received(&mut self, id: TunnelId, bytes: u32) {
        if let Some(account) = self.tunnel(id) {
            account.received += u64::from(bytes);
        }
    }

    /// The client of a tunnel was given bytes.
    pub(crate) fn tunnel_sent(&mut self, id: TunnelId, bytes: u32) {
        if let Some(account) = self.tunnel(id) {
            account.sent += u64::from(bytes);
        }
    }

    /// The answer was taken whole; `rest` bytes of what came are for the next exchange.
    pub(crate) fn served(&mut self, id: ExchangeId, rest: u32) {
        if let Some(account) = self.account(id) {
            account.received = account.received.saturating_sub(u64::from(rest));
            account.whole = true;
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Has a record written of each exchange, with `line` bytes for the note of its head. To be
    /// called before the worker runs.
    pub fn log_access(&mut self, writer: AccessWriter, line: u32) {
        let line = line as usize;
        self.ledger = Ledger(Some(Books {
            exchanges: Shelf::new(self.exchanges.capacity(), line),
            tunnels: Shelf::new(self.tunnels.capacity(), line),
            writer,
        }));
    }

    /// The exchange went from one phase to another.
    pub(crate) fn account_phase(&mut self, id: ExchangeId, old: Option<Phase>, new: Option<Phase>) {
        let Some(account) = self.ledger.account(id) else { return };
        let holds = |phase: Option<Phase>| phase.is_some_and(Phase::holds_lease);
        account.leave(old, self.now);
        if new == Some(Phase::Ready) && holds(old) {
            account.retries = account.retries.saturating_add(1);
        }
        if holds(new)
            && !holds(old)
            && let Some(lease) = self.exchanges.get(id.0).and_then(Exchange::lease)
        {
            account.server = self.bus.server_of(lease.connection);
            account.reused = !lease.fresh;
        }
    }

    /// The exchange is over: what is told of it goes out, unless not a byte of it ever came.
    pub(crate) fn account_end(&mut self, id: ExchangeId, exchange: &Exchange) {
        let Some(Books { exchanges, writer, .. }) = &mut self.ledger.0 else { return };
        let Some(account) = exchanges.account(id.index()) else { return };
        account.leave(exchange.counted, self.now);
        // A client that is passed through may say nothing and yet be given a server.
        let was_heard = account.begun || account.received > 0;
        if !was_heard && (!account.passes || exchange.counted == Some(Phase::Arriving)) {
            return;
        }
        let socket = self.clients.get(exchange.client).map(|client| client.socket);
        let end = End {
            wall: self.date.wall(),
            now: self.now,
            began: exchange.began,
            listener: exchange.listener,
            peer: self.clients.whom(exchange),
            tls: socket.and_then(|socket| self.driver.agreed(socket)),
            status: exchange.facts.status,
            request_id: exchange.request_id,
        };
        let account = *account;
        if !writer.write(&end.record(&account, exchanges.note(id.index()))) {
            self.counters.access_dropped.increment();
        }
    }

    /// A connection was turned away before it was a client's.
    pub(crate) fn account_turned_back(
        &mut self,
        listener: ListenerId,
        peer: Option<IpAddr>,
        reason: CloseReason,
    ) {
        let account = Account { passes: true, closed: Some(reason), ..Account::default() };
        self.account_nothing(listener, peer, &account);
    }

    /// A client's handshake failed.
    pub(crate) fn account_unsecured(&mut self, id: ClientId, failure: Failure) {
        let Some(client) = self.clients.get(id) else { return };
        let (listener, peer) = (client.listener(), client.peer());
        let closed = Some(CloseReason::Tls);
        let unsecured = Some(failure);
        let account = Account { passes: true, closed, unsecured, ..Account::default() };
        self.account_nothing(listener, peer, &account);
    }

    /// A line of somebody who never asked.
    fn account_nothing(&mut self, listener: ListenerId, peer: Option<IpAddr>, account: &Account) {
        let Some(Books { writer, .. }) = &mut self.ledger.0 else { return };
        let end = End {
            wall: self.date.wall(),
            now: self.now,
            began: self.now,
            listener,
            peer,
            tls: None,
            status: 0,
            request_id: RequestId::default(),
        };
        if !writer.write(&end.record(account, &[])) {
            self.counters.access_dropped.increment();
        }
    }

    /// The exchange became a tunnel: its account goes on as that one's.
    pub(crate) fn account_tunnel(&mut self, id: ExchangeId, tunnel: TunnelId) {
        let Some(Books { exchanges, tunnels, .. }) = &mut self.ledger.0 else { return };
        let Some(exchange) = self.exchanges.get(id.0) else { return };
        let Some(account) = exchanges.account(id.index()) else { return };
        account.leave(exchange.counted, self.now);
        account.since = exchange.began;
        account.request_id = exchange.request_id;
        account.tunnel = exchange.facts.status;
        account.client = exchange.facts.client;
        tunnels.open(tunnel.index(), *account);
        let note = exchanges.note(id.index());
        if let Some((space, _)) = tunnels.space(tunnel.index())
            && let Some(place) = space.get_mut(..note.len())
        {
            place.copy_from_slice(note);
        }
        // Of the exchange nothing is told.
        exchanges.open(id.index(), Account::default());
    }

    /// The tunnel is over.
    pub(crate) fn account_tunnel_end(
        &mut self,
        id: TunnelId,
        client: ClientId,
        reason: CloseReason,
    ) {
        let Some(Books { tunnels, writer, .. }) = &mut self.ledger.0 else { return };
        let Some(account) = tunnels.account(id.index()) else { return };
        account.closed = Some(reason);
        account.whole = reason == CloseReason::Done;
        let account = *account;
        let Some(client) = self.clients.get(client) else { return };
        let end = End {
            wall: self.date.wall(),
            now: self.now,
            began: account.since,
            listener: client.listener(),
            peer: account.client.or_else(|| client.peer()),
            tls: self.driver.agreed(client.socket),
            status: account.tunnel,
            request_id: account.request_id,
        };
        if !writer.write(&end.record(&account, tunnels.note(id.index()))) {
            self.counters.access_dropped.increment();
        }
    }
}

/// What is known at the end, beside the account.
struct End {
    wall: SystemTime,
    now: Instant,
    began: Instant,
    listener: ListenerId,
    peer: Option<IpAddr>,
    tls: Option<Agreed>,
    status: u16,
    request_id: RequestId,
}

impl End {
    fn record<'r>(&'r self, account: &Account, text: &'r [u8]) -> AccessRecord<'r> {
        AccessRecord {
            time: self.wall,
            listener: self.listener,
            peer: self.peer,
            tls: self.tls,
            status: account.status(self.status),
            received: account.received,
            sent: account.sent,
            request_time: self.now.since(self.began),
            queue_time: account.queued,
            upstream_time: account.leased,
            server: account.server,
            reused: account.reused,
            retries: account.retries,
            refusal: account.refusal,
            closed: account.closed.filter(|_| !account.whole),
            request_id: self.request_id.get().unwrap_or_default(),
            detail: detail(account.fault, account.unsecured),
            pieces: account.pieces,
            text,
        }
    }
}
