//! Hostile requests and odd but legal ones before nginx, HAProxy, Node, gunicorn and hyper: each
//! is refused, or is one request that all of them read alike.

use std::thread;

use blackbox::corpus::{Case, Expected, load};
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
