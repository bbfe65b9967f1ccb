//! The codecs: each part against a second reading by other means, in whatever pieces the bytes
//! come.

pub mod chunked;
pub mod client_hello;
pub mod fields;
pub mod page;
pub mod proxy_header;
pub mod request;
pub mod response;
pub mod target;
pub mod trailers;

use wire::http1::{Fault, HeadScanner, Limits, MAX_FIELDS};

use crate::cuts::ways;

/// The bounds that are checked while a head is parsed.
const LIMITS: Limits = Limits { target: 8 << 10, fields: 128 };

const _: () = assert!(LIMITS.fields as usize == MAX_FIELDS, "no other bound than the codec's own");

/// Where a head ends, and how much of it is empty lines, whatever the cuts.
fn scanned(scanner: HeadScanner, bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let [whole, others @ ..] = ways(bytes).map(|pieces| scan(scanner, &pieces));
    for other in others {
        assert_eq!(other, whole, "the cuts decide");
    }
    whole
}

fn scan(mut scanner: HeadScanner, pieces: &[&[u8]]) -> Result<Option<(usize, usize)>, Fault> {
    let mut before = 0;
    for piece in pieces {
        if let Some(end) = scanner.scan(piece)? {
            assert_eq!(scanner.scanned() as usize, before + end);
            assert_eq!(scanner.scan(b"more"), Ok(Some(0)), "it reads on");
            return Ok(Some((before + end, scanner.skipped() as usize)));
        }
        before += piece.len();
        assert_eq!(scanner.scanned() as usize, before, "not every byte was scanned");
    }
    Ok(None)
}
