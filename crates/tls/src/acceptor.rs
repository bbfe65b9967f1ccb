//! What sessions with clients are made from.

use core::fmt;
use std::sync::{Arc, LazyLock};

use base::limits::TLS_CLIENT_CHAIN;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerConfig, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::chain::Bounded;
use crate::failure::Failure;
use crate::identity::{Authorities, Identity};
use crate::names::{CHALLENGE_ALPN, UnknownName, Wardrobe};
use crate::resting;
use crate::session::Session;

/// The cryptography.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(resting::provider()));
    &PROVIDER
}

/// The versions of TLS that are spoken; older ones are not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// RFC 5246.
    pub tls12: bool,
    /// RFC 8446.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

impl Versions {
    pub(crate) fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls13, &TLS13), (self.tls12, &TLS12)];
        both.into_iter().filter_map(|(on, version)| on.then_some(version)).collect()
    }
}

/// A cipher suite that is built in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cipher(SupportedCipherSuite);

impl Cipher {
    /// All of them, the ones preferred first.
    pub fn all() -> impl Iterator<Item = Self> {
        provider().cipher_suites.iter().copied().map(Self)
    }

    /// The name that IANA registers, `TLS_AES_128_GCM_SHA256` for example.
    pub fn name(self) -> String {
        let name = self.0.suite().as_str().unwrap_or_default();
        name.replacen("TLS13_", "TLS_", 1)
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|cipher| cipher.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is of a version that is spoken.
    pub fn is_of(self, versions: Versions) -> bool {
        match self.0 {
            SupportedCipherSuite::Tls12(_) => versions.tls12,
            SupportedCipherSuite::Tls13(_) => versions.tls13,
        }
    }
}

/// Whether clients show certificates.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that is shown must be trusted.
    Optional(Authorities),
    /// They are refused without one.
    Required(Authorities),
}

/// The keys that tickets are sealed with (RFC 8446 §4.6.1, RFC 5077): they rotate every six hours,
/// and a ticket is good for twelve. Clones share them, so that a client may come back to any worker,
/// and after its listener got other certificates.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys.
    ///
    /// # Errors
    /// When the system grants no randomness.
    pub fn new() -> Result<Self, AcceptorError> {
        aws_lc_rs::Ticketer::new().map(Self).map_err(|_| AcceptorError::NoRandomness)
    }
}

/// What a listener's sessions are to be like.
#[derive(Clone, Debug)]
pub struct AcceptorConfig {
    /// The first is for those who ask for no name; with none, every client is refused.
    pub identities: Vec<Arc<Identity>>,
    /// What an authority is shown that asks for one of their names to see whose it is (RFC 8737);
    /// nobody else is.
    pub challenges: Vec<Arc<Identity>>,
    /// What who asks for another name gets.
    pub unknown_name: UnknownName,
    /// At least one.
    pub versions: Versions,
    /// Cipher suites, the ones preferred first, whatever clients prefer; all that are built in if there
    /// are none here, and clients choose.
    pub ciphers: Vec<Cipher>,
    /// Application protocols, the ones preferred first (RFC 7301); with none, none is spoken of.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients show certificates.
    pub clients: ClientAuth,
    /// Longest certificate chain of a client's, `TLS_CERTIFICATE_OVERHEAD` of each certificate among it.
    pub max_client_chain: u32,
    /// Whether sessions can be resumed.
    pub tickets: Option<Tickets>,
}

impl Default for AcceptorConfig {
    fn default() -> Self {
        Self {
            identities: Vec::new(),
            challenges: Vec::new(),
            unknown_name: UnknownName::default(),
            versions: Versions::default(),
            ciphers: Vec::new(),
            alpn: Vec::new(),
            clients: ClientAuth::default(),
            max_client_chain: TLS_CLIENT_CHAIN,
            tickets: None,
        }
    }
}

/// Why there is no such acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptorError {
    /// The system grants no randomness.
    NoRandomness,
    /// No version is left, or none of the cipher suites is of one that is.
    NoCipher,
    /// None of those whom clients' certificates may come from can be used.
    NoAuthority,
}

impl fmt::Display for AcceptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRandomness => "the system grants no randomness",
            Self::NoCipher => "no cipher suite is left for the versions that are spoken",
            Self::NoAuthority => "nobody is left whom clients' certificates may come from",
        })
    }
}

impl core::error::Error for AcceptorError {}

/// Makes sessions with clients. Clones are cheap, and the same.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    /// Longest certificate chain that is kept of a client's; 0 if it is not asked for any.
    chain: u32,
}

impl Acceptor {
    /// An acceptor that does what `config` says.
    ///
    /// # Errors
    /// See [`AcceptorError`].
    pub fn new(config: AcceptorConfig) -> Result<Self, AcceptorError> {
        let verifier = verifier(&config.clients, config.max_client_chain)?;
        let asks = !matches!(config.clients, ClientAuth::Off);
        let chain = if asks { config.max_client_chain } else { 0 };
        let with = with_ciphers(&config.ciphers);
        let builder = ServerConfig::builder_with_provider(with)
            .with_protocol_versions(&config.versions.list())
            .map_err(|_| AcceptorError::NoCipher)?;
        let mut alpn = config.alpn;
        if !config.challenges.is_empty() {
            alpn.push(CHALLENGE_ALPN.to_vec());
        }
        let wardrobe = Wardrobe::new(config.identities, config.unknown_name)
            .with_challenges(config.challenges);
        let mut server =
            builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(wardrobe));
        // Whatever a session needs to go on is in the client's ticket, nothing of it here.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        match config.tickets {
            Some(Tickets(keys)) => server.ticketer = keys,
            None => server.send_tls13_tickets = 0,
        }
        server.alpn_protocols = alpn;
        // Whoever names suites prefers the first; otherwise clients know best what their machine is
        // quick at.
        server.ignore_client_order = !config.ciphers.is_empty();
        Ok(Self { config: Arc::new(server), chain })
    }

    /// Whether clients are asked for certificates.
    pub const fn asks(&self) -> bool {
        self.chain > 0
    }

    /// A session with a client that has just come.
    ///
    /// # Errors
    /// When the system grants no randomness.
    pub fn accept(&self) -> Result<Session, Failure> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config));
        let session = connection.map(|connection| Session::server(connection, self.chain));
        session.map_err(|error| Failure::of(&error))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// The provider with these cipher suites alone, if there are any.
pub(crate) fn with_ciphers(ciphers: &[Cipher]) -> Arc<CryptoProvider> {
    if ciphers.is_empty() {
        return Arc::clone(provider());
    }
    let cipher_suites = ciphers.iter().map(|cipher| cipher.0).collect();
    Arc::new(CryptoProvider { cipher_suites, ..CryptoProvider::clone(provider()) })
}

fn verifier(
    clients: &ClientAuth,
    max_chain: u32,
) -> Result<Arc<dyn ClientCertVerifier>, AcceptorError> {
    let (authorities, optional) = match clients {
        ClientAuth::Off => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional(authorities) => (authorities, true),
        ClientAuth::Required(authorities) => (authorities, false),
    };
    let roots = Arc::clone(&authorities.0);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    let verifier = builder.build().map_err(|_| AcceptorError::NoAuthority)?;
    Ok(Arc::new(Bounded::new(max_chain, verifier)))
}
