//! A session with a client, of TLS.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::secured::session::check);
