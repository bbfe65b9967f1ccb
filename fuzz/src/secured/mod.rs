//! TLS: a session with a client, whatever comes; a certificate's subject, and files of certificates
//! and keys.

mod again;
mod behind;
pub mod certificate;
mod end;
mod peer;
pub mod session;
mod story;
mod way;
