//! The demo's server: a few pages, something slow, an echo, a stream; it counts its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use driver::Address;
use http_body_util::channel::Channel;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::http::Door;

/// More than the proxy may ever open: what it opens beyond its bound is to be seen, not refused.
const CONNECTIONS_MOST: usize = 1024;
/// Longest `/slow`, and lines of `/stream`.
const SLOW_MOST: Duration = Duration::from_secs(30);
const STREAM_LINES: u32 = 25;
const STREAM_PAUSE: Duration = Duration::from_millis(200);
/// Largest `/bytes` and `/echo`.
const BYTES_MOST: usize = 64 << 20;

const PAGE: &str = include_str!("page.html");

/// What the server counts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    now: AtomicU64,
    most: AtomicU64,
    answered: AtomicU64,
}

impl Seen {
    /// Connections open now.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// Most connections that were ever open at one time.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Relaxed)
    }
}

/// Counts a connection for as long as it lasts.
struct Guest(Arc<Seen>);

impl Guest {
    fn new(seen: Arc<Seen>) -> Self {
        let now = seen.now.fetch_add(1, Relaxed) + 1;
        seen.most.fetch_max(now, Relaxed);
        Self(seen)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// The running server; it ends with the process.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    seen: Arc<Seen>,
}

impl Server {
    /// Starts it on a thread of its own and a port of the kernel's choice.
    ///
    /// # Errors
    /// When the system grants no thread or port.
    pub(super) fn start() -> Result<Self, Failure> {
        let seen = Arc::new(Seen::default());
        let (tell, told) = mpsc::channel();
        let counted = Arc::clone(&seen);
        let refused = |why: &dyn std::fmt::Display| {
            Failure::Run(format!("the demo's server cannot start: {why}"))
        };
        thread::Builder::new()
            .name("demo-server".to_owned())
            .spawn(move || serve(&tell, &counted))
            .map_err(|error| refused(&error))?;
        let address = told.recv().map_err(|error| refused(&error))?;
        Ok(Self { address: address.map_err(|error| refused(&error))?, seen })
    }

    /// Where the proxy finds it.
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// What it counts.
    pub(super) const fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }
}

/// The server's thread.
fn serve(tell: &mpsc::Sender<Result<Address, String>>, seen: &Arc<Seen>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error.to_string()))),
    };
    runtime.block_on(async {
        let here = Address::Ip(([127, 0, 0, 1], 0).into());
        match Door::open(&here) {
            Ok(door) => {
                let _ = tell.send(Ok(door.address().clone()));
                door.serve(router(Arc::clone(seen)), CONNECTIONS_MOST, || {
                    Guest::new(Arc::clone(seen))
                })
                .await;
            }
            Err(error) => drop(tell.send(Err(error.to_string()))),
        }
    });
}

fn router(seen: Arc<Seen>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/slow", get(slow))
        .route("/echo", post(echo))
        .route("/stream", get(stream))
        .route("/bytes", get(bytes))
        .layer(DefaultBodyLimit::max(BYTES_MOST))
        .with_state(seen)
}

async fn page(State(seen): State<Arc<Seen>>, headers: HeaderMap) -> Html<String> {
    let values = [
        ("{now}", seen.now().to_string()),
        ("{most}", seen.most().to_string()),
        ("{answered}", (seen.answered.fetch_add(1, Relaxed) + 1).to_string()),
        ("{here}", host(&headers).to_owned()),
    ];
    Html(values.iter().fold(PAGE.to_owned(), |page, (name, value)| page.replace(name, value)))
}

/// The host the client asked for, if it is harmless inside a page.
fn host(headers: &HeaderMap) -> &str {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.filter(|host| host.chars().all(harmless)).unwrap_or("127.0.0.1:8080")
}

#[derive(Deserialize)]
struct Slow {
    ms: Option<u64>,
}

async fn slow(State(seen): State<Arc<Seen>>, Query(asked): Query<Slow>) -> String {
    let pause = Duration::from_millis(asked.ms.unwrap_or(500)).min(SLOW_MOST);
    sleep(pause).await;
    seen.answered.fetch_add(1, Relaxed);
    format!("answered after {} ms\n", pause.as_millis())
}

async fn echo(State(seen): State<Arc<Seen>>, body: Bytes) -> Bytes {
    seen.answered.fetch_add(1, Relaxed);
    body
}

async fn stream(State(seen): State<Arc<Seen>>) -> Response {
    seen.answered.fetch_add(1, Relaxed);
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for line in 1..=STREAM_LINES {
            let text = format!("line {line} of {STREAM_LINES}\n");
            if sender.send_data(text.into()).await.is_err() {
                return;
            }
            sleep(STREAM_PAUSE).await;
        }
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::new(body)).into_response()
}

#[derive(Deserialize)]
struct Amount {
    n: Option<usize>,
}

async fn bytes(State(seen): State<Arc<Seen>>, Query(asked): Query<Amount>) -> Response {
    let amount = asked.n.unwrap_or(1 << 20);
    if amount > BYTES_MOST {
        let told = format!("at most {BYTES_MOST} bytes\n");
        return (StatusCode::BAD_REQUEST, told).into_response();
    }
    seen.answered.fetch_add(1, Relaxed);
    let line = b"anteroom holds the crowd, the server sees complete requests.\n";
    let bytes: Vec<u8> = line.iter().copied().cycle().take(amount).collect();
    bytes.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Visitor;

    #[test]
    fn no_host_smuggles_markup_into_the_page() {
        let mut headers = HeaderMap::new();
        for (given, shown) in [
            ("[::1]:8080", "[::1]:8080"),
            ("demo.example", "demo.example"),
            ("<script>", "127.0.0.1:8080"),
        ] {
            headers.insert(header::HOST, given.parse().unwrap());
            assert_eq!(host(&headers), shown);
        }
    }

    #[tokio::test]
    async fn every_page_answers_and_connections_are_counted() {
        let server = Server::start().unwrap();
        let mut visitor = Visitor::connect(server.address()).await.unwrap();
        let (status, page) = visitor.ask("GET", "/").await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("/slow") && !page.contains("{most}"), "{page}");
        assert!(page.contains(&format!("http://{}/echo", server.address())), "{page}");
        let (_, slow) = visitor.ask("GET", "/slow?ms=1").await.unwrap();
        assert_eq!(slow, "answered after 1 ms\n");
        let (_, bytes) = visitor.ask("GET", "/bytes?n=70").await.unwrap();
        assert_eq!(bytes.len(), 70);
        let (status, _) = visitor.ask("GET", "/bytes?n=70000000").await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!((server.seen().now(), server.seen().most()), (1, 1));
        let other = Visitor::connect(server.address()).await.unwrap();
        drop((visitor, other));
        for _ in 0..500 {
            if server.seen().now() == 0 {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.seen().now(), 0);
    }
}
