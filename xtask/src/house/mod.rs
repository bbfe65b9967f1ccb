//! The laws of the house that neither the compiler nor clippy can see: floors, `no_std`, where
//! `unsafe` may stand, how long a file may be, words that have no place here, what a document says
//! of the tests.

mod conformance;
mod floors;
mod sources;

use crate::run::Runner;
use crate::tally::Tally;
use sources::Source;

/// One law: its name, and what breaks it.
type Law = (&'static str, Vec<String>);

/// Checks every law; each counts as one step.
pub(crate) fn check(runner: &Runner, tally: &mut Tally) {
    println!("\nhouse: floors, no_std, unsafe, lengths, words, conformance");
    for (law, breaches) in laws(runner) {
        for breach in &breaches {
            println!("house: {law}: {breach}");
        }
        tally.step(&format!("house: {law}"), breaches.is_empty());
    }
}

fn laws(runner: &Runner) -> Vec<Law> {
    let manifests = floors::manifests(runner);
    let sources = sources::read(runner);
    let all = |rule: fn(&Source) -> Vec<String>| sources.iter().flat_map(rule).collect();
    vec![
        ("a crate imports lower floors only", floors::breaches(&manifests)),
        ("the lower floors are no_std and unsafe is forbidden", all(sources::attributes)),
        ("unsafe stands in few files", all(sources::unsafe_code)),
        ("a file has at most 700 lines", all(sources::length)),
        ("no word that stands for unfinished work", all(sources::words)),
        ("docs/conformance.md is true to the code", conformance::breaches(runner)),
        ("there is something to check", empty(&manifests, &sources)),
    ]
}

/// A check that found nothing to read would hold for ever.
fn empty(manifests: &[floors::Manifest], sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    if manifests.len() < 5 {
        found.push(format!("only {} manifests were read", manifests.len()));
    }
    if sources.len() < 20 {
        found.push(format!("only {} files were read", sources.len()));
    }
    found
}
