//! Floor 2: TLS (RFC 8446, RFC 5246) without I/O: bytes <-> records.
//!
//! A [`Session`] is shown whole records and says what they come to; it writes records into an
//! [`Output`]. It keeps no buffer: between two calls there is nothing but keys and state, and, while
//! a handshake message is in parts, those parts. Who has the bytes, and when they go where, is the
//! worker's business (`worker/src/secured`).
//!
//! - `session`: rustls' unbuffered interface, the one file that knows it;
//! - `resting`: TLS 1.3 keys as small as they can be kept;
//! - `record`: where a record ends (RFC 8446 §5.1);
//! - `identity`: a certificate with its key, and `pem`: what is wrong with their files; `names`: which of several a client gets;
//! - `acceptor`, `connector`: what sessions are made from, for clients and to servers;
//! - `chain`: how long a peer's certificate chain may be;
//! - `agreed`: what both ends settled on;
//! - `failure`: why a session ended that should not have.
#![forbid(unsafe_code)]

mod acceptor;
mod agreed;
mod chain;
mod connector;
mod failure;
mod identity;
mod names;
mod output;
mod pem;
mod record;
mod resting;
mod session;

pub use acceptor::{
    Acceptor, AcceptorConfig, AcceptorError, Cipher, ClientAuth, Tickets, Versions,
};
pub use agreed::Agreed;
pub use connector::{Connector, ConnectorConfig, Trust};
pub use failure::Failure;
pub use identity::{Authorities, Identity, IssuedAs, subject_of};
pub use names::UnknownName;
pub use output::Output;
pub use pem::{Instead, PemError};
pub use record::{Record, next_record};
pub use session::{Found, Session};
