//! Bytes as text: printable ASCII for itself, everything else escaped.
//!
//! `\r` `\n` `\t` `\v` `\f` `\0` `\\` `\xHH`; `\*3(ab)` for `ababab`; `\p` for a pause, which
//! divides the bytes into pieces.

/// The pieces that a text stands for: one more than it has pauses.
///
/// # Errors
/// What is wrong with it.
pub fn decode(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut pieces = vec![Vec::new()];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let open = pieces.last_mut().ok_or("no piece")?;
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            if !matches!(character, ' '..='~') {
                return Err(format!("{character:?} must be escaped"));
            }
            open.extend(character.to_string().bytes());
            continue;
        }
        if let Some(after) = rest.strip_prefix('p') {
            pieces.push(Vec::new());
            rest = after;
        } else {
            rest = escape(rest, open)?;
        }
    }
    Ok(pieces)
}

/// Bytes without pauses.
///
/// # Errors
/// What is wrong with the text.
pub fn plain(text: &str) -> Result<Vec<u8>, String> {
    let mut pieces = decode(text)?;
    match (pieces.pop(), pieces.is_empty()) {
        (Some(bytes), true) => Ok(bytes),
        _ => Err("a pause where none can be".to_owned()),
    }
}

/// Bytes as ISO 8859-1, which has a character for each.
pub fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// What stands behind a backslash; the rest of the text.
fn escape<'t>(text: &'t str, into: &mut Vec<u8>) -> Result<&'t str, String> {
    let wrong = || format!("no escape: \\{}", text.chars().take(4).collect::<String>());
    let kind = text.chars().next().ok_or_else(wrong)?;
    let after = &text[kind.len_utf8()..];
    let byte = match kind {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        'v' => 0x0b,
        'f' => 0x0c,
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let digits = after.get(..2).ok_or_else(wrong)?;
            into.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
            return Ok(&after[2..]);
        }
        '*' => return repeated(after, into).ok_or_else(wrong),
        _ => return Err(wrong()),
    };
    into.push(byte);
    Ok(after)
}

/// `3(ab)`, whose inside may hold escapes, but no parenthesis.
fn repeated<'t>(text: &'t str, into: &mut Vec<u8>) -> Option<&'t str> {
    let (count, rest) = text.split_once('(')?;
    let (inside, rest) = rest.split_once(')')?;
    let bytes = plain(inside).ok()?;
    into.extend(bytes.repeat(count.parse().ok()?));
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let bytes = plain(r"a \r\n\t\v\f\0\\\xfF\*3(x\xe9)z").unwrap();
        assert_eq!(bytes, b"a \r\n\t\x0b\x0c\0\\\xffx\xe9x\xe9x\xe9z");
        assert_eq!(decode(r"a\pb\p").unwrap(), [&b"a"[..], b"b", b""]);
        assert_eq!(latin(b"\xe9"), "\u{e9}");
    }

    #[test]
    fn what_is_none() {
        for text in [r"\q", r"\x4", r"\xgg", r"\*x(a)", r"\*2(a", "\u{e9}", "\\"] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(plain(r"a\pb").is_err());
    }
}
