//! What the server sees of a request, however the client's bytes are cut.

use std::format;
use std::vec;
use std::vec::Vec;

use exchange::{Collected, Exchange, Refusal};
use pool::Chain;
use wire::http1::Fault;

use super::desk::{Came, Desk};
use super::samples::{bytes, canonical, chunked, padding};
use super::source::Source;

/// Reads requests one behind the other from `source`; what the server saw of each, and what
/// became of the last.
fn collect_all(desk: &mut Desk, source: &mut Source) -> (Vec<Vec<u8>>, Came) {
    let mut seen = Vec::new();
    let mut rest = Chain::new();
    loop {
        let mut exchange = Desk::begin(rest);
        let came = desk.take_request(&mut exchange, source);
        if came == Came::Complete {
            desk.begin_lease(&mut exchange, true);
            seen.push(desk.write_all(&mut exchange, 1000));
        }
        rest = exchange.rest.take();
        if came != Came::Complete || (rest.is_empty() && source.is_dry()) {
            desk.pool.release(rest);
            desk.end(exchange);
            return (seen, came);
        }
        let _ = exchange.give_up(&mut desk.pool);
    }
}

fn refusal_of(desk: &mut Desk, mut source: Source) -> Came {
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut source);
    desk.end(exchange);
    came
}

/// Every framing, with and without what surrounds it.
fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
    let body = bytes(300);
    let with = |head: &str, body: &[u8]| [head.as_bytes(), body].concat();
    vec![
        (with("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", b""), canonical("GET", "/a?b", "", None)),
        (
            with("\r\n\r\nGET http://h HTTP/1.1\r\nhost: x\r\nA:b\r\n\r\n", b""),
            canonical("GET", "/", "A: b\r\n", None),
        ),
        (
            with("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", b""),
            canonical("POST", "/", "", Some(b"")),
        ),
        (
            with(
                "PUT /x HTTP/1.1\r\nContent-Length: 300\r\nConnection: n\r\nN: 1\r\nHost: h\r\n\r\n",
                &body,
            ),
            canonical("PUT", "/x", "", Some(&body)),
        ),
        (
            with(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nT: 1\r\n\r\n",
                &chunked(&body, &[1, 7, 100], ";a=\"b;\\\"\"", "X: y\r\nContent-Length: 9\r\n"),
            ),
            canonical("POST", "/", "T: 1\r\n", Some(&body)),
        ),
        (
            with(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
                &chunked(b"", &[1], "", ""),
            ),
            canonical("POST", "/", "", Some(b"")),
        ),
    ]
}

#[test]
fn a_request_is_the_same_wherever_it_is_cut() {
    for (sent, expected) in samples() {
        for at in 0..=sent.len() {
            let (seen, came) = collect_all(&mut Desk::roomy(), &mut Source::cut(&sent, &[at]));
            assert_eq!((came, seen), (Came::Complete, vec![expected.clone()]), "cut at {at}");
        }
        let (seen, _) = collect_all(&mut Desk::new(16, 512), &mut Source::pieces(&sent, 1));
        assert_eq!(seen, vec![expected]);
    }
}

#[test]
fn pipelined_requests_follow_in_order_byte_for_byte() {
    let sent: Vec<u8> = samples().into_iter().flat_map(|(sent, _)| sent).collect();
    let expected: Vec<_> = samples().into_iter().map(|(_, expected)| expected).collect();
    for at in 0..=sent.len() {
        let (seen, came) = collect_all(&mut Desk::roomy(), &mut Source::cut(&sent, &[at]));
        assert_eq!((came, &seen), (Came::Complete, &expected), "cut at {at}");
    }
    for (length, buffers, buffer_bytes) in
        [(1, 16, 512), (3, 16, 512), (511, 16, 512), (9, 8, 2048)]
    {
        let mut desk = Desk::new(buffers, buffer_bytes);
        let (seen, _) = collect_all(&mut desk, &mut Source::pieces(&sent, length));
        assert_eq!(seen, expected, "pieces of {length}");
    }
}

#[test]
fn large_bodies_arrive_whole() {
    for length in [1, 511, 512, 513, 2047, 2048, 2049, 65_536, 200_000] {
        let body = bytes(length);
        let told = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let coded = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let framings = [
            [told.as_bytes(), &body].concat(),
            [&coded[..], &chunked(&body, &[5000], "", "")].concat(),
            [&coded[..], &chunked(&body, &[1, 2, 3], "", "")].concat(),
        ];
        for sent in framings {
            for piece in [1448, 70_000] {
                let mut desk = Desk::new(160, 2048);
                let (seen, came) = collect_all(&mut desk, &mut Source::pieces(&sent, piece));
                let expected = canonical("POST", "/", "", Some(&body));
                assert!(came == Came::Complete && seen == [expected], "{length} by {piece}");
            }
        }
    }
}

