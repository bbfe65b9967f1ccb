//! Heads of responses, scanned and parsed.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::response::check);
