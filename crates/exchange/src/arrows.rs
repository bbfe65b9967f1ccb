//! The arrows of an exchange's life: each is one function that consumes a state.
//!
//! ```text
//! Arriving → Collecting → Ready → Leased → Pending → Draining → Delivering → Over
//!  ↕  └──────────────────────┘      └─ goes_again ─→ Ready   (answers_itself → Delivering)
//! Authorizing                                   └─ switches ─→ a tunnel
//! ```

use core::mem;

use base::id::{ClientId, GroupId, ListenerId};
use base::time::Instant;
use pool::{Chain, Pool, Promise};
use wire::http1::HeadScanner;

use crate::facts::{Facts, Then};
use crate::request_id::RequestId;
use crate::spooled::Next;
use crate::state::{Exchange, Lease, Pace, Reply, RequestBody, ResponseBody, State};
use crate::tunnel::Tunnel;

impl Exchange {
    /// The first byte of a request is there (the invention's step from "idle" to a connection
    /// state): `input` is empty, or holds what a pipelining client sent early.
    pub fn begin(
        client: ClientId,
        listener: ListenerId,
        group: GroupId,
        began: Instant,
        input: Chain,
    ) -> Self {
        Self {
            client,
            listener,
            group,
            began,
            facts: Facts::default(),
            then: Then::default(),
            newcomer: false,
            request_id: RequestId::NONE,
            sending: false,
            rest: Chain::new(),
            granted: None,
            pace: Pace { since: began, bytes: 0 },
            upload: None,
            state: State::Arriving { input, scanner: HeadScanner::request(), end: None },
            spooled: None,
            counted: None,
        }
    }

    /// The head is complete, and it is asked whether the client may. `bodiless`: the request is whole
    /// with it.
    pub fn awaits_verdict(&mut self, bodiless: bool) {
        self.state = match mem::replace(&mut self.state, State::Over) {
            State::Arriving { input, scanner, end: Some(end) } => {
                State::Authorizing { input, scanner, end, bodiless, question: 0 }
            }
            other => other,
        };
    }

