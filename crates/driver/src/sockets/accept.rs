//! Accepting from listeners that all workers share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use base::id::ListenerId;
use base::limits::ACCEPT_BATCH;
use base::time::Instant;
use rustix::io::Errno;
use rustix::net::{self, SocketAddrAny, SocketFlags};

use super::newcomers::Newcomers;
use super::notes::{Note, Notes};
use super::table::{Flags, Table};
use super::watcher::Watcher;
use crate::{AcceptFault, Listener};

/// One worker's share of a listener.
#[derive(Debug)]
pub(crate) struct Door {
    /// `None` once this worker accepts no more for good.
    listener: Option<Listener>,
    open: bool,
    /// Clients to take in the next turn. One while they come singly, so that no accept only
    /// finds that nobody is left and other workers get theirs; doubled while more are there.
    batch: u32,
}

/// Where those who arrive are entered.
pub(crate) struct Arrivals<'a> {
    pub(crate) table: &'a mut Table,
    pub(crate) notes: &'a mut Notes,
    pub(crate) newcomers: &'a mut Newcomers,
    pub(crate) now: Instant,
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
    pub(crate) const fn new(listener: Listener) -> Self {
        Self { listener: Some(listener), open: false, batch: 1 }
    }

    /// Begins to accept.
    pub(crate) fn open(&mut self, id: ListenerId, watcher: &mut impl Watcher, notes: &mut Notes) {
        let Some(listener) = self.listener.as_ref().filter(|_| !self.open) else {
            return;
        };
        match watcher.open(id, listener) {
            Ok(()) => self.open = true,
            Err(_) => notes.push(Note::AcceptFailed { listener: id, fault: AcceptFault::Memory }),
        }
    }

    /// Stops accepting.
    pub(crate) fn close(&mut self, id: ListenerId, watcher: &mut impl Watcher) {
        if let Some(listener) = self.listener.as_ref().filter(|_| self.open) {
            watcher.shut(id, listener);
            self.open = false;
        }
    }

    /// Accepts all who wait already, then no more for good.
    pub(crate) fn close_for_good(
        &mut self,
        id: ListenerId,
        watcher: &mut impl Watcher,
        mut arrivals: Arrivals<'_>,
    ) {
        if let Some(listener) = &self.listener {
            while accept_batch(listener, id, ACCEPT_BATCH, watcher, &mut arrivals).0 == Turn::Full {
            }
        }
        self.close(id, watcher);
        self.listener = None;
    }

    /// One turn of accepting, as the kernel said that somebody waits.
    pub(crate) fn turn(
        &mut self,
        id: ListenerId,
        watcher: &mut impl Watcher,
        mut arrivals: Arrivals<'_>,
        room: &mut u32,
    ) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.open) else {
            return;
        };
        let batch = self.batch.min(*room);
        let (turn, accepted) = accept_batch(listener, id, batch, watcher, &mut arrivals);
        *room -= accepted;
        self.batch = match turn {
            Turn::Full => (self.batch * 2).min(ACCEPT_BATCH),
            Turn::Empty | Turn::Short(_) => 1,
        };
        match turn {
            Turn::Empty | Turn::Full => watcher.again(id, listener),
            Turn::Short(fault) => {
                self.close(id, watcher);
                arrivals.notes.push(Note::AcceptFailed { listener: id, fault });
            }
        }
    }
}

/// Accepts up to `batch` clients; how it ended, and how many came.
fn accept_batch(
    listener: &Listener,
    id: ListenerId,
    batch: u32,
    watcher: &mut impl Watcher,
    arrivals: &mut Arrivals<'_>,
) -> (Turn, u32) {
    let mut accepted = 0;
    for _ in 0..batch {
        if arrivals.table.is_full() {
            return (Turn::Short(AcceptFault::Table), accepted);
        }
        match net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((descriptor, peer)) => {
                if admit(descriptor, peer_ip(peer), id, watcher, arrivals).is_err() {
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
fn admit<W: Watcher>(
    descriptor: OwnedFd,
    peer: IpAddr,
    listener: ListenerId,
    watcher: &mut W,
    Arrivals { table, notes, newcomers, now }: &mut Arrivals<'_>,
) -> Result<(), Errno> {
    let socket = table.insert(descriptor, 0, Flags::WRITABLE).map_err(|_| Errno::NOSPC)?;
    let Some(entry) = table.get(socket) else {
        return Err(Errno::BADF);
    };
    if W::WATCHING_IS_A_CALL && newcomers.are_eager() {
        entry.flags.set(Flags::UNWATCHED.and(Flags::READABLE));
        newcomers.push(socket, *now);
    } else if let Err(error) = watcher.add(socket, entry) {
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
