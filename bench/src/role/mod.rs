//! What this program is when it starts itself: servers and crowds, each a process of its own,
//! since a process may open 20,000 descriptors only and its processor time is its own.
//!
//! A role says `ready` on standard output, obeys lines from standard input and ends with it.

pub(crate) mod bare;
pub(crate) mod floor;
pub(crate) mod fresh;
pub(crate) mod hold;
pub(crate) mod normal;
pub(crate) mod secret;
pub(crate) mod slow;
pub(crate) mod tunnel;
pub(crate) mod upstream;

use std::io::{BufRead, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use clap::Subcommand;

use crate::address::Address;
use crate::error::Outcome;

/// The roles.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// A cheap server: every request gets the same response.
    Upstream {
        /// Where it listens.
        #[arg(long)]
        listen: Address,
        /// Bytes of the body.
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
    /// Clients that stay connected; each line `round` makes every one exchange a request.
    Hold {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long)]
        clients: usize,
        /// How many exchange at the same time.
        #[arg(long, default_value_t = 64)]
        batch: usize,
        /// Their addresses are in 127.0.NET.0/24.
        #[arg(long, default_value_t = 0)]
        net: u8,
        /// They speak TLS.
        #[arg(long)]
        tls: bool,
    },
    /// A server that registers nothing: half of what a pair of plain sockets costs.
    Bare {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddrV4,
        /// How many clients will come.
        #[arg(long)]
        clients: usize,
    },
    /// A server that switches protocols and echoes, in turn.
    Switch {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddrV4,
        /// How many clients will come.
        #[arg(long)]
        clients: usize,
    },
    /// Clients that switch protocols and stay; each line `round` makes every one exchange a frame.
    Talk {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long)]
        clients: usize,
    },
    /// A server that sends without end.
    Flood {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddrV4,
    },
    /// Clients that take what is sent.
    Drink {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long)]
        clients: usize,
        /// For how many milliseconds.
        #[arg(long)]
        milliseconds: u64,
    },
    /// Clients that dribble a POST, again and again.
    Slow {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long)]
        clients: usize,
        /// Bytes a second each.
        #[arg(long, default_value_t = 40)]
        rate: usize,
        /// Bytes of a body.
        #[arg(long, default_value_t = 2048)]
        body: usize,
    },
    /// Clients that send a GET at fixed times, whether or not the server keeps up.
    Normal {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long, default_value_t = 50)]
        clients: usize,
        /// Requests a second each.
        #[arg(long, default_value_t = 2)]
        rate: u32,
        /// For how many seconds.
        #[arg(long)]
        seconds: u64,
        /// After how many seconds a request counts as lost.
        #[arg(long, default_value_t = 10)]
        patience: u64,
    },
    /// The floor: receives, sends, and understands nothing.
    Floor {
        /// Where it listens.
        #[arg(long)]
        listen: Address,
        /// Where it sends what it receives.
        #[arg(long)]
        upstream: Address,
        /// End a client's connection after one response.
        #[arg(long)]
        closes: bool,
    },
    /// Clients that open a connection for each request.
    Fresh {
        /// Where they connect.
        #[arg(long)]
        target: SocketAddrV4,
        /// How many.
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// For how many milliseconds.
        #[arg(long, default_value_t = 86_400_000)]
        milliseconds: u64,
        /// The most requests.
        #[arg(long, default_value_t = u64::MAX)]
        requests: u64,
    },
}

/// Plays a role to its end.
pub(crate) fn play(role: &Role) -> Outcome<()> {
    match *role {
        Role::Upstream { ref listen, size } => upstream::serve(listen, size),
        Role::Hold { target, clients, batch, net, tls } => {
            hold::hold((target, tls), clients, batch, net)
        }
        Role::Bare { listen, clients } => bare::serve(listen, clients),
        Role::Switch { listen, clients } => tunnel::switch(listen, clients),
        Role::Talk { target, clients } => tunnel::talk(target, clients),
        Role::Flood { listen } => tunnel::flood(listen),
        Role::Drink { target, clients, milliseconds } => {
            tunnel::drink(target, clients, Duration::from_millis(milliseconds))
        }
        Role::Slow { target, clients, rate, body } => {
            slow::dribble(target, &slow::Pace { clients, rate, body })
        }
        Role::Normal { target, clients, rate, seconds, patience } => {
            let pace = normal::Pace {
                clients,
                interval: Duration::from_secs(1) / rate.max(1),
                lasting: Duration::from_secs(seconds),
                patience: Duration::from_secs(patience),
            };
            normal::ask(target, &pace)
        }
        Role::Floor { ref listen, ref upstream, closes } => {
            floor::forward(listen, upstream, closes)
        }
        Role::Fresh { target, clients, milliseconds, requests } => {
            let lasting = Duration::from_millis(milliseconds);
            fresh::ask(target, &fresh::Pace { clients, lasting, requests })
        }
    }
}

/// Says a line to whoever started this role.
pub(crate) fn say(line: &str) -> Outcome<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// The lines whoever started this role says, until they end.
pub(crate) fn orders() -> impl Iterator<Item = String> {
    std::io::stdin().lock().lines().map_while(Result::ok)
}

/// Ends this process when its standard input does: for roles that serve until they are ended,
/// so that none outlives the bench.
pub(crate) fn end_with_input() {
    std::thread::spawn(|| {
        orders().for_each(drop);
        std::process::exit(0);
    });
}
