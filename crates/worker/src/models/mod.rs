//! What workers share beside the bus, in every order of their threads.
//!
//! loom runs `places`, where two or three threads meet once; shuttle runs `crowds`, in which
//! several workers admit and lose many clients.

#[cfg(shuttle)]
mod crowds;
#[cfg(loom)]
mod places;
#[cfg(loom)]
mod posted;
