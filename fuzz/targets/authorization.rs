//! What authorization servers and key servers answer.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::control::authorization::check);
