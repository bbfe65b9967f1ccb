//! The HTTP proxy over chains: whole messages, in any pieces, on pools that are short.

pub mod admission;
mod desk;
mod peer;
pub mod requests;
pub mod responses;
