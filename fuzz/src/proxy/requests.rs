//! What a client sends, request after request: what the server sees does not depend on cuts or
//! shortages, and is what a second reader reads in the client's bytes.

use pool::Chain;

use super::desk::{Came, Circumstances, Desk};
use super::peer::Source;
use crate::reference::{self, Reading, Request};

/// The requests that the server saw, and how the connection ended.
#[derive(Debug)]
struct Seen {
    requests: Vec<Vec<u8>>,
    /// Which of those in the client's bytes they were: others were answered by us.
    places: Vec<usize>,
    end: Came,
}

/// The first bytes say under which circumstances the others arrive.
pub fn check(bytes: &[u8]) {
    let Some((circumstances, bytes)) = Circumstances::read(bytes) else { return };
    let whole = run(circumstances.roomy(), &mut Source::whole(bytes));
    agrees(&whole, bytes, circumstances.upgrade);
    for mut source in Source::ways(bytes) {
        let cut = run(circumstances, &mut source);
        if cut.end == Came::NoRoom {
            assert!(whole.requests.starts_with(&cut.requests), "a short pool changes requests");
            continue;
        }
        assert!(cut.requests == whole.requests, "the cuts decide what the server sees");
        match (cut.end, whole.end) {
            // Which of two bounds is met first may depend on the cuts, not that one is.
            (Came::Refused(..), Came::Refused(..)) if circumstances.bounded => {}
            (Came::Hungry, Came::Refused(..)) | (Came::Refused(..), Came::Hungry) => {
                panic!("the cuts decide: {:?}, {:?}", cut.end, whole.end)
            }
            (cut, whole) => assert_eq!(cut, whole),
        }
    }
}

fn run(circumstances: Circumstances, source: &mut Source<'_>) -> Seen {
    let mut desk = Desk::new(circumstances);
    let mut rest = Chain::new();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    let mut end = Came::Hungry;
    for place in 0.. {
        if rest.is_empty() && source.is_dry() {
            break;
        }
        let mut exchange = Desk::begin(rest);
        end = desk.take_request(&mut exchange, source);
        if end == Came::Complete {
            requests.push(without_id(desk.write(&mut exchange)));
            places.push(place);
        }
        let keeps = exchange.facts.persistent;
        rest = desk.end(exchange);
        if !matches!(end, Came::Complete | Came::Answered) || !keeps {
            break;
        }
    }
    desk.close(rest);
    Seen { requests, places, end }
}

/// IDs of ours are drawn when a head is read, which is done again when a buffer was missing.
fn without_id(request: Vec<u8>) -> Vec<u8> {
    const NAME: &[u8] = b"\r\nX-Request-ID: ";
    let Some(at) = request.windows(NAME.len()).position(|window| window == NAME) else {
        return request;
    };
    let (before, line) = request.split_at(at + 2);
    let end = line.iter().position(|byte| *byte == b'\n').map_or(line.len(), |end| end + 1);
    [before, &line[end..]].concat()
}

/// Each request that the server saw is the one that stood in its place.
fn agrees(seen: &Seen, bytes: &[u8], upgrade: bool) {
    let sent = reference::requests(bytes);
    for (request, &place) in seen.requests.iter().zip(&seen.places) {
        let text = request.escape_ascii();
        let Reading::Whole(read, length) = reference::request(request) else {
            panic!("the server sees no request: {text}")
        };
        assert_eq!(length, request.len(), "the server sees more than one request: {text}");
        assert!(!read.last, "our own connection does not end");
        let Some(meant) = sent.get(place) else {
            panic!("the server sees a request that nobody sent: {text}")
        };
        same(&read, meant);
        // The server is asked for what the client asked for, or for nothing.
        assert_eq!(read.upgrade, meant.upgrade.clone().filter(|_| upgrade), "{text}");
    }
}

fn same(seen: &Request, meant: &Request) {
    assert_eq!(
        (&seen.method, &seen.target, &seen.body),
        (&meant.method, &meant.target, &meant.body)
    );
    let host = meant.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(b"fallback");
    assert_eq!(seen.host.as_deref(), Some(host));
    assert_eq!(seen.forwarded_for.as_deref(), Some(&b"192.0.2.1"[..]), "the client's address");
}
