//! A client that writes exactly the bytes it is told.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::message::{Reader, Response};
use crate::random::Random;
use crate::stream::Stream;

/// One connection to a proxy or a server.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
}

impl Client {
    /// Connects to `IP:PORT` or `unix:/path`.
    ///
    /// # Panics
    /// When nobody accepts.
    pub fn new(address: &str) -> Self {
        let stream = Stream::connect(address).unwrap_or_else(|e| panic!("connect {address}: {e}"));
        Self { reader: Reader::new(stream) }
    }

    /// Connects, or says why not.
    ///
    /// # Errors
    /// What connecting says.
    pub fn try_new(address: &str) -> io::Result<Self> {
        Ok(Self { reader: Reader::new(Stream::connect(address)?) })
    }

    /// Speaks over this stream.
    pub const fn over(stream: Stream) -> Self {
        Self { reader: Reader::new(stream) }
    }

    /// Connects with a receive buffer of a few kilobytes: a client that takes its time.
    ///
    /// # Panics
    /// When nobody accepts.
    pub fn new_slow(address: &str) -> Self {
        let mut client = Self::new(address);
        client.stream().receive_little();
        client
    }

    /// The socket.
    pub const fn stream(&mut self) -> &mut Stream {
        self.reader.stream()
    }

    /// The reading side.
    pub const fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The stream, given back with what was heard ahead forgotten.
    pub fn into_stream(self) -> Stream {
        self.reader.into_stream()
    }

    /// How long one read or write may take.
    ///
    /// # Panics
    /// Never on a socket.
    pub fn patience(&mut self, timeout: Duration) -> &mut Self {
        self.stream().set_timeout(timeout).expect("a time-out is set");
        self
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// When the peer takes no more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).expect("the bytes are taken");
        self
    }

    /// Writes bytes that the peer may refuse to take.
    ///
    /// # Errors
    /// What writing says.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Writes bytes in random pieces, `pieces` at most; every third is followed by a short
    /// pause, so that it arrives alone.
    ///
    /// # Errors
    /// What writing says.
    pub fn send_cut(&mut self, bytes: &[u8], random: &mut Random, pieces: usize) -> io::Result<()> {
        for piece in random.cut(bytes, pieces) {
            self.try_send(piece)?;
            if random.once_in(3) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(())
    }

    /// Ends the sending direction.
    pub fn end(&mut self) -> &mut Self {
        self.stream().shutdown(Shutdown::Write);
        self
    }

    /// Breaks the connection with a reset.
    pub fn reset(self) {
        self.reader.into_stream().reset();
    }

    /// The response to a GET or another request whose response may have a body.
    ///
    /// # Panics
    /// When what comes is no whole response.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The response to a request with this method.
    ///
    /// # Panics
    /// When what comes is no whole response.
    pub fn response_to(&mut self, method: &str) -> Response {
        match self.reader.response(method) {
            Ok(response) => response,
            Err(error) => {
                let kept = self.reader.kept();
                let shown = String::from_utf8_lossy(&kept[..kept.len().min(400)]);
                panic!("no whole response: {error}; unread {} bytes: {shown:?}", kept.len())
            }
        }
    }

    /// The response, or why there is none.
    ///
    /// # Errors
    /// As [`Reader::response`].
    pub fn try_response(&mut self) -> io::Result<Response> {
        self.reader.response("GET")
    }

    /// A GET on this connection and its response.
    ///
    /// # Panics
    /// When what comes is no whole response.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(get(target)).response()
    }

    /// As [`Client::get`], or why there is no response.
    ///
    /// # Errors
    /// What writing or reading says.
    pub fn try_get(&mut self, target: &str) -> io::Result<Response> {
        self.try_send(get(target))?;
        self.try_response()
    }

    /// A POST with a length on this connection and its response.
    ///
    /// # Panics
    /// When what comes is no whole response.
    pub fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.send(post(target, body)).response()
    }

    /// Expects that the peer closes, whatever it says before.
    ///
    /// # Panics
    /// When it does not.
    pub fn expect_refusal(&mut self) {
        if let Err(error) = self.reader.rest() {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "not closed: {error}");
        }
    }

    /// Expects that the peer closes, with nothing before.
    ///
    /// # Panics
    /// When bytes come instead, or nothing.
    pub fn expect_end(&mut self) {
        self.reader.expect_end();
    }
}

/// A GET as HTTP/1.1 has it.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A POST with a length.
pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let mut head = String::new();
    let _ = write!(head, "POST {target} HTTP/1.1\r\nHost: test\r\n");
    let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A POST in chunks, cut at random; extensions and trailers come now and then.
pub fn post_chunked(target: &str, body: &[u8], random: &mut Random) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    let pieces = 1 + random.below(12);
    for piece in random.cut(body, pieces) {
        let extension = if random.once_in(4) { ";name=\"a value\"" } else { "" };
        let size = if random.once_in(2) { "000" } else { "" };
        bytes.extend(format!("{size}{:x}{extension}\r\n", piece.len()).into_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    let trailer = if random.once_in(4) { "X-Trailer: dropped\r\n" } else { "" };
    bytes.extend(format!("0\r\n{trailer}\r\n").into_bytes());
    bytes
}
