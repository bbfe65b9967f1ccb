//! HTTP/1.0 and HTTP/1.1 messages (RFC 9110, RFC 9112), read strictly and written canonically.
//!
//! The way of a message: [`HeadScanner`] finds where its head ends, however the bytes arrive;
//! [`parse_request`] or [`parse_response`] turns the head into a value in which nothing ambiguous
//! is left; [`ChunkReader`] takes the framing out of a chunked body in place; [`write_request`]
//! and [`write_response`] write what the other side may see.
//!
//! Deliberately absent: a reader for `Content-Length` bodies (a counter of the caller is enough),
//! any memory of an earlier message.

mod bytes;
mod chunked;
mod fault;
mod fields;
mod forwarded;
mod framing;
mod host;
mod method;
mod refusal;
mod request;
mod response;
mod scan;
mod target;
mod trailers;
mod upgrade;
mod write;
mod writer;

#[cfg(test)]
mod properties;

pub use chunked::{
    Advance, CHUNK_EXTENSION_MAX, CHUNK_HEAD_MAX, ChunkReader, EXTENSIONS_MAX, Keep, TRAILER_MAX,
    last_chunk, write_chunk_head,
};
pub use fault::Fault;
pub use fields::{Field, FieldKind, FieldSpace, Fields, HEAD_MAX, MAX_FIELDS, MAX_OPTIONS};
pub use forwarded::{Believed, HOPS_MAX};
pub use framing::{RequestFraming, ResponseFraming, Version};
pub use host::HOST_MAX;
pub use method::Method;
pub use refusal::{CONTINUE, Page, RefusalText, reason_phrase, write_empty, write_refusal};
pub use request::{RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};
pub use scan::{HeadScanner, LEADING_LINES_MAX};
pub use target::{Scheme, Target};
pub use trailers::write_trailers;
pub use upgrade::{PROTOCOL_MAX, Protocol};
pub use write::{
    ConnectionField, Delivery, Forwarding, Sent, finish_chunked_request, finish_request, is_one_of,
    may_be_added, write_request, write_response,
};
pub use writer::{Full, Writer};

/// Bounds of one head beyond its size in bytes, which the caller bounds by
/// [`HeadScanner::scanned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request target; a longer one is [`Fault::TargetTooLong`].
    pub target: u32,
    /// Most field lines of a head, at most [`MAX_FIELDS`]; more are [`Fault::TooManyFields`].
    pub fields: u16,
}
