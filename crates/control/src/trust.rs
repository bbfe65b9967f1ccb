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
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |error: &dyn std::error::Error| {
        format!("\"{}\": {error}: name a file of certificates", path.display())
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("\"{}\": there is no certificate in it", path.display()));
    }
    Ok(roots)
}

/// A client of servers for whom these vouch.
///
/// # Errors
/// When no version of TLS would do.
pub(crate) fn client(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
