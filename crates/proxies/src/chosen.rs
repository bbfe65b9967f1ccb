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
    const fn of(&self, room: &Room<'_>) -> &dyn Proxy {
        if room.rules.passing.is_some() { &self.pass } else { &self.http }
    }
}

impl Proxy for Chosen {
    fn collect(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
        self.of(room).collect(exchange, fresh, room)
    }

    fn respond(&self, exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Responded {
        self.of(room).respond(exchange, fresh, room)
    }

    fn respond_end(&self, exchange: &mut Exchange, room: &mut Room<'_>) -> Responded {
        self.of(room).respond_end(exchange, room)
    }

    fn refuse(
        &self,
        exchange: &mut Exchange,
        refusal: Refusal,
        fault: Option<Fault>,
        room: &mut Room<'_>,
    ) -> bool {
        self.of(room).refuse(exchange, refusal, fault, room)
    }

    /// That of HTTP; whoever is passed through is told nothing.
    fn crowded(&self) -> &'static [u8] {
        self.http.crowded()
    }
}
