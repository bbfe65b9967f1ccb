//! What a proxy finds in the room it works in: the pool, scratch space, rules and the time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::net::IpAddr;

use base::limits;
use pool::{Pool, Rank};

use crate::authorization::{Admission, Authorization};
use crate::challenges::Challenges;
use crate::note::Note;
use crate::pages::ErrorPages;
use crate::request_id::RequestIds;
use crate::routes::Passing;
use crate::trust::Trusts;

/// The limits and names that hold for the clients of one listener.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Longest request head, bytes.
    pub max_head: u32,
    /// Longest request target, bytes.
    pub max_target: u32,
    /// Largest request body, bytes: never more than pool and spool may keep of one exchange.
    pub max_body: u64,
    /// Largest request body that the server is shown as it arrives; `None` if a request is
    /// complete first.
    pub stream: Option<u64>,
    /// The host an HTTP/1.0 request without `Host` is for (RFC 9112 §3.3).
    pub default_host: Box<str>,
    /// Whether connections to the servers are kept after a response.
    pub upstream_persistent: bool,
    /// Whether each request has an ID (`X-Request-ID`): the client's if that is sane, else one
    /// of ours. Otherwise the field is of no concern.
    pub request_ids: bool,
    /// Whether the server may be asked to switch protocols (RFC 9110 §7.8).
    pub upgrade: bool,
    /// How connections are passed through, if they are: then nothing else of this holds but
    /// `max_head`.
    pub passing: Option<Passing>,
    /// Fields that only we may write, with commas between them: what clients send of them is
    /// removed.
    pub own_fields: Arc<str>,
    /// One of them: servers are told in it whom a client's certificate names.
    pub subject_field: Option<Box<str>>,
    /// Proxies in front that say whom their requests are from (`X-Forwarded-For`); nobody without.
    pub trusted: Option<Arc<dyn Trusts>>,
    /// The bodies of our refusals.
    pub error_pages: ErrorPages,
    /// What is asked of requests before they are served, if anything.
    pub authorization: Option<Arc<Authorization>>,
    /// What certificate authorities are answered; `None` while none is expected.
    pub challenges: Option<Arc<Challenges>>,
}

/// How a client's connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFacts<'s> {
    /// Whether the client showed a certificate, which is trusted then.
    pub shown: bool,
    /// Whom it names (RFC 4514). Not every one says that in its subject (RFC 5280 §4.1.2.6), or in as
    /// many bytes as a field may have.
    pub subject: Option<&'s str>,
}

/// Space to join a split head and to write a canonical one. One per worker, used only within
/// one call, so that the data path allocates nothing.
#[derive(Debug)]
pub struct Scratch {
    /// Where a head that is split over buffers is joined.
    pub joined: Box<[u8]>,
    /// Where a canonical head is written before it goes into a chain.
    pub written: Box<[u8]>,
}

impl Scratch {
    /// Scratch space for the largest head that can be configured.
    pub fn new() -> Self {
        let longest = (limits::MAX_HEAD_LIMIT + limits::HEAD_GROWTH) as usize;
        Self {
            joined: vec![0; longest].into_boxed_slice(),
            written: vec![0; longest + limits::MAX_HEAD_LIMIT as usize].into_boxed_slice(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// What a proxy works with during one call.
#[derive(Debug)]
pub struct Room<'r> {
    /// The worker's pool.
    pub pool: &'r mut Pool,
    /// The worker's scratch space.
    pub scratch: &'r mut Scratch,
    /// The rules of the client's listener.
    pub rules: &'r Rules,
    /// How urgent what the proxy needs buffers for is. Raised when the exchange waited for one
    /// and was granted it, so that nobody comes in between.
    pub rank: Rank,
    /// The client's address; `None` for one on a Unix socket.
    pub peer: Option<IpAddr>,
    /// How its connection is secured, if it is.
    pub tls: Option<TlsFacts<'r>>,
    /// The calendar time as a `Date` field writes it (RFC 9110 §5.6.7), 29 bytes.
    pub date: &'r [u8],
    /// Whether the worker drains: connections are not kept.
    pub draining: bool,
    /// Where new request IDs come from.
    pub request_ids: &'r mut RequestIds,
    /// What is known of clients that were let in.
    pub admission: Option<&'r dyn Admission>,
    /// Where the head of a request is noted for the access log, if there is one.
    pub note: Option<Note<'r>>,
}
