//! The chunked coding.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::chunked::check);
