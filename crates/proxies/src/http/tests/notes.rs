//! What the access log is told of a head, whole, malformed or never finished.

use std::format;
use std::string::String;
use std::vec::Vec;

use exchange::{Piece, Proxy, Refusal};
use pool::{Chain, Rank};
use wire::http1::Version;

use super::super::Http;
use super::desk::{Came, Desk};
use super::source::Source;

/// What stands noted.
fn noted(desk: &Desk) -> (Option<Version>, Vec<String>) {
    let (space, pieces) = &desk.noted;
    let text = |piece| String::from_utf8_lossy(pieces.get(piece, space)).into_owned();
    (pieces.version(), Piece::ALL.map(text).to_vec())
}

/// What is noted of these bytes, the request ended by a refusal of ours if it is not complete.
fn note_of(sent: &[u8]) -> (Option<Version>, Vec<String>) {
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    let refusal = match desk.take_request(&mut exchange, &mut Source::whole(sent)) {
        Came::Refused(refusal, _) => Some(refusal),
        Came::Hungry => Some(Refusal::Slow),
        _ => None,
    };
    if let Some(refusal) = refusal {
        assert!(Http.refuse(&mut exchange, refusal, None, &mut desk.room(Rank::Send)));
    }
    let found = noted(&desk);
    desk.end(exchange);
    found
}

#[test]
fn a_head_that_was_read_is_noted_without_its_secrets() {
    let (version, pieces) = note_of(
        b"GET http://example.org?q=1 HTTP/1.1\r\nHost: other\r\nuser-agent: curl/8\r\n\
          Authorization: Basic c2VjcmV0\r\nCookie: secret=1\r\nREFERER: http://a/b\r\n\r\n",
    );
    assert_eq!(version, Some(Version::V11));
    assert_eq!(pieces, ["GET", "/?q=1", "example.org", "curl/8", "http://a/b", ""]);
}

#[test]
fn a_head_that_is_refused_after_it_was_read_is_noted_whole() {
    let (version, pieces) =
        note_of(b"POST /up HTTP/1.0\r\nHost: h\r\nContent-Length: 9999999999999\r\n\r\n");
    assert_eq!(
        (version, pieces[0].as_str(), pieces[2].as_str()),
        (Some(Version::V10), "POST", "h")
    );
    let (_, pieces) = note_of(b"GET https://h/x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(pieces[..3], ["GET", "/x", "h"]);
}

#[test]
fn of_a_malformed_or_unfinished_head_the_first_line_is_noted() {
    for (sent, version, method, target) in [
        (&b"GET /a HTTP/1.1\r\nHost : h\r\n\r\n"[..], Some(Version::V11), "GET", "/a"),
        (b"\r\n\r\nGET /late HTTP/1.0\r\nHo", Some(Version::V10), "GET", "/late"),
        (b"GET /a\x01b HTTP/1.1\r\n\r\n", None, "GET", "/a"),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", Some(Version::V11), "CONNECT", "h:443"),
        (b"GET / HTTP/2.0\r\n\r\n", None, "GET", "/"),
    ] {
        let expected = [method, target, "", "", "", ""].map(String::from).to_vec();
        assert_eq!(note_of(sent), (version, expected), "{}", sent.escape_ascii());
    }
}

#[test]
fn what_is_no_request_line_is_not_noted() {
    let bodies: [&[u8]; 5] = [
        b"password=hunter2&user=me\r\n\r\n",
        b"Authorization: Basic c2VjcmV0\r\n\r\n",
        b"secret words of somebody\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
    ];
    for sent in bodies {
        assert_eq!(note_of(sent), (None, std::vec![String::new(); 6]), "{}", sent.escape_ascii());
    }
}

#[test]
fn a_long_target_is_cut_and_the_rest_keeps_its_share() {
    let long = "x".repeat(4000);
    let (_, pieces) =
        note_of(format!("GET /{long} HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n").as_bytes());
    assert_eq!((pieces[0].as_str(), pieces[3].as_str()), ("GET", "u"));
    assert!(pieces[1].len() > 400 && pieces[1].len() < 512, "{}", pieces[1].len());
}
