//! What others answer whom the control thread asks: authorization servers, key servers, certificate
//! authorities.

pub mod authority;
pub mod authorization;
mod clerk;
mod line;
mod script;
