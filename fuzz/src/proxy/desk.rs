//! The worker's hands: it receives, waits for buffers, leases, writes and delivers as the worker
//! does, while others take every buffer now and then.

use core::net::{IpAddr, Ipv4Addr};

use base::id::{ClientId, ConnectionId, GroupId, ListenerId};
use base::limits;
use base::time::Instant;
use exchange::{
    Admission, Authorization, Collected, ErrorPages, Exchange, Granted, Lease, Next, Note, Pieces,
    Proxy, Refusal, RequestIds, Responded, Room, Rules, Scratch,
};
use pool::{Chain, FillError, Pool, PoolConfig, Rank};
use proxies::http::Http;
use wire::http1::Fault;

use super::peer::Source;

/// In what a run differs from another one.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) buffers: u32,
    pub(super) buffer_bytes: u32,
    /// At which steps others take every buffer, by bit; the pattern repeats.
    pub(super) shortage: u16,
    /// What the client, or the server, takes at a time.
    pub(super) takes: usize,
    /// Whether heads and bodies have bounds that are met soon.
    pub(super) bounded: bool,
    pub(super) request_ids: bool,
    pub(super) draining: bool,
    /// Whether servers may be asked to switch protocols.
    pub(super) upgrade: bool,
}

impl Circumstances {
    /// The same, and nothing is short.
    pub(super) const fn roomy(self) -> Self {
        Self { buffers: 64, buffer_bytes: 2048, shortage: 0, takes: usize::MAX, ..self }
    }

    /// As the first bytes of an input say; the others.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[buffers, flags, low, high, takes], rest) = bytes.split_first_chunk()?;
        let circumstances = Self {
            buffers: limits::POOL_BUFFERS_MIN + u32::from(buffers % 32),
            buffer_bytes: if flags & 1 == 0 { 512 } else { 2048 },
            shortage: u16::from_le_bytes([low, high]),
            takes: 1 + usize::from(takes) * 9,
            bounded: flags & 2 == 2,
            request_ids: flags & 4 == 4,
            draining: flags & 8 == 8,
            upgrade: flags & 16 == 16,
        };
        Some((circumstances, rest))
    }
}

pub(super) struct Desk {
    pool: Pool,
    scratch: Scratch,
    request_ids: RequestIds,
    noted: ([u8; 512], Pieces),
    rules: Rules,
    circumstances: Circumstances,
    /// What somebody was asked, if anybody was, and what is known since.
    asked: Option<Asked>,
    /// The buffers that others hold.
    hoard: Vec<Chain>,
    step: u32,
}

/// Fields that only we write, and what servers are told in them: who the client is, and what it may.
pub(super) const OWN_FIELDS: &str = "X-User,X-Role";
pub(super) const SUBJECT: &[u8] = b"me";
pub(super) const FIELDS: &[u8] = b"X-Role: admin\r\n";

/// A question to those who decide; who asks it is let in.
#[derive(Debug)]
struct Asked(Vec<u8>);

impl Admission for Asked {
    fn granted(&self, question: &[u8]) -> Option<Granted<'_>> {
        assert_eq!(question, self.0, "another question is asked of the same head");
        Some(Granted { subject: SUBJECT, fields: FIELDS })
    }

    fn told(&self) -> &[u8] {
        b""
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Complete,
    Answered,
    Refused(Refusal, Option<Fault>),
    /// The source ran dry before.
    Hungry,
    /// The pool is too small.
    NoRoom,
}

/// What became of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) delivered: Vec<u8>,
    /// `None`: more must come, and nothing more does.
    pub(super) end: Option<Responded>,
    /// Whether the client's connection lives on.
    pub(super) keeps: bool,
    /// What the server is given first in another protocol, if it switched to one.
    pub(super) up: Vec<u8>,
}

