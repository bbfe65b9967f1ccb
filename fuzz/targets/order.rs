//! Orders at the admin endpoints.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::order::check);
