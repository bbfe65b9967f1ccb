//! Bytes of an open connection: looked at, decrypted in scratch, put into the chain that asked.

use base::limits::{TLS_HEADER, TLS_PLAIN_MAX};
use driver::{Driver, Peeked, PeerFault, Received, Socket, Then};
use pool::{Chain, Fill, FillError, Pool, Promise};
use tls::{Failure, Output, Record, next_record};

use super::parts::Parts;
use super::slot::{Party, Place, Slot, Stage};
use super::{Secured, slot_of};

/// Where plaintext goes.
struct Sink<'s> {
    pool: &'s mut Pool,
    chain: &'s mut Chain,
    fill: Fill,
    promise: &'s mut Option<Promise>,
    delivered: u32,
}

impl Sink<'_> {
    /// Buffers that may be linked now, whatever was asked for.
    fn grantable(&self) -> usize {
        self.pool.grantable(self.fill.rank) as usize + usize::from(self.promise.is_some())
    }

    /// Bytes that there is room for if so many buffers are linked.
    fn room(&self, buffers: usize) -> usize {
        let headroom = if self.chain.is_empty() { usize::from(self.fill.headroom) } else { 0 };
        let fresh = (buffers * self.pool.buffer_bytes() as usize).saturating_sub(headroom);
        self.pool.room(self.chain) + fresh
    }

    /// Whether `bytes` have room. The first of a call may take what buffers there are; those behind
    /// it keep to what was asked for.
    fn takes(&self, bytes: usize) -> bool {
        let most = if self.delivered == 0 { self.grantable() } else { self.left_of_fill() };
        bytes <= self.room(most)
    }

    fn left_of_fill(&self) -> usize {
        self.grantable().min(usize::from(self.fill.fresh))
    }

    /// Puts bytes behind the chain's last one, as far as there is room; how many.
    fn put(&mut self, bytes: &[u8], fresh: u16) -> Option<usize> {
        let fill = Fill { fresh, ..self.fill };
        let put = self.pool.fill(self.chain, fill, self.promise, |spaces| {
            let mut rest = bytes;
            for space in spaces {
                let n = rest.len().min(space.len());
                let (now, later) = rest.split_at(n);
                space[..n].copy_from_slice(now);
                rest = later;
            }
            Ok::<_, core::convert::Infallible>(bytes.len() - rest.len())
        });
        match put {
            Ok(n) => {
                self.delivered += u32::try_from(n).unwrap_or(u32::MAX);
                Some(n)
            }
            Err(FillError::NoBuffer | FillError::Receive(_)) => None,
        }
    }

    /// Puts a record's plaintext, for which there is room.
    fn put_all(&mut self, bytes: &[u8]) {
        let before = self.chain.buffers();
        let mut rest = bytes;
        // Of the smallest buffers one call links too few.
        while !rest.is_empty() {
            let behind = rest.len().saturating_sub(self.pool.room(self.chain));
            let headroom = if self.chain.is_empty() { usize::from(self.fill.headroom) } else { 0 };
            let fresh = (behind + headroom).div_ceil(self.pool.buffer_bytes() as usize);
            let put = self.put(rest, u16::try_from(fresh).unwrap_or(u16::MAX));
            debug_assert!(put.is_some_and(|n| n > 0), "there was room");
            let Some(n) = put.filter(|&n| n > 0) else { break };
            rest = &rest[n..];
        }
        let linked = u16::try_from(self.chain.buffers() - before).unwrap_or(u16::MAX);
        self.fill.fresh = self.fill.fresh.saturating_sub(linked);
    }
}

/// What a look at a connection came to, beside what was delivered.
struct Look {
    /// Bytes to take from the kernel.
    taken: usize,
    /// Nothing can be done with the rest before more comes.
    settled: bool,
    end: Option<End>,
}

/// What came on an idle connection to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing that concerns anybody but TLS.
    Silent,
    /// The beginning of a record: what it will be nobody knows.
    Part,
    /// Its end, a fault, or words that answer nothing.
    Over,
}

enum End {
    /// The peer said that it sends nothing more.
    Closed,
    Failed(Failure),
    /// There is a record and no room for it.
    NoRoom,
}

