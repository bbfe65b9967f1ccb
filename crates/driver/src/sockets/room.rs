//! Room in the kernel for what stays there until it is whole. The only unsafe code beside the ring's.
#![expect(unsafe_code, reason = "no library that we use knows SO_RCVLOWAT")]

use core::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{self, RecvFlags};

use super::table::{Entry, Flags};

/// The window that a peer is offered, in bytes: more than twice what the kernel may count of bytes that
/// were taken, 17 pieces of 32 KiB, and a segment of loopback besides.
const WINDOW: c_int = 1 << 20;

/// How long a mark is, as the kernel reads it.
const MARK_BYTES: libc::socklen_t = 4;
const _: () = assert!(size_of::<c_int>() == MARK_BYTES as usize);

/// Has the kernel take more behind what was looked at and left; once for each connection.
///
/// A piece of a packet counts as held until its last byte is taken. Behind a long one of which little is
/// left the window may stay shut, so that the rest of a record never comes: on loopback and between
/// containers, where a piece is of 64 KiB, long uploads stood still. The low-water mark raises the bound of
/// the receive buffer to what it would need and, unlike `SO_RCVBUF`, leaves it to grow by itself.
pub(super) fn make(entry: &mut Entry) {
    if entry.flags.any(Flags::ROOMY) {
        return;
    }
    entry.flags.set(Flags::ROOMY);
    let Some(descriptor) = entry.descriptor() else { return };
    // On a socket that knows no such mark nothing has to be done.
    if set_low_water_mark(descriptor, WINDOW) {
        set_low_water_mark(descriptor, 1);
        // The peer is told of a wider window upon a receive.
        let _ = net::recv(descriptor, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    }
}

/// Whether the kernel took it.
fn set_low_water_mark(descriptor: &OwnedFd, bytes: c_int) -> bool {
    // SAFETY: the descriptor is open while it is borrowed; the kernel reads one `c_int`, of the length that
    // is named, and keeps nothing.
    let result = unsafe {
        libc::setsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            MARK_BYTES,
        )
    };
    result == 0
}
