//! Whole messages.

use super::chunks::chunked;
use super::head::{Head, head, list, switches, upgrade};

/// What the front of some bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// A message of so many bytes.
    Whole(T, usize),
    /// The beginning of one, as far as can be seen.
    Partial,
    /// None.
    Bad,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As it was spelled.
    pub method: Vec<u8>,
    /// In origin-form, or `*`.
    pub target: Vec<u8>,
    /// The host it is for, if it names one.
    pub host: Option<Vec<u8>>,
    /// `X-Forwarded-For`, if it stands there once.
    pub forwarded_for: Option<Vec<u8>>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the connection ends with it, as far as the client is asked.
    pub last: bool,
    /// The protocol that it asks to go on with.
    pub upgrade: Option<Vec<u8>>,
}

/// A response, interim ones before it left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The final status.
    pub status: u16,
    /// How many interim responses stood before it.
    pub interim: usize,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// `Content-Type`, if it stands there once.
    pub content_type: Option<Vec<u8>>,
    /// What says to whom it belongs (`X-Echo`), if it stands there once.
    pub echo: Option<Vec<u8>>,
    /// Whether the connection ends with it.
    pub last: bool,
}

/// Where a body ends.
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// The head at the front of the bytes, its empty line included.
fn front(bytes: &[u8]) -> Option<(Head<'_>, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    head(&bytes[..end]).map(|head| (head, end))
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Reads one request. Empty lines before it are skipped.
pub fn request(bytes: &[u8]) -> Reading<Request> {
    let mut skipped = 0;
    while bytes[skipped..].starts_with(b"\r\n") {
        skipped += 2;
    }
    if !has_end(&bytes[skipped..]) {
        return Reading::Partial;
    }
    let Some((head, head_length)) = front(&bytes[skipped..]) else { return Reading::Bad };
    let [method, target, version] = head.line;
    if !is_version(version) {
        return Reading::Bad;
    }
    let Some((target, authority)) = target_of(method, target) else { return Reading::Bad };
    let framing = match told(&head) {
        Some(Framing::UntilClose) => Framing::None,
        Some(framing) => framing,
        None => return Reading::Bad,
    };
    let start = skipped + head_length;
    let (body, length) = match body(&bytes[start..], &framing, false) {
        Reading::Whole(body, length) => (body, length),
        Reading::Partial => return Reading::Partial,
        Reading::Bad => return Reading::Bad,
    };
    let host = authority.or(head.only("host").map(<[u8]>::to_vec));
    let keeps = match version {
        b"HTTP/1.0" => head.lists("connection", "keep-alive") && !head.lists("connection", "close"),
        _ => !head.lists("connection", "close"),
    };
    let request = Request {
        method: method.to_vec(),
        target,
        host,
        forwarded_for: head.only("x-forwarded-for").map(<[u8]>::to_vec),
        body,
        last: !keeps,
        upgrade: upgrade(&head, version).map(<[u8]>::to_vec),
    };
    Reading::Whole(request, start + length)
}

/// All requests from the front of the bytes on, as far as they are whole.
pub fn requests(bytes: &[u8]) -> Vec<Request> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Reading::Whole(request, length) = request(rest) {
        rest = &rest[length..];
        let last = request.last;
        all.push(request);
        if last {
            break;
        }
    }
    all
}

/// Reads one response to a request that was HEAD or not; `ended`: nothing follows the bytes.
pub fn response(bytes: &[u8], to_head: bool, ended: bool) -> Reading<Response> {
    let mut start = 0;
    let mut interim = 0;
    loop {
        let rest = &bytes[start..];
        if !has_end(rest) {
            return Reading::Partial;
        }
        let Some((head, head_length)) = front(rest) else { return Reading::Bad };
        let Some(status) = status_of(&head) else { return Reading::Bad };
        start += head_length;
        if (100..200).contains(&status) {
            interim += 1;
            continue;
        }
        let framing = match told(&head) {
            None => return Reading::Bad,
            Some(_) if to_head || matches!(status, 204 | 304) => Framing::None,
            Some(framing) => framing,
        };
        let until_close = matches!(framing, Framing::UntilClose);
        return match body(&bytes[start..], &framing, ended) {
            Reading::Whole(body, length) => {
                let response = Response {
                    status,
                    interim,
                    body,
                    content_type: head.only("content-type").map(<[u8]>::to_vec),
                    echo: head.only("x-echo").map(<[u8]>::to_vec),
                    last: until_close || head.lists("connection", "close"),
                };
                Reading::Whole(response, start + length)
            }
            Reading::Partial => Reading::Partial,
            Reading::Bad => Reading::Bad,
        };
    }
}

