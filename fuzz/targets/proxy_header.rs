//! PROXY headers.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::wire::proxy_header::check);
