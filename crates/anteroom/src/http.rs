//! HTTP for what is not the data path: the admin endpoints, their client, the demo's server.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::{self, Next};
use driver::{Address, BindError, BindOptions, Listener};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

/// How long a connection may stay without a complete request head.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting pauses when the system is short of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection of either family.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Opens a connection to `address`.
///
/// # Errors
/// What the kernel says.
pub(crate) async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Ip(ip) => {
            let stream = TcpStream::connect(ip).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// A listening socket that has not begun to serve.
pub(crate) struct Door {
    // Kept for its file: it goes with the listener.
    listener: Listener,
    socket: Socket,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    /// Listens on `address`; to be called inside the runtime that will serve.
    ///
    /// # Errors
    /// Why the address cannot be had, with a remedy.
    pub(crate) fn open(address: &Address) -> Result<Self, DoorError> {
        let listener = driver::bind(address, BindOptions::default()).map_err(DoorError::Bind)?;
        let descriptor = listener.as_fd().try_clone_to_owned().map_err(DoorError::System)?;
        let socket = match address {
            Address::Ip(_) => TcpListener::from_std(descriptor.into()).map(Socket::Tcp),
            Address::Unix(_) => UnixListener::from_std(descriptor.into()).map(Socket::Unix),
        };
        Ok(Self { listener, socket: socket.map_err(DoorError::System)? })
    }

    /// The address, with the port the kernel chose.
    pub(crate) fn address(&self) -> &Address {
        self.listener.local_address()
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Socket::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }

    /// Serves `router` until the future is dropped, to at most `most` connections at a time: one
    /// beyond takes the place of the one that is here longest without a request to be answered,
    /// so that nobody keeps others out by saying nothing, or half of something.
    /// Each connection holds what `guest` makes for as long as it lasts.
    pub(crate) async fn serve<G: Send + 'static>(
        self,
        router: Router,
        most: usize,
        guest: impl Fn() -> G,
    ) {
        let mut visits = Visits::new(most);
        loop {
            let Ok(stream) = self.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            visits.make_room().await;
            let (router, guest) = (router.clone(), guest());
            visits.begin(|answering| async move {
                converse(stream, router, answering).await;
                drop(guest);
            });
        }
    }
}

/// The connections of a door, the oldest first.
struct Visits {
    /// The tasks end with this.
    tasks: JoinSet<()>,
    all: VecDeque<Visit>,
    most: usize,
}

/// One connection.
struct Visit {
    task: AbortHandle,
    /// Whether a whole request is being answered.
    answering: Arc<AtomicBool>,
}

impl Visits {
    fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), all: VecDeque::with_capacity(most), most }
    }

    /// Waits until there is room for one more, at most as long as an answer takes.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.all.retain(|visit| !visit.task.is_finished());
            if self.all.len() < self.most {
                return;
            }
            let silent = |visit: &Visit| !visit.answering.load(Ordering::Relaxed);
            if let Some(oldest) = self.all.iter().position(silent) {
                self.all[oldest].task.abort();
            }
            // It is gone when its task is.
            let _ = self.tasks.join_next().await;
        }
    }

    fn begin<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        converse: impl FnOnce(Arc<AtomicBool>) -> F,
    ) {
        let answering = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(converse(Arc::clone(&answering)));
        self.all.push_back(Visit { task, answering });
    }
}

/// One connection, to its end. Its failures are the peer's matter.
async fn converse(stream: Box<dyn Stream>, router: Router, answering: Arc<AtomicBool>) {
    let router = router.layer(middleware::from_fn(move |request, next: Next| {
        let answering = Arc::clone(&answering);
        async move {
            answering.store(true, Ordering::Relaxed);
            let response = next.run(request).await;
            answering.store(false, Ordering::Relaxed);
            response
        }
    }));
    let service = TowerToHyperService::new(router);
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Why a [`Door`] cannot be opened.
#[derive(Debug)]
pub(crate) enum DoorError {
    /// The address cannot be listened on.
    Bind(BindError),
    /// The system is short of something.
    System(io::Error),
}

impl std::fmt::Display for DoorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

/// Sends one request and reads the whole answer.
pub(crate) struct Visitor {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Visitor {
    /// A connection to `address`, for one request after another.
    ///
    /// # Errors
    /// When nobody answers there.
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        let stream = connect(address).await?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with the sender; what went wrong shows in the request.
        tokio::spawn(connection);
        let host = match address {
            Address::Ip(ip) => ip.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        Ok(Self { sender, host })
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no HTTP.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        target: &str,
    ) -> io::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.host)
            .body(Full::default())
            .map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    }
}
