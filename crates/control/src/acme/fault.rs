//! Why an order came to nothing.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

/// Longest that is told of a fault: some of it is the authority's words.
const WORDS_MAX: usize = 400;

/// What the authority says is wrong, where that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It does not know our account.
    UnknownAccount,
    /// It does not want to write to whom it is told to.
    Contact,
    /// Anything else.
    Other,
}

/// In words, and what the authority asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: String,
    /// How long the authority wants to be left alone, at least.
    pub(super) rest: Option<Duration>,
    /// What the authority said; none if it is not known to have said anything.
    pub(super) problem: Option<Problem>,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: plain(&why.into()), rest: None, problem: None }
    }

    /// What failed here, before anybody was asked.
    pub(super) fn own(error: impl Error) -> Self {
        Self::new(error.to_string())
    }

    /// What the authority or the way to it is to blame for.
    pub(super) fn of(error: &instant_acme::Error) -> Self {
        let problem = match error {
            instant_acme::Error::Api(problem) => Some(Problem::of(problem.r#type.as_deref())),
            _ => None,
        };
        Self { problem, ..Self::new(words(error)) }
    }

    /// Whether the authority does not know our account.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.problem == Some(Problem::UnknownAccount)
    }
}

impl Problem {
    /// By its name (RFC 8555 §6.7).
    fn of(name: Option<&str>) -> Self {
        match name.and_then(|name| name.strip_prefix("urn:ietf:params:acme:error:")) {
            Some("accountDoesNotExist") => Self::UnknownAccount,
            Some("invalidContact" | "unsupportedContact") => Self::Contact,
            _ => Self::Other,
        }
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
