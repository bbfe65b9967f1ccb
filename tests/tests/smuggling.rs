//! Hostile requests and odd but legal ones before nginx, HAProxy, Node, gunicorn and hyper: each
//! is refused, or is one request that all of them read alike.

use std::thread;

use blackbox::corpus::{Case, Expected, Passage, load};
use blackbox::trial::Trial;
use blackbox::witness::{Witness, gunicorn, haproxy, hyper, nginx, node, plain};

const WITNESSES: [fn() -> Witness; 6] = [plain, hyper, node, gunicorn, nginx, haproxy];

/// Every case before every witness, each with a proxy and a thread of its own.
fn every_case_passes(cases: &[Case], streams: bool) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let trials: Vec<_> = WITNESSES
            .iter()
            .map(|start| scope.spawn(move || Trial::new(start(), streams).run(cases)))
            .collect();
        trials.into_iter().flat_map(|trial| trial.join().expect("a trial ends")).collect()
    });
    let shown = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} disagreements:\n{shown}", wrong.len());
}

/// A request that is not the expected one, one more than expected, one instead of a refusal.
#[test]
fn what_is_wrong_is_found() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let case = |bytes: String, expected| Case {
        name: bytes.clone(),
        pieces: vec![bytes.into_bytes()],
        expected: vec![expected],
        method: "GET".to_owned(),
        closes: false,
    };
    let passes = |start: &str, body: &[u8]| {
        Expected::Passes(Passage {
            start: start.to_owned(),
            body: body.to_vec(),
            ..Passage::default()
        })
    };
    let cases = [
        case(get("/x"), passes("GET /y", b"")),
        case(get("/x"), passes("GET /x", b"body")),
        case(get("/x") + &get("/more"), passes("GET /x", b"")),
        case(get("/x"), Expected::Refused(vec![400])),
    ];
    let wrong = Trial::new(plain(), false).run(&cases);
    assert_eq!(wrong.len(), cases.len() * 3, "{wrong:?}");
}

#[test]
fn hostile_requests_are_refused_or_read_alike() {
    let cases = load("hostile");
    assert!(cases.len() >= 300, "only {} hostile requests", cases.len());
    every_case_passes(&cases, false);
}

#[test]
fn odd_but_legal_requests_pass() {
    let cases = load("legal");
    assert!(cases.len() >= 150, "only {} odd but legal requests", cases.len());
    let passes = |case: &Case| case.expected.iter().all(|e| matches!(e, Expected::Passes(_)));
    let not: Vec<&str> = cases.iter().filter(|c| !passes(c)).map(|c| c.name.as_str()).collect();
    assert!(not.is_empty(), "what is legal passes: {not:?}");
    every_case_passes(&cases, false);
}

#[test]
fn streamed_requests_are_refused_or_read_alike() {
    every_case_passes(&[load("hostile"), load("legal")].concat(), true);
}
