//! Requests to the authority: bounded in time and size, and heard out when it wants to be left alone.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use base::limits;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
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

/// A client of one authority.
pub(super) struct Client {
    hyper: HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    rest: Rest,
}

impl Client {
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
        Ok(Self { hyper, rest })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (response, rest) = (self.hyper.request(request), self.rest.clone());
        let whole = async move {
            let (parts, body) = response.await.map_err(other)?.into_parts();
            rest.note(parts.status, &parts.headers);
            let body = Limited::new(body, limits::ACME_RESPONSE_MAX).collect().await;
            let body = body.map_err(Error::Other)?.to_bytes();
            Ok(BytesResponse::from(Response::from_parts(parts, Full::new(body))))
        };
        Box::pin(async move {
            let late = "the authority does not answer in time";
            timeout(limits::ACME_REQUEST, whole).await.map_err(|_| Error::Other(late.into()))?
        })
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
}
