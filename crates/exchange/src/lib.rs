//! Floor 2: the shared language of worker and proxies.
//!
//! An [`Exchange`] is one request and its response. Its [`State`] says what it awaits and owns
//! exactly what it needs for that; each arrow between states is one function in `arrows.rs`. A
//! [`Proxy`] reads the bytes and says what they mean; the worker moves them. What a mishap does
//! in each state stands in one table, [`outcome()`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arrows;
mod authorization;
mod challenges;
mod facts;
mod fill;
mod note;
mod outcome;
mod pages;
mod phase;
mod proxy;
mod refusal;
mod request_id;
mod room;
mod routes;
mod spooled;
mod state;
#[cfg(test)]
mod tests;
mod trust;
mod tunnel;
mod upload;

pub use authorization::{Admission, Asks, Authorization, Grant, Granted};
pub use challenges::Challenges;
pub use facts::{Facts, Then};
pub use fill::fresh_for;
pub use note::{Note, Piece, Pieces};
pub use outcome::{Mishap, Outcome, outcome};
pub use pages::{ErrorPages, PAGE_MAX, PageError, PageType};
pub use phase::Phase;
pub use proxy::{Collected, Proxy, Responded};
pub use refusal::Refusal;
pub use request_id::{REQUEST_ID_MAX, RequestId, RequestIds};
pub use room::{Room, Rules, Scratch, TlsFacts};
pub use routes::{Names, Passing};
pub use spooled::{Next, Reading, Spooled};
pub use state::{Exchange, Lease, Pace, Reply, RequestBody, ResponseBody, State};
pub use trust::Trusts;
pub use tunnel::{Flow, Tunnel, Way};
pub use upload::Upload;
