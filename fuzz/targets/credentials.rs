//! Files of passwords and of keys, and tokens.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::credentials::check);
