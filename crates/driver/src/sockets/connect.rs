//! Opening connections to servers.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::{Address, ConnectFault};

/// A server's address in the kernel's form.
#[derive(Debug)]
pub(crate) enum Server {
    Ip(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Server {
    /// The kernel's form of `address`.
    pub(crate) fn new(address: &Address) -> Result<Self, Errno> {
        match address {
            Address::Ip(address) => Ok(Self::Ip(*address)),
            Address::Unix(path) => SocketAddrUnix::new(path).map(Self::Unix),
        }
    }
}

/// A connection that has been begun.
pub(crate) struct Begun {
    pub(crate) descriptor: OwnedFd,
    /// Whether it is open already.
    pub(crate) open: bool,
}

/// Begins to connect to `server`.
pub(crate) fn begin(server: &Server) -> Result<Begun, ConnectFault> {
    let begun = match server {
        Server::Ip(address) => begin_ip(address),
        Server::Unix(address) => begin_unix(address),
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
    let local = |server: &Server| matches!(server, Server::Ip(ip) if ip.ip().is_loopback());
    if !servers.iter().any(local) {
        return false;
    }
    let Ok(own) = net::getsockname(&descriptor).and_then(SocketAddr::try_from) else {
        return false;
    };
    servers.iter().any(|server| matches!(server, Server::Ip(address) if *address == own))
}
