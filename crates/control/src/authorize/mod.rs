//! Whether a client may: found out by whoever can, in the time it takes.
//!
//! - `passwords`: what `Basic` says, against a file of hashes (RFC 7617);
//! - `tokens` and `keys`: what `Bearer` says, against keys (RFC 6750, 7519, 8725);
//! - `refresh`: when keys are fetched that stand at a URL;
//! - `fetch`: requests to others, bounded in time and size;
//! - `server`: an authorization server, which is shown the head.
//!
//! Nothing here knows whose question it is, and no secret is told in any message.

mod fetch;
mod keys;
mod passwords;
mod refresh;
mod server;
mod tokens;

use std::time::Duration;

pub use fetch::{Authorities, Fetch, Url};
pub use hyper::header::HeaderName;
pub use keys::{Algorithm, Keys};
pub use passwords::Passwords;
pub use refresh::{Fetched, KeyServer, Refresh, Unknown};
pub use server::{AuthorizationServer, fields};
pub use tokens::{Token, TokenRules};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The client may.
    LetIn {
        /// Who it is; empty if nobody said.
        subject: Vec<u8>,
        /// Fields for the server behind: names and values.
        fields: Vec<(String, Vec<u8>)>,
        /// How long that is true at most.
        until: Option<Duration>,
    },
    /// It may not.
    Denied {
        /// Why.
        why: Denial,
        /// Fields for the client.
        fields: Vec<(String, Vec<u8>)>,
    },
    /// It cannot be found out.
    Failed,
}

/// Why a client may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Its credentials are not right: 401.
    Credentials,
    /// It is who it is: 403.
    Forbidden,
    /// It is sent elsewhere: 302.
    Elsewhere,
}

impl Finding {
    /// The credentials are not right.
    pub const fn bad_credentials() -> Self {
        Self::Denied { why: Denial::Credentials, fields: Vec::new() }
    }
}

/// What is wrong with a file, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// In which line, if that can be said.
    pub line: Option<usize>,
    /// What is wrong, and the remedy.
    pub why: String,
}

impl FileFault {
    fn whole(why: impl Into<String>) -> Self {
        Self { line: None, why: why.into() }
    }

    fn at(line: usize, why: impl Into<String>) -> Self {
        Self { line: Some(line), why: why.into() }
    }
}
