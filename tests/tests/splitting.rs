//! Hostile responses and odd but legal ones: nothing of one reaches another client, or the same
//! client as the answer to another request.

use blackbox::answers::Answers;
use blackbox::corpus::{Case, Expected, load};

fn every_case_passes(cases: &[Case]) {
    let wrong = Answers::new().run(cases);
    let shown = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {} responses:\n{shown}", wrong.len(), cases.len() * 3);
}

#[test]
fn hostile_responses_spoil_nothing_but_themselves() {
    let cases = load("responses_hostile");
    assert!(cases.len() >= 100, "only {} hostile responses", cases.len());
    every_case_passes(&cases);
}

#[test]
fn odd_but_legal_responses_pass() {
    let cases = load("responses_legal");
    assert!(cases.len() >= 150, "only {} odd but legal responses", cases.len());
    let passes = |case: &Case| matches!(case.expected.as_slice(), [Expected::Passes(_)]);
    assert!(cases.iter().all(passes), "what is legal passes");
    every_case_passes(&cases);
}
