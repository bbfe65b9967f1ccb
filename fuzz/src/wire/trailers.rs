//! Trailer sections: which lines pass.

use wire::http1::{ChunkReader, Keep, Writer, write_trailers};

/// Fields that would change what a message means if somebody merged them into its head.
const NEVER: [&str; 18] = [
    "transfer-encoding",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "host",
    "connection",
    "trailer",
    "te",
    "upgrade",
    "authorization",
    "set-cookie",
    "cache-control",
    "location",
    "forwarded",
    "x-forwarded-for",
    "proxy-authenticate",
    "proxy-authorization",
];

/// The bytes are a trailer section that the reader of chunks passes: its lines pass whole and in
/// order or not at all.
pub fn check(bytes: &[u8]) {
    let mut body = [b"0\r\n", bytes].concat();
    let mut reader = ChunkReader::new(Keep::Framed);
    let Ok(advance) = reader.advance(&mut body) else { return };
    if !advance.done {
        return;
    }
    let section = &body[3..advance.kept];
    let mut room = vec![0; section.len()];
    let mut writer = Writer::new(&mut room);
    let Ok(dropped) = write_trailers(&mut writer, section) else { panic!("no room") };
    let passed = writer.written();
    let end = b"\r\n".len();
    assert_eq!(passed.len() + dropped as usize + end, section.len());
    let mut kept = passed.split_inclusive(|byte| *byte == b'\n').peekable();
    for line in section.split_inclusive(|byte| *byte == b'\n') {
        if kept.peek() == Some(&line) {
            kept.next();
        }
    }
    assert_eq!(kept.next(), None, "a line that was not there, or in another order");
    for line in passed.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
        assert!(!NEVER.contains(&&*name), "{name} passes");
    }
    let mut room = vec![0; passed.len()];
    let mut writer = Writer::new(&mut room);
    assert_eq!(write_trailers(&mut writer, passed), Ok(0), "what passed does not pass again");
}
