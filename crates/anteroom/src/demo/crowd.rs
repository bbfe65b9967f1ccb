//! The crowd: clients that dribble their requests, and a few normal ones beside them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use driver::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::http::{Stream, Visitor, connect};
use crate::log;

/// A slow client sends so many bytes ...
const DRIBBLE_BYTES: usize = 20;
/// ... and then rests: 40 bytes a second.
const DRIBBLE_PAUSE: Duration = Duration::from_millis(500);
/// Shortest and longest body of a slow client, bytes.
const BODY: [usize; 2] = [100, 400];
/// How long a normal client rests between two requests.
const NORMAL_PAUSE: Duration = Duration::from_millis(25);
/// How long the whole crowd takes to arrive.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How long a client that lost its connection waits before it comes again.
const RETURN: Duration = Duration::from_millis(500);
/// Longest answer a slow client reads: its own body and a head.
const ANSWER_MOST: usize = 4096;

/// What the crowd counts, and how it is told to leave.
#[derive(Debug)]
pub(super) struct Crowd {
    slow_here: AtomicU64,
    slow_done: AtomicU64,
    lost: AtomicU64,
    latencies: UnboundedSender<Duration>,
    leaving: watch::Sender<bool>,
}

impl Crowd {
    /// Nobody yet, and where the latencies of normal clients will come out.
    pub(super) fn new() -> (Arc<Self>, UnboundedReceiver<Duration>) {
        let (latencies, observed) = unbounded_channel();
        let crowd = Self {
            slow_here: AtomicU64::new(0),
            slow_done: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            leaving: watch::Sender::new(false),
            latencies,
        };
        (Arc::new(crowd), observed)
    }

    /// Slow clients connected now.
    pub(super) fn slow_here(&self) -> u64 {
        self.slow_here.load(Relaxed)
    }

    /// Requests of slow clients that were answered rightly.
    pub(super) fn slow_done(&self) -> u64 {
        self.slow_done.load(Relaxed)
    }

    /// Connections that ended before their answer.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Everybody leaves, whatever they are at.
    pub(super) fn leave(&self) {
        self.leaving.send_replace(true);
    }
}

/// Brings the crowd to `proxy`, on a thread of its own.
///
/// # Errors
/// When the system grants no thread.
pub(super) fn start(
    crowd: Arc<Crowd>,
    slow: u32,
    normal: u32,
    proxy: Address,
) -> Result<(), Failure> {
    let thread = thread::Builder::new().name("demo-crowd".to_owned());
    let started = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            // Dropping the runtime drops every client, and so closes its connection.
            Ok(runtime) => runtime.block_on(gather(&crowd, slow, normal, &proxy)),
            Err(error) => log::note(format_args!("the crowd stays away: {error}")),
        }
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Run(format!("the crowd stays away: {error}"))),
    }
}

async fn gather(crowd: &Arc<Crowd>, slow: u32, normal: u32, proxy: &Address) {
    for id in 0..normal {
        let (crowd, proxy) = (Arc::clone(crowd), proxy.clone());
        tokio::spawn(async move { be_normal(&crowd, &proxy, id).await });
    }
    for id in 0..slow {
        let (crowd, proxy) = (Arc::clone(crowd), proxy.clone());
        let delay = ARRIVAL * id / slow;
        tokio::spawn(async move {
            sleep(delay).await;
            be_slow(&crowd, &proxy, id).await;
        });
    }
    // Only the crowd itself can end the wait, and it lives as long as this.
    let _ = crowd.leaving.subscribe().wait_for(|leaving| *leaving).await;
}

/// A client of ordinary speed: short requests, one after another.
async fn be_normal(crowd: &Crowd, proxy: &Address, id: u32) {
    sleep(NORMAL_PAUSE * id / 8).await;
    loop {
        if visit(crowd, proxy).await.is_err() {
            crowd.lost.fetch_add(1, Relaxed);
            sleep(RETURN).await;
        }
    }
}

/// Requests over one connection until it ends.
async fn visit(crowd: &Crowd, proxy: &Address) -> io::Result<()> {
    let mut visitor = Visitor::connect(proxy).await?;
    loop {
        let began = Instant::now();
        let (status, body) = visitor.ask("GET", "/bytes?n=1024").await?;
        if !status.is_success() || body.len() != 1024 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The one who looks at them may have left.
        let _ = crowd.latencies.send(began.elapsed());
        sleep(NORMAL_PAUSE).await;
    }
}

/// A client on a bad line.
async fn be_slow(crowd: &Crowd, proxy: &Address, id: u32) {
    loop {
        if dribble(crowd, proxy, id).await.is_err() {
            crowd.lost.fetch_add(1, Relaxed);
            sleep(RETURN).await;
        }
    }
}

/// Requests over one connection until it ends, byte for byte the same answer expected.
async fn dribble(crowd: &Crowd, proxy: &Address, id: u32) -> io::Result<()> {
    let mut stream = connect(proxy).await?;
    let _here = Here::new(&crowd.slow_here);
    let body = body(id);
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: demo\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        for piece in request.as_bytes().chunks(DRIBBLE_BYTES) {
            stream.write_all(piece).await?;
            sleep(DRIBBLE_PAUSE).await;
        }
        read_answer(&mut *stream, body.as_bytes()).await?;
        crowd.slow_done.fetch_add(1, Relaxed);
    }
}

/// Counts one for as long as it exists.
struct Here<'c>(&'c AtomicU64);

impl<'c> Here<'c> {
    fn new(count: &'c AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A body of this client alone, so that an answer to somebody else's request is noticed.
fn body(id: u32) -> String {
    let [shortest, longest] = BODY;
    let length = shortest + id as usize * 37 % (longest - shortest);
    let words = format!("client {id} says hello, slowly; ");
    words.chars().cycle().take(length).collect()
}

/// Reads an answer whose body is to be `expected`.
async fn read_answer(stream: &mut dyn Stream, expected: &[u8]) -> io::Result<()> {
    let mut answer = Vec::with_capacity(1024);
    while !is_complete(&answer, expected) {
        if answer.len() > ANSWER_MOST || stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn is_complete(answer: &[u8], expected: &[u8]) -> bool {
    answer.strip_suffix(expected).is_some_and(|head| head.ends_with(b"\r\n\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_says_something_of_its_own_within_the_bounds() {
        for id in 0..1000 {
            let body = body(id);
            assert!((BODY[0]..BODY[1]).contains(&body.len()));
            assert!(body.starts_with(&format!("client {id} ")));
        }
    }

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert!(is_complete(answer, b"hi"));
        assert!(!is_complete(&answer[..answer.len() - 1], b"hi"));
        assert!(!is_complete(answer, b"ho"));
    }
}
