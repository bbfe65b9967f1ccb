//! A server that says anything, behind the whole worker and polite clients.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::stage::upstream::check);
