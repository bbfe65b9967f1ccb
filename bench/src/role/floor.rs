//! The floor under every proxy: a forwarder that receives and sends and understands nothing,
//! four system calls a request and its share of `epoll_wait`. Each client has an upstream
//! connection of its own while it is there.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::address::Address;
use crate::error::Outcome;
use crate::role::{end_with_input, say};

const LISTENER: u64 = u64::MAX;

/// Forwards until standard input ends. One that `closes` takes what the server sends at once
/// for the whole response, ends the client's connection with it, and keeps the server's for the
/// next client.
pub(crate) fn forward(address: &Address, upstream: &Address, closes: bool) -> Outcome<()> {
    let listener = address.listen()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    say("ready")?;
    end_with_input();
    let mut floor = Floor {
        epoll,
        upstream: upstream.clone(),
        closes,
        ends: Vec::new(),
        empty: Vec::new(),
        idle: Vec::new(),
        scratch: vec![0; 64 * 1024],
    };
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => floor.accept(&listener)?,
                number => floor.act(usize::try_from(number)?, event.flags)?,
            }
        }
    }
}

struct Floor {
    epoll: OwnedFd,
    upstream: Address,
    closes: bool,
    /// One end of a connection at each place; empty ones are listed.
    ends: Vec<Option<End>>,
    empty: Vec<usize>,
    /// Places of the server's connections without a client.
    idle: Vec<usize>,
    scratch: Vec<u8>,
}

struct End {
    socket: OwnedFd,
    peer: usize,
    is_client: bool,
    /// What this end's socket did not take yet; its peer is not read meanwhile.
    owed: Vec<u8>,
}

