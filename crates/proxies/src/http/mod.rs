//! The HTTP proxy (RFC 9110, RFC 9112).
//!
//! A request is collected completely and rewritten in canonical form with an exact length; a
//! response is read at the server's speed and rewritten for the client. Nothing ambiguous passes
//! in either direction.

mod admission;
mod body;
mod collect;
mod drain;
mod head;
mod note;
mod refuse;
mod respond;
#[cfg(test)]
mod tests;
mod upload;

use exchange::{Collected, Exchange, Proxy, Refusal, Responded, Room};
use wire::http1::{Fault, Limits, MAX_FIELDS};

/// The name in `Via` and of the pseudonym in `Server`-less refusals (RFC 9110 §7.6.3).
const PSEUDONYM: &str = "anteroom";

/// The HTTP proxy. It holds nothing: all state is in the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http;

impl Proxy for Http {
    fn collect(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
        collect::collect(exchange, fresh, room)
    }

    fn respond(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
        respond::respond(exchange, fresh, room)
    }

    fn respond_end(&self, exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
        respond::respond_end(exchange, room)
    }

    fn refuse(
        &self,
        exchange: &mut Exchange,
        refusal: Refusal,
        fault: Option<Fault>,
        room: &mut Room<'_>,
    ) -> bool {
        refuse::refuse(exchange, refusal, fault, room)
    }

    fn crowded(&self) -> &'static [u8] {
        refuse::CROWDED
    }
}

/// The bounds `wire` checks while it parses.
fn limits(target: u32) -> Limits {
    Limits { target, fields: u16::try_from(MAX_FIELDS).unwrap_or(u16::MAX) }
}
