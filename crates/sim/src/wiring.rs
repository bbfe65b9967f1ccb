//! What a driver does in the network: it looks at what happened, accepts, connects, sends, closes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use base::id::{ListenerId, ServerId};
use base::limits::ACCEPT_BATCH;
use base::time::Instant;
use driver::{AcceptFault, ConnectFault, Owner, PeerFault, Received, Sent, Socket};

use crate::net::{Net, Opening, Place};
use crate::sockets::{Door, Note};
use crate::weather::Weather;

impl Net {
    /// Sends slices, cut or whole, unless no room is known.
    pub(crate) fn offer(
        &mut self,
        worker: usize,
        socket: Socket,
        slices: &[&[u8]],
        cut: bool,
    ) -> Sent {
        let Some((entry, id)) = self.stations[worker].get(socket) else {
            return Sent::Failed(PeerFault::Reset);
        };
        if let Some(fault) = entry.fault {
            return Sent::Failed(entry.broke(fault));
        }
        if !entry.writable || entry.connecting {
            entry.waiting = true;
            return Sent::Later;
        }
        self.stale_sends += u64::from(entry.ended && self.connections[id].retired);
        let limit = if cut { self.segments.next_limit() } else { usize::MAX };
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let sent = self.driver_send(id, slices.iter().copied(), limit);
        match self.stations[worker].get(socket) {
            Some((entry, _)) => entry.sent(offered, sent),
            None => Sent::Failed(PeerFault::Reset),
        }
    }

    /// The disk does what is due.
    pub(crate) fn do_errands(&mut self) {
        while let Some((whose, ticket, done)) = self.disk.do_next(self.now) {
            self.moved += 1;
            self.stations[whose].notes.push_back(Note::Spooled { ticket, done });
        }
    }

    /// Connects that hang succeed.
    pub(crate) fn end_hanging(&mut self) {
        for id in 0..self.connections.len() {
            if self.connections[id].opening == Opening::Hanging {
                self.open_late(id);
                self.touch(id);
            }
        }
    }

    /// A driver is dropped: its sockets are closed, and nobody listens there any more.
    pub(crate) fn end_station(&mut self, worker: usize) {
        for id in self.stations[worker].end() {
            self.driver_close(id);
        }
        for listener in (0..).map(ListenerId).take(self.backlogs.len()) {
            if !self.is_listening(listener) {
                self.refuse_waiting(listener);
            }
        }
    }

    /// What a receive of `received` bytes by place `socket` of `worker` found.
    pub(crate) fn settle_receive(
        &mut self,
        worker: usize,
        socket: Socket,
        received: usize,
    ) -> Received {
        let Some((entry, id)) = self.stations[worker].get(socket) else {
            return Received::Failed(PeerFault::Reset);
        };
        let connection = &self.connections[id];
        if received > 0 {
            entry.readable = connection.is_readable();
            self.stations[worker].note_state(socket.index);
            self.moved += 1;
            self.made_room(id, received);
            return Received::Bytes(u32::try_from(received).unwrap_or(u32::MAX));
        }
        match connection.driver_fault.or(entry.fault) {
            Some(fault) => Received::Failed(entry.broke(fault)),
            None if connection.to_driver.ended => Received::Ended,
            None => {
                entry.readable = false;
                Received::Nothing
            }
        }
    }

    /// Accepts for `worker` from one listener, at most `batch` clients.
    pub(crate) fn accept(&mut self, worker: usize, listener: ListenerId, batch: u32) {
        let station = &mut self.stations[worker];
        let backlog = &mut self.backlogs[listener.index()];
        for _ in 0..batch {
            let Some(&id) = backlog.waiting.front() else { return };
            let full = station.is_full().then_some(AcceptFault::Table);
            if let Some(fault) = backlog.fault.take().or(full) {
                station.doors[listener.index()] = Door::Paused;
                station.notes.push_back(Note::AcceptFailed { listener, fault });
                return;
            }
            if station.room == 0 {
                return;
            }
            station.room -= 1;
            self.moved += 1;
            backlog.waiting.pop_front();
            let index = station.insert(id, None).index;
            let peer = self.connections[id].from;
            self.connections[id].place = Place::Socket { worker, index };
            self.connections[id].accepted = Some(self.now);
            station.notes.push_back(Note::Accepted { index, listener, peer });
            station.touched.push(id);
        }
    }

