//! The other end of a connection, played by the test.

use base::time::Instant;
use driver::PeerFault;

use crate::net::{Counts, Place};
use crate::world::Shared;

/// A client, or a server's end of an upstream connection. Dropping it closes it.
#[must_use = "dropping it closes the connection"]
#[derive(Debug)]
pub struct Peer {
    net: Shared,
    connection: usize,
}

impl Peer {
    pub(crate) const fn new(net: Shared, connection: usize) -> Self {
        Self { net, connection }
    }

    /// Writes as many bytes as the network holds; returns how many. None after an end or a reset.
    pub fn write(&self, bytes: &[u8]) -> usize {
        self.net.borrow_mut().peer_write(self.connection, bytes)
    }

    /// Writes all bytes.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write_all(&self, bytes: &[u8]) {
        let written = self.write(bytes);
        assert_eq!(written, bytes.len(), "the network did not take all");
    }

    /// Reads all that has come.
    pub fn read(&self) -> Vec<u8> {
        self.read_some(usize::MAX)
    }

    /// Reads at most `most` bytes of what has come.
    pub fn read_some(&self, most: usize) -> Vec<u8> {
        self.net.borrow_mut().peer_read(self.connection, most)
    }

    /// Reads at most `most` bytes of what has come, behind those in `space`; how many.
    pub fn read_into(&self, space: &mut Vec<u8>, most: usize) -> usize {
        self.net.borrow_mut().peer_read_into(self.connection, most, space)
    }

    /// From now on `player` is told what happens here ([`crate::World::stirred`]), beginning with
    /// what already did.
    pub fn play(&self, player: u32) {
        let mut net = self.net.borrow_mut();
        net.connections[self.connection].player = Some(player);
        net.stir(self.connection);
    }

    /// The connection's number, as a trace shows it.
    pub const fn number(&self) -> usize {
        self.connection
    }

    /// Bytes that have come and were not read.
    pub fn unread(&self) -> usize {
        self.net.borrow().connections[self.connection].to_peer.bytes.len()
    }

    /// Bytes it wrote that were not received yet.
    pub fn unreceived(&self) -> usize {
        self.net.borrow().connections[self.connection].to_driver.bytes.len()
    }

    /// Lets at most `bytes` wait unread: 0 is a peer that takes nothing more.
    pub fn set_window(&self, bytes: usize) {
        let mut net = self.net.borrow_mut();
        net.connections[self.connection].to_peer.capacity = bytes;
        net.touch(self.connection);
    }

    /// Lets at least `bytes` that it writes wait until they are received.
    pub fn hold(&self, bytes: usize) {
        let capacity = &mut self.net.borrow_mut().connections[self.connection].to_driver.capacity;
        *capacity = bytes.max(*capacity);
    }

    /// Of what it writes the whole piece counts as held until its last byte is received, as in a kernel.
    pub(crate) fn sticks(&self) {
        self.net.borrow_mut().connections[self.connection].to_driver.counts = Counts::Pieces;
    }

    /// Bytes that could be written beside so many others. If none, its player is told when there is
    /// room.
    pub(crate) fn room_for(&self, others: usize) -> usize {
        let mut net = self.net.borrow_mut();
        let connection = &mut net.connections[self.connection];
        let room = connection.to_driver.room().saturating_sub(others);
        connection.awaits_room |= room == 0;
        room
    }

    /// Bytes it wrote that were ever received.
    pub fn taken(&self) -> usize {
        self.net.borrow().connections[self.connection].taken
    }

    /// When its connection was begun.
    pub fn began(&self) -> Instant {
        self.net.borrow().connections[self.connection].began
    }

    /// When it was accepted, if it was.
    pub fn accepted(&self) -> Option<Instant> {
        self.net.borrow().connections[self.connection].accepted
    }

    /// It is about to be ended, though nothing is wrong: nothing is under way on it.
    pub fn retire(&self) {
        self.net.borrow_mut().connections[self.connection].retired = true;
    }

    /// Ends its direction; it still reads.
    pub fn end(&self) {
        self.net.borrow_mut().peer_end(self.connection);
    }

    /// Resets the connection.
    pub fn reset(&self) {
        self.net.borrow_mut().peer_break(self.connection, PeerFault::Reset);
    }

    /// Vanishes: the driver's transport gives up on the connection.
    pub fn vanish(&self) {
        self.net.borrow_mut().peer_break(self.connection, PeerFault::Lost);
    }

    /// Closes: an end, and a reset if something is unread or comes later.
    pub fn close(self) {
        drop(self);
    }

    /// Whether the other side ended its direction and all it sent was read.
    pub fn has_ended(&self) -> bool {
        let mut net = self.net.borrow_mut();
        net.reap();
        let pipe = &net.connections[self.connection].to_peer;
        pipe.ended && pipe.bytes.is_empty()
    }

    /// Whether the other side ended its direction, though not all of it was read.
    pub fn is_ended(&self) -> bool {
        self.net.borrow().connections[self.connection].to_peer.ended
    }

    /// Whether the other side reset the connection, or refused it; unread bytes are lost then.
    pub fn is_reset(&self) -> bool {
        let mut net = self.net.borrow_mut();
        net.reap();
        net.connections[self.connection].peer_reset
    }

    /// Whether the other side has closed its socket.
    pub fn is_closed(&self) -> bool {
        let mut net = self.net.borrow_mut();
        net.reap();
        matches!(net.connections[self.connection].place, Place::Gone)
    }

    /// Whether it has been accepted, by any worker.
    pub fn is_accepted(&self) -> bool {
        !matches!(self.net.borrow().connections[self.connection].place, Place::Backlog)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A panicking test may hold the network; its peers need no orderly end.
        if let Ok(mut net) = self.net.try_borrow_mut() {
            net.peer_close(self.connection);
        }
    }
}
