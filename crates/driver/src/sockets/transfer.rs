//! Moving bytes: receive, discard, send. No call that could only return EAGAIN is made.

use std::io::{IoSlice, IoSliceMut};

use arrayvec::ArrayVec;
use pool::{Chain, Cursor, Fill, FillError, MAX_SLICES, MAX_SPACES, Pool, Promise};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, readv};
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags};

use super::notes::Notes;
use super::table::{Entry, Flags};
use crate::{PeerFault, Received, Sent};

/// Bytes discarded by one call.
pub(crate) const DISCARD_BYTES: usize = 16 << 10;

/// The fault behind an error of a connected socket.
pub(crate) fn fault_of(error: Errno) -> PeerFault {
    match error {
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN => PeerFault::Reset,
        _ => PeerFault::Lost,
    }
}

/// Receives what is there behind the chain's last byte.
pub(crate) fn receive(
    (index, entry): (u32, &mut Entry),
    notes: &mut Notes,
    pool: &mut Pool,
    chain: &mut Chain,
    (fill, promise): (Fill, &mut Option<Promise>),
) -> Received {
    let Some(descriptor) = entry.descriptor() else {
        return Received::Failed(PeerFault::Reset);
    };
    if !entry.flags.any(Flags::READABLE) {
        return Received::Nothing;
    }
    let mut offered = 0;
    let received = pool.fill(chain, fill, promise, |spaces| {
        offered = spaces.iter().map(|space| space.len()).sum();
        scatter(descriptor, spaces)
    });
    match received {
        Ok(received) => settle(index, entry, notes, Ok(received), offered),
        Err(FillError::NoBuffer) => Received::NoBuffer,
        Err(FillError::Receive(error)) => settle(index, entry, notes, Err(error), offered),
    }
}

/// Receives and forgets what is there.
pub(crate) fn discard(
    (index, entry): (u32, &mut Entry),
    notes: &mut Notes,
    scratch: &mut [u8],
) -> Received {
    let Some(descriptor) = entry.descriptor() else {
        return Received::Failed(PeerFault::Reset);
    };
    if !entry.flags.any(Flags::READABLE) {
        return Received::Nothing;
    }
    let offered = scratch.len();
    let received = read(descriptor, scratch);
    settle(index, entry, notes, received, offered)
}

/// One receive into several spaces.
fn scatter(descriptor: &OwnedFd, spaces: &mut [&mut [u8]]) -> Result<usize, Errno> {
    if let [space] = spaces {
        return read(descriptor, &mut **space);
    }
    let mut slices: ArrayVec<IoSliceMut<'_>, MAX_SPACES> =
        spaces.iter_mut().take(MAX_SPACES).map(|space| IoSliceMut::new(space)).collect();
    readv(descriptor, &mut slices)
}

/// What a receive says about the socket.
fn settle(
    index: u32,
    entry: &mut Entry,
    notes: &mut Notes,
    received: Result<usize, Errno>,
    offered: usize,
) -> Received {
    match received {
        Ok(0) => match entry.fault() {
            None => {
                entry.flags.set(Flags::ENDED);
                Received::Ended
            }
            Some(fault) => failed(entry, fault),
        },
        Ok(received) => {
            if received < offered && !entry.flags.any(Flags::ENDED.and(Flags::BROKEN)) {
                entry.flags.clear(Flags::READABLE);
            }
            // The failure waited for the bytes before it; now it may be told.
            notes.failed(index, entry);
            Received::Bytes(u32::try_from(received).unwrap_or(u32::MAX))
        }
        Err(Errno::INTR) => Received::Nothing,
        Err(Errno::AGAIN) => match entry.fault() {
            None => {
                entry.flags.clear(Flags::READABLE);
                Received::Nothing
            }
            Some(fault) => failed(entry, fault),
        },
        Err(error) => {
            let fault = entry.fault().unwrap_or(fault_of(error));
            failed(entry, fault)
        }
    }
}

/// The call itself tells its caller that the connection broke.
fn failed(entry: &mut Entry, fault: PeerFault) -> Received {
    entry.break_with(fault);
    entry.flags.set(Flags::REPORTED);
    Received::Failed(fault)
}

/// Sends from the cursor on, as far as the transport takes it.
pub(crate) fn send(entry: &mut Entry, pool: &Pool, unsent: &Cursor, more: bool) -> Sent {
    debug_assert!(unsent.left() > 0, "nothing to send");
    let slices = pool.view(unsent);
    let offered: usize = slices.iter().map(|slice| slice.len()).sum();
    // What one call cannot name follows at once.
    let more = more || offered < unsent.left() as usize;
    send_slices(entry, &slices, more)
}

/// Sends slices, as far as the transport takes them.
pub(crate) fn send_slices(entry: &mut Entry, slices: &[&[u8]], more: bool) -> Sent {
    match offer(entry, slices, more) {
        Ok(0) => {
            entry.flags.set(Flags::WAITING);
            Sent::Later
        }
        Ok(sent) => Sent::Now(u32::try_from(sent).unwrap_or(u32::MAX)),
        Err(fault) => Sent::Failed(fault),
    }
}

/// Sends a fixed text at once; returns how many bytes were taken.
pub(crate) fn send_text(entry: &mut Entry, text: &'static [u8]) -> u32 {
    offer(entry, &[text], false).map_or(0, |sent| u32::try_from(sent).unwrap_or(u32::MAX))
}

/// Gives bytes to the transport; 0 means that it has no room.
pub(crate) fn offer(entry: &mut Entry, slices: &[&[u8]], more: bool) -> Result<usize, PeerFault> {
    if let Some(fault) = entry.fault() {
        entry.flags.set(Flags::REPORTED);
        return Err(fault);
    }
    if !entry.flags.any(Flags::WRITABLE) || entry.flags.any(Flags::CONNECTING) {
        return Ok(0);
    }
    let Some(descriptor) = entry.descriptor() else {
        return Err(PeerFault::Reset);
    };
    let offered: usize = slices.iter().map(|slice| slice.len()).sum();
    match gather(descriptor, slices, more) {
        Ok(sent) => {
            if sent < offered {
                entry.flags.clear(Flags::WRITABLE);
            }
            Ok(sent)
        }
        Err(Errno::AGAIN) => {
            entry.flags.clear(Flags::WRITABLE);
            Ok(0)
        }
        Err(error) => {
            let fault = fault_of(error);
            entry.break_with(fault);
            entry.flags.set(Flags::REPORTED);
            Err(fault)
        }
    }
}

/// One send from several places.
fn gather(descriptor: &OwnedFd, slices: &[&[u8]], more: bool) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
    rustix::io::retry_on_intr(|| match slices {
        [slice] => net::send(descriptor, slice, flags),
        slices => {
            let slices: ArrayVec<IoSlice<'_>, MAX_SLICES> =
                slices.iter().take(MAX_SLICES).map(|slice| IoSlice::new(slice)).collect();
            net::sendmsg(descriptor, &slices, &mut SendAncillaryBuffer::default(), flags)
        }
    })
}

/// Whether nothing has arrived, by asking the kernel.
pub(crate) fn peek_is_quiet(descriptor: &OwnedFd) -> bool {
    let mut byte = [0u8; 1];
    net::recv(descriptor, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)
        .is_err_and(|error| error == Errno::AGAIN)
}
