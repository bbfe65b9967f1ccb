//! What the access log is told of a request's head.

use exchange::{Exchange, Note, State};
use pool::Pool;
use wire::http1::{RequestHead, Version};

/// Notes a head that was read, and who its client is, as far as that is known. Fields that carry secrets are none of the log's business.
pub(super) fn note_head(head: &RequestHead<'_>, user: &[u8], note: &mut Note<'_>) {
    let [root, rest] = head.target.parts();
    let field = |name| head.fields.named(name).unwrap_or_default();
    note.write(
        Some(head.version),
        [
            [head.method.as_str().as_bytes(), b""],
            [root.as_bytes(), rest.as_bytes()],
            [head.host.unwrap_or_default().as_bytes(), b""],
            [field("user-agent"), b""],
            [field("referer"), b""],
            [user, b""],
        ],
    );
}

/// Notes what can be told of a head that could not be read or has not ended: method and target,
/// if its first line begins like a request line. Anything else may be the stray body of a
/// request before, and none of the log's business.
pub(super) fn note_line(exchange: &Exchange, pool: &Pool, note: &mut Note<'_>) {
    let State::Arriving { input, scanner, .. } = &exchange.state else { return };
    if !note.is_empty() {
        return;
    }
    let first = pool.first(input);
    let line = first.get(scanner.skipped() as usize..).unwrap_or_default();
    let line = line.split(u8::is_ascii_control).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let plain = (1..=16).contains(&method.len()) && method.iter().all(u8::is_ascii_uppercase);
    if plain && !target.is_empty() {
        let version = match words.next() {
            Some(b"HTTP/1.0") => Some(Version::V10),
            Some(b"HTTP/1.1") => Some(Version::V11),
            _ => None,
        };
        note.write(version, [[method, b""], [target, b""], [b""; 2], [b""; 2], [b""; 2], [b""; 2]]);
    }
}
