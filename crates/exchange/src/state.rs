//! An exchange and what it owns in each state.

use base::id::{ClientId, ConnectionId, GroupId, ListenerId};
use base::time::Instant;
use pool::{Chain, Cursor, Pool, Promise};
use wire::http1::{ChunkReader, HeadScanner};

use crate::facts::{Facts, Then};
use crate::phase::Phase;
use crate::request_id::RequestId;
use crate::spooled::Spooled;
use crate::upload::Upload;

/// One request and its response (the invention's connection state 410).
#[derive(Debug)]
pub struct Exchange {
    /// Whose exchange it is.
    pub client: ClientId,
    /// Where the client came in.
    pub listener: ListenerId,
    /// The servers it is for.
    pub group: GroupId,
    /// When its first byte came.
    pub began: Instant,
    /// What is known of the request.
    pub facts: Facts,
    /// What becomes of the client afterwards.
    pub then: Then,
    /// Whether its client has not said a word before.
    pub newcomer: bool,
    /// Whether bytes given to the client's transport are still under way there.
    pub sending: bool,
    /// Bytes behind this request: a pipelined one (RFC 9112 §9.3.2). They belong to the
    /// connection and go into the next exchange.
    pub rest: Chain,
    /// A promise granted after waiting, to be spent by the receive that follows.
    pub granted: Option<Promise>,
    /// The rest of a body that is streamed.
    pub upload: Option<Upload>,
    /// By what name logs know the request; empty until its head was read, and where
    /// [`Rules::request_ids`](crate::Rules::request_ids) is off.
    pub request_id: RequestId,
    /// How fast its request arrives.
    pub pace: Pace,
    /// What it awaits.
    pub state: State,
    /// What of its request, or of its response once that has begun, lies in the spool.
    pub spooled: Option<Spooled>,
    /// The phase it is counted in, kept by whoever counts.
    pub counted: Option<Phase>,
}

/// How much of a request came since a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Since when.
    pub since: Instant,
    /// How many bytes.
    pub bytes: u64,
}

/// What an exchange awaits, owning exactly what it needs for that.
#[derive(Debug)]
pub enum State {
    /// The end of the head.
    Arriving {
        /// The head so far.
        input: Chain,
        /// How far it was scanned.
        scanner: HeadScanner,
        /// Length of the head, once its end was seen.
        end: Option<u32>,
    },
    /// The verdict on whether the client may, before anything else of the request.
    Authorizing {
        /// The head as it came, and what came behind it.
        input: Chain,
        /// How far it was scanned.
        scanner: HeadScanner,
        /// Length of the head.
        end: u32,
        /// Whether the request is whole with its head.
        bodiless: bool,
        /// Which question it is: what answers another one is not for this exchange.
        question: u32,
    },
    /// The end of the body.
    Collecting {
        /// The canonical head, its length field not yet written; empty if the length was known
        /// and the head already stands in front of the body.
        head: Chain,
        /// The request or its body so far.
        body: Chain,
        /// How the body is framed, and what is still to come.
        reader: RequestBody,
    },
    /// A lease.
    Ready {
        /// The whole request in canonical form, or what of it is not in the spool; of a streamed
        /// one, what came of it.
        request: Chain,
    },
    /// That the server takes the request.
    Leased {
        /// The upstream connection.
        lease: Lease,
        /// The request, kept whole if it may have to go again, else what is unsent of it.
        request: Chain,
        /// What is unsent of a request that is kept.
        unsent: Cursor,
        /// What came of an early response.
        reply: Reply,
    },
    /// The response's head.
    Pending {
        /// The upstream connection.
        lease: Lease,
        /// The request if it may have to go again, else empty.
        request: Chain,
        /// What came of the response's head.
        reply: Reply,
    },
    /// The end of the response's body.
    Draining {
        /// The upstream connection.
        lease: Lease,
        /// What the client has not yet taken.
        output: Chain,
        /// How the body is framed, and what is still to come.
        reader: ResponseBody,
    },
    /// That the client takes the rest.
    Delivering {
        /// That rest.
        output: Chain,
    },
    /// Nothing: the exchange is over and owns nothing.
    Over,
}

