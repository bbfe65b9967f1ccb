//! The proxy of each listener.

use exchange::{Collected, Exchange, Proxy, Refusal, Responded, Room};
use wire::http1::Fault;

use crate::http::Http;
use crate::pass::Pass;

/// Asks the proxy that the rules of the listener name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen {
    http: Http,
    pass: Pass,
}

impl Chosen {
    const fn of(&self, room: &Room<'_>) -> Which<'_> {
        if room.rules.passing.is_some() { Which::Pass(&self.pass) } else { Which::Http(&self.http) }
    }
}

enum Which<'p> {
    Http(&'p Http),
    Pass(&'p Pass),
}

impl Proxy for Chosen {
    fn collect(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
        match self.of(room) {
            Which::Http(http) => http.collect(exchange, fresh, room),
            Which::Pass(pass) => pass.collect(exchange, fresh, room),
        }
    }

    fn respond(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
        match self.of(room) {
            Which::Http(http) => http.respond(exchange, fresh, room),
            Which::Pass(pass) => pass.respond(exchange, fresh, room),
        }
    }

    fn respond_end(&self, exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
        match self.of(room) {
            Which::Http(http) => http.respond_end(exchange, room),
            Which::Pass(pass) => pass.respond_end(exchange, room),
        }
    }

    fn refuse(
        &self,
        exchange: &mut Exchange,
        refusal: Refusal,
        fault: Option<Fault>,
        room: &mut Room<'_>,
    ) -> bool {
        match self.of(room) {
            Which::Http(http) => http.refuse(exchange, refusal, fault, room),
            Which::Pass(pass) => pass.refuse(exchange, refusal, fault, room),
        }
    }

    /// That of HTTP; whoever is passed through is told nothing.
    fn crowded(&self) -> &'static [u8] {
        self.http.crowded()
    }
}
