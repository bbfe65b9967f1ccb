//! Which event can meet which state, and why not.

use exchange::{Mishap, Outcome, Phase, outcome};

use Cell::{Happens, Never};
use Phase as P;
use State::{
    Closing, Connecting, Exchange, Gone, Idle, Leaving, Lingering, Parked, Parting, ProxyHeader,
    Shaking, Spent,
};

use super::{Event, Patience, Progress, State};

/// What is to be said of an event in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It happens.
    Happens,
    /// It cannot happen, and why: asserted.
    Never(&'static str),
}

/// The table: (event, state) → whether they can meet.
pub const fn cell(event: Event, state: State) -> Cell {
    match event {
        Event::ClientReadable
        | Event::ClientEnded
        | Event::ClientSent
        | Event::ClientFailed
        | Event::ClientClosed => client_tells(event, state),
        Event::Late(class) => client_late(class, state),
        Event::Secured | Event::Unsecured | Event::Dismissed | Event::Expelled => {
            at_the_door(event, state)
        }
        Event::Drain | Event::Stop => ordered(state),
        Event::ServerConnected
        | Event::ServerConnectFailed
        | Event::ServerReadable
        | Event::ServerSent
        | Event::ServerFailed
        | Event::ServerClosed
        | Event::HandedOver => server_tells(event, state),
        Event::ServerLate(class) => server_late(class, state),
        Event::PipelinedTurn
        | Event::BufferGranted
        | Event::VerdictCame
        | Event::LeaseGranted
        | Event::LeaseStale
        | Event::LeaseRefused
        | Event::DiskWrote
        | Event::DiskRead
        | Event::DiskFailed => exchange_meets(event, state),
        Event::Mishap(mishap) => goes_wrong(mishap, state),
    }
}

