//! What a parked client costs that speaks TLS.

use crate::address::Address;
use crate::error::Outcome;
use crate::report::Report;
use crate::rows::{Length, held};
use crate::stand::{Setup, Stand, upstream};

/// Upstream connections.
const CONNECTIONS: usize = 64;

const KIND: held::Kind = held::Kind {
    one: "parked TLS client",
    count: 10_000,
    limit: 4096.0,
    aim: 2560.0,
    holder: &["hold", "--tls"],
    // Each asks twice.
    rounds: 2,
};

pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    held::measure(stand, length, &KIND, |clients| {
        let server = Address::free()?;
        let setup = Setup { secured: true, ..Setup::new(&server, clients, CONNECTIONS) };
        Ok((upstream(&server, 1024, None)?, setup))
    })
}
