//! Whole connections at random: requests behind one another, cut anywhere, on small pools that
//! run short at random; the same bytes come out as from one piece on a large pool.

use std::format;
use std::vec::Vec;

use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::Index;

use exchange::{Exchange, Responded};
use pool::Chain;

use super::desk::{Came, Desk};
use super::samples::{bytes, canonical, chunked, delivered, padding, parted, unchunked};
use super::source::Source;

/// How a body is framed.
#[derive(Clone, Debug)]
enum Framing {
    None,
    Length,
    Chunked { lengths: Vec<usize>, extension: bool, trailers: bool },
}

/// An interim response that is passed on.
const INTERIM: &str = "HTTP/1.1 102 \r\nDate: y\r\n\r\n";

/// A message's random part.
#[derive(Clone, Debug)]
struct Message {
    framing: Framing,
    body: usize,
    fields: usize,
    old: bool,
    interim: u8,
    cuts: Vec<Index>,
}

fn message(most: usize) -> impl Strategy<Value = Message> {
    let framing = prop_oneof![
        Just(Framing::None),
        Just(Framing::Length),
        (list(1_usize..3000, 1..5), any::<bool>(), any::<bool>()).prop_map(
            |(lengths, extension, trailers)| Framing::Chunked { lengths, extension, trailers }
        ),
    ];
    let body = prop_oneof![Just(0), 0..most.min(50), 0..most];
    let fields = prop_oneof![Just(0_usize), 20_usize..300, 300_usize..3000];
    (framing, body, fields, any::<bool>(), 0..3_u8, list(any::<Index>(), 0..12)).prop_map(
        |(framing, body, fields, old, interim, cuts)| Message {
            framing,
            body,
            fields,
            old,
            interim,
            cuts,
        },
    )
}

impl Message {
    /// Framing field, coded body, body.
    fn framed(&self) -> (&'static str, Vec<u8>, Option<Vec<u8>>) {
        let body = bytes(self.body);
        match &self.framing {
            Framing::None => ("", Vec::new(), None),
            Framing::Length => ("Content-Length: ", body.clone(), Some(body)),
            Framing::Chunked { lengths, extension, trailers } => {
                // All extensions of a body have a bound, which many small chunks would meet.
                let extension = if *extension && self.body < 2000 { ";e=\"f\"" } else { "" };
                let trailers = if *trailers { "T: u\r\n" } else { "" };
                let coded = chunked(&body, lengths, extension, trailers);
                ("Transfer-Encoding: chunked", coded, Some(body))
            }
        }
    }

    /// The framing field as a line.
    fn line(&self, name: &str) -> std::string::String {
        match name {
            "" => std::string::String::new(),
            "Content-Length: " => format!("{name}{}\r\n", self.body),
            _ => format!("{name}\r\n"),
        }
    }

    /// What a client sends, and what the server must see.
    fn request(&self) -> (Vec<u8>, Vec<u8>) {
        let (name, coded, body) = self.framed();
        let (fields, line) = (padding(self.fields), self.line(name));
        let head = format!("PUT /p HTTP/1.1\r\nHost: h\r\n{fields}{line}\r\n");
        let expected = canonical("PUT", "/p", &fields, body.as_deref());
        ([head.as_bytes(), &coded].concat(), expected)
    }

    /// What a server sends, whether it closes then, and what the client must get.
    fn response(&self) -> (Vec<u8>, bool, Vec<u8>) {
        let (name, coded, _) = self.framed();
        let (fields, line) = (padding(self.fields), self.line(name));
        let interim = INTERIM.repeat(self.interim.into());
        let head = format!("{interim}HTTP/1.1 200 OK\r\n{fields}{line}\r\n");
        let body = bytes(self.body);
        match &self.framing {
            Framing::None => {
                let sent = [head.as_bytes(), &body].concat();
                let ours = if self.old {
                    "Connection: close\r\n"
                } else {
                    "Transfer-Encoding: chunked\r\n"
                };
                (sent, true, delivered("200 OK", &fields, ours, &body))
            }
            Framing::Length => {
                let ours = if self.old { "Connection: keep-alive\r\n" } else { "" };
                let expected = delivered("200 OK", &format!("{fields}{line}"), ours, &body);
                ([head.as_bytes(), &coded].concat(), false, expected)
            }
            Framing::Chunked { lengths, trailers, .. } => {
                let expected = if self.old {
                    delivered("200 OK", &fields, "Connection: close\r\n", &body)
                } else {
                    let trailers = if *trailers { "T: u\r\n" } else { "" };
                    let bare = chunked(&body, lengths, "", trailers);
                    delivered("200 OK", &fields, "Transfer-Encoding: chunked\r\n", &bare)
                };
                ([head.as_bytes(), &coded].concat(), false, expected)
            }
        }
    }
}

fn cut(bytes: &[u8], places: &[Index]) -> Source {
    let cuts: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    Source::cut(bytes, &cuts)
}

