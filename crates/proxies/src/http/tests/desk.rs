//! The worker's hands: it receives, waits for buffers, leases, writes and delivers exactly as
//! the worker does, and can run the pool short at any step.

use core::net::{IpAddr, Ipv4Addr};
use std::vec::Vec;

use base::id::{ClientId, ConnectionId, GroupId, ListenerId};
use base::time::Instant;
use exchange::{
    Admission, Collected, ErrorPages, Exchange, Grant, Granted, Lease, Next, Note, Pieces, Proxy,
    Refusal, RequestIds, Responded, Room, Rules, Scratch, TlsFacts,
};
use pool::{Chain, FillError, Pool, PoolConfig, Promise, Rank};
use wire::http1::Fault;

use super::super::Http;
use super::source::Source;

pub(super) const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
/// How the exchange under test is named in the pool's queues.
const TOKEN: u32 = 3;
/// How often a waiter may be granted a buffer that helps it nothing, before we call it spinning.
const VAIN_GRANTS: u32 = 3;

pub(super) struct Desk {
    pub(super) pool: Pool,
    scratch: Scratch,
    request_ids: RequestIds,
    /// What was noted for the access log.
    pub(super) noted: ([u8; 512], Pieces),
    pub(super) rules: Rules,
    pub(super) draining: bool,
    /// What those who decide have said.
    pub(super) admission: Option<Known>,
    /// How the client's connection is secured.
    pub(super) tls: Option<TlsFacts<'static>>,
    /// The buffers that others hold while the pool is short.
    hoard: Vec<Chain>,
    /// At which steps the pool is run short, by bit; the pattern repeats.
    pub(super) shortage: u64,
    step: u32,
    /// How often a proxy or a receive had to wait.
    pub(super) waits: u32,
    /// How often the client was told to go on.
    pub(super) advised: u32,
}

/// One question that was answered.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) question: Vec<u8>,
    pub(super) grant: Grant,
    pub(super) told: &'static [u8],
}

impl Admission for Known {
    fn granted(&self, question: &[u8]) -> Option<Granted<'_>> {
        (self.question == question).then(|| self.grant.known())
    }

    fn told(&self) -> &[u8] {
        self.told
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Complete,
    /// It is to be asked whether it may be served.
    Asks(u32),
    /// We were its final recipient.
    Answered,
    Refused(Refusal, Option<Fault>),
    /// The source ran dry before the request was complete.
    Hungry,
    /// The pool is too small for it.
    NoRoom,
}

/// What became of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) delivered: Vec<u8>,
    pub(super) end: Responded,
}

impl Desk {
    pub(super) fn new(buffers: u32, buffer_bytes: u32) -> Self {
        Self {
            pool: Pool::new(PoolConfig { buffers, buffer_bytes, waiters: 8 }).unwrap(),
            scratch: Scratch::new(),
            rules: Rules {
                max_head: 32 << 10,
                max_target: 8 << 10,
                max_body: 256 << 10,
                stream: None,
                default_host: "fallback".into(),
                upstream_persistent: true,
                request_ids: false,
                upgrade: true,
                passing: None,
                own_fields: "".into(),
                subject_field: None,
                trusted: None,
                error_pages: ErrorPages::default(),
                authorization: None,
                challenges: None,
            },
            request_ids: RequestIds::new(7),
            noted: ([0; 512], Pieces::default()),
            draining: false,
            admission: None,
            tls: None,
            hoard: Vec::new(),
            shortage: 0,
            step: 0,
            waits: 0,
            advised: 0,
        }
    }

    pub(super) fn roomy() -> Self {
        Self::new(512, 2048)
    }

    pub(super) fn begin(input: Chain) -> Exchange {
        Exchange::begin(ClientId(1), ListenerId(0), GroupId(0), Instant(0), input)
    }

