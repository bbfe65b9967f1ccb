//! Who is let in, what is asked of whom, and what those are told who are not.

use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use exchange::Proxy;
use exchange::{Asks, Authorization, Challenges, Exchange, Grant, Phase, Refusal, Then, TlsFacts};
use pool::{Chain, Rank};

use super::super::Http;
use super::desk::{Came, Desk, Known};
use super::source::Source;

fn authorization(asks: Asks) -> Authorization {
    let challenge = match asks {
        Asks::Passwords => "Basic realm=\"here\", charset=\"UTF-8\"",
        Asks::Tokens => "Bearer realm=\"here\"",
        Asks::Nobody | Asks::Server => "",
    };
    Authorization {
        number: 0,
        asks,
        challenge: challenge.into(),
        certificates: None,
        subject_field: Some("X-User".into()),
        passes_credentials: true,
    }
}

fn desk(authorization: Authorization) -> Desk {
    let mut desk = Desk::new(32, 512);
    desk.rules.own_fields = "X-User".into();
    desk.rules.authorization = Some(Arc::new(authorization));
    desk
}

/// What comes of a request, and of the bytes behind it.
fn take(desk: &mut Desk, sent: &str) -> (Exchange, Came) {
    let mut exchange = Desk::begin(Chain::new());
    let mut source = Source::pieces(sent.as_bytes(), 1000);
    let came = desk.take_request(&mut exchange, &mut source);
    (exchange, came)
}

fn bytes(desk: &Desk, chain: &Chain) -> Vec<u8> {
    desk.pool.peek(chain).collect::<Vec<_>>().concat()
}

/// The answer that refuses.
fn refused(desk: &mut Desk, exchange: &mut Exchange, refusal: Refusal) -> String {
    assert!(Http.refuse(exchange, refusal, None, &mut desk.room(Rank::Send)));
    let mut delivered = Vec::new();
    desk.deliver(exchange, u32::MAX, &mut delivered);
    String::from_utf8(delivered).unwrap()
}

fn get(field: &str) -> String {
    format!("GET /a?b HTTP/1.1\r\nHost: h\r\n{field}\r\n")
}

#[test]
fn credentials_are_the_question_and_who_is_let_in_is_named() {
    for (asks, field) in [
        (Asks::Passwords, "Authorization: Basic bWU6bWluZQ==\r\n"),
        (Asks::Tokens, "authorization: bearer  bWU6bWluZQ== \r\n"),
    ] {
        for passes_credentials in [true, false] {
            let mut desk = desk(Authorization { passes_credentials, ..authorization(asks) });
            let sent = get(&format!("{field}X-User: root\r\nx_user: root\r\n")) + "GET ";
            let (mut exchange, came) = take(&mut desk, &sent);
            let Came::Asks(length) = came else { panic!("{came:?}") };
            assert_eq!(desk.question(length), b"bWU6bWluZQ==");
            assert_eq!(exchange.phase(), Some(Phase::Authorizing));
            assert!(exchange.request_chain().is_none(), "nothing more is received");
            let mut grant = Grant::of(b"me").unwrap();
            assert!(grant.add(b"X-Role", b"reader"));
            let question = desk.question(length).to_vec();
            desk.admission = Some(Known { question, grant, told: b"" });
            exchange.is_let_in();
            let collected = desk.collect(&mut exchange, 0);
            assert_eq!(collected, Some(exchange::Collected::Complete));
            let exchange::State::Ready { request } = &exchange.state else { panic!() };
            let text = String::from_utf8(bytes(&desk, request)).unwrap();
            assert!(text.contains("\r\nX-User: me\r\nX-Role: reader\r\n"), "{text}");
            assert!(!text.contains("root"), "{text}");
            assert_eq!(text.contains("bWU6"), passes_credentials, "{text}");
            assert_eq!(bytes(&desk, &exchange.rest), b"GET ", "what follows is another's");
            let noted = &desk.noted;
            assert_eq!(noted.1.get(exchange::Piece::User, &noted.0), b"me");
            desk.end(exchange);
            // Once it is known, nobody is asked.
            let (exchange, came) = take(&mut desk, &sent);
            assert_eq!(came, Came::Complete);
            desk.end(exchange);
        }
    }
}