impl Floor {
    fn accept(&mut self, listener: &OwnedFd) -> Outcome<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(client) = accept_with(listener, flags) {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&client, true);
            let server = match self.idle.pop() {
                Some(place) => place,
                None => self.keep(self.upstream.connect()?, false)?,
            };
            let client = self.keep(client, true)?;
            self.join(client, server);
        }
        Ok(())
    }

    fn keep(&mut self, socket: OwnedFd, is_client: bool) -> Outcome<usize> {
        let place = self.empty.pop().unwrap_or(self.ends.len());
        let data = EventData::new_u64(u64::try_from(place)?);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
        if place == self.ends.len() {
            self.ends.push(None);
        }
        self.ends[place] = Some(End { socket, peer: place, is_client, owed: Vec::new() });
        Ok(place)
    }

    fn join(&mut self, one: usize, other: usize) {
        for (place, peer) in [(one, other), (other, one)] {
            if let Some(end) = &mut self.ends[place] {
                end.peer = peer;
            }
        }
    }

    fn act(&mut self, place: usize, flags: EventFlags) -> Outcome<()> {
        if flags.contains(EventFlags::OUT) {
            return self.pay(place);
        }
        let (mut scratch, ends) = (std::mem::take(&mut self.scratch), &mut self.ends);
        let received = match ends.get(place) {
            Some(Some(source)) => recv(&source.socket, scratch.as_mut_slice(), RecvFlags::DONTWAIT),
            _ => Err(Errno::AGAIN),
        };
        let outcome = match received {
            Ok((length, _)) if length > 0 => {
                self.pass(place, scratch.get(..length).unwrap_or_default())
            }
            Err(Errno::AGAIN) => Ok(()),
            _ => {
                self.end(place);
                Ok(())
            }
        };
        self.scratch = scratch;
        outcome
    }

    /// What one end received goes out at the other. When an end has gone, so has its peer.
    fn pass(&mut self, from: usize, bytes: &[u8]) -> Outcome<()> {
        let Some(source) = &self.ends[from] else { return Ok(()) };
        let (to, from_server) = (source.peer, !source.is_client);
        let Some(sink) = &mut self.ends[to] else { return Ok(()) };
        if !sink.owed.is_empty() {
            sink.owed.extend_from_slice(bytes);
            return Ok(());
        }
        match send(&sink.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == bytes.len() => {
                if self.closes && from_server {
                    self.part(to, from);
                }
                Ok(())
            }
            Ok(sent) => self.owe(from, to, bytes.get(sent..).unwrap_or_default()),
            Err(Errno::AGAIN) => self.owe(from, to, bytes),
            Err(_) => {
                self.end(from);
                Ok(())
            }
        }
    }

    /// The sink's socket is full: its source is left alone until it has taken the rest.
    fn owe(&mut self, from: usize, to: usize, rest: &[u8]) -> Outcome<()> {
        if let Some(sink) = &mut self.ends[to] {
            sink.owed.extend_from_slice(rest);
        }
        self.watch(from, EventFlags::empty())?;
        self.watch(to, EventFlags::OUT)
    }

    fn pay(&mut self, place: usize) -> Outcome<()> {
        let Some(sink) = &mut self.ends[place] else { return Ok(()) };
        let source = sink.peer;
        match send(&sink.socket, &sink.owed, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == sink.owed.len() => {
                sink.owed.clear();
                self.watch(source, EventFlags::IN)?;
                self.watch(place, EventFlags::IN)
            }
            Ok(sent) => {
                sink.owed.drain(..sent);
                Ok(())
            }
            Err(Errno::AGAIN) => Ok(()),
            Err(_) => {
                self.end(place);
                Ok(())
            }
        }
    }

    fn watch(&self, place: usize, flags: EventFlags) -> Outcome<()> {
        let Some(end) = &self.ends[place] else { return Ok(()) };
        let data = EventData::new_u64(u64::try_from(place)?);
        Ok(epoll::modify(&self.epoll, &end.socket, data, flags)?)
    }

    /// The client has its response.
    fn part(&mut self, client: usize, server: usize) {
        self.ends[client] = None;
        self.empty.push(client);
        self.idle.push(server);
        self.join(server, server);
    }

    fn end(&mut self, place: usize) {
        let Some(end) = self.ends[place].take() else { return };
        self.empty.push(place);
        self.idle.retain(|&idle| idle != place);
        if end.peer != place && self.ends[end.peer].take().is_some() {
            self.empty.push(end.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A server that answers every byte with so many, behind a floor.
    fn stand(size: usize, closes: bool) -> TcpStream {
        let (Address::Tcp(listen), Ok(Address::Tcp(upstream))) =
            (Address::free().unwrap(), Address::free())
        else {
            panic!("TCP")
        };
        let server = std::net::TcpListener::bind(upstream).unwrap();
        std::thread::spawn(move || {
            for client in server.incoming() {
                let mut client = client.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while client.read(&mut byte).unwrap_or_default() > 0 {
                        client.write_all(&vec![byte[0]; size]).unwrap();
                    }
                });
            }
        });
        let listener = Address::Tcp(listen).listen().unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut floor = Floor {
            epoll,
            upstream: Address::Tcp(upstream),
            closes,
            ends: Vec::new(),
            empty: Vec::new(),
            idle: Vec::new(),
            scratch: vec![0; 4096],
        };
        let client = TcpStream::connect(listen).unwrap();
        std::thread::spawn(move || {
            floor.accept(&listener).unwrap();
            let mut events: Vec<Event> = Vec::with_capacity(8);
            loop {
                epoll::wait(&floor.epoll, spare_capacity(&mut events), None).unwrap();
                for event in events.drain(..) {
                    let place = usize::try_from(event.data.u64()).unwrap();
                    floor.act(place, event.flags).unwrap();
                }
            }
        });
        client
    }

    #[test]
    fn passes_more_than_a_socket_takes() {
        const SIZE: usize = 8 << 20;
        let mut client = stand(SIZE, false);
        for byte in *b"ab" {
            client.write_all(&[byte]).unwrap();
            // The sockets between fill up first.
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut bytes = vec![0; SIZE];
            client.read_exact(&mut bytes).unwrap();
            assert!(bytes.iter().all(|&got| got == byte));
        }
    }

    #[test]
    fn closes_behind_the_response_if_it_is_to() {
        let mut client = stand(10, true);
        client.write_all(b"a").unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"aaaaaaaaaa");
    }
}