    /// It may: the head is gone on with.
    pub fn is_let_in(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Over) {
            State::Authorizing { input, scanner, end, .. } => {
                State::Arriving { input, scanner, end: Some(end) }
            }
            other => other,
        };
    }

    /// The head is complete and the body is awaited.
    pub fn head_ends(&mut self, head: Chain, body: Chain, reader: RequestBody) {
        debug_assert!(matches!(self.state, State::Over | State::Arriving { .. }));
        self.state = State::Collecting { head, body, reader };
    }

    /// The request is complete, in canonical form; what is in the spool follows `request`.
    pub fn request_ends(&mut self, request: Chain) {
        debug_assert!(!request.is_empty() || self.spooled.is_some(), "a request has a head");
        self.state = State::Ready { request };
    }

    /// Whom the client is for is known, and nothing else needs to be: it waits for a server. `first`
    /// is what came of it, which may be nothing.
    pub fn passes_on(&mut self, first: Chain) {
        debug_assert!(matches!(self.state, State::Arriving { .. }));
        self.state = State::Ready { request: first };
    }

    /// A connection is leased: the request can be written. The lease says whether the request may
    /// go again as far as connections are concerned; it is kept if it may by its own nature, too.
    pub fn lease_begins(&mut self, mut lease: Lease, pool: &Pool) {
        let State::Ready { request } = mem::replace(&mut self.state, State::Over) else {
            unreachable!("only a complete request is given a lease");
        };
        lease.kept &= self.facts.may_go_again() && self.upload.is_none();
        if let Some(spooled) = &mut self.spooled {
            spooled.reel.keep(lease.kept);
        }
        let unsent = pool.cursor(&request);
        self.state = State::Leased { lease, request, unsent, reply: Reply::new() };
    }

    /// The server's transport accepted `bytes` of the request; buffers that need not be kept go
    /// back at once. Returns whether that was all, and all has come: then the response's head is
    /// awaited.
    pub fn request_written(&mut self, bytes: u32, pool: &mut Pool) -> bool {
        let State::Leased { lease, request, unsent, .. } = &mut self.state else {
            return false;
        };
        lease.begun = true;
        let head = if lease.kept { unsent.left() } else { request.len() };
        if head > 0 {
            if lease.kept {
                pool.advance(unsent, bytes);
            } else if let Some(upload) = &mut self.upload {
                upload.consume(request, bytes, pool);
            } else {
                pool.consume(request, bytes);
            }
        } else {
            self.consume_front(bytes, pool);
        }
        if self.next_unsent(pool) != Next::Nothing || self.upload.is_some() {
            return false;
        }
        if let State::Leased { lease, request, reply, .. } =
            mem::replace(&mut self.state, State::Over)
        {
            self.state = State::Pending { lease, request, reply };
        }
        true
    }

    /// Whether the request, whose connection was closed, may go again: not a byte of a response
    /// came, and it is kept because it is idempotent, or not a byte of it was written.
    pub const fn can_go_again(&self) -> bool {
        match &self.state {
            State::Leased { reply, .. } | State::Pending { reply, .. } if reply.has_begun() => {
                false
            }
            State::Leased { lease, .. } => lease.kept || !lease.begun,
            State::Pending { lease, .. } => lease.kept,
            _ => false,
        }
    }

    /// The request goes back to the ready queue, to go once more on a fresh connection. Returns
    /// the lease that ended.
    ///
    /// Call it only if [`can_go_again`](Self::can_go_again).
    pub fn goes_again(&mut self, pool: &mut Pool) -> Option<Lease> {
        let (mut lease, request, reply) = match mem::replace(&mut self.state, State::Over) {
            State::Leased { lease, request, reply, .. }
            | State::Pending { lease, request, reply } => (lease, request, reply),
            other => {
                self.state = other;
                return None;
            }
        };
        // Nothing of a response came: no interim one either.
        pool.release(reply.input);
        pool.release(reply.early);
        settle(&mut lease.promise, pool);
        if let Some(spooled) = &mut self.spooled {
            spooled.rewind(pool);
        }
        self.facts.retries = self.facts.retries.saturating_add(1);
        self.state = State::Ready { request };
        Some(lease)
    }

    /// Puts back a request whose lease turned out to be stale before a byte was written; it
    /// does not count as going again. Returns the lease that ended.
    pub fn lease_was_stale(&mut self, pool: &mut Pool) -> Option<Lease> {
        let retries = self.facts.retries;
        let lease = self.goes_again(pool);
        self.facts.retries = retries;
        lease
    }

    /// The response's head was read: a request still kept can go, and the body is drained.
    pub fn response_begins(&mut self, output: Chain, reader: ResponseBody, pool: &mut Pool) {
        let (lease, request, reply) = match mem::replace(&mut self.state, State::Over) {
            State::Leased { lease, request, reply, .. }
            | State::Pending { lease, request, reply } => (lease, request, reply),
            other => {
                self.state = other;
                pool.release(output);
                return;
            }
        };
        pool.release(request);
        pool.release(reply.input);
        // An early one: the rest of the body is nobody's any more.
        self.stop_upload(pool);
        // Interim responses that the client has not yet taken come first.
        let mut early = reply.early;
        pool.join(&mut early, output);
        self.state = State::Draining { lease, output: early, reader };
    }

    /// The response was read to its end: the lease ends, the client is served at its own pace
    /// from now on.
    pub fn response_ends(&mut self, pool: &mut Pool) -> Option<Lease> {
        match mem::replace(&mut self.state, State::Over) {
            State::Draining { mut lease, mut output, reader } => {
                // What came last may be framing alone, where what came before is in the spool.
                let unread = output.len();
                if unread == 0 {
                    pool.clear(&mut output);
                }
                release_staged(reader, pool);
                settle(&mut lease.promise, pool);
                self.state = State::Delivering { output };
                Some(lease)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Both sides go on in a protocol of their own: what came of the client behind its request
    /// goes up, and what came of the server, its 101 first, goes down. The exchange is over, and
    /// the tunnel owns what is under way. `None`, and nothing changes, without a lease.
    pub fn switches(&mut self, pool: &mut Pool) -> Option<(Lease, Tunnel)> {
        let (mut lease, up, reply) = match mem::replace(&mut self.state, State::Over) {
            // Nothing is said in a protocol that we know: what came of the client is for the server.
            State::Leased { lease, request, reply, .. } => (lease, request, reply),
            State::Pending { lease, request, reply } => {
                pool.release(request);
                (lease, self.rest.take(), reply)
            }
            other => {
                self.state = other;
                return None;
            }
        };
        settle(&mut lease.promise, pool);
        settle(&mut self.granted, pool);
        let mut down = reply.early;
        pool.join(&mut down, reply.input);
        let mut tunnel = Tunnel::new(self.client, lease.connection, up, down);
        tunnel.down.sending = self.sending;
        Some((lease, tunnel))
    }

    /// The client's transport accepted `bytes` of the response; empty buffers go back at once.
    /// When the last one does while the response still comes, it is promised again.
    pub fn delivered(&mut self, bytes: u32, pool: &mut Pool) {
        let answers = matches!(self.state, State::Draining { .. } | State::Delivering { .. });
        if answers && self.consume_front(bytes, pool) {
            return;
        }
        match &mut self.state {
            State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. } => {
                lease.consume(&mut reply.early, bytes, pool);
            }
            State::Draining { lease, output, .. } => lease.consume(output, bytes, pool),
            State::Delivering { output } => pool.consume(output, bytes),
            _ => {}
        }
    }

    /// We answer instead of the server: everything else is given up. Returns the lease that
    /// ended with it; its connection must be closed.
    pub fn answers_itself(&mut self, output: Chain, pool: &mut Pool) -> Option<Lease> {
        let lease = self.give_up(pool);
        self.state = State::Delivering { output };
        lease
    }

    /// As [`give_up`](Self::give_up), but interim responses that the client has not taken stay, the
    /// first of them in part perhaps: an answer of our own stands behind them.
    pub fn give_up_but_hints(&mut self, pool: &mut Pool) -> Option<Lease> {
        let early = match &mut self.state {
            State::Leased { reply, .. } | State::Pending { reply, .. } => {
                mem::take(&mut reply.early)
            }
            _ => Chain::new(),
        };
        let lease = self.give_up(pool);
        if !early.is_empty() {
            self.state = State::Delivering { output: early };
        }
        lease
    }

    /// Gives up everything the exchange holds but `rest` and what is in the spool; it is over. Returns the lease that
    /// ended with it.
    pub fn give_up(&mut self, pool: &mut Pool) -> Option<Lease> {
        settle(&mut self.granted, pool);
        self.stop_upload(pool);
        let mut release = |chains: [Chain; 2]| chains.into_iter().for_each(|c| pool.release(c));
        let mut lease = match mem::replace(&mut self.state, State::Over) {
            State::Arriving { input, .. } | State::Authorizing { input, .. } => {
                release([input, Chain::new()]);
                None
            }
            State::Collecting { head, body, .. } => {
                release([head, body]);
                None
            }
            State::Ready { request } => {
                release([request, Chain::new()]);
                None
            }
            State::Leased { lease, request, reply, .. }
            | State::Pending { lease, request, reply } => {
                release([request, reply.input]);
                release([reply.early, Chain::new()]);
                Some(lease)
            }
            State::Draining { lease, output, reader } => {
                release([output, Chain::new()]);
                release_staged(reader, pool);
                Some(lease)
            }
            State::Delivering { output } => {
                release([output, Chain::new()]);
                None
            }
            State::Over => None,
        };
        if let Some(lease) = &mut lease {
            settle(&mut lease.promise, pool);
        }
        lease
    }
}

/// Gives back what was received of a body and not yet made part of the output.
fn release_staged(reader: ResponseBody, pool: &mut Pool) {
    if let ResponseBody::Recoded { staged, .. } = reader {
        pool.release(staged);
    }
}

/// Gives a promise back that is not needed any more.
pub(crate) fn settle(promise: &mut Option<Promise>, pool: &mut Pool) {
    if let Some(promise) = promise.take() {
        pool.forgive(promise);
    }
}
