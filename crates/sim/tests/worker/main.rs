//! The real worker in a small world.

mod faults;
mod house;
mod life;
mod limits;
