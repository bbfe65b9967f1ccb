//! Clients that say anything, before the whole worker and a polite server.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::stage::client::check);
