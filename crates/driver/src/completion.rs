//! What a driver tells: small values, queued, never delivered inside a call.

use core::net::IpAddr;

use base::id::ListenerId;

/// Names a socket of one driver. The generation tells a reused place from the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Place in the driver's table.
    pub index: u32,
    /// How often that place was used before.
    pub generation: u32,
}

/// Whom a completion concerns: a number that the driver keeps with the socket and hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u32);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A client connected; the socket has no owner yet.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// Its socket.
        socket: Socket,
        /// Its address; the unspecified address for a client of a Unix socket.
        peer: IpAddr,
    },
    /// Accepting failed for want of something; the listener is paused until
    /// [`crate::Driver::listen`].
    AcceptFailed {
        /// The listener.
        listener: ListenerId,
        /// What is wanting.
        fault: AcceptFault,
    },
    /// [`crate::Driver::connect`] succeeded.
    Connected {
        /// Whose connection.
        owner: Owner,
    },
    /// [`crate::Driver::connect`] failed; close the socket.
    ConnectFailed {
        /// Whose connection.
        owner: Owner,
        /// Why.
        fault: ConnectFault,
    },
    /// Something can be received. The socket is no longer armed.
    Readable {
        /// Whose socket.
        owner: Owner,
    },
    /// The peer ended its direction, as [`crate::Driver::await_end`] asked to be told.
    Ended {
        /// Whose socket.
        owner: Owner,
    },
    /// A send that returned [`Sent::Later`] was accepted as far as `bytes` says; 0 means that
    /// there is room now: send again.
    Sent {
        /// Whose socket.
        owner: Owner,
        /// Bytes the transport has accepted.
        bytes: u32,
    },
    /// The connection broke (reset, time-out in the transport), whether armed or not. Told once:
    /// here, or by the receive or send that found it out. While the socket is armed the receive
    /// tells it, behind the bytes that came before.
    Failed {
        /// Whose socket.
        owner: Owner,
        /// How.
        fault: PeerFault,
    },
    /// The last completion of a closed socket.
    Closed {
        /// Whose socket it was.
        owner: Owner,
    },
    /// What [`crate::Driver::spool_write`] or [`crate::Driver::spool_read`] asked for is done.
    Spooled {
        /// Whose errand it was.
        ticket: Ticket,
        /// What came of it.
        done: SpoolDone,
    },
    /// Another thread called [`crate::Wake::wake`].
    Woken,
}

/// Names whom an errand of the spool's disk is for: numbers that the driver hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The exchange.
    pub owner: u32,
    /// Tells one owner of that number from the next.
    pub generation: u32,
}

/// What came of an errand of the spool's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolDone {
    /// The bytes are in the file.
    Written,
    /// They were read, and wait for [`crate::Driver::spool_take`] or
    /// [`crate::Driver::spool_drop`].
    Read(SpoolRead),
    /// The disk failed: what was to be written is lost.
    Failed,
}

/// Bytes read from the spool that nobody has taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolRead(pub u32);

/// What [`crate::Driver::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one, stand at the chain's end.
    Bytes(u32),
    /// Nothing was there after all; arm again.
    Nothing,
    /// The peer ended its direction.
    Ended,
    /// There is data, but no buffer could be lent for it.
    NoBuffer,
    /// The connection broke.
    Failed(PeerFault),
}

/// What [`crate::Driver::peek`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// How many bytes that have arrived were copied, perhaps none.
    pub count: usize,
    /// What is to be expected behind all that have arrived.
    pub then: Then,
}

/// What comes behind the bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More, as far as is known.
    More,
    /// Nothing: the peer ended its direction.
    Ended,
    /// Nothing: the connection broke.
    Failed(PeerFault),
}

impl Peeked {
    /// Nothing has arrived; what will?
    pub const fn nothing(then: Then) -> Self {
        Self { count: 0, then }
    }
}

/// What became of a [`crate::Driver::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The transport accepted so many bytes, at least one; perhaps not all.
    Now(u32),
    /// [`Completion::Sent`] will tell.
    Later,
    /// The connection broke; nothing more will be sent.
    Failed(PeerFault),
}

/// What accepting lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// No descriptor is left to the process or the system (EMFILE, ENFILE).
    Descriptors,
    /// The kernel has no memory for it (ENOBUFS, ENOMEM).
    Memory,
    /// The driver's own table is full.
    Table,
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The server refuses or does not exist (ECONNREFUSED, ENOENT, unreachable).
    Refused,
    /// The server's backlog is full for the moment (EAGAIN on a Unix socket).
    Busy,
    /// This machine lacks descriptors, ports or memory (EMFILE, EADDRNOTAVAIL, ENOBUFS).
    Exhausted,
    /// Nobody answered in time.
    TimedOut,
}

/// How a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The peer reset it, or is gone (ECONNRESET, EPIPE).
    Reset,
    /// The transport gave up on it (ETIMEDOUT, unreachable).
    Lost,
}
