//! Whom we believe when we ask others over TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, Error, RootCertStore};

/// Those in the file `ca`, or whom the system trusts: that may be nobody.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub(crate) fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let Some(path) = ca else { return Ok(of_the_system()) };
    let name = path.display();
    let text = std::fs::read(path)
        .map_err(|error| format!("\"{name}\": {error}: name a file of certificates"))?;
    parse(&text).map_err(|why| format!("\"{name}\": {why}"))
}

/// Those whom the system trusts: that may be nobody.
pub(crate) fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Those whose certificates a file holds, in PEM: at least one.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub(crate) fn parse(text: &[u8]) -> Result<RootCertStore, String> {
    let wrong =
        || "a certificate in it cannot be read, it may be cut off: name a file of certificates";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|_| wrong())?;
        roots.add(certificate).map_err(|_| wrong())?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it: name a file of certificates".to_owned());
    }
    Ok(roots)
}

/// A client of servers for whom these vouch.
///
/// # Errors
/// When no version of TLS would do.
pub(crate) fn client(roots: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
