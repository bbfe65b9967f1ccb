//! Bytes for an open connection: gathered and encrypted in scratch, given to the socket at once.

use base::limits::{TLS_OVERHEAD, TLS_PLAIN_MAX, TLS_SEND, TLS_SEND_SHORT};
use driver::{Completion, Driver, PeerFault, Sent, Socket};
use pool::{Cursor, Pool, Rank};
use tls::Output;

use super::slot::{Awaits, Slot, Stage};
use super::{Event, Secured, slot_of};

/// How giving a slot's unsent records to the socket ended.
enum Flushed {
    All,
    Waits,
    Failed(PeerFault),
}

impl<D: Driver> Secured<D> {
    /// As [`Driver::send`]; the pool has buffers for what the socket does not take.
    pub(crate) fn send(
        &mut self,
        socket: Socket,
        pool: &mut Pool,
        unsent: &Cursor,
        more: bool,
    ) -> Sent {
        if self.is_plain(socket) {
            return self.driver.send(socket, pool, unsent, more);
        }
        match self.flush(socket, pool) {
            Flushed::All => {}
            Flushed::Waits => return self.await_room(socket, 0),
            Flushed::Failed(fault) => return Sent::Failed(fault),
        }
        let Some(slot) = slot_of(&mut self.slots, socket) else {
            return Sent::Failed(PeerFault::Reset);
        };
        // What was encrypted by an earlier call is what `unsent` begins with.
        let encrypted = slot.bytes_awaited();
        slot.awaits = Awaits::Nothing;
        if encrypted > 0 {
            return Sent::Now(encrypted);
        }
        let take = share(unsent.left() as usize, pool);
        let plain = &mut self.scratch.plain[..take];
        let gathered = pool.copy_from(unsent, plain);
        debug_assert_eq!(gathered, take, "as long as its cursor says");
        let mut output = Output::new(&mut self.scratch.outgoing);
        if slot.is_over() || encrypt(slot, plain, &mut output).is_err() {
            return Sent::Failed(PeerFault::Reset);
        }
        let more = more || take < unsent.left() as usize;
        let take = u32::try_from(take).unwrap_or(u32::MAX);
        let bytes = output.bytes();
        match self.driver.send_bytes(socket, bytes, more) {
            Sent::Now(n) if n as usize == bytes.len() => Sent::Now(take),
            Sent::Now(n) => {
                slot.unsent.keep(&bytes[n as usize..], pool);
                // Who took a part tells of room only when asked once more.
                match self.flush(socket, pool) {
                    Flushed::All => Sent::Now(take),
                    Flushed::Waits => self.await_room(socket, take),
                    Flushed::Failed(fault) => Sent::Failed(fault),
                }
            }
            Sent::Later => {
                slot.unsent.keep(bytes, pool);
                self.await_room(socket, take)
            }
            Sent::Failed(fault) => Sent::Failed(fault),
        }
    }

    /// The worker is told when all that is unsent was taken, `take` bytes of its own with it.
    fn await_room(&mut self, socket: Socket, take: u32) -> Sent {
        if let Some(slot) = slot_of(&mut self.slots, socket) {
            slot.await_room(take);
        }
        Sent::Later
    }

