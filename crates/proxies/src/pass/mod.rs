//! The pass-through proxy: bytes of whatever protocol, both ways, unread. At most the TLS hello is
//! looked at, for the name that says which servers the client is for.
//!
//! Its exchanges end where others begin: once the client's servers are known the exchange is
//! `Ready`, and with its connection it becomes a tunnel.

use exchange::{Collected, Exchange, Proxy, Refusal, Responded, Room, State};
use wire::hello::{Hello, read_hello};
use wire::http1::Fault;

/// The pass-through proxy. It holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass;

impl Proxy for Pass {
    fn collect(&self, exchange: &mut Exchange, _fresh: u32, room: &mut Room<'_>) -> Collected {
        let State::Arriving { input, .. } = &exchange.state else {
            debug_assert!(false, "what is passed through is not read");
            return Collected::Incomplete { advise: false };
        };
        let names = room.rules.passing.as_ref().and_then(|passing| passing.names.as_ref());
        if let Some(names) = names {
            // Looked at again only when it can be whole: who sends it byte by byte gains nothing.
            if input.len() < exchange.facts.hello {
                return Collected::Incomplete { advise: false };
            }
            let most = room.rules.max_head as usize;
            let Some(space) = room.scratch.joined.get_mut(..most) else {
                return Collected::Refused(Refusal::HeadTooLarge, None);
            };
            let there = room.pool.copy_out(input, space);
            let group = match read_hello(&mut space[..there]) {
                Hello::Incomplete(missing) if there.saturating_add(missing) <= most => {
                    let needed = u32::try_from(there + missing).unwrap_or(u32::MAX);
                    exchange.facts.hello = needed;
                    return Collected::Incomplete { advise: false };
                }
                Hello::Incomplete(_) => {
                    return Collected::Refused(Refusal::HeadTooLarge, None);
                }
                Hello::Whole(name) => names.group(name).ok_or(Refusal::Misdirected),
                Hello::Malformed => names.group(None).ok_or(Refusal::Malformed),
            };
            match group {
                Ok(group) => exchange.group = group,
                Err(refusal) => return Collected::Refused(refusal, None),
            }
        }
        let State::Arriving { input, .. } = &mut exchange.state else {
            return Collected::Incomplete { advise: false };
        };
        let first = input.take();
        exchange.passes_on(first);
        Collected::Complete
    }

    fn respond(&self, _exchange: &mut Exchange, _fresh: u32, _room: &mut Room<'_>) -> Responded {
        debug_assert!(false, "what is passed through is not read");
        Responded::Broken(Fault::HeadNotWhole)
    }

    fn respond_end(&self, _exchange: &mut Exchange, _room: &mut Room<'_>) -> Responded {
        debug_assert!(false, "what is passed through is not read");
        Responded::Broken(Fault::HeadNotWhole)
    }

    /// There are no words that a client of any protocol would understand.
    fn refuse(
        &self,
        _exchange: &mut Exchange,
        _refusal: Refusal,
        _fault: Option<Fault>,
        _room: &mut Room<'_>,
    ) -> bool {
        false
    }

    fn crowded(&self) -> &'static [u8] {
        b""
    }
}
