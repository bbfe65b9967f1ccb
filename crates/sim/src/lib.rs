//! A driver made of memory and virtual time, and the tests of the real worker on it.
//!
//! A [`World`] holds the network and the clock. Workers get a [`MemoryDriver`] each; the test
//! plays everybody else: clients ([`World::connect`]) and servers ([`World::accept`]), each a
//! [`Peer`]. Everything happens in one thread and in an order that depends on the calls alone,
//! so a run that failed fails again. Nothing blocks: time stands still until
//! [`World::advance`].
//!
//! ```
//! use base::id::ListenerId;
//! use driver::{Completion, Driver, Owner};
//! use sim::{World, WorldConfig};
//!
//! let world = World::new(WorldConfig::default());
//! let mut driver = world.driver(16);
//! driver.listen(ListenerId(0));
//! let client = world.connect(ListenerId(0));
//! driver.poll(None);
//! let Some(Completion::Accepted { socket, .. }) = driver.next() else { unreachable!() };
//! driver.own(socket, Owner(1));
//! driver.arm(socket);
//! client.write_all(b"hello");
//! driver.poll(None);
//! assert_eq!(driver.next(), Some(Completion::Readable { owner: Owner(1) }));
//! ```
//!
//! The world is as unkind as a real one may be: a driver knows only what had happened when it
//! polled; a socket closed over unread bytes, or written to after it was closed, is reset, and
//! the reset destroys what its peer had not read yet; bytes sent to a peer that is gone are
//! accepted and lost. [`Segments`] cuts what is received and sent into pieces.
#![forbid(unsafe_code)]

pub mod coverage;
pub mod dice;
mod disk;
pub mod judge;
mod memory;
mod net;
mod peer;
mod segments;
mod sockets;
mod weather;
mod wiring;
mod world;

#[cfg(test)]
mod tests;

pub use disk::DiskMode;
pub use memory::{Detached, MemoryDriver};
pub use net::ServerMode;
pub use peer::Peer;
pub use segments::Segments;
pub use weather::Weather;
pub use world::{BEGINNING, World, WorldConfig};
