//! HTTP/1 messages as the tests read them: strictly, so that a sloppy byte is found.

use std::io::{self, Read};

use crate::stream::Stream;

/// A head: its start-line and its fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first line without its CRLF.
    pub start: String,
    /// Names as they came, values trimmed.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The only value of a field, or none.
    ///
    /// # Panics
    /// When the field came more than once: then the test should have asked for [`Head::all`].
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|field| field.1.as_str()).collect()
    }

    /// Whether a comma-separated field names this option, in any case of letters.
    pub fn names(&self, field: &str, option: &str) -> bool {
        let mut items = self.all(field).into_iter().flat_map(|value| value.split(','));
        items.any(|item| item.trim().eq_ignore_ascii_case(option))
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            if line.contains(['\r', '\n', '\0']) {
                return Err(bad(&format!("a control byte in {line:?}")));
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(bad(&format!("no colon in {line:?}")));
            };
            if name.is_empty() || name.contains([' ', '\t']) {
                return Err(bad(&format!("white space in a field name: {line:?}")));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self { start, fields })
    }
}

/// A request as an upstream received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The head.
    pub head: Head,
    /// The head exactly as it came, its empty line included.
    pub raw_head: Vec<u8>,
    /// The body, freed from its framing.
    pub body: Vec<u8>,
}

impl Request {
    /// The first word of the request line.
    pub fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    /// The second word of the request line.
    pub fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// A response as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The head.
    pub head: Head,
    /// The code in the status line.
    pub status: u16,
    /// The body, freed from its framing.
    pub body: Vec<u8>,
    /// Interim responses (1xx) that came before.
    pub interim: Vec<u16>,
    /// How the body's end was told.
    pub framing: Framing,
}

impl Response {
    /// The only value of a field, or none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server says that it closes.
    pub fn says_close(&self) -> bool {
        self.head.names("connection", "close")
    }
}

/// How a body's end was told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: HEAD, 204, 304, or a request without length.
    None,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection.
    Close,
}

/// Reads messages from a stream and keeps what came beyond them.
#[derive(Debug)]
pub struct Reader {
    stream: Stream,
    kept: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// Reads from `stream`.
    pub const fn new(stream: Stream) -> Self {
        Self { stream, kept: Vec::new(), ended: false }
    }

    /// The stream behind.
    pub const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The stream, given back.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Bytes that came and were not asked for yet.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The next request, or none when the peer ended its direction before a byte of one.
    ///
    /// # Errors
    /// What reading says, `InvalidData` for what is no request, `UnexpectedEof` within one.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some((raw_head, head)) = self.head()? else {
            return Ok(None);
        };
        let framing = declared(&head)?.unwrap_or(Declared::Length(0));
        let body = self.body(framing)?;
        Ok(Some(Request { head, raw_head, body }))
    }

    /// The head of a request alone.
    ///
    /// # Errors
    /// As [`Reader::request`].
    pub fn request_head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.head()?.map(|(_, head)| head))
    }

    /// The final response to a request with this method.
    ///
    /// # Errors
    /// What reading says, `InvalidData` for what is no response, `UnexpectedEof` within one or
    /// before its first byte.
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let (_, head) = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = status(&head)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let declared = declared(&head)?;
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let (framing, wanted) = match declared {
                _ if bodiless => (Framing::None, Declared::Length(0)),
                Some(Declared::Length(length)) => (Framing::Length, Declared::Length(length)),
                Some(other) => (Framing::Chunked, other),
                None => (Framing::Close, Declared::Close),
            };
            let body = self.body(wanted)?;
            return Ok(Response { head, status, body, interim, framing });
        }
    }

    /// Reads bytes and forgets them.
    ///
    /// # Errors
    /// What reading says, `UnexpectedEof` when fewer come.
    pub fn skip(&mut self, length: usize) -> io::Result<()> {
        self.exactly(length).map(drop)
    }

    /// Whether the peer has closed: end of stream or reset, with nothing left unread.
    ///
    /// # Panics
    /// When a byte comes instead, or nothing at all within the stream's time-out.
    pub fn expect_end(&mut self) {
        assert!(self.kept.is_empty(), "unread: {:?}", String::from_utf8_lossy(&self.kept));
        match self.fill() {
            Ok(false) => {}
            Ok(true) => {
                panic!("bytes instead of an end: {:?}", String::from_utf8_lossy(&self.kept))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end of the connection: {error}"),
        }
    }

    /// Everything until the peer's end.
    ///
    /// # Errors
    /// What reading says.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.kept))
    }

    fn head(&mut self) -> io::Result<Option<(Vec<u8>, Head)>> {
        let mut searched = 0;
        loop {
            let from = searched.max(3) - 3;
            if let Some(at) = self.kept[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                let raw: Vec<u8> = self.kept.drain(..from + at + 4).collect();
                let head = Head::parse(&raw)?;
                return Ok(Some((raw, head)));
            }
            searched = self.kept.len();
            if !self.fill()? {
                return if self.kept.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn body(&mut self, declared: Declared) -> io::Result<Vec<u8>> {
        match declared {
            Declared::Length(length) => self.exactly(length),
            Declared::Close => self.rest(),
            Declared::Chunked => self.chunked(),
        }
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| bad(&line))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            if !self.line()?.is_empty() {
                return Err(bad("no CRLF behind a chunk"));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.kept.windows(2).position(|two| two == b"\r\n") {
                let line = self.kept.drain(..at + 2).take(at).map(char::from).collect();
                return Ok(line);
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.kept.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.kept.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            if self.ended {
                return Ok(false);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.kept.extend_from_slice(&piece[..n]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a head says of its body.
#[derive(Clone, Copy)]
enum Declared {
    Length(usize),
    Chunked,
    Close,
}

fn declared(head: &Head) -> io::Result<Option<Declared>> {
    let lengths = head.all("content-length");
    match (head.all("transfer-encoding").as_slice(), lengths.as_slice()) {
        ([], []) => Ok(None),
        ([], [length]) => match length.parse() {
            Ok(length) => Ok(Some(Declared::Length(length))),
            Err(_) => Err(bad(&format!("a length of {length:?}"))),
        },
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Declared::Chunked)),
        _ => Err(bad(&format!("ambiguous framing: {head:?}"))),
    }
}

fn status(head: &Head) -> io::Result<u16> {
    let code = head.start.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    code.and_then(|code| code.parse().ok()).ok_or_else(|| bad(&head.start))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(bytes).unwrap();
        Reader::new(Stream::Unix(far).ready().unwrap())
    }

    #[test]
    fn reads_every_framing_and_keeps_the_next_message() {
        let mut reader = reader(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
              HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n\
              HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest",
        );
        let first = reader.response("GET").unwrap();
        assert_eq!((first.body.as_slice(), first.interim.as_slice()), (&b"abc"[..], &[100][..]));
        let second = reader.response("GET").unwrap();
        assert_eq!((second.body.as_slice(), second.framing), (&b"de"[..], Framing::Chunked));
        assert_eq!(reader.response("GET").unwrap().framing, Framing::None);
        let last = reader.response("GET").unwrap();
        assert_eq!((last.body.as_slice(), last.framing), (&b"rest"[..], Framing::Close));
        reader.expect_end();
    }

    #[test]
    fn finds_sloppy_messages() {
        for sloppy in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx",
            b"garbage\r\n\r\n",
        ] {
            assert!(
                reader(sloppy).response("GET").is_err(),
                "{:?}",
                String::from_utf8_lossy(sloppy)
            );
        }
    }
}
