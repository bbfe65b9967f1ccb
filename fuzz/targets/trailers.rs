//! Trailer sections.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::trailers::check);
