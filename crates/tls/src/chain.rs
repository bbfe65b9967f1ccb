//! How long a peer's certificate chain may be.
//!
//! rustls keeps all of it for as long as the session is there, hands it out in every ticket, and takes it
//! back from there. Only a handful of bytes of a message make a certificate that nobody looks at and that takes
//! ten times as many. So a chain has a bound, and is held against it before anybody is asked to believe it.

use core::fmt;
use std::sync::Arc;

use base::limits::TLS_CERTIFICATE_OVERHEAD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

/// Refuses chains that are longer than what is kept; whether the others are believed, `verifier` says.
#[derive(Debug)]
pub(crate) struct Bounded<V: ?Sized> {
    most: u32,
    verifier: Arc<V>,
}

impl<V: ?Sized> Bounded<V> {
    /// `most`: bytes of a chain, [`TLS_CERTIFICATE_OVERHEAD`] of each certificate among them.
    pub(crate) const fn new(most: u32, verifier: Arc<V>) -> Self {
        Self { most, verifier }
    }

    fn check(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let of = |certificate: &CertificateDer<'_>| certificate.len() + TLS_CERTIFICATE_OVERHEAD;
        let bytes = of(leaf) + rest.iter().map(of).sum::<usize>();
        if bytes <= self.most as usize {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(TooLong)))))
    }
}

/// Why a chain is refused that nobody looked at. Its sender is told `certificate_unknown`: "some other
/// (unspecified) issue … rendering it unacceptable" (RFC 8446 §6.2).
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate chain is longer than what is kept of one")
    }
}

impl core::error::Error for TooLong {}

/// Whether a chain was refused for its length.
pub(crate) fn is_too_long(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(OtherError(why)) if why.is::<TooLong>())
}

impl ClientCertVerifier for Bounded<dyn ClientCertVerifier> {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        self.verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }
}

/// A server's chain is looked at when all of its flight is there (RFC 8446 §4.4).
impl ServerCertVerifier for Bounded<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.verifier.root_hint_subjects()
    }
}
