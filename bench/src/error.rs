//! What went wrong, in a sentence.

use std::fmt;

/// A failure that ends a measurement: the sentence says what failed and where.
pub(crate) struct Failure(String);

/// The result of everything that may end a measurement.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// A failure with this sentence.
pub(crate) fn failure(sentence: impl Into<String>) -> Failure {
    Failure(sentence.into())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what was being done when an error came.
pub(crate) trait While<T> {
    /// The same result, its error preceded by what was being done.
    fn doing(self, what: &str) -> Outcome<T>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    fn doing(self, what: &str) -> Outcome<T> {
        self.map_err(|error| failure(format!("{what}: {error}")))
    }
}
