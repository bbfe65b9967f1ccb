//! Connections of memory, and a server at their other end that says given bytes once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;
use tower_service::Service;

/// What is said to whoever asks again.
pub(super) const AGAIN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
/// How much is on its way at most.
const ROOM: usize = 16 << 10;
/// Between two pieces.
const PAUSE: Duration = Duration::from_millis(1);
/// How much is said at one time by who goes on for ever.
const MORE: usize = 4 << 10;

/// How the server goes on when it has said what it is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It closes the connection.
    Ends,
    /// It hears what it is asked next.
    Hears,
    /// It says its last bytes again and again.
    Repeats,
}

/// A connector: the first question on the first connection is answered with the given bytes.
#[derive(Clone)]
pub(super) struct Line {
    pieces: Arc<Vec<Vec<u8>>>,
    then: Then,
    seen: Arc<Mutex<Seen>>,
}

/// What the server saw.
#[derive(Default)]
pub(super) struct Seen {
    /// What it was asked, each with its empty line.
    pub(super) heads: Vec<Vec<u8>>,
    /// Bytes that it said.
    pub(super) said: usize,
}

impl Line {
    pub(super) fn new(pieces: &[&[u8]], then: Then) -> Self {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        Self { pieces: Arc::new(pieces), then, seen: Arc::default() }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        match self.seen.lock() {
            Ok(seen) => seen,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// One connection, until it is over.
    async fn serve(self, mut end: DuplexStream) -> io::Result<()> {
        while let Some(head) = hear(&mut end).await? {
            let is_first = self.seen().heads.is_empty();
            self.seen().heads.push(head);
            if !is_first {
                self.say(&mut end, AGAIN).await?;
                continue;
            }
            for piece in self.pieces.iter() {
                self.say(&mut end, piece).await?;
                sleep(PAUSE).await;
            }
            match self.then {
                Then::Ends => return Ok(()),
                Then::Hears => {}
                Then::Repeats => self.repeat(&mut end).await?,
            }
        }
        Ok(())
    }

    async fn repeat(&self, end: &mut DuplexStream) -> io::Result<()> {
        let all = self.pieces.concat();
        let last = &all[all.len().saturating_sub(64)..];
        if last.is_empty() {
            return Ok(());
        }
        let more = last.repeat(MORE / last.len());
        loop {
            self.say(end, &more).await?;
            sleep(PAUSE).await;
        }
    }

    async fn say(&self, end: &mut DuplexStream, bytes: &[u8]) -> io::Result<()> {
        end.write_all(bytes).await?;
        self.seen().said += bytes.len();
        Ok(())
    }
}

/// The next head; none when the other one is gone.
async fn hear(end: &mut DuplexStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if end.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

impl Service<Uri> for Line {
    type Response = End;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<End>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let line = self.clone();
        Box::pin(async move {
            let (here, there) = duplex(ROOM);
            tokio::spawn(line.serve(there));
            Ok(End(TokioIo::new(here)))
        })
    }
}

/// Our end of a connection.
pub(super) struct End(TokioIo<DuplexStream>);

impl Connection for End {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, room)
    }
}

impl Write for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
