//! HTTP/1.1 read a second time, by other means: over whole bytes, line by line, with vectors and
//! without regard to speed. What passes the proxy must read here as it was meant; whether it is
//! refused there or here only is no matter.

mod chunks;
mod head;
mod message;

pub use chunks::{Chunked, chunked};
pub use head::{Head, head, list, switches, upgrade};
pub use message::{Reading, Request, Response, request, requests, response, switch};
