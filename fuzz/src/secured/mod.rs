//! TLS: a session with a client, whatever comes; a certificate's subject, and files of certificates
//! and keys.

pub mod certificate;
mod end;
pub mod session;
