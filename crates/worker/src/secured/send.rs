//! Bytes for an open connection: gathered and encrypted in scratch, given to the socket at once.

use base::limits::{TLS_OVERHEAD, TLS_PLAIN_MAX, TLS_SEND, TLS_SEND_SHORT};
use driver::{Completion, Driver, PeerFault, Sent, Socket};
use pool::{Cursor, Pool, Rank};
use tls::Output;

use super::slot::{Slot, Stage};
use super::{Event, Secured};

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
        let encrypted = self.take_over(socket);
        self.awaits_no_room(socket);
        if encrypted > 0 {
            return Sent::Now(encrypted);
        }
        let take = share(unsent.left() as usize, pool);
        let plain = &mut self.scratch.plain[..take];
        let gathered = pool.copy_from(unsent, plain);
        debug_assert_eq!(gathered, take, "as long as its cursor says");
        let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        else {
            return Sent::Failed(PeerFault::Reset);
        };
        let mut output = Output::new(&mut self.scratch.outgoing);
        if slot.is_over() || encrypt(slot, plain, &mut output).is_err() {
            return Sent::Failed(PeerFault::Reset);
        }
        let more = more || take < unsent.left() as usize;
        let bytes = output.bytes();
        match self.driver.send_bytes(socket, bytes, more) {
            Sent::Now(n) if n as usize == bytes.len() => {
                Sent::Now(u32::try_from(take).unwrap_or(u32::MAX))
            }
            Sent::Now(n) => {
                slot.unsent.keep(&bytes[n as usize..], pool);
                match self.flush(socket, pool) {
                    Flushed::All => Sent::Now(u32::try_from(take).unwrap_or(u32::MAX)),
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

    /// The worker is told when all that is unsent was taken: `take` bytes of its own.
    fn await_room(&mut self, socket: Socket, take: usize) -> Sent {
        if let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        {
            slot.stands_for += u32::try_from(take).unwrap_or(u32::MAX);
            slot.awaits_room = true;
        }
        Sent::Later
    }

    /// Whether something that counts as taken still waits for room; the worker is told when it does
    /// not.
    pub(crate) fn awaits_last(&mut self, socket: Socket) -> bool {
        let slot = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut);
        let Some(slot) = slot.filter(|slot| slot.socket == socket) else { return false };
        slot.awaits_room = !slot.unsent.is_empty();
        slot.awaits_room
    }

    pub(super) fn awaits_no_room(&mut self, socket: Socket) {
        if let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
            && slot.socket == socket
        {
            slot.awaits_room = false;
        }
    }

    /// Bytes of the worker's that were encrypted and wait for room: it is told now that they were
    /// taken, not when they are.
    pub(crate) fn take_over(&mut self, socket: Socket) -> u32 {
        let slot = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut);
        let slot = slot.filter(|slot| slot.socket == socket);
        slot.map_or(0, |slot| core::mem::take(&mut slot.stands_for))
    }

    /// Gives what is unsent to the socket.
    fn flush(&mut self, socket: Socket, pool: &mut Pool) -> Flushed {
        let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        else {
            return Flushed::All;
        };
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
        let (owner, socket, awaits) = (slot.owner, slot.socket, slot.awaits_room);
        let before = slot.unsent.len();
        match self.flush(socket, pool) {
            Flushed::Failed(fault) if awaits => {
                return Event::Driver(Completion::Failed { owner, fault });
            }
            // Whoever takes a little is slow, and not stalled.
            Flushed::Waits if awaits && self.unsent(index) < before => {
                return Event::Driver(Completion::Sent { owner, bytes: 0 });
            }
            // Who waits to receive is told in receiving.
            Flushed::Waits | Flushed::Failed(_) => return Event::Handled,
            Flushed::All => {}
        }
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_deref_mut) else {
            return Event::Handled;
        };
        if core::mem::take(&mut slot.ends) {
            self.driver.shutdown(socket);
        }
        let bytes = core::mem::take(&mut slot.stands_for);
        if core::mem::take(&mut slot.awaits_room) {
            Event::Driver(Completion::Sent { owner, bytes })
        } else {
            Event::Handled
        }
    }

    fn unsent(&self, index: u32) -> usize {
        let slot = self.slots.get(index as usize).and_then(Option::as_deref);
        slot.map_or(0, |slot| slot.unsent.len())
    }

    /// As [`Driver::send_text`].
    pub(crate) fn send_text(&mut self, socket: Socket, text: &'static [u8]) -> u32 {
        if self.is_plain(socket) {
            return self.driver.send_text(socket, text);
        }
        let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        else {
            return 0;
        };
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
        let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        else {
            return true;
        };
        if slot.socket != socket {
            return true;
        }
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
        let Some(slot) = self.slots.get_mut(socket.index as usize).and_then(Option::as_deref_mut)
        else {
            return true;
        };
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
