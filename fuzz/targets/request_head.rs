//! Heads of requests, scanned and parsed.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::request::check);