    /// Gives back whatever the exchange holds; the pool must then be whole.
    pub(super) fn end(&mut self, mut exchange: Exchange) {
        let _ = exchange.give_up(&mut self.pool);
        self.pool.release(exchange.rest.take());
        self.relax();
        self.pool.assert_whole();
    }

    // The pool run short.

    /// Lends every buffer to others.
    pub(super) fn hoard_all(&mut self) {
        loop {
            let mut chain = Chain::new();
            if !self.pool.extend(&mut chain, Rank::Send, 0) {
                return;
            }
            self.hoard.push(chain);
        }
    }

    /// Lends every buffer but `spare` to others.
    pub(super) fn hoard_all_but(&mut self, spare: usize) {
        self.hoard_all();
        for chain in self.hoard.drain(..spare.min(self.hoard.len())) {
            self.pool.release(chain);
        }
    }

    /// The others give everything back.
    pub(super) fn relax(&mut self) {
        for chain in self.hoard.drain(..) {
            self.pool.release(chain);
        }
    }

    fn next_step(&mut self) {
        self.step += 1;
        if self.shortage.rotate_right(self.step) & 1 == 1 {
            self.hoard_all();
        }
    }

    /// Waits for a buffer; the others give theirs back one by one until it is granted. `None`
    /// when they have nothing more to give.
    fn grant(&mut self, rank: Rank) -> Option<Promise> {
        self.waits += 1;
        self.pool.wait(TOKEN, rank, Instant(0));
        loop {
            if let Some((token, promise)) = self.pool.next_granted() {
                assert_eq!(token, TOKEN);
                return Some(promise);
            }
            let Some(chain) = self.hoard.pop() else {
                self.pool.leave(TOKEN);
                return None;
            };
            self.pool.release(chain);
        }
    }

    /// Waits on behalf of a proxy that starved. `vain` counts grants for which nobody gave a
    /// buffer back: a worker that meets them would turn in a circle.
    fn grant_to_proxy(&mut self, rank: Rank, vain: &mut u32) -> bool {
        let hoarded = self.hoard.len();
        let Some(promise) = self.grant(rank) else { return false };
        self.pool.forgive(promise);
        *vain = if self.hoard.len() == hoarded { *vain + 1 } else { 0 };
        assert!(*vain <= VAIN_GRANTS, "granted again and again, to no avail");
        true
    }

    // The way of a request.

    /// Receives from `source` until the request is complete or refused.
    pub(super) fn take_request(&mut self, exchange: &mut Exchange, source: &mut Source) -> Came {
        let mut fresh = exchange.request_chain().map_or(0, |chain| chain.len());
        let mut early = fresh > 0;
        loop {
            if !std::mem::take(&mut early) {
                if source.is_dry() {
                    return Came::Hungry;
                }
                match self.receive_request(exchange, source) {
                    Some(bytes) => fresh = bytes,
                    None => return Came::NoRoom,
                }
            }
            match self.collect(exchange, fresh) {
                None => return Came::NoRoom,
                Some(Collected::Incomplete { advise }) => self.advised += u32::from(advise),
                Some(Collected::Complete) => return Came::Complete,
                Some(Collected::Answered) => return Came::Answered,
                Some(Collected::Asks(length)) => return Came::Asks(length),
                Some(Collected::Refused(refusal, fault)) => return Came::Refused(refusal, fault),
                Some(Collected::Starved) => unreachable!("collect waits"),
                Some(Collected::Spool) => unreachable!("nothing is in the spool"),
            }
        }
    }

    fn receive_request(&mut self, exchange: &mut Exchange, source: &mut Source) -> Option<u32> {
        self.next_step();
        loop {
            let fill = exchange.request_fill(&self.pool);
            let mut promise = exchange.granted.take();
            let chain = exchange.request_chain().unwrap();
            let received =
                self.pool.fill::<()>(chain, fill, &mut promise, |spaces| Ok(source.read(spaces)));
            if let Some(promise) = promise {
                self.pool.forgive(promise);
            }
            match received {
                Ok(bytes) => return Some(u32::try_from(bytes).unwrap()),
                Err(FillError::Receive(())) => unreachable!("a source does not fail"),
                Err(FillError::NoBuffer) => exchange.granted = Some(self.grant(fill.rank)?),
            }
        }
    }