#[test]
fn small_chunks_do_not_blow_a_body_up() {
    let body = bytes(20_000);
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = [&head[..], &chunked(&body, &[1], "", "")].concat();
    let mut desk = Desk::new(64, 2048);
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::pieces(&sent, 5000));
    assert_eq!(came, Came::Complete);
    assert!(desk.pool.used() <= 2 * 10 + 2, "{} buffers", desk.pool.used());
    desk.end(exchange);
}

#[test]
fn heads_up_to_max_head_are_rewritten_with_few_buffers_to_spare() {
    for framing in ["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        let body: &[u8] = match framing {
            "" => b"",
            "Content-Length: 3\r\n" => b"abc",
            _ => b"3\r\nabc\r\n0\r\n\r\n",
        };
        for length in [100, 1700, 1792, 2048, 8000, 32_000] {
            let fields = padding(length);
            let sent = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}{framing}\r\n");
            let sent = [sent.as_bytes(), body].concat();
            let expected = canonical("POST", "/", &fields, (!framing.is_empty()).then_some(b"abc"));
            let buffers = u32::try_from(sent.len() / 2048).unwrap() + 6;
            let mut desk = Desk::new(buffers.max(8), 2048);
            let (seen, came) = collect_all(&mut desk, &mut Source::pieces(&sent, 1000));
            assert_eq!(came, Came::Complete, "{framing:?} {length}");
            assert!(seen == [expected], "{framing:?} {length}");
        }
    }
}

#[test]
fn trailers_are_dropped_and_counted() {
    let sent = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\nX: y\r\nZ: 1\r\n\r\n";
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    desk.take_request(&mut exchange, &mut Source::pieces(sent, 2));
    assert_eq!(exchange.facts.trailer_bytes, 12);
    desk.end(exchange);
}

#[test]
fn a_client_that_waits_is_told_once_to_go_on() {
    for (framing, body) in [
        ("Content-Length: 3", &b"abc"[..]),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let head =
            format!("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n{framing}\r\n\r\n");
        let sent = [head.as_bytes(), body].concat();
        for (cuts, advised) in [
            (vec![head.len()], 1),
            (vec![5, head.len(), head.len() + 1], 1),
            (vec![head.len() + 1], 0),
            (vec![], 0),
        ] {
            let mut desk = Desk::roomy();
            let (seen, _) = collect_all(&mut desk, &mut Source::cut(&sent, &cuts));
            assert_eq!(seen, [canonical("POST", "/", "", Some(b"abc"))]);
            assert_eq!(desk.advised, advised, "{framing} {cuts:?}");
        }
    }
}

#[test]
fn a_client_whose_head_is_refused_is_never_told_to_go_on() {
    let table = [
        ("POST /", "Content-Length: 1001\r\n", Refusal::BodyTooLarge),
        ("POST /", "Content-Length: 5, 5\r\n", Refusal::Malformed),
        ("POST https://h/", "Transfer-Encoding: chunked\r\n", Refusal::Misdirected),
        ("TRACE /", "Content-Length: 5\r\n", Refusal::Malformed),
    ];
    for (start, fields, refusal) in table {
        let head = format!("{start} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{fields}\r\n");
        for piece in [1, 1000] {
            let mut desk = Desk::roomy();
            desk.rules.max_body = 1000;
            let came = refusal_of(&mut desk, Source::pieces(head.as_bytes(), piece));
            assert!(matches!(came, Came::Refused(of, _) if of == refusal), "{came:?}");
            assert_eq!(desk.advised, 0, "{head}");
        }
    }
}

#[test]
fn bodies_beyond_the_bounds_are_refused_413() {
    let coded = "Transfer-Encoding: chunked\r\n\r\n";
    let table = [
        ("Content-Length: 1001\r\n\r\n", ""),
        ("Content-Length: 18446744073709551615\r\n\r\n", ""),
        (coded, "3e9\r\n"),
        (coded, "fffffffffffffff0\r\n"),
        (coded, "3e8\r\n"),
    ];
    for (index, (fields, start)) in table.into_iter().enumerate() {
        let mut sent = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}{start}").into_bytes();
        if index == 4 {
            sent.extend(bytes(1000));
            sent.extend(b"\r\n1\r\n");
        }
        for piece in [1, 7, 5000] {
            let mut desk = Desk::roomy();
            desk.rules.max_body = 1000;
            let came = refusal_of(&mut desk, Source::pieces(&sent, piece));
            assert_eq!(came, Came::Refused(Refusal::BodyTooLarge, None), "{index} by {piece}");
        }
    }
}

#[test]
fn a_body_at_the_bound_passes() {
    let body = bytes(1000);
    for (fields, sent) in [
        ("Content-Length: 1000\r\n\r\n", body.clone()),
        ("Transfer-Encoding: chunked\r\n\r\n", chunked(&body, &[300], "", "")),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}");
        let mut desk = Desk::roomy();
        desk.rules.max_body = 1000;
        let sent = [head.as_bytes(), &sent].concat();
        let (seen, came) = collect_all(&mut desk, &mut Source::pieces(&sent, 100));
        assert_eq!((came, seen), (Came::Complete, vec![canonical("POST", "/", "", Some(&body))]));
    }
}

