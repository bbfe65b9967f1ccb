//! Heads of requests, parsed and written anew.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::request::check_written);
