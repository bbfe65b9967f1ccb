//! Files of addresses that may connect or may not.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::list::check);
