//! Messages and what they must become, written down without the code under test.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::desk::{Answered, DATE};

/// `length` bytes that repeat late, so that a byte lost, doubled or moved shows.
pub(super) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What the server must see of an HTTP/1.1 request for `h`. `fields` end in CRLF each.
pub(super) fn canonical(method: &str, target: &str, fields: &str, body: Option<&[u8]>) -> Vec<u8> {
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\
         X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\
         Forwarded: for=192.0.2.1;host=\"h\";proto=http\r\nVia: 1.1 anteroom\r\n{}\r\n",
        length.unwrap_or_default(),
    );
    [head.as_bytes(), body.unwrap_or_default()].concat()
}

/// What an HTTP/1.1 client must get: `fields` end in CRLF each, `Date` and what follows it are
/// ours.
pub(super) fn delivered(status: &str, fields: &str, ours: &str, body: &[u8]) -> Vec<u8> {
    let date = str::from_utf8(DATE).unwrap();
    let head = format!("HTTP/1.1 {status}\r\n{fields}Date: {date}\r\n{ours}\r\n");
    [head.as_bytes(), body].concat()
}

/// `body` in chunks of these lengths, over and over.
pub(super) fn chunked(body: &[u8], lengths: &[usize], extension: &str, trailers: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    let mut rest = body;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, later) = rest.split_at(length.clamp(1, rest.len()));
        coded.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
        coded.extend(chunk);
        coded.extend(b"\r\n");
        rest = later;
    }
    coded.extend(format!("0{extension}\r\n{trailers}\r\n").into_bytes());
    coded
}

/// The data and the trailer lines of a body in chunks, and what stands behind it.
pub(super) fn unchunked(coded: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let line = |at: usize| {
        let end = coded[at..].windows(2).position(|two| two == b"\r\n").expect("a line ends");
        &coded[at..at + end]
    };
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let size = line(at);
        at += size.len() + 2;
        let size = usize::from_str_radix(str::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        data.extend(&coded[at..at + size]);
        assert_eq!(&coded[at + size..at + size + 2], b"\r\n", "the chunk ends");
        at += size + 2;
    }
    let mut trailers = Vec::new();
    while !line(at).is_empty() {
        trailers.extend([line(at), b"\r\n"].concat());
        at += line(at).len() + 2;
    }
    (data, trailers, coded[at + 2..].to_vec())
}

/// A head and what stands behind it.
pub(super) fn parted(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends") + 4;
    (message[..end].to_vec(), message[end..].to_vec())
}

/// Field lines that take `length` bytes in all.
pub(super) fn padding(length: usize) -> String {
    let mut lines = String::new();
    while lines.len() < length {
        let left = length - lines.len();
        let line = if left > 900 { 500 } else { left };
        lines.extend(["X-P: ", &"p".repeat(line - 7), "\r\n"]);
    }
    lines
}

impl Answered {
    /// The delivered bytes as text, for heads.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.delivered).into_owned()
    }
}
