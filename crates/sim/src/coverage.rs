//! What met what, as a table: each event in each state, how often, and what is missing.

use std::fmt::Write as _;

use exchange::Phase;
use worker::coverage::{Cell, Coverage, Event, State, cell};

const ARRIVING: State = State::Exchange(Phase::Arriving);
const AUTHORIZING: State = State::Exchange(Phase::Authorizing);
const COLLECTING: State = State::Exchange(Phase::Collecting);
const READY: State = State::Exchange(Phase::Ready);
const LEASED: State = State::Exchange(Phase::Leased);
const PENDING: State = State::Exchange(Phase::Pending);
const DRAINING: State = State::Exchange(Phase::Draining);
const DELIVERING: State = State::Exchange(Phase::Delivering);
const TUNNEL: State = State::Exchange(Phase::Tunnel);

/// One part of the table: whom events concern, and the states that one of those can be in.
type Part = (&'static str, &'static [State], fn(Event) -> bool);

const PARTS: [Part; 3] = [
    (
        "clients",
        &[
            State::ProxyHeader,
            State::Shaking,
            State::Parked,
            ARRIVING,
            AUTHORIZING,
            COLLECTING,
            READY,
            LEASED,
            PENDING,
            DRAINING,
            DELIVERING,
            TUNNEL,
            State::Lingering,
            State::Closing,
        ],
        Event::is_of_client,
    ),
    (
        "servers",
        &[
            State::Connecting,
            State::Idle,
            LEASED,
            PENDING,
            DRAINING,
            TUNNEL,
            State::Spent,
            State::Parting,
            State::Leaving,
        ],
        Event::is_of_server,
    ),
    (
        "exchanges",
        &[
            ARRIVING,
            AUTHORIZING,
            COLLECTING,
            READY,
            LEASED,
            PENDING,
            DRAINING,
            DELIVERING,
            TUNNEL,
            State::Gone,
        ],
        |event| !event.is_of_client() && !event.is_of_server(),
    ),
];

/// The whole table. `·` stands where they cannot meet, `MISSING` where they could and did not.
pub fn table(met: &Coverage) -> String {
    let mut text = String::new();
    for (whose, states, concerns) in PARTS {
        let _ = write!(text, "{whose:24}");
        for state in states {
            let _ = write!(text, "{:>11}", state.label());
        }
        text.push('\n');
        for event in Event::ALL.into_iter().filter(|&event| concerns(event)) {
            let _ = write!(text, "{:24}", event.label());
            for &state in states {
                let _ = write!(text, "{:>11}", shown(met, event, state));
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn shown(met: &Coverage, event: Event, state: State) -> String {
    match (cell(event, state), met.count(event, state)) {
        (Cell::Never(_), _) => "·".to_owned(),
        (Cell::Happens, 0) => "MISSING".to_owned(),
        (Cell::Happens, count @ 0..1_000_000) => count.to_string(),
        (Cell::Happens, count) => format!("{}k", count / 1000),
    }
}

/// What could meet and did not.
pub fn missing(met: &Coverage) -> Vec<String> {
    let pairs = Event::ALL.into_iter().flat_map(|it| State::ALL.map(|state| (it, state)));
    pairs
        .filter(|&(event, state)| {
            cell(event, state) == Cell::Happens && met.count(event, state) == 0
        })
        .map(|(event, state)| format!("{} in {}", event.label(), state.label()))
        .collect()
}

/// What cannot meet, though an event of that kind reaches that state otherwise, and why.
pub fn reasons() -> String {
    let mut text = String::new();
    for (whose, states, concerns) in PARTS {
        for event in Event::ALL.into_iter().filter(|&event| concerns(event)) {
            for &state in states {
                if let Cell::Never(reason) = cell(event, state) {
                    let _ =
                        writeln!(text, "{whose}: {} in {}: {reason}", event.label(), state.label());
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meeting_that_can_happen_stands_in_the_table() {
        for event in Event::ALL {
            for state in State::ALL {
                let stands =
                    PARTS.iter().any(|(_, states, of)| of(event) && states.contains(&state));
                assert!(
                    stands || matches!(cell(event, state), Cell::Never(_)),
                    "{event:?} in {state:?}"
                );
            }
        }
    }
}
