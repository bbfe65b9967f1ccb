//! Configuration files.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::configuration::check);
