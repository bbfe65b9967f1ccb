//! Answers of our own.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::page::check);
