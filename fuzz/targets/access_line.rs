//! Lines of the access log.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::text::access_line::check);
