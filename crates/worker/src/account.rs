//! What is kept of an exchange for its line in the access log: a small account beside its
//! record, and a note of its head. Without a log there is neither.

use std::time::Duration;

use base::id::{ExchangeId, ServerId};
use base::time::Instant;
use driver::Driver;
use exchange::{Exchange, Note, Phase, Pieces, Refusal};
use wire::http1::Fault;

use crate::access::{AccessRecord, AccessWriter, detail};
use crate::client::Client;
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
    accounts: Vec<Account>,
    /// The notes of all exchanges, one behind the other. Set aside zeroed, so that what is not
    /// used is not touched.
    notes: Box<[u8]>,
    line: usize,
    writer: AccessWriter,
}

/// What is kept of one exchange.
#[derive(Clone, Copy, Default)]
struct Account {
    pieces: Pieces,
    received: u64,
    sent: u64,
    /// When the present wait for a lease, or the present lease, began.
    since: Instant,
    queued: Duration,
    leased: Duration,
    server: Option<ServerId>,
    reused: bool,
    retries: u8,
    refusal: Option<Refusal>,
    fault: Option<Fault>,
    closed: Option<CloseReason>,
    /// Its answer was taken whole.
    whole: bool,
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
        self.0.as_mut()?.accounts.get_mut(id.index())
    }

    /// An exchange begins, with `early` bytes that came before.
    pub(crate) fn open(&mut self, id: ExchangeId, early: u32) {
        let Some(books) = &mut self.0 else { return };
        // Numbers are given from 0 on: the room set aside is filled as they are.
        while books.accounts.len() <= id.index() && books.accounts.len() < books.accounts.capacity()
        {
            books.accounts.push(Account::default());
        }
        if let Some(account) = books.accounts.get_mut(id.index()) {
            *account = Account { received: u64::from(early), ..Account::default() };
        }
    }

    /// Where the exchange's head is noted.
    pub(crate) fn note(&mut self, id: ExchangeId) -> Option<Note<'_>> {
        let books = self.0.as_mut()?;
        let account = books.accounts.get_mut(id.index())?;
        let space = books.notes.get_mut(id.index() * books.line..)?.get_mut(..books.line)?;
        Some(Note::new(space, &mut account.pieces))
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

    /// The exchange is given up.
    pub(crate) fn cut(&mut self, id: ExchangeId, reason: CloseReason) {
        if let Some(account) = self.account(id) {
            account.closed = Some(reason);
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
        let (records, line) = (self.exchanges.capacity() as usize, line as usize);
        self.ledger = Ledger(Some(Books {
            accounts: Vec::with_capacity(records),
            notes: vec![0; records * line].into_boxed_slice(),
            line,
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
        let Some(books) = &mut self.ledger.0 else { return };
        let Some(account) = books.accounts.get_mut(id.index()) else { return };
        account.leave(exchange.counted, self.now);
        if account.received == 0 {
            return;
        }
        let text = books.notes.get(id.index() * books.line..).unwrap_or_default();
        let record = AccessRecord {
            time: self.date.wall(),
            listener: exchange.listener,
            peer: self.clients.get(exchange.client).and_then(Client::peer),
            status: account.status(exchange.facts.status),
            received: account.received,
            sent: account.sent,
            request_time: self.now.since(exchange.began),
            queue_time: account.queued,
            upstream_time: account.leased,
            server: account.server,
            reused: account.reused,
            retries: account.retries,
            refusal: account.refusal,
            closed: account.closed.filter(|_| !account.whole),
            request_id: exchange.request_id.get().unwrap_or_default(),
            detail: detail(account.fault),
            pieces: account.pieces,
            text: text.get(..account.pieces.len()).unwrap_or_default(),
        };
        if !books.writer.write(&record) {
            self.counters.access_dropped.increment();
        }
    }
}
