//! Connections that their clients keep for long.

use alloc::sync::Arc;

use base::id::ServerId;

use super::{Doing, Event, World};

impl World {
    /// The client of a lease keeps it for long, if it may; else it is refused.
    pub(super) fn pins(&mut self, worker: u32, serial: u64) {
        let shared = Arc::clone(&self.shared);
        let (here, now) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        let Doing::Leased(exchange) = socket.what else { return };
        let server = ServerId(socket.server);
        here.refused[server.index()] = None;
        let bus = here.bus.as_mut().unwrap();
        bus.answered(id);
        let (before, leases) = (shared.pinned(server), shared.taken(server));
        if bus.pin(id).is_ok() {
            let after = (shared.pinned(server), shared.taken(server));
            assert_eq!(after, (before + 1, leases - 1), "it leaves one count for the other");
            here.sockets.get_mut(&id).unwrap().what = Doing::Pinned(exchange);
            let time = self.some_time(8 * self.pace.lease);
            self.after(worker, time, Event::PinEnds { serial });
            return;
        }
        bus.release(id, false, now);
        let group = here.leased.remove(&exchange).unwrap().group;
        self.follow_up(worker, group);
    }

    pub(super) fn pin_ends(&mut self, worker: u32, serial: u64) {
        let reusable = self.dice.percent(70);
        let (here, _) = self.parts(worker);
        let Some((id, socket)) = here.socket(serial) else { return };
        let Doing::Pinned(exchange) = socket.what else { return };
        let group = here.leased.remove(&exchange).unwrap().group;
        let idle = here.bus.as_mut().unwrap().unpin(id, reusable);
        assert!(reusable || !idle, "it is kept though it is of no use");
        if idle {
            here.sockets.get_mut(&id).unwrap().what = Doing::Idle;
        } else {
            self.close(worker, id);
        }
        self.follow_up(worker, group);
    }
}
