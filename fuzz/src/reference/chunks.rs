//! A chunked body, whole.

use wire::http1::{CHUNK_EXTENSION_MAX, EXTENSIONS_MAX, TRAILER_MAX};

/// A chunked body that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// The data of all chunks.
    pub data: Vec<u8>,
    /// The lines of the trailer section, without the empty one.
    pub trailers: Vec<u8>,
    /// Bytes of the body as it came.
    pub length: usize,
}

/// Reads a chunked body from the front of `bytes`: `Ok(None)` if it has not ended there.
///
/// # Errors
/// When it is none, whatever may follow.
pub fn chunked(bytes: &[u8]) -> Result<Option<Chunked>, &'static str> {
    let mut body = Chunked { data: Vec::new(), trailers: Vec::new(), length: 0 };
    let mut extensions = 0;
    loop {
        let Some(line) = line(&bytes[body.length..])? else { return Ok(None) };
        body.length += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        extensions += extension(&line[digits..])?;
        if extensions > EXTENSIONS_MAX as usize {
            return Err("too many extensions");
        }
        let size = size(&line[..digits])?;
        if size == 0 {
            break;
        }
        if (body.data.len() as u64).checked_add(size).is_none() {
            return Err("too large");
        }
        let rest = &bytes[body.length..];
        let Some((data, rest)) = usize::try_from(size).ok().and_then(|n| rest.split_at_checked(n))
        else {
            return Ok(None);
        };
        match rest {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return Err("data goes on"),
        }
        body.data.extend_from_slice(data);
        body.length += data.len() + 2;
    }
    loop {
        let Some(line) = line(&bytes[body.length..])? else { return Ok(None) };
        body.length += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(body));
        }
        super::head(&[b"a b c\r\n", line, b"\r\n\r\n"].concat()).ok_or("a trailer is no field")?;
        body.trailers.extend_from_slice(line);
        body.trailers.extend_from_slice(b"\r\n");
        if body.trailers.len() > TRAILER_MAX as usize {
            return Err("too many trailers");
        }
    }
}

/// The bytes before the first CRLF; `None` if there is none yet.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Ok(None);
    };
    match &bytes[end..] {
        [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
        [b'\r'] => Ok(None),
        _ => Err("a line ends without CRLF"),
    }
}

fn size(digits: &[u8]) -> Result<u64, &'static str> {
    if !(1..=16).contains(&digits.len()) {
        return Err("no size");
    }
    let text = str::from_utf8(digits).map_err(|_| "no size")?;
    u64::from_str_radix(text, 16).map_err(|_| "no size")
}

/// How many bytes of extensions there are: names and values between semicolons, a value perhaps
/// in quotes, and spaces around them.
fn extension(text: &[u8]) -> Result<usize, &'static str> {
    if text.len() > usize::from(CHUNK_EXTENSION_MAX) {
        return Err("a long extension");
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let mut rest = match start.map(|at| &text[at..]) {
        Some([b';', rest @ ..]) => rest,
        None if text.is_empty() => return Ok(0),
        _ => return Err("no extension"),
    };
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'"' => quoted(after).ok_or("quotes that do not end")?,
            b';' | b'=' | b' ' | b'\t' => after,
            _ if byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte) => after,
            _ => return Err("no extension"),
        };
    }
    Ok(text.len())
}

/// What stands behind a quoted string.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    match text {
        [b'"', rest @ ..] => Some(rest),
        [b'\\', escaped, rest @ ..] if is_text(escaped) => quoted(rest),
        [byte, rest @ ..] if is_text(byte) && *byte != b'\\' => quoted(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read() {
        let body = chunked(b"3;a=\"\\\"b\"\r\nabc\r\n00\r\nT: u\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(
            (&body.data[..], &body.trailers[..], body.length),
            (&b"abc"[..], &b"T: u\r\n"[..], 28)
        );
        for partial in ["", "3", "3\r", "3\r\nab", "3\r\nabc\r", "0\r\n", "0\r\nT: u\r\n\r"] {
            assert_eq!(chunked(partial.as_bytes()), Ok(None), "{partial:?}");
        }
        for wrong in [
            "x\r\n",
            "\r\n",
            "3\n",
            "3\r\nabcd\r\n",
            "0\r\n\n",
            "0\r\nT\r\n",
            "1 a\r\n",
            "1;\"a\r\n",
        ] {
            assert!(chunked(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
