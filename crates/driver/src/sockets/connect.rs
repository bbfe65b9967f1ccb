//! Opening connections to servers.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use base::limits::ADDRESSES_MAX;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::{Address, ConnectFault};

/// A server's addresses, which take turns: one, or those behind its name.
#[derive(Debug)]
pub(crate) struct Server {
    endpoints: Vec<Endpoint>,
    /// Whose turn is next.
    turn: usize,
}

/// An address in the kernel's form.
#[derive(Clone, Debug)]
enum Endpoint {
    Ip(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Endpoint {
    fn new(address: &Address) -> Result<Self, Errno> {
        match address {
            Address::Ip(address) => Ok(Self::Ip(*address)),
            Address::Unix(path) => SocketAddrUnix::new(path).map(Self::Unix),
        }
    }
}

impl Server {
    /// A server at these addresses.
    pub(crate) fn new(addresses: &[Address]) -> Result<Self, Errno> {
        let mut endpoints = Vec::with_capacity(ADDRESSES_MAX.max(addresses.len()));
        for address in addresses {
            endpoints.push(Endpoint::new(address)?);
        }
        Ok(Self { endpoints, turn: 0 })
    }

    /// Its name stands for these addresses from now on.
    pub(crate) fn set(&mut self, addresses: &[SocketAddr]) {
        self.endpoints.clear();
        let listed = addresses.iter().take(ADDRESSES_MAX);
        self.endpoints.extend(listed.map(|address| Endpoint::Ip(*address)));
        self.turn = 0;
    }

    /// Whether a connection leads to one of its addresses.
    pub(crate) fn lists(&self, descriptor: impl AsFd) -> bool {
        let Ok(peer) = net::getpeername(&descriptor) else { return false };
        let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else {
            // A Unix socket has no other address.
            return true;
        };
        self.endpoints.iter().any(|at| matches!(at, Endpoint::Ip(address) if *address == peer))
    }

    fn next(&mut self) -> Option<&Endpoint> {
        let place = self.turn % self.endpoints.len().max(1);
        self.turn = place + 1;
        self.endpoints.get(place)
    }

    fn ips(&self) -> impl Iterator<Item = &SocketAddr> {
        self.endpoints.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Ip(address) => Some(address),
            Endpoint::Unix(_) => None,
        })
    }
}

/// A connection that has been begun.
pub(crate) struct Begun {
    pub(crate) descriptor: OwnedFd,
    /// Whether it is open already.
    pub(crate) open: bool,
}

/// Begins to connect to `server`, at the address whose turn it is.
pub(crate) fn begin(server: &mut Server) -> Result<Begun, ConnectFault> {
    let begun = match server.next().ok_or(ConnectFault::Refused)? {
        Endpoint::Ip(address) => begin_ip(address),
        Endpoint::Unix(address) => begin_unix(address),
    };
    begun.map_err(fault_of)
}

fn begin_ip(address: &SocketAddr) -> Result<Begun, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let descriptor = socket(family)?;
    sockopt::set_tcp_nodelay(&descriptor, true)?;
    sockopt::set_socket_keepalive(&descriptor, true)?;
    match net::connect(&descriptor, address) {
        Ok(()) => Ok(Begun { descriptor, open: true }),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Begun { descriptor, open: false }),
        // Here it means that no local port is free; on a Unix socket, that the server is busy.
        Err(Errno::AGAIN) => Err(Errno::ADDRNOTAVAIL),
        Err(error) => Err(error),
    }
}

fn begin_unix(address: &SocketAddrUnix) -> Result<Begun, Errno> {
    let descriptor = socket(AddressFamily::UNIX)?;
    net::connect(&descriptor, address)?;
    Ok(Begun { descriptor, open: true })
}

fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(family, SocketType::STREAM, flags, None)
}

/// The fault behind an error of connecting.
pub(crate) fn fault_of(error: Errno) -> ConnectFault {
    match error {
        Errno::AGAIN => ConnectFault::Busy,
        Errno::TIMEDOUT => ConnectFault::TimedOut,
        Errno::MFILE
        | Errno::NFILE
        | Errno::ADDRNOTAVAIL
        | Errno::ADDRINUSE
        | Errno::NOBUFS
        | Errno::NOMEM
        | Errno::NOSPC => ConnectFault::Exhausted,
        _ => ConnectFault::Refused,
    }
}

/// Whether a new connection leads back to itself: TCP lets a socket that happens to get its
/// server's port as its own connect to itself when nobody listens there. It would keep the
/// server from its port.
pub(crate) fn is_own_end(descriptor: impl AsFd, servers: &[Server]) -> bool {
    let mut addresses = servers.iter().flat_map(Server::ips);
    if !addresses.any(|address| address.ip().is_loopback()) {
        return false;
    }
    let Ok(own) = net::getsockname(&descriptor).and_then(SocketAddr::try_from) else {
        return false;
    };
    servers.iter().flat_map(Server::ips).any(|address| *address == own)
}
