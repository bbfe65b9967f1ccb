//! What the kernel reports of a connection, and what that means for it.
//!
//! What was reported while nobody waited for it stands in the socket's flags.

use rustix::event::epoll::EventFlags;
use rustix::net::sockopt;

use super::connect::{self, Server};
use super::notes::{Note, Notes};
use super::table::{Entry, Flags};
use super::transfer::fault_of;
use crate::{ConnectFault, PeerFault};

/// Marks what the kernel reported of a socket and notes what its owner waits for.
pub(crate) fn mark(
    index: u32,
    entry: &mut Entry,
    events: EventFlags,
    servers: &[Server],
    notes: &mut Notes,
) {
    entry.flags.set(Flags::SEEN);
    if entry.flags.any(Flags::CONNECTING) {
        if !events.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            return;
        }
        entry.flags.clear(Flags::CONNECTING);
        if let Some(fault) = opening_fault(entry, events, servers) {
            entry.break_with(PeerFault::Reset);
            entry.flags.set(Flags::REPORTED);
            notes.push(Note::ConnectFailed { index, fault });
            return;
        }
        notes.push(Note::Connected { index });
    }
    mark_open(entry, events);
    notes.readable(index, entry);
    notes.ended(index, entry);
    notes.writable(index, entry);
    notes.failed(index, entry);
}

/// Why a connection that was being opened is not open.
fn opening_fault(
    entry: &mut Entry,
    events: EventFlags,
    servers: &[Server],
) -> Option<ConnectFault> {
    let descriptor = entry.descriptor()?;
    if events.intersects(EventFlags::ERR | EventFlags::HUP) {
        return Some(match sockopt::socket_error(descriptor) {
            Ok(Err(error)) | Err(error) => connect::fault_of(error),
            Ok(Ok(())) => ConnectFault::Refused,
        });
    }
    connect::is_own_end(descriptor, servers).then_some(ConnectFault::Refused)
}

/// Marks what the kernel reported of an open connection.
fn mark_open(entry: &mut Entry, events: EventFlags) {
    if events.contains(EventFlags::IN) {
        entry.flags.set(Flags::READABLE);
    }
    if events.contains(EventFlags::OUT) {
        entry.flags.set(Flags::WRITABLE);
    }
    if events.intersects(EventFlags::RDHUP | EventFlags::HUP) {
        entry.flags.set(Flags::READABLE.and(Flags::ENDED));
    }
    if events.contains(EventFlags::HUP) {
        // Whoever waits for room shall find out that nothing can be sent any more.
        entry.flags.set(Flags::WRITABLE);
    }
    if events.contains(EventFlags::ERR)
        && let Some(Ok(Err(error))) = entry.descriptor().map(sockopt::socket_error)
    {
        entry.break_with(fault_of(error));
    }
}
