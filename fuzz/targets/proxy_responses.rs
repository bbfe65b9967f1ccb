//! Responses through the proxy, on pools that are short.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::proxy::responses::check);
