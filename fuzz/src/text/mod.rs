//! Text from outside: configurations, quantities, lists of addresses; and what is written down of what
//! clients say.

pub mod access_line;
pub mod configuration;
pub mod credentials;
pub mod list;
pub mod order;
pub mod quantity;
