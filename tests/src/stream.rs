//! One byte stream over TCP, a Unix socket or TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sealed::Sealed;
use crate::wait::PATIENCE;

/// A connected socket with time-outs, so that no test waits for ever.
#[derive(Debug)]
pub enum Stream {
    /// Over IP.
    Tcp(TcpStream),
    /// In the file system.
    Unix(UnixStream),
    /// Over IP and secured.
    Sealed(Box<Sealed>),
}

impl Stream {
    /// Connects to `IP:PORT` or `unix:/path`.
    ///
    /// # Errors
    /// What connecting says, or a text that is no address.
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = if let Some(path) = address.strip_prefix("unix:") {
            Self::Unix(UnixStream::connect(Path::new(path))?)
        } else {
            let address: SocketAddr = address
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, address.to_owned()))?;
            Self::Tcp(TcpStream::connect_timeout(&address, PATIENCE)?)
        };
        stream.ready()
    }

    /// Sets what every stream of the tests has: time-outs and no delay.
    ///
    /// # Errors
    /// What setting an option says.
    pub fn ready(self) -> io::Result<Self> {
        self.set_timeout(PATIENCE)?;
        if let Some(socket) = self.tcp() {
            socket.set_nodelay(true)?;
        }
        Ok(self)
    }

    /// The socket, if it is one over IP.
    const fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Sealed(stream) => Some(stream.socket()),
            Self::Unix(_) => None,
        }
    }

    /// How long one read or write may take.
    ///
    /// # Errors
    /// What setting an option says.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        if let Self::Unix(stream) = self {
            stream.set_read_timeout(Some(timeout))?;
            return stream.set_write_timeout(Some(timeout));
        }
        let Some(socket) = self.tcp() else { return Ok(()) };
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))
    }

    /// A second handle to the same socket.
    ///
    /// # Errors
    /// When the process is out of descriptors; a TLS session has one handle alone.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Sealed(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Waits for the end, whatever comes before; of TLS, beneath it.
    ///
    /// # Errors
    /// What reading says.
    pub fn await_end(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        loop {
            let heard = match self {
                Self::Tcp(stream) => stream.read(&mut piece)?,
                Self::Unix(stream) => stream.read(&mut piece)?,
                Self::Sealed(stream) => stream.socket().read(&mut piece)?,
            };
            if heard == 0 {
                return Ok(());
            }
        }
    }

    /// Ends one direction or both; of TLS, says so.
    pub fn shutdown(&mut self, how: Shutdown) {
        // The peer may have ended it already: that is as good.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
            Self::Sealed(stream) => stream.shutdown(how),
        };
    }

    /// Closes so that the peer meets a reset instead of an orderly end (IP; a Unix socket is
    /// just closed).
    pub fn reset(self) {
        if let Some(stream) = self.tcp() {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }

    /// Whether the peer has closed or ended its direction, even if unread bytes are left.
    pub fn peer_ended(&self) -> bool {
        self.polls(PollFlags::RDHUP)
    }

    /// Whether something has come: bytes, an end or a reset. Of TLS, what it says by itself is no
    /// news.
    pub fn has_news(&mut self) -> bool {
        if let Self::Sealed(stream) = self {
            return stream.has_news();
        }
        self.polls(PollFlags::IN | PollFlags::RDHUP)
    }

    fn polls(&self, wanted: PollFlags) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(self, wanted)], Some(&now)).is_ok_and(|found| found > 0)
    }

    /// Makes the socket's receive buffer small, for clients that take their time.
    pub fn receive_little(&self) {
        self.receive_at_most(4096);
    }

    /// Bounds what the kernel receives ahead; else the buffer grows as it likes. Below 128 KiB the
    /// loopback's long segments do not fit, and each waits for a timer.
    pub fn receive_at_most(&self, bytes: usize) {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(self, bytes);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Sealed(stream) => stream.socket().as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            Self::Sealed(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Sealed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Sealed(stream) => stream.flush(),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}
