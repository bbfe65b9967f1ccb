//! Sizes, durations, shares and addresses.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::quantity::check);
