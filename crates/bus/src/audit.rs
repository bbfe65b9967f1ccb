//! The bus's counts, compared with its tables: for simulators, tests and debug assertions. Nothing
//! of it is on the data path.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use base::id::{ExchangeId, ServerId};

use crate::bus::Bus;
use crate::connection::{Connection, State};

/// Permits that the connections of one worker to one server hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Among the leases (`connections`).
    pub leases: u32,
    /// Among the pinned ones.
    pub pinned: u32,
}

impl Bus {
    /// Walks through the tables; the permits held, by server.
    ///
    /// # Errors
    /// The first contradiction that was found, in words.
    pub fn audit(&self) -> Result<Vec<Held>, String> {
        let mut held = vec![Held::default(); self.servers.len()];
        for (_, connection) in self.connections.iter() {
            let entry = &mut held[connection.server().index()];
            let pinned = connection.permit.is_pinned();
            entry.pinned += u32::from(pinned);
            entry.leases += u32::from(!pinned);
        }
        let pinned: u32 = held.iter().map(|held| held.pinned).sum();
        if pinned != self.pinned {
            return Err(format!("{} connections are counted as pinned of {pinned}", self.pinned));
        }
        (0u32..).map(ServerId).take(self.servers.len()).try_for_each(|id| self.audit_server(id))?;
        Ok(held)
    }

    /// Whether this exchange stands in a ready queue.
    pub fn is_queued(&self, exchange: ExchangeId) -> bool {
        self.waiters.get(exchange).is_some()
    }

    fn audit_server(&self, id: ServerId) -> Result<(), String> {
        let of = |is: fn(&Connection) -> bool| {
            let all = self.connections.iter();
            all.filter(|(_, it)| it.server() == id && is(it)).count() as u64
        };
        let server = &self.servers[id.index()];
        let share = self.shared.share(id, self.worker);
        let idle = of(|it| it.state == State::Idle);
        let connecting = of(|it| matches!(it.state, State::Connecting(_)));
        let leased = of(|it| it.state == State::Leased);
        let pinned = of(|it| it.state == State::Pinned);
        let closing = of(|it| it.state == State::Closing && !it.permit.is_pinned());
        let unused = of(|it| it.state == State::Idle && !it.used);
        let open = of(|it| !matches!(it.state, State::Closing | State::Pinned));
        for (what, counted, there) in [
            ("idle", server.idle.len() as u64, idle),
            ("published as idle", u64::from(share.idle()), idle),
            ("connecting", u64::from(server.connecting), connecting),
            ("published as connecting", share.connecting.get(), connecting),
            ("leased", share.leased.get(), leased),
            ("pinned", share.pinned.get(), pinned),
            ("closing", u64::from(server.closing), closing),
            ("unused", u64::from(server.unused), unused),
            ("open", u64::from(server.open), open),
        ] {
            if counted != there {
                return Err(format!("server {}: {counted} of {there} are counted {what}", id.0));
            }
        }
        let listed = |id| self.state(id) == Some(State::Idle);
        match server.idle.iter().find(|&&id| !listed(id)) {
            Some(id) => Err(format!("connection {} is listed as idle and is not", id.0)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, lone};

    #[test]
    fn counts_agree_with_tables_and_a_wrong_one_is_found() {
        let mut bus = lone(&[3]);
        let one = bus.is_served(0, at(0));
        bus.is_served(1, at(0));
        bus.release(one, true, at(1));
        assert_eq!(bus.audit(), Ok(vec![Held { leases: 2, pinned: 0 }]));
        bus.servers[0].open += 1;
        assert!(bus.audit().unwrap_err().contains("open"));
        bus.servers[0].open -= 1;
        bus.servers[0].idle.clear();
        assert!(bus.audit().unwrap_err().contains("idle"));
    }
}
