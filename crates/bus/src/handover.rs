//! Idle connections that change workers, their permit with them (law 6).

use base::id::{ConnectionId, ServerId};
use base::time::Instant;

use crate::bus::Bus;
use crate::connection::{Connection, State};
use crate::shared::Permit;

/// An idle connection on its way to another worker. Whoever drops it closes the connection
/// first.
#[derive(Debug)]
pub struct Travelling {
    permit: Permit,
    used: bool,
}

impl Travelling {
    /// To which server it leads.
    pub fn server(&self) -> ServerId {
        self.permit.server()
    }

    /// Whether it has carried a request.
    pub const fn was_used(&self) -> bool {
        self.used
    }
}

impl Bus {
    /// The worker has taken the connection out, as [`crate::Decision::HandOver`] said. If it
    /// can't send it, it closes the connection, then drops this; the next
    /// [`decide`](Self::decide) tells others of the permit.
    ///
    /// Returns `None` if the connection is not leaving.
    pub fn hand_over(&mut self, id: ConnectionId) -> Option<Travelling> {
        if self.state(id) != Some(State::Leaving) {
            return None;
        }
        self.count_out(id);
        let Connection { permit, used, .. } = self.connections.remove(id.0)?;
        self.shared.share(permit.server(), self.worker).handed_over.increment();
        let group = self.shared.group_of(permit.server());
        self.groups[group.index()].freed_here();
        Some(Travelling { permit, used })
    }

    /// An idle connection arrived from another worker.
    ///
    /// # Errors
    /// Gives it back when the table is full, which the permits do not allow.
    pub fn adopt(
        &mut self,
        travelling: Travelling,
        _now: Instant,
    ) -> Result<ConnectionId, Travelling> {
        let Travelling { permit, used } = travelling;
        let group = self.shared.group_of(permit.server());
        self.groups[group.index()].asked = false;
        self.groups[group.index()].told();
        let connection = Connection { permit, state: State::Idle, used };
        match self.connections.insert(connection) {
            Ok(index) => {
                let id = ConnectionId(index);
                self.count_in(id);
                Ok(id)
            }
            Err(Connection { permit, used, .. }) => {
                self.groups[group.index()].freed_here();
                Err(Travelling { permit, used })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Decision;
    use crate::testing::{at, crew, group};
    use base::id::WorkerId;

    #[test]
    fn whether_a_request_was_sent_on_it_is_known_wherever_it_goes() {
        for used in [false, true] {
            let [mut bus, mut other] = crew(&[group(0, &[1])]);
            let id = if used {
                bus.has_idle(at(0))
            } else {
                bus.wants(0, at(0));
                let id = bus.opens(at(0));
                bus.withdraw(base::id::ExchangeId(0));
                bus.connected(id, at(0));
                id
            };
            other.wants(0, at(1));
            other.all(at(1));
            assert_eq!(bus.one(at(1)), Decision::HandOver { connection: id, to: WorkerId(1) });
            let travelling = bus.hand_over(id).unwrap();
            assert_eq!((travelling.was_used(), travelling.server()), (used, ServerId(0)));
            let arrived = other.adopt(travelling, at(2)).unwrap();
            assert_eq!(other.connections[arrived.0].used, used);
        }
    }
}