#[test]
fn without_credentials_that_could_be_right_nobody_is_asked() {
    let long = format!("Authorization: Bearer {}\r\n", "a".repeat(9000));
    let table = [
        ("", Refusal::NoCredentials),
        ("Authorization: Basic bWU6bWluZQ==\r\n", Refusal::NoCredentials),
        ("Authorization: Bear\r\n", Refusal::NoCredentials),
        ("Authorization: Bearerbearer\r\n", Refusal::NoCredentials),
        ("Authorization: Bearer\r\n", Refusal::BadCredentials),
        ("Authorization: Bearer a b\r\n", Refusal::BadCredentials),
        ("Authorization: Bearer \u{e9}\r\n", Refusal::BadCredentials),
        ("Authorization: Bearer a, Bearer a\r\n", Refusal::BadCredentials),
        ("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", Refusal::BadCredentials),
        (&long, Refusal::BadCredentials),
    ];
    for (field, refusal) in table {
        let mut desk = desk(authorization(Asks::Tokens));
        let (mut exchange, came) = take(&mut desk, &(get(field) + "GET /next"));
        assert_eq!(came, Came::Refused(refusal, None), "{field}");
        let answer = refused(&mut desk, &mut exchange, refusal);
        let error = match refusal {
            Refusal::BadCredentials => ", error=\"invalid_token\"",
            _ => "",
        };
        let line = format!("\r\nWWW-Authenticate: Bearer realm=\"here\"{error}\r\n");
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains(&line) && !answer.contains("Connection:"), "{answer}");
        // The request was whole with its head: the connection goes on behind it.
        assert_eq!(
            (exchange.then, bytes(&desk, &exchange.rest)),
            (Then::Park, b"GET /next".into())
        );
        desk.end(exchange);
    }
}

#[test]
fn a_body_that_nobody_wants_ends_the_connection() {
    for body in ["Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"] {
        for stream in [None, Some(1 << 20)] {
            let mut desk = desk(authorization(Asks::Passwords));
            desk.rules.stream = stream;
            let expects = format!("{body}Expect: 100-continue\r\n");
            let sent = format!("POST / HTTP/1.1\r\nHost: h\r\n{expects}\r\n1\r\na");
            let (mut exchange, came) = take(&mut desk, &sent);
            assert_eq!(came, Came::Refused(Refusal::NoCredentials, None));
            assert_eq!(desk.advised, 0, "nothing is advised to who is not let in");
            let answer = refused(&mut desk, &mut exchange, Refusal::NoCredentials);
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert_eq!(exchange.then, Then::Linger);
            desk.end(exchange);
        }
    }
}

#[test]
fn heads_and_old_clients_are_told_in_their_way() {
    for (sent, then) in [
        ("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", Then::Park),
        ("HEAD / HTTP/1.0\r\n\r\n", Then::Close),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Then::Park),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            Then::Park,
        ),
    ] {
        let mut desk = desk(authorization(Asks::Passwords));
        let (mut exchange, came) = take(&mut desk, sent);
        assert_eq!(came, Came::Refused(Refusal::NoCredentials, None));
        let answer = refused(&mut desk, &mut exchange, Refusal::NoCredentials);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("WWW-Authenticate: Basic realm=\"here\", charset=\"UTF-8\""));
        assert!(!head.contains("101") && !head.contains("pgrade"), "{head}");
        assert_eq!((body.is_empty(), exchange.then), (sent.starts_with("HEAD"), then));
        desk.end(exchange);
    }
}

#[test]
fn a_certificate_is_looked_at_at_once() {
    let anybody = Authorization { certificates: Some([].into()), ..authorization(Asks::Nobody) };
    let mine: Box<[Box<str>]> = ["CN=other".into(), "CN=me".into()].into();
    let me = Authorization { certificates: Some(mine), ..anybody.clone() };
    for (asked, shown, subject, let_in) in [
        (&anybody, true, Some("CN=you"), true),
        (&anybody, true, None, true),
        (&anybody, false, None, false),
        (&me, true, Some("CN=me"), true),
        (&me, true, Some("CN=me,O=x"), false),
        (&me, true, None, false),
        (&me, false, None, false),
    ] {
        for tls in [Some(TlsFacts { shown, subject }), None] {
            let mut desk = desk(asked.clone());
            desk.tls = tls;
            let (mut exchange, came) = take(&mut desk, &get(""));
            if let_in && tls.is_some() {
                assert_eq!(came, Came::Complete);
                let exchange::State::Ready { request } = &exchange.state else { panic!() };
                let text = String::from_utf8(bytes(&desk, request)).unwrap();
                let told = subject.map(|subject| format!("\r\nX-User: {subject}\r\n"));
                let told = told.map_or(!text.contains("X-User"), |line| text.contains(&line));
                assert!(told, "{text}");
            } else {
                assert_eq!(came, Came::Refused(Refusal::Forbidden, None));
                let answer = refused(&mut desk, &mut exchange, Refusal::Forbidden);
                assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("WWW-"));
            }
            desk.end(exchange);
        }
    }
}