const OF_A_CLIENT: &str = "a client's event concerns no connection to a server";
const OF_A_SERVER: &str = "a server's event concerns only its connection and who leased it";
const OF_AN_EXCHANGE: &str = "it concerns exchanges only";
const READ_BACK: &str = "the server has the request: all of it was written, and read back";
const LAST_WORD: &str = "a record outlives every word about it but the last (law 9)";

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn client_tells(event: Event, state: State) -> Cell {
    use Event as E;
    match (state, event) {
        (Connecting | Idle | Spent | Parting | Leaving, _) => Never(OF_A_CLIENT),
        (Gone, _) => Never(LAST_WORD),
        (Closing, E::ClientClosed) => Happens,
        (_, E::ClientClosed) => Never("only what we close is closed"),
        (Closing, _) => Never("nothing but the last word follows a close"),

        (Shaking, E::ClientReadable) => Never("what comes is the handshake's, until that is over"),
        (ProxyHeader | Parked | Lingering, E::ClientReadable) => Happens,
        (Exchange(P::Arriving | P::Collecting), E::ClientReadable) => Happens,
        (Exchange(P::Ready | P::Leased | P::Tunnel), E::ClientReadable) => Happens,
        (Exchange(P::Authorizing), E::ClientReadable) => Never("nobody listens while it is asked"),
        (Exchange(_), E::ClientReadable) => Never("nobody listens once the request is whole"),

        (ProxyHeader | Shaking | Parked, E::ClientFailed) => {
            Never("whoever listens is told in receiving")
        }
        // Its end has come, and our last word waits for room.
        (Lingering, E::ClientFailed | E::ClientSent) => Happens,

        (Exchange(P::Draining), E::ClientEnded) => Happens,
        (_, E::ClientEnded) => Never("only an event stream awaits its client's end alone"),

        (Exchange(P::Leased | P::Pending), E::ClientSent) => Happens,
        (Exchange(P::Draining | P::Delivering | P::Tunnel), E::ClientSent) => Happens,
        (_, E::ClientSent) => Never("nothing is on its way to the client"),

        (_, _) => Happens,
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn client_late(class: Patience, state: State) -> Cell {
    use Patience as L;
    match (class, state) {
        (_, Connecting | Idle | Spent | Parting | Leaving) => Never(OF_A_CLIENT),
        (_, Gone | Closing) => Never("what is closed awaits nothing"),
        (L::Idle | L::New, Parked) => Happens,
        (L::Idle | L::New, _) => Never("it is not idle"),
        (L::Handshake, Shaking) => Happens,
        (L::Handshake, _) => Never("its handshake is over, or there is none"),
        (L::Head, ProxyHeader | Exchange(P::Arriving)) => Happens,
        (L::Head, _) => Never("the head is there"),
        (L::Verdict, Exchange(P::Authorizing)) => Happens,
        (L::Verdict, _) => Never("no verdict is awaited"),
        (L::Body, Exchange(P::Collecting | P::Leased)) => Happens,
        (L::Body, _) => Never("no body is awaited"),
        (L::Queue, Exchange(P::Arriving | P::Collecting | P::Ready)) => Happens,
        (L::Queue, _) => Never("it waits in no queue of ours"),
        (L::Write, Exchange(P::Leased | P::Pending | P::Draining | P::Delivering)) => Happens,
        (L::Write, Exchange(P::Tunnel)) => Happens,
        (L::Write, _) => Never("nothing is on its way to the client"),
        (L::Linger, Lingering) => Happens,
        (L::Linger, _) => Never("it does not linger"),
        (L::Stream, Exchange(P::Draining)) => Happens,
        (L::Stream, _) => Never("it is no event stream"),
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn at_the_door(event: Event, state: State) -> Cell {
    use Event as E;
    match (event, state) {
        (_, Connecting | Idle | Spent | Parting | Leaving) => Never(OF_A_CLIENT),
        (_, Gone | Closing | Lingering) => Never("it goes already"),
        (E::Secured | E::Unsecured, Parked) => Happens,
        (E::Secured | E::Unsecured, _) => Never("it has been told already, or is none of TLS"),
        (E::Dismissed, ProxyHeader) => Happens,
        (E::Dismissed, _) => Never("who it is was known when it came"),
        (E::Expelled, ProxyHeader) => Never("who it is will be seen"),
        (_, _) => Happens,
    }
}

const fn ordered(state: State) -> Cell {
    match state {
        Connecting | Idle | Spent | Parting | Leaving => Never(OF_A_CLIENT),
        Gone => Never("who is not there is told nothing"),
        _ => Happens,
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn server_tells(event: Event, state: State) -> Cell {
    use Event as E;
    match (state, event) {
        (ProxyHeader | Shaking | Parked | Lingering | Closing, _) => Never(OF_A_SERVER),
        (Exchange(P::Arriving | P::Authorizing | P::Collecting | P::Ready | P::Delivering), _) => {
            Never("it holds no connection")
        }
        (Gone, _) => Never(LAST_WORD),
        (Leaving, E::ServerClosed) => Happens,
        (_, E::ServerClosed) => Never("only what we close is closed"),
        (Leaving, _) => Never("nothing but the last word follows a close"),

        (Connecting, E::ServerConnected | E::ServerConnectFailed) => Happens,
        (_, E::ServerConnected | E::ServerConnectFailed) => Never("it is open"),
        (Connecting, _) => Never("it is not open yet"),

        (Spent, E::HandedOver) => Happens,
        (_, E::HandedOver) => Never("only idle connections move"),

        (Idle, E::ServerFailed) => Never("whoever listens is told in receiving"),

        (Exchange(P::Leased | P::Tunnel), E::ServerSent) => Happens,
        // What it was sent last is not taken yet, and not needed.
        (Exchange(P::Draining) | Spent, E::ServerSent) => Happens,
        // Its end has come, and our last word waits for room.
        (Parting, E::ServerSent) => Happens,
        (_, E::ServerSent) => Never("nothing is on its way to the server"),

        (_, _) => Happens,
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn server_late(class: Progress, state: State) -> Cell {
    use Progress as L;
    match (class, state) {
        (_, ProxyHeader | Shaking | Parked | Lingering | Closing) => Never(OF_A_SERVER),
        (_, Exchange(P::Arriving | P::Authorizing | P::Collecting | P::Ready | P::Delivering)) => {
            Never("it holds no connection")
        }
        (_, Gone | Leaving) => Never("what is closed awaits nothing"),
        (L::Connect, Connecting) | (L::Parting, Parting) => Happens,
        (L::Connect, _) => Never("it is open"),
        (L::Parting, _) => Never("its end has not begun"),
        (_, Connecting | Parting | Idle | Spent) => Never("no response is awaited"),
        (L::FirstByte, Exchange(P::Pending)) => Happens,
        (L::FirstByte, _) => Never("the request is not taken, or the response has begun"),
        (L::Response, Exchange(_)) => Happens,
        (L::Tunnel | L::HalfClosed, Exchange(P::Tunnel)) => Happens,
        (L::Tunnel | L::HalfClosed, _) => Never("it is no tunnel"),
        (L::Event, Exchange(P::Draining)) => Happens,
        (L::Event, _) => Never("it is no event stream"),
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one line per cause, in order")]
const fn exchange_meets(event: Event, state: State) -> Cell {
    use Event as E;
    match (event, state) {
        (_, ProxyHeader | Shaking | Parked | Lingering | Closing) => Never(OF_AN_EXCHANGE),
        (_, Connecting | Idle | Spent | Parting | Leaving) => Never(OF_AN_EXCHANGE),
        (E::PipelinedTurn, Exchange(P::Arriving) | Gone) => Happens,
        // Its number may be another's by now: then it is gone itself.
        (E::PipelinedTurn, _) => Never("its turn comes before anything else of it"),

        (E::VerdictCame, Exchange(P::Authorizing)) => Happens,
        (E::VerdictCame, _) => Never("whoever awaits none hears none"),

        (E::BufferGranted, Exchange(P::Authorizing)) => Never("it waits for a verdict alone"),
        (E::BufferGranted, Exchange(P::Ready)) => Never("it waits for a lease alone"),
        (E::BufferGranted, Gone) => Never("who ends leaves the queue for buffers"),
        (E::BufferGranted, _) => Happens,

        (E::LeaseGranted | E::LeaseStale, Exchange(P::Ready)) => Happens,
        (E::LeaseGranted | E::LeaseStale, _) => Never("only complete requests are queued"),
        (E::LeaseRefused, Exchange(P::Ready)) => Happens,
        (E::LeaseRefused, _) => Never("only complete requests are queued"),

        (E::DiskWrote | E::DiskRead | E::DiskFailed, Exchange(P::Arriving | P::Authorizing)) => {
            Never("a head is never in the spool")
        }
        (E::DiskWrote | E::DiskRead | E::DiskFailed, Exchange(P::Tunnel)) => {
            Never("what a tunnel carries is never in the spool")
        }
        (E::DiskWrote | E::DiskRead | E::DiskFailed, Exchange(P::Pending)) => Never(READ_BACK),
        (E::DiskRead, Exchange(P::Collecting)) => Never("what is collected is not read back"),
        (_, _) => Happens,
    }
}

const fn goes_wrong(mishap: Mishap, state: State) -> Cell {
    let Exchange(phase) = state else { return Never(OF_AN_EXCHANGE) };
    match (mishap, phase) {
        (Mishap::SpoolBroke, P::Pending) => Never(READ_BACK),
        (Mishap::ClientEnded, P::Arriving | P::Collecting) => Happens,
        (Mishap::ClientEnded, _) => Never("nobody listens once the request is whole"),
        (Mishap::SpoolFull, P::Draining | P::Delivering) => {
            Never("a response stays in the pool then, and stalls")
        }
        _ => match outcome(phase, mishap) {
            Outcome::Impossible => Never("the table of outcomes says so"),
            _ => Happens,
        },
    }
}
