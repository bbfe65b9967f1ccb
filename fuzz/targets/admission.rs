//! What a request that somebody is to let in is asked for, and what servers see of it.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::proxy::admission::check);
