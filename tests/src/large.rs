//! Large bodies up and down, and what they leave in the spool.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::client::{Client, get};
use crate::message::Reader;
use crate::proxy::{Anteroom, Setup};
use crate::random::Random;
use crate::stream::Stream;
use crate::upstream::Upstream;
use crate::wait::eventually;

/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
const PIECE: usize = 64 << 10;

/// A body of any length, of which no piece stands anywhere else; nobody holds it whole.
#[derive(Debug)]
pub struct Content(Vec<u8>);

impl Content {
    /// The same in every run.
    pub fn new() -> Self {
        Self(Random::new(14).bytes((1 << 20) + PIECE))
    }

    /// Some bytes from `at` on: at most a piece.
    pub fn from(&self, at: u64) -> &[u8] {
        let (number, offset) = (at / PIECE as u64, at % PIECE as u64);
        let begins = number.wrapping_mul(7919) % (1 << 20);
        let [from, to] =
            [begins + offset, begins + PIECE as u64].map(|n| usize::try_from(n).unwrap_or(0));
        &self.0[from..to]
    }

    /// Writes the first `length` bytes.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(
        &self,
        length: u64,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = 0;
        while at < length {
            let piece = self.from(at);
            let piece = &piece[..usize::try_from(length - at).unwrap_or(PIECE).min(piece.len())];
            write(piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads bytes `from..to` and compares them.
    ///
    /// # Errors
    /// What reading says, `UnexpectedEof` when fewer come.
    ///
    /// # Panics
    /// At a wrong byte.
    pub fn check(&self, mut from: u64, to: u64, stream: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        while from < to {
            let most = usize::try_from(to - from).unwrap_or(PIECE).min(PIECE);
            let count = stream.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut got = &buffer[..count];
            while !got.is_empty() {
                let wanted = self.from(from);
                let both = wanted.len().min(got.len());
                assert!(got[..both] == wanted[..both], "wrong bytes behind the first {from}");
                from += both as u64;
                got = &got[both..];
            }
        }
        Ok(())
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads what was kept before what comes.
#[derive(Debug)]
pub struct Rest {
    kept: io::Cursor<Vec<u8>>,
    stream: Stream,
}

impl Rest {
    /// What follows what the reader was asked for.
    pub fn of(reader: Reader) -> Self {
        let kept = io::Cursor::new(reader.kept().to_vec());
        Self { kept, stream: reader.into_stream() }
    }
}

impl Read for Rest {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.kept.read(into)? {
            0 => self.stream.read(into),
            count => Ok(count),
        }
    }
}

/// What a server did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Uploads whose every byte was right.
    pub right: AtomicUsize,
    /// Downloads written to their end.
    pub written: AtomicUsize,
    /// Bytes written of downloads.
    pub bytes: AtomicU64,
}

/// A server that checks what is uploaded, and for `GET /N` gives N bytes.
pub fn server(content: &Arc<Content>) -> (Upstream, Arc<Deeds>) {
    let deeds = Arc::new(Deeds::default());
    let (content, done) = (Arc::clone(content), Arc::clone(&deeds));
    let upstream = Upstream::raw(move |_, mut reader| {
        reader.stream().set_timeout(Duration::from_mins(2))?;
        while let Some(head) = reader.request_head()? {
            let length = head.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
            let target = head.start.split(' ').nth(1).unwrap_or("/").to_owned();
            let mut rest = Rest::of(reader);
            content.check(0, length, &mut rest)?;
            if length > 0 {
                done.right.fetch_add(1, SeqCst);
            }
            let answer: u64 = target[1..].parse().unwrap_or(0);
            write!(rest.stream, "HTTP/1.1 200 OK\r\nContent-Length: {answer}\r\n\r\n")?;
            content.write(answer, |piece| {
                rest.stream.write_all(piece)?;
                done.bytes.fetch_add(piece.len() as u64, SeqCst);
                Ok(())
            })?;
            done.written.fetch_add(1, SeqCst);
            reader = Reader::new(rest.stream);
        }
        Ok(())
    });
    (upstream, deeds)
}

/// A client that waits as long as a large body takes.
pub fn patient(proxy: &Anteroom) -> Client {
    let mut client = proxy.client();
    client.patience(Duration::from_mins(2));
    client
}

/// Sends all of an upload with its length.
///
/// # Errors
/// What writing says.
pub fn upload(client: &mut Client, content: &Content, target: &str, length: u64) -> io::Result<()> {
    client.try_send(format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ))?;
    content.write(length, |piece| client.try_send(piece))
}

/// The same in chunks, with a trailer.
///
/// # Panics
/// When it is not taken.
pub fn upload_chunked(client: &mut Client, content: &Content, length: u64) {
    client.send("PUT /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let write = |piece: &[u8]| {
        client.try_send(format!("{:x}\r\n", piece.len()))?;
        client.try_send(piece)?;
        client.try_send("\r\n")
    };
    content.write(length, write).expect("it is taken");
    client.send("0\r\nX-Trailer: none\r\n\r\n");
}

/// Begins a download: the body, from its first byte on.
///
/// # Panics
/// When it is not what was asked for.
pub fn download(mut client: Client, length: u64) -> Rest {
    client.send(get(&format!("/{length}")));
    // The harness has no way to take a reader out of a client but to speak for it.
    let mut reader = Reader::new(client.stream().try_clone().expect("a handle"));
    let head = reader.request_head().expect("a response").expect("a response");
    assert!(head.start.contains(" 200 "), "{}", head.start);
    assert_eq!(head.get("content-length"), Some(length.to_string().as_str()));
    Rest::of(reader)
}

/// Bytes that lie in the spool now.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
pub fn spooled(proxy: &Anteroom) -> u64 {
    proxy.figure("anteroom_spool_bytes", &[]) as u64
}

/// All that lay in the spool is gone.
///
/// # Panics
/// When it never is.
pub fn assert_spool_empty(proxy: &Anteroom) {
    eventually("the spool to be empty", || (spooled(proxy) == 0).then_some(()));
}

/// Asserts that of 200 small exchanges no more than two take 50 ms. A busy machine may have
/// kept us waiting, which a worker that waits for its disk does every time.
///
/// # Panics
/// When that is never so.
pub fn assert_prompt(proxy: &Anteroom) {
    let mut client = proxy.client();
    let mut slowest = Vec::new();
    for _ in 0..8 {
        let mut all: Vec<Duration> = (0..200)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(client.get("/13").status, 200);
                start.elapsed()
            })
            .collect();
        all.sort_unstable();
        if all[197] < Duration::from_millis(50) {
            return;
        }
        slowest.push(all[197]);
    }
    panic!("small exchanges take {slowest:?}");
}

/// A proxy with one worker and a spool of 4 MiB.
pub fn tight(upstream: &Upstream) -> Setup {
    let setup = Setup::new(upstream.address()).with("--workers", 1).with("--spool-size", "4MiB");
    setup.with("--spool-per-exchange", "4MiB").with("--spool-per-address", "4MiB")
}

/// A client in the middle of an upload of which `sent` bytes were sent.
///
/// # Panics
/// When they do not come to lie in the spool.
pub fn half_an_upload(proxy: &Anteroom, content: &Content, sent: u64) -> Client {
    let mut client = patient(proxy);
    let length = sent + 100_000;
    client.send(format!("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
    content.write(sent, |piece| client.try_send(piece)).expect("it is taken");
    eventually("it to lie in the spool", || (spooled(proxy) > sent / 5 * 4).then_some(()));
    client
}
