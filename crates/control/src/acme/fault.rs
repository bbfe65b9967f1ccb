//! Why an order came to nothing.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

/// Longest that is told of a fault: some of it is the authority's words.
const WORDS_MAX: usize = 400;

/// In words, and what the authority asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: String,
    /// How long the authority wants to be left alone, at least.
    pub(super) rest: Option<Duration>,
    /// It does not know our account.
    pub(super) unknown_account: bool,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: plain(&why.into()), rest: None, unknown_account: false }
    }

    /// What failed here, before anybody was asked.
    pub(super) fn own(error: impl Error) -> Self {
        Self::new(error.to_string())
    }

    /// What the authority or the way to it is to blame for.
    pub(super) fn of(error: &instant_acme::Error) -> Self {
        let problem = match error {
            instant_acme::Error::Api(problem) => problem.r#type.as_deref(),
            _ => None,
        };
        let unknown = problem == Some("urn:ietf:params:acme:error:accountDoesNotExist");
        Self { unknown_account: unknown, ..Self::new(words(error)) }
    }
}

impl From<instant_acme::Error> for Fault {
    fn from(error: instant_acme::Error) -> Self {
        Self::of(&error)
    }
}

/// The error, and what is behind it.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            // Writing to a string does not fail.
            let _ = write!(words, ": {text}");
        }
        source = cause.source();
    }
    words
}

/// On one line of bounded length: who sent it does not write our log.
fn plain(words: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(WORDS_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_stays_on_one_line() {
        let fault = Fault::new(format!("one\r\nwarning: two\u{1b}[31m{}", "x".repeat(1000)));
        assert!(fault.why.starts_with("one  warning: two [31mx") && fault.why.len() <= WORDS_MAX);
    }
}
