//! The ready queue's promises, looked through: for simulators and tests.

use alloc::format;
use alloc::string::String;

use base::id::GroupId;

use crate::bus::Bus;
use crate::others::group_id;

impl Bus {
    /// First come, first served, and never more than the bound.
    ///
    /// # Errors
    /// The first breach that was found, in words.
    pub fn audit_queues(&self) -> Result<(), String> {
        (0..self.groups.len()).map(group_id).try_for_each(|group| self.audit_queue(group))
    }

    fn audit_queue(&self, group: GroupId) -> Result<(), String> {
        let queue = &self.groups[group.index()].queue;
        let (length, bound) = queue.rest();
        if length > bound {
            return Err(format!("group {}: {length} requests wait, {bound} may", group.0));
        }
        let front = queue.first_of_rest().and_then(|front| self.waiters.get(front));
        let oldest = self.waiters.of_rest(group).map(|waiter| waiter.since).min();
        match (front, oldest) {
            (Some(front), Some(oldest)) if oldest < front.since => {
                Err(format!("group {}: the first in its queue is not the oldest", group.0))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::queue::Place;
    use crate::testing::{APP, at, lone};
    use base::id::ExchangeId;

    #[test]
    fn a_queue_out_of_order_is_found() {
        let mut bus = lone(&[1]);
        bus.is_served(0, at(0));
        bus.wants(1, at(1));
        bus.wants(2, at(2));
        assert_eq!(bus.audit_queues(), Ok(()));
        bus.withdraw(ExchangeId(1));
        bus.wants(1, at(1));
        assert!(bus.audit_queues().unwrap_err().contains("oldest"));
    }

    #[test]
    fn a_queue_beyond_its_bound_is_found() {
        let mut bus = lone(&[1]);
        (0..4).for_each(|exchange| bus.wants(exchange, at(1)));
        assert_eq!(bus.audit_queues(), Ok(()), "as many as may");
        let queue = &mut bus.groups[0].queue;
        queue.push(&mut bus.waiters, ExchangeId(4), (APP, at(1), Place::Rest));
        assert!(bus.audit_queues().unwrap_err().contains("may"));
    }
}
