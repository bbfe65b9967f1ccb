//! What sessions with servers are made from.

use core::fmt;
use std::sync::Arc;

use base::limits::TLS_TICKET_MAX;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::acceptor::{AcceptorError, Versions, provider, with_ciphers};
use crate::chain::Bounded;
use crate::failure::Failure;
use crate::identity::{Authorities, Identity};
use crate::session::Session;

/// Servers, by their names, with whom sessions are kept for resumption, and how many there are of TLS 1.3
/// with each (rustls' own number); there is one of TLS 1.2 beside them.
const RESUMED_SERVERS: usize = 8;
/// See [`RESUMED_SERVERS`].
const RESUMED_SESSIONS: usize = 8;
/// What each takes beside the server's chain and ticket: keys, names and times.
const RESUMED_BYTES: usize = 512;

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that come from one of these and are for the name asked for.
    Authorities(Authorities),
    /// Any: whoever stands between may read and change everything.
    Anyone,
}

/// What a group's sessions are to be like.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Longest certificate chain of a server's, `TLS_CERTIFICATE_OVERHEAD` of each certificate among it.
    pub max_chain: u32,
    /// What we show servers that ask who we are.
    pub identity: Option<Arc<Identity>>,
    /// At least one.
    pub versions: Versions,
    /// Whether servers are told the name we ask for (SNI).
    pub sni: bool,
    /// Application protocols, the ones preferred first (RFC 7301); with none, none is spoken of.
    pub alpn: Vec<Vec<u8>>,
}

/// Makes sessions with servers. Clones are cheap, and the same.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    /// Longest certificate chain that is kept of a server's.
    chain: u32,
    /// We may show a certificate.
    signs: bool,
}

impl Connector {
    /// A connector that does what `config` says.
    ///
    /// # Errors
    /// [`AcceptorError::NoCipher`] or [`AcceptorError::NoAuthority`].
    pub fn new(config: ConnectorConfig) -> Result<Self, AcceptorError> {
        let builder = ClientConfig::builder_with_provider(with_ciphers(&[]))
            .with_protocol_versions(&config.versions.list())
            .map_err(|_| AcceptorError::NoCipher)?;
        let verifier: Arc<dyn ServerCertVerifier> = match config.trust {
            Trust::Authorities(Authorities(roots)) => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
                verifier.build().map_err(|_| AcceptorError::NoAuthority)?
            }
            Trust::Anyone => Arc::new(Credulous),
        };
        let verifier = Arc::new(Bounded::new(config.max_chain, verifier));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let signs = config.identity.is_some();
        let mut client = match config.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(identity.certified()),
            )),
            None => builder.with_no_client_auth(),
        };
        client.resumption = Resumption::in_memory_sessions(RESUMED_SERVERS * RESUMED_SESSIONS);
        client.enable_sni = config.sni;
        client.alpn_protocols = config.alpn;
        Ok(Self { config: Arc::new(client), chain: config.max_chain, signs })
    }

    /// Bytes that what is kept for resumption takes at most: of each session a ticket, and a chain of the
    /// server's of at most `max_chain`.
    pub const fn resumption_bytes(max_chain: u32) -> usize {
        let each = max_chain as usize + TLS_TICKET_MAX + RESUMED_BYTES;
        // One server more is there before the oldest goes.
        (RESUMED_SERVERS + 1) * (RESUMED_SESSIONS + 1) * each
    }

    /// Whether servers may be shown a certificate.
    pub const fn signs(&self) -> bool {
        self.signs
    }

    /// Whether sessions can be with a server of that name: a DNS name or an IP address.
    pub fn is_name(name: &str) -> bool {
        ServerName::try_from(name).is_ok()
    }

    /// A session with the server of that name.
    ///
    /// # Errors
    /// [`Failure::Name`] if it is no name, and when the system grants no randomness.
    pub fn connect(&self, name: &str) -> Result<Session, Failure> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| Failure::Name)?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name);
        let session =
            connection.map(|connection| Session::client(connection, self.chain, self.signs));
        session.map_err(|error| Failure::of(&error))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Believes every certificate, as it was told to; the handshake must be the certificate's own.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
