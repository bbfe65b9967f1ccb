//! Request targets and hosts.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::target::check);