/// Where the head of a 101 begins by which a server switches to a protocol, and where what stands
/// behind it does: other interim responses may stand before it.
pub fn switch(bytes: &[u8], asked: &[u8]) -> Option<[usize; 2]> {
    let mut start = 0;
    loop {
        let (head, length) = front(&bytes[start..])?;
        match status_of(&head)? {
            101 if switches(&head, head.line[0], asked) => return Some([start, start + length]),
            100 | 102..200 => start += length,
            _ => return None,
        }
    }
}

fn status_of(head: &Head<'_>) -> Option<u16> {
    let [version, digits, _] = head.line;
    let number = str::from_utf8(digits).ok().filter(|text| text.len() == 3)?;
    number.parse().ok().filter(|status| is_version(version) && *status >= 100)
}

fn is_version(text: &[u8]) -> bool {
    matches!(text, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

/// What the fields say of the body's end; `None` where readers might differ.
fn told(head: &Head<'_>) -> Option<Framing> {
    let codings: Vec<&[u8]> = head.all("transfer-encoding").flat_map(list).collect();
    let lengths: Vec<&[u8]> = head.all("content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Some(Framing::UntilClose),
        ([], [length]) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = str::from_utf8(length).ok().filter(|_| digits)?;
            // Beyond what can be held it is never whole.
            let length = text.parse::<u64>().ok()?;
            Some(Framing::Length(usize::try_from(length).unwrap_or(usize::MAX)))
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

fn body(bytes: &[u8], framing: &Framing, ended: bool) -> Reading<Vec<u8>> {
    match framing {
        Framing::None => Reading::Whole(Vec::new(), 0),
        Framing::UntilClose if ended => Reading::Whole(bytes.to_vec(), bytes.len()),
        Framing::UntilClose => Reading::Partial,
        Framing::Length(length) => match bytes.get(..*length) {
            Some(body) => Reading::Whole(body.to_vec(), *length),
            None => Reading::Partial,
        },
        Framing::Chunked => match chunked(bytes) {
            Ok(Some(body)) => Reading::Whole(body.data, body.length),
            Ok(None) => Reading::Partial,
            Err(_) => Reading::Bad,
        },
    }
}

/// A target in origin-form, and the authority if it had one.
fn target_of(method: &[u8], target: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    if target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS") {
        return Some((target.to_vec(), None));
    }
    let colon = target.iter().position(|byte| *byte == b':')?;
    let scheme = &target[..colon];
    let known = [&b"http"[..], b"https"].iter().any(|one| scheme.eq_ignore_ascii_case(one));
    let rest = target[colon..].strip_prefix(b"://").filter(|_| known)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let origin = match path {
        [b'/', ..] => path.to_vec(),
        [] if method == b"OPTIONS" => b"*".to_vec(),
        _ => [b"/", path].concat(),
    };
    Some((origin, Some(authority.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_behind_the_other() {
        let bytes = b"\r\nPOST http://h?q HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab\
            PUT /b HTTP/1.1\r\nHost: y\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n\
            GET / HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
        let all = requests(bytes);
        let seen: Vec<(&[u8], &[u8])> =
            all.iter().map(|it| (&it.target[..], &it.body[..])).collect();
        assert_eq!(seen, [(&b"/?q"[..], &b"ab"[..]), (b"/b", b"c"), (b"/", b"")]);
        assert_eq!(all[0].host.as_deref(), Some(&b"h"[..]));
        assert!(all[2].last);
    }

    #[test]
    fn what_others_might_read_in_another_way_is_not_read() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: +1",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip",
            "A: b\n c",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\nabc");
            assert_eq!(request(bytes.as_bytes()), Reading::Bad, "{fields}");
        }
    }

    #[test]
    fn responses_are_read() {
        let bytes = b"HTTP/1.1 100 \r\n\r\nHTTP/1.0 200\r\nContent-Length: 2\r\n\r\nabc";
        let Reading::Whole(read, length) = response(bytes, false, false) else { panic!() };
        assert_eq!((read.status, read.interim, &read.body[..], length), (200, 1, &b"ab"[..], 54));
        let open = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(response(open, false, false), Reading::Partial);
        let Reading::Whole(read, _) = response(open, false, true) else { panic!() };
        assert!(read.last && read.body == b"abc");
        assert!(matches!(response(open, true, false), Reading::Whole(_, 19)));
        assert_eq!(response(b"HTTP/1.1 20x OK\r\n\r\n", false, false), Reading::Bad);
    }
}