    /// Begins a connection to a server.
    pub(crate) fn connect(
        &mut self,
        worker: usize,
        server: ServerId,
        owner: Owner,
    ) -> Result<Socket, ConnectFault> {
        if self.stations[worker].is_full() {
            return Err(ConnectFault::Exhausted);
        }
        let id = self.driver_connect(server, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let own = self.stations[worker].addresses.get(&server);
        self.connections[id].address = own.and_then(|own| own.first().copied());
        let socket = self.place(id, worker, owner)?;
        if let Some((entry, _)) = self.stations[worker].get(socket) {
            entry.connecting = true;
        }
        Ok(socket)
    }

    /// Closes a socket; its owner is told when nothing refers to it any more.
    pub(crate) fn close(&mut self, worker: usize, socket: Socket) {
        let station = &mut self.stations[worker];
        let Some((id, owner)) = station.take(socket) else { return };
        let index = socket.index;
        station.notes.push_back(match owner {
            Some(owner) => Note::Closed { index, owner },
            None => Note::Left { index },
        });
        self.driver_close(id);
    }

    /// Puts a connection into a driver's table, if it is not full.
    pub(crate) fn place(
        &mut self,
        id: usize,
        worker: usize,
        owner: Owner,
    ) -> Result<Socket, ConnectFault> {
        let station = &mut self.stations[worker];
        if station.is_full() {
            self.driver_close(id);
            return Err(ConnectFault::Exhausted);
        }
        let socket = station.insert(id, Some(owner));
        self.connections[id].place = Place::Socket { worker, index: socket.index };
        self.touch(id);
        Ok(socket)
    }

    /// Looks at what happened since the last poll of `worker`.
    pub(crate) fn poll(&mut self, worker: usize, until: Option<Instant>) {
        self.reap();
        let station = &mut self.stations[worker];
        (station.now, station.until) = (self.now, until);
        // In the order in which something happened there, or in any.
        let mut touched = std::mem::take(&mut station.touched);
        touched.reverse();
        while !touched.is_empty() {
            let last = touched.len() - 1;
            let place = self.weather.as_mut().map_or(0, |it| it.next(touched.len()));
            let id = touched.swap_remove(last - place);
            if let Place::Socket { worker: holder, index } = self.connections[id].place
                && holder == worker
            {
                if self.weather.as_mut().is_some_and(Weather::is_late) {
                    station.touched.push(id);
                    continue;
                }
                station.look(index, &self.connections[id]);
                if self.weather.as_mut().is_some_and(Weather::is_in_vain) {
                    station.note_in_vain(index);
                }
            }
        }
        if station.waker.0.swap(false, Ordering::AcqRel) {
            station.notes.push_back(Note::Woken);
        }
        self.do_errands();
        let batch = self.weather.as_ref().map_or(ACCEPT_BATCH, |weather| weather.accepts);
        for listener in (0..).map(ListenerId).take(self.backlogs.len()) {
            if self.stations[worker].doors[listener.index()] == Door::Open {
                self.accept(worker, listener, batch);
            }
        }
    }

    /// Whether any driver may still accept from `listener`.
    pub(crate) fn is_listening(&self, listener: ListenerId) -> bool {
        self.stations.is_empty()
            || self.stations.iter().any(|station| station.doors[listener.index()] != Door::Stopped)
    }

    /// Resets who waits at a listener that was closed.
    pub(crate) fn refuse_waiting(&mut self, listener: ListenerId) {
        for id in std::mem::take(&mut self.backlogs[listener.index()].waiting) {
            self.driver_refuse(id);
        }
    }
}
