//! The server's side of what does not end with an answer: tunnels and event streams.
//!
//! - `/tunnel/echo`: says what it hears until the client ends, then ends;
//! - `/tunnel/leave/N`: ends after so many bytes, and hears the client out;
//! - `/tunnel/break/N`: breaks off after so many;
//! - `/tunnel/flood/N/SEED`: says so many bytes, whatever it hears, and ends;
//! - `/events/N/SEED/MILLIS/END`: so many events with such pauses, and then it is `done`, or
//!   `leaves` in the middle, or stays `silent` until the client goes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use blackbox::message::Request;
use blackbox::random::Random;
use blackbox::stream::Stream;

use crate::server::bytes;

/// Whether this is for us.
pub(crate) fn is_endless(target: &str) -> bool {
    target.starts_with("/tunnel/") || target.starts_with("/events/")
}

/// The events of such a stream.
pub(crate) fn events_of(target: &str) -> Vec<String> {
    let mut parts = target.split('/').skip(2);
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
    let (count, seed) = (number(), number());
    let mut random = Random::new(seed);
    (0..count)
        .map(|event| {
            let length = random.length(3000);
            format!("id: {event}\ndata: {seed} {}\n\n", "e".repeat(length))
        })
        .collect()
}

/// How the server parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// In order: its words have arrived.
    End,
    /// With a reset.
    Reset,
}

/// Serves it; `moved` says whether all connections are to be reset by now.
pub(crate) fn serve(
    request: &Request,
    stream: &mut Stream,
    moved: impl Fn() -> bool,
) -> io::Result<Parting> {
    let target = request.target();
    let head = |rest: &str| {
        let mark = request.head.get("x-mark").unwrap_or_default();
        let whom = request.head.get("x-forwarded-for").unwrap_or_default();
        format!("HTTP/1.1 {rest}\r\nX-Mark: {mark}\r\nX-Whom: {whom}\r\n\r\n")
    };
    if target.starts_with("/events/") {
        let head = head("200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked");
        stream.write_all(head.as_bytes())?;
        return tell(target, stream, moved);
    }
    let head = head("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: soak");
    stream.write_all(head.as_bytes())?;
    let mut parts = target.split('/').skip(2);
    let manner = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let length = number().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    if manner == "flood" {
        let all = bytes(length, number().unwrap_or(0));
        for piece in all.chunks(50_000) {
            if moved() {
                return Ok(Parting::Reset);
            }
            stream.write_all(piece)?;
        }
    } else if echo(length, stream, moved)? || manner == "break" {
        return Ok(Parting::Reset);
    }
    stream.shutdown(Shutdown::Write);
    io::copy(stream, &mut io::sink())?;
    Ok(Parting::End)
}

/// Says what it hears, `most` bytes of it; whether it has to break off.
fn echo(most: usize, stream: &mut Stream, moved: impl Fn() -> bool) -> io::Result<bool> {
    let mut left = most;
    let mut piece = [0; 8192];
    while left > 0 {
        let heard = stream.read(&mut piece)?;
        if moved() {
            return Ok(true);
        }
        if heard == 0 {
            break;
        }
        let said = heard.min(left);
        stream.write_all(&piece[..said])?;
        left -= said;
    }
    Ok(false)
}

/// Tells events.
fn tell(target: &str, stream: &mut Stream, moved: impl Fn() -> bool) -> io::Result<Parting> {
    let mut last = target.split('/').skip(4);
    let pause = last.next().and_then(|pause| pause.parse().ok()).unwrap_or(0);
    for event in events_of(target) {
        if moved() {
            return Ok(Parting::Reset);
        }
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        std::thread::sleep(Duration::from_millis(pause));
    }
    match last.next() {
        Some("done") => stream.write_all(b"0\r\n\r\n")?,
        Some("silent") => {
            io::copy(stream, &mut io::sink())?;
        }
        _ => {}
    }
    Ok(Parting::End)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// What the server says to this in a tunnel, and how it parts.
    fn hears(target: &str, words: &[u8]) -> (Vec<u8>, Parting) {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, mut far) = (Stream::Unix(near), Stream::Unix(far));
        near.write_all(words).unwrap();
        near.shutdown(Shutdown::Write);
        let head =
            blackbox::message::Head { start: format!("GET {target} HTTP/1.1"), fields: vec![] };
        let request = Request { head, raw_head: vec![], body: vec![] };
        let parting = serve(&request, &mut far, || false).unwrap();
        drop(far);
        let mut heard = Vec::new();
        let _ = near.read_to_end(&mut heard);
        let head = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (heard.split_off(head + 4), parting)
    }

    #[test]
    fn a_server_does_as_its_target_says() {
        let word = |word: &str, parting| (word.as_bytes().to_vec(), parting);
        assert_eq!(hears("/tunnel/echo", b"hello"), word("hello", Parting::End));
        assert_eq!(hears("/tunnel/leave/3", b"hello"), word("hel", Parting::End));
        assert_eq!(hears("/tunnel/break/3", b"hello"), word("hel", Parting::Reset));
        assert_eq!(hears("/tunnel/flood/9/7", b"hello"), (bytes(9, 7), Parting::End));
        let all = events_of("/events/3/5/0/done");
        assert!(all.len() == 3 && all == events_of("/events/3/5/9/leaves"));
        let told = |end: &str| {
            let (told, _) = hears(&format!("/events/3/5/0/{end}"), b"");
            (told.ends_with(b"0\r\n\r\n"), told.len())
        };
        let (whole, cut) = (told("done"), told("leaves"));
        assert!(whole.0 && !cut.0 && whole.1 == cut.1 + 5 && cut == told("silent"));
    }
}