fn leased(desk: &mut Desk, old: bool) -> Exchange {
    let version = if old { "HTTP/1.0\r\nConnection: keep-alive" } else { "HTTP/1.1\r\nHost: h" };
    let sent = format!("GET / {version}\r\n\r\n");
    let mut exchange = Desk::begin(Chain::new());
    let came = desk.take_request(&mut exchange, &mut Source::whole(sent.as_bytes()));
    assert_eq!(came, Came::Complete);
    desk.begin_lease(&mut exchange, true);
    desk.write_all(&mut exchange, usize::MAX);
    exchange
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_pass_whole_and_in_order(
        messages in list(message(20_000), 1..5),
        large in any::<bool>(),
        buffers in 8_u32..65,
        shortage in prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)],
        takes in 1_usize..5000,
        cuts in list(any::<Index>(), 0..12),
    ) {
        let (sent, expected): (Vec<_>, Vec<_>) = messages.iter().map(Message::request).unzip();
        let stream = sent.concat();
        let mut source = cut(&stream, &cuts);
        let mut desk = Desk::new(buffers, if large { 2048 } else { 512 });
        desk.shortage = shortage;
        let mut rest = Chain::new();
        for (index, expected) in expected.iter().enumerate() {
            let mut exchange = Desk::begin(rest);
            let came = desk.take_request(&mut exchange, &mut source);
            if came == Came::NoRoom {
                // Law 5: the worker would answer 408; nothing may be lost.
                rest = Chain::new();
                desk.end(exchange);
                break;
            }
            prop_assert_eq!(came, Came::Complete);
            desk.begin_lease(&mut exchange, index % 2 == 0);
            prop_assert!(desk.write_all(&mut exchange, takes) == *expected, "request {}", index);
            rest = exchange.rest.take();
            let _ = exchange.give_up(&mut desk.pool);
        }
        desk.relax();
        prop_assert_eq!(rest.len(), 0);
        desk.pool.release(rest);
        desk.pool.assert_whole();
    }

    #[test]
    fn responses_pass_whole(
        message in message(200_000),
        large in any::<bool>(),
        buffers in 12_u32..65,
        shortage in prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)],
        takes in prop_oneof![Just(0), 1_u32..5000],
        piece in 1_usize..3000,
        in_pieces in any::<bool>(),
    ) {
        let (sent, ends, expected) = message.response();
        let mut source =
            if in_pieces { Source::pieces(&sent, piece) } else { cut(&sent, &message.cuts) };
        let mut desk = Desk::new(buffers, if large { 2048 } else { 512 });
        let mut exchange = leased(&mut desk, message.old);
        desk.shortage = shortage;
        let answered = desk.answer(&mut exchange, &mut source, ends, takes);
        prop_assert_eq!(answered.end, Responded::Whole { reusable: !ends });
        let mut delivered = &answered.delivered[..];
        let mut interim = 0;
        while let Some(behind) = delivered.strip_prefix(INTERIM.as_bytes()) {
            delivered = behind;
            interim += 1;
        }
        // A short pool leaves hints out, never in part.
        let most = if message.old { 0 } else { message.interim };
        prop_assert!(interim <= most);
        if shortage == 0 {
            prop_assert_eq!(interim, most);
        }
        if matches!(message.framing, Framing::None) && !message.old {
            let (head, coded) = parted(delivered);
            let (body, trailers, behind) = unchunked(&coded);
            prop_assert!([head, body].concat() == expected);
            prop_assert!(trailers.is_empty() && behind.is_empty());
        } else {
            prop_assert!(delivered == expected);
        }
        desk.end(exchange);
    }

    /// Nothing a client sends makes the proxy panic, and the pool is whole afterwards.
    #[test]
    fn garbage_harms_nobody(
        pieces in list(any_piece(), 0..40),
        cuts in list(any::<Index>(), 0..12),
        shortage in prop_oneof![Just(0), any::<u64>()],
        as_response in any::<bool>(),
        ends in any::<bool>(),
        head_only in any::<bool>(),
    ) {
        let sent = pieces.concat();
        let mut desk = Desk::new(64, 512);
        desk.rules.max_body = 4000;
        desk.rules.max_head = 2000;
        let mut source = cut(&sent, &cuts);
        if as_response {
            let mut exchange = leased(&mut desk, false);
            exchange.facts.head_only = head_only;
            desk.shortage = shortage;
            desk.answer(&mut exchange, &mut source, ends, 50);
            desk.end(exchange);
            return Ok(());
        }
        desk.shortage = shortage;
        let mut rest = Chain::new();
        loop {
            let mut exchange = Desk::begin(rest);
            let came = desk.take_request(&mut exchange, &mut source);
            rest = exchange.rest.take();
            let _ = exchange.give_up(&mut desk.pool);
            if !matches!(came, Came::Complete | Came::Answered) || (rest.is_empty() && source.is_dry()) {
                break;
            }
        }
        desk.pool.release(rest);
        desk.relax();
        desk.pool.assert_whole();
    }
}

/// Pieces that mean something, far more often than chance would bring them.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET / HTTP/1.1\r\nHost: h\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\n",
        "HEAD * HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 \r\n\r\n",
        "HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n",
        "HTTP/1.0 200\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n",
        "HTTP/1.0 304\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "5\r\nhello\r\n",
        "5;a=b\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "ffffffffffffffff\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "x",
    ];
    let known = proptest::sample::select(known.to_vec());
    prop_oneof![
        8 => known.prop_map(|piece: &str| piece.as_bytes().to_vec()),
        1 => list(any::<u8>(), 0..40),
        1 => (0_usize..3000).prop_map(bytes),
    ]
}
