//! What workers share beside the bus, in every order of their threads.
//!
//! loom runs `places`, `posted` and `inquired`, where two or three threads meet once; shuttle runs `crowds`, in which
//! several workers admit and lose many clients.

#[cfg(loom)]
mod bell;
#[cfg(shuttle)]
mod crowds;
#[cfg(loom)]
mod inquired;
#[cfg(loom)]
mod places;
#[cfg(loom)]
mod posted;