/// An upstream connection while the exchange uses it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
#[derive(Debug)]
pub struct Lease {
    /// Which.
    pub connection: ConnectionId,
    /// No request was sent on it before, so a server that leaves it has failed.
    pub fresh: bool,
    /// The request is kept whole because it may have to go again.
    pub kept: bool,
    /// Whether a byte of the request was written.
    pub begun: bool,
    /// Whether the server keeps the connection after this response.
    pub reusable: bool,
    /// The connection is pinned: an event stream's, a tunnel's, or passed through. A stream has no
    /// promise then, as it may be silent for long; what comes waits for a buffer at its rank.
    pub pinned: bool,
    /// When it began.
    pub since: Instant,
    /// The output buffer promised with it (law 5); spent when the first one is lent, promised
    /// again when the last one is empty.
    pub promise: Option<Promise>,
}

/// A response whose head is not complete.
#[derive(Debug)]
pub struct Reply {
    /// The head so far.
    pub input: Chain,
    /// How far it was scanned.
    pub scanner: HeadScanner,
    /// Length of the head, once its end was seen.
    pub end: Option<u32>,
    /// Bytes of interim heads that came before it.
    pub interim: u32,
    /// Interim responses that the client has not yet taken (RFC 9110 §15.2).
    pub early: Chain,
}

/// How a request's body ends (RFC 9112 §6.3).
#[derive(Clone, Debug)]
pub enum RequestBody {
    /// After so many more bytes.
    Length(u64),
    /// As its chunks say.
    Chunked(ChunkReader),
    /// It has ended; only the length field is still to be written.
    Ended {
        /// Bytes behind it that belong to the next request.
        excess: u32,
        /// Decoded length.
        length: u64,
    },
}

/// How a response's body ends (RFC 9112 §6.3).
#[derive(Debug)]
pub enum ResponseBody {
    /// After so many more bytes; 0 also for a response without a body.
    Length(u64),
    /// As its chunks say.
    Chunked(ChunkReader),
    /// With the connection.
    UntilClose,
    /// With the connection, and the client gets it in chunks, so that its own connection is kept.
    Recoded {
        /// What is received stands here until the head of its chunk is put before it. Empty
        /// between two receives.
        staged: Chain,
        /// Whether a chunk was begun.
        begun: bool,
    },
    /// It has ended with the connection; only the last chunk is still to be written.
    RecodedEnd {
        /// Whether a chunk was begun.
        begun: bool,
    },
}

impl RequestBody {
    /// Bytes at the chain's end that belong to the next request, and were not yet cut off.
    pub const fn excess(&self) -> u32 {
        match self {
            Self::Ended { excess, .. } => *excess,
            Self::Length(_) | Self::Chunked(_) => 0,
        }
    }
}

impl Reply {
    /// Nothing came yet.
    pub const fn new() -> Self {
        Self {
            input: Chain::new(),
            scanner: HeadScanner::response(),
            end: None,
            interim: 0,
            early: Chain::new(),
        }
    }

