//! The first message of a TLS client.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::client_hello::check);