impl<D: Driver> Secured<D> {
    /// As [`Driver::receive`].
    pub(crate) fn receive(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        chain: &mut Chain,
        fill: Fill,
        promise: &mut Option<Promise>,
    ) -> Received {
        if self.is_plain(socket) {
            return self.driver.receive(socket, pool, chain, fill, promise);
        }
        let mut sink = Sink { pool, chain, fill, promise, delivered: 0 };
        if let Some(received) = self.take_ahead(socket, &mut sink) {
            return received;
        }
        self.leave_line(socket);
        self.receive_records(socket, &mut sink)
    }

    /// Plaintext that is there already, as far as there is room for it.
    fn take_ahead(&mut self, socket: Socket, sink: &mut Sink<'_>) -> Option<Received> {
        self.slot(socket)?;
        let mut slot = self.slots.get_mut(socket.index as usize)?.take()?;
        let received = slot.ahead.as_deref_mut().map(|(bytes, at)| {
            let fresh = sink.fill.fresh.max(1);
            match sink.put(&bytes[*at..], fresh) {
                Some(n) => {
                    *at += n;
                    (*at == bytes.len(), Received::Bytes(sink.delivered))
                }
                None => (false, Received::NoBuffer),
            }
        });
        if received.is_some_and(|(all, _)| all) {
            self.forget_ahead(&mut slot);
        }
        self.slots[socket.index as usize] = Some(slot);
        received.map(|(_, received)| received)
    }

    /// Looks at what is there and decrypts the records that are whole.
    fn receive_records(&mut self, socket: Socket, sink: &mut Sink<'_>) -> Received {
        let Some(slot) = slot_of(&mut self.slots, socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        slot.end_told |= slot.has_ended();
        match slot.stage {
            Stage::Open | Stage::Handshake => {}
            Stage::PeerClosed => return Received::Ended,
            Stage::Broken => return self.truncated(socket),
            Stage::Lost => return Received::Failed(PeerFault::Reset),
        }
        let Peeked { count, then } = self.driver.peek(socket, &mut self.scratch.incoming);
        if count == 0 {
            slot.part.is(0);
            return self.left_off(socket, then);
        }
        let full = count == self.scratch.incoming.len();
        let mut output = Output::new(&mut self.scratch.outgoing);
        // Whoever brings a promise puts at least that buffer's worth, so that each grant is of use.
        let may_go_ahead = self.places.is_free(slot.side(), sink.promise.is_some());
        let incoming = &mut self.scratch.incoming[..count];
        let look = look(slot, &mut self.parts, incoming, &mut output, sink, may_go_ahead);
        let written = output.len();
        slot.part.is(if look.settled { count - look.taken } else { 0 });
        let whole_ahead = slot.ahead.is_some();
        if whole_ahead {
            self.places.take(slot.side());
        }
        // A buffer is of no use to whoever has no place.
        let wants_place = matches!(look.end, Some(End::NoRoom)) && sink.promise.is_some();
        slot.place = if wants_place { Place::Wanted } else { Place::NotAwaited };
        self.driver.skip(socket, look.taken, look.settled && !full);
        if look.settled && !full && look.taken < count {
            self.driver.make_room(socket);
        }
        if written > 0 && self.send_now(socket, written).is_err() {
            return Received::Failed(PeerFault::Reset);
        }
        // What came before an end comes first; the end is told when more is asked for.
        let delivered = sink.delivered > 0;
        match look.end {
            Some(End::Closed) => self.set_stage(socket, Stage::PeerClosed, !delivered),
            Some(End::Failed(failure)) => {
                self.fail(socket.index, failure);
                if let Some(slot) = slot_of(&mut self.slots, socket) {
                    slot.told_alert = written > 0;
                }
                self.set_stage(socket, Stage::Broken, !delivered);
            }
            Some(End::NoRoom) | None => {}
        }
        if delivered {
            return Received::Bytes(sink.delivered);
        }
        match look.end {
            Some(End::Closed) => Received::Ended,
            Some(End::Failed(_)) => Received::Failed(PeerFault::Reset),
            Some(End::NoRoom) if wants_place => Received::Nothing,
            Some(End::NoRoom) => Received::NoBuffer,
            None if whole_ahead => match self.take_ahead(socket, sink) {
                Some(received) => received,
                None => Received::Nothing,
            },
            // Of what has arrived no more may have fitted.
            None if look.settled && !full => self.left_off(socket, then),
            None => Received::Nothing,
        }
    }

    /// No record is whole, and that is to be expected behind what has arrived.
    fn left_off(&mut self, socket: Socket, then: Then) -> Received {
        match then {
            Then::More => Received::Nothing,
            Then::Ended => self.truncated(socket),
            Then::Failed(fault) => Received::Failed(fault),
        }
    }

    /// The connection ended without the peer having said so. Of a client's requests none is whole
    /// that was not before (RFC 9112 §9.8).
    fn truncated(&mut self, socket: Socket) -> Received {
        let client = self.slot(socket).is_none_or(Slot::is_client);
        if client { Received::Ended } else { Received::Failed(PeerFault::Reset) }
    }

    /// Reads what TLS itself has to say on an idle connection to a server: tickets, new keys.
    pub(crate) fn absorb(&mut self, socket: Socket) -> Idle {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return Idle::Over };
        let Some(session) = slot.session.as_deref_mut() else { return Idle::Over };
        // What is ahead was not asked for (seed 7100044882).
        if matches!(slot.party, Party::Client(_))
            || slot.stage != Stage::Open
            || slot.ahead.is_some()
        {
            return Idle::Over;
        }
        let Peeked { count, then } = self.driver.peek(socket, &mut self.scratch.incoming);
        if count == 0 {
            return if then == Then::More { Idle::Silent } else { Idle::Over };
        }
        let mut output = Output::new(&mut self.scratch.outgoing);
        let (mut taken, mut spoke, mut failure) = (0, false, None);
        while failure.is_none() && !spoke {
            let rest = &mut self.scratch.incoming[taken..count];
            let read = match next_record(rest) {
                Record::Part => break,
                Record::Whole(whole) => {
                    taken += whole;
                    let rest = &mut rest[..whole];
                    self.parts.read(session, rest, &mut output, |_| spoke = true)
                }
                Record::Bad => Err(self.parts.refuse(session, &mut output)),
            };
            match read {
                Ok(found) => spoke |= found.closed,
                Err(fault) => failure = Some(fault),
            }
        }
        slot.part.is(count - taken);
        let written = output.len();
        let over = spoke || failure.is_some() || then != Then::More;
        self.driver.skip(socket, taken, !over);
        if let Some(failure) = failure {
            self.fail(socket.index, failure);
        }
        if over {
            self.set_stage(socket, Stage::Broken, false);
        }
        match self.send_now(socket, written) {
            Ok(()) if !over && taken == count => Idle::Silent,
            Ok(()) if !over => Idle::Part,
            _ => Idle::Over,
        }
    }

