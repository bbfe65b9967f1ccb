//! Heads of responses, parsed and written anew.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::response::check_written);