impl Desk {
    pub(super) fn new(circumstances: Circumstances) -> Self {
        let Circumstances { buffers, buffer_bytes, bounded, request_ids, upgrade, .. } =
            circumstances;
        let pool = Pool::new(PoolConfig { buffers, buffer_bytes, waiters: 4 });
        Self {
            pool: pool.unwrap_or_else(|error| panic!("no pool: {error:?}")),
            scratch: Scratch::new(),
            rules: Rules {
                max_head: if bounded { 300 } else { limits::MAX_HEAD },
                max_target: if bounded { 40 } else { limits::MAX_TARGET },
                max_body: if bounded { 200 } else { 256 << 10 },
                stream: None,
                default_host: "fallback".into(),
                upstream_persistent: true,
                request_ids,
                upgrade,
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
            circumstances,
            asked: None,
            hoard: Vec::new(),
            step: 0,
        }
    }

    /// Requests are let in by others.
    pub(super) fn authorizes(&mut self, authorization: Authorization) {
        self.rules.own_fields = OWN_FIELDS.into();
        self.rules.authorization = Some(authorization.into());
    }

    /// What those were asked.
    pub(super) fn question(&self) -> Option<Vec<u8>> {
        self.asked.as_ref().map(|asked| asked.0.clone())
    }

    pub(super) fn begin(input: Chain) -> Exchange {
        Exchange::begin(ClientId(1), ListenerId(0), GroupId(0), Instant(0), input)
    }

    /// The exchange is over; what stands behind its request is left.
    pub(super) fn end(&mut self, mut exchange: Exchange) -> Chain {
        let _ = exchange.give_up(&mut self.pool);
        exchange.rest.take()
    }

    /// Nothing is left of anything.
    pub(super) fn close(mut self, rest: Chain) {
        self.relax();
        self.pool.release(rest);
        self.pool.assert_whole();
    }

    /// One step further: others may take every buffer now.
    fn next_step(&mut self) {
        self.step += 1;
        if self.circumstances.shortage.rotate_right(self.step) & 1 == 0 {
            return;
        }
        loop {
            let mut chain = Chain::new();
            if !self.pool.extend(&mut chain, Rank::Send, 0) {
                return;
            }
            self.hoard.push(chain);
        }
    }

    /// The others give everything back; whether they had something.
    fn relax(&mut self) -> bool {
        let had = !self.hoard.is_empty();
        self.hoard.drain(..).for_each(|chain| self.pool.release(chain));
        had
    }

    fn room(&mut self, rank: Rank) -> Room<'_> {
        Room {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            rules: &self.rules,
            rank,
            peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            tls: None,
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            draining: self.circumstances.draining,
            request_ids: &mut self.request_ids,
            admission: self.asked.as_ref().map(|asked| asked as &dyn Admission),
            note: Some(Note::new(&mut self.noted.0, &mut self.noted.1)),
        }
    }

    // The way of a request.

    /// Receives until the request is complete or refused.
    pub(super) fn take_request(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source<'_>,
    ) -> Came {
        let mut early = exchange.request_chain().map_or(0, |chain| chain.len());
        loop {
            let fresh = match std::mem::take(&mut early) {
                0 if source.is_dry() => return Came::Hungry,
                0 => match self.receive_request(exchange, source) {
                    Some(fresh) => fresh,
                    None => return Came::NoRoom,
                },
                early => early,
            };
            let mut collected = self.collect(exchange, fresh);
            if let Collected::Asks(length) = collected {
                let question = &self.scratch.written[..length as usize];
                let before = self.asked.replace(Asked(question.to_vec()));
                assert!(before.is_none(), "it is asked twice");
                exchange.is_let_in();
                collected = self.collect(exchange, 0);
            }
            match collected {
                Collected::Incomplete { .. } => {}
                Collected::Complete => return Came::Complete,
                Collected::Answered => return Came::Answered,
                Collected::Refused(refusal, fault) => return Came::Refused(refusal, fault),
                Collected::Starved => return Came::NoRoom,
                Collected::Spool => panic!("nothing is in the spool"),
                Collected::Asks(_) => panic!("it was let in"),
            }
        }
    }

    fn receive_request(&mut self, exchange: &mut Exchange, source: &mut Source<'_>) -> Option<u32> {
        self.next_step();
        loop {
            let fill = exchange.request_fill(&self.pool);
            let chain = exchange.request_chain()?;
            let filled =
                self.pool.fill::<()>(chain, fill, &mut None, |spaces| Ok(source.read(spaces)));
            match filled {
                Ok(bytes) => return u32::try_from(bytes).ok(),
                Err(FillError::Receive(())) => panic!("a source does not fail"),
                Err(FillError::NoBuffer) if self.relax() => {}
                Err(FillError::NoBuffer) => return None,
            }
        }
    }

    /// Shows the proxy what came, again when others gave their buffers back.
    fn collect(&mut self, exchange: &mut Exchange, fresh: u32) -> Collected {
        self.next_step();
        let (mut fresh, mut rank) = (fresh, Rank::Client);
        loop {
            let collected = Http.collect(exchange, fresh, &mut self.room(rank));
            if collected != Collected::Starved {
                return collected;
            }
            assert!(exchange.awaits_room(), "the worker would receive instead");
            if !self.relax() && rank == Rank::Send {
                return collected;
            }
            (fresh, rank) = (0, Rank::Send);
        }
    }

    // The lease.

    /// The server takes the request; all of it.
    pub(super) fn write(&mut self, exchange: &mut Exchange) -> Vec<u8> {
        self.begin_lease(exchange);
        let mut all = Vec::new();
        loop {
            let Next::Bytes(cursor) = exchange.next_unsent(&self.pool) else {
                panic!("all is written, and the head not awaited")
            };
            let mut seen = self.pool.view(&cursor).concat();
            seen.truncate(self.circumstances.takes);
            let bytes = u32::try_from(seen.len()).unwrap_or(u32::MAX);
            all.extend(seen);
            if exchange.request_written(bytes, &mut self.pool) {
                return all;
            }
        }
    }

