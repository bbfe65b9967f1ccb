//! What certificate authorities answer.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::control::authority::check);
