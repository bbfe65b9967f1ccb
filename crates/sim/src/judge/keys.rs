//! What sessions are made from, at the ends that are played.
//!
//! Keys are of Ed25519, whose signatures are all of one length, so that a run that is played again
//! moves as many bytes: which bytes they are differs.

use std::sync::{Arc, LazyLock};

use tls::{
    Acceptor, AcceptorConfig, Authorities, Connector, ConnectorConfig, Identity, Tickets, Trust,
    Versions,
};

use super::papers::{Callers, Papers};

/// Whose name the certificate has.
pub(super) const NAME: &str = "world";

static PEM: &str = include_str!("../../keys/world.pem");

static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| {
    let key = include_bytes!("../../keys/world.key");
    Arc::new(Identity::from_pem(PEM.as_bytes(), key).expect("it is well made"))
});

/// What makes the sessions of one run, at both ends: what it remembers of earlier ones is of this run.
pub(super) struct Keys {
    /// Between clients and listeners.
    pub(super) callers: Callers,
    pub(super) acceptor: Acceptor,
    pub(super) connector: Connector,
}

impl Keys {
    pub(super) fn new(versions: Versions, papers: Papers) -> Self {
        let acceptor = AcceptorConfig {
            identities: vec![Arc::clone(&IDENTITY)],
            versions,
            tickets: Some(Tickets::new().expect("there is randomness")),
            ..AcceptorConfig::default()
        };
        let authorities = Authorities::from_pem(PEM.as_bytes()).expect("it is well made");
        let connector = ConnectorConfig {
            trust: Trust::Authorities(authorities),
            max_chain: base::limits::TLS_SERVER_CHAIN,
            identity: None,
            versions: Versions::default(),
            sni: true,
            alpn: Vec::new(),
        };
        Self {
            callers: Callers::new(papers, versions),
            acceptor: Acceptor::new(acceptor).expect("it is well made"),
            connector: Connector::new(connector).expect("it is well made"),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}