    fn begin_lease(&mut self, exchange: &mut Exchange) {
        self.relax();
        let promise = self.pool.promise(Rank::Upstream);
        assert!(promise.is_some(), "a complete request left no buffer for its response");
        let kept = self.circumstances.takes.is_multiple_of(2);
        let lease = Lease {
            connection: ConnectionId(5),
            fresh: !kept,
            kept,
            begun: false,
            reusable: false,
            pinned: false,
            since: Instant(0),
            promise,
        };
        exchange.lease_begins(lease, &self.pool);
    }

    // The way of a response.

    /// Receives the response while the client takes its part of it; `ends`: the server closes
    /// behind its bytes.
    pub(super) fn answer(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source<'_>,
        ends: bool,
    ) -> Answer {
        let mut delivered = Vec::new();
        let end = loop {
            let responded = if source.is_dry() {
                if !ends {
                    break None;
                }
                self.respond(exchange, None, &mut delivered)
            } else {
                let fresh = self.receive_response(exchange, source, &mut delivered);
                self.respond(exchange, Some(fresh), &mut delivered)
            };
            if responded != Responded::Incomplete {
                break Some(responded);
            }
            assert!(!source.is_dry() || !ends || exchange.response_chain().is_some());
            self.deliver(exchange, self.circumstances.takes, &mut delivered);
        };
        if matches!(end, Some(Responded::Whole { .. })) {
            assert!(exchange.response_ends(&mut self.pool).is_some());
        }
        let mut up = Vec::new();
        if end == Some(Responded::Switched) {
            up = self.join(exchange, source, &mut delivered);
        }
        // What is broken is cut off where it is; what is whole is delivered to its end.
        if !matches!(end, Some(Responded::Broken(_) | Responded::Switched)) {
            while self.deliver(exchange, 777, &mut delivered) > 0 {}
        }
        let keeps = exchange.then == exchange::Then::Park;
        Answer { delivered, end, keeps, up }
    }

    /// Both sides speak another protocol: what the server says is for the client, unread; what it is
    /// given itself.
    fn join(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source<'_>,
        delivered: &mut Vec<u8>,
    ) -> Vec<u8> {
        let Some((_, mut tunnel)) = exchange.switches(&mut self.pool) else {
            panic!("no tunnel comes of what switched")
        };
        let [up, down] = [&tunnel.up.chain, &tunnel.down.chain].map(|chain| {
            let mut all = vec![0; chain.len() as usize];
            assert_eq!(self.pool.copy_from(&self.pool.cursor(chain), &mut all), all.len());
            all
        });
        delivered.extend(down);
        delivered.extend(source.rest());
        tunnel.give_up(&mut self.pool);
        up
    }

    fn receive_response(
        &mut self,
        exchange: &mut Exchange,
        source: &mut Source<'_>,
        delivered: &mut Vec<u8>,
    ) -> u32 {
        self.next_step();
        loop {
            let fill = exchange.response_fill(&self.pool);
            let Some((_, chain, promise)) = exchange.response_chain() else {
                panic!("no response is awaited")
            };
            match self.pool.fill::<()>(chain, fill, promise, |spaces| Ok(source.read(spaces))) {
                Ok(bytes) => return u32::try_from(bytes).unwrap_or(u32::MAX),
                Err(FillError::Receive(())) => panic!("a source does not fail"),
                Err(FillError::NoBuffer) => self.make_room(exchange, delivered),
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
        let (mut fresh, mut rank) = (fresh, Rank::Upstream);
        loop {
            let responded = match fresh {
                Some(fresh) => Http.respond(exchange, fresh, &mut self.room(rank)),
                None => Http.respond_end(exchange, &mut self.room(rank)),
            };
            if responded != Responded::Starved {
                return responded;
            }
            assert!(exchange.awaits_room(), "the worker would receive instead");
            if let Some(promise) = exchange.lease_mut().and_then(|lease| lease.promise.take()) {
                self.pool.forgive(promise);
            } else {
                self.make_room(exchange, delivered);
            }
            (fresh, rank) = (Some(0), Rank::Send);
        }
    }

    /// Others give back what they have, or the client takes what there is for it.
    fn make_room(&mut self, exchange: &mut Exchange, delivered: &mut Vec<u8>) {
        if !self.relax() {
            let took = self.deliver(exchange, usize::MAX, delivered);
            assert!(took > 0, "a response waits for a buffer that nobody has (law 5)");
        }
    }

    /// The client takes up to `most` bytes; how many.
    fn deliver(&mut self, exchange: &mut Exchange, most: usize, delivered: &mut Vec<u8>) -> usize {
        let Some(unsent) = exchange.deliverable(&self.pool) else { return 0 };
        let mut taken = self.pool.view(&unsent).concat();
        taken.truncate(most);
        let bytes = taken.len();
        delivered.extend(taken);
        if bytes > 0 {
            exchange.delivered(u32::try_from(bytes).unwrap_or(u32::MAX), &mut self.pool);
        }
        bytes
    }
}
