//! The real worker on a network of memory: whole connections, one side played by the bytes of an
//! input, the other by somebody polite who looks closely.

mod channel;
pub mod client;
mod house;
mod script;
mod server;
pub mod upstream;
mod visitor;
