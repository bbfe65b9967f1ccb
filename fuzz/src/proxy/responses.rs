//! What a server sends in answer: what the client gets does not depend on cuts or shortages, and
//! is what a second reader reads in the server's bytes.

use exchange::Responded;
use pool::Chain;

use super::desk::{Answer, Came, Circumstances, Desk};
use super::peer::Source;
use crate::reference::{self, Reading, Response};

/// What was asked.
const REQUESTS: [&[u8]; 5] = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\
        Upgrade: h2c, Chat/2, websocket\r\n\r\n\x81\x02GET / HTTP/1.1\r\n",
];
/// The last one asks to go on with a protocol, behind one with which we would see nothing more; and
/// something stands behind it already.
const UPGRADES: usize = 4;
const ASKED: &[u8] = b"Chat/2";
const BEHIND: &[u8] = b"\x81\x02GET / HTTP/1.1\r\n";

/// The first bytes say what was asked, and under which circumstances the others come.
pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let Some((circumstances, bytes)) = Circumstances::read(bytes) else { return };
    let asked = if choice & 8 == 8 { UPGRADES } else { usize::from(choice % 4) };
    let ends = choice & 4 == 4;
    let whole = run(circumstances.roomy(), asked, Source::whole(bytes), ends);
    assert!(whole.end != Some(Responded::Switched) || circumstances.upgrade, "it may not");
    agrees(&whole, asked, bytes, ends);
    for source in Source::ways(bytes) {
        let cut = run(circumstances, asked, source, ends);
        // Chunks of ours have the pieces' lengths, hints are left out when buffers are short, and
        // of what breaks off as much is delivered as came before.
        same(&cut, &whole, asked, circumstances);
    }
}

fn run(circumstances: Circumstances, asked: usize, mut source: Source<'_>, ends: bool) -> Answer {
    // What was asked has room always; the answer may not.
    let mut desk = Desk::new(circumstances);
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(REQUESTS[asked]));
    assert_eq!(came, Came::Complete);
    desk.write(&mut exchange);
    let answer = desk.answer(&mut exchange, &mut source, ends);
    let rest = desk.end(exchange);
    desk.close(rest);
    answer
}

/// What the client reads in what was delivered; the connection ends behind it unless it is kept.
fn read(answer: &Answer, asked: usize) -> Reading<Response> {
    let complete = matches!(answer.end, Some(Responded::Whole { .. }));
    reference::response(&answer.delivered, asked == 1, complete && !answer.keeps)
}

/// A response that is whole for us is whole for the client, with the body that the server meant.
fn agrees(answer: &Answer, asked: usize, bytes: &[u8], ends: bool) {
    if answer.end == Some(Responded::Switched) {
        return switched(answer, asked, bytes);
    }
    assert!(answer.up.is_empty());
    let Some(Responded::Whole { reusable }) = answer.end else {
        let part = read(answer, asked);
        assert!(!matches!(part, Reading::Whole(..)), "a part is whole for the client: {part:?}");
        return;
    };
    let text = answer.delivered.escape_ascii();
    let Reading::Whole(got, length) = read(answer, asked) else {
        panic!("whole for us, not for the client: {text}")
    };
    assert_eq!(length, answer.delivered.len(), "more than one response: {text}");
    let Reading::Whole(meant, meant_length) = reference::response(bytes, asked == 1, ends) else {
        panic!("whole for us only: {}", bytes.escape_ascii())
    };
    assert_eq!((got.status, &got.body), (meant.status, &meant.body), "{text}");
    assert_eq!(got.content_type, meant.content_type);
    assert_eq!(got.last, !answer.keeps, "{text}");
    assert!(!reusable || (meant_length == bytes.len() && !meant.last));
    assert!(asked != 2 || !delivers_chunks(answer), "chunks for HTTP/1.0");
    assert!(asked != 2 || got.interim == 0, "hints for HTTP/1.0");
}

/// Nothing is switched that was not asked for, or said: then both get all that the other said behind
/// its last message, and nothing else.
fn switched(answer: &Answer, asked: usize, bytes: &[u8]) {
    assert_eq!(asked, UPGRADES, "nobody asked");
    let meant = reference::switch(bytes, ASKED);
    let Some([_, meant]) = meant else { panic!("nobody switched: {}", bytes.escape_ascii()) };
    let text = answer.delivered.escape_ascii();
    let got = reference::switch(&answer.delivered, ASKED);
    let Some([start, end]) = got else { panic!("the client is not told: {text}") };
    assert_eq!(answer.delivered[end..], bytes[meant..], "what the server says");
    let head = reference::head(&answer.delivered[start..end]);
    assert!(head.is_some_and(|head| head.lists("connection", "upgrade")
        && head.only("upgrade") == Some(ASKED)
        && head.all("content-length").chain(head.all("transfer-encoding")).next().is_none()));
    assert_eq!(answer.up, BEHIND, "what the client says");
}

fn delivers_chunks(answer: &Answer) -> bool {
    let end = answer.delivered.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let Some(head) = reference::head(&answer.delivered[..(end + 4).min(answer.delivered.len())])
    else {
        return false;
    };
    head.all("transfer-encoding").count() > 0
}

/// The same answer, whatever the cuts.
fn same(cut: &Answer, whole: &Answer, asked: usize, circumstances: Circumstances) {
    let is_broken = |end| matches!(end, Some(Responded::Broken(_)));
    if circumstances.bounded && (is_broken(cut.end) || is_broken(whole.end)) {
        // Which fault is met first may depend on the cuts, not that one is.
        assert!(is_broken(cut.end) && is_broken(whole.end), "{:?}, {:?}", cut.end, whole.end);
        return;
    }
    match (cut.end, whole.end) {
        // What stands behind a response is seen if it comes with it.
        (Some(Responded::Whole { .. }), Some(Responded::Whole { .. })) => {}
        (cut, whole) => assert_eq!(cut, whole),
    }
    if whole.end == Some(Responded::Switched) {
        let [cut, whole] = [cut, whole].map(|one| {
            let place = reference::switch(&one.delivered, ASKED);
            let [start, _] = place.unwrap_or_else(|| panic!("the client is not told"));
            (one.delivered[start..].to_vec(), one.up.clone())
        });
        assert_eq!(cut, whole, "the cuts decide");
        return;
    }
    match (read(cut, asked), read(whole, asked)) {
        (Reading::Whole(mut cut, _), Reading::Whole(mut whole, _)) => {
            (cut.interim, whole.interim) = (0, 0);
            assert_eq!(cut, whole);
        }
        (Reading::Partial, Reading::Partial) | (Reading::Bad, Reading::Bad) => {}
        (cut, whole) => panic!("the cuts decide: {cut:?}, {whole:?}"),
    }
}
