//! How many connections a listener has at this moment, asked of the kernel by netlink
//! (`sock_diag(7)`), which is cheap enough to be done twenty times a second beside a crowd.

use std::collections::HashMap;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netlink, recv, send, socket_with};

use crate::error::{Outcome, While, failure};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const ESTABLISHED: u8 = 1;
/// The peer has closed, the server has not yet.
const CLOSE_WAIT: u8 = 8;
const HEADER: usize = 16;

/// The connections of a server at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Open at both ends.
    pub(crate) open: usize,
    /// These, and those that the client has closed and the server has not.
    pub(crate) all: usize,
}

impl Held {
    /// The larger of each.
    pub(crate) fn max(self, two: Self) -> Self {
        Self { open: self.open.max(two.open), all: self.all.max(two.all) }
    }
}

/// One list: the state of each connection by its cookie, which tells it from every other.
type List = HashMap<[u8; 8], u8>;

/// A netlink socket to ask through.
pub(crate) struct Diag {
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Diag {
    /// Opens the socket.
    pub(crate) fn open() -> Outcome<Self> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .doing("netlink socket")?;
        Ok(Self { socket, answer: vec![0; 64 * 1024] })
    }

    /// How many connections of the server at this port of 127.0.0.1, accepted or waiting to be, exist at
    /// one instant. A list takes the kernel a millisecond, in which connections come and go, so
    /// that a list may show some that never met: those in two lists, one right behind the
    /// other, all existed between the two.
    pub(crate) fn held(&mut self, port: u16) -> Outcome<Held> {
        let earlier = self.list(port)?;
        let later = self.list(port)?;
        let both = later.iter().filter(|(cookie, _)| earlier.contains_key(*cookie));
        let mut held = Held::default();
        for (_, &state) in both {
            held.all += 1;
            held.open += usize::from(state == ESTABLISHED);
        }
        Ok(held)
    }

    fn list(&mut self, port: u16) -> Outcome<List> {
        send(&self.socket, &request(port), SendFlags::empty()).doing("asking sock_diag")?;
        let mut list = List::new();
        loop {
            let (length, _) = recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::empty())
                .doing("sock_diag's answer")?;
            if read(self.answer.get(..length).unwrap_or_default(), &mut list)? {
                return Ok(list);
            }
        }
    }
}

/// A request for a dump of IPv4 TCP sockets with this local port.
fn request(port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    bytes.extend((1_u32 << ESTABLISHED | 1 << CLOSE_WAIT).to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    // Any peer, any address, any interface, no cookie.
    bytes.resize(64, 0);
    bytes.extend([0xff; 8]);
    bytes
}

/// Where a message has its socket's state, its own address behind four bytes of state and two
/// ports, and its cookie behind both addresses and an interface.
const STATE: usize = HEADER + 1;
const ADDRESS: std::ops::Range<usize> = HEADER + 8..HEADER + 12;
const COOKIE: std::ops::Range<usize> = HEADER + 44..HEADER + 52;

/// The servers' address. The kernel chooses by port alone, and a client of the crowd may have
/// the server's port at an address of its own.
const SERVER: &[u8] = &[127, 0, 0, 1];

/// Adds the server's connections among these messages; true when the list is at its end.
fn read(mut bytes: &[u8], list: &mut List) -> Outcome<bool> {
    while let (Some(length), Some(kind)) = (bytes.first_chunk::<4>(), bytes.get(4..6)) {
        let length = usize::try_from(u32::from_ne_bytes(*length))?;
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            SOCK_DIAG_BY_FAMILY => {
                let cookie = bytes.get(COOKIE).and_then(|cookie| cookie.first_chunk::<8>());
                let (Some(cookie), Some(&state)) = (cookie, bytes.get(STATE)) else {
                    return Err(failure("sock_diag's answer is cut"));
                };
                if bytes.get(ADDRESS) == Some(SERVER) {
                    list.insert(*cookie, state);
                }
            }
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(failure("sock_diag refuses")),
            _ => {}
        }
        let next = length.max(HEADER).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_stranger_with_the_same_port_is_not_counted() {
        use rustix::net::{bind, connect};
        use std::net::{Ipv4Addr, SocketAddrV4};
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        bind(&stranger, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 10), port)).unwrap();
        connect(&stranger, &elsewhere.local_addr().unwrap()).unwrap();
        assert_eq!(Diag::open().unwrap().held(port).unwrap(), Held::default());
        drop((server, elsewhere, stranger));
    }

    #[test]
    fn counts_the_connections_of_one_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut diag = Diag::open().unwrap();
        // A FIN takes its time when the machine is busy.
        let mut becomes = |open, all| {
            let wanted = Held { open, all };
            let moment = std::time::Duration::from_millis(20);
            (0..100).any(|_| {
                std::thread::sleep(moment);
                diag.held(address.port()).unwrap() == wanted
            })
        };
        assert!(becomes(0, 0));
        let mut clients: Vec<TcpStream> =
            (0..70).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(becomes(70, 70), "none of them accepted yet");
        clients.truncate(50);
        let accepted = listener.accept().unwrap();
        assert!(becomes(50, 70), "some closed by the clients only");
        drop((accepted, listener));
        assert!(becomes(0, 0));
    }
}
