//! The real worker in a small world.

mod faults;
mod house;
mod http;
mod life;
mod limits;
mod servers;
mod spool;
