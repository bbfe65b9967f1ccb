//! What a proxy is asked, in the order of an exchange's life.

use wire::http1::Fault;

use crate::refusal::Refusal;
use crate::room::Room;
use crate::state::Exchange;

/// Decides what the bytes of an exchange mean. It holds no sockets and waits for nothing: it is
/// shown bytes in chains and answers with what they amount to.
///
/// A call that returns `Starved` has changed nothing that matters and is made again, with
/// `fresh` 0, once a buffer can be granted.
pub trait Proxy {
    /// `fresh` more bytes of the request stand at the end of the exchange's chain
    /// (`Arriving`, `Collecting`; `Ready`, `Leased` while it [`uploads`](Exchange::uploads)). Moves the exchange on as far as they reach; at
    /// [`Collected::Complete`] it is `Ready`, at [`Collected::Answered`] `Delivering`.
    fn collect(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected;

    /// `fresh` more bytes of the response stand at the end of
    /// [`Exchange::response_chain`] (`Leased`, `Pending`, `Draining`). At [`Responded::Whole`] it is still `Draining`; the worker ends
    /// the lease.
    fn respond(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded;

    /// The server ended its direction. Only [`Responded::Whole`], [`Responded::Broken`] and
    /// [`Responded::Starved`] can follow.
    fn respond_end(&self, exchange: &mut Exchange, room: &mut Room<'_>) -> Responded;

    /// Answers the client instead of the server: the exchange gives up what it holds, and is
    /// `Delivering` our text. Returns false when not even one buffer was to be had for it.
    fn refuse(
        &self,
        exchange: &mut Exchange,
        refusal: Refusal,
        fault: Option<Fault>,
        room: &mut Room<'_>,
    ) -> bool;

    /// The text for a client that is refused for want of a record or a buffer.
    fn crowded(&self) -> &'static [u8];
}

/// What the bytes of a request amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// More must come. `advise` asks the worker to tell the client that we wait for its body
    /// (`100 Continue`, RFC 9110 §10.1.1).
    Incomplete {
        /// Whether to send the advice now.
        advise: bool,
    },
    /// A buffer is needed to go on.
    Starved,
    /// It must be asked whether the client may: the exchange is `Authorizing`, and so many bytes of a
    /// question stand in [`Scratch::written`](crate::Scratch::written). The verdict is known to
    /// [`Room::admission`] when the exchange was [let in](Exchange::is_let_in) and the call is made
    /// again, with `fresh` 0.
    Asks(u32),
    /// The body has ended, and part of the request is in the spool: the rest of the body must go
    /// there too. Then the call is made again, with `fresh` 0.
    Spool,
    /// The request is complete: `Ready`.
    Complete,
    /// The request is complete, and we are its final recipient: the exchange is `Delivering` our
    /// answer.
    Answered,
    /// The request is refused.
    Refused(Refusal, Option<Fault>),
}

/// What the bytes of a response amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responded {
    /// More must come; what can be delivered stands in the chain.
    Incomplete,
    /// A buffer is needed to go on.
    Starved,
    /// The response is whole. `reusable` tells whether the connection may carry another one.
    Whole {
        /// The server keeps the connection and sent not a byte too many.
        reusable: bool,
    },
    /// The server switched protocols as it was asked to: the head of its 101 and what stands
    /// behind it wait in [`Reply::input`](crate::Reply), and the exchange becomes a tunnel.
    Switched,
    /// What came is no response; see [`crate::Mishap::ServerBroke`].
    Broken(Fault),
}
