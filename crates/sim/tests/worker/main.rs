//! The real worker in a small world.

mod access;
mod authorize;
mod faults;
mod forwarded;
mod house;
mod http;
mod introductions;
mod judged;
mod life;
mod limits;
mod passing;
mod rates;
mod screen;
mod secured;
mod secured_judged;
mod secured_sending;
mod secured_servers;
mod servers;
mod spool;
mod spool_faults;
mod spool_storm;
mod storm;
mod streams;
mod tunnel_storm;
mod tunnels;
mod uploads;
