//! A server that costs as little as a server can: one thread, three system calls a request.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::address::Address;
use crate::error::Outcome;
use crate::role::{end_with_input, say};

/// The mark of the listener among the events.
const LISTENER: u64 = 0;

/// Serves until standard input ends. Requests carry no body; a request's end is an empty line.
pub(crate) fn serve(address: &Address, size: usize) -> Outcome<()> {
    let mut server = Server::new(address.listen()?, response(size))?;
    say("ready")?;
    end_with_input();
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => server.accept()?,
                number => server.serve(number)?,
            }
        }
    }
}

/// A response as a careful server writes it, with a body of so many bytes.
fn response(size: usize) -> Vec<u8> {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: {date}\r\nContent-Type: text/plain\r\n\
         Content-Length: {size}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + size, b'x');
    bytes
}

struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    response: Vec<u8>,
    clients: HashMap<u64, Client>,
    next: u64,
    scratch: Vec<u8>,
}

struct Client {
    socket: OwnedFd,
    matched: usize,
    /// Responses it is still to get, the one under way included.
    owed: usize,
    /// Bytes of the one under way that its socket took.
    sent: usize,
}

impl Server {
    fn new(listener: OwnedFd, response: Vec<u8>) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (clients, next, scratch) = (HashMap::new(), LISTENER + 1, vec![0; 16 * 1024]);
        Ok(Self { epoll, listener, response, clients, next, scratch })
    }

    fn accept(&mut self) -> Outcome<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = accept_with(&self.listener, flags) {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
            let data = EventData::new_u64(self.next);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.clients.insert(self.next, Client { socket, matched: 0, owed: 0, sent: 0 });
            self.next += 1;
        }
        Ok(())
    }

    /// Reads once and sends as many responses as requests ended, or what the socket takes of
    /// them; then the client is watched until it takes more, and not read meanwhile.
    fn serve(&mut self, number: u64) -> Outcome<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let was_writing = client.owed > 0;
        let healthy =
            (was_writing || client.receive(&mut self.scratch)) && client.send(&self.response);
        if !healthy {
            self.clients.remove(&number);
            return Ok(());
        }
        let is_writing = client.owed > 0;
        if is_writing != was_writing {
            let flags = if is_writing { EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, &client.socket, EventData::new_u64(number), flags)?;
        }
        Ok(())
    }
}

impl Client {
    /// Reads once; false when the connection has ended.
    fn receive(&mut self, scratch: &mut [u8]) -> bool {
        match recv(&self.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => false,
            Ok((length, _)) => {
                let bytes = scratch.get(..length).unwrap_or_default();
                self.owed += ends(bytes, &mut self.matched);
                true
            }
            Err(error) => error == Errno::AGAIN,
        }
    }

    /// Sends what is owed until the socket is full; false when the connection has ended.
    fn send(&mut self, response: &[u8]) -> bool {
        while self.owed > 0 {
            let rest = response.get(self.sent..).unwrap_or_default();
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == rest.len() => {
                    self.owed -= 1;
                    self.sent = 0;
                }
                Ok(sent) => self.sent += sent,
                Err(error) => return error == Errno::AGAIN,
            }
        }
        true
    }
}

/// How many heads end in these bytes; `matched` keeps how much of an end the last ones were.
fn ends(bytes: &[u8], matched: &mut usize) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    let mut found = 0;
    for &byte in bytes {
        *matched = match END.get(*matched) {
            Some(&wanted) if wanted == byte => *matched + 1,
            _ => usize::from(byte == b'\r'),
        };
        if *matched == END.len() {
            found += 1;
            *matched = 0;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ends_across_pieces() {
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\nGET";
        for cut in 0..bytes.len() {
            let mut matched = 0;
            let (first, second) = bytes.split_at(cut);
            assert_eq!(ends(first, &mut matched) + ends(second, &mut matched), 2, "{cut}");
        }
    }

    #[test]
    fn more_than_a_socket_takes_is_sent_in_turn() {
        use std::io::{Read, Write};
        const SIZE: usize = 8 << 20;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut server = Server::new(listener.into(), response(SIZE)).unwrap();
        let whole = 2 * server.response.len();
        let mut client = std::net::TcpStream::connect(target).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
        server.accept().unwrap();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut bytes = vec![0; whole];
            client.read_exact(&mut bytes).unwrap();
            client
        });
        let mut events: Vec<Event> = Vec::with_capacity(8);
        while !reader.is_finished() {
            let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            epoll::wait(&server.epoll, spare_capacity(&mut events), Some(&wait)).unwrap();
            for event in events.drain(..) {
                server.serve(event.data.u64()).unwrap();
            }
        }
        drop(reader.join().unwrap());
        server.serve(LISTENER + 1).unwrap();
        assert!(server.clients.is_empty());
    }

    #[test]
    fn the_response_is_whole() {
        let bytes = response(1024);
        let length = bytes.len();
        let whole = crate::answer::Answer::Complete { status: 200, length, closes: false };
        assert_eq!(crate::answer::find(&bytes), whole);
    }
}