    /// Whether a byte of any response came, be it of an interim one.
    pub const fn has_begun(&self) -> bool {
        !self.input.is_empty() || self.interim > 0
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

impl Lease {
    /// Counts the first `bytes` of what the server sent as read; empty buffers go back at once.
    /// The last one becomes the promise again, so that the exchange can finish whoever waits for
    /// a buffer (law 5).
    pub fn consume(&mut self, chain: &mut Chain, bytes: u32, pool: &mut Pool) {
        if self.promise.is_some() || self.pinned {
            pool.consume(chain, bytes);
        } else {
            self.promise = pool.consume_to_promise(chain, bytes);
        }
    }
}

impl Exchange {
    /// What the exchange awaits; `None` once it is over.
    pub const fn phase(&self) -> Option<Phase> {
        match self.state {
            State::Arriving { .. } => Some(Phase::Arriving),
            State::Authorizing { .. } => Some(Phase::Authorizing),
            State::Collecting { .. } => Some(Phase::Collecting),
            State::Ready { .. } => Some(Phase::Ready),
            State::Leased { .. } => Some(Phase::Leased),
            State::Pending { .. } => Some(Phase::Pending),
            State::Draining { .. } => Some(Phase::Draining),
            State::Delivering { .. } => Some(Phase::Delivering),
            State::Over => None,
        }
    }

    /// The upstream connection, while one is leased.
    pub const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased { lease, .. }
            | State::Pending { lease, .. }
            | State::Draining { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// The upstream connection, to be changed.
    pub const fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Leased { lease, .. }
            | State::Pending { lease, .. }
            | State::Draining { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Where bytes from the client go while the request is not complete.
    pub const fn request_chain(&mut self) -> Option<&mut Chain> {
        match &mut self.state {
            State::Arriving { input, .. } => Some(input),
            State::Collecting { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Where bytes from the server go, on which connection they come, and the buffer promised for
    /// them. `None` when nothing more of the response is awaited.
    pub const fn response_chain(
        &mut self,
    ) -> Option<(ConnectionId, &mut Chain, &mut Option<Promise>)> {
        let (lease, chain) = match &mut self.state {
            State::Leased { lease, reply, .. } | State::Pending { lease, reply, .. } => {
                (lease, &mut reply.input)
            }
            State::Draining { lease, output, reader } => match reader {
                ResponseBody::Recoded { staged, .. } => (lease, staged),
                ResponseBody::RecodedEnd { .. } => return None,
                _ => (lease, output),
            },
            _ => return None,
        };
        Some((lease.connection, chain, &mut lease.promise))
    }

    /// What the client has not yet taken of what is meant for it.
    pub const fn output(&self) -> Option<&Chain> {
        match &self.state {
            State::Leased { reply, .. } | State::Pending { reply, .. } => Some(&reply.early),
            State::Draining { output, .. } | State::Delivering { output } => Some(output),
            _ => None,
        }
    }

    /// What of it can be delivered now: all but a trailer section of which it is not yet known
    /// what may be passed on.
    pub fn deliverable(&self, pool: &Pool) -> Option<Cursor> {
        let held = match &self.state {
            State::Draining { reader: ResponseBody::Chunked(chunks), .. } => chunks.trailer_held(),
            _ => 0,
        };
        self.output().map(|output| pool.cursor(output).before_last(held))
    }

    /// Whether the client was given part of a message, or is about to be: of interim responses an
    /// answer of our own can stand behind the last, of a final one it cannot.
    pub const fn has_begun_to_deliver(&self) -> bool {
        match &self.state {
            State::Leased { reply, .. } | State::Pending { reply, .. } => {
                self.sending || !reply.early.is_empty()
            }
            State::Draining { .. } | State::Delivering { .. } => true,
            _ => false,
        }
    }

    /// Whether a proxy stopped for want of a buffer with everything it needs to read already in
    /// its chain: then it is asked again, and nothing is received.
    pub const fn awaits_room(&self) -> bool {
        match &self.state {
            State::Arriving { end, .. } => end.is_some(),
            State::Collecting { reader, .. } => matches!(reader, RequestBody::Ended { .. }),
            State::Leased { reply, .. } | State::Pending { reply, .. } => reply.end.is_some(),
            State::Draining { reader, .. } => matches!(reader, ResponseBody::RecodedEnd { .. }),
            _ => false,
        }
    }

    /// Whether it holds a buffer.
    pub fn holds_buffers(&self) -> bool {
        let held = match &self.state {
            State::Arriving { input, .. } | State::Authorizing { input, .. } => !input.is_empty(),
            State::Collecting { head, body, .. } => !head.is_empty() || !body.is_empty(),
            State::Ready { request } => !request.is_empty(),
            State::Leased { request, reply, .. } | State::Pending { request, reply, .. } => {
                !request.is_empty() || !reply.input.is_empty() || !reply.early.is_empty()
            }
            // What is staged is so within one call only.
            State::Draining { output, .. } | State::Delivering { output } => !output.is_empty(),
            State::Over => false,
        };
        let front = self.spooled.as_ref().is_some_and(|spooled| !spooled.front.is_empty());
        held || front || !self.rest.is_empty()
    }
}
