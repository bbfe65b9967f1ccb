//! Floor 4: one worker per core.
//!
//! A [`Worker`] owns a driver, a pool, its clients, its exchanges and its share of the bus, and
//! is the one place where they meet: completions come in, the proxy says what the bytes mean,
//! actions go out. It reads no clock and knows no socket, so the same code runs over epoll and
//! in the simulator.
//!
//! Where to look: `turn.rs` for the loop, `admit.rs` for new clients, `request.rs` up to the
//! complete request, `lease.rs` for the way to the server, `response.rs` for the way back,
//! `deliver.rs` up to the parked client, `ending.rs` for everything that goes wrong,
//! `upload.rs` and `pinned.rs` for what is streamed, there and back, `tunnel.rs` for what is joined
//! and not read, `spool.rs` for what goes to
//! disk, `readdress.rs` for names that lead elsewhere, `screen.rs` for who may come in, `preface.rs` for whose
//! connection it is, `limit.rs` for what one address may have, `authorize/` for
//! who may have a request served, `pressure.rs` for a pool that runs short,
//! `account.rs` for what the access log is told, `orders.rs` for drain and stop, `audit.rs` and
//! `laws.rs` for what must hold between two turns, `coverage/` for which event can meet which state.
#![forbid(unsafe_code)]

mod access;
mod account;
mod admit;
mod audit;
mod authorize;
mod client;
mod counters;
pub mod coverage;
mod crowd;
mod date;
mod deadline;
mod deliver;
mod ending;
mod laws;
mod lease;
mod limit;
#[cfg(test)]
#[cfg(any(loom, shuttle))]
mod models;
mod office;
mod orders;
mod pass;
mod pinned;
mod plan;
mod preface;
mod pressure;
mod readdress;
mod request;
mod response;
mod screen;
mod secured;
mod spool;
mod tunnel;
mod turn;
mod upload;
mod upstream;

pub use access::{AccessReader, AccessRecord, AccessWriter, access_ring};
pub use account::account_bytes;
pub use authorize::{AuthorizerPlan, Inquiries, Inquiry, Verdict};
pub use counters::{AcceptPause, CloseReason, WorkerCounters};
pub use limit::LeastRate;
pub use office::{Letter, Office};
pub use orders::Life;
pub use plan::{AtLimit, ListenerPlan, Plan, RecordBytes, ServerTls, Timeouts, TlsPlan};
pub use screen::{Balancers, Screening};
pub use secured::{Carried, SCRATCH_BYTES, ahead_places, handshake_bytes};
pub use turn::{StartError, Worker};