    /// Shows the proxy what came, until it does not starve.
    pub(super) fn collect(&mut self, exchange: &mut Exchange, fresh: u32) -> Option<Collected> {
        self.next_step();
        let (mut fresh, mut rank, mut vain) = (fresh, Rank::Client, 0);
        loop {
            match Http.collect(exchange, fresh, &mut self.room(rank)) {
                Collected::Starved => {
                    assert!(exchange.awaits_room(), "the worker would receive instead");
                    if !self.grant_to_proxy(Rank::Client, &mut vain) {
                        return None;
                    }
                    (fresh, rank) = (0, Rank::Send);
                }
                other => return Some(other),
            }
        }
    }

    /// The question that was put.
    pub(super) fn question(&self, length: u32) -> &[u8] {
        &self.scratch.written[..length as usize]
    }

    pub(super) fn room(&mut self, rank: Rank) -> Room<'_> {
        Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules: &self.rules,
            rank,
            peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            tls: self.tls,
            date: DATE,
            draining: self.draining,
            request_ids: &mut self.request_ids,
            admission: self.admission.as_ref().map(|known| known as &dyn Admission),
            note: Some(Note::new(&mut self.noted.0, &mut self.noted.1)),
        }
    }

    // The lease.

    pub(super) fn begin_lease(&mut self, exchange: &mut Exchange, fresh: bool) {
        self.relax();
        let promise = self.pool.promise(Rank::Upstream);
        assert!(promise.is_some(), "a lease is decided only when a buffer is grantable");
        let lease = Lease {
            connection: ConnectionId(5),
            fresh,
            kept: !fresh,
            begun: false,
            reusable: false,
            pinned: false,
            since: Instant(0),
            promise,
        };
        exchange.lease_begins(lease, &self.pool);
    }

    /// The server takes up to `most` bytes; what it saw, and whether that was the last of it.
    pub(super) fn write_some(&mut self, exchange: &mut Exchange, most: usize) -> (Vec<u8>, bool) {
        let Next::Bytes(cursor) = exchange.next_unsent(&self.pool) else {
            panic!("all is written")
        };
        let mut seen = self.pool.view(&cursor).concat();
        seen.truncate(most);
        let done = exchange.request_written(u32::try_from(seen.len()).unwrap(), &mut self.pool);
        (seen, done)
    }

    /// The server takes all of the request, `most` bytes at a time.
    pub(super) fn write_all(&mut self, exchange: &mut Exchange, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let (seen, done) = self.write_some(exchange, most);
            all.extend(seen);
            if done {
                return all;
            }
        }
    }

    // The way of a response.

    /// Receives the response; the client takes up to `takes` bytes after each receive (0: as
    /// little as it can), and the rest in the end, unless the response is broken. `ends`: the server closes behind its bytes.
    pub(super) fn answer(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source,
        ends: bool,
        takes: u32,
    ) -> Answered {
        let mut delivered = Vec::new();
        let end = loop {
            let responded = if source.is_dry() {
                if !ends {
                    break Responded::Incomplete;
                }
                self.respond(exchange, None, &mut delivered)
            } else {
                let fresh = self.receive_response(exchange, source, &mut delivered);
                self.respond(exchange, Some(fresh), &mut delivered)
            };
            match responded {
                Responded::Incomplete => {
                    self.deliver(exchange, takes, &mut delivered);
                }
                other => break other,
            }
        };
        if matches!(end, Responded::Whole { .. }) {
            assert!(exchange.response_ends(&mut self.pool).is_some());
        }
        // As the worker gives a broken response up, nothing more of it is delivered.
        let broken = matches!(end, Responded::Broken(_));
        while !broken && self.deliver(exchange, 777, &mut delivered) > 0 {}
        Answered { delivered, end }
    }

    /// Receives what is there of the response while the client takes nothing; what it had taken
    /// all the same because the pool waited for it.
    pub(super) fn answer_slowly(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source,
    ) -> Vec<u8> {
        let mut delivered = Vec::new();
        while !source.is_dry() {
            let fresh = self.receive_response(exchange, source, &mut delivered);
            let responded = self.respond(exchange, Some(fresh), &mut delivered);
            assert_eq!(responded, Responded::Incomplete);
        }
        delivered
    }

    fn receive_response(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source,
        delivered: &mut Vec<u8>,
    ) -> u32 {
        self.next_step();
        loop {
            let fill = exchange.response_fill(&self.pool);
            let (_, chain, promise) = exchange.response_chain().unwrap();
            match self.pool.fill::<()>(chain, fill, promise, |spaces| Ok(source.read(spaces))) {
                Ok(bytes) => return u32::try_from(bytes).unwrap(),
                Err(FillError::Receive(())) => unreachable!("a source does not fail"),
                Err(FillError::NoBuffer) => {}
            }
            if let Some(promise) = self.grant(Rank::Upstream) {
                let lease = exchange.lease_mut().unwrap();
                assert!(lease.promise.is_none(), "it waits with a promise in its hands");
                lease.promise = Some(promise);
            } else {
                // The client is what the pool waits for.
                let took = self.deliver(exchange, u32::MAX, delivered);
                assert!(took > 0, "the pool is too small for the response's head");
            }
        }
    }

    /// `fresh` bytes came, or the server ended.
    fn respond(
        &mut self,
        exchange: &mut Exchange,
        fresh: Option<u32>,
        delivered: &mut Vec<u8>,
    ) -> Responded {
        self.next_step();
        let (mut fresh, mut rank, mut vain) = (fresh, Rank::Upstream, 0);
        loop {
            let responded = match fresh {
                Some(fresh) => Http.respond(exchange, fresh, &mut self.room(rank)),
                None => Http.respond_end(exchange, &mut self.room(rank)),
            };
            if responded != Responded::Starved {
                return responded;
            }
            assert!(exchange.awaits_room(), "the worker would receive instead");
            if let Some(promise) = exchange.lease_mut().unwrap().promise.take() {
                self.pool.forgive(promise);
            }
            if !self.grant_to_proxy(Rank::Upstream, &mut vain) {
                // The client is what the pool waits for.
                let took = self.deliver(exchange, u32::MAX, delivered);
                assert!(took > 0, "the pool is too small for the response's head");
            }
            (fresh, rank) = (Some(0), Rank::Send);
        }
    }

    /// The client takes up to `most` bytes; how many.
    pub(super) fn deliver(
        &mut self,
        exchange: &mut Exchange,
        most: u32,
        delivered: &mut Vec<u8>,
    ) -> u32 {
        let Some(unsent) = exchange.deliverable(&self.pool) else { return 0 };
        let mut taken = self.pool.view(&unsent).concat();
        taken.truncate(most as usize);
        let bytes = u32::try_from(taken.len()).unwrap();
        delivered.extend(taken);
        if bytes > 0 {
            exchange.delivered(bytes, &mut self.pool);
        }
        bytes
    }

    /// A whole exchange with a server that answers with `response`, its client's way back
    /// included: what the server saw and what the client got.
    pub(super) fn exchange(
        &mut self,
        request: &[u8],
        mut response: Source,
        ends: bool,
    ) -> (Vec<u8>, Answered, Exchange) {
        let mut exchange = Self::begin(Chain::new());
        let came = self.take_request(&mut exchange, &mut Source::whole(request));
        assert_eq!(came, Came::Complete);
        self.begin_lease(&mut exchange, true);
        let seen = self.write_all(&mut exchange, usize::MAX);
        let answered = self.answer(&mut exchange, &mut response, ends, 100);
        (seen, answered, exchange)
    }
}
