//! What the workers share of the bus, in every order of their threads.
//!
//! loom runs the small ones, as it knows what each order of memory allows: `permits`, `wants`,
//! `budget`, and `round`, one round of two real buses. shuttle runs `crew`, whole lives of two to
//! four buses: too many steps for every order, and it knows sequential consistency only, which
//! is what the bus is built on.

#[cfg(loom)]
mod budget;
#[cfg(shuttle)]
mod crew;
#[cfg(loom)]
mod permits;
#[cfg(loom)]
mod round;
#[cfg(loom)]
mod wants;
