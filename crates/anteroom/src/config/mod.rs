//! Configuration files: read, checked, and spoken of by file, line and column.
//!
//! `schema` is the list of keys, `fields` reads the values of one table, `file` and `servers` join
//! them to a draft of the settings, `text` shows where something is wrong.

mod acme;
mod authorize;
mod bounds;
mod defaults;
mod fields;
mod file;
mod own_field;
mod pages;
mod passing;
mod proxies;
mod schema;
mod screening;
mod servers;
#[cfg(test)]
mod tests;
mod text;
mod tls;

use std::path::Path;

use crate::failure::Failure;
use crate::settings::{self, Machine, Settings};
use text::Text;

pub(crate) use defaults::file as defaults;

/// What a file asks for, checked, and the warnings about it.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) settings: Settings,
    /// Lines for the operator; empty if there is nothing to say.
    pub(crate) warnings: String,
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// [`Failure::Configuration`]: everything that is wrong, with file, line, column and remedy.
pub(crate) fn load(path: &Path, machine: Machine) -> Result<Configured, Failure> {
    let text = Text::read(path).map_err(Failure::Configuration)?;
    check(&text, machine).map_err(Failure::Configuration)
}

/// Checks what a file of this name would say.
///
/// # Errors
/// As [`load`].
pub(crate) fn check_text(name: &str, text: &str, machine: Machine) -> Result<Configured, String> {
    check(&Text::new(name.to_owned(), text.to_owned()), machine)
}

/// Checks a file's text.
fn check(text: &Text, machine: Machine) -> Result<Configured, String> {
    let (draft, mut complaints) = file::read(text.content());
    if complaints.has_errors() {
        return Err(text.show_all(complaints));
    }
    let (settings, more) = settings::check(&draft, machine);
    complaints.append(more);
    match settings {
        Some(settings) => Ok(Configured { settings, warnings: text.show_all(complaints) }),
        None => Err(text.show_all(complaints)),
    }
}
