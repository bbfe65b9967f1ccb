//! What stands before a connection's first byte: looked at and left, taken, sent.

use std::net::SocketAddr;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};

use super::table::{Entry, Flags};
use super::transfer::{fault_of, offer};
use crate::{Peeked, PeerFault, Then};

/// Copies what is there, and leaves it. What came before the connection broke comes first.
pub(crate) fn peek(entry: &mut Entry, space: &mut [u8]) -> Peeked {
    let gone = Peeked::nothing(Then::Failed(PeerFault::Reset));
    let Some(descriptor) = entry.descriptor() else { return gone };
    let fault = entry.fault();
    let looked = if entry.flags.any(Flags::READABLE) {
        net::recv(descriptor, space, RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(count, _)| count)
    } else {
        Err(Errno::AGAIN)
    };
    match (looked, fault) {
        (Ok(count), _) if count > 0 => {
            // The kernel tells when more arrives.
            entry.flags.clear(Flags::READABLE);
            let then = match fault {
                Some(fault) => Then::Failed(fault),
                None if entry.flags.any(Flags::ENDED) => Then::Ended,
                None => Then::More,
            };
            Peeked { count, then }
        }
        (_, Some(fault)) => {
            entry.flags.set(Flags::REPORTED);
            Peeked::nothing(Then::Failed(fault))
        }
        (Ok(_), None) => {
            entry.flags.set(Flags::ENDED);
            Peeked::nothing(Then::Ended)
        }
        (Err(Errno::AGAIN), None) => {
            entry.flags.clear(Flags::READABLE);
            Peeked::nothing(Then::More)
        }
        (Err(Errno::INTR), None) => Peeked::nothing(Then::More),
        (Err(error), None) => {
            let fault = fault_of(error);
            entry.break_with(fault);
            entry.flags.set(Flags::REPORTED);
            Peeked::nothing(Then::Failed(fault))
        }
    }
}

/// Takes what was looked at. Whether something stands behind it the next receive finds out.
pub(crate) fn skip(entry: &mut Entry, bytes: usize, space: &mut [u8]) {
    let mut left = bytes;
    while left > 0
        && let Some(descriptor) = entry.descriptor()
    {
        let most = left.min(space.len());
        // TCP copies nothing then; a Unix socket does.
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        match rustix::io::retry_on_intr(|| net::recv(descriptor, &mut space[..most], flags)) {
            Ok((_, 0)) | Err(_) => break,
            Ok((_, taken)) => left -= taken.min(left),
        }
    }
    debug_assert!(left == 0, "it has been there");
    entry.flags.set(Flags::READABLE);
}

/// Sends a header whole, or fails.
pub(crate) fn introduce(entry: &mut Entry, header: &[u8], more: bool) -> bool {
    offer(entry, &[header], more) == Ok(header.len())
}

/// The peer's address and ours.
pub(crate) fn ends(descriptor: &OwnedFd) -> Option<[SocketAddr; 2]> {
    let peer = SocketAddr::try_from(net::getpeername(descriptor).ok()??).ok()?;
    let own = SocketAddr::try_from(net::getsockname(descriptor).ok()?).ok()?;
    Some([peer, own])
}