    /// `told`: the worker is told of it now.
    fn set_stage(&mut self, socket: Socket, stage: Stage, told: bool) {
        if let Some(slot) = slot_of(&mut self.slots, socket) {
            slot.stage = stage;
            slot.end_told |= told;
        }
    }
}

/// Decrypts records as long as there is room for what is in them.
fn look(
    slot: &mut Slot,
    parts: &mut Parts,
    incoming: &mut [u8],
    output: &mut Output<'_>,
    sink: &mut Sink<'_>,
    may_go_ahead: bool,
) -> Look {
    let mut taken = 0;
    let stop = |taken, settled, end| Look { taken, settled, end };
    let Some(session) = slot.session.as_deref_mut() else {
        return stop(0, true, Some(End::Failed(Failure::Other)));
    };
    loop {
        let rest = &mut incoming[taken..];
        let whole = match next_record(rest) {
            Record::Whole(whole) => whole,
            Record::Part => return stop(taken, true, None),
            Record::Bad => {
                let failure = parts.refuse(session, output);
                return stop(incoming.len(), true, Some(End::Failed(failure)));
            }
        };
        let most = (whole - TLS_HEADER).min(TLS_PLAIN_MAX);
        let fits = sink.takes(most);
        let goes_ahead = !fits && sink.delivered == 0 && may_go_ahead;
        if !fits && !goes_ahead {
            let end = (sink.delivered == 0).then_some(End::NoRoom);
            return stop(taken, false, end);
        }
        let ahead = &mut slot.ahead;
        let read = parts.read(session, &mut rest[..whole], output, |bytes| {
            if fits {
                sink.put_all(bytes);
            } else {
                *ahead = Some(Box::new((bytes.to_vec(), 0)));
            }
        });
        taken += whole;
        match read {
            Err(failure) => return stop(incoming.len(), true, Some(End::Failed(failure))),
            Ok(found) if found.closed => return stop(taken, true, Some(End::Closed)),
            Ok(_) if slot.ahead.is_some() => return stop(taken, false, None),
            Ok(_) => {}
        }
    }
}
