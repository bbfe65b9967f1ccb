//! Requests to the authority: bounded in time and size, and heard out when it wants to be left alone.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use base::limits;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::fault::Fault;
use crate::trust;

/// Until when the authority asked to be left alone in its refusals: with whatever it may be.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    since: Instant,
    /// In milliseconds since then.
    until: Arc<AtomicU64>,
}

impl Rest {
    /// It asked for nothing yet.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), until: Arc::default() }
    }

    /// How long it is still to be left alone, in whole seconds; none if it may be asked.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.until.load(Relaxed).saturating_sub(self.passed());
        (left > 0).then(|| Duration::from_secs(left.div_ceil(1000)))
    }

    /// Returns when it may be asked.
    pub(super) async fn over(&self) {
        while let Some(left) = self.left() {
            sleep(left).await;
        }
    }

    /// Milliseconds since it was made.
    fn passed(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes what a refusal says (RFC 8555 §6.6, RFC 9110 §10.2.3). A date is of no use to us: it is
    /// by the authority's clock.
    fn note(&self, status: StatusCode, fields: &HeaderMap) {
        let refused =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let said = fields.get(RETRY_AFTER).filter(|_| refused);
        let Some(seconds) = said.and_then(|said| said.to_str().ok()?.trim().parse().ok()) else {
            return;
        };
        let asked = Duration::from_secs(seconds).min(limits::ACME_ASKED_MAX);
        let millis = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(self.passed().saturating_add(millis), Relaxed);
    }
}

/// Who answers in an authority's stead, where there is none: to whatever is asked, in its own time.
pub type Stand = Arc<dyn Fn(Request<BodyWrapper<Bytes>>) -> Said + Send + Sync>;

/// What that says.
pub type Said = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Error>> + Send>>;

/// A client of one authority.
pub(super) struct Client {
    way: Way,
    rest: Rest,
}

/// How it gets there.
enum Way {
    Https(HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>),
    Stand(Stand),
}

impl Client {
    /// One of whom answers in the authority's stead.
    pub(super) const fn of(stand: Stand, rest: Rest) -> Self {
        Self { way: Way::Stand(stand), rest }
    }

    /// A client that trusts whom `ca` names, or whom the system trusts.
    pub(super) fn new(ca: Option<&Path>, rest: Rest) -> Result<Self, Fault> {
        let roots = trust::roots(ca).map_err(Fault::new)?;
        if roots.is_empty() {
            return Err(Fault::new(
                "nobody is trusted to vouch for the authority: install the system's certificates \
                 (ca-certificates), or name some as `ca`",
            ));
        }
        let tls = trust::client(roots).map_err(Fault::own)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let hyper = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(limits::ACME_IDLE)
            .build(connector);
        Ok(Self { way: Way::Https(hyper), rest })
    }
}

/// What is read of an answer, and what is noted of it.
async fn heard<B>(answer: Response<B>, rest: Rest) -> Result<BytesResponse, Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (mut parts, body) = answer.into_parts();
    rest.note(parts.status, &parts.headers);
    bound(&mut parts.headers);
    let body = Limited::new(body, limits::ACME_RESPONSE_MAX).collect().await;
    let body = body.map_err(Error::Other)?.to_bytes();
    if !is_usable(&body) {
        return Err(Error::Str("the directory has no address for nonces"));
    }
    Ok(BytesResponse::from(Response::from_parts(parts, Full::new(body))))
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let rest = self.rest.clone();
        let whole: Pin<Box<dyn Future<Output = _> + Send>> = match &self.way {
            Way::Https(hyper) => {
                let answer = hyper.request(request);
                Box::pin(async move { heard(answer.await.map_err(other)?, rest).await })
            }
            Way::Stand(stand) => {
                let answer = stand(request);
                Box::pin(async move { heard(answer.await?.map(Full::new), rest).await })
            }
        };
        Box::pin(async move {
            let late = "the authority does not answer in time";
            timeout(limits::ACME_REQUEST, whole).await.map_err(|_| Error::Other(late.into()))?
        })
    }
}

/// The part of a directory (RFC 8555 §7.1.1) that the library takes for a URL unseen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
}

/// Whether a document is no directory, or one with which the library can go on: otherwise it panics.
fn is_usable(document: &[u8]) -> bool {
    let directory = serde_json::from_slice(document);
    directory.map_or(true, |directory: Directory| directory.new_nonce.parse::<Uri>().is_ok())
}

/// Nobody waits longer than that; whoever reads it adds it to the time of day, and that ends.
fn bound(fields: &mut HeaderMap) {
    let most = limits::ACME_ASKED_MAX.as_secs();
    let said = fields.get(RETRY_AFTER).and_then(|said| said.to_str().ok()?.trim().parse().ok());
    if said.is_some_and(|seconds: u64| seconds > most) {
        fields.insert(RETRY_AFTER, most.into());
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_tells_everybody_how_long_to_stay_away() {
        let rest = Rest::new();
        let mut fields = HeaderMap::new();
        fields.insert(RETRY_AFTER, "30".parse().unwrap());
        rest.note(StatusCode::OK, &fields);
        assert_eq!(rest.left(), None, "it is about polling");
        rest.over().await;
        rest.note(StatusCode::TOO_MANY_REQUESTS, &fields);
        fields.insert(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT".parse().unwrap());
        rest.note(StatusCode::SERVICE_UNAVAILABLE, &fields);
        assert_eq!(rest.left(), Some(Duration::from_secs(30)));
        fields.insert(RETRY_AFTER, "5".parse().unwrap());
        rest.note(StatusCode::TOO_MANY_REQUESTS, &fields);
        let began = Instant::now();
        // Whoever wants something waits, not only who was refused.
        let other = rest.clone();
        tokio::join!(rest.over(), other.over());
        assert_eq!((began.elapsed(), rest.left()), (Duration::from_secs(30), None));
        fields.insert(RETRY_AFTER, u64::MAX.to_string().parse().unwrap());
        rest.note(StatusCode::TOO_MANY_REQUESTS, &fields);
        assert_eq!(rest.left(), Some(limits::ACME_ASKED_MAX));
    }

    async fn said(fields: &[(&str, &str)], body: &'static str) -> Result<BytesResponse, Error> {
        let mut answer = Response::builder();
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        heard(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap(), Rest::new())
            .await
    }

    #[tokio::test]
    async fn what_the_library_adds_to_the_time_of_day_has_a_bound() {
        let most = limits::ACME_ASKED_MAX.as_secs().to_string();
        for (asked, left) in [
            ("18446744073709551615", &*most),
            (" 86401 ", &most),
            ("86400", "86400"),
            ("5", "5"),
            ("18446744073709551616", "18446744073709551616"),
            ("Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let answer = said(&[("retry-after", asked)], "").await.unwrap();
            assert_eq!(answer.parts.headers[RETRY_AFTER], left, "{asked}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_the_library_would_panic_at_is_refused() {
        let directory = r#"{"newNonce":"h t","newAccount":"https://h/a","newOrder":"https://h/o"}"#;
        assert!(said(&[], directory).await.is_err());
        for fine in ["", "{}", "[", r#"{"newNonce":"https://h/n"}"#, r#"{"newOrder":"h t"}"#] {
            assert!(said(&[], fine).await.is_ok(), "{fine}");
        }
    }
}
