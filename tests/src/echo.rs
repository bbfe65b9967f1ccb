//! The echo upstream, and what every request that reaches an upstream must look like.

use std::io::{self, Write};

use crate::message::Request;
use crate::random::Random;
use crate::stream::Stream;
use crate::upstream::{Next, Place, Upstream};

/// An upstream that gives each body back. The target chooses how: `/length`, `/chunked`,
/// `/close` (the end of the connection ends the body).
pub fn echo() -> Upstream {
    Upstream::http(answer)
}

/// As [`echo`] at an address.
pub fn echo_at(address: &str) -> Upstream {
    Upstream::http_at(address, answer)
}

/// The script of [`echo`].
///
/// # Errors
/// What writing says.
pub fn answer(request: &Request, place: Place, stream: &mut Stream) -> io::Result<Next> {
    let mut random = Random::new(place.number as u64 + 1000);
    let body = &request.body;
    let (framing, next) = match request.target() {
        "/chunked" => ("Transfer-Encoding: chunked".to_owned(), Next::Keep),
        "/close" => ("Connection: close".to_owned(), Next::Close),
        _ => (format!("Content-Length: {}", body.len()), Next::Keep),
    };
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").into_bytes();
    if request.target() == "/chunked" {
        let pieces = 1 + random.below(9);
        for piece in random.cut(body, pieces) {
            bytes.extend(format!("{:X};ext=1\r\n", piece.len()).into_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(body);
    }
    for piece in random.cut(&bytes, 4) {
        stream.write_all(piece)?;
    }
    Ok(next)
}

/// What is wrong with a request that reached an upstream: nothing may be (law 4). `beyond` are
/// bytes that came behind it, before it was answered. A request may come in chunks instead of with
/// its length if `streams` says so.
pub fn faults(request: &Request, beyond: &[u8], streams: bool) -> Vec<String> {
    let head = &request.head;
    let mut found = Vec::new();
    let in_chunks = streams && head.all("transfer-encoding") == ["chunked"];
    if !in_chunks && !head.all("transfer-encoding").is_empty() {
        found.push("`transfer-encoding` reached the upstream".to_owned());
    }
    for hop in ["te", "trailer", "keep-alive", "proxy-connection"] {
        if !head.all(hop).is_empty() {
            found.push(format!("`{hop}` reached the upstream"));
        }
    }
    let connection = head.all("connection");
    let upgrades = connection == ["upgrade"];
    if connection.iter().any(|value| !["close", "keep-alive"].contains(value)) && !upgrades {
        found.push(format!("`Connection: {connection:?}` reached the upstream"));
    }
    // Another version of HTTP, or TLS, would hide requests.
    let hidden = |protocol: &str| ["h2", "http", "tls"].iter().any(|it| protocol.starts_with(it));
    match head.all("upgrade")[..] {
        [] if !upgrades => {}
        [one] if upgrades && !one.contains(',') && !hidden(&one.to_lowercase()) => {}
        ref others => found.push(format!("`Upgrade: {others:?}` reached the upstream")),
    }
    if head.all("host").len() != 1 {
        found.push(format!("{} Host fields", head.all("host").len()));
    }
    let lengths = head.all("content-length");
    let exact = lengths.iter().all(|length| *length == request.body.len().to_string());
    let framed = match lengths.len() {
        0 => in_chunks || request.body.is_empty(),
        many => many == 1 && exact && !in_chunks,
    };
    if !framed {
        found.push(format!("lengths {lengths:?} for {} bytes", request.body.len()));
    }
    if !head.start.ends_with(" HTTP/1.1") || head.start.matches(' ').count() != 2 {
        found.push(format!("request line {:?}", head.start));
    }
    if !beyond.is_empty() {
        found.push(format!("{} bytes beyond the request", beyond.len()));
    }
    found.into_iter().map(|fault| format!("{fault} in {:?}", head.start)).collect()
}