/// The same refusal, be it in one piece or in many.
fn refused_alike(sent: &str, expected: (Refusal, Fault)) {
    for piece in [1, 10, 700, 100_000] {
        let mut desk = Desk::new(64, 32 << 10);
        let came = refusal_of(&mut desk, Source::pieces(sent.as_bytes(), piece));
        assert_eq!(came, Came::Refused(expected.0, Some(expected.1)), "pieces of {piece}");
    }
}

#[test]
fn targets_and_heads_have_bounds_that_no_cut_moves() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "t".repeat(length));
    let too_long = (Refusal::TargetTooLong, Fault::TargetTooLong);
    let too_large = (Refusal::HeadTooLarge, Fault::HeadTooLarge);
    refused_alike(&target(8 << 10), too_long);
    refused_alike(&target(8300), too_long);
    refused_alike(&target(40_000), too_long);
    refused_alike(&format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(9000)), too_long);
    let head = |length| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", padding(length));
    let frame = head(0).len();
    refused_alike(&head((32 << 10) + 1 - frame), too_large);
    refused_alike(&head(40_000), too_large);
    refused_alike(
        &format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a:b\r\n".repeat(128)),
        (Refusal::HeadTooLarge, Fault::TooManyFields),
    );
    for sent in [target((8 << 10) - 1), head((32 << 10) - frame)] {
        for piece in [10, 700, 100_000] {
            let mut desk = Desk::new(64, 2048);
            let (seen, came) = collect_all(&mut desk, &mut Source::pieces(sent.as_bytes(), piece));
            assert_eq!((came, seen.len()), (Came::Complete, 1));
        }
    }
}

#[test]
fn malformed_requests_are_refused_wherever_they_are_cut() {
    let coded = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        ("GET / HTTP/1.1\nHost: h\r\n\r\n".into(), 400, Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n".into(), 400, Fault::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n".into(), 400, Fault::ObsFold),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, Fault::HostMissing),
        ("GET / HTTP/2.0\r\n\r\n".into(), 505, Fault::VersionNotSupported),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501, Fault::ConnectNotSupported),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
            501,
            Fault::CodingUnknown,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            400,
            Fault::LengthAndCoding,
        ),
        (format!("{coded}1\r\nab\r\n"), 400, Fault::ChunkEnd),
        (format!("{coded}1\nab\r\n"), 400, Fault::BareLf),
        (format!("{coded}0x1\r\n"), 400, Fault::ChunkSize),
        (format!("{coded}11111111111111111\r\n"), 400, Fault::ChunkSize),
        (format!("{coded}0\r\nA b\r\n"), 400, Fault::BadTrailer),
    ];
    for (sent, status, fault) in table {
        for at in 0..=sent.len() {
            let source = Source::cut(sent.as_bytes(), &[at]);
            let came = refusal_of(&mut Desk::new(16, 512), source);
            assert_eq!(came, Came::Refused(Refusal::from(fault), Some(fault)), "{sent:?} at {at}");
            assert_eq!(Refusal::from(fault).status(), status);
        }
    }
}

#[test]
fn whatever_is_behind_a_complete_request_waits_for_the_next_exchange() {
    let sent = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nnonsense \r\n\r\n";
    let mut desk = Desk::roomy();
    let (seen, came) = collect_all(&mut desk, &mut Source::whole(sent));
    assert_eq!(seen, [canonical("GET", "/", "", None)]);
    assert_eq!(came, Came::Refused(Refusal::Malformed, Some(Fault::BadRequestLine)));
}

#[test]
fn an_old_client_gets_the_default_host_and_is_not_kept() {
    let mut desk = Desk::roomy();
    let mut exchange: Exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(b"GET / HTTP/1.0\r\n\r\n"));
    assert_eq!(came, Came::Complete);
    assert!(exchange.facts.old_version && !exchange.facts.persistent);
    desk.begin_lease(&mut exchange, true);
    let seen = desk.write_all(&mut exchange, 7);
    assert!(seen.starts_with(b"GET / HTTP/1.1\r\nHost: fallback\r\n"));
    assert!(seen.ends_with(b"Via: 1.0 anteroom\r\n\r\n"));
    desk.end(exchange);
}

#[test]
fn nothing_new_changes_nothing() {
    let mut desk = Desk::roomy();
    let mut exchange = Desk::begin(Chain::new());
    let sent = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na";
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(sent)), Came::Hungry);
    for _ in 0..3 {
        let collected = desk.collect(&mut exchange, 0);
        assert_eq!(collected, Some(Collected::Incomplete { advise: false }));
    }
    assert_eq!(desk.take_request(&mut exchange, &mut Source::whole(b"b")), Came::Complete);
    desk.end(exchange);
}
