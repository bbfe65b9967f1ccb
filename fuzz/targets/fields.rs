//! Field lines and what they mean.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::fields::check);
