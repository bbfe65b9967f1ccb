//! Floor 4: what needs an ordinary async runtime, on a thread of its own beside the data path.
//!
//! It never touches a client's bytes. So far it does one thing: the names of servers are looked
//! up at start and again when their answers have lived out their time, and whoever asked is told
//! of changes.
//!
//! - `name`: a host and a port, as a configuration names a server;
//! - `lookup`: one question to the hosts file and the name servers;
//! - `watch`: questions again and again.
#![forbid(unsafe_code)]

mod lookup;
mod name;
mod watch;

pub use lookup::{Answer, Fault, ResolverConfig, look_up_all};
pub use name::{Name, NameError};
pub use watch::{Event, Watch, watch};
