//! Requests through the proxy, on pools that are short.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::proxy::requests::check);
