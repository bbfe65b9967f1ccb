//! The floor under every proxy: a forwarder that receives and sends and understands nothing,
//! four system calls a request and its share of `epoll_wait`. One upstream connection for each
//! client; for messages that fit a socket's buffer.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::role::{end_with_input, say};

const LISTENER: u64 = u64::MAX;

/// Forwards until standard input ends.
pub(crate) fn forward(address: &Address, upstream: &Address) -> Outcome<()> {
    let listener = address.listen()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    say("ready")?;
    end_with_input();
    let mut ends = Ends { epoll, sockets: Vec::new(), scratch: vec![0; 64 * 1024] };
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        match epoll::wait(&ends.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => ends.accept(&listener, upstream)?,
                number => ends.pass(usize::try_from(number)?)?,
            }
        }
    }
}

/// Both ends of every connection: a client at an even place, its upstream behind it. A pair's
/// places are not used again: a bench opens few.
struct Ends {
    epoll: OwnedFd,
    sockets: Vec<Option<OwnedFd>>,
    scratch: Vec<u8>,
}

impl Ends {
    fn accept(&mut self, listener: &OwnedFd, upstream: &Address) -> Outcome<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(client) = accept_with(listener, flags) {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&client, true);
            self.watch(client)?;
            self.watch(upstream.connect()?)?;
        }
        Ok(())
    }

    fn watch(&mut self, socket: OwnedFd) -> Outcome<()> {
        let place = u64::try_from(self.sockets.len())?;
        epoll::add(&self.epoll, &socket, EventData::new_u64(place), EventFlags::IN)?;
        self.sockets.push(Some(socket));
        Ok(())
    }

    /// What one end received goes out at the other. When an end has gone, so has its pair.
    fn pass(&mut self, from: usize) -> Outcome<()> {
        let to = from ^ 1;
        let pair = (self.sockets.get(from), self.sockets.get(to));
        let (Some(Some(source)), Some(Some(sink))) = pair else { return Ok(()) };
        match recv(source, self.scratch.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((length, _)) if length > 0 => {
                let bytes = self.scratch.get(..length).unwrap_or_default();
                match send(sink, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                    Ok(sent) if sent == length => return Ok(()),
                    Ok(_) => return Err(failure("a message larger than a socket's buffer")),
                    Err(_) => {}
                }
            }
            Err(Errno::AGAIN) => return Ok(()),
            _ => {}
        }
        for place in [from, to] {
            if let Some(socket) = self.sockets.get_mut(place) {
                *socket = None;
            }
        }
        Ok(())
    }
}
