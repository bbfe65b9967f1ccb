//! Requests to others: bounded in time and size.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::limits::{AUTHORIZE_ANSWER_MAX, TLS_SESSION_BYTES};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::timeout;

use super::FileFault;
use crate::trust;

/// Longest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// How long connections are kept that nobody uses.
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

    /// Whether a file's name is none: it begins as a URL does.
    pub fn is_meant(text: &str) -> bool {
        ["http://", "https://"].iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(scheme))
        })
    }

    /// Whether whoever answers shows a certificate.
    pub fn is_secured(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Whether nobody between us and it can change what is said: it is secured, or on this machine.
    pub fn is_safe(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        here || self.is_secured()
    }
}

/// Without what follows the path: that may be a secret.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |it| it.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

/// Who vouches for those that are asked over TLS.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Reads a file of certificates in PEM.
    ///
    /// # Errors
    /// What is wrong with it, and the remedy.
    pub fn parse(text: &[u8]) -> Result<Self, FileFault> {
        Ok(Self(Arc::new(trust::parse(text).map_err(FileFault::whole)?)))
    }
}

/// Asks others. Connections are kept for a while; whoever opens them is `C`.
#[derive(Clone, Debug)]
pub struct Fetch<C = HttpsConnector<HttpConnector>> {
    client: Client<C, Empty<Bytes>>,
    patience: Duration,
}

impl Fetch {
    /// Connections that are kept though nobody uses them.
    pub const KEPT: usize = 16;
    /// Bytes that a connection takes at most: what is read and what is written, and its session.
    pub const CONNECTION_BYTES: u64 = 3 * HEAD_MAX as u64 + TLS_SESSION_BYTES as u64;

    /// One that waits for an answer for so long, and believes those for whom these vouch: whom the
    /// system trusts, if they are not named.
    ///
    /// # Errors
    /// When no version of TLS would do.
    pub fn new(authorities: Option<&Authorities>, patience: Duration) -> Result<Self, String> {
        let roots = match authorities {
            Some(Authorities(roots)) => Arc::clone(roots),
            None => Arc::new(trust::of_the_system()),
        };
        let tls = trust::client(roots).map_err(|error| error.to_string())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(patience));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self::over(connector, patience))
    }

    /// One that believes others, with connections of its own: nobody is asked over one that was
    /// opened to whom they do not vouch for.
    ///
    /// # Errors
    /// When no version of TLS would do.
    pub fn believing(&self, authorities: &Authorities) -> Result<Self, String> {
        Self::new(Some(authorities), self.patience)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Fetch<C> {
    /// One whose connections this opens.
    pub fn over(connector: C, patience: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(Fetch::KEPT)
            .http1_max_buf_size(HEAD_MAX)
            .build(connector);
        Self { client, patience }
    }

    /// GET, with these fields. What the answer says behind its head is for nobody.
    ///
    /// # Errors
    /// Why there is no answer, in a few words.
    pub async fn ask(&self, url: &Url, fields: HeaderMap) -> Result<Parts, String> {
        let whole = async {
            let (parts, body) = self.get(url, fields).await?;
            // To its end if that is near: then the connection serves the next. Nobody waits for it.
            tokio::spawn(timeout(SKIP, skip(body)));
            Ok(parts)
        };
        timeout(self.patience, whole).await.map_err(|_| LATE.to_owned())?
    }

    /// GET: what stands there, of at most [`AUTHORIZE_ANSWER_MAX`] bytes. Nobody is followed elsewhere.
    ///
    /// # Errors
    /// Why it cannot be had, in a few words.
    pub async fn document(&self, url: &Url) -> Result<Bytes, String> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, */*"));
        let whole = async {
            let (parts, body) = self.get(url, fields).await?;
            if parts.status != StatusCode::OK {
                return Err(format!("the answer is {}, not 200", parts.status.as_u16()));
            }
            let body = Limited::new(body, AUTHORIZE_ANSWER_MAX).collect().await;
            match body {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => {
                    Err(format!("the answer is longer than {AUTHORIZE_ANSWER_MAX} bytes"))
                }
                Err(error) => Err(reason(error.as_ref())),
            }
        };
        timeout(self.patience, whole).await.map_err(|_| LATE.to_owned())?
    }

    async fn get(&self, url: &Url, fields: HeaderMap) -> Result<(Parts, Incoming), String> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.0.clone();
        *request.headers_mut() = fields;
        let answer = self.client.request(request).await.map_err(|error| reason(&error))?;
        Ok(answer.into_parts())
    }
}

/// How long the rest of an answer is read that is for nobody.
const SKIP: Duration = Duration::from_secs(1);

const LATE: &str = "no answer in time";

/// Reads a body, and keeps nothing of it.
async fn skip(mut body: Incoming) {
    let mut left = AUTHORIZE_ANSWER_MAX;
    while !body.is_end_stream()
        && let Some(Ok(frame)) = body.frame().await
    {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_a_host_and_no_secrets() {
        for good in ["http://127.0.0.1:9000/check", "https://a.example", "http://[::1]:1/a?b=c"] {
            let url = Url::parse(good).unwrap();
            assert!(Url::is_meant(good) && url.is_safe(), "{good}");
        }
        for bad in ["", "127.0.0.1:9000", "/check", "ftp://h/", "http://", "http://me:pw@h/", "h t"]
        {
            assert!(Url::parse(bad).unwrap_err().contains("http://127"), "{bad}");
        }
        assert!(!Url::parse("http://id.example/keys").unwrap().is_safe());
        assert!(!Url::is_meant("/etc/http://keys") && !Url::is_meant("http"));
        assert!(Url::parse("https://h/").unwrap().is_secured());
        assert!(!Url::parse("http://127.0.0.1/").unwrap().is_secured());
        let told = Url::parse("https://id.example:8443/keys?secret=abc").unwrap().to_string();
        assert_eq!(told, "https://id.example:8443/keys");
    }

    #[test]
    fn a_file_of_certificates_is_one() {
        let certificate = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let (pem, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        let both = Authorities::parse((pem.clone() + &key + &pem).as_bytes()).unwrap();
        assert_eq!(both.0.len(), 2, "what else there is does not matter");
        let half = &pem[..pem.len() / 2];
        let garbled = pem.replacen("MII", "AAA", 1);
        for bad in ["", "garbage", &key, half, &garbled] {
            let fault = Authorities::parse(bad.as_bytes()).unwrap_err();
            assert!(fault.why.contains("name a file of certificates"), "{}", fault.why);
            assert!(!fault.why.contains('['), "no bytes: {}", fault.why);
        }
    }
}
