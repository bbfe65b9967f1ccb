//! Accepting from listeners that all workers share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use base::id::ListenerId;
use base::limits::ACCEPT_BATCH;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{self, SocketAddrAny, SocketFlags};

use super::notes::{Note, Notes};
use super::table::{Flags, Table};
use super::watch;
use crate::{AcceptFault, Listener};

/// One worker's share of a listener.
#[derive(Debug)]
pub(super) struct Door {
    /// `None` once this worker accepts no more for good.
    listener: Option<Listener>,
    open: bool,
    /// Clients to take in the next turn. One while they come singly, so that no accept only
    /// finds that nobody is left and other workers get theirs; doubled while more are there.
    batch: u32,
}

/// How a turn of accepting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nobody is left.
    Empty,
    /// More may be there.
    Full,
    /// Something is wanting.
    Short(AcceptFault),
}

impl Door {
    /// A door that is not open yet.
    pub(super) const fn new(listener: Listener) -> Self {
        Self { listener: Some(listener), open: false, batch: 1 }
    }

    /// Begins to accept.
    pub(super) fn open(&mut self, id: ListenerId, epoll: &OwnedFd, notes: &mut Notes) {
        let Some(listener) = self.listener.as_ref().filter(|_| !self.open) else {
            return;
        };
        match watch::add_listener(epoll, id, listener) {
            Ok(()) => self.open = true,
            Err(_) => notes.push(Note::AcceptFailed { listener: id, fault: AcceptFault::Memory }),
        }
    }

    /// Stops accepting.
    pub(super) fn close(&mut self, epoll: &OwnedFd) {
        if let Some(listener) = self.listener.as_ref().filter(|_| self.open) {
            let removed = epoll::delete(epoll, listener);
            debug_assert_eq!(removed, Ok(()));
            self.open = false;
        }
    }

    /// Accepts all who wait already, then no more for good.
    pub(super) fn close_for_good(
        &mut self,
        id: ListenerId,
        epoll: &OwnedFd,
        table: &mut Table,
        notes: &mut Notes,
    ) {
        if let Some(listener) = &self.listener {
            while accept_batch(listener, id, ACCEPT_BATCH, (epoll, table, notes)).0 == Turn::Full {}
        }
        self.close(epoll);
        self.listener = None;
    }

    /// One turn of accepting, as the kernel said that somebody waits.
    pub(super) fn turn(
        &mut self,
        id: ListenerId,
        epoll: &OwnedFd,
        (table, notes): (&mut Table, &mut Notes),
        room: &mut u32,
    ) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.open) else {
            return;
        };
        let batch = self.batch.min(*room);
        let (turn, accepted) = accept_batch(listener, id, batch, (epoll, table, notes));
        *room -= accepted;
        match turn {
            Turn::Empty => self.batch = 1,
            Turn::Full => self.batch = (self.batch * 2).min(ACCEPT_BATCH),
            Turn::Short(fault) => {
                self.close(epoll);
                self.batch = 1;
                notes.push(Note::AcceptFailed { listener: id, fault });
            }
        }
    }
}

/// Accepts up to `batch` clients; how it ended, and how many came.
fn accept_batch(
    listener: &Listener,
    id: ListenerId,
    batch: u32,
    (epoll, table, notes): (&OwnedFd, &mut Table, &mut Notes),
) -> (Turn, u32) {
    let mut accepted = 0;
    for _ in 0..batch {
        if table.is_full() {
            return (Turn::Short(AcceptFault::Table), accepted);
        }
        match net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((descriptor, peer)) => {
                if admit(descriptor, peer_ip(peer), id, (epoll, table, notes)).is_err() {
                    return (Turn::Short(AcceptFault::Memory), accepted);
                }
                accepted += 1;
            }
            Err(Errno::AGAIN) => return (Turn::Empty, accepted),
            Err(error) => {
                if let Some(fault) = fault_of(error) {
                    return (Turn::Short(fault), accepted);
                }
            }
        }
    }
    (Turn::Full, accepted)
}

/// Takes an accepted client in.
fn admit(
    descriptor: OwnedFd,
    peer: IpAddr,
    listener: ListenerId,
    (epoll, table, notes): (&OwnedFd, &mut Table, &mut Notes),
) -> Result<(), Errno> {
    let socket = table.insert(descriptor, 0, Flags::WRITABLE).map_err(|_| Errno::NOSPC)?;
    let Some(descriptor) = table.get(socket).and_then(|entry| entry.descriptor()) else {
        return Err(Errno::BADF);
    };
    if let Err(error) = watch::add_socket(epoll, socket, descriptor) {
        drop(table.take(socket));
        table.free(socket.index);
        return Err(error);
    }
    notes.push(Note::Accepted { index: socket.index, listener, peer });
    Ok(())
}

/// The fault behind an error of accepting; `None` if it concerned that one client only.
fn fault_of(error: Errno) -> Option<AcceptFault> {
    match error {
        // Linux passes on what already went wrong with the new connection (accept(2)).
        Errno::INTR
        | Errno::CONNABORTED
        | Errno::PROTO
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH
        | Errno::TIMEDOUT
        | Errno::PERM => None,
        Errno::MFILE | Errno::NFILE => Some(AcceptFault::Descriptors),
        _ => Some(AcceptFault::Memory),
    }
}

/// The client's address; the unspecified one for a client of a Unix socket.
fn peer_ip(peer: Option<SocketAddrAny>) -> IpAddr {
    peer.and_then(|peer| SocketAddr::try_from(peer).ok())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical())
}
