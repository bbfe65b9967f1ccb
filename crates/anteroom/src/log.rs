//! What the program tells its operator: whole lines on standard error, one write each, so that
//! lines of several threads never mix.

use std::fmt;
use std::io::Write;

/// Writes `anteroom: text` to standard error.
pub(crate) fn note(text: impl fmt::Display) {
    line(&format!("anteroom: {text}\n"));
}

/// Writes the one line that says the listeners accept (DESIGN.md §5).
pub(crate) fn ready(addresses: impl fmt::Display) {
    line(&format!("anteroom ready: {addresses}\n"));
}

/// Writes lines as they are to standard error.
pub(crate) fn lines(text: &str) {
    line(text);
}

/// A line that cannot be written has nobody to read it.
fn line(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
