//! Requests to others: bounded in time and size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::limits::AUTHORIZE_ANSWER_MAX;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

/// Longest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// Connections that are kept, and for how long.
const KEPT: usize = 16;
/// See [`KEPT`].
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Where somebody is asked: `http://` or `https://`, a host, and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write a URL, as in http://127.0.0.1:9000/check".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let authority = uri.authority().is_some_and(|it| !it.as_str().contains('@'));
        if known && host && authority { Ok(Self(uri)) } else { Err(wrong()) }
    }

    /// Whether what is said there is secured.
    pub fn is_secured(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Asks others. Connections are kept for a while.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    patience: Duration,
}

impl Fetch {
    /// One that waits for an answer for so long. `ca`: whose certificates are believed, if not those
    /// that the system trusts.
    ///
    /// # Errors
    /// What is wrong with `ca`, and the remedy.
    pub fn new(ca: Option<&Path>, patience: Duration) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(trusted(ca)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(patience));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(KEPT)
            .http1_max_buf_size(HEAD_MAX)
            .build(connector);
        Ok(Self { client, patience })
    }

    /// GET, with these fields. The body is empty if it was longer than may be, or broke off.
    ///
    /// # Errors
    /// Why there is no answer, in a few words.
    pub async fn get(&self, url: &Url, fields: HeaderMap) -> Result<(Parts, Bytes), String> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.0.clone();
        *request.headers_mut() = fields;
        let whole = async {
            let answer = self.client.request(request).await.map_err(|error| reason(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, AUTHORIZE_ANSWER_MAX).collect().await;
            Ok((parts, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
        };
        timeout(self.patience, whole).await.map_err(|_| "no answer in time".to_owned())?
    }
}

/// The innermost cause says most.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn trusted(ca: Option<&Path>) -> Result<RootCertStore, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_a_host_and_no_secrets() {
        for good in ["http://127.0.0.1:9000/check", "https://a.example", "http://[::1]:1/a?b=c"] {
            let url = Url::parse(good).unwrap();
            assert_eq!(url.is_secured(), good.starts_with("https"));
        }
        for bad in ["", "127.0.0.1:9000", "/check", "ftp://h/", "http://", "http://me:pw@h/", "h t"]
        {
            assert!(Url::parse(bad).unwrap_err().contains("http://127"), "{bad}");
        }
    }

    #[test]
    fn a_file_of_certificates_is_one() {
        let error = Fetch::new(Some(Path::new("/nowhere/ca.pem")), KEPT_FOR).unwrap_err();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
