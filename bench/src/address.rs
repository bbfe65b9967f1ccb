//! Where a program listens: a TCP port on loopback or a Unix socket.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::error::{Outcome, failure};

/// A loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// TCP over IPv4.
    Tcp(SocketAddrV4),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl Address {
    /// A port of 127.0.0.1 that nobody listens on at this moment.
    pub(crate) fn free() -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self::Tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
    }

    /// The port, 0 for a Unix socket.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }

    /// A listening socket, not blocking.
    pub(crate) fn listen(&self) -> Outcome<OwnedFd> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                // The standard library's 128 is too short a queue for a crowd.
                rustix::net::listen(&listener, 4096)?;
                listener.set_nonblocking(true)?;
                Ok(listener.into())
            }
            Self::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                rustix::net::listen(&listener, 4096)?;
                listener.set_nonblocking(true)?;
                Ok(listener.into())
            }
        }
    }

    /// A connection, blocking.
    pub(crate) fn connect(&self) -> Outcome<OwnedFd> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Self::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        }
    }

    /// Whether somebody accepts here.
    pub(crate) fn answers(&self) -> bool {
        self.connect().is_ok()
    }

    /// As configuration files of nginx write it behind `server`.
    pub(crate) fn for_nginx(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// As configuration files of HAProxy write it behind `server NAME`.
    pub(crate) fn for_haproxy(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("unix@{}", path.display()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse() {
            Ok(SocketAddr::V4(address)) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            _ => Err(format!("`{text}` is neither 127.x.x.x:PORT nor unix:PATH")),
        }
    }
}

/// How many loopback addresses the clients of a crowd come from, so that ports suffice.
const SOURCES: usize = 8;

/// A connection of the crowd's `number`-th client, from one of the loopback addresses
/// 127.0.NET.10 and following. Closing it resets it: thousands of sockets in TIME-WAIT would
/// stand in the way of the next measurement.
pub(crate) fn connect_from_crowd(
    target: SocketAddrV4,
    net: u8,
    number: usize,
    blocking: bool,
) -> Outcome<TcpStream> {
    let flags = if blocking { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let last = 10 + u8::try_from(number % SOURCES).unwrap_or_default();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, net, last), 0))?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(failure(format!("connecting to {target}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["127.0.0.1:8080", "unix:/tmp/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_leads_off_this_machine() {
        for text in ["10.0.0.1:80", "127.0.0.1", "[::1]:80", "localhost:80"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_crowd_comes_from_several_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let first = connect_from_crowd(target, 0, 0, true).unwrap();
        let second = connect_from_crowd(target, 0, 1, true).unwrap();
        assert_ne!(first.local_addr().unwrap().ip(), second.local_addr().unwrap().ip());
    }
}
