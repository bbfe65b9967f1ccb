//! The proofs that a name is ours, as authorities come for them.

use std::sync::Arc;

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tls::Identity;

use super::Proof;
use super::fault::Fault;

/// What an authority finds where it looks.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// By HTTP, under this token (RFC 8555 §8.3).
    Text {
        /// Which is part of the path.
        token: Box<str>,
        /// The key authorization.
        text: Box<[u8]>,
    },
    /// By TLS, under its only name (RFC 8737 §3).
    Certificate(Arc<Identity>),
}

impl Proof {
    pub(super) const fn challenge(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// The answer for `name`, which the authority called `token`.
pub(super) fn answer(
    proof: Proof,
    name: &str,
    token: &str,
    authorization: &KeyAuthorization,
) -> Result<Answer, Fault> {
    match proof {
        Proof::Http01 => {
            Ok(Answer::Text { token: token.into(), text: authorization.as_str().as_bytes().into() })
        }
        Proof::TlsAlpn01 => {
            let digest = authorization.digest();
            let identity = certificate(name, digest.as_ref())?;
            Ok(Answer::Certificate(Arc::new(identity)))
        }
    }
}

/// A certificate of our own that shows `digest` in the extension `acmeIdentifier`.
fn certificate(name: &str, digest: &[u8]) -> Result<Identity, Fault> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (chain, key) = made().map_err(Fault::own)?;
    Identity::of_challenge(chain.as_bytes(), key.as_bytes()).map_err(Fault::own)
}

/// A new key, in PEM, and the request to have it certified for these names, in DER.
pub(super) fn request(names: &[String]) -> Result<(String, Vec<u8>), Fault> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        Ok::<_, rcgen::Error>((key.serialize_pem(), request.der().to_vec()))
    };
    made().map_err(Fault::own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_for_a_challenge_has_the_name_alone() {
        let identity = certificate("a.example", &[7; 32]).unwrap();
        assert_eq!(identity.names(), [Box::from("a.example")]);
    }
}
