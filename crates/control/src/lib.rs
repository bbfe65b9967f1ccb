//! Floor 4: what needs an ordinary async runtime, on a thread of its own beside the data path.
//!
//! It never touches a client's bytes. The names of servers are looked up at start and again when
//! their answers have lived out their time, files are looked after, certificates are had from an
//! authority and renewed, and whoever asked is told of changes.
//!
//! - `thread`: the thread, and the jobs it does;
//! - `name`: a host and a port, as a configuration names a server;
//! - `lookup`: one question to the hosts file and the name servers;
//! - `watch`: questions again and again;
//! - `files`: what was read from files, and may change there;
//! - [`acme`]: certificates from an authority;
//! - [`authorize`]: whether a client may.
#![forbid(unsafe_code)]

pub mod acme;
pub mod authorize;
mod files;
mod lookup;
mod name;
mod thread;
mod trust;
mod watch;

pub use files::{FileSet, FileWatch, watch_files};
pub use lookup::{Answer, Fault, ResolverConfig, look_up_all};
pub use name::{Name, NameError};
pub use thread::{Job, Life, Thread, caught};
pub use watch::{Event, watch};
