//! What the process sets aside at start (law 3), in one line.

use base::limits;
use base::slab::Slab;
use exchange::Exchange;

use crate::quantity::{Count, Size, counted};
use crate::settings::Settings;

/// A parked client in the worker's and the driver's tables together (law 1).
const CLIENT_BYTES: u64 = 64;

/// The memory budget for the operator: what there is at most. Pages are touched as they are used.
pub(crate) fn line(settings: &Settings) -> String {
    format!(
        "{} on epoll; {} of pools, {} buffers of {} for each worker; at most {}, whose tables take {}; \
         at most {} to each server; one exchange keeps at most {}",
        counted(u64::from(settings.workers), "worker"),
        Size(settings.pool_bytes()),
        Count(u64::from(settings.pool.buffers)),
        Size(u64::from(settings.pool.buffer_bytes)),
        counted(u64::from(settings.max_clients), "client"),
        Size(tables(settings)),
        counted(u64::from(settings.connections), "connection"),
        Size(u64::from(settings.exchange_memory)),
    )
}

/// The tables of clients and exchanges: as many exchanges as clients can have at once.
fn tables(settings: &Settings) -> u64 {
    let records = u64::from(settings.max_clients)
        + u64::from(settings.workers) * u64::from(limits::REFUSAL_RECORDS);
    records * (CLIENT_BYTES + Slab::<Exchange>::record_bytes() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn the_budget_names_what_was_asked_for() {
        let flags = "--listen :0 --upstream :9 --memory 8MiB --workers 2 --max-clients 1000";
        let line = line(&settings(flags).unwrap());
        for part in ["2 workers", "8 MiB of pools", "2,048 buffers of 2 KiB", "1,000 clients"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
