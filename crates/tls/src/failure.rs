//! Why a session ended that should not have.

use core::fmt;

use rustls::{Error, InvalidMessage, PeerIncompatible};

use crate::chain;

/// What went wrong, as metrics and logs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What came is no TLS, or breaks its rules.
    Protocol,
    /// Plain HTTP came instead.
    PlainHttp,
    /// The peer speaks no version that is allowed here.
    Version,
    /// The peer has no cipher suite or key exchange that is allowed here.
    Cipher,
    /// The peer has no application protocol that is spoken here (RFC 7301).
    Alpn,
    /// There is no certificate for the name that was asked for.
    Name,
    /// The peer's certificate is missing, or not to be trusted.
    Certificate,
    /// The peer gave up, with an alert of its own.
    Alert,
    /// A record was not what its sender's key makes.
    Decrypt,
    /// The handshake did not come to its end in time.
    Late,
    /// The peer left during the handshake.
    Left,
    /// The peer's messages are in more parts, or longer, than there is memory for, or its certificate chain
    /// is longer than what is kept of one.
    TooLarge,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them, each at its own place.
    pub const ALL: [Self; 13] = [
        Self::Protocol,
        Self::PlainHttp,
        Self::Version,
        Self::Cipher,
        Self::Alpn,
        Self::Name,
        Self::Certificate,
        Self::Alert,
        Self::Decrypt,
        Self::Late,
        Self::Left,
        Self::TooLarge,
        Self::Other,
    ];

    /// As metrics call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::PlainHttp => "plain_http",
            Self::Version => "version",
            Self::Cipher => "cipher",
            Self::Alpn => "alpn",
            Self::Name => "name",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Decrypt => "decrypt",
            Self::Late => "late",
            Self::Left => "left",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }

    /// What rustls says, in these words.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => Self::TooLarge,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::UnsupportedNameType => Self::Protocol,
            Error::PeerIncompatible(which) => Self::of_incompatible(which),
            Error::NoApplicationProtocol => Self::Alpn,
            Error::InvalidCertificate(why) if chain::is_too_long(why) => Self::TooLarge,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Self::Certificate,
            Error::AlertReceived(_) => Self::Alert,
            Error::DecryptError => Self::Decrypt,
            // The only general error of a server: no certificate was chosen.
            Error::General(_) => Self::Name,
            _ => Self::Other,
        }
    }

    const fn of_incompatible(which: &PeerIncompatible) -> Self {
        match which {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::Version,
            _ => Self::Cipher,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_stands_at_its_own_place() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index, "{failure}");
        }
    }
}
