//! Requests that no server must ever see, and the status that each is refused with.

use std::fmt;

/// A request that is none.
#[derive(Clone, Copy)]
pub(super) struct Malformed {
    pub(super) name: &'static str,
    text: Text,
    pub(super) status: u16,
}

#[derive(Clone, Copy)]
enum Text {
    Is(&'static str),
    /// `Repeats(before, what, behind)`: `what` fills more than any head may have.
    Repeats(&'static str, &'static str, &'static str),
    /// So many lines of fields.
    Lines(usize),
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, refused with {}", self.name, self.status)
    }
}

impl Malformed {
    /// Writes it down.
    pub(super) fn write(&self, w: &mut Vec<u8>) {
        match self.text {
            Text::Is(text) => w.extend_from_slice(text.as_bytes()),
            Text::Repeats(before, what, behind) => {
                w.extend_from_slice(before.as_bytes());
                (0..17_000 / what.len()).for_each(|_| w.extend_from_slice(what.as_bytes()));
                w.extend_from_slice(behind.as_bytes());
            }
            Text::Lines(count) => {
                w.extend_from_slice(b"GET / HTTP/1.1\r\nHost: h\r\n");
                (0..count).for_each(|_| w.extend_from_slice(b"X: y\r\n"));
                w.extend_from_slice(b"\r\n");
            }
        }
    }
}

const fn is(name: &'static str, status: u16, text: &'static str) -> Malformed {
    Malformed { name, text: Text::Is(text), status }
}

/// What is right where connections are secured.
pub(super) const SCHEME: &str = "another scheme";

/// All of them, the simplest first. None of their heads ends in a body that would be read.
pub(super) const ALL: [Malformed; 34] = [
    is("no request line", 400, "what is this\r\n\r\n"),
    is("another protocol", 400, "\x16\x03\x01\x02\x00\x01\x00"),
    is("bare LF", 400, "GET / HTTP/1.1\nHost: h\n\n"),
    is("bare CR", 400, "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    is("space before colon", 400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
    is("folded line", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n z\r\n\r\n"),
    is("folded first line", 400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
    is("NUL", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n"),
    is("no host", 400, "GET / HTTP/1.1\r\n\r\n"),
    is("two hosts", 400, "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
    is("bad host", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    is("no colon", 400, "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n"),
    is("empty name", 400, "GET / HTTP/1.1\r\nHost: h\r\n: y\r\n\r\n"),
    is("space in the target", 400, "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"),
    is(
        "two lengths",
        400,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    ),
    is(
        "two different lengths",
        400,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    ),
    is("listed lengths", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc"),
    is("signed length", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc"),
    is(
        "length and coding",
        400,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    is("unknown coding", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n"),
    is(
        "unknown coding first",
        501,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ),
    is(
        "coding twice",
        400,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    ),
    is(
        "coding in quotes",
        400,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
    ),
    is("coding in HTTP/1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    is("tunnel", 501, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"),
    is("trace that ends here", 501, "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n"),
    is("version 2", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    is("version 0.9", 505, "GET / HTTP/0.9\r\nHost: h\r\n\r\n"),
    is("no version", 400, "GET /\r\nHost: h\r\n\r\n"),
    is(SCHEME, 421, "GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    Malformed {
        name: "long target",
        text: Text::Repeats("GET /", "t", " HTTP/1.1\r\nHost: h\r\n\r\n"),
        status: 414,
    },
    Malformed {
        name: "long field",
        text: Text::Repeats("GET / HTTP/1.1\r\nHost: h\r\nX: ", "f", "\r\n\r\n"),
        status: 431,
    },
    Malformed {
        name: "long head",
        text: Text::Repeats(
            "GET / HTTP/1.1\r\nHost: h\r\n",
            "X-Long: ffffffffffffffffffffffffffff\r\n",
            "\r\n",
        ),
        status: 431,
    },
    Malformed { name: "many fields", text: Text::Lines(140), status: 431 },
];

/// Bodies in chunks that are none: what stands behind a head that is in order. All are refused
/// with 400, be it after the server saw the head, where it is shown bodies as they come.
pub(super) const CHUNKS: [&str; 8] = [
    "x\r\n",
    "3\r\nabcd\r\n",
    "3 \nabc\r\n",
    "-3\r\nabc\r\n",
    "00000000000000003\r\nabc\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3;a=\x01\r\nabc\r\n",
    "0\r\nno colon\r\n\r\n",
];
