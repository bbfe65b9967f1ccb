//! Until a connection is open: the client's messages are read where the kernel has them.

use driver::{Completion, ConnectFault, Driver, Owner, Peeked, Socket, Then};
use tls::{Failure, Output, Record, next_record};

use super::parts::Parts;
use super::slot::{Party, Stage};
use super::{Event, Secured, Slot};
use crate::plan::ServerTls;

/// What a client that speaks plain HTTP is told, in its own language (RFC 9110 §15.5.1).
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 53\r\nConnection: close\r\n\r\n\
    The plain HTTP request was sent to an HTTPS address.\n";

/// How a look at a handshake ended.
#[derive(Clone, Copy)]
enum Shaken {
    /// More must come.
    Blocked,
    /// It is over, and the connection open.
    Open,
    /// The peer is gone.
    Left,
    Broken,
    /// It failed; the peer was told.
    Failed(Failure),
}

impl<D: Driver> Secured<D> {
    /// Something can be received from a secured connection.
    pub(super) fn readable(&mut self, index: u32) -> Event {
        let Some(slot) = self.slots.get(index as usize).and_then(Option::as_deref) else {
            return Event::Handled;
        };
        if slot.stage == Stage::Handshake {
            let (party, owner, socket) = (slot.party, slot.owner, slot.socket);
            let shaken = self.shake(index);
            return match party {
                Party::Client(_) => self.shaken_by_client(index, owner, socket, shaken),
                Party::Server(_) => self.shaken_by_server(index, owner, socket, shaken),
            };
        }
        Event::Driver(Completion::Readable { owner: slot.owner })
    }

    fn shaken_by_client(
        &mut self,
        index: u32,
        owner: Owner,
        socket: Socket,
        shaken: Shaken,
    ) -> Event {
        match shaken {
            Shaken::Blocked => {
                self.driver.arm(socket);
                Event::Handled
            }
            Shaken::Open => {
                self.count_open(index);
                self.driver.arm(socket);
                Event::Secured(owner)
            }
            Shaken::Left => {
                if self.give_up_shaking(index, Stage::Broken).is_some() {
                    self.fail(index, Failure::Left);
                }
                // To the worker it is as the end of a parked client.
                Event::Driver(Completion::Readable { owner })
            }
            Shaken::Broken => {
                if self.give_up_shaking(index, Stage::Lost).is_some() {
                    self.fail(index, Failure::Left);
                }
                // Who waits to receive is told in receiving.
                Event::Driver(Completion::Readable { owner })
            }
            Shaken::Failed(failure) => {
                self.give_up_shaking(index, Stage::Broken);
                self.fail(index, failure);
                Event::Refused(owner, failure)
            }
        }
    }

    /// To the worker a server is connected when its handshake is over, and not before.
    fn shaken_by_server(
        &mut self,
        index: u32,
        owner: Owner,
        socket: Socket,
        shaken: Shaken,
    ) -> Event {
        let failure = match shaken {
            Shaken::Blocked => {
                self.driver.arm(socket);
                return Event::Handled;
            }
            Shaken::Open => {
                self.count_open(index);
                return Event::Driver(Completion::Connected { owner });
            }
            Shaken::Left | Shaken::Broken => Failure::Left,
            Shaken::Failed(failure) => failure,
        };
        self.give_up_shaking(index, Stage::Broken);
        self.fail(index, failure);
        Event::Driver(Completion::ConnectFailed { owner, fault: ConnectFault::Refused })
    }

