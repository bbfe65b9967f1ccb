//! What is remembered of a request after its head was rewritten.

use core::net::IpAddr;

use wire::http1::Protocol;

/// The facts about a request that outlive its head. Filled by the proxy.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// A response must carry no body (HEAD).
    pub head_only: bool,
    /// The client speaks HTTP/1.0: no chunked coding towards it.
    pub old_version: bool,
    /// The client wants to keep its connection (RFC 9112 §9.3).
    pub persistent: bool,
    /// Sending the request twice does no harm (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// How often the request met a connection that was closed under it, and went again.
    pub retries: u8,
    /// The response is a stream of events, which may be silent for as long as nothing happens.
    pub event_stream: bool,
    /// Only the end of the client's connection tells where the response ends.
    pub ends_with_connection: bool,
    /// Status of the response, once it has a head; 0 before.
    pub status: u16,
    /// We are the request's final recipient and answer it once it is complete: OPTIONS that may
    /// go no further (RFC 9110 §7.6.2).
    pub final_recipient: bool,
    /// The request is a certificate authority's (RFC 8555 §8.3): the place of our answer in
    /// [`crate::Challenges`], for as long as the call lasts that read the head.
    pub challenge: Option<u16>,
    /// Whom the request is from, if a trusted proxy says so.
    pub client: Option<IpAddr>,
    /// The protocol that the server is asked to go on with (RFC 9110 §7.8).
    pub upgrade: Option<Protocol>,
    /// Bytes that must have come before a TLS hello is looked at again.
    pub hello: u32,
    /// Bytes of request trailers that were dropped.
    pub trailer_bytes: u32,
    /// Bytes of response trailers that were dropped.
    pub response_trailer_bytes: u32,
}

/// What becomes of the client's connection when the response is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It parks, or goes on with a pipelined request.
    #[default]
    Park,
    /// It is closed: everything it sent was read.
    Close,
    /// It is closed with lingering: unread bytes may be on their way, and a reset would destroy
    /// the answer (RFC 9112 §9.6).
    Linger,
}

impl Facts {
    /// Whether the request may be written a second time if the connection was closed before a
    /// byte of the response came (RFC 9110 §9.2.2).
    pub const fn may_go_again(&self) -> bool {
        self.idempotent
    }
}
