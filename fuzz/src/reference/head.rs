//! A head as lines.

/// A head: its first line, and names and values in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'h> {
    /// The first line in its parts: at single spaces, three at most.
    pub line: [&'h [u8]; 3],
    /// Names as they were spelled, values without the white space around them.
    pub fields: Vec<(&'h [u8], &'h [u8])>,
}

impl<'h> Head<'h> {
    /// The values of all fields of a name.
    pub fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + 'n {
        let named = move |field: &&(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| field.1)
    }

    /// The value of a field that stands there once.
    pub fn only(&self, name: &str) -> Option<&'h [u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a field of that name lists this word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(list).any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Reads a head: lines that end in CRLF, the last of them empty, and no other CR or LF.
pub fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let text = bytes.strip_suffix(b"\r\n\r\n")?;
    let mut lines = split(text, b"\r\n").into_iter();
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let line = [words.next()?, words.next()?, words.next().unwrap_or_default()];
    let fields: Option<Vec<_>> = lines.map(field).collect();
    let whole = Head { line, fields: fields? };
    let stray = line.iter().any(|word| word.iter().any(|byte| b"\r\n\0".contains(byte)));
    (!stray).then_some(whole)
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    let named = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let told = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    (named && told).then_some((name, value))
}

/// The protocol that a request of this version asks to go on with, if a proxy may pass that on: the
/// first that is none which would hide from it what it is there to see (RFC 9110 §7.8).
pub fn upgrade<'h>(head: &Head<'h>, version: &[u8]) -> Option<&'h [u8]> {
    if version == b"HTTP/1.0" || !head.lists("connection", "upgrade") {
        return None;
    }
    let may_be = |name: &&[u8]| {
        let text = str::from_utf8(name).unwrap_or_default().to_ascii_lowercase();
        let (protocol, version) = text.split_once('/').unwrap_or((&text, "none"));
        let named = |word: &str| !word.is_empty() && word.bytes().all(is_token);
        let hides = ["h2c", "h2", "h3", "http", "https", "tls"].contains(&protocol);
        named(protocol) && named(version) && name.len() < 32 && !hides
    };
    head.all("upgrade").flat_map(list).find(may_be)
}

/// Whether a 101 of this version says that the server goes on with that protocol, and with no other.
pub fn switches(head: &Head<'_>, version: &[u8], asked: &[u8]) -> bool {
    let named: Vec<&[u8]> =
        head.all("upgrade").flat_map(list).filter(|name| !name.is_empty()).collect();
    version != b"HTTP/1.0" && matches!(named[..], [one] if one.eq_ignore_ascii_case(asked))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What stands between the commas of a list.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Without spaces and tabs around it.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(is_text).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_text).map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// The parts of `text` between the places where `by` stands.
fn split<'t>(text: &'t [u8], by: &[u8]) -> Vec<&'t [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(by.len()).position(|window| window == by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}
