//! A certificate's subject, and files of certificates and keys.
#![cfg_attr(feature = "libfuzzer", no_main)]

fuzz::target!(fuzz::secured::certificate::check);
