//! The end of a response, found in the bytes received so far.

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// More must come.
    Incomplete,
    /// One whole response.
    Complete {
        /// Its status code.
        status: u16,
        /// Its length, head and body.
        length: usize,
        /// Whether the connection ends with it.
        closes: bool,
    },
    /// Not a response whose end this bench can tell: it needs a Content-Length.
    Broken,
}

/// Looks for a whole response at the beginning of `bytes`.
pub(crate) fn find(bytes: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let end = match head.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Answer::Incomplete,
        Err(_) => return Answer::Broken,
    };
    let field = |name: &str| {
        let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let Some(body) = field("content-length").and_then(|value| value.parse::<usize>().ok()) else {
        return Answer::Broken;
    };
    let length = end.saturating_add(body);
    if bytes.len() < length {
        return Answer::Incomplete;
    }
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Answer::Complete { status: head.code.unwrap_or_default(), length, closes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte_only() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nabc";
        for cut in 0..bytes.len() {
            assert_eq!(find(&bytes[..cut]), Answer::Incomplete, "{cut}");
        }
        let length = bytes.len();
        assert_eq!(find(bytes), Answer::Complete { status: 200, length, closes: true });
    }

    #[test]
    fn what_has_no_end_is_broken() {
        assert_eq!(find(b"HTTP/1.1 200 OK\r\n\r\nabc"), Answer::Broken);
        assert_eq!(find(b"nonsense\r\n\r\n"), Answer::Broken);
    }
}
