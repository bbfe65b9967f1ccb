//! Operations on the spool.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::store::spool::check);