    /// The worker has nothing more to send: whether something of it still waits for room. If so, it is
    /// told ([`Completion::Sent`]) when that is over.
    pub(crate) fn await_rest(&mut self, socket: Socket) -> bool {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return false };
        let waits = !slot.unsent.is_empty();
        if waits {
            slot.await_room(0);
        } else {
            slot.awaits = Awaits::Nothing;
        }
        waits
    }

    /// Bytes of the worker's own that are encrypted and wait for room count as taken from now on. How
    /// many: the worker is not told of them again, but only of the room.
    pub(crate) fn count_as_taken(&mut self, socket: Socket) -> u32 {
        match slot_of(&mut self.slots, socket).map(|slot| &mut slot.awaits) {
            Some(Awaits::Room { bytes }) => core::mem::take(bytes),
            Some(Awaits::Nothing) | None => 0,
        }
    }

    /// Gives what is unsent to the socket.
    fn flush(&mut self, socket: Socket, pool: &mut Pool) -> Flushed {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return Flushed::All };
        while !slot.unsent.is_empty() {
            let unsent = pool.cursor(slot.unsent.chain());
            let sent = if unsent.left() > 0 {
                let more = !slot.unsent.aside().is_empty();
                self.driver.send(socket, pool, &unsent, more)
            } else {
                self.driver.send_bytes(socket, slot.unsent.aside(), false)
            };
            match sent {
                Sent::Now(n) if unsent.left() > 0 => pool.consume(slot.unsent.chain_mut(), n),
                Sent::Now(n) => slot.unsent.sent_aside(n as usize),
                Sent::Later => return Flushed::Waits,
                Sent::Failed(fault) => return Flushed::Failed(fault),
            }
        }
        Flushed::All
    }

    /// The transport has room again.
    pub(super) fn has_room(&mut self, index: u32, pool: &mut Pool) -> Event {
        let Some(slot) = self.slots.get(index as usize).and_then(Option::as_deref) else {
            return Event::Handled;
        };
        let (owner, socket, awaits) = (slot.owner, slot.socket, slot.awaits);
        let before = slot.unsent.len();
        let flushed = self.flush(socket, pool);
        let Some(slot) = slot_of(&mut self.slots, socket) else { return Event::Handled };
        match (flushed, awaits) {
            (Flushed::All, _) => {
                slot.awaits = Awaits::Nothing;
                if core::mem::take(&mut slot.ends) {
                    self.driver.shutdown(socket);
                }
            }
            // Whoever takes a little is slow, and not stalled.
            (Flushed::Waits, Awaits::Room { .. }) if slot.unsent.len() < before => {
                return Event::Driver(Completion::Sent { owner, bytes: 0 });
            }
            (Flushed::Failed(fault), Awaits::Room { .. }) => {
                return Event::Driver(Completion::Failed { owner, fault });
            }
            // Who waits to receive is told in receiving.
            (Flushed::Waits | Flushed::Failed(_), _) => return Event::Handled,
        }
        match awaits {
            Awaits::Room { bytes } => Event::Driver(Completion::Sent { owner, bytes }),
            Awaits::Nothing => Event::Handled,
        }
    }

    /// As [`Driver::send_text`].
    pub(crate) fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> u32 {
        if self.is_plain(socket) {
            return self.driver.send_text(socket, text);
        }
        let Some(slot) = slot_of(&mut self.slots, socket) else { return 0 };
        if slot.stage == Stage::Handshake || slot.is_over() || !slot.unsent.is_empty() {
            return 0;
        }
        let mut output = Output::new(&mut self.scratch.outgoing);
        if encrypt(slot, text, &mut output).is_err() {
            return 0;
        }
        let written = output.len();
        match self.send_now(socket, written) {
            Ok(()) => u32::try_from(text.len()).unwrap_or(u32::MAX),
            Err(_) => 0,
        }
    }

    /// Says that nothing more will come from us, if that can still be said. False if that has to wait
    /// until what is unsent was taken: our direction then ends behind it.
    pub(crate) fn say_goodbye(&mut self, socket: Socket) -> bool {
        let Some(slot) = slot_of(&mut self.slots, socket) else { return true };
        if !core::mem::replace(&mut slot.said_goodbye, true)
            && matches!(slot.stage, Stage::Open | Stage::PeerClosed)
            && let Some(session) = slot.session.as_deref_mut()
        {
            let mut output = Output::new(&mut self.scratch.outgoing);
            let said = session.close(&mut output).is_ok();
            let written = output.len();
            if said && self.send_now(socket, written).is_err() {
                return true;
            }
        }
        let Some(slot) = slot_of(&mut self.slots, socket) else { return true };
        slot.ends = !slot.unsent.is_empty();
        !slot.ends
    }
}

/// How much of `left` bytes is encrypted at once: what the pool could keep if the socket took
/// nothing of it.
fn share(left: usize, pool: &Pool) -> usize {
    let want = left.min(TLS_SEND);
    let records = want.div_ceil(TLS_PLAIN_MAX);
    let room = pool.grantable(Rank::Send) as usize * pool.buffer_bytes() as usize;
    let fits = room.saturating_sub(records * TLS_OVERHEAD);
    if fits == 0 { want.min(TLS_SEND_SHORT) } else { want.min(fits) }
}

fn encrypt(slot: &mut Slot, plain: &[u8], output: &mut Output<'_>) -> Result<(), tls::Failure> {
    let session = slot.session.as_deref_mut().ok_or(tls::Failure::Other)?;
    plain.chunks(TLS_PLAIN_MAX).try_for_each(|record| session.write(record, output))
}
