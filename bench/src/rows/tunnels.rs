//! What an idle WebSocket tunnel costs.

use crate::address::Address;
use crate::error::Outcome;
use crate::report::Report;
use crate::rows::{Length, held};
use crate::stand::{Kind, Setup, Stand, role};

const KIND: held::Kind = held::Kind {
    one: "idle WebSocket tunnel",
    count: 5000,
    limit: 400.0,
    aim: 200.0,
    holder: &["talk"],
    // Two frames both ways are one round of the role.
    rounds: 1,
};

pub(super) fn measure(stand: &Stand, length: Length) -> Outcome<Report> {
    held::measure(stand, length, &KIND, |tunnels| {
        let server = Address::free()?;
        let (listen, count) = (server.to_string(), tunnels.to_string());
        let setup = Setup {
            kind: Kind::Tunnels,
            exchanges: tunnels,
            ..Setup::new(&server, tunnels + 16, 8)
        };
        Ok((role(&["switch", "--listen", &listen, "--clients", &count], None)?, setup))
    })
}
