//! Operations on the pool.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::store::pool::check);