    /// A connection to a server is open: its handshake begins.
    pub(super) fn greet(&mut self, index: u32) -> Event {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut) else {
            return Event::Handled;
        };
        let (owner, socket) = (slot.owner, slot.socket);
        let mut output = Output::new(&mut self.scratch.outgoing);
        let begun = begin(slot, &self.makers.servers, &mut output);
        let written = output.len();
        let shaken = match begun {
            Ok(()) if self.send_now(socket, written).is_ok() => Shaken::Blocked,
            Ok(()) => Shaken::Left,
            Err(failure) => Shaken::Failed(failure),
        };
        self.shaken_by_server(index, owner, socket, shaken)
    }

    fn count_open(&self, index: u32) {
        self.counters.tls_handshakes.increment();
        let slot = self.slots.get(index as usize).and_then(Option::as_deref);
        if slot.and_then(|slot| slot.session.as_deref()).is_some_and(tls::Session::is_resumed) {
            self.counters.tls_resumed.increment();
        }
    }

    /// The handshake is over, and in vain; whether it had begun.
    fn give_up_shaking(&mut self, index: u32, stage: Stage) -> Option<()> {
        let slot = self.slots.get_mut(index as usize)?.as_deref_mut()?;
        slot.stage = stage;
        slot.session.as_ref().map(|_| ())
    }

    /// Goes on with the handshake as far as what is there allows.
    fn shake(&mut self, index: u32) -> Shaken {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut) else {
            return Shaken::Left;
        };
        let socket = slot.socket;
        let Peeked { count, then } = self.driver.peek(socket, &mut self.scratch.incoming);
        let left_off = match then {
            Then::More => Shaken::Blocked,
            Then::Ended => Shaken::Left,
            Then::Failed(_) => Shaken::Broken,
        };
        if count == 0 {
            return left_off;
        }
        let full = count == self.scratch.incoming.len();
        let incoming = &mut self.scratch.incoming[..count];
        if slot.session.is_none() && incoming[0].is_ascii_uppercase() {
            return self.answer_plain_http(index, count);
        }
        let mut output = Output::new(&mut self.scratch.outgoing);
        let (taken, read) = match open(slot, &self.makers.acceptors) {
            Ok(()) => read(slot, &mut self.parts, incoming, &mut output),
            Err(failure) => (count, Err(failure)),
        };
        let written = output.len();
        // A part of the first record behind the handshake begins a request: it is looked at again.
        let part = || next_record(&self.scratch.incoming[taken..count]) == Record::Part;
        let done = read.is_err() || (read == Ok(false) && !full && part());
        self.driver.skip(socket, taken, done || taken == count);
        if done && taken < count {
            self.driver.make_room(socket);
        }
        if self.send_now(socket, written).is_err() {
            return Shaken::Broken;
        }
        match read {
            Err(failure) => Shaken::Failed(failure),
            Ok(true) => Shaken::Open,
            Ok(false) if full => Shaken::Blocked,
            Ok(false) => left_off,
        }
    }

    /// Tells a client that it came to the wrong door.
    fn answer_plain_http(&mut self, index: u32, count: usize) -> Shaken {
        let Some(slot) = self.slots.get(index as usize).and_then(Option::as_deref) else {
            return Shaken::Left;
        };
        let socket = slot.socket;
        self.driver.skip(socket, count, true);
        match self.driver.send_bytes(socket, PLAIN_HTTP, false) {
            driver::Sent::Failed(_) => Shaken::Broken,
            _ => Shaken::Failed(Failure::PlainHttp),
        }
    }
}

/// Makes the session, if there is none yet.
fn open(slot: &mut Slot, acceptors: &[Option<tls::Acceptor>]) -> Result<(), Failure> {
    if slot.session.is_some() {
        return Ok(());
    }
    let Party::Client(listener) = slot.party else { return Err(Failure::Other) };
    let acceptor =
        acceptors.get(listener.index()).and_then(Option::as_ref).ok_or(Failure::Other)?;
    slot.session = Some(Box::new(acceptor.accept()?));
    Ok(())
}

/// Says hello to a server.
fn begin(
    slot: &mut Slot,
    servers: &[Option<ServerTls>],
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Party::Server(server) = slot.party else { return Err(Failure::Other) };
    let server = servers.get(server.index()).and_then(Option::as_ref).ok_or(Failure::Other)?;
    let session = server.connector.connect(&server.name)?;
    slot.session.insert(Box::new(session)).begin(output)
}

/// Reads the records that are whole, up to the end of the handshake. How much was taken, and whether
/// that was the end.
fn read(
    slot: &mut Slot,
    parts: &mut Parts,
    incoming: &mut [u8],
    output: &mut Output<'_>,
) -> (usize, Result<bool, Failure>) {
    let Some(session) = slot.session.as_deref_mut() else { return (0, Err(Failure::Other)) };
    let mut taken = 0;
    loop {
        let rest = &mut incoming[taken..];
        let whole = match next_record(rest) {
            Record::Whole(whole) => whole,
            Record::Part => return (taken, Ok(false)),
            Record::Bad => return (incoming.len(), Err(parts.refuse(session, output))),
        };
        if let Err(failure) = parts.read(session, &mut rest[..whole], output, |_| ()) {
            return (incoming.len(), Err(failure));
        }
        taken += whole;
        if !session.is_handshaking() {
            session.identify();
            slot.stage = Stage::Open;
            return (taken, Ok(true));
        }
    }
}