#[test]
fn a_server_is_shown_the_head_and_its_words_are_passed_on() {
    let mut desk = desk(authorization(Asks::Server));
    let sent = "PUT http://h/a?b HTTP/1.1\r\nHost: h\r\nCookie: c\r\nContent-Type: t\r\n\
        Content-Length: 5\r\nX_Original_URI: /forged\r\nX-Original-URL: /forged\r\nX-Rewrite-URL: /forged\r\n\
        X-Forwarded-Uri: /forged\r\nX-Forwarded-Method: GET\r\nX-Forwarded-For: forged\r\nX-User: forged\r\n\
        If-None-Match: \"x\"\r\nConnection: X-Hop\r\nX-Hop: no\r\nAuthorization: Any thing\r\n\r\n12345";
    let (mut exchange, came) = take(&mut desk, sent);
    let Came::Asks(length) = came else { panic!("{came:?}") };
    let question = str::from_utf8(desk.question(length)).unwrap();
    assert_eq!(
        question,
        "X-Original-Method: PUT\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nCookie: c\r\n\
         Authorization: Any thing\r\nX-Original-URI: /a?b\r\nX-Forwarded-For: 192.0.2.1\r\n"
    );
    let told = b"Location: /login\r\nWWW-Authenticate: Custom\r\n";
    desk.admission = Some(Known { question: Vec::new(), grant: Grant::with_room(0), told });
    let answer = refused(&mut desk, &mut exchange, Refusal::Redirected);
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nLocation: /login\r\nWWW-Authenticate: Custom\r\n"), "{answer}");
    assert_eq!(exchange.then, Then::Linger, "its body was not read");
    desk.end(exchange);
    // What is too long to be asked is refused as too long.
    let long = format!("X: {}\r\n", "a".repeat(8000)).repeat(3);
    let mut roomy = Desk::roomy();
    (roomy.rules.authorization, roomy.rules.max_head) = (desk.rules.authorization, 64 << 10);
    let (exchange, came) = take(&mut roomy, &get(&long));
    assert_eq!(came, Came::Refused(Refusal::HeadTooLarge, None));
    roomy.end(exchange);
}

#[test]
fn a_certificate_authority_needs_no_credentials() {
    let mut desk = desk(authorization(Asks::Passwords));
    let answer = ("token".into(), (*b"token.print").into());
    desk.rules.challenges = Some(Arc::new(Challenges::new([answer])));
    let sent = "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: h\r\n\r\n";
    let (exchange, came) = take(&mut desk, sent);
    assert_eq!(came, Came::Answered);
    desk.end(exchange);
    let sent = "GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: h\r\n\r\n";
    let (exchange, came) = take(&mut desk, sent);
    assert_eq!(came, Came::Refused(Refusal::NoCredentials, None));
    desk.end(exchange);
}

#[test]
fn a_short_pool_delays_who_is_let_in_and_changes_nothing() {
    for shortage in [0, 0b10, 0b101, u64::MAX] {
        let mut desk = desk(authorization(Asks::Passwords));
        desk.shortage = shortage;
        let question = b"bWU6bWluZQ==".to_vec();
        desk.admission = Some(Known { question, grant: Grant::of(b"me").unwrap(), told: b"" });
        let long = format!("X: {}\r\n", "a".repeat(700));
        let sent = get(&format!("Authorization: Basic bWU6bWluZQ==\r\n{long}"));
        let (exchange, came) = take(&mut desk, &sent);
        assert_eq!(came, Came::Complete);
        desk.end(exchange);
    }
}
